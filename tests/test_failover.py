"""
Tests for `rootstream.protocol.failover`.
"""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from rootstream.interfaces import Transport
from rootstream.protocol.constants import (
    DEAD_AFTER,
    MAX_BACKLOG,
    PING_IDLE,
    PROBE_EAGER,
    PROBE_FIRST,
    PROBE_LAST,
    PROBE_NEXT,
    SUSPECT_AFTER,
)
from rootstream.protocol.failover import Failover
from rootstream.protocol.paths import Paths, PathState
from tests.wire import WirePath, respond

START = 1000.0
UDP = WirePath(Transport.UDP, ("192.0.2.1", 1))
OTHER = WirePath(Transport.UDP, ("192.0.2.1", 2))
TCP = WirePath(Transport.TCP, ("192.0.2.1", 3))
#: A round trip so short that it does not matter, and one that does.
SHORT, LONG = 0.02, 0.4


class FailoverCase(SynchronousTestCase):
    """
    A peer that made a handshake over ``UDP``.
    """

    def setUp(self) -> None:
        self.paths = Paths(Random(1).randbytes)
        self.udp = self.paths.validate(UDP, START)
        self.paths.use(self.udp)
        self.failover = Failover(self.paths)
        self.failover.moved(START)

    def standby(self) -> PathState:
        """
        A TCP connection that has answered.
        """
        return self.paths.validate(TCP, START)

    def suspect(self) -> None:
        """
        What was sent at ``START`` was not acknowledged.
        """
        self.failover.sent(START)
        self.assertTrue(self.failover.becomesSuspect(SHORT, START + SUSPECT_AFTER))


class SuspicionTests(FailoverCase):
    """
    When the path in use is doubted, and given up.
    """

    def test_silence(self) -> None:
        """
        F48: a path is suspect 150 ms after the first packet that nobody
        acknowledged, and asked.
        """
        self.assertIsNone(self.failover.nextTimer(SHORT))
        self.assertFalse(self.failover.becomesSuspect(SHORT, START + 10))
        self.failover.sent(START)
        self.failover.sent(START + 0.1)
        at = START + SUSPECT_AFTER
        self.assertEqual(self.failover.nextTimer(SHORT), at)
        self.assertFalse(self.failover.becomesSuspect(SHORT, at - 0.001))
        self.assertIsNone(self.udp.challenge)
        self.assertTrue(self.failover.becomesSuspect(SHORT, at))
        self.assertIsNotNone(self.udp.challenge)
        self.assertEqual(self.failover.suspectSince, at)
        self.assertFalse(self.failover.becomesSuspect(SHORT, at + 1))

    def test_longRoundTrip(self) -> None:
        """
        Where an acknowledgement takes long by nature, it has two round trips.
        """
        self.failover.sent(START)
        self.assertEqual(self.failover.nextTimer(LONG), START + 2 * LONG)
        self.assertFalse(self.failover.becomesSuspect(LONG, START + 0.79))
        self.assertTrue(self.failover.becomesSuspect(LONG, START + 0.8))

    def test_acknowledged(self) -> None:
        """
        Progress ends the wait, and the next one begins with what is sent next.
        """
        self.failover.sent(START)
        self.failover.acknowledged(START)
        self.assertFalse(self.failover.becomesSuspect(SHORT, START + 10))
        self.failover.sent(START + 5)
        self.assertEqual(self.failover.nextTimer(SHORT), START + 5 + SUSPECT_AFTER)

    def test_withoutPath(self) -> None:
        """
        No path, no suspicion.
        """
        self.failover.sent(START)
        self.paths.lost(UDP)
        self.assertFalse(self.failover.becomesSuspect(SHORT, START + 1))

    def test_alone(self) -> None:
        """
        A suspect path without another is not given up, and an acknowledgement can
        only have come by it.
        """
        self.suspect()
        self.assertIsNone(self.failover.doubled(START + SUSPECT_AFTER))
        self.assertIsNone(self.failover.replacement(START + 60))
        self.assertIsNone(self.failover.nextTimer(SHORT))
        self.failover.acknowledged(START)
        self.assertIsNone(self.failover.suspectSince)

    def test_doubled(self) -> None:
        """
        F49: while packets go out on two paths, an acknowledgement says nothing
        about the suspect one; it is dead a second after the first packet.
        """
        standby = self.standby()
        at = START + SUSPECT_AFTER
        self.assertIsNone(self.failover.doubled(at))
        self.suspect()
        self.assertIs(self.failover.doubled(at), standby)
        self.failover.acknowledged(at)
        self.paths.heard(standby.path, 38, at + 0.02)
        self.assertEqual(self.failover.nextTimer(SHORT), START + DEAD_AFTER)
        self.assertIsNone(self.failover.replacement(START + DEAD_AFTER - 0.001))
        self.assertIs(self.failover.replacement(START + DEAD_AFTER), standby)
        self.assertIsNone(self.failover.doubled(START + DEAD_AFTER))

    def test_networkIsDown(self) -> None:
        """
        When nothing is heard on the standby path either, nothing is gained by moving:
        packets go out twice until the path would be dead, and then once; what is
        acknowledged then came by it.
        """
        self.standby()
        self.suspect()
        self.assertIsNone(self.failover.replacement(START + 60))
        self.assertIsNone(self.failover.doubled(START + DEAD_AFTER))
        self.failover.acknowledged(START + 2)
        self.assertIsNone(self.failover.suspectSince)

    def test_recovered(self) -> None:
        """
        After an outage the path in use is as good as any.
        """
        standby = self.standby()
        self.suspect()
        self.failover.recovered()
        self.paths.heard(standby.path, 38, START + 5)
        self.assertIsNone(self.failover.replacement(START + 5))

    def test_fullStandby(self) -> None:
        """
        A connection that takes nothing more is not given more.
        """
        path = WirePath(Transport.TCP, ("192.0.2.2", 9876), backlog=MAX_BACKLOG + 1)
        self.paths.validate(path, START)
        self.suspect()
        self.assertIsNone(self.failover.doubled(START + SUSPECT_AFTER))

    def test_answered(self) -> None:
        """
        A challenge that comes back on the suspect path clears it; one on another
        path does not.
        """
        standby = self.standby()
        self.suspect()
        self.failover.responded(standby, START + 0.2)
        self.assertIsNotNone(self.failover.suspectSince)
        self.failover.responded(self.udp, START + 0.2)
        self.assertIsNone(self.failover.suspectSince)
        self.assertIsNone(self.failover.replacement(START + 5))

    def test_moved(self) -> None:
        """
        Nothing that the old path did counts against the new one.
        """
        standby = self.standby()
        self.suspect()
        self.paths.use(standby)
        self.failover.moved(START + 1)
        self.assertIsNone(self.failover.suspectSince)
        self.assertIsNone(self.failover.replacement(START + 60))


