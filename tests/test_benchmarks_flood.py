"""
Tests for `benchmarks.flood` and the flooder of the laboratory, without a network.
"""

from __future__ import annotations

import io
import socket
import sys
from itertools import islice

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import flood
from rootstream.protocol.constants import INIT_SIZE
from rootstream.protocol.handshake import Invitation, mac1Key
from tests.lab.flooder import KINDS, datagram, payloads
from tests.lab.flooding import Flooded
from tests.lab.net import LabUnavailable

FLOODED = Flooded(
    "junk", 6.0, 49_980, 0.001, 0.0, 0.0, 0.002, 0.15, 0.1, 2_500_000, 0.25
)


class CommandTests(SynchronousTestCase):
    """
    The command line and what it prints.
    """

    def setUp(self) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)

    def test_table(self) -> None:
        """
        A line for each flood, in the units that the list of faults uses.
        """
        self.patch(flood, "measure", lambda *_: [FLOODED])
        self.assertEqual(flood.main(["junk"]), 0)
        row = self.out.getvalue().splitlines()[-1]
        for cell in (
            "bytes that are no packets",
            "49980",
            "0.10 %",
            "2.0 ms",
            "+2.5 MB",
        ):
            self.assertIn(cell, row)

    def test_json(self) -> None:
        """
        With ``--json`` the same as JSON, with the machine.
        """
        self.patch(flood, "measure", lambda *_: [FLOODED])
        self.assertEqual(flood.main(["--json"]), 0)
        self.assertIn('"lag99": 0.002', self.out.getvalue())
        self.assertIn('"Kernel"', self.out.getvalue())

    def test_refused(self) -> None:
        """
        What it cannot do is said in one line, by the parser or with status 1.
        """
        for words in (["rain"], ["--seconds", "0"], ["--rate", "0"]):
            self.assertRaises(SystemExit, flood.main, words)

        def unavailable(*_: object) -> list[Flooded]:
            raise LabUnavailable("needs root")

        self.patch(flood, "measure", unavailable)
        self.assertEqual(flood.main([]), 1)
        self.assertTrue(self.err.getvalue().endswith("benchmarks.flood: needs root\n"))

    def test_kinds(self) -> None:
        """
        Every kind has a name for the table.
        """
        self.assertEqual(set(flood.MEANINGS), set(KINDS))


class FlooderTests(SynchronousTestCase):
    """
    What the flooder sends is what it is called.
    """

    def test_inits(self) -> None:
        """
        Only who knows the host's key makes INITs that are addressed to it.
        """
        key = bytes(range(32))
        for kind, right in (("knowing", True), ("init", False)):
            for packet in islice(payloads(kind, key, b""), 5):
                self.assertEqual(len(packet), INIT_SIZE)
                checked = Invitation(packet).checkMac1(mac1Key(key))
                self.assertEqual(checked, right)

    def test_data(self) -> None:
        """
        Forged DATA begins as that of the session.
        """
        for kind in ("data", "viewer"):
            for packet in islice(payloads(kind, bytes(32), b"\x24abcd"), 5):
                self.assertTrue(packet.startswith(b"\x24abcd"))
                self.assertGreater(len(packet), 30)

    def test_datagram(self) -> None:
        """
        A datagram has the addresses and ports that it was given.
        """
        packet = datagram("192.0.2.1", (5, 9876), "192.0.2.2", b"data")
        self.assertEqual(len(packet), 32)
        self.assertEqual(packet[9], socket.IPPROTO_UDP)
        self.assertEqual(packet[12:20], b"\xc0\0\2\1\xc0\0\2\2")
        self.assertEqual(packet[20:24], b"\0\x05" + (9876).to_bytes(2, "big"))
        self.assertEqual(packet[28:], b"data")
