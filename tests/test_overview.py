"""
Tests for `rootstream.overview`: ``rootstream status``.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rootstream import overview
from rootstream.errors import IdentityError
from rootstream.overview import showStatus
from rootstream.status import PeerStatus, ProgramStatus

HOME = Path("/home")

PEER = PeerStatus(
    fingerprint="22f5-7905-3311-576b",
    name="laptop",
    state="CONNECTED",
    transport="tcp",
    address="192.0.2.7:9876",
    rtt_ms=1.234,
    jitter_ms=0.3,
    loss=0.051,
    mbit_s=8.0123,
    fps=29.97,
    latency_ms=None,
    frames=300,
    lost=1,
    bytes=1000,
    since=3.0,
    cause="TCP since 12:03:07: UDP is silent; picture stopped 0.21 s",
    rights=("input", "view"),
)


class Terminal(io.StringIO):
    """
    A terminal.
    """

    def isatty(self) -> bool:
        return True


class ShowTests(SynchronousTestCase):
    """
    Tests for `showStatus`.
    """

    def setUp(self) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        self.faults: list[str] = []
        status = ProgramStatus("host", "1.0", 3725.9, (PEER,), recording="/a.mkv")
        self.answers: list[dict[str, Any]] = [json.loads(json.dumps(status.asDict()))]
        self.error: BaseException | None = None
        self.patch(overview, "inquire", self.inquire)
        self.setColumns("100")

    def setColumns(self, columns: str, **more: str) -> None:
        kept = {name: text for name, text in os.environ.items() if name != "NO_COLOR"}
        self.patch(os, "environ", {**kept, "COLUMNS": columns, "LINES": "24", **more})

    def inquire(self, home: Path, request: Any) -> Any:
        self.assertEqual((home, request), (HOME, {"command": "status"}))
        if self.error is not None:
            raise self.error
        return self.answers, self.faults

    def show(self, **options: Any) -> int:
        return showStatus(HOME, self.out, self.err, **options)

    def watch(self, times: int, **options: Any) -> int:
        """
        Watch, until Ctrl-C after so many looks.
        """
        slept: list[float] = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == times:
                raise KeyboardInterrupt

        return self.show(watch=True, sleep=sleep, **options)

    def test_table(self) -> None:
        """
        A program is a line, and a peer is a row of numbers, its address and rights, and
        in words what became of it.
        """
        self.assertEqual(self.show(), 0)
        self.assertEqual(
            self.out.getvalue().splitlines(),
            [
                "host 1.0, up 1:02:05; recording: /a.mkv",
                "PEER                 STATE         VIA       RTT    LOSS"
                "   MBIT/S    FPS   LATENCY",
                "laptop               CONNECTED     TCP    1.2 ms    5.1%"
                "     8.01   30.0         -",
                "  22f5-7905-3311-576b at 192.0.2.7:9876 may input,view",
                "  TCP since 12:03:07: UDP is silent; picture stopped 0.21 s",
            ],
        )
        self.assertEqual(self.err.getvalue(), "")

    def test_several(self) -> None:
        """
        All programs of a home are shown; one that does not answer is said beside.
        """
        self.answers.append({"role": "connect", "version": "1.0", "uptime_s": 0})
        self.faults.append("process 7 gave no answer")
        self.assertEqual(self.show(), 0)
        self.assertTrue(
            self.out.getvalue().endswith("connect 1.0, up 0:00:00\n  no peers\n")
        )
        self.assertEqual(self.err.getvalue(), "rootstream: process 7 gave no answer\n")

    def test_nothingRuns(self) -> None:
        """
        When nothing answers, a line says so, with status 1.
        """
        self.answers.clear()
        self.faults.append("nothing runs")
        for asJSON in (False, True):
            self.assertEqual(self.show(asJSON=asJSON), 1)
        self.assertEqual(self.out.getvalue(), "")
        self.assertEqual(self.err.getvalue(), "rootstream: nothing runs\n" * 2)
        self.error = IdentityError("no such home")
        self.assertEqual(self.show(), 1)
        self.assertTrue(self.err.getvalue().endswith("rootstream: no such home\n"))

    def test_JSON(self) -> None:
        """
        As JSON a program is a line, in plain ASCII, with all its values.
        """
        self.answers[0]["peers"][0]["name"] = "\x1b[2J\u202e"
        self.assertEqual(self.show(asJSON=True), 0)
        [line] = self.out.getvalue().splitlines()
        self.assertTrue(line.isascii() and line.isprintable())
        self.assertEqual(json.loads(line), self.answers[0])

    def test_noTricks(self) -> None:
        """
        F74: no value can steer a terminal or forge a line, and what another version
        answers raises nothing.
        """
        peer = self.answers[0]["peers"][0]
        for name in peer:
            peer[name] = "\x1b[2J\n\u202e"
        self.answers[0]["peers"] += [{}, None, {"rights": 7, "fps": True}]
        self.answers += [{"peers": 7, "uptime_s": "\x1b", "role": "\n"}, {}]
        self.answers.append({"uptime_s": float("nan")})
        self.answers.append({"peers": [{"rights": ["\n"], "cause": 7}]})
        self.assertEqual(self.show(), 0)
        shown = self.out.getvalue()
        self.assertTrue(all(line.isprintable() for line in shown.split("\n")), shown)

    def test_colour(self) -> None:
        """
        A terminal gets colour, unless NO_COLOR is set, and no line longer than it is
        wide; nothing else gets any.
        """
        self.out = Terminal()
        self.setColumns("40")
        self.show()
        self.assertIn("\x1b[32mlaptop  ", self.out.getvalue())
        self.out = Terminal()
        self.setColumns("40", NO_COLOR="1")
        self.show()
        self.assertNotIn("\x1b", self.out.getvalue())
        self.assertEqual(max(map(len, self.out.getvalue().splitlines())), 40)

    def test_watch(self) -> None:
        """
        Watching draws over what was there, each second, until Ctrl-C; trouble is part
        of the picture, for it may pass.
        """
        self.out = Terminal()
        self.faults.append("process 7 gave no answer")
        self.assertEqual(self.watch(2), 0)
        shown = self.out.getvalue()
        self.assertEqual(shown.count("\x1b[H"), 2)
        self.assertEqual(shown.count("\x1b[J"), 2)
        self.assertEqual(shown.count("process 7 gave no answer"), 2)
        self.assertEqual(self.err.getvalue(), "")

    def test_watchIntoAFile(self) -> None:
        """
        Elsewhere one picture follows the other.
        """
        self.assertEqual(self.watch(2), 0)
        shown = self.out.getvalue()
        self.assertNotIn("\x1b", shown)
        self.assertEqual(shown.count("host 1.0"), 2)
        self.assertEqual(shown.count("\n\n"), 2)
        self.out = io.StringIO()
        self.assertEqual(self.watch(3, asJSON=True), 0)
        self.assertEqual(len(self.out.getvalue().splitlines()), 3)

    def test_readerGone(self) -> None:
        """
        Whoever reads may leave.
        """
        self.error = BrokenPipeError()
        self.assertEqual(self.show(watch=True), 0)
