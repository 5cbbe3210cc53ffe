"""
What is made of measured rates and delays: medians, verdicts, and the forms they are
shown in.

Nothing here measures.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

__all__ = [
    "PROMISES",
    "Missing",
    "Promise",
    "Rates",
    "Result",
    "Run",
    "page",
    "regression",
    "renewed",
    "tables",
]

#: Of this file's own format, in the JSON.
FORMAT = 1
#: A short measurement may reach so much of what was reached before.
TOLERANCE = 0.8

#: What one run measured, by name (`benchmarks.contests`).
Run = dict[str, float]


class Missing(Exception):
    """
    What is to be measured is not on this machine; the text says what to install.
    """


@dataclass(frozen=True, slots=True)
class Result:
    """
    What was measured of one contest.

    :ivar missing: why there is nothing, where it could not be made.
    :ivar failures: of runs that did not come to an end, each in a line.
    """

    name: str
    title: str
    runs: tuple[Run, ...] = ()
    missing: str = ""
    failures: tuple[str, ...] = ()

    def values(self, what: str) -> list[float]:
        """
        One thing of all runs that measured it.
        """
        return [run[what] for run in self.runs if what in run]

    def median(self, what: str) -> float | None:
        """
        Of one thing, if it was measured.
        """
        values = self.values(what)
        return median(values) if values else None


@dataclass(frozen=True, slots=True)
class Rates:
    """
    A whole measurement.

    :ivar machine: what it ran on: names and values.
    :ivar results: in the order of the table.
    """

    machine: dict[str, str]
    results: tuple[Result, ...]

    def median(self, name: str, what: str) -> float | None:
        """
        Of one thing of a contest, if it was measured.
        """
        for result in self.results:
            if result.name == name:
                return result.median(what)
        return None

    def ratio(self, name: str, other: str, what: str = "mbits") -> float | None:
        """
        How much of another contest's median one reaches.
        """
        own, others = self.median(name, what), self.median(other, what)
        return own / others if own is not None and others else None

    @property
    def ofCeiling(self) -> float | None:
        """
        How much of the ceiling UDP reached, each at its best: what else the machine
        did makes a rate smaller, never larger.
        """
        best = {
            result.name: max(result.values("mbits"), default=None)
            for result in self.results
        }
        udp, ceiling = best.get("udp"), best.get("ceiling")
        return udp / ceiling if udp is not None and ceiling is not None else None

    def toJSON(self) -> str:
        """
        All of it, for programs and for later.
        """
        rows = [
            {
                "name": result.name,
                "title": result.title,
                "missing": result.missing,
                "failures": result.failures,
                "runs": [
                    {what: round(value, 7) for what, value in run.items()}
                    for run in result.runs
                ],
            }
            for result in self.results
        ]
        whole = {"format": FORMAT, "machine": self.machine, "results": rows}
        return json.dumps(whole, indent=1) + "\n"

    @classmethod
    def fromJSON(cls, text: str) -> Rates:
        """
        What `toJSON` wrote.
        """
        whole: dict[str, Any] = json.loads(text)
        results = [
            Result(
                row["name"],
                row["title"],
                tuple(row["runs"]),
                row["missing"],
                tuple(row["failures"]),
            )
            for row in whole["results"]
        ]
        return cls(whole["machine"], tuple(results))


# --- what is asked of it ---


@dataclass(frozen=True, slots=True)
class Promise:
    """
    A number that was set before anything was measured.

    :ivar atMost: whether more would be worse.
    :ivar value: what to compare, None when it was not measured.
    """

    text: str
    limit: float
    unit: str
    value: Callable[[Rates], float | None]
    atMost: bool = False

    def verdict(self, value: float) -> str:
        """
        Whether it holds, in a word.
        """
        holds = value <= self.limit if self.atMost else value >= self.limit
        return "ok" if holds else "missed"


def _median(name: str, what: str = "mbits") -> Callable[[Rates], float | None]:
    return lambda rates: rates.median(name, what)


def _ratio(
    name: str, other: str, what: str = "mbits", scale: float = 1.0
) -> Callable[[Rates], float | None]:
    def value(rates: Rates) -> float | None:
        ratio = rates.ratio(name, other, what)
        return None if ratio is None else ratio * scale

    return value


def _added(percentile: str) -> Callable[[Rates], float | None]:
    def value(rates: Rates) -> float | None:
        ours = rates.median("round-trip", percentile)
        bare = rates.median("bare-round-trip", percentile)
        return None if ours is None or bare is None else (ours - bare) * 1e6

    return value


def _delay(percentile: str) -> Callable[[Rates], float | None]:
    def value(rates: Rates) -> float | None:
        delay = rates.median("frame", percentile)
        return None if delay is None else delay * 1000

    return value


PROMISES = (
    Promise("UDP", 2000, "Mbit/s", _median("udp")),
    Promise("UDP, CPU of the sender", 4.0, "s/GB", _median("udp", "send"), True),
    Promise("UDP, CPU of the receiver", 4.0, "s/GB", _median("udp", "receive"), True),
    Promise("UDP, of the ceiling", 65, "%", _ratio("udp", "ceiling", scale=100)),
    Promise("UDP without kernel offload", 1500, "Mbit/s", _median("udp-no-offload")),
    Promise("the same, loss", 0.1, "%", _median("udp-no-offload", "loss"), True),
    Promise("UDP against no trains", 1.4, "x", _ratio("udp", "udp-single")),
    Promise("UDP against Twisted's port", 2.0, "x", _ratio("udp", "udp-stock")),
    Promise("UDP against SRT", 2.0, "x", _ratio("udp", "srt")),
    Promise("the same, CPU sending", 0.75, "x", _ratio("udp", "srt", "send"), True),
    Promise(
        "the same, CPU receiving", 0.75, "x", _ratio("udp", "srt", "receive"), True
    ),
    Promise("UDP against aioquic", 20, "x", _ratio("udp", "quic")),
    Promise("TCP", 1500, "Mbit/s", _median("tcp")),
    Promise("round trip over the bare one, p50", 60, "us", _added("p50"), True),
    Promise("round trip over the bare one, p99", 100, "us", _added("p99"), True),
    Promise("delay of a frame, p50", 1.2, "ms", _delay("p50"), True),
    Promise("delay of a frame, p99", 2.5, "ms", _delay("p99"), True),
)


def regression(rates: Rates, baseline: float) -> str:
    """
    What is wrong with a measurement, in a line; empty when nothing is.

    :param baseline: of the ceiling, what UDP reached when it was last written down.
    """
    reached = rates.ofCeiling
    if reached is None:
        return "UDP or the ceiling could not be measured"
    least = TOLERANCE * baseline
    if reached < least:
        return (
            f"UDP reaches {reached:.1%} of the ceiling; {least:.1%} is the least, "
            f"{TOLERANCE:.0%} of the {baseline:.1%} it was"
        )
    return ""


# --- shown ---

RATE_HEADINGS = (
    *("what", "runs", "Mbit/s", "min - max", "of the ceiling"),
    *("send, CPU s/GB", "receive, CPU s/GB", "loss"),
)
DELAY_HEADINGS = "what", "runs", "p50", "p99"
PROMISE_HEADINGS = "what", "asked for", "measured", ""

Table = list[tuple[str, ...]]


def _shown(value: float | None, form: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"


def _microseconds(seconds: float | None) -> str:
    return _shown(None if seconds is None else seconds * 1e6, ".0f", " us")


def _why(result: Result) -> str:
    return result.missing or f"failed: {(*result.failures, 'not measured')[0]}"


def rateTable(rates: Rates) -> Table:
    """
    The rates, one line each, with headings.
    """
    lines: Table = [RATE_HEADINGS]
    for result in rates.results:
        if result.median("p50") is not None:
            continue
        mbits = result.values("mbits")
        if not mbits:
            lines.append((result.title, "0", _why(result), *["-"] * 5))
            continue
        ratio = rates.ratio(result.name, "ceiling")
        lines.append(
            (
                result.title,
                str(len(result.runs)),
                f"{median(mbits):.0f}",
                f"{min(mbits):.0f} - {max(mbits):.0f}",
                _shown(ratio, ".0%"),
                _shown(result.median("send"), ".1f"),
                _shown(result.median("receive"), ".1f"),
                _shown(result.median("loss"), ".2f", " %"),
            )
        )
    return lines


def delayTable(rates: Rates) -> Table:
    """
    The delays, one line each, with headings.
    """
    return [
        DELAY_HEADINGS,
        *(
            (
                result.title,
                str(len(result.runs)),
                *(_microseconds(result.median(each)) for each in ("p50", "p99")),
            )
            for result in rates.results
            if result.median("p50") is not None
        ),
    ]


def promiseTable(rates: Rates) -> Table:
    """
    What was asked for, and what came of it as far as it was measured, with headings.
    """
    lines: Table = [PROMISE_HEADINGS]
    for promise in PROMISES:
        value = promise.value(rates)
        if value is not None:
            sign = "<=" if promise.atMost else ">="
            lines.append(
                (
                    promise.text,
                    f"{sign} {promise.limit:g} {promise.unit}",
                    f"{value:.4g} {promise.unit}",
                    promise.verdict(value),
                )
            )
    return lines


def allTables(rates: Rates) -> list[Table]:
    """
    Those that have a line.
    """
    made = rateTable(rates), delayTable(rates), promiseTable(rates)
    return [lines for lines in made if len(lines) > 1]


def tables(rates: Rates) -> str:
    """
    The tables for a terminal.
    """
    return "\n".join(map(_aligned, allTables(rates)))


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(
            # Words to the left, numbers to the right.
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        + "\n"
        for line in lines
    )


PAGE = """\
..  Written by `python -m benchmarks.throughput`; change that, not this.

