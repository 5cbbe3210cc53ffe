"""
What is made of measured times: percentiles, verdicts, and the forms they are shown in.

All times are in seconds.  Nothing here measures.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Figures", "Report", "Row", "longestGap", "nearestRank", "page", "table"]

#: Of this file's own format, in the JSON.
FORMAT = 1


def nearestRank(values: Sequence[float], percent: float) -> float:
    """
    The smallest of ``values`` that ``percent`` of them do not exceed: a value that
    was measured, never one between two.  With 20 values the 99th percentile is the
    largest.
    """
    ordered = sorted(values)
    return ordered[max(math.ceil(percent / 100 * len(ordered)), 1) - 1]


def longestGap(
    arrivals: Sequence[float], since: float, until: float, interval: float
) -> float:
    """
    The longest time without an arrival between ``since`` and ``until``, minus the
    interval that is usual.  It may have begun before ``since``; the arrivals are in
    order.
    """
    before = [at for at in arrivals if at <= since][-1:]
    moments = [
        *(before or [since]),
        *(at for at in arrivals if since < at < until),
        until,
    ]
    longest = max(after - earlier for earlier, after in itertools.pairwise(moments))
    return max(longest - interval, 0.0)


@dataclass(frozen=True, slots=True)
class Row:
    """
    One thing that is measured, and what it may take at half of the times and at
    (almost) all; None where nobody has set a limit.
    """

    name: str
    title: str
    p50: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """
    What was measured of one row.

    :ivar values: of the runs that came to an end.
    :ivar failures: of those that did not, each in a line.
    :ivar lost: frames that the viewers gave up, in all runs.
    :ivar disconnected: how often a viewer came to DISCONNECTED.
    """

    row: Row
    values: tuple[float, ...]
    failures: tuple[str, ...] = ()
    lost: int = 0
    disconnected: int = 0

    def percentile(self, percent: float) -> float | None:
        """
        A percentile of the values, if there are any.
        """
        return nearestRank(self.values, percent) if self.values else None

    @property
    def verdict(self) -> str:
        """
        Whether the limits hold, in a word.
        """
        if self.failures:
            return f"{len(self.failures)} failed"
        for limit, percent in ((self.row.p50, 50), (self.row.p99, 99)):
            if limit is not None and nearestRank(self.values, percent) > limit:
                return "over"
        return "" if self.row.p50 is None else "ok"


@dataclass(frozen=True, slots=True)
class Report:
    """
    A whole measurement.

    :ivar machine: what it ran on: names and values.
    :ivar figures: in the order of the table.
    """

    machine: dict[str, str]
    figures: tuple[Figures, ...]

    def toJSON(self) -> str:
        """
        All of it, for programs and for later.
        """
        rows = [
            {
                "name": figures.row.name,
                "title": figures.row.title,
                "limits": {"p50": figures.row.p50, "p99": figures.row.p99},
                "p50": figures.percentile(50),
                "p99": figures.percentile(99),
                "max": figures.percentile(100),
                "verdict": figures.verdict,
                "values": figures.values,
                "failures": figures.failures,
                "frames_lost": figures.lost,
                "disconnected": figures.disconnected,
            }
            for figures in self.figures
        ]
        whole = {"format": FORMAT, "machine": self.machine, "rows": rows}
        return json.dumps(whole, indent=1) + "\n"

    @classmethod
    def fromJSON(cls, text: str) -> Report:
        """
        What `toJSON` wrote.
        """
        whole: dict[str, Any] = json.loads(text)
        figures = [
            Figures(
                Row(row["name"], row["title"], **row["limits"]),
                tuple(row["values"]),
                tuple(row["failures"]),
                row["frames_lost"],
                row["disconnected"],
            )
            for row in whole["rows"]
        ]
        return cls(whole["machine"], tuple(figures))


HEADINGS = (
    *("fault", "runs", "p50", "p99", "max", "p50 limit", "p99 limit", "frames lost"),
    "",
)


def shown(seconds: float | None) -> str:
    """
    A time as it stands in a table.
    """
    if seconds is None:
        return "-"
    milliseconds = round(seconds * 1000)
    return f"{seconds:.2f} s" if milliseconds >= 1000 else f"{milliseconds} ms"


def cells(figures: Figures) -> tuple[str, ...]:
    """
    One line of the table, under `HEADINGS`.
    """
    row = figures.row
    return (
        row.title,
        str(len(figures.values)),
        *(shown(figures.percentile(percent)) for percent in (50, 99, 100)),
        shown(row.p50),
        shown(row.p99),
        str(figures.lost),
        figures.verdict,
    )


def table(report: Report) -> str:
    """
    The table for a terminal.
    """
    lines = [HEADINGS, *map(cells, report.figures)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(
            # Words to the left, numbers to the right.
            cell.ljust(width) if place in (0, len(widths) - 1) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        + "\n"
        for line in lines
    )


PAGE = """\
..  Written by `python -m benchmarks.failover`; change that, not this.

How long each fault interrupts
==============================

.. image:: {picture}
   :alt: The time of every run of each fault, on a logarithmic scale, with its limits.

{table}

Where nothing else is said a time is a gap: the longest interval between two pictures at
the viewer's sink, from the fault until all is as before, minus the interval between two
pictures of the source.  Of *n* runs the p50 is the value at place 0.5 *n* (rounded up)
in order of size, the p99 that at 0.99 *n*: with 20 runs the largest.  "Frames lost" are
those of all runs that the viewers gave up.

{machine}

What each fault is, and why it takes what it takes: `resilience.rst <resilience.rst>`_.
"""


def page(report: Report, picture: str) -> str:
    """
    The page of the documentation; ``picture`` is the name of its image.
    """
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: auto", ""]
    for line in [HEADINGS, *map(cells, report.figures)]:
        for place, cell in enumerate(line):
            lines.append(f"   {' ' if place else '*'} - {cell}".rstrip())
    machine = [f":{name}: {value}" for name, value in report.machine.items()]
    return PAGE.format(
        picture=picture, table="\n".join(lines), machine="\n".join(machine)
    )
