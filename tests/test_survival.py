"""
A session on a network that fails: link against link, on virtual time.

What each test blocks is named by the fault that it stands for.  TCP is a stream here,
as in life: it loses nothing and keeps the order, and what is sent while it is blocked
arrives when it no longer is, unless the connection ended meanwhile.  What happens by
chance, and all at once, is in `tests.twin`.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from rootstream.interfaces import IPath, Transport
from rootstream.protocol.constants import (
    MAX_KNOWN_PATHS,
    SUSPECT_AFTER,
)
from rootstream.protocol.events import (
    Command,
    Control,
    ControlReceived,
    Impaired,
    InputEvent,
    InputReceived,
    KeyFrameWanted,
    PathMoved,
    SessionEstablished,
    Suspect,
    VideoFrame,
    VideoLost,
    VideoReceived,
)
from rootstream.protocol.frames import FrameType
from tests.wire import Side, Wire, WirePath

UDP, TCP = Transport.UDP, Transport.TCP
FRAME = 1 / 60
#: A packet with nothing but PATH_USE; no other has this size.
ANNOUNCEMENT = 34
ELSEWHERE = WirePath(UDP, ("192.0.2.66", 666))


class StreamWire(Wire):
    """
    A wire on which TCP is a stream, ``a`` watches and ``b`` sends pictures.

    @ivar gap: the longest time between two pictures that arrived, in seconds.
    """

    def __init__(self, seed: int = 0, standby: bool = True) -> None:
        super().__init__(seed)
        self._held: dict[Side, list[tuple[bytes, IPath]]] = {self.a: [], self.b: []}
        self._behind: dict[Side, float] = {self.a: 0.0, self.b: 0.0}
        self.frameCount = 0
        self.inputs: list[InputEvent] = []
        self.controls = 0
        self.gap = 0.0
        self._lastPicture: float | None = None
        self.linkA, self.linkB = self.connect()
        self.run(0.5)
        if standby:
            self.addStandby()
            self.run(0.5)
        self.forget()

    def forget(self) -> None:
        """
        Count from here.
        """
        for side in (self.a, self.b):
            side.events.clear()
            side.sent.clear()
        self.gap = 0.0

    def addStandby(self) -> None:
        """
        A TCP connection beside the session.
        """
        self.linkA.addPath(WirePath(TCP, self.b.address), self.now)
        self.pump(self.a)

    def _carry(self, side: Side, path: IPath, packet: bytes) -> None:
        if path.transport != TCP:
            super()._carry(side, path, packet)
        elif TCP in side.weather.blocked:
            self._held[side].append((packet, path))
        else:
            arrives = WirePath(TCP, side.address)
            at = max(self._behind[side], self.now + side.weather.delay)
            self._behind[side] = at
            self.inject(self.other(side), packet, arrives, at - self.now)

    def block(self, transports: Iterable[Transport], sides: Iterable[Side]) -> None:
        """
        Let nothing through that the ``sides`` send on the ``transports``.
        """
        for side in sides:
            side.weather.blocked.update(transports)

    def unblock(
        self, transports: Iterable[Transport] = (UDP, TCP), sides: Iterable[Side] = ()
    ) -> None:
        """
        Let the ``transports`` through again, from the ``sides`` or from both.
        """
        for side in tuple(sides) or (self.a, self.b):
            side.weather.blocked.difference_update(transports)
            if TCP in side.weather.blocked:
                continue
            held, self._held[side] = self._held[side], []
            for packet, path in held:
                self._carry(side, path, packet)

    def breakTCP(self) -> None:
        """
        The TCP connection is reset: both sides are told, what is under way is lost.
        """
        for side in (self.a, self.b):
            self._held[side].clear()
        self._queue = [one for one in self._queue if one[4].transport != TCP]
        self._queue.sort()
        for side in (self.a, self.b):
            other = self.other(side)
            path = WirePath(TCP, other.address)
            side.linkTo(other).pathLost(path, "reset by peer", self.now)
            self.pump(side)

    def picture(self, size: int = 3000) -> None:
        """
        One picture from ``b`` to ``a``, and input the other way with every sixth.
        """
        number = self.frameCount
        self.frameCount += 1
        frame = VideoFrame(bytes(size), int(self.now * 1e6), number % 120 == 0)
        self.linkB.send(frame, self.now)
        self.pump(self.b)
        if number % 6 == 0:
            self.inputs.append(InputEvent(1, len(self.inputs), 1))
            self.linkA.send([self.inputs[-1]], self.now)
        if number % 20 == 0:
            self.linkA.send(Control(Command.PAUSE), self.now)
            self.controls += 1
        self.pump(self.a)

    def stream(self, seconds: float, interval: float = FRAME) -> None:
        """
        Pictures and input for ``seconds``.
        """
        end = self.now + seconds
        while self.now < end:
            self.picture()
            self.run(interval)

    def deliver(self, to: Side, packet: bytes, path: IPath) -> None:
        """
        Put one packet into a side, and note when a picture came of it.
        """
        before = len(to.events)
        super().deliver(to, packet, path)
        if any(isinstance(event, VideoReceived) for event in to.events[before:]):
            if self._lastPicture is not None:
                self.gap = max(self.gap, self.now - self._lastPicture)
            self._lastPicture = self.now

    def moves(self, side: Side) -> list[Transport]:
        """
        Where ``side`` moved to, one move after the other.
        """
        return [event.path.transport for event in side.eventsOf(PathMoved)]

    @property
    def transports(self) -> tuple[Transport | None, Transport | None]:
        """
        What each side sends on.
        """
        a, b = self.linkA.status().path, self.linkB.status().path
        return (
            a.transport if a is not None else None,
            b.transport if b is not None else None,
        )


def percentile(values: list[float], share: float) -> float:
    """
    The value that ``share`` of all do not exceed.
    """
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


class SurvivalCase(SynchronousTestCase):
    """
    What every one of these ends with.
    """

    def assertNothingMissed(self, wire: StreamWire) -> None:
        """
        Input and commands arrived once and in order, whatever happened.
        """
        wire.run(2)
        arrived = [
            each for event in wire.b.eventsOf(InputReceived) for each in event.events
        ]
        self.assertEqual(arrived, wire.inputs)
        pauses = [
            event
            for event in wire.b.eventsOf(ControlReceived)
            if event.control == Control(Command.PAUSE)
        ]
        self.assertEqual(len(pauses), wire.controls)

    def assertSameSession(self, wire: StreamWire) -> None:
        """
        No handshake was made, and both sides send under the same keys.
        """
        for side in (wire.a, wire.b):
            self.assertEqual(side.eventsOf(SessionEstablished), [])
        self.assertOnePair(wire)

    def assertOnePair(self, wire: StreamWire) -> None:
        """
        Both sides send under the same keys.
        """
        a, b = wire.a.session(wire.b), wire.b.session(wire.a)
        self.assertEqual(a.remoteIndex, b.localIndex)
        self.assertEqual(b.remoteIndex, a.localIndex)


class BlockedTests(SurvivalCase):
    """
    UDP is filtered in the middle of a stream, with a TCP connection ready.
    """

    def blocked(self, seed: int, directions: str) -> StreamWire:
        """
        UDP is blocked until both sides have left it, in one direction or both, and
        carries again.
        """
        wire = StreamWire(seed)
        sides = [getattr(wire, name) for name in directions]
        for side in (wire.a, wire.b):
            side.weather.jitter = 0.003
            side.weather.loss = 0.02
        wire.stream(0.5)
        wire.block([UDP], sides)
        wire.stream(2)
        self.assertEqual(wire.transports, (TCP, TCP))
        for side in (wire.a, wire.b):
            [moved] = side.eventsOf(PathMoved)
            self.assertEqual(moved.cause, "UDP is silent, TCP is alive")
        wire.unblock()
        start = wire.now
        while wire.transports != (UDP, UDP):
            wire.stream(0.2)
            self.assertLess(wire.now, start + 5)
        self.assertNothingMissed(wire)
        self.assertSameSession(wire)
        self.assertEqual(wire.a.eventsOf(VideoLost), [])
        self.assertEqual(len(wire.a.frames), wire.frameCount)
        self.assertEqual(wire.moves(wire.a), [TCP, UDP])
        self.assertEqual(wire.moves(wire.b), [TCP, UDP])
        return wire

    def test_bothWays(self) -> None:
        """
        F48: when UDP is dropped, the picture stands still for 0.3 s at the median
        and 0.6 s at the worst; nothing is lost, nothing comes twice, and within
        five seconds of the end of it the session is back on UDP.
        """
        gaps = [self.blocked(seed, "ab").gap for seed in range(100)]
        self.assertLessEqual(percentile(gaps, 0.5), 0.3)
        self.assertLessEqual(percentile(gaps, 0.99), 0.6)

    def test_fromTheHost(self) -> None:
        """
        F49: the same when nothing gets through from the host to the viewer.
        """
        gaps = [self.blocked(seed, "b").gap for seed in range(20)]
        self.assertLessEqual(percentile(gaps, 0.5), 0.3)
        self.assertLessEqual(max(gaps), 0.6)

    def test_fromTheViewer(self) -> None:
        """
        F49: when nothing gets through from the viewer to the host, the picture does
        not even stop, although nobody acknowledges it.
        """
        gaps = [self.blocked(seed, "a").gap for seed in range(20)]
        self.assertLessEqual(max(gaps), 0.15)

    def test_falseAlarm(self) -> None:
        """
        A peer that stalls for 0.3 s gets everything twice until it answers, and
        stays on UDP.
        """
        wire = StreamWire()
        wire.stream(1)
        wire.block([UDP, TCP], [wire.a])
        wire.stream(0.3)
        onTCP = WirePath(TCP, wire.a.address)
        self.assertGreater(wire.b.bytesTo(onTCP), 3000)
        wire.unblock()
        wire.stream(0.3)
        wire.b.sent.clear()
        wire.stream(3)
        self.assertEqual(wire.b.bytesTo(onTCP), 0)
        self.assertEqual(wire.moves(wire.a) + wire.moves(wire.b), [])
        self.assertEqual(len(wire.a.frames), wire.frameCount)
        self.assertNothingMissed(wire)

    def test_idle(self) -> None:
        """
        A session that streams nothing returns to UDP as soon as one that does.
        """
        wire = StreamWire()
        wire.stream(0.5)
        wire.block([UDP], [wire.a, wire.b])
        wire.stream(1.5)
        self.assertEqual(wire.transports, (TCP, TCP))
        wire.unblock()
        wire.run(5)
        self.assertEqual(wire.transports, (UDP, UDP))

    def test_neverAgain(self) -> None:
        """
        While UDP stays blocked it is probed once a second for a minute, and half a
        minute apart in the end.
        """
        wire = StreamWire()
        wire.stream(0.5)
        wire.block([UDP], [wire.a, wire.b])
        wire.stream(1.5)
        probed = WirePath(UDP, wire.b.address)
        counts = []
        for _ in range(3):
            wire.a.sent.clear()
            wire.run(40)
            counts.append(sum(path == probed for _, path, _ in wire.a.sent))
        self.assertTrue(35 <= counts[0] <= 45, counts)
        self.assertTrue(1 <= counts[2] <= 5, counts)
        wire.unblock()
        wire.linkA.networkChanged(wire.now)
        wire.pump(wire.a)
        wire.run(1)
        self.assertEqual(wire.transports, (UDP, UDP))

    def test_goodbye(self) -> None:
        """
        A session that ends while its path is suspect says goodbye on both.
        """
        wire = StreamWire()
        wire.stream(0.5)
        wire.block([UDP], [wire.a, wire.b])
        wire.stream(0.4)
        self.assertEqual(wire.transports, (UDP, UDP))
        wire.linkB.close(0, "", wire.now)
        wire.pump(wire.b)
        wire.run(0.5)
        self.assertTrue(wire.linkB.finished)
        self.assertTrue(wire.linkA.finished)


class MovedTests(SurvivalCase):
    """
    The viewer's address changes, and what goes to the old one is lost.
    """

    def moves(self, host: str, standby: bool) -> None:
        """
        Within a tenth of a second and a round trip the picture goes on, and no frame
        is lost.
        """
        gaps = []
        for seed in range(50):
            wire = StreamWire(seed, standby)
            wire.stream(0.5 + wire.random.random() * 0.1)
            wire.a.address = (host, 7000 + seed)
            wire.stream(1)
            gaps.append(wire.gap - FRAME)
            path = WirePath(UDP, wire.a.address)
            self.assertEqual(wire.linkB.status().path, path)
            self.assertNothingMissed(wire)
            self.assertSameSession(wire)
            self.assertEqual(wire.a.eventsOf(Impaired), [])
            self.assertEqual(len(wire.a.frames), wire.frameCount)
            self.assertLessEqual(len(wire.b.eventsOf(PathMoved)), 1)
        # The round trip is 20 ms.
        self.assertLessEqual(percentile(gaps, 0.5), 0.07)
        self.assertLessEqual(max(gaps), 0.12)

    def test_port(self) -> None:
        """
        F45: a NAT that forgets the viewer and gives it another port.
        """
        self.moves("192.0.2.1", standby=False)

    def test_portWithStandby(self) -> None:
        """
        F45: the same with a TCP connection, which the NAT has not forgotten.
        """
        self.moves("192.0.2.1", standby=True)

    def test_address(self) -> None:
        """
        F45: a viewer that goes from one network to another.
        """
        self.moves("198.51.100.7", standby=False)

    def test_idleRoams(self) -> None:
        """
        F64: a side that gets another address and is told so is followed at once, also
        when nothing flows that would show it.
        """
        wire = StreamWire()
        wire.stream(0.5)
        wire.run(60)
        wire.a.address = ("192.0.2.99", 1111)
        wire.linkA.networkChanged(wire.now)
        wire.pump(wire.a)
        wire.run(0.5)
        current = wire.linkB.status().path
        assert current is not None
        self.assertEqual(current.address, wire.a.address)
        self.assertIn(current, wire.linkB.paths)


class StandbyTests(SurvivalCase):
    """
    The TCP connection comes late, or goes.
    """

    def test_none(self) -> None:
        """
        Without a standby path, suspicion is told of at once; a connection that is
        added then is used as soon as it has answered, and the picture goes on.
        """
        wire = StreamWire(standby=False)
        self.assertTrue(wire.linkA.wantsStandby)
        wire.stream(0.5)
        wire.block([UDP], [wire.a, wire.b])
        start = wire.now
        while not wire.a.eventsOf(Suspect):
            wire.stream(FRAME)
        # Input goes out every sixth frame.
        self.assertLess(wire.now - start, SUSPECT_AFTER + 8 * FRAME)
        wire.stream(0.1)
        wire.addStandby()
        wire.stream(2)
        self.assertFalse(wire.linkA.wantsStandby)
        self.assertEqual(wire.transports, (TCP, TCP))
        self.assertLess(wire.gap, 0.6)
        self.assertEqual(wire.a.eventsOf(Impaired), [])
        # What was under way when it came was sent on it again.
        self.assertEqual(len(wire.a.frames), wire.frameCount)
        self.assertNothingMissed(wire)
        self.assertSameSession(wire)

    def test_slowToAnswer(self) -> None:
        """
        A connection that answers only after seconds becomes a standby path all the
        same.
        """
        wire = StreamWire(standby=False)
        wire.block([TCP], [wire.b])
        wire.addStandby()
        wire.run(3)
        wire.unblock()
        wire.run(20)
        self.assertFalse(wire.linkA.wantsStandby)

    def test_lost(self) -> None:
        """
        The end of a standby connection changes nothing but that another is wanted.
        """
        wire = StreamWire()
        self.assertFalse(wire.linkA.wantsStandby)
        wire.stream(0.5)
        wire.breakTCP()
        self.assertTrue(wire.linkA.wantsStandby)
        wire.stream(1)
        for side in (wire.a, wire.b):
            self.assertEqual(wire.moves(side), [])
            self.assertEqual(side.eventsOf(Impaired), [])
        self.assertLess(wire.gap, 0.1)
        self.assertNothingMissed(wire)

    def test_lostInUse(self) -> None:
        """
        When TCP ends while the session runs on it and UDP carries again, it goes on
        over UDP, and nothing that waits is lost.
        """
        wire = StreamWire()
        wire.stream(0.5)
        wire.block([UDP], [wire.a, wire.b])
        wire.stream(2)
        self.assertEqual(wire.transports, (TCP, TCP))
        wire.unblock()
        wire.stream(0.2)
        wire.breakTCP()
        wire.stream(3)
        self.assertEqual(wire.transports, (UDP, UDP))
        self.assertNothingMissed(wire)
        self.assertOnePair(wire)

    def test_lostAlone(self) -> None:
        """
        F59: when TCP is reset while UDP is blocked, the session goes on over the next
        connection, with all that the old one lost and all that was sent meanwhile:
        every frame arrives.
        """
        gaps = []
        for seed in range(20):
            wire = StreamWire(seed)
            wire.stream(0.5)
            wire.block([UDP], [wire.a, wire.b])
            wire.stream(2 + wire.random.random() * FRAME)
            self.assertEqual(wire.transports, (TCP, TCP))
            wire.gap = 0.0
            wire.breakTCP()
            self.assertTrue(wire.linkA.wantsStandby)
            [lost] = wire.a.eventsOf(Impaired)
            self.assertEqual(lost.transports, ())
            wire.stream(0.05)
            wire.addStandby()
            wire.stream(1)
            gaps.append(wire.gap)
            self.assertEqual(wire.transports, (TCP, TCP))
            self.assertNothingMissed(wire)
            self.assertSameSession(wire)
            self.assertEqual(len(wire.a.frames), wire.frameCount)
            self.assertEqual(wire.b.eventsOf(KeyFrameWanted), [])
        # The connection came after 50 ms; two round trips after it, pictures.
        self.assertLess(max(gaps), 0.05 + 0.04 + 3 * FRAME)

    def test_roamed(self) -> None:
        """
        A viewer that dials its connection from another network is met there: the
        host validates the new path and stays where it is, until the old one fails.
        """
        wire = StreamWire(standby=False)
        wire.stream(0.5)
        old = wire.a.address
        wire.a.address = ("198.51.100.7", 7000)
        wire.addStandby()
        wire.stream(1)
        self.assertEqual(wire.linkB.status().path, WirePath(UDP, wire.a.address))
        self.assertNotEqual(wire.a.address, old)
        wire.block([UDP], [wire.a, wire.b])
        wire.stream(2)
        self.assertEqual(wire.linkB.status().path, WirePath(TCP, wire.a.address))
        self.assertEqual(wire.transports, (TCP, TCP))
        self.assertNothingMissed(wire)

    def test_useless(self) -> None:
        """
        A link that has no session, or is about to end, takes no standby path.
        """
        wire = StreamWire(standby=False)
        fresh = Wire()
        link = fresh.a.linkTo(fresh.b)
        path = WirePath(TCP, fresh.b.address)
        link.addPath(path, fresh.now)
        fresh.pump(fresh.a)
        self.assertEqual(fresh.a.sent, [])
        self.assertFalse(link.wantsStandby)
        wire.linkA.close(0, "", wire.now)
        wire.addStandby()
        self.assertEqual(wire.a.bytesTo(path), 0)

    def test_manyDialled(self) -> None:
        """
        Of all addresses that were dialled, the last is the one to return to.
        """
        wire = StreamWire(standby=False)
        for port in range(12):
            path = WirePath(UDP, ("198.51.100.9", port))
            wire.linkA.connect(path, wire.now)
            wire.linkA.abandon(path)
        known = wire.linkA._routing._known
        self.assertEqual(len(known), MAX_KNOWN_PATHS)
        self.assertEqual(next(reversed(known)), path)


class OutageTests(SurvivalCase):
    """
    Nothing carries.
    """

    def test_total(self) -> None:
        """
        After four seconds without any network the session goes on under its old
        keys, returns to UDP once, and stays there.
        """
        for seed in range(10):
            wire = StreamWire(seed)
            wire.stream(0.5)
            wire.block([UDP, TCP], [wire.a, wire.b])
            wire.stream(4)
            wire.unblock()
            wire.stream(5)
            self.assertEqual(wire.transports, (UDP, UDP))
            self.assertSameSession(wire)
            before = [wire.moves(side) for side in (wire.a, wire.b)]
            self.assertLessEqual(max(map(len, before)), 2)
            wire.stream(5)
            after = [wire.moves(side) for side in (wire.a, wire.b)]
            self.assertEqual(after, before)
            self.assertNothingMissed(wire)

    def test_answeredLate(self) -> None:
        """
        When a blocked connection carries again it brings the answers to all PINGs that
        it held back; they do not make the round trip look longer than it is, so the
        next failure is noticed as soon as the first.
        """
        wire = StreamWire()
        wire.stream(0.5)
        wire.block([UDP, TCP], [wire.a, wire.b])
        wire.stream(2.5)
        wire.unblock()
        wire.stream(1)
        self.assertLess(wire.linkA.status().roundTrip or 0, 0.1)
        self.assertLess(wire.linkB.status().roundTrip or 0, 0.1)

    def test_begunOverTCP(self) -> None:
        """
        A session that began over TCP, and in which nothing happens, returns to UDP all
        the same.
        """
        wire = Wire()
        for side in (wire.a, wire.b):
            side.weather.blocked.add(UDP)
        wire.a.dial(wire.b)
        wire.a.dial(wire.b, TCP)
        wire.run(0.5)
        onUDP = WirePath(UDP, wire.b.address)
        self.assertNotEqual(wire.a.linkTo(wire.b).status().path, onUDP)
        for side in (wire.a, wire.b):
            side.weather.blocked.clear()
        wire.run(3)
        self.assertEqual(wire.a.linkTo(wire.b).status().path, onUDP)

    def test_noAmplification(self) -> None:
        """
        F46: on a path that stopped carrying, the side that did not choose the
        address sends no more than thrice what it gets there, until it has answered.
        """
        wire = StreamWire()
        wire.stream(0.5)
        wire.block([UDP], [wire.b])
        wire.stream(1.5)
        self.assertEqual(wire.transports, (TCP, TCP))
        wire.a.sent.clear()
        wire.b.sent.clear()
        wire.stream(10)
        there = wire.a.bytesTo(WirePath(UDP, wire.b.address))
        back = wire.b.bytesTo(WirePath(UDP, wire.a.address))
        self.assertGreater(back, 0)
        self.assertLessEqual(back, 3 * there)


class NoPathTests(SurvivalCase):
    """
    A session that has keys, and no path left.
    """

    def test_anySign(self) -> None:
        """
        A side without a path asks whoever it hears, be it by a mere PING, and goes on
        there without a handshake.
        """
        wire = StreamWire(standby=False)
        wire.linkB.pathLost(WirePath(UDP, wire.a.address), "gone", wire.now)
        self.assertIsNone(wire.linkB.status().path)
        wire.forget()
        wire.run(20)
        self.assertEqual(wire.linkB.status().path, WirePath(UDP, wire.a.address))
        self.assertEqual(wire.b.eventsOf(SessionEstablished), [])


class PathUseTests(SurvivalCase):
    """
    The packet that tells of a move is lost, doubled, forwarded, or meets another.
    """

    def use(self, seq: int) -> bytes:
        """
        The frame.
        """
        return bytes((FrameType.PATH_USE,)) + seq.to_bytes(4, "little")

    def test_lost(self) -> None:
        """
        A session is on UDP on both sides although the announcements of the viewer
        never arrived while it returned there.
        """
        wire = StreamWire()
        wire.stream(0.5)
        wire.block([UDP], [wire.a, wire.b])
        wire.stream(1.5)
        wire.unblock()
        announced: list[float] = []

        def lost(packet: bytes) -> bool:
            onUDP = wire.linkA.status().path == WirePath(UDP, wire.b.address)
            if onUDP and len(packet) == ANNOUNCEMENT and len(announced) < 3:
                announced.append(wire.now)
                return False
            return True

        wire.a.weather.filter = lost
        wire.stream(8)
        self.assertEqual(len(announced), 3)
        self.assertEqual(wire.transports, (UDP, UDP))
        self.assertNothingMissed(wire)

    def test_again(self) -> None:
        """
        An announcement whose number is not higher than all before moves nothing; one
        whose number is, does.
        """
        wire = StreamWire()
        wire.stream(0.5)
        wire.block([UDP], [wire.a, wire.b])
        wire.stream(1.5)
        self.assertEqual(wire.transports, (TCP, TCP))
        session = wire.a.session(wire.b)
        wire.unblock()
        onUDP = WirePath(UDP, wire.a.address)
        for seq in (0, wire.linkB._routing._useSeq):
            wire.deliver(wire.b, session.seal(self.use(seq)), onUDP)
            wire.run(0.05)
            self.assertEqual(wire.transports[1], TCP)
        seq = wire.linkB._routing._useSeq + 1
        wire.deliver(wire.b, session.seal(self.use(seq)), onUDP)
        # Having been left, UDP has to answer first.
        wire.run(0.03)
        self.assertEqual(wire.transports[1], UDP)

    def test_whileUDPAnswers(self) -> None:
        """
        F44: nobody leaves UDP for another path because of an announcement, while UDP
        answers; the stream goes on there.
        """
        for elsewhere in (ELSEWHERE, WirePath(TCP, ELSEWHERE.address)):
            wire = StreamWire()
            wire.forwarders.add(ELSEWHERE.address)
            packet = wire.a.session(wire.b).seal(self.use(7))
            wire.deliver(wire.b, packet, elsewhere)
            wire.stream(2)
            self.assertEqual(wire.transports, (UDP, UDP))
            self.assertEqual(wire.moves(wire.b), [])
            self.assertNothingMissed(wire)

    def test_numbersEnd(self) -> None:
        """
        A peer that announces the highest number there is breaks nothing: moves go on,
        by what each side hears.
        """
        wire = StreamWire()
        packet = wire.b.session(wire.a).seal(self.use(2**32 - 1))
        wire.deliver(wire.a, packet, WirePath(UDP, wire.b.address))
        wire.stream(0.5)
        wire.block([UDP], [wire.a, wire.b])
        wire.stream(3)
        self.assertEqual(wire.transports, (TCP, TCP))
        self.assertNothingMissed(wire)

    def test_bothAtOnce(self) -> None:
        """
        When both sides move at once, each elsewhere, they end on the same path.
        """
        wire = StreamWire()
        for link, other, transport in (
            (wire.linkA, wire.b, UDP),
            (wire.linkB, wire.a, TCP),
        ):
            state = link._paths.get(WirePath(transport, other.address))
            assert state is not None
            link._routing._move(state, "at will", wire.now)
        self.assertEqual(wire.transports, (UDP, TCP))
        wire.stream(3)
        self.assertEqual(wire.transports, (UDP, UDP))
        self.assertNothingMissed(wire)

    def test_forwarded(self) -> None:
        """
        F46: whoever takes an announcement and delivers it from another address is
        asked whether the peer is there, and gets nothing else.
        """
        wire = StreamWire()
        packet = wire.a.session(wire.b).seal(self.use(1))
        wire.deliver(wire.b, packet, ELSEWHERE)
        wire.stream(3)
        self.assertEqual(wire.linkB.status().path, WirePath(UDP, wire.a.address))
        self.assertLessEqual(wire.b.bytesTo(ELSEWHERE), 3 * len(packet))
        self.assertEqual(wire.moves(wire.b), [])
        self.assertNothingMissed(wire)

    def test_notRepeatedElsewhere(self) -> None:
        """
        An announcement says which path by the path that it comes by: it does not go
        out again on another.
        """
        wire = StreamWire()
        onTCP, onUDP = (WirePath(each, wire.b.address) for each in (TCP, UDP))
        state, other = (wire.linkA._paths.get(each) for each in (onTCP, onUDP))
        assert state is not None
        assert other is not None
        wire.linkA._routing._move(state, "at will", wire.now)
        wire.pump(wire.a)
        wire.linkA._packing.again(other)
        wire.pump(wire.a)
        [path] = [path for _, path, each in wire.a.sent if len(each) == ANNOUNCEMENT]
        self.assertEqual(path, onTCP)
