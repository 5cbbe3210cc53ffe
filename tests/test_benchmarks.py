"""
What benchmarks make of what they measured.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from benchmarks import failover
from benchmarks.failover import Outcome
from benchmarks.faults import FAULTS, Fault
from benchmarks.figures import (
    Figures,
    Report,
    Row,
    longestGap,
    nearestRank,
    page,
    shown,
    table,
)
from tests.lab.net import LabUnavailable, Network

LIMITED = Row("dropped", "UDP dropped", 0.25, 0.5)
FREE = Row("nothing", "nothing happens")


def needMatplotlib() -> None:
    """
    Skip a test that draws, where that cannot be.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise SkipTest("needs matplotlib, of the extra bench")


class NearestRankTests(SynchronousTestCase):
    """
    Tests for `nearestRank`.
    """

    def test_twenty(self) -> None:
        """
        Of twenty values the p50 is the tenth, and the p99 and p100 the largest.
        """
        values = [float(n) for n in range(20, 0, -1)]
        self.assertEqual(nearestRank(values, 50), 10.0)
        self.assertEqual(nearestRank(values, 99), 20.0)
        self.assertEqual(nearestRank(values, 100), 20.0)

    def test_hundreds(self) -> None:
        """
        Of two hundred values the p99 leaves out two.
        """
        self.assertEqual(nearestRank([float(n) for n in range(1, 201)], 99), 198.0)

    def test_one(self) -> None:
        """
        Of one value every percentile is that one, also the lowest.
        """
        for percent in (0, 1, 50, 99, 100):
            self.assertEqual(nearestRank([0.3], percent), 0.3)


class LongestGapTests(SynchronousTestCase):
    """
    Tests for `longestGap`.
    """

    def gap(self, arrivals: list[float], since: float, until: float) -> float:
        """
        The gap of a source with ten pictures a second, as it is written down.
        """
        return round(longestGap(arrivals, since, until, 0.1), 6)

    def test_undisturbed(self) -> None:
        """
        Pictures in step are no gap.
        """
        self.assertEqual(self.gap([n / 10 for n in range(30)], 1.0, 2.05), 0.0)

    def test_beganBefore(self) -> None:
        """
        A gap counts from the last picture before the fault.
        """
        self.assertEqual(self.gap([0.8, 0.9, 1.4, 1.5, 1.6], 0.95, 1.65), 0.4)

    def test_others(self) -> None:
        """
        Gaps that ended before the fault do not count.
        """
        self.assertEqual(self.gap([0.0, 5.0, 5.1, 5.3, 5.4], 5.05, 5.45), 0.1)

    def test_open(self) -> None:
        """
        A stream that does not come back has a gap up to the end.
        """
        self.assertEqual(self.gap([0.8, 0.9], 0.95, 3.0), 2.0)

    def test_nothing(self) -> None:
        """
        Without any picture the gap is the whole time.
        """
        self.assertEqual(self.gap([], 1.0, 3.0), 1.9)


class FiguresTests(SynchronousTestCase):
    """
    Tests for `Figures`.
    """

    def test_within(self) -> None:
        """
        What reaches a limit is within it.
        """
        self.assertEqual(Figures(LIMITED, (0.25, 0.5)).verdict, "ok")

    def test_over(self) -> None:
        """
        Too much at half of the times is as bad as too much at the end.
        """
        self.assertEqual(Figures(LIMITED, (0.26, 0.27)).verdict, "over")
        self.assertEqual(Figures(LIMITED, (0.1, 0.51)).verdict, "over")

    def test_failed(self) -> None:
        """
        A run that did not come to its end is not forgotten because others did.
        """
        figures = Figures(LIMITED, (0.1,), ("no picture", "no picture"))
        self.assertEqual(figures.verdict, "2 failed")

    def test_unlimited(self) -> None:
        """
        Where there is no limit there is no verdict.
        """
        self.assertEqual(Figures(FREE, (9.0,)).verdict, "")

    def test_empty(self) -> None:
        """
        Of no values there are no percentiles.
        """
        self.assertIsNone(Figures(FREE, ()).percentile(50))


REPORT = Report(
    {"Processors": "2 x Abacus"},
    (
        Figures(FREE, (0.0042, 0.0051)),
        Figures(LIMITED, (0.1, 0.3, 1.25), ("AssertionError: no picture",), 17, 1),
    ),
)


