"""
Tests for `rootstream.protocol.pacing`.
"""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from rootstream.interfaces import Transport
from rootstream.protocol.constants import (
    PACE_GROWTH,
    PACE_LEAST,
    PACE_MISSED,
    PACE_MOST,
    PACE_START,
    PACE_STEP,
)
from rootstream.protocol.events import VideoFrame
from rootstream.protocol.pacing import Pace
from tests.wire import Wire

START = 1000.0


class AllowanceTests(SynchronousTestCase):
    """
    How many packets leave at a given rate.
    """

    def setUp(self) -> None:
        self.pace = Pace()

    def leave(self, now: float, waiting: int = 1000) -> int:
        """
        Send what may leave at ``now``, and return how many that are.
        """
        count = min(self.pace.allowance(now), waiting)
        self.pace.left(count, now)
        return count

    def test_burst(self) -> None:
        """
        64 packets leave at once, and then 64 a millisecond.
        """
        self.assertEqual(self.leave(START), 64)
        self.assertEqual(self.leave(START), 0)
        for step in range(1, 10):
            self.assertEqual(self.leave(START + step / 1000), 64)

    def test_timer(self) -> None:
        """
        The timer waits for a quarter of a train, and then that much may leave.
        """
        now = START
        self.leave(now)
        for rate in (PACE_START, PACE_LEAST, PACE_MOST):
            self.pace.rate = rate
            for _ in range(20):
                at = self.pace.nextTimer()
                self.assertAlmostEqual(at - now, 16 / rate)
                now = at
                self.assertEqual(self.leave(now), 16)

    def test_exactOverTime(self) -> None:
        """
        However the calls fall, no millisecond sees more than a train above the rate,
        and the rate is kept to the packet, also after weeks of uptime.
        """
        for start in (0.0, START, 5e6):
            random = Random(1)
            self.setUp()
            now, sent = start, 0
            while now < start + 0.05:
                sent += self.leave(now)
                self.assertLessEqual(sent, 64.5 + (now - start) * 64000)
                now += random.random() / 2000
            self.assertGreater(sent, (now - start) * 64000 - 64)

    def test_pauseEarnsOneBurst(self) -> None:
        """
        A pause earns one burst, however long it was: 64 packets, or what is due in a
        millisecond where that is more, up to 128.
        """
        for rate, burst in (
            (PACE_LEAST, 64),
            (PACE_START, 64),
            (100_000, 100),
            (PACE_MOST, 128),
        ):
            self.pace.rate = rate
            self.leave(START, 10)
            for pause in (0.002 + 64 / rate, 60):
                self.assertEqual(self.leave(START + pause), burst)

    def test_smallFramesAreNotPaced(self) -> None:
        """
        What fits into a train leaves at once, frame after frame.
        """
        for step in range(100):
            self.assertEqual(self.leave(START + step / 1000, 40), 40)

    def test_neverSpins(self) -> None:
        """
        While more waits than may leave, the timer is in the future.
        """
        random = Random(2)
        now = START
        for _ in range(2000):
            now += random.random() / 1000
            waiting = random.randrange(100)
            if self.leave(now, waiting) < waiting:
                self.assertGreater(self.pace.nextTimer(), now)


