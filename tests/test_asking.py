"""
Tests for `rootstream.asking`: good answers and faults.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rootstream import asking
from rootstream.asking import MAX_SHOWN, inquire, tellFaults

HOME = Path("/home")


class InquireTests(SynchronousTestCase):
    """
    Tests for `inquire` and `tellFaults`.
    """

    def answers(self, *answers: dict[str, Any]) -> None:
        """
        What the programs say.
        """
        self.asked: list[tuple[object, ...]] = []

        def ask(*what: object) -> list[dict[str, Any]]:
            self.asked.append(what)
            return list(answers)

        self.patch(asking, "ask", ask)

    def test_sorted(self) -> None:
        """
        What programs answered is told from what was wrong.
        """
        self.answers({"a": 1}, {"error": "no"}, {"error": 7}, {})
        good, faults = inquire(HOME, {"command": "x"})
        self.assertEqual(good, [{"a": 1}, {}])
        self.assertEqual(faults, ["no", "7"])
        [(home, request, seconds)] = self.asked
        self.assertEqual((home, request), (HOME, {"command": "x"}))
        assert isinstance(seconds, float)
        self.assertGreater(seconds, 0)

    def test_nothingRuns(self) -> None:
        """
        That nothing runs is a fault that says what to do.
        """
        self.answers()
        good, [fault] = inquire(HOME, {"command": "x"})
        self.assertEqual(good, [])
        self.assertIn("nothing runs with the home /home; start", fault)

    def test_told(self) -> None:
        """
        A fault is one line, of bounded length, that steers no terminal (F74).
        """
        err = io.StringIO()
        tellFaults(err, ["a\nb\x1b[2J\u202e", "x" * 999])
        first, second = err.getvalue().splitlines()
        self.assertEqual(first, "rootstream: a\\nb\\x1b[2J\\u202e")
        self.assertEqual(second, "rootstream: " + "x" * MAX_SHOWN)