class ReportTests(SynchronousTestCase):
    """
    Tests for `Report` and the forms it is shown in.
    """

    def test_times(self) -> None:
        """
        Times are shown in the unit that suits them.
        """
        self.assertEqual(shown(0.1824), "182 ms")
        self.assertEqual(shown(1.256), "1.26 s")
        self.assertEqual(shown(0.9996), "1.00 s")
        self.assertEqual(shown(None), "-")

    def test_table(self) -> None:
        """
        The table says of each row how often, how long, the limits and the verdict.
        """
        self.assertEqual(
            table(REPORT),
            "fault            runs     p50     p99     max  p50 limit  p99 limit"
            "  frames lost\n"
            "nothing happens     2    4 ms    5 ms    5 ms          -          -"
            "            0\n"
            "UDP dropped         3  300 ms  1.25 s  1.25 s     250 ms     500 ms"
            "           17  1 failed\n",
        )

    def test_page(self) -> None:
        """
        The page shows the picture, the table and the machine.
        """
        text = page(REPORT, "some.png")
        self.assertIn(".. image:: some.png", text)
        self.assertIn(
            "   * - UDP dropped\n     - 3\n     - 300 ms\n     - 1.25 s\n", text
        )
        self.assertIn(":Processors: 2 x Abacus", text)

    def test_JSON(self) -> None:
        """
        What is written can be read back, and holds each value.
        """
        text = REPORT.toJSON()
        self.assertEqual(Report.fromJSON(text), REPORT)
        [_, row] = json.loads(text)["rows"]
        self.assertEqual(row["values"], [0.1, 0.3, 1.25])
        self.assertEqual((row["p50"], row["p99"], row["max"]), (0.3, 1.25, 1.25))


class PictureTests(SynchronousTestCase):
    """
    Tests for `draw`.
    """

    def test_written(self) -> None:
        """
        It is a PNG file, also when a row has no values, and the same for the same
        report.
        """
        needMatplotlib()
        from benchmarks.picture import draw

        report = Report({}, (*REPORT.figures, Figures(LIMITED, ())))
        paths = [Path(self.mktemp()).with_suffix(".png") for _ in range(2)]
        for path in paths:
            draw(report, path)
        first, second = (path.read_bytes() for path in paths)
        self.assertTrue(first.startswith(b"\x89PNG"))
        self.assertEqual(first, second)


class FaultsTests(SynchronousTestCase):
    """
    Tests for the table of faults.
    """

    def test_names(self) -> None:
        """
        Each row has a name and a title of its own, and two limits or none.
        """
        rows = [row for fault in FAULTS for row in fault.rows]
        self.assertEqual(len({row.name for row in rows}), len(rows))
        for row in rows:
            self.assertEqual(row.p50 is None, row.p99 is None, row)


class _Stage:
    """
    A stage on which nothing is done.
    """

    lost = 3
    disconnected = 0

    def __init__(self, *details: object) -> None:
        self.hungUp = False

    def __enter__(self) -> _Stage:
        return self

    def __exit__(self, *details: object) -> None:
        pass

    def hangUp(self) -> None:
        self.hungUp = True

    def account(self) -> str:
        return "what happened"


