"""
Tests for `rootstream.protocol.drill`: what a rehearsal does to a session, and whether
what it reports is what happened.
"""

from __future__ import annotations

from rootstream.errors import LocalError
from rootstream.protocol.constants import DRILL_PATIENCE, MAX_DRILL, TYPE_DATA
from rootstream.protocol.events import (
    Closed,
    DrillEnded,
    DrillReport,
    Expired,
    PathMoved,
    SessionEstablished,
    Suspect,
)
from rootstream.protocol.link import Link
from tests.test_survival import ELSEWHERE, FRAME, TCP, UDP, StreamWire, SurvivalCase
from tests.wire import Side, WirePath

#: What two views of one moment may differ by: a frame and a way through the network.
CLOSE = FRAME + 0.02


class DrillCase(SurvivalCase):
    """
    A stream from ``b`` to ``a``, on UDP.
    """

    def setUp(self) -> None:
        self.wire = StreamWire()
        self.wire.stream(0.5)
        self.wire.gap = 0.0

    def begin(self, link: Link, seconds: float = 3.0) -> None:
        """
        Begin a drill, as a shell does.
        """
        link.drill(UDP, seconds, self.wire.now)
        for side in (self.wire.a, self.wire.b):
            self.wire.pump(side)

    def reportOf(self, side: Side) -> DrillReport:
        """
        The one report of a side.
        """
        [ended] = side.eventsOf(DrillEnded)
        return ended.report


class RehearsalTests(DrillCase):
    """
    What happens, and what is told of it.
    """

    def test_viewer(self) -> None:
        """
        The side that watches is told how long the picture stood still, when the session
        moved to TCP, and when it was back on UDP; all of it is what happened.
        """
        began = self.wire.now
        self.begin(self.wire.linkA)
        while not self.wire.a.eventsOf(PathMoved):
            self.wire.stream(FRAME)
        moved = self.wire.now
        self.wire.stream(began + 3.0 - self.wire.now)
        while len(self.wire.a.eventsOf(PathMoved)) < 2:
            self.wire.stream(FRAME)
        back = self.wire.now
        self.wire.stream(1.0)
        report = self.reportOf(self.wire.a)
        self.assertEqual((report.transport, report.seconds), (UDP, 3.0))
        assert report.pictureGap is not None
        self.assertGreater(report.pictureGap, 0.1)
        self.assertApproximates(report.pictureGap, self.wire.gap, CLOSE)
        self.assertIsNone(report.acknowledgementGap)
        self.assertEqual(report.movedTo, TCP)
        assert report.movedAfter is not None and report.backAfter is not None
        self.assertApproximates(report.movedAfter, moved - began, CLOSE)
        self.assertApproximates(report.backAfter, back - began - 3.0, CLOSE)
        self.assertEqual(self.wire.moves(self.wire.a), [TCP, UDP])
        self.assertEqual(self.wire.transports, (UDP, UDP))
        self.assertEqual(self.wire.b.eventsOf(DrillEnded), [])
        self.assertNothingMissed(self.wire)
        self.assertSameSession(self.wire)

    def test_host(self) -> None:
        """
        The side that sends is told how long its pictures went unacknowledged; the other
        side notices no more than a network that failed.
        """
        self.begin(self.wire.linkB)
        self.wire.stream(5.0)
        report = self.reportOf(self.wire.b)
        self.assertIsNone(report.pictureGap)
        assert report.acknowledgementGap is not None
        self.assertTrue(0.15 <= report.acknowledgementGap <= 0.6, report)
        self.assertEqual(report.movedTo, TCP)
        assert report.backAfter is not None
        self.assertLess(report.backAfter, 2.0)
        self.assertEqual(self.wire.a.eventsOf(DrillEnded), [])
        self.assertNotEqual(self.wire.a.eventsOf(Suspect), [])
        self.assertEqual(self.wire.transports, (UDP, UDP))
        self.assertNothingMissed(self.wire)

    def test_nothingPasses(self) -> None:
        """
        While it lasts nothing goes out on UDP, and nothing that comes by it is taken,
        old or new, from wherever; TCP is let alone.
        """
        self.wire.forget()
        received = self.wire.linkA.status().bytesReceived
        self.begin(self.wire.linkA)
        self.wire.stream(0.1)
        self.assertEqual(self.wire.linkA.status().bytesReceived, received)
        packet = self.wire.b.session(self.wire.a).seal(b"\x06" + bytes(8))
        self.wire.deliver(self.wire.a, packet, ELSEWHERE)
        self.wire.stream(2.8)
        overUDP = WirePath(UDP, self.wire.b.address)
        self.assertEqual(self.wire.a.bytesTo(overUDP), 0)
        self.assertGreater(self.wire.a.bytesTo(WirePath(TCP, self.wire.b.address)), 0)
        self.assertGreater(self.wire.linkA.status().bytesReceived, received)
        self.wire.stream(3.0)
        self.assertGreater(self.wire.a.bytesTo(overUDP), 0)

    def test_invitation(self) -> None:
        """
        A handshake that begins on UDP meanwhile is not answered.
        """
        self.begin(self.wire.linkB)
        self.wire.a.restart()
        self.wire.a.dial(self.wire.b)
        self.wire.run(1.0)
        self.assertEqual(self.wire.b.eventsOf(SessionEstablished), [])
        self.assertEqual(self.wire.a.eventsOf(SessionEstablished), [])
        self.wire.run(4.0)
        self.assertEqual(len(self.wire.b.eventsOf(SessionEstablished)), 1)

    def test_idle(self) -> None:
        """
        A session that streams nothing is put to the test as well: it moves and returns,
        and there was no picture to stop.
        """
        self.wire.run(60)
        self.begin(self.wire.linkA)
        self.wire.run(6.0)
        report = self.reportOf(self.wire.a)
        self.assertIsNone(report.pictureGap)
        self.assertIsNone(report.acknowledgementGap)
        self.assertEqual(report.movedTo, TCP)
        self.assertIsNotNone(report.backAfter)

    def test_short(self) -> None:
        """
        A drill that is over before the session moves says so; the picture went on by
        the standby path meanwhile.
        """
        self.begin(self.wire.linkA, 0.25)
        self.wire.stream(2.0)
        report = self.reportOf(self.wire.a)
        self.assertIsNone(report.movedAfter)
        self.assertIsNone(report.movedTo)
        self.assertIsNone(report.backAfter)
        assert report.pictureGap is not None
        self.assertApproximates(report.pictureGap, self.wire.gap, CLOSE)

    def test_neverBack(self) -> None:
        """
        When UDP does not carry after it, for whatever reason, it ends all the same, and
        says that the session has not returned.
        """
        self.begin(self.wire.linkA)
        self.wire.stream(1.5)
        self.wire.block([UDP], [self.wire.a, self.wire.b])
        self.wire.stream(1.5 + DRILL_PATIENCE - 0.1)
        self.assertEqual(self.wire.a.eventsOf(DrillEnded), [])
        self.wire.stream(0.2)
        report = self.reportOf(self.wire.a)
        self.assertEqual(report.movedTo, TCP)
        self.assertIsNone(report.backAfter)

    def test_standsStillAtTheEnd(self) -> None:
        """
        A picture that stopped and did not come back stood still until the end.
        """
        self.begin(self.wire.linkA)
        self.wire.stream(2.0)
        self.wire.run(1.5 + DRILL_PATIENCE)
        report = self.reportOf(self.wire.a)
        assert report.pictureGap is not None
        self.assertGreater(report.pictureGap, 1.5)

    def test_again(self) -> None:
        """
        After one there can be another.
        """
        for _ in range(2):
            self.wire.forget()
            self.begin(self.wire.linkA, 2.0)
            self.wire.stream(5.0)
            self.assertEqual(self.reportOf(self.wire.a).movedTo, TCP)


