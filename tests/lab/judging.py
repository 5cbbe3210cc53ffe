"""
Judging a stream between two programs: what was received and when, what the events
files say, and what the router counted.

The limits of the list of faults are for a quiet machine.  What fails a test has a
margin for a busy one, and each measured time is written to the output beside its
limit.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from typing import Any

from rootstream.protocol.constants import TYPE_DATA
from tests.integration.programs import Program
from tests.lab.namespace import Namespace
from tests.lab.programs import FPS, LabTestCase

#: Seconds of a stream to look at before or after something happens to it.
SOME_VIDEO = 1.5

#: The reconnect schedule (docs/protocol.rst).
WAITS = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0]

# What the router matches.
FROM_HOST = 'iifname "toa"'
FROM_VIEWER = 'iifname "tob"'
UDP = "meta l4proto udp"
#: Longer than the headers of a segment without data: a SYN with all of Linux's
#: options is 60 bytes over IPv4, and the smallest record of ours is more.
TCP_DATA = "meta l4proto tcp meta length gt 60"
#: What a datagram of ours begins with, behind the 64 bits of the UDP header.
IS_DATA = f"{UDP} @th,64,8 {TYPE_DATA:#x}"
#: The receiver index of DATA: another one for each session.
INDEX = "@th,72,32"


class LabTests(LabTestCase):
    """
    What the tests below look at and count.
    """

    def setUp(self) -> None:
        """
        The router can count, apart from the rules that it is given and loses.
        """
        super().setUp()
        self.router.nft(
            "add chain inet lab books "
            "{ type filter hook forward priority filter - 1; }\n"
        )

    def countBytes(self, name: str, match: str) -> None:
        """
        Count what matches, from now on, also if it is dropped.
        """
        self.router.nft(
            f"add counter inet lab {name}\n"
            f"add rule inet lab books {match} counter name {name}\n"
        )

    def bytesOf(self, name: str) -> int:
        """
        How many bytes, headers included, matched.
        """
        size: int = self.listed("counter", name)["bytes"]
        return size

    def countSessions(self) -> None:
        """
        Count the host's sessions from now on, by what tells them apart.
        """
        self.router.nft(
            f"add set inet lab sessions {{ typeof {INDEX}; flags dynamic; size 99; }}\n"
            f"add rule inet lab books {FROM_HOST} {IS_DATA} "
            f"add @sessions {{ {INDEX} }}\n"
        )

    def sessions(self) -> int:
        """
        How many sessions of the host had packets.
        """
        return len(self.listed("set", "sessions").get("elem", []))

    def listed(
        self, kind: str, name: str, machine: Namespace | None = None
    ) -> dict[str, Any]:
        """
        What the router, or another machine, has in one set or counter.
        """
        listing = (machine or self.router).run(
            ["nft", "-j", "list", kind, "inet", "lab", name],
            capture_output=True,
            check=True,
        )
        [found] = [
            entry[kind]
            for entry in json.loads(listing.stdout)["nftables"]
            if kind in entry
        ]
        listed: dict[str, Any] = found
        return listed

    def watch(self, seconds: float = SOME_VIDEO) -> None:
        """
        Let some time of the stream pass.
        """
        time.sleep(seconds)

    def within(self, what: str, seconds: float, limit: float, margin: float) -> None:
        """
        Record a measured time beside its limit; fail past the margin.
        """
        sys.stdout.write(f"\n    {what}: {seconds:.3f} s (limit {limit:g} s)\n")
        self.assertTrue(0 <= seconds <= margin, f"{what}\n{self.account()}")

    def resumes(self, what: str, since: float, limit: float, margin: float) -> None:
        """
        A picture comes after ``since``, in time, and the stream goes on.
        """
        picture = self.pictures.after(since)
        self.within(what, picture - since, limit, margin)
        self.watch()
        late = [at for at in self.pictures.arrivals if at > picture + 0.5]
        self.assertGreater(len(late), (SOME_VIDEO - 0.5) * FPS * 0.7, self.account())

    def longestGap(self) -> float:
        """
        The longest time between two pictures.
        """
        pairs = itertools.pairwise(self.pictures.arrivals)
        return max(after - before for before, after in pairs)

    def gap(self, since: float, until: float) -> float:
        """
        The longest time without a picture in a while, less that between any two.
        """
        seen = [at for at in self.pictures.arrivals if since < at < until]
        pairs = itertools.pairwise([since, *seen, until])
        return max(0.0, max(after - before for before, after in pairs) - 1 / self.fps)

    def transports(self, program: Program) -> list[str]:
        """
        The transports that a program's session moved to, in order.
        """
        return [event["transport"] for event in program.events("path")]

    def stayedConnected(self) -> None:
        """
        Neither side has left CONNECTED since it first came to it.
        """
        for program in (self.watcher, self.host):
            self.assertEqual(program.states()[-1], "CONNECTED", self.account())
            self.assertNotIn("DISCONNECTED", program.states(), self.account())

    def wasWhole(self, transport: str) -> None:
        """
        The stream ran over one transport without missing a frame; ends it.
        """
        self.watch()
        self.stayedConnected()
        for program in (self.watcher, self.host):
            self.assertEqual(self.transports(program), [transport])
        summary = self.stopWatching()
        self.assertEqual(summary["transport"], transport)
        self.assertEqual(summary["frames_lost"], 0)
        self.assertEqual(summary["frames_received"], len(self.pictures.arrivals))
        self.assertGreater(summary["frames_received"], SOME_VIDEO * FPS * 0.8)
