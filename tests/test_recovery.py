"""
Tests for `rootstream.protocol.recovery`.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from rootstream.protocol.constants import (
    ACK_BITS,
    MAX_PACKET,
    MAX_SENT_BYTES,
    SENT_LIFE,
)
from rootstream.protocol.frames import Ack
from rootstream.protocol.recovery import SentPackets

ROUND_TRIP = 0.08
TIMEOUT = 0.3
START = 1000.0


def ackOf(counters: Iterable[int]) -> Ack:
    """
    What a peer says that has received these counters.
    """
    arrived = set(counters)
    largest = max(arrived)
    bitmap = sum(1 << (largest - 1 - each) for each in arrived if each != largest)
    return Ack(largest, 0, 0, bitmap & ((1 << ACK_BITS) - 1))


def named(counter: int) -> bytes:
    """
    A packet that can be told from the others.
    """
    return b"packet %d" % counter


class SentPacketsTests(SynchronousTestCase):
    """
    Which packets are sent again, and when.
    """

    def setUp(self) -> None:
        self.sent = SentPackets()

    def enter(
        self, *counters: int, now: float = START, life: float | None = 0.5
    ) -> None:
        """
        Send packets that are of use for ``life`` seconds.
        """
        for counter in counters:
            if life is None:
                self.sent.counted(counter, now)
            else:
                self.sent.sent(counter, [named(counter)], now, now + life)

    def due(self, now: float) -> list[bytes]:
        """
        What is sent again at ``now``.
        """
        return self.sent.due(ROUND_TRIP, TIMEOUT, MAX_PACKET, now)

    def timer(self) -> float | None:
        """
        When something is to be sent again.
        """
        return self.sent.nextTimer(ROUND_TRIP, TIMEOUT)

    def test_nothingWaits(self) -> None:
        """
        At first nothing waits, nothing is due, and there is no timer.
        """
        self.assertEqual(len(self.sent), 0)
        self.assertFalse(self.sent.resendable)
        self.assertEqual(self.due(START), [])
        self.assertIsNone(self.timer())

    def test_acknowledged(self) -> None:
        """
        What an ACK covers waits no more, and is not sent again.
        """
        self.enter(0, 1, 2)
        self.sent.received(ackOf([0, 1, 2]), START + 0.05)
        self.assertEqual(len(self.sent), 0)
        self.assertFalse(self.sent.resendable)
        self.assertEqual(self.sent.acknowledged, 3)
        self.assertEqual(self.sent.progressAt, START + 0.05)
        self.assertEqual(self.due(START + 10), [])
        self.assertEqual(self.sent.lost, 0)

    def test_repeatedAckIsNoProgress(self) -> None:
        """
        An ACK that says nothing new does not count as progress.
        """
        self.enter(0, 1)
        self.sent.received(ackOf([0]), START + 0.05)
        self.sent.received(ackOf([0]), START + 0.06)
        self.assertEqual(self.sent.progressAt, START + 0.05)
        self.assertEqual(self.sent.acknowledged, 1)

    def test_laterAckFillsTheHole(self) -> None:
        """
        A second ACK that differs from the first in old counters only is read whole.
        """
        self.enter(*range(10))
        self.sent.received(ackOf([0, 2, 9]), START)
        self.sent.received(ackOf([0, 1, 2, 5, 9]), START)
        self.assertEqual(self.sent.acknowledged, 5)
        self.assertEqual(len(self.sent), 5)

    def test_overtakenAck(self) -> None:
        """
        An ACK that a newer one overtook still counts for what it covers, and does
        not take back what is known.
        """
        self.enter(*range(6))
        self.sent.received(ackOf([5]), START)
        self.sent.received(ackOf([0, 1, 3]), START)
        self.assertEqual(self.sent.largest, 5)
        self.assertEqual(self.sent.acknowledged, 4)
        self.assertEqual(set(self.due(START)), {named(2)})
        self.sent.received(ackOf([0, 1, 2, 3, 4, 5]), START)
        self.assertEqual(len(self.sent), 0)

    def test_ackAfterAGap(self) -> None:
        """
        An ACK that has nothing in common with the one before is read whole.
        """
        self.enter(*range(3 * ACK_BITS))
        self.sent.received(ackOf([0]), START)
        self.sent.received(ackOf(range(3 * ACK_BITS)), START)
        self.assertEqual(len(self.sent), 2 * ACK_BITS - 2)

    def test_reordering(self) -> None:
        """
        A packet that two later ones overtook is not missing yet; the third makes
        it so (RFC 9002, section 6.1.1).
        """
        self.enter(0, 1, 2, 3)
        self.sent.received(ackOf([1, 2]), START + 0.01)
        self.assertEqual(self.due(START + 0.01), [])
        self.sent.received(ackOf([1, 2, 3]), START + 0.02)
        self.assertEqual(self.timer(), START)
        self.assertEqual(self.due(START + 0.02), [named(0)])
        self.assertEqual(self.sent.resent, 1)

    def test_overtakenForLong(self) -> None:
        """
        A packet that one later one overtook is missing after 9/8 of the round trip
        (RFC 9002, section 6.1.2).
        """
        self.enter(0, 1)
        self.sent.received(ackOf([1]), START + 0.08)
        self.assertEqual(self.timer(), START + 0.09)
        self.assertEqual(self.due(START + 0.089), [])
        self.assertEqual(self.due(START + 0.09), [named(0)])

    def test_shortRoundTrip(self) -> None:
        """
        On a round trip of no length an overtaken packet has a millisecond.
        """
        self.enter(0, 1)
        self.sent.received(ackOf([1]), START)
        self.assertEqual(self.sent.due(0.0, TIMEOUT, MAX_PACKET, START), [])
        self.assertEqual(self.sent.nextTimer(0.0, TIMEOUT), START + 0.001)
        self.assertEqual(
            self.sent.due(0.0, TIMEOUT, MAX_PACKET, START + 0.001), [named(0)]
        )

    def test_longRoundTrip(self) -> None:
        """
        An overtaken packet never waits longer than one that nobody overtook.
        """
        self.enter(0, 1)
        self.sent.received(ackOf([1]), START)
        self.assertEqual(self.sent.nextTimer(3.0, 1.0), START + 1.0)

    def test_silence(self) -> None:
        """
        When no ACK comes, each packet is sent again after the timeout, and again.
        """
        self.enter(0, life=10)
        self.enter(1, now=START + 0.01, life=10)
        self.assertEqual(self.timer(), START + TIMEOUT)
        self.assertEqual(self.due(START + TIMEOUT), [named(0)])
        self.assertEqual(self.timer(), START + 0.01 + TIMEOUT)
        self.assertEqual(self.due(START + 0.01 + TIMEOUT), [named(1)])
        again = START + TIMEOUT + TIMEOUT
        self.assertEqual(self.timer(), again)
        self.assertEqual(self.due(again), [named(0)])
        self.assertEqual(self.sent.resent, 3)

    def test_aCopyIsWaitedFor(self) -> None:
        """
        Once sent again, a packet is not missing for what was under way already: the
        ACKs that are still to come were sent before the copy can have arrived.
        """
        self.enter(*range(20))
        self.sent.received(ackOf(range(1, 10)), START + 0.1)
        self.assertEqual(self.due(START + 0.1), [named(0)])
        self.sent.received(ackOf(range(1, 20)), START + 0.21)
        self.assertEqual(self.due(START + 0.21), [])
        self.assertEqual(self.timer(), START + 0.1 + TIMEOUT)

    def test_aLostCopy(self) -> None:
        """
        A copy is missing in turn when three packets sent after it have arrived.
        """
        self.enter(*range(4))
        self.sent.received(ackOf([1, 2, 3]), START)
        self.assertEqual(self.due(START), [named(0)])
        self.enter(4, 5, 6)
        self.sent.received(ackOf(range(1, 6)), START + 0.01)
        self.assertEqual(self.due(START + 0.01), [])
        self.sent.received(ackOf(range(1, 7)), START + 0.02)
        self.assertEqual(self.due(START + 0.02), [named(0)])
        self.sent.received(ackOf(range(7)), START + 0.1)
        self.assertEqual((self.sent.acknowledged, self.sent.lost), (7, 0))

    def test_tooLate(self) -> None:
        """
        A packet past its deadline is given up instead of being sent again.
        """
        self.enter(0, life=0.2)
        self.enter(1, life=0.5)
        self.assertEqual(self.due(START + TIMEOUT), [named(1)])
        self.assertEqual(self.sent.lost, 1)
        self.assertEqual(self.due(START + 2 * TIMEOUT), [])
        self.assertEqual(self.sent.lost, 2)
        self.assertFalse(self.sent.resendable)
        self.assertIsNone(self.timer())

    def test_onlyCounted(self) -> None:
        """
        A packet without a deadline is never sent again: it is counted, as arrived
        or, after a while, as lost.
        """
        self.enter(0, 1, life=None)
        self.assertFalse(self.sent.resendable)
        self.sent.received(ackOf([1]), START)
        for step in range(10):
            self.assertEqual(self.due(START + SENT_LIFE * step / 10), [])
        self.assertEqual((self.sent.acknowledged, self.sent.lost), (1, 0))
        self.assertEqual(self.due(START + SENT_LIFE + TIMEOUT), [])
        self.assertEqual((self.sent.acknowledged, self.sent.lost), (1, 1))
        self.assertEqual(self.sent.resent, 0)

    def test_countingWakesNobody(self) -> None:
        """
        Packets that are only counted need no timer; media behind them does.
        """
        self.enter(0, life=None)
        self.assertIsNone(self.timer())
        self.enter(1)
        self.assertEqual(self.timer(), START + TIMEOUT)

    def test_ackOfWhatWasNeverSent(self) -> None:
        """
        A peer that acknowledges what was never sent does not make us send
        everything twice.
        """
        self.sent.received(Ack((1 << 40) - 1, 0, 0, (1 << ACK_BITS) - 1), START)
        self.assertEqual(self.sent.largest, -1)
        self.enter(*range(5))
        self.sent.received(Ack((1 << 40) - 1, 0, 0, (1 << ACK_BITS) - 1), START)
        self.assertEqual(self.sent.acknowledged, 0)
        self.enter(*range(5, 50))
        self.assertNotIn(named(49), self.due(START + 0.01))

    def test_bounded(self) -> None:
        """
        The packets kept are no more than 16 MiB; the oldest are given up first.
        """
        packet = bytes(1 << 20)
        count = MAX_SENT_BYTES >> 20
        self.sent.counted(0, START)
        for counter in range(1, count + 3):
            self.sent.sent(counter, [packet], START, START + 10)
        self.assertEqual(len(self.sent), count)
        self.assertEqual(self.sent.lost, 3)
        self.sent.received(ackOf([0, 1, 2]), START)
        self.assertEqual(self.sent.acknowledged, 0)

    def test_oneThatNeverArrives(self) -> None:
        """
        What waits behind a packet that is neither acknowledged nor looked at, as over a
        stream, is forgotten when it arrives all the same.
        """
        self.enter(0)
        for counter in range(1, 3000):
            self.enter(counter)
            self.sent.received(ackOf([counter]), START)
            self.assertLess(len(self.sent._flights), 100)
        self.assertEqual((len(self.sent), self.sent.acknowledged), (1, 2999))
        self.assertEqual(self.due(START + TIMEOUT), [named(0)])

    def test_holesInAFlight(self) -> None:
        """
        Of packets that left together those are sent again that are missing, once each,
        whatever has arrived between them, and each is waited for by itself.
        """
        packets = [named(counter) for counter in range(10)]
        self.sent.sent(0, packets, START, START + 0.5)
        self.sent.received(ackOf([1, 2, 4, 7]), START)
        self.assertEqual(self.due(START), [named(0), named(3)])
        self.assertEqual(self.due(START + 0.09), [named(5), named(6)])
        self.sent.received(ackOf([0, 1, 2, 4, 5, 7, 8]), START + 0.1)
        again = self.sent.unacknowledged(MAX_PACKET, START + 0.1)
        self.assertEqual(again, [named(9), named(3), named(6)])
        self.assertEqual(self.due(START + 0.1 + TIMEOUT), again)
        self.assertEqual(self.due(START + 0.5), [])
        self.assertEqual(self.sent.lost, 0)
        self.assertEqual(self.due(START + 0.1 + 2 * TIMEOUT), [])
        self.assertEqual((len(self.sent), self.sent.lost), (0, 3))

    def test_clear(self) -> None:
        """
        After `clear` nothing waits, and what is sent then is looked after again.
        """
        self.enter(0, 1)
        self.sent.clear()
        self.assertEqual(len(self.sent), 0)
        self.assertFalse(self.sent.resendable)
        self.assertIsNone(self.timer())
        self.enter(2)
        self.assertTrue(self.sent.resendable)
        self.assertEqual(self.timer(), START + TIMEOUT)


class NarrowPathTests(SynchronousTestCase):
    """
    Packets of different sizes, of which the large ones do not arrive.
    """

    def setUp(self) -> None:
        self.sent = SentPackets()

    def lose(self, rounds: int) -> None:
        """
        Send a large packet and a small one that arrives, several times.
        """
        for each in range(0, 4 * rounds, 4):
            now = START + each / 1000
            packets = [bytes(MAX_PACKET), b"small", b"small", b"small"]
            self.sent.sent(each, packets, now, now + 9)
            self.sent.received(ackOf([each + 1, each + 2, each + 3]), now)
            self.sent.due(ROUND_TRIP, TIMEOUT, MAX_PACKET, now)

    def test_found(self) -> None:
        """
        Each large packet that is missing counts, and each of its copies.
        """
        self.lose(2)
        self.assertFalse(self.sent.blackHole.found)
        self.lose(8)
        self.assertTrue(self.sent.blackHole.found)

    def test_refuted(self) -> None:
        """
        One that arrived after all refutes it.
        """
        self.lose(10)
        self.sent.received(ackOf([36, 37, 38, 39]), START + 1)
        self.assertFalse(self.sent.blackHole.found)

    def test_size(self) -> None:
        """
        What is larger than the path passes is not sent again there, and given up at its
        deadline; on another path it is.
        """
        packets = [bytes(size) for size in (1201, 1200, 5, 5, 5)]
        self.sent.sent(0, packets, START, START + 1)
        self.sent.received(ackOf([2, 3, 4]), START)
        again = self.sent.due(ROUND_TRIP, TIMEOUT, 1200, START)
        self.assertEqual([len(each) for each in again], [1200])
        self.assertEqual(self.sent.resent, 1)
        for size, sizes in ((1200, [1200]), (MAX_PACKET, [1201, 1200])):
            again = self.sent.unacknowledged(size, START)
            self.assertEqual(sorted(map(len, again), reverse=True), sizes)
        self.sent.due(ROUND_TRIP, TIMEOUT, 1200, START + 1)
        self.assertEqual((len(self.sent), self.sent.lost), (0, 2))

    def test_anotherPath(self) -> None:
        """
        What was lost on one path is no evidence against the next.
        """
        self.lose(10)
        self.sent.unacknowledged(MAX_PACKET, START + 1)
        self.assertFalse(self.sent.blackHole.found)


class SlowSent:
    """
    The same rules as a plain list, in which everything is looked at each time.
    """

    def __init__(self) -> None:
        self.waiting: dict[int, tuple[float, float, int]] = {}
        self.newest = self.largest = -1
        self.lost = 0

    def sent(self, counter: int, now: float, deadline: float) -> None:
        """
        As `SentPackets.sent`.
        """
        self.newest = counter
        self.waiting[counter] = (deadline, now, counter)

    def received(self, arrived: set[int]) -> None:
        """
        As `SentPackets.received`, for all that has arrived.
        """
        self.largest = max(self.largest, max(arrived))
        horizon = max(arrived) - ACK_BITS
        for counter in list(self.waiting):
            if counter in arrived and counter >= horizon:
                del self.waiting[counter]

    def due(self, now: float) -> set[bytes]:
        """
        As `SentPackets.due`.
        """
        again = set()
        for counter, (deadline, sentAt, newest) in list(self.waiting.items()):
            wait = TIMEOUT
            if newest < self.largest:
                wait = 1.125 * ROUND_TRIP
            if newest + 3 <= self.largest:
                wait = 0.0
            if now < sentAt + wait:
                continue
            if now >= deadline:
                del self.waiting[counter]
                self.lost += 1
            else:
                self.waiting[counter] = (deadline, now, self.newest)
                again.add(named(counter))
        return again


class SentPacketsPropertyTests(SynchronousTestCase):
    """
    What holds for any traffic; the traffic comes from a seed.
    """

    def play(self, seed: int) -> None:
        """
        Send, lose, acknowledge and wait at random, against `SlowSent`.
        """
        random = Random(seed)
        fast, slow = SentPackets(), SlowSent()
        now, counter, arrived = START, 0, set[int]()
        for _ in range(400):
            now += random.choice((0.0, 0.001, 0.01, 0.1))
            for _ in range(random.randrange(4)):
                counter += random.choice((1, 1, 1, 2))
                deadline = now + random.choice((0.2, 0.5))
                flight = range(counter, counter + random.choice((1, 1, 2, 5)))
                fast.sent(counter, [named(each) for each in flight], now, deadline)
                for counter in flight:
                    slow.sent(counter, now, deadline)
                    if random.random() < 0.7:
                        arrived.add(counter)
            if arrived and random.random() < 0.5:
                fast.received(ackOf(arrived), now)
                slow.received(arrived)
            again = fast.due(ROUND_TRIP, TIMEOUT, MAX_PACKET, now)
            self.assertEqual(len(again), len(set(again)))
            self.assertEqual(set(again), slow.due(now))
            for packet in again:
                if random.random() < 0.7:
                    arrived.add(int(packet.split()[1]))
            at = fast.nextTimer(ROUND_TRIP, TIMEOUT)
            self.assertTrue(at is None or at > now, "a timer in the past")
            self.assertEqual(len(fast), len(slow.waiting))
            self.assertEqual(fast.lost, slow.lost)

    def test_againstTheSlowModel(self) -> None:
        """
        Looking at the first packets only finds the same ones as looking at all, and
        leaves a timer that is in the future.
        """
        for seed in range(12):
            self.play(seed)
