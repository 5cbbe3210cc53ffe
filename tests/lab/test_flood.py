"""
A stream whose host is flooded with what strangers may send.

The limits of the list of faults are for a quiet machine with processors to spare; here
a flooder, a router and three programs share it, so what fails a test has a margin.
"""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.lab.flooding import flooded
from tests.lab.net import openNetwork

#: Seconds of a flood, and datagrams a second.
FLOOD = 3.0
RATE = 20_000


class FloodTests(SynchronousTestCase):
    """
    Each kind of flood, for a moment.
    """

    def flood(self, kind: str) -> None:
        """
        The media is unharmed, and another viewer gets in.
        """
        network = openNetwork(self)
        directory = Path(self.mktemp()).absolute()
        directory.mkdir(mode=0o700)
        came = flooded(network, directory, kind, FLOOD, RATE)
        sys.stdout.write(f"\n    {came.asDict()}\n")
        self.assertGreater(came.rate, RATE / 10)
        self.assertLess(came.loss, 0.005)
        self.assertLess(came.connected, 3.0)
        self.assertLess(came.grew, 10_000_000)

    def test_junk(self) -> None:
        """
        F1: what is no packet at all.
        """
        self.flood("junk")

    def test_knowing(self) -> None:
        """
        F1, F2: INITs from everywhere, by somebody who has the host's code: a peer that
        is listed gets in past them.
        """
        self.flood("knowing")

    def test_forged(self) -> None:
        """
        F34: DATA of a session, forged by somebody who has seen it, from its address.
        """
        self.flood("viewer")
