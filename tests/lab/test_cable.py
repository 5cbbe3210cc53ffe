"""
Tests for what is measured on a cable: that it is, whatever the numbers.
"""

from __future__ import annotations

import os

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from benchmarks.cable import Cable
from benchmarks.contests import bareRoundTrip, ceiling, pictures, product, roundTrip
from benchmarks.rates import Run
from tests.lab.net import NAMESPACES, LabUnavailable

SECONDS = 0.3


class CableTests(SynchronousTestCase):
    """
    Tests for `Cable` and the contests of ours.
    """

    def setUp(self) -> None:
        """
        There is a cable.
        """
        self.cable = Cable()
        try:
            self.cable.__enter__()
        except LabUnavailable as error:
            if os.environ.get("ROOTSTREAM_LAB_REQUIRED"):
                raise
            raise SkipTest(f"no laboratory: {error}") from error
        self.addCleanup(self.cable.close)

    def assertRate(self, run: Run) -> None:
        """
        Something arrived, at a cost on both sides.
        """
        for what in ("mbits", "send", "receive"):
            self.assertGreater(run[what], 0.0, what)

    def test_trains(self) -> None:
        """
        Video goes across, with the offload of the kernel and without.
        """
        for offload in (True, False):
            run = product(offload=offload)(self.cable, SECONDS)
            self.assertRate(run)
            self.assertEqual(run["frames_lost"], 0)

    def test_otherPorts(self) -> None:
        """
        It does so without trains, on Twisted's own UDP port, and over TCP.
        """
        for options in (
            ("--ports", "single"),
            ("--ports", "stock"),
            ("--transport", "tcp"),
        ):
            self.assertRate(product(*options)(self.cable, SECONDS))

    def test_delays(self) -> None:
        """
        Frames and input events have delays, as bare datagrams do.
        """
        for contest in (pictures, roundTrip, bareRoundTrip):
            run = contest(self.cable, SECONDS)
            self.assertGreater(run["count"], 5)
            self.assertTrue(0.0 < run["p50"] <= run["p99"])

    def test_ceiling(self) -> None:
        """
        The cipher alone has a rate, and one side.
        """
        self.assertGreater(ceiling(self.cable, SECONDS)["mbits"], 0.0)

    def test_gone(self) -> None:
        """
        A cable that is closed leaves no machine.
        """
        names = [machine.name for machine in (self.cable.a, self.cable.b)]
        self.assertTrue(all((NAMESPACES / name).exists() for name in names))
        self.cable.close()
        self.assertFalse(any((NAMESPACES / name).exists() for name in names))
