"""
Tests for `rootstream.protocol.limiter`.
"""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from rootstream.protocol.constants import (
    MAX_UNPROVEN_PER_SECOND,
    UNPROVEN_BURST,
    UNPROVEN_RATE,
)
from rootstream.protocol.limiter import (
    Bucket,
    LoadMeter,
    SourceLimiter,
    Unproven,
    parseAddress,
)


class ParseAddressTests(SynchronousTestCase):
    """
    `parseAddress` finds one spelling for one address.
    """

    def test_mapped(self) -> None:
        """
        An IPv4-mapped IPv6 address is the IPv4 address.
        """
        self.assertEqual(parseAddress("::ffff:192.0.2.1"), parseAddress("192.0.2.1"))
        self.assertEqual(parseAddress("::ffff:192.0.2.1").version, 4)

    def test_scope(self) -> None:
        """
        The scope of a link-local address is no part of it.
        """
        self.assertEqual(parseAddress("fe80::1%eth0"), parseAddress("fe80::1"))


class BucketTests(SynchronousTestCase):
    """
    `Bucket` lets a burst through, and after that a rate.
    """

    def test_burstAndRate(self) -> None:
        """
        What is taken is gone, what is refused takes nothing, and a second gives back
        the rate, up to the burst.
        """
        bucket = Bucket(10, 100)
        self.assertTrue(bucket.take(60, 1000.0))
        self.assertFalse(bucket.take(41, 1000.0))
        self.assertTrue(bucket.take(40, 1000.0))
        self.assertFalse(bucket.take(1, 1000.05))
        self.assertTrue(bucket.take(1, 1000.1))
        self.assertFalse(bucket.take(101, 9000.0))
        self.assertTrue(bucket.take(100, 9000.0))
        self.assertFalse(bucket.take(1, 9000.0))


class SourceLimiterTests(SynchronousTestCase):
    """
    `SourceLimiter` gives each source its rate, and remembers few.
    """

    def test_burstAndRate(self) -> None:
        """
        A source gets 5 at once, then 20 a second (F3).
        """
        limiter = SourceLimiter()
        burst = [limiter.allow("192.0.2.1", 100.0) for _ in range(8)]
        self.assertEqual(burst, [True] * 5 + [False] * 3)
        steady = sum(
            limiter.allow("192.0.2.1", 100.0 + step / 1000) for step in range(1, 2001)
        )
        self.assertIn(steady, (39, 40))

    def test_burstIsCapped(self) -> None:
        """
        A quiet hour saves up no more than one burst.
        """
        limiter = SourceLimiter()
        limiter.allow("192.0.2.1", 0.0)
        burst = [limiter.allow("192.0.2.1", 3600.0) for _ in range(6)]
        self.assertEqual(burst, [True] * 5 + [False])

    def test_sourcesAreSeparate(self) -> None:
        """
        One greedy source takes nothing from another.
        """
        limiter = SourceLimiter(burst=1)
        self.assertTrue(limiter.allow("192.0.2.1", 0.0))
        self.assertFalse(limiter.allow("192.0.2.1", 0.0))
        self.assertTrue(limiter.allow("192.0.2.2", 0.0))

    def test_prefix(self) -> None:
        """
        All addresses of an IPv6 /64 are one source, and those of the next another.
        """
        limiter = SourceLimiter(burst=1)
        self.assertTrue(limiter.allow("2001:db8::1", 0.0))
        self.assertFalse(limiter.allow("2001:db8::ffff:ffff:ffff:ffff", 0.0))
        self.assertTrue(limiter.allow("2001:db8:0:1::1", 0.0))

    def test_bounded(self) -> None:
        """
        A hundred thousand sources leave 4096 entries (F4).
        """
        limiter = SourceLimiter()
        for number in range(100_000):
            limiter.allow(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0.0)
        self.assertEqual(len(limiter), 4096)

    def test_leastRecent(self) -> None:
        """
        The source that was quiet for longest makes room (F4).
        """
        limiter = SourceLimiter(burst=1, maximum=2)
        limiter.allow("192.0.2.1", 0.0)
        limiter.allow("192.0.2.2", 0.0)
        limiter.allow("192.0.2.1", 0.0)
        limiter.allow("192.0.2.3", 0.0)
        self.assertFalse(limiter.allow("192.0.2.1", 0.0))
        self.assertTrue(limiter.allow("192.0.2.2", 0.0))
        self.assertEqual(len(limiter), 2)


class LoadMeterTests(SynchronousTestCase):
    """
    `LoadMeter` notices a flood, and bounds the work in any case.
    """

    def test_quiet(self) -> None:
        """
        A hundred INITs a second, for as long as they like, are no load.
        """
        meter = LoadMeter()
        for second in range(10):
            for _ in range(100):
                meter.arrived(float(second))
                self.assertFalse(meter.underLoad(float(second)))

    def test_flood(self) -> None:
        """
        The 101st INIT within a second is load (F2), and load lasts until a second
        after that second.
        """
        meter = LoadMeter()
        for number in range(100):
            meter.arrived(10.0 + number / 1000)
        self.assertFalse(meter.underLoad(10.1))
        meter.arrived(10.1)
        self.assertTrue(meter.underLoad(10.1))
        self.assertTrue(meter.underLoad(11.9))
        self.assertFalse(meter.underLoad(12.0))

    def test_handshakes(self) -> None:
        """
        No second holds more than 200 handshakes, wherever it begins (F2).
        """
        meter = LoadMeter()
        random = Random(2)
        now = 0.0
        granted = []
        for _ in range(5000):
            now += random.expovariate(1000)
            if meter.mayHandshake(now):
                granted.append(now)
        for place in range(len(granted) - 200):
            self.assertGreaterEqual(granted[place + 200] - granted[place], 1.0)
        self.assertGreaterEqual(len(granted), 200 * int(now))


class UnprovenTests(SynchronousTestCase):
    """
    DATA from where a session has no path.
    """

    def test_source(self) -> None:
        """
        F34: one source has its burst and its rate, and takes nothing from another.
        """
        unproven = Unproven()
        allowed = [unproven.allow("192.0.2.1", 0.0) for _ in range(1000)]
        self.assertEqual(sum(allowed), UNPROVEN_BURST)
        self.assertTrue(unproven.allow("192.0.2.2", 0.0))
        self.assertTrue(unproven.allow("192.0.2.1", 1.0 / UNPROVEN_RATE))
        self.assertEqual(unproven.refused, 1000 - UNPROVEN_BURST)

    def test_proven(self) -> None:
        """
        What turns out to be authentic is no burden: a peer may roam as it likes.
        """
        unproven = Unproven()
        for _ in range(2 * MAX_UNPROVEN_PER_SECOND):
            self.assertTrue(unproven.allow("192.0.2.1", 0.0))
            unproven.proven("192.0.2.1")

    def test_all(self) -> None:
        """
        F34: all sources together have no more than so many a second, wherever the
        second begins.
        """
        unproven = Unproven()
        sources = [f"198.51.{each // 250}.{each % 250}" for each in range(2000)]
        for now in (0.0, 0.999):
            allowed = sum(unproven.allow(source, now) for source in sources)
            self.assertEqual(allowed, 0 if now else MAX_UNPROVEN_PER_SECOND)
        self.assertTrue(unproven.allow("203.0.113.1", 1.0))
