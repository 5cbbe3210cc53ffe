"""
Streams to a viewer whose NAT forgets him, or moves: real processes, 20 ms apart, on a
line that loses one packet in a hundred.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

from rootstream.transport.clock import boottime
from tests.lab.judging import LabTests

#: Seconds there and back.
ROUND_TRIP = 0.02


class RebindingTests(LabTests):
    """
    Behind a NAT that gives the viewer another port or address under the stream.
    """

    fps = 60
    nat = True

    def setUp(self) -> None:
        """
        Both are behind NATs, with a line between that is usual.
        """
        super().setUp()
        assert self.network.natB is not None
        self.natB = self.network.natB
        self.network.emulate(delay=ROUND_TRIP / 2, loss=0.01)

    def changing(
        self, change: Callable[[], None], times: int, every: float
    ) -> list[float]:
        """
        Change something in the stream, so many times, each so many seconds after the
        last; returns for how long pictures were missing each time.
        """
        self.stream()
        self.watch()
        changes = []
        for _ in range(times):
            changes.append(boottime())
            change()
            time.sleep(changes[-1] + every - boottime())
        # A picture before, and all that one change may cost.
        return [self.gap(at - 0.1, at + min(every, 2.0)) for at in changes]

    def judge(self, gaps: list[float]) -> None:
        """
        Pictures came back in time, in a session that never left UDP.
        """
        shown = " ".join(f"{gap:.3f}" for gap in gaps)
        sys.stdout.write(f"\n    without pictures: {shown} s\n")
        limit = ROUND_TRIP + 0.1
        self.within("median", statistics.median(gaps), limit, 0.5)
        self.within("longest", max(gaps), limit, 1.5)
        self.watch()
        self.stayedConnected()
        for program in (self.watcher, self.host):
            self.assertNotIn("tcp", self.transports(program), self.account())
            self.assertEqual(program.events("attempt"), [])

    def test_ports(self) -> None:
        """
        A new port each second costs a moment each time, and never the session (F45).
        """
        self.countSessions()
        self.judge(self.changing(self.natB.rebind, times=8, every=1.0))
        self.assertEqual(self.sessions(), 1)
        ports = {event["address"] for event in self.host.events("path")}
        self.assertGreaterEqual(len(ports), 8, self.account())

    def test_addresses(self) -> None:
        """
        So does a new address each five seconds (F45).
        """
        self.countSessions()
        network = self.natB.address.rpartition(".")[0]
        addresses = (f"{network}.{number}" for number in range(3, 9))
        self.judge(
            self.changing(
                lambda: self.natB.renumber(next(addresses)), times=3, every=5.0
            )
        )
        self.assertEqual(self.sessions(), 1)
        path = self.host.events("path")[-1]
        self.assertTrue(path["address"].startswith(f"{network}.5:"), path)
