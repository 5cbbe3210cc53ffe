"""
Tests for `rootstream.latency`.
"""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from rootstream.latency import Latencies


class LatenciesTests(SynchronousTestCase):
    """
    Tests for `Latencies`.
    """

    def setUp(self) -> None:
        self.latencies = Latencies()

    def test_none(self) -> None:
        """
        Without frames there is nothing to tell.
        """
        self.assertIsNone(self.latencies.takeMedian())
        self.assertIsNone(self.latencies.percentile(0.5))

    def test_median(self) -> None:
        """
        The median is of the frames since it was last taken.
        """
        for seconds in (0.1, 0.004, 0.005556):
            self.latencies.add(seconds)
        self.assertEqual(self.latencies.takeMedian(), 5.556)
        self.assertIsNone(self.latencies.takeMedian())
        self.latencies.add(0.25)
        self.assertEqual(self.latencies.takeMedian(), 250.0)

    def test_percentiles(self) -> None:
        """
        Percentiles are of all frames, by nearest rank.
        """
        values = [each / 1000 for each in range(1, 101)]
        Random(1).shuffle(values)
        for seconds in values:
            self.latencies.add(seconds)
        self.latencies.takeMedian()
        for share, expected in ((0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.0, 1.0)):
            self.assertEqual(self.latencies.percentile(share), expected)

    def test_bounded(self) -> None:
        """
        An hour's latency counts as ten seconds, so that a clock gone wrong costs no
        memory.
        """
        for seconds in range(3600):
            self.latencies.add(seconds + 10.0)
        self.latencies.takeMedian()
        self.assertEqual(self.latencies.percentile(0.5), 10_000.0)
        self.assertEqual(len(self.latencies._counts), 1)