class WithoutStandbyTests(DrillCase):
    """
    What a drill shows of a session that has nowhere to go.
    """

    def setUp(self) -> None:
        self.wire = StreamWire(standby=False)
        self.wire.stream(0.5)
        self.wire.forget()

    def test_viewer(self) -> None:
        """
        The picture stands still for all of it, and a moment.
        """
        self.begin(self.wire.linkA, 2.0)
        self.wire.stream(4.0)
        report = self.reportOf(self.wire.a)
        assert report.pictureGap is not None
        self.assertTrue(2.0 <= report.pictureGap <= 2.6, report)
        self.assertIsNone(report.movedTo)
        self.assertIsNone(report.backAfter)

    def test_host(self) -> None:
        """
        Nothing is acknowledged for all of it.
        """
        self.begin(self.wire.linkB, 2.0)
        self.wire.stream(4.0)
        report = self.reportOf(self.wire.b)
        assert report.acknowledgementGap is not None
        self.assertTrue(1.9 <= report.acknowledgementGap <= 2.6, report)

    def test_pathGone(self) -> None:
        """
        A session that has lost its last path is still observed.
        """
        self.wire = StreamWire()
        self.begin(self.wire.linkA, 2.0)
        self.wire.stream(1.5)
        self.wire.linkA.pathLost(WirePath(UDP, self.wire.b.address), "", self.wire.now)
        self.wire.breakTCP()
        self.assertEqual(self.wire.transports[0], None)
        self.wire.stream(0.5)
        self.assertEqual(self.wire.a.eventsOf(DrillEnded), [])
        self.wire.run(DRILL_PATIENCE + 1)
        self.assertEqual(self.reportOf(self.wire.a).movedTo, TCP)


