"""
The measurement of one source with many viewers.
"""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import fanout
from benchmarks.fanout import Crowd, table

GOOD = Crowd(100, 150, 15_000, 10.0, 20.5, share=0.79, sealing=0.2, packet=10.0)
OVER = Crowd(200, 150, 30_000, None, None, share=1.7, sealing=0.4, packet=11.0)
LOST = Crowd(1, 150, 149, 1.0, 2.0, share=0.1, sealing=0.01, packet=30.0)


class CrowdTests(SynchronousTestCase):
    """
    Tests for `Crowd` and its table.
    """

    def test_verdicts(self) -> None:
        """
        A frame that is missing is worse than a processor that is too busy; few viewers
        have no limit, and many have as many times that of a hundred.
        """
        self.assertEqual([each.verdict for each in (GOOD, OVER)], ["ok", "over"])
        self.assertEqual((LOST.verdict, LOST.missing), ("lost", 1))
        few = Crowd(1, 150, 150, 1.0, 2.0, share=0.9, sealing=0.01, packet=30.0)
        self.assertEqual(few.verdict, "")

    def test_table(self) -> None:
        """
        One line each, under headings; what was not measured is a dash.
        """
        _, good, over, lost = table([GOOD, OVER, LOST]).splitlines()
        self.assertEqual(
            good.split(),
            ["100", "150", "0", "10.0", "20.5", "79.0%", "20.0%", "10.0", "ok"],
        )
        self.assertEqual(over.split()[3:5], ["-", "-"])
        self.assertEqual(lost.split()[-1], "lost")


class MainTests(SynchronousTestCase):
    """
    Tests for the command.
    """

    def call(self, *arguments: str) -> tuple[int, str]:
        """
        Its exit status, and what it said.
        """
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                status = fanout.main(arguments)
            except SystemExit as ended:
                assert isinstance(ended.code, int)
                status = ended.code
        return status, said.getvalue()

    def test_status(self) -> None:
        """
        It fails exactly when a limit does not hold, and writes down what it saw.
        """
        path = Path(self.mktemp())
        for crowd, expected in ((GOOD, 0), (OVER, 1), (LOST, 1)):
            with mock.patch.object(fanout, "measure", return_value=crowd):
                status, said = self.call(str(crowd.viewers), "--json", str(path))
            self.assertEqual(status, expected)
            self.assertIn(table([crowd]), said)
            [row] = json.loads(path.read_text())
            self.assertEqual(row["share"], crowd.share)

    def test_badArguments(self) -> None:
        """
        Nobody to send to, and a stream of no or too much length, are refused.
        """
        for arguments in (["0"], ["1", "--seconds", "0"], ["1", "--seconds", "60"]):
            status, said = self.call(*arguments)
            self.assertEqual(status, 2)
            self.assertIn("1 viewer or more, and at most 15 seconds", said)

    def test_real(self) -> None:
        """
        Over real sockets, each frame reaches each of three viewers.
        """
        crowd = fanout.measure(3, 0.5)
        self.assertEqual((crowd.viewers, crowd.frames, crowd.missing), (3, 15, 0))
        self.assertGreater(crowd.share, crowd.sealing)
        assert crowd.p50 is not None and crowd.p99 is not None
        self.assertLessEqual(crowd.p50, crowd.p99)