How fast it is
==============

.. image:: {picture}
   :alt: The rate of everything measured, with its CPU seconds a gigabyte.

{tables}

{machine}

How it is measured, where the time goes and what cannot be met: `performance.rst
<performance.rst>`_.
"""


def _listTable(lines: Sequence[Sequence[str]]) -> str:
    rows = [".. list-table::", "   :header-rows: 1", "   :widths: auto", ""]
    for line in lines:
        for place, cell in enumerate(line):
            rows.append(f"   {' ' if place else '*'} - {cell}".rstrip())
    return "\n".join(rows)


#: Around what is written into the README.
BEGIN, END = ".. rates: written by `python -m benchmarks`\n", ".. end of rates\n"
SUMMARY_HEADINGS = "what", "Mbit/s", "send, CPU s/GB", "receive, CPU s/GB"


def renewed(text: str, rates: Rates) -> str:
    """
    A text with its table of rates replaced: what stands between `BEGIN` and `END`.
    """
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = [SUMMARY_HEADINGS]
    for line in rateTable(rates)[1:]:
        title, runs, mbits, _, _, send, receive, _ = line
        if runs != "0":
            lines.append((title, mbits, send, receive))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = "  ".join("=" * width for width in widths) + "\n"
    headings, *rows = _aligned(lines).splitlines(keepends=True)
    about = ", ".join(
        # The others say what they are.
        f"Python {rates.machine[name]}" if name == "Python" else rates.machine[name]
        for name in ("Date", "Processors", "Kernel", "Python")
        if name in rates.machine
    )
    table = rule + headings + rule + "".join(rows) + rule
    return f"{before}{BEGIN}\n{table}\n{about}\n\n{END}{after}"


def page(rates: Rates, picture: str) -> str:
    """
    The page of the documentation; ``picture`` is the name of its image.
    """
    machine = [f":{name}: {value}" for name, value in rates.machine.items()]
    return PAGE.format(
        picture=picture,
        tables="\n\n".join(map(_listTable, allTables(rates))),
        machine="\n".join(machine),
    )
