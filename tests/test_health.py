"""
Tests for `rootstream.protocol.health`.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rootstream.protocol.health import ClockOffset, Jitter, RoundTrip


class RoundTripTests(SynchronousTestCase):
    """
    The smoothed round trip time.
    """

    def test_beforeTheFirstSample(self) -> None:
        """
        Nothing is known at first, and 0.25 s is waited for an answer.
        """
        trip = RoundTrip()
        self.assertIsNone(trip.smoothed)
        self.assertIsNone(trip.minimum)
        self.assertEqual(trip.rto, 0.25)

    def test_firstSample(self) -> None:
        """
        The first sample is taken whole, and half of it is its variation (RFC 6298,
        rule 2.2).
        """
        trip = RoundTrip()
        trip.sample(0.1)
        self.assertEqual(trip.smoothed, 0.1)
        self.assertEqual(trip.minimum, 0.1)
        self.assertEqual(trip.variation, 0.05)
        self.assertAlmostEqual(trip.rto, 0.3)

    def test_tooLong(self) -> None:
        """
        What took longer than three seconds was held back somewhere, and counts as
        little as what took less than nothing.
        """
        trip = RoundTrip()
        trip.sample(3.1)
        trip.sample(-0.1)
        self.assertIsNone(trip.smoothed)
        trip.sample(3.0)
        self.assertEqual(trip.smoothed, 3.0)

    def test_laterSamples(self) -> None:
        """
        Later samples move the variation by a quarter, against the old average,
        and then the average by an eighth (RFC 6298, rule 2.3).
        """
        trip = RoundTrip()
        trip.sample(0.1)
        trip.sample(0.18)
        self.assertAlmostEqual(trip.variation, 0.75 * 0.05 + 0.25 * 0.08)
        self.assertEqual(trip.smoothed, 0.11)
        self.assertEqual(trip.minimum, 0.1)
        trip.sample(0.02)
        self.assertEqual(trip.minimum, 0.02)

    def test_bounds(self) -> None:
        """
        The wait for an answer is 50 ms at least and 1 s at most.
        """
        near, far = RoundTrip(), RoundTrip()
        near.sample(0.0001)
        far.sample(3.0)
        self.assertEqual(near.rto, 0.05)
        self.assertEqual(far.rto, 1.0)

    def test_zero(self) -> None:
        """
        A round trip of zero, below the clock's resolution, is a sample like others.
        """
        trip = RoundTrip()
        trip.sample(0.0)
        self.assertEqual(trip.smoothed, 0.0)
        self.assertEqual(trip.minimum, 0.0)
        self.assertEqual(trip.rto, 0.05)

    def test_negative(self) -> None:
        """
        An echo from the future, which a peer may invent, changes nothing.
        """
        trip = RoundTrip()
        trip.sample(-5.0)
        self.assertIsNone(trip.smoothed)
        trip.sample(0.1)
        trip.sample(-5.0)
        self.assertEqual(trip.smoothed, 0.1)
        self.assertEqual(trip.minimum, 0.1)


class JitterTests(SynchronousTestCase):
    """
    The interarrival jitter.
    """

    def test_steady(self) -> None:
        """
        What arrives in the rhythm it was stamped in has no jitter, however far
        apart the clocks are.
        """
        jitter = Jitter()
        for number in range(100):
            jitter.sample(1000.0 + number / 50, number * 20_000)
        self.assertAlmostEqual(jitter.seconds, 0.0)

    def test_oneSixteenth(self) -> None:
        """
        A change of the transit time counts by a sixteenth, either way (RFC 3550,
        section 6.4.1).
        """
        jitter = Jitter()
        jitter.sample(0.0, 0)
        self.assertEqual(jitter.seconds, 0.0)
        jitter.sample(0.036, 20_000)
        self.assertAlmostEqual(jitter.seconds, 0.016 / 16)
        jitter.sample(0.040, 40_000)
        self.assertAlmostEqual(jitter.seconds, 0.001 + (0.016 - 0.001) / 16)


class ClockOffsetTests(SynchronousTestCase):
    """
    The distance of two clocks.
    """

    def test_unknown(self) -> None:
        """
        Nothing is known before the first sample.
        """
        self.assertIsNone(ClockOffset().offset)

    def test_halfWay(self) -> None:
        """
        The peer is taken to read its clock half-way between PING and PONG.
        """
        clock = ClockOffset()
        clock.sample(1000, 51_500, 2000)
        self.assertEqual(clock.offset, 50_000)

    def test_behind(self) -> None:
        """
        A peer whose clock is behind ours has a negative offset.
        """
        clock = ClockOffset()
        clock.sample(10_000, 500, 11_000)
        self.assertEqual(clock.offset, -10_000)

    def test_shortestRoundTrip(self) -> None:
        """
        The sample with the shortest round trip counts, whether it came before or
        after the others.
        """
        clock = ClockOffset()
        clock.sample(0, 9000, 10_000)
        clock.sample(20_000, 20_100, 20_200)
        clock.sample(40_000, 49_000, 50_000)
        self.assertEqual(clock.offset, 0)

    def test_forgets(self) -> None:
        """
        After eight more samples the best one has gone: by then the clocks drifted.
        """
        clock = ClockOffset()
        clock.sample(0, 77, 0)
        for _ in range(7):
            clock.sample(0, 1000 + 50, 100)
        self.assertEqual(clock.offset, 77)
        clock.sample(0, 1000 + 50, 100)
        self.assertEqual(clock.offset, 1000)

    def test_invented(self) -> None:
        """
        A PONG that came before its PING left does not count as a short round trip.
        """
        clock = ClockOffset()
        clock.sample(5000, 1, 4000)
        self.assertIsNone(clock.offset)