class StandbyTests(FailoverCase):
    """
    Which path is in reserve, and what is done for it.
    """

    def test_choice(self) -> None:
        """
        The other transport comes first, then the path heard last; what is not
        validated does not count.
        """
        self.assertIsNone(self.failover.standby)
        self.paths.add(TCP)
        self.assertIsNone(self.failover.standby)
        other = self.paths.validate(OTHER, START + 1)
        self.assertIs(self.failover.standby, other)
        self.assertIs(self.failover.standby, other)
        tcp = self.standby()
        self.assertIs(self.failover.standby, tcp)
        self.paths.use(tcp)
        self.assertIs(self.failover.standby, other)

    def test_withoutCurrent(self) -> None:
        """
        When there is no path in use, there may be one to go to.
        """
        tcp = self.standby()
        self.paths.heard(TCP, 100, START + 1)
        self.paths.current = None
        self.assertIs(self.failover.standby, tcp)

    def test_keptAlive(self) -> None:
        """
        A standby path is asked every fifteen seconds.
        """
        self.failover.keepsAlive(START + 60)
        standby = self.standby()
        self.assertEqual(self.failover.nextTimer(SHORT), START + PING_IDLE)
        self.failover.keepsAlive(START + PING_IDLE - 0.001)
        self.assertIsNone(standby.challenge)
        self.failover.keepsAlive(START + PING_IDLE)
        self.assertIsNotNone(standby.challenge)
        self.assertIsNone(self.udp.challenge)
        self.assertEqual(self.failover.nextTimer(SHORT), START + 2 * PING_IDLE)

    def test_notYetValidated(self) -> None:
        """
        A connection that did not answer is asked again; an address is not.
        """
        tcp, other = self.paths.add(TCP), self.paths.add(OTHER)
        self.failover.keepsAlive(START + PING_IDLE)
        self.assertIsNotNone(tcp.challenge)
        self.assertIsNone(other.challenge)


class ReturnTests(FailoverCase):
    """
    The way back to UDP.
    """

    def setUp(self) -> None:
        super().setUp()
        self.paths.use(self.standby())
        self.paths.distrust(self.udp)
        self.failover.moved(START)

    def answer(self, now: float) -> None:
        """
        The probe comes back.
        """
        assert self.udp.challenge is not None
        self.assertIs(respond(self.paths, self.udp.challenge), self.udp)
        self.failover.responded(self.udp, now)

    def test_threeAnswers(self) -> None:
        """
        Three probes that were answered in a row move the session back; while that
        is being found out, the path is in nobody's reserve.
        """
        now = START
        self.assertFalse(self.failover.probe(self.udp, now))
        self.assertIsNone(self.udp.challenge)
        now += PROBE_FIRST
        self.assertEqual(self.failover.nextTimer(SHORT), now)
        for _ in range(3):
            self.assertFalse(self.failover.probe(self.udp, now))
            self.answer(now + 0.01)
            self.assertIsNone(self.failover.standby)
            now += 0.01 + PROBE_NEXT
        self.assertTrue(self.failover.probe(self.udp, now))

    def test_oneMissing(self) -> None:
        """
        One that stays away begins the count anew.
        """
        now = START
        for _ in range(4):
            for _ in range(2):
                now += PROBE_FIRST
                self.assertFalse(self.failover.probe(self.udp, now))
                self.answer(now + 0.01)
            now += PROBE_FIRST
            self.assertFalse(self.failover.probe(self.udp, now))
            # This one is lost.
            now += PROBE_FIRST
            self.assertFalse(self.failover.probe(self.udp, now))

    def test_anotherPath(self) -> None:
        """
        What one path answered does not count for the next.
        """
        self.failover.probe(self.udp, START)
        for _ in range(3):
            self.failover.responded(self.udp, START)
        other = self.paths.add(OTHER)
        self.assertFalse(self.failover.probe(other, START))

    def test_evermoreSeldom(self) -> None:
        """
        A probe a second for a minute; then the waits grow to half a minute; and
        when the network changes it is all new.
        """
        now, waits = START + PROBE_FIRST, []
        while now < START + 400:
            self.failover.probe(self.udp, now)
            at = self.failover.nextTimer(SHORT)
            assert at is not None
            waits.append(at - now)
            now = at
        eager = [wait for wait in waits if wait == PROBE_FIRST]
        self.assertTrue(58 <= len(eager) <= PROBE_EAGER, len(eager))
        self.assertEqual(waits, sorted(waits))
        self.assertEqual(waits[-1], PROBE_LAST)
        self.failover.probesNow(now)
        self.failover.probe(self.udp, now)
        self.assertEqual(self.failover.nextTimer(SHORT), now + PROBE_FIRST)
