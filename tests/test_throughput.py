"""
What the measurement of rates makes of what it measured.
"""

from __future__ import annotations

import contextlib
import io
import json
import pkgutil
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import rivals, throughput
from benchmarks.cable import Cable
from benchmarks.contests import CONTESTS, Contest, percentiles
from benchmarks.ends import PORTS, WINDOW, Mark, fill
from benchmarks.rates import (
    BEGIN,
    END,
    PROMISES,
    Missing,
    Promise,
    Rates,
    Result,
    Run,
    page,
    regression,
    tables,
)
from rootstream.protocol.events import VideoFrame
from tests.lab.net import LabUnavailable
from tests.test_benchmarks import needMatplotlib

RATES = Rates(
    {"Processors": "2 x Abacus"},
    (
        Result("ceiling", "the cipher", ({"mbits": 2000.0, "send": 1.4},)),
        Result(
            "udp",
            "RootStream, UDP",
            (
                {"mbits": 900.0, "send": 4.1, "receive": 3.9, "loss": 0.0},
                {"mbits": 1300.0, "send": 3.9, "receive": 3.7, "loss": 0.02},
                {"mbits": 1000.0, "send": 4.0, "receive": 3.8, "loss": 0.01},
            ),
        ),
        Result("srt", "SRT", missing="not installed (package srt-tools)"),
        Result("tcp", "RootStream, TCP", failures=("AssertionError: status 1",)),
        Result("frame", "a frame", ({"p50": 0.0011, "p99": 0.0031, "count": 120.0},)),
    ),
)


class RatesTests(SynchronousTestCase):
    """
    Tests for `Rates` and the forms it is shown in.
    """

    def test_median(self) -> None:
        """
        The median is that of all runs; of what was not measured there is none.
        """
        self.assertEqual(RATES.median("udp", "mbits"), 1000.0)
        self.assertIsNone(RATES.median("udp", "p50"))
        self.assertIsNone(RATES.median("srt", "mbits"))
        self.assertIsNone(RATES.median("nobody", "mbits"))

    def test_ratio(self) -> None:
        """
        A ratio is one of medians, and needs both.
        """
        self.assertEqual(RATES.ratio("udp", "ceiling"), 0.5)
        self.assertIsNone(RATES.ratio("udp", "srt"))
        self.assertIsNone(RATES.ratio("srt", "udp"))

    def test_JSON(self) -> None:
        """
        What is written can be read back.
        """
        self.assertEqual(Rates.fromJSON(RATES.toJSON()), RATES)

    def test_tables(self) -> None:
        """
        The tables show medians and the range, why something is not there, and a
        verdict on each promise of which something was measured.
        """
        lines = [" ".join(line.split()) for line in tables(RATES).splitlines()]
        self.assertIn("RootStream, UDP 3 1000 900 - 1300 50% 4.0 3.8 0.01 %", lines)
        self.assertIn("the cipher 1 2000 2000 - 2000 100% 1.4 - -", lines)
        self.assertIn("SRT 0 not installed (package srt-tools) - - - - -", lines)
        self.assertIn(
            "RootStream, TCP 0 failed: AssertionError: status 1 - - - - -", lines
        )
        self.assertIn("a frame 1 1100 us 3100 us", lines)
        self.assertIn("UDP >= 2000 Mbit/s 1000 Mbit/s missed", lines)
        self.assertIn("UDP, CPU of the sender <= 4 s/GB 4 s/GB ok", lines)
        self.assertNotIn("UDP against SRT", tables(RATES))

    def test_page(self) -> None:
        """
        The page shows the picture, the tables and the machine.
        """
        text = page(RATES, "some.png")
        self.assertIn(".. image:: some.png", text)
        self.assertIn("   * - RootStream, UDP\n     - 3\n     - 1000\n", text)
        self.assertIn(":Processors: 2 x Abacus", text)

    def test_picture(self) -> None:
        """
        The picture is a PNG file, whatever is missing, and the same for the same
        numbers.
        """
        needMatplotlib()
        from benchmarks.bars import draw

        paths = [Path(self.mktemp()).with_suffix(".png") for _ in range(2)]
        for path in paths:
            draw(RATES, path)
        first, second = (path.read_bytes() for path in paths)
        self.assertTrue(first.startswith(b"\x89PNG"))
        self.assertEqual(first, second)


