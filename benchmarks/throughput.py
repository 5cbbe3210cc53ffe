"""
``python -m benchmarks.throughput``: how fast the whole product is, beside its peers.

Two processes, one a machine of the laboratory (``tests/lab``), which needs root, stream
over a cable between them.  All is measured in turn, again and again, so that what else
the machine does is spread over all of it, and ratios within one measurement hold where
its numbers do not.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path

from benchmarks.cable import Cable
from benchmarks.contests import CONTESTS, Contest
from benchmarks.machine import describeMachine
from benchmarks.rates import (
    Missing,
    Rates,
    Result,
    Run,
    page,
    regression,
    renewed,
    tables,
)
from tests.lab.net import LabUnavailable

__all__ = ["main"]

DOCS = Path(__file__).resolve().parent.parent / "docs"
README = DOCS.parent / "README.rst"
#: What was reached when it was last written down.
BASELINE = Path(__file__).resolve().parent / "baseline.json"
#: The key in it.
OF_CEILING = "udp_of_ceiling"

RUNS = 5
SECONDS = 2.0
#: What a short measurement is of.
SHORT = ("ceiling", "udp")
#: Rounds of it: at least, and at most, which is less than two minutes.
SHORT_LEAST = 3
SHORT_RUNS = 15
SHORT_SECONDS = 1.0


@dataclass(slots=True)
class Gathered:
    """
    What a contest has come to so far.
    """

    runs: list[Run] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    missing: str = ""


def say(line: str) -> None:
    """
    Tell whoever waits how far we are.
    """
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def makeHappen(contest: Contest, cable: Cable, seconds: float, into: Gathered) -> None:
    """
    Make one run, and note what came of it.
    """
    try:
        run = contest.happen(cable, seconds)
    except Missing as error:
        into.missing = str(error)
        say(f"{contest.name}: {error}")
    except Exception as error:
        # Whatever it is, the others go on.
        failure = f"{type(error).__name__}: {error}"
        say(f"{contest.name}: failed: {failure}")
        into.failures.append(failure)
    else:
        into.runs.append(run)
        say(
            f"{contest.name}: "
            + ", ".join(f"{what} {value:.4g}" for what, value in run.items())
        )


def measure(
    contests: Sequence[Contest],
    runs: int,
    seconds: float,
    enough: Callable[[Sequence[Result]], bool] = lambda results: False,
) -> list[Result]:
    """
    So many runs of each, in turn, or fewer if they are ``enough``.
    """
    gathered = {contest.name: Gathered() for contest in contests}

    def results() -> list[Result]:
        return [
            Result(
                contest.name,
                contest.title,
                tuple(gathered[contest.name].runs),
                gathered[contest.name].missing,
                tuple(gathered[contest.name].failures),
            )
            for contest in contests
        ]

    with Cable() as cable:
        for _ in range(runs):
            for contest in contests:
                if not gathered[contest.name].missing:
                    makeHappen(contest, cable, seconds, gathered[contest.name])
            if enough(results()):
                break
    return results()


def holds(results: Sequence[Result]) -> bool:
    """
    Whether a short measurement may end: it has gone on for a while, and nothing is
    wrong.  On a busy machine it goes on until a run of each was left in peace.
    """
    rounds = max(len(result.runs) for result in results)
    return rounds >= SHORT_LEAST and not regression(
        Rates({}, tuple(results)), reached()
    )


def reached() -> float:
    """
    How much of the ceiling UDP reached when it was last written down.
    """
    baseline: float = json.loads(BASELINE.read_text("utf-8"))[OF_CEILING]
    return baseline


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """
    The options.
    """
    parser = argparse.ArgumentParser(
        "python -m benchmarks.throughput", description="Needs root, and 7 minutes."
    )
    known = [contest.name for contest in CONTESTS]
    add = parser.add_argument
    add("--runs", type=int, help=f"of each ({RUNS})")
    add(
        "--only",
        action="append",
        choices=known,
        metavar="NAME",
        help=f"this alone, or several; of {', '.join(known)}",
    )
    add(
        "--short",
        action="store_true",
        help="in a minute: fail when UDP reaches less of the ceiling than it did",
    )
    add("--json", type=Path, help=f"default: {DOCS / 'throughput.json'}")
    add("--picture", type=Path, help=f"default: {DOCS / 'throughput.png'}")
    add("--page", type=Path, help=f"default: {DOCS / 'throughput.rst'}")
    add(
        "--draw",
        type=Path,
        metavar="JSON",
        help="measure nothing; show what such a file holds",
    )
    options = parser.parse_args(arguments)
    if options.runs is None:
        options.runs = SHORT_RUNS if options.short else RUNS
    if options.runs < 1:
        parser.error("--runs is at least 1")
    if options.short and (options.only or options.draw):
        parser.error("--short says itself what is measured")
    return options


def collect(options: argparse.Namespace) -> Rates:
    """
    Measure what was asked for.
    """
    names = SHORT if options.short else options.only
    contests = [each for each in CONTESTS if not names or each.name in names]
    machine = {
        "Date": date.today().isoformat(),
        "Runs of each": f"{options.runs}, in turn; medians",
        **describeMachine(),
    }
    machine["Python"] += f", cryptography {version('cryptography')}"
    how = (SHORT_SECONDS, holds) if options.short else (SECONDS,)
    return Rates(machine, tuple(measure(contests, options.runs, *how)))


def write(rates: Rates, options: argparse.Namespace) -> None:
    """
    Write the files.  What only part was measured of goes nowhere unless a file is
    named: the documentation shows the whole.
    """
    whole = not options.only and not options.short
    picture = options.picture or (whole and DOCS / "throughput.png")
    if not options.draw:
        file = options.json or (whole and DOCS / "throughput.json")
        if file:
            file.write_text(rates.toJSON(), "utf-8")
        share = rates.ofCeiling
        if whole and share is not None:
            baseline = json.dumps({OF_CEILING: round(share, 4)})
            BASELINE.write_text(baseline + "\n", "utf-8")
    if picture:
        from benchmarks.bars import draw

        draw(rates, picture)
    text = options.page or (whole and DOCS / "throughput.rst")
    if text:
        name = (picture or DOCS / "throughput.png").name
        text.write_text(page(rates, name), "utf-8")
    if whole:
        README.write_text(renewed(README.read_text("utf-8"), rates), "utf-8")


def checkTools(options: argparse.Namespace) -> None:
    """
    Say what is missing before minutes have passed.

    :raise LabUnavailable: if something is.
    """
    draws = options.picture or not (options.only or options.short)
    if draws and importlib.util.find_spec("matplotlib") is None:
        raise LabUnavailable("needs matplotlib: pip install 'rootstream[bench]'")


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command; returns its exit status.
    """
    options = parse(arguments)
    began = time.monotonic()
    try:
        checkTools(options)
        if options.draw is None:
            rates = collect(options)
        else:
            rates = Rates.fromJSON(options.draw.read_text("utf-8"))
        sys.stdout.write(tables(rates))
        write(rates, options)
        wrong = regression(rates, reached()) if options.short else ""
    except (LabUnavailable, OSError) as error:
        say(f"benchmarks.throughput: {error}")
        return 1
    except KeyboardInterrupt:
        say("benchmarks.throughput: interrupted")
        return 130
    say(f"benchmarks.throughput: {time.monotonic() - began:.0f} s")
    if wrong:
        say(f"benchmarks.throughput: {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
