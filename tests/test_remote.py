"""
Tests for `rootstream.remote`: ``rootstream record`` and ``rootstream control``.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rootstream import remote
from rootstream.errors import IdentityError
from rootstream.remote import controlStream, recordStream

HOME = Path("/home")


class RemoteTests(SynchronousTestCase):
    """
    Tests for `recordStream` and `controlStream`.
    """

    def setUp(self) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        self.asked: list[Any] = []
        self.good: list[dict[str, Any]] = []
        self.faults: list[str] = []
        self.error: Exception | None = None
        self.patch(remote, "inquire", self.inquire)

    def inquire(self, home: Path, request: Any) -> Any:
        self.assertEqual(home, HOME)
        self.asked.append(request)
        if self.error is not None:
            raise self.error
        return self.good, self.faults

    def order(self, command: Callable[..., int], *words: str) -> int:
        return command(HOME, words, self.out, self.err)

    def test_start(self) -> None:
        """
        A recording goes where the user is, not where the program runs.
        """
        path = os.path.join(os.getcwd(), "a.mkv")
        self.good = [{"file": path}]
        self.assertEqual(self.order(recordStream, "start", "a.mkv"), 0)
        self.assertEqual(
            self.asked, [{"command": "record", "action": "start", "file": path}]
        )
        self.assertEqual(self.out.getvalue(), f"recording into {path}\n")

    def test_stop(self) -> None:
        """
        It ends; that another program of the home records nothing is no fault.
        """
        self.good = [{"file": None}]
        self.faults = ["nothing is being recorded"]
        self.assertEqual(self.order(recordStream, "stop"), 0)
        self.assertEqual(self.asked, [{"command": "record", "action": "stop"}])
        self.assertEqual(self.out.getvalue(), "the recording is over\n")
        self.assertEqual(self.err.getvalue(), "")

    def test_refused(self) -> None:
        """
        When no program did it, each says why in a line, with status 1.
        """
        self.faults = ["a", "b"]
        self.assertEqual(self.order(recordStream, "stop"), 1)
        self.assertEqual(self.err.getvalue(), "rootstream: a\nrootstream: b\n")
        self.assertEqual(self.out.getvalue(), "")

    def test_badHome(self) -> None:
        """
        So is a home that cannot be used.
        """
        self.error = IdentityError("there is no directory /home")
        self.assertEqual(self.order(recordStream, "stop"), 1)
        self.assertEqual(
            self.err.getvalue(), "rootstream: there is no directory /home\n"
        )

    def test_control(self) -> None:
        """
        An order goes to one peer or to all, with its value, and says to whom.
        """
        self.good = [{"peers": ["aaaa", "bbbb"]}]
        self.assertEqual(self.order(controlStream, "all", "pause"), 0)
        self.assertEqual(self.order(controlStream, "aaaa", "fps", "30"), 0)
        self.assertEqual(
            self.asked,
            [
                {"command": "control", "peer": None, "action": "pause"},
                {"command": "control", "peer": "aaaa", "action": "fps", "value": 30.0},
            ],
        )
        self.assertEqual(self.out.getvalue(), "pause: aaaa bbbb\nfps: aaaa bbbb\n")

    def test_usage(self) -> None:
        """
        Words that make no order are said in one line, and nobody is asked.
        """
        for command, words in (
            (recordStream, ()),
            (recordStream, ("start",)),
            (recordStream, ("stop", "a.mkv")),
            (controlStream, ()),
            (controlStream, ("all",)),
            (controlStream, ("all", "fly")),
            (controlStream, ("all", "fps", "3", "4")),
            (controlStream, ("all", "fps", "fast\x1b")),
        ):
            self.err.seek(0)
            self.err.truncate()
            self.assertEqual(self.order(command, *words), 1)
            said = self.err.getvalue()
            self.assertEqual(said.count("\n"), 1)
            self.assertTrue(said.startswith("rootstream: "), said)
            self.assertNotIn("\x1b", said)
        self.assertEqual((self.asked, self.out.getvalue()), ([], ""))

    def test_noTricks(self) -> None:
        """
        F74: what a program answers cannot steer a terminal, and what is no answer of
        ours raises nothing.
        """
        self.good = [{"file": "\x1b[2J"}, {}]
        self.assertEqual(self.order(recordStream, "start", "a.mkv"), 0)
        self.good = [{"peers": ["\x1b\n"]}, {"peers": 7}]
        self.assertEqual(self.order(controlStream, "all", "pause"), 0)
        self.assertEqual(
            self.out.getvalue(),
            "recording into \\x1b[2J\nthe recording is over\n"
            "pause: \\x1b\\n\npause: \n",
        )