class RateTests(SynchronousTestCase):
    """
    How a path finds out its rate.
    """

    def setUp(self) -> None:
        self.pace = Pace()
        self.now = START

    def strain(self, seconds: float, roundTrip: float = 0.02) -> None:
        """
        Have more waiting than may leave, for so long.
        """
        for _ in range(round(seconds / 0.001)):
            self.pace.strained(roundTrip, self.now)
            self.now += 0.001

    def test_grows(self) -> None:
        """
        While more waits than may leave, and nothing is missing, the rate grows by an
        eighth a round trip, from the second on.
        """
        self.strain(0.0195)
        self.assertEqual(self.pace.rate, PACE_START)
        for step in range(1, 5):
            self.strain(0.02)
            self.assertAlmostEqual(self.pace.rate, PACE_START * PACE_GROWTH**step)

    def test_shortRoundTrip(self) -> None:
        """
        It does not grow more often than every 10 ms: what is missing is not told of
        sooner.
        """
        self.strain(PACE_STEP * 4.5, roundTrip=0.0)
        self.assertAlmostEqual(self.pace.rate, PACE_START * PACE_GROWTH**4)

    def test_most(self) -> None:
        """
        It grows to 400 000 packets a second, in half a second on a near network.
        """
        self.strain(0.5, roundTrip=0.001)
        self.assertEqual(self.pace.rate, PACE_MOST)

    def test_halved(self) -> None:
        """
        Half a train missing at once halves it, though not below 16 000 packets a
        second.
        """
        for rate in (32_000, 16_000, 16_000):
            self.pace.missed(PACE_MISSED, 0.02, self.now)
            self.assertEqual(self.pace.rate, rate)
            self.now += 0.02

    def test_halvedOnceARoundTrip(self) -> None:
        """
        What left before it was halved is no evidence against the new rate.
        """
        self.pace.missed(64, 0.05, self.now)
        self.pace.missed(64, 0.05, self.now + 0.049)
        self.assertEqual(self.pace.rate, PACE_START / 2)
        self.pace.missed(64, 0.05, self.now + 0.05)
        self.assertEqual(self.pace.rate, PACE_START / 4)

    def test_chance(self) -> None:
        """
        Single losses do not slow it down, but it does not grow while they last.
        """
        for _ in range(200):
            self.strain(0.005)
            self.pace.missed(PACE_MISSED - 1, 0.02, self.now)
        self.assertEqual(self.pace.rate, PACE_START)
        self.strain(0.025)
        self.assertEqual(self.pace.rate, PACE_START * PACE_GROWTH)

    def test_recovers(self) -> None:
        """
        A rate that was halved grows again.
        """
        self.pace.missed(64, 0.02, self.now)
        self.strain(0.2)
        self.assertGreater(self.pace.rate, PACE_START)


class StreamTests(SynchronousTestCase):
    """
    The rate of a stream on virtual time, over a network with a round trip of 20 ms.
    """

    def setUp(self) -> None:
        self.wire = Wire()
        self.link, _ = self.wire.connect()

    @property
    def rate(self) -> float:
        """
        That of the path in use.
        """
        current = self.link._paths.current
        assert current is not None
        return current.pace.rate

    def stream(self, seconds: float, packets: int) -> None:
        """
        Fifty frames a second, of so many packets each.
        """
        for number in range(round(50 * seconds)):
            frame = VideoFrame(
                bytes(packets * 1355), int(self.wire.now * 1e6), number % 10 == 0
            )
            self.link.send(frame, self.wire.now)
            self.wire.pump(self.wire.a)
            self.wire.run(0.02)

    def test_roomEnough(self) -> None:
        """
        A network that takes whatever comes is soon given more, by a stream that has
        more.
        """
        self.stream(0.5, 640)
        self.assertGreater(self.rate, 1.5 * PACE_START)
        self.assertEqual(len(self.wire.b.frames), 25)

    def test_smallFrames(self) -> None:
        """
        A stream of frames that fit into a train says nothing of what there is room
        for.
        """
        self.stream(0.5, 60)
        self.assertEqual(self.rate, PACE_START)

    def test_noRoom(self) -> None:
        """
        Where the ends of trains are lost the rate is halved, and halved again.
        """
        times: list[float] = []

        def fits(packet: bytes) -> bool:
            # A buffer of 100 packets, which drains 10 000 a second.
            now = self.wire.now
            times[:] = [at for at in times if at > now]
            if len(times) >= 100 and len(packet) == 1400:
                return False
            times.append((max(times) if times else now) + 1e-4)
            return True

        self.wire.a.weather.filter = fits
        self.stream(0.3, 300)
        self.assertEqual(self.rate, PACE_LEAST)

    def test_eachPathItsOwn(self) -> None:
        """
        A path begins anew, whatever another one has room for.
        """
        self.stream(0.3, 640)
        self.assertGreater(self.rate, PACE_START)
        fast = self.link._paths.current
        wire = self.wire
        wire.a.dial(wire.b, Transport.TCP)
        wire.run(0.5)
        other = [each for each in self.link._paths if each is not fast]
        self.assertEqual([each.pace.rate for each in other], [PACE_START])
