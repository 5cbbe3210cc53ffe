"""
The measured times as a picture: a strip a fault, a dot a run, and the limits.
"""

from __future__ import annotations

import random
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator

from benchmarks.figures import Figures, Report, shown

__all__ = ["draw"]

#: Inches: at this size a README shows the letters as large as its own.
WIDTH = 9.0
ROW_HEIGHT = 0.36
MARGIN = 1.0
DOTS_PER_INCH = 160

#: Seconds at the ends of the scale.  What is shorter than the first stands on it.
SHORTEST, LONGEST = 0.004, 10.0
SCALE = {
    0.01: "10 ms",
    0.03: "30 ms",
    0.1: "100 ms",
    0.3: "300 ms",
    1.0: "1 s",
    3.0: "3 s",
    10.0: "10 s",
}
#: How far the dots of one strip are from its middle, at most; strips are 1 apart.
SPREAD = 0.17
BAR = 0.62

INK = "#24292f"
GRID = "#d8dee4"
ALLOWED = "#e3eefa"
DOT = "#0969da"
OVER = "#cf4a00"


def draw(report: Report, path: Path) -> None:
    """
    Write the picture, in the form that the path's ending names.
    """
    rows = report.figures
    height = MARGIN + ROW_HEIGHT * len(rows)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.set_xlim(SHORTEST * 0.9, LONGEST * 1.1)
    axes.set_ylim(len(rows) - 0.4, -1.0)
    axes.set_xticks(list(SCALE), list(SCALE.values()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yticks(range(len(rows)), [figures.row.title for figures in rows])
    axes.tick_params(length=0, labelsize=9, labelcolor=INK)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    _beside(axes, -0.8, "p50 / p99", INK)
    for place, figures in enumerate(rows):
        _strip(axes, place, figures)
    _key(figure)
    figure.savefig(path, dpi=DOTS_PER_INCH, facecolor="white")


def _strip(axes: Axes, place: int, figures: Figures) -> None:
    """
    One fault: the limits behind, the runs before them, the numbers beside.
    """
    row = figures.row
    if row.p50 is not None and row.p99 is not None:
        axes.barh(place, row.p99, BAR, color=ALLOWED, zorder=1)
        limit = (place - BAR / 2, place + BAR / 2)
        axes.vlines(row.p50, *limit, color=INK, linewidth=1, linestyle=":", zorder=2)
    if not figures.values:
        return
    # The same picture of the same values each time.
    chance = random.Random(place)
    seconds = [max(value, SHORTEST) for value in figures.values]
    heights = [place + chance.uniform(-SPREAD, SPREAD) for _ in seconds]
    colours = [
        OVER if row.p99 is not None and value > row.p99 else DOT
        for value in figures.values
    ]
    axes.scatter(seconds, heights, 16, colours, alpha=0.55, linewidths=0, zorder=3)
    median = max(figures.percentile(50) or 0.0, SHORTEST)
    mark = (place - BAR / 2.6, place + BAR / 2.6)
    axes.vlines(median, *mark, color=INK, linewidth=2, zorder=4)
    _beside(
        axes,
        place,
        " / ".join(shown(figures.percentile(percent)) for percent in (50, 99)),
        OVER if figures.verdict not in ("ok", "") else INK,
    )


def _beside(axes: Axes, place: float, text: str, colour: str) -> None:
    """
    Words at the right of the strips.
    """
    axes.annotate(
        text,
        (1.0, place),
        xycoords=axes.get_yaxis_transform(),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
        color=colour,
        annotation_clip=False,
    )


def _key(figure: Figure) -> None:
    """
    What the marks mean.
    """
    marks = [
        Line2D([], [], color=DOT, marker="o", markersize=4, linestyle="", alpha=0.7),
        Line2D([], [], color=INK, marker="|", markersize=10, mew=2, linestyle=""),
        Line2D([], [], color=INK, linewidth=1, linestyle=":"),
        Patch(color=ALLOWED),
    ]
    words = ["a run", "p50", "limit of the p50", "within the limit of the p99"]
    figure.legend(
        marks,
        words,
        loc="outside lower center",
        ncols=len(marks),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )
