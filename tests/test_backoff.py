"""
Tests for `rootstream.protocol.backoff`.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rootstream.protocol.backoff import waits


class WaitsTests(SynchronousTestCase):
    """
    The reconnect schedule.
    """

    def test_schedule(self) -> None:
        """
        The ten waits double from 0.1 s, exactly, and the last is cut to 30 s.
        """
        self.assertEqual(waits(), (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0))

    def test_total(self) -> None:
        """
        A peer that is gone for good is given up after 81.1 s of waiting.
        """
        self.assertAlmostEqual(sum(waits()), 81.1)