class RunningTests(SynchronousTestCase):
    """
    Tests for what becomes of runs that fail.
    """

    def run_(
        self, runs: int, *times: float | None, disconnects: bool = False
    ) -> tuple[Outcome, str]:
        """
        The outcome of a fault whose runs take these times, or fail, one after the
        other; and what was said meanwhile.
        """
        left = list(times)

        def happen(stage: object) -> tuple[float]:
            seconds = left.pop(0)
            if seconds is None:
                raise AssertionError("no picture within 20 s")
            return (seconds,)

        fault = Fault((Row("test", "a test"),), happen, disconnects=disconnects)
        said = io.StringIO()
        with (
            mock.patch.object(failover, "FAULTS", (fault,)),
            mock.patch.object(failover, "Stage", _Stage),
            contextlib.redirect_stderr(said),
        ):
            outcome = failover.makeHappen("test", runs)
        self.assertEqual(left, [])
        return outcome, said.getvalue()

    def test_whole(self) -> None:
        """
        Each run is reported when it is over.
        """
        outcome, said = self.run_(2, 0.1, 0.2)
        self.assertEqual(outcome, Outcome([(0.1,), (0.2,)], [], 3))
        self.assertEqual(said, "test: 100 ms\ntest: 200 ms\n")

    def test_again(self) -> None:
        """
        A run that fails is reported with all that is known, and made again, on a
        network of its own; so is the next one that fails.
        """
        outcome, said = self.run_(3, 0.1, None, 0.2, None, 0.3)
        self.assertEqual(outcome.values, [(0.1,), (0.2,), (0.3,)])
        self.assertEqual(
            outcome.failures, ["AssertionError: no picture within 20 s"] * 2
        )
        self.assertEqual(outcome.lost, 9)
        self.assertIn("what happened\ntest: failed: AssertionError: no picture", said)

    def test_hopeless(self) -> None:
        """
        One that fails twice in a row ends that fault, and not the others.
        """
        outcome, _ = self.run_(3, 0.1, None, None)
        self.assertEqual(outcome.values, [(0.1,)])
        self.assertEqual(len(outcome.failures), 2)

    def test_disconnected(self) -> None:
        """
        A viewer that lost its host on the way is a failure, unless the fault is one
        that must end so, however short the gap was.
        """
        self.patch(_Stage, "disconnected", 1)
        outcome, _ = self.run_(1, 0.1)
        self.assertEqual(
            outcome.failures, ["AssertionError: a viewer came to DISCONNECTED"]
        )
        outcome, _ = self.run_(1, 0.1, disconnects=True)
        self.assertEqual((outcome.failures, outcome.disconnected), ([], 1))

    def test_rows(self) -> None:
        """
        The times of a run go to the rows of its fault.
        """
        fault = Fault((LIMITED, FREE), lambda stage: (0.0, 0.0))
        outcome = Outcome([(0.1, 1.0), (0.2, 2.0)], ["no picture"], 5, 1)
        outcome.add(Outcome([(0.3, 3.0)], [], 1, 1))
        self.assertEqual(
            outcome.figures(fault),
            [
                Figures(LIMITED, (0.1, 0.2, 0.3), ("no picture",), 6, 2),
                Figures(FREE, (1.0, 2.0, 3.0), ("no picture",), 6, 2),
            ],
        )


class CommandTests(SynchronousTestCase):
    """
    Tests for the command's options and complaints.
    """

    def main(self, *arguments: str) -> tuple[int, str, str]:
        """
        Its exit status, output and complaints.
        """
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = failover.main(arguments)
        return status, out.getvalue(), err.getvalue()

    def test_lacksMatplotlib(self) -> None:
        """
        Without matplotlib it says so before anything is measured, in one line.
        """
        with mock.patch("importlib.util.find_spec", return_value=None):
            status, out, err = self.main()
        self.assertEqual((status, out), (1, ""))
        self.assertEqual(len(err.splitlines()), 1)
        self.assertIn("needs matplotlib", err)

    def test_lacksPrivilege(self) -> None:
        """
        So it does when the machine or the user may not build a network.
        """
        unavailable = LabUnavailable("needs root, to make network namespaces")
        with (
            mock.patch("importlib.util.find_spec"),
            mock.patch.object(Network, "open", side_effect=unavailable),
        ):
            status, out, err = self.main()
        self.assertEqual((status, out), (1, ""))
        self.assertEqual(
            err, "benchmarks.failover: needs root, to make network namespaces\n"
        )

    def test_interrupted(self) -> None:
        """
        Ctrl-C ends it without a traceback and without files.
        """
        with (
            mock.patch.object(failover, "checkTools"),
            mock.patch.object(failover, "collect", side_effect=KeyboardInterrupt),
            mock.patch.object(failover, "write", side_effect=AssertionError),
        ):
            status, out, err = self.main()
        self.assertEqual((status, out), (130, ""))
        self.assertEqual(err, "benchmarks.failover: interrupted\n")

    def test_draws(self) -> None:
        """
        What an earlier measurement wrote is shown without measuring; only the files
        that are named are written, and part of a table only to those.
        """
        needMatplotlib()
        directory = Path(self.mktemp())
        directory.mkdir()
        before = directory / "before.json"
        before.write_text(REPORT.toJSON(), "utf-8")
        picture, text = directory / "some.png", directory / "page.rst"
        status, out, err = self.main(
            *("--draw", str(before)),
            *("--picture", str(picture)),
            *("--page", str(text)),
        )
        self.assertEqual((status, out, err), (0, table(REPORT), ""))
        self.assertEqual(text.read_text("utf-8"), page(REPORT, "some.png"))
        self.assertEqual(sorted(directory.iterdir()), sorted([before, picture, text]))
