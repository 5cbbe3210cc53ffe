"""
``python -m benchmarks.failover``: how long each fault of a network interrupts a stream.

Real ``rootstream`` processes stream over networks of the laboratory (``tests/lab``),
which needs root.  Each fault is made many times, and what a viewer saw of it becomes a
table on standard output, a JSON file, a picture and a page of the documentation.

Each network is driven by a process of its own, so that what is measured on one does not
wait for another, and so that Ctrl-C reaches all of them.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from benchmarks.faults import FAULTS, Fault
from benchmarks.figures import Figures, Report, page, shown, table
from benchmarks.machine import describeMachine
from benchmarks.stage import ROUND_TRIP, SOURCE, Stage
from tests.lab.net import LabUnavailable, Network

__all__ = ["main"]

DOCS = Path(__file__).resolve().parent.parent / "docs"
#: Of networks where most of a run is waiting.
NETWORKS_A_PROCESSOR = 4
#: Of a run, if it fails.
ATTEMPTS = 2


@dataclass(slots=True)
class Outcome:
    """
    What the runs of a fault, or some of them, came to.
    """

    values: list[tuple[float, ...]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    lost: int = 0
    disconnected: int = 0

    def add(self, other: Outcome) -> None:
        """
        Count what others came to as well.
        """
        self.values += other.values
        self.failures += other.failures
        self.lost += other.lost
        self.disconnected += other.disconnected

    def figures(self, fault: Fault) -> list[Figures]:
        """
        The same by the rows of the table.
        """
        return [
            Figures(
                row,
                tuple(value[place] for value in self.values),
                tuple(self.failures),
                self.lost,
                self.disconnected,
            )
            for place, row in enumerate(fault.rows)
        ]


def say(line: str) -> None:
    """
    Tell whoever waits how far we are.
    """
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def onOneNetwork(fault: Fault, runs: int, outcome: Outcome) -> None:
    """
    Make a fault happen until there are so many values; raises what ends the first run
    that fails.
    """
    with Stage(fault.host, fault.viewer, fault.nat) as stage:
        try:
            while len(outcome.values) < runs:
                times = fault.happen(stage)
                # The clock of a picture is not finer.
                outcome.values.append(tuple(round(seconds, 6) for seconds in times))
                say(f"{fault.name}: {', '.join(map(shown, times))}")
            stage.hangUp()
            if stage.disconnected and not fault.disconnects:
                raise AssertionError("a viewer came to DISCONNECTED")
        except Exception:
            say(stage.account())
            raise
        finally:
            outcome.lost += stage.lost
            outcome.disconnected += stage.disconnected


def makeHappen(name: str, runs: int) -> Outcome:
    """
    Make the fault of this name happen so many times.  A run that fails, whatever the
    reason, is reported and made again on a new network.
    """
    [fault] = [fault for fault in FAULTS if fault.name == name]
    outcome = Outcome()
    failed = 0
    while len(outcome.values) < runs:
        before = len(outcome.values)
        try:
            onOneNetwork(fault, runs, outcome)
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
            say(f"{fault.name}: failed: {failure}")
            outcome.failures.append(failure)
            failed = 1 if len(outcome.values) > before else failed + 1
            if failed == ATTEMPTS:
                # Whatever it is, it will not go away.
                break
    return outcome


def measure(fault: Fault, runs: int, networks: int) -> Outcome:
    """
    The runs of one fault, on so many networks at once.
    """
    networks = min(networks, runs) if fault.waits else 1
    shares = [runs // networks + (n < runs % networks) for n in range(networks)]
    outcome = Outcome()
    # Spawned: a copy of this process would make the same random choices.
    with ProcessPoolExecutor(networks, get_context("spawn")) as workers:
        for other in workers.map(makeHappen, [fault.name] * networks, shares):
            outcome.add(other)
    return outcome


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """
    The options.
    """
    parser = argparse.ArgumentParser(
        "python -m benchmarks.failover", description="Needs root, and 20 minutes."
    )
    known = [fault.name for fault in FAULTS]
    networks = NETWORKS_A_PROCESSOR * (os.cpu_count() or 1)
    add = parser.add_argument
    add("--runs", type=int, default=20, help="of each fault (%(default)s)")
    add(
        "--only",
        action="append",
        choices=known,
        metavar="FAULT",
        help=f"this fault, or several; one of {', '.join(known)}",
    )
    add(
        "--jobs",
        type=int,
        default=networks,
        help="networks at once, for faults that are mostly waiting (%(default)s)",
    )
    add("--json", type=Path, help=f"default: {DOCS / 'failover.json'}")
    add("--picture", type=Path, help=f"default: {DOCS / 'failover.png'}")
    add("--page", type=Path, help=f"default: {DOCS / 'failover.rst'}")
    add(
        "--draw",
        type=Path,
        metavar="JSON",
        help="measure nothing; show what such a file holds",
    )
    options = parser.parse_args(arguments)
    if options.runs < 1 or options.jobs < 1:
        parser.error("--runs and --jobs are at least 1")
    return options


def checkTools(measuring: bool) -> None:
    """
    Say what is missing before twenty minutes have passed.

    :raise LabUnavailable: if something is.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise LabUnavailable("needs matplotlib: pip install 'rootstream[bench]'")
    if measuring:
        # Whatever the laboratory needs, this shows that it is there.
        with Network() as network:
            network.emulate()


def collect(options: argparse.Namespace) -> Report:
    """
    Measure what was asked for.
    """
    machine = {
        "Runs of each fault": str(options.runs),
        "Stream": f"{SOURCE}, {ROUND_TRIP * 1000:g} ms round trip",
        **describeMachine(),
    }
    figures: list[Figures] = []
    for fault in FAULTS:
        if not options.only or fault.name in options.only:
            outcome = measure(fault, options.runs, options.jobs)
            figures += outcome.figures(fault)
    return Report(machine, tuple(figures))


def write(report: Report, options: argparse.Namespace) -> None:
    """
    Write the files.  What only part was measured of goes nowhere unless a file is
    named: the documentation shows the whole.
    """
    from benchmarks.picture import draw

    whole = not options.only
    picture = options.picture or (whole and DOCS / "failover.png")
    if not options.draw:
        json = options.json or (whole and DOCS / "failover.json")
        if json:
            json.write_text(report.toJSON(), "utf-8")
    if picture:
        draw(report, picture)
    text = options.page or (whole and DOCS / "failover.rst")
    if text:
        text.write_text(page(report, (picture or DOCS / "failover.png").name), "utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command; returns its exit status.
    """
    options = parse(arguments)
    try:
        checkTools(measuring=options.draw is None)
        if options.draw is None:
            report = collect(options)
        else:
            report = Report.fromJSON(options.draw.read_text("utf-8"))
        sys.stdout.write(table(report))
        write(report, options)
    except (LabUnavailable, OSError) as error:
        say(f"benchmarks.failover: {error}")
        return 1
    except KeyboardInterrupt:
        say("benchmarks.failover: interrupted")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