class PromiseTests(SynchronousTestCase):
    """
    Tests for `Promise`.
    """

    def verdict(self, value: float, atMost: bool) -> str:
        """
        Of a promise of 4.
        """
        return Promise("it", 4.0, "s", lambda rates: value, atMost).verdict(value)

    def test_directions(self) -> None:
        """
        What reaches the limit holds, from either side.
        """
        self.assertEqual(self.verdict(4.0, atMost=True), "ok")
        self.assertEqual(self.verdict(4.1, atMost=True), "missed")
        self.assertEqual(self.verdict(4.0, atMost=False), "ok")
        self.assertEqual(self.verdict(3.9, atMost=False), "missed")

    def test_all(self) -> None:
        """
        When all is measured, each promise has a value: none names a contest or a
        quantity that nobody measures.
        """
        rate: Run = {"mbits": 100.0, "send": 5.0, "receive": 5.0, "loss": 0.0}
        delay: Run = {"p50": 0.00005, "p99": 0.0001}
        rates = Rates(
            {},
            tuple(
                Result(contest.name, contest.title, ({**rate, **delay},))
                for contest in CONTESTS
            ),
        )
        for promise in PROMISES:
            self.assertIsNotNone(promise.value(rates), promise.text)

    def test_added(self) -> None:
        """
        What a round trip adds is what it takes beyond the bare one.
        """
        runs = {"round-trip": 0.00012, "bare-round-trip": 0.00005}
        rates = Rates(
            {},
            tuple(
                Result(name, name, ({"p50": seconds, "p99": seconds},))
                for name, seconds in runs.items()
            ),
        )
        [promise] = [each for each in PROMISES if each.text.endswith("bare one, p50")]
        value = promise.value(rates)
        assert value is not None
        self.assertAlmostEqual(value, 70.0)
        self.assertEqual(promise.verdict(value), "missed")


class RegressionTests(SynchronousTestCase):
    """
    Tests for `regression`.
    """

    def test_within(self) -> None:
        """
        Four fifths of what it was is enough.
        """
        self.assertEqual(regression(RATES, 0.81), "")

    def test_below(self) -> None:
        """
        Less is not, and the line says how much it was.
        """
        self.assertEqual(
            regression(RATES, 0.83),
            "UDP reaches 65.0% of the ceiling; 66.4% is the least, "
            "80% of the 83.0% it was",
        )

    def test_unmeasured(self) -> None:
        """
        Nothing measured is not nothing wrong.
        """
        self.assertIn("could not be measured", regression(Rates({}, ()), 0.1))
        failed = Rates(
            {}, (Result("ceiling", "", ({"mbits": 1.0},)), Result("udp", ""))
        )
        self.assertIn("could not be measured", regression(failed, 0.1))

    def test_baseline(self) -> None:
        """
        The baseline is there, and a share.
        """
        baseline = json.loads(throughput.BASELINE.read_text("utf-8"))
        self.assertTrue(0 < baseline[throughput.OF_CEILING] < 1)


class EndsTests(SynchronousTestCase):
    """
    Tests for what the two ends count.
    """

    def test_mark(self) -> None:
        """
        Between two marks lie seconds, CPU seconds, and the bytes of the frames.
        """
        self.assertEqual(
            Mark(10.0, 1.0, 5).until(Mark(12.0, 1.5, 25)),
            {"seconds": 2.0, "cpu": 0.5, "bytes": 2_000_000},
        )

    def test_patches(self) -> None:
        """
        What another kind of port replaces is still in the product.
        """
        for replaced in PORTS.values():
            for name in replaced:
                self.assertTrue(callable(pkgutil.resolve_name(name)), name)

    def filled(self, acknowledged: int, backlog: int = 0) -> int:
        """
        How many frames are sent after a window of them, of 74 packets each.
        """
        peer = _Peer(WINDOW, acknowledged, backlog)
        fill(peer, b"a picture")  # type: ignore[arg-type]  # what it needs of one
        return peer.framesSent - WINDOW

    def test_window(self) -> None:
        """
        No more than a window of frames is under way; each acknowledged one makes room.
        """
        self.assertEqual(self.filled(WINDOW * 74), WINDOW)
        self.assertEqual(self.filled(WINDOW * 74 - 1), WINDOW - 1)
        self.assertEqual(self.filled(0), 0)

    def test_backlog(self) -> None:
        """
        A connection that has enough to send is given no more.
        """
        self.assertEqual(self.filled(WINDOW * 74, backlog=200_000), 0)

    def test_percentiles(self) -> None:
        """
        Of the delays of a run, two percentiles and their number are kept.
        """
        self.assertEqual(
            percentiles([n / 1000 for n in range(1, 101)]),
            {"p50": 0.05, "p99": 0.099, "count": 100},
        )