class EndTests(DrillCase):
    """
    A drill that does not run its time.
    """

    def test_ended(self) -> None:
        """
        One that is ended lets UDP carry at once.
        """
        self.begin(self.wire.linkA, 60.0)
        self.wire.stream(0.1)
        self.wire.linkA.endDrill(self.wire.now)
        self.wire.stream(0.5)
        self.reportOf(self.wire.a)
        self.assertEqual(self.wire.moves(self.wire.a), [])
        self.wire.linkA.endDrill(self.wire.now)
        self.wire.pump(self.wire.a)
        self.reportOf(self.wire.a)

    def test_goodbye(self) -> None:
        """
        Our goodbye ends it first, so that it is heard.
        """
        self.begin(self.wire.linkB)
        self.wire.stream(0.1)
        self.wire.linkB.close(0, "", self.wire.now)
        self.wire.pump(self.wire.b)
        self.wire.run(0.1)
        self.assertTrue(self.wire.linkA.finished)
        kinds = [type(event) for event in self.wire.b.events]
        self.assertLess(kinds.index(DrillEnded), kinds.index(Closed))

    def test_goodbyeOfThePeer(self) -> None:
        """
        So does the peer's, when it comes by another way.
        """
        self.begin(self.wire.linkA)
        self.wire.stream(2.0)
        self.wire.linkB.close(0, "", self.wire.now)
        self.wire.pump(self.wire.b)
        self.wire.run(0.1)
        report = self.reportOf(self.wire.a)
        self.assertEqual(report.movedTo, TCP)
        self.assertIsNone(report.backAfter)
        self.assertIsInstance(self.wire.a.events[-1], Closed)
        self.assertIsNone(self.wire.linkA.nextTimer())

    def test_expired(self) -> None:
        """
        So does the death of the keys.
        """
        self.wire.block([UDP, TCP], [self.wire.a, self.wire.b])
        self.wire.run(1.0)
        # It began before the network went, and nobody has called since: a suspend.
        self.begin(self.wire.linkA)
        self.wire.now += 300
        self.wire.linkA.timerFired(self.wire.now)
        self.wire.pump(self.wire.a)
        kinds = [type(event) for event in self.wire.a.events]
        self.assertLess(kinds.index(DrillEnded), kinds.index(Expired))


class RefusedTests(DrillCase):
    """
    What is no rehearsal.  A refusal says why, and changes nothing.
    """

    def assertRefused(self, why: str, link: Link, seconds: float = 3.0) -> None:
        """
        A drill is refused in these words.
        """
        error = self.assertRaises(LocalError, link.drill, UDP, seconds, self.wire.now)
        self.assertIn(why, str(error))

    def test_running(self) -> None:
        """
        One at a time.
        """
        self.begin(self.wire.linkA)
        self.assertRefused("running already", self.wire.linkA)
        self.wire.stream(5.0)
        self.reportOf(self.wire.a)

    def test_duration(self) -> None:
        """
        It lasts more than nothing and at most a minute.
        """
        for seconds in (0.0, -1.0, MAX_DRILL + 0.1, float("inf"), float("nan")):
            self.assertRefused(
                f"up to 60 s, not {seconds:g} s", self.wire.linkA, seconds
            )
        self.begin(self.wire.linkA, MAX_DRILL)

    def test_noSession(self) -> None:
        """
        Without a session, or after its goodbye, there is nothing to rehearse with.
        """
        stranger = self.wire.a.node.link(bytes(range(32)), self.wire.now)
        self.assertRefused("no session", stranger)
        self.wire.linkA.close(0, "", self.wire.now)
        self.assertRefused("no session", self.wire.linkA)

    def test_impaired(self) -> None:
        """
        A peer that is not heard anyway would measure something else.
        """
        self.wire.block([UDP, TCP], [self.wire.a, self.wire.b])
        self.wire.stream(3.0)
        self.assertRefused("not reached now", self.wire.linkA)

    def test_elsewhere(self) -> None:
        """
        A session that runs on TCP has nothing to fear from UDP.
        """
        self.wire.block([UDP], [self.wire.a, self.wire.b])
        self.wire.stream(2.0)
        self.assertRefused("runs on TCP already", self.wire.linkA)
        packets = len(self.wire.a.packets(TYPE_DATA))
        self.wire.stream(0.5)
        self.assertGreater(len(self.wire.a.packets(TYPE_DATA)), packets)
