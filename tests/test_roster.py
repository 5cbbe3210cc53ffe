"""
Tests for `rootstream.roster`: ``rootstream peers``.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rootstream import roster
from rootstream.roster import tendPeers
from tests.test_authorized import ANNA, BOB, text


class RosterTests(SynchronousTestCase):
    """
    What it shows and changes.
    """

    def setUp(self) -> None:
        self.home = Path(self.mktemp()).absolute()
        self.home.mkdir(mode=0o700)
        self.path = self.home / "peers"
        self.path.write_text(f"{text(ANNA)} Anna # friend\n{text(BOB)} rights=none\n")
        self.asked: list[str] = []
        self.answers: list[dict[str, Any]] = []
        self.patch(roster, "ask", self.ask)

    def ask(
        self, home: Path, request: Mapping[str, str], seconds: float
    ) -> list[dict[str, Any]]:
        self.asked.append(request["command"])
        return self.answers

    def tend(self, *words: str, status: int = 0) -> str:
        """
        Return what it says, on standard output or as its one line of error.
        """
        out, err = io.StringIO(), io.StringIO()
        self.assertEqual(tendPeers(self.home, words, out, err), status)
        self.assertEqual(bool(err.getvalue()), bool(status))
        said = out.getvalue() + err.getvalue()
        self.assertTrue(said.endswith("\n"))
        return said

    def test_list(self) -> None:
        """
        Each peer has a line: fingerprint, rights, whether it is connected, and name.
        What programs answer that is no status shows nobody.
        """
        self.answers = [
            {"error": "unknown command"},
            {"program": {"peers": None}},
            *(
                {"program": {"peers": [None, {"fingerprint": who, "state": state}]}}
                for who, state in (
                    (BOB.fingerprint, "FAILED"),
                    (ANNA.fingerprint, "CONNECTED"),
                )
            ),
        ]
        for words in ((), ("list",)):
            self.assertEqual(
                self.tend(*words),
                f"{ANNA.fingerprint}  view        connected  Anna\n"
                f"{BOB.fingerprint}  none\n",
            )
        self.assertEqual(self.asked, ["status", "status"])

    def test_nobody(self) -> None:
        """
        Of an empty list it says how to fill it.
        """
        self.path.unlink()
        self.assertIn("pair with rootstream host --pair", self.tend())

    def test_changes(self) -> None:
        """
        Names and rights are changed in the file, and hosts are told.
        """
        said = self.tend("rename", BOB.fingerprint, "Bob")
        self.assertEqual(said, f"{BOB.fingerprint}  none                   Bob\n")
        self.assertIn("view,input", self.tend("rights", "Bob", "view,input"))
        self.assertEqual(
            self.tend("revoke", "Anna"),
            f"{ANNA.fingerprint} Anna may connect no more\n",
        )
        self.assertEqual(self.path.read_text(), f"{text(BOB)} rights=view,input Bob\n")
        self.assertEqual(self.asked, ["peers"] * 3)

    def test_refused(self) -> None:
        """
        What it cannot do is one line of error, and changes nothing.
        """
        before = self.path.read_bytes()
        for words, wanted in (
            (("rename", "Anna"), "say rename WHO NAME"),
            (("remove", "Anna"), "say rename WHO NAME"),
            (("revoke", "Carl"), "nobody called 'Carl'"),
            (("rights", "Anna", "admin"), "rights are 'view'"),
            (("rename", "Anna", "#"), "another"),
        ):
            self.assertIn(wanted, self.tend(*words, status=1))
        self.assertEqual(self.path.read_bytes(), before)
        self.assertEqual(self.asked, [])