class _Peer:
    """
    A peer that takes every frame; also its own status and path.
    """

    packetsLost = 0

    def __init__(self, framesSent: int, acknowledged: int, backlog: int) -> None:
        self.framesSent = framesSent
        self.packetsAcknowledged = acknowledged
        self.backlog = backlog
        self.path = self

    def status(self) -> _Peer:
        return self

    def sendVideo(self, frame: VideoFrame) -> bool:
        self.framesSent += 1
        return True


class _NoCable:
    """
    A cable between no machines.
    """

    def __enter__(self) -> _NoCable:
        return self

    def __exit__(self, *details: object) -> None:
        pass


class CommandTests(SynchronousTestCase):
    """
    Tests for the command.
    """

    def setUp(self) -> None:
        """
        The documentation, the baseline and what is measured are the test's own.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        self.docs = directory
        self.baseline = directory / "baseline.json"
        self.baseline.write_text('{"udp_of_ceiling": 0.5}')
        self.readme = directory.with_suffix(".readme")
        self.readme.write_text(f"Fast:\n\n{BEGIN}old\n{END}\nEnd.\n")
        self.order: list[str] = []
        for name, value in {
            "DOCS": directory,
            "BASELINE": self.baseline,
            "README": self.readme,
            "Cable": _NoCable,
            "CONTESTS": self.contests(udp=1000.0),
        }.items():
            self.patch(throughput, name, value)

    def contests(self, udp: float) -> tuple[Contest, ...]:
        """
        A ceiling of 2000 Mbit/s, UDP of so many, one that fails and one that is
        missing.
        """

        def of(name: str, run: Run | Exception) -> Contest:
            def happen(cable: Cable, seconds: float) -> Run:
                self.order.append(name)
                if isinstance(run, Exception):
                    raise run
                return run

            return Contest(name, name, happen)

        return (
            of("ceiling", {"mbits": 2000.0, "send": 1.4}),
            of("udp", {"mbits": udp, "send": 4.0, "receive": 4.0, "loss": 0.0}),
            of("tcp", AssertionError("status 1")),
            of("srt", Missing("not installed")),
        )

    def command(self, *arguments: str) -> tuple[int, str, str]:
        """
        Its exit status, and what it says on both outputs.
        """
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = throughput.main(arguments)
        return status, out.getvalue(), err.getvalue()

    def test_inTurn(self) -> None:
        """
        All are run in turn; one that fails is run again with the others, one that
        is missing is not.
        """
        status, out, err = self.command("--runs", "2", "--only", "udp", "--only", "tcp")
        self.assertEqual(self.order, ["udp", "tcp"] * 2)
        self.order.clear()
        with contextlib.redirect_stderr(io.StringIO()):
            results = throughput.measure(throughput.CONTESTS, 2, 1.0)
        self.assertEqual(
            self.order, ["ceiling", "udp", "tcp", "srt", "ceiling", "udp", "tcp"]
        )
        self.assertEqual(results[2].failures, ("AssertionError: status 1",) * 2)
        self.assertEqual(results[3].missing, "not installed")
        self.assertEqual(status, 0)
        self.assertIn("1000 - 1000", out)
        self.assertIn("tcp: failed: AssertionError: status 1", err)

    def test_whole(self) -> None:
        """
        A whole measurement renews the documentation and the baseline.
        """
        needMatplotlib()
        self.baseline.unlink()
        status, _, _ = self.command("--runs", "1")
        self.assertEqual(status, 0)
        self.assertEqual(
            sorted(path.name for path in self.docs.iterdir()),
            ["baseline.json", "throughput.json", "throughput.png", "throughput.rst"],
        )
        self.assertEqual(json.loads(self.baseline.read_text())["udp_of_ceiling"], 0.5)
        readme = self.readme.read_text()
        self.assertTrue(readme.startswith(f"Fast:\n\n{BEGIN}\n======="))
        self.assertIn("\nudp        1000             4.0                4.0\n", readme)
        self.assertTrue(readme.endswith(f"\n\n{END}\nEnd.\n"))
        self.assertNotIn("old", readme)
        saved = Rates.fromJSON((self.docs / "throughput.json").read_text())
        self.assertEqual(saved.median("udp", "mbits"), 1000.0)

    def test_part(self) -> None:
        """
        What only part was measured of goes nowhere unless a file is named.
        """
        own = self.docs / "own.json"
        self.command("--runs", "1", "--only", "udp", "--json", str(own))
        self.assertEqual(
            sorted(path.name for path in self.docs.iterdir()),
            ["baseline.json", "own.json"],
        )
        self.assertEqual(json.loads(self.baseline.read_text())["udp_of_ceiling"], 0.5)

    def test_short(self) -> None:
        """
        The short form measures UDP and the ceiling alone, three times if all is well;
        it fails when the one reaches too little of the other, however often.
        """
        status, _, _ = self.command("--short")
        self.assertEqual((status, self.order), (0, ["ceiling", "udp"] * 3))
        self.order.clear()
        self.patch(throughput, "CONTESTS", self.contests(udp=799.0))
        status, _, err = self.command("--short", "--runs", "5")
        self.assertEqual((status, self.order), (1, ["ceiling", "udp"] * 5))
        self.assertIn("40.0% is the least", err)

    def test_misused(self) -> None:
        """
        What cannot be meant is refused.
        """
        for arguments in (["--runs", "0"], ["--short", "--only", "udp"]):
            with self.assertRaises(SystemExit):
                self.command(*arguments)

    def test_unavailable(self) -> None:
        """
        A machine that cannot is one line and a status, no traceback.
        """

        def refuse() -> _NoCable:
            raise LabUnavailable("needs root, to make network namespaces")

        self.patch(throughput, "Cable", refuse)
        status, _, err = self.command("--runs", "1", "--only", "udp")
        self.assertEqual(status, 1)
        self.assertEqual(
            err, "benchmarks.throughput: needs root, to make network namespaces\n"
        )


class RivalsTests(SynchronousTestCase):
    """
    Tests for what is measured of others.
    """

    def test_missing(self) -> None:
        """
        One that is not installed says what to install.
        """
        with (
            mock.patch.object(rivals.shutil, "which", return_value=None),
            mock.patch.object(rivals.importlib.util, "find_spec", return_value=None),
            mock.patch.dict(rivals.os.environ, clear=True),
        ):
            for contest, package in (
                (rivals.iperfUDP, "iperf3"),
                (rivals.iperfTCP, "iperf3"),
                (rivals.SRT(), "srt-tools"),
                (rivals.quic, "aioquic"),
            ):
                error = self.assertRaises(Missing, contest, Cable(), 1.0)
                self.assertIn(package, str(error))

    def test_iperf(self) -> None:
        """
        What iperf3 lost does not count as carried, but as paid for by the sender.
        """
        end = {"cpu_utilization_percent": {"host_total": 100.0, "remote_total": 50.0}}
        total = {"bytes": 1_000_000_000, "seconds": 4.0}
        self.assertEqual(
            rivals.iperfRun(end, total, 50.0),
            {"mbits": 1000.0, "send": 4.0, "receive": 4.0, "loss": 50.0},
        )

    def test_rateOfSRT(self) -> None:
        """
        SRT is measured at the first rate that loses nothing, and looked for once.
        """
        asked: list[float] = []

        def once(cable: Cable, seconds: float, mbits: float) -> Run:
            asked.append(mbits)
            return {"mbits": mbits, "loss": 0.0 if mbits <= 800 else 3.0}

        self.patch(rivals, "srtOnce", once)
        self.patch(rivals, "need", lambda command, package: None)
        srt = rivals.SRT()
        for _ in range(2):
            self.assertEqual(srt(Cable(), 1.0)["mbits"], 800)
        self.assertEqual(asked[-4:], [1000, 900, 800, 800])
