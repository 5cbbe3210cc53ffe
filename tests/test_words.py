"""
Tests for `rootstream.words`: each event in one line.
"""

from __future__ import annotations

import os
import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rootstream.words import describeEvent


class DescribeTests(SynchronousTestCase):
    """
    Tests for `describeEvent`.
    """

    def setUp(self) -> None:
        self.patch(os, "environ", {**os.environ, "TZ": "UTC"})
        time.tzset()
        self.addCleanup(time.tzset)

    def describe(self, event: str, **fields: Any) -> str:
        entry = {"time": "2027-01-15T08:00:07.123Z", "event": event, **fields}
        return describeEvent(entry)

    def test_all(self) -> None:
        """
        The words say what happened and why.
        """
        for expected, event, fields in (
            (
                "listening on port 9876, UDP and TCP",
                "listening",
                {"udp": 9876, "tcp": 9876},
            ),
            (
                "listening on port 9876, UDP and TCP, and on port 443, TLS",
                "listening",
                {"udp": 9876, "tcp": 9876, "tls": 443},
            ),
            (
                "CONNECTED: handshake confirmed over udp",
                "state",
                {"to": "CONNECTED", "cause": "handshake confirmed over udp"},
            ),
            (
                "TCP since 08:00:07: UDP is silent, TCP is alive",
                "path",
                {"transport": "tcp", "cause": "UDP is silent, TCP is alive"},
            ),
            (
                "UDP: no acknowledgement for 0.15 s",
                "suspect",
                {"transport": "udp", "cause": "no acknowledgement for 0.15 s"},
            ),
            (
                "released 2 held by it: nothing heard for 0.5 s",
                "released",
                {"count": 2, "cause": "nothing heard for 0.5 s"},
            ),
            ("", "input", {"events": [[1, 30, 1]]}),
            ("not heard: UDP is silent", "impaired", {"cause": "UDP is silent"}),
            ("back: heard again", "recovered", {"cause": "heard again"}),
            ("attempt 2 of 10 in 0.2 s", "attempt", {"n": 2, "of": 10, "wait_s": 0.2}),
            ("network: eth0 went down", "network", {"cause": "eth0 went down"}),
            (
                "TCP since 08:00:07: UDP is silent; picture stopped 0.21 s",
                "picture",
                {"cause": "TCP since 08:00:07: UDP is silent", "gap_s": 0.2098},
            ),
            (
                "over after 5.0 s: 150 frames sent, 149 received, 1 lost",
                "summary",
                {
                    "seconds": 5.01,
                    "frames_sent": 150,
                    "frames_received": 149,
                    "frames_lost": 1,
                },
            ),
            (
                "not heard: UDP is silent; nothing acknowledged for 5.10 s",
                "picture",
                {
                    "cause": "not heard: UDP is silent",
                    "gap_s": 5.1,
                    "gap_of": "acknowledgements",
                },
            ),
            ("ended: the port is taken", "error", {"message": "the port is taken"}),
            ("", "stats", {}),
            ("unheard-of", "unheard-of", {}),
        ):
            self.assertEqual(self.describe(event, **fields), expected)
