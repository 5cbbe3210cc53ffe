"""
What things cost: numbers with limits, and the forms they are shown in.

Nothing here measures.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from twisted.logger import ILogObserver, LogEvent, globalLogBeginner
from zope.interface import implementer

from benchmarks.machine import describeMachine

__all__ = ["Cost", "quietly", "report", "show", "table"]

#: Of this file's own format, in the JSON.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Cost:
    """
    One number, and what it may be ``most`` or must be at ``least``; None where nobody
    has set a limit.
    """

    name: str
    title: str
    value: float
    unit: str
    most: float | None = None
    least: float | None = None

    @property
    def verdict(self) -> str:
        """
        Whether the limit holds, in a word.
        """
        if self.most is None and self.least is None:
            return ""
        if self.most is not None and self.value > self.most:
            return "over"
        if self.least is not None and self.value < self.least:
            return "under"
        return "ok"

    @property
    def limit(self) -> str:
        """
        The limit as it stands in a table.
        """
        if self.most is not None:
            return f"<= {self.most:g}"
        return "" if self.least is None else f">= {self.least:g}"


def table(costs: Sequence[Cost]) -> str:
    """
    The table for a terminal.
    """
    lines = [
        (
            cost.title,
            f"{cost.value:.{0 if cost.value >= 100 else 2}f}",
            cost.unit,
            cost.limit,
            cost.verdict,
        )
        for cost in costs
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(
            # Numbers to the right.
            cell.rjust(width) if place == 1 else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        + "\n"
        for line in lines
    )


def report(machine: dict[str, str], costs: Sequence[Cost]) -> str:
    """
    All of it as JSON, for programs and for later.
    """
    rows = [
        {
            "name": cost.name,
            "title": cost.title,
            "value": cost.value,
            "unit": cost.unit,
            "most": cost.most,
            "least": cost.least,
            "verdict": cost.verdict,
        }
        for cost in costs
    ]
    whole = {"format": FORMAT, "machine": machine, "rows": rows}
    return json.dumps(whole, indent=1) + "\n"


@implementer(ILogObserver)
def _unheard(event: LogEvent) -> None:
    pass


def quietly() -> None:
    """
    Let the log go nowhere: until it begins, it keeps all that it is told.
    """
    globalLogBeginner.beginLoggingTo([_unheard], redirectStandardIO=False)


def show(costs: Sequence[Cost], path: Path | None) -> None:
    """
    Print the table, and write the JSON if it has a place.
    """
    sys.stdout.write(table(costs))
    if path is not None:
        path.write_text(report(describeMachine(), costs), "utf-8")
