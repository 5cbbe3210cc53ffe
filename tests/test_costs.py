"""
What benchmarks of peers make of what they measured, and that what they measure happens.
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import handshake, idle
from benchmarks.costs import Cost, report, table
from benchmarks.idle import Moment, Reading, judge

COSTS = [
    Cost("small", "a small one", 1.234, "KiB", most=2.0),
    Cost("large", "a larger one", 12345.6, "a second", least=20000.0),
    Cost("free", "one without a limit", 0.5, ""),
]


def run(main: object, *arguments: str, **more: object) -> tuple[int, str, str]:
    """
    Run a command; returns its status and what it printed.
    """
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            status = main(arguments, **more)  # type: ignore[operator]  # either main
        except SystemExit as exit:
            status = exit.code
    return status, out.getvalue(), errors.getvalue()


class CostTests(SynchronousTestCase):
    """
    Tests for `Cost` and its forms.
    """

    def test_verdict(self) -> None:
        """
        A limit itself is within it.
        """
        self.assertEqual([cost.verdict for cost in COSTS], ["ok", "under", ""])
        self.assertEqual(Cost("", "", 2.0, "", most=2.0).verdict, "ok")
        self.assertEqual(Cost("", "", 2.0, "", least=2.0).verdict, "ok")
        self.assertEqual(Cost("", "", 2.01, "", most=2.0).verdict, "over")

    def test_table(self) -> None:
        """
        The table is aligned, and shows what a number means and no more.
        """
        self.assertEqual(
            table(COSTS),
            "a small one           1.23  KiB       <= 2      ok\n"
            "a larger one         12346  a second  >= 20000  under\n"
            "one without a limit   0.50\n",
        )

    def test_report(self) -> None:
        """
        The JSON has all of it.
        """
        whole = json.loads(report({"Kernel": "Linux"}, COSTS))
        self.assertEqual(whole["machine"], {"Kernel": "Linux"})
        self.assertEqual(
            whole["rows"][0],
            {
                "name": "small",
                "title": "a small one",
                "value": 1.234,
                "unit": "KiB",
                "most": 2.0,
                "least": None,
                "verdict": "ok",
            },
        )


class IdleTests(SynchronousTestCase):
    """
    Tests for ``benchmarks.idle``.
    """

    few = Reading(100, 50 << 20, Moment(1.0, 1.0), Moment(1.5, 2.0))
    many = Reading(1100, 60 << 20, Moment(2.0, 9.0), Moment(3.0, 10.0))
    before = Reading(1100, 60 << 20, Moment(3.5, 20.0), Moment(5.0, 21.0))
    after = Reading(1100, (50 << 20) + (1000 << 13), Moment(5.11, 31.0), Moment(7, 33))

    def test_judge(self) -> None:
        """
        What is measured is what happens between an answer and the next question.
        """
        costs = judge(self.few, self.many, self.before, self.after, 1100)
        values = {cost.name: round(cost.value, 6) for cost in costs}
        self.assertEqual(values["memory"], 8.0)
        self.assertEqual(values["idle"], 10.0)
        self.assertEqual(values["accepted"], 2000.0)
        # Five seconds of work each 122.5 s.
        self.assertEqual(values["keys"], round(500 / 122.5, 6))

    def test_missing(self) -> None:
        """
        A host that has lost peers is no measurement.
        """
        error = self.assertRaises(
            RuntimeError, judge, self.few, self.many, self.before, self.after, 1101
        )
        self.assertEqual(str(error), "1100 of 1101 peers are connected")

    def test_main(self) -> None:
        """
        The command prints a table and writes the JSON; what went wrong is one line.
        """
        path = Path(self.mktemp())
        status, out, errors = run(
            idle.main, "--json", str(path), measure=lambda peers, seconds: COSTS
        )
        self.assertEqual((status, out, errors), (0, table(COSTS), ""))
        self.assertEqual(len(json.loads(path.read_text("utf-8"))["rows"]), 3)
        measure = mock.Mock(side_effect=RuntimeError("1 of 2 peers are connected"))
        status, out, errors = run(idle.main, measure=measure)
        self.assertEqual(status, 1)
        self.assertEqual(errors, "benchmarks.idle: 1 of 2 peers are connected\n")

    def test_arguments(self) -> None:
        """
        Nobody idles for no time, or alone.
        """
        for arguments in (("--peers", "1"), ("--seconds", "0")):
            status, _, errors = run(idle.main, *arguments)
            self.assertEqual(status, 2)
            self.assertIn("at least 2", errors)

    def test_descriptors(self) -> None:
        """
        A machine that does not allow so many descriptors is told so.
        """
        refuse = mock.Mock(side_effect=ValueError("not allowed to raise"))
        self.patch(resource, "setrlimit", refuse)
        self.patch(resource, "getrlimit", lambda which: (1024, 4096))
        error = self.assertRaises(OSError, idle.allowDescriptors, 10200)
        self.assertEqual(str(error), "10200 open files are needed, 4096 allowed")


class HandshakeTests(SynchronousTestCase):
    """
    Tests for ``benchmarks.handshake``.
    """

    def test_cases(self) -> None:
        """
        Each case is refused for its own reason, each time, and no byte more goes out
        than came; whoever is refused without a RETRY hears nothing.
        """
        reasons = {
            "noise": "index",
            "mac1": "mac1",
            "stranger": "unauthorised",
            "replay": "replay",
            "source": "source",
        }
        for name, _, case, most in handshake.CASES:
            knocking = handshake.Knocking()
            case(knocking, 5)
            node = knocking.station.node
            if name in reasons:
                self.assertEqual(node.refused[reasons[name]], 5, name)
                self.assertEqual(knocking.went, 0, name)
            else:
                self.assertEqual(node.retries, 6, name)
                self.assertEqual(knocking.went, 5 * 56)
            self.assertLessEqual(knocking.went, most * knocking.came)
            self.assertGreater(knocking.seconds, 0.0)

    def test_accepted(self) -> None:
        """
        A handshake is counted from its INIT to the peer that is connected by it.
        """
        knocking = handshake.Knocking()
        handshake.accepted(knocking, 3)
        self.assertEqual(len(knocking.station.peers), 3)
        self.assertEqual(knocking.came, 3 * (176 + 30))
        self.assertLess(knocking.went, knocking.came)

    def test_main(self) -> None:
        """
        The command measures and prints every row.
        """
        with mock.patch.object(handshake, "quietly"):
            status, out, _ = run(handshake.main, "--runs", "2")
        self.assertEqual(status, 0)
        self.assertEqual(len(out.splitlines()), 4 + 2 * len(handshake.CASES))
        self.assertEqual(run(handshake.main, "--runs", "0")[0], 2)
