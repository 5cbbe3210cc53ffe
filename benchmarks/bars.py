"""
The measured rates as a picture: a bar each, its range, and what it costs.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median

from matplotlib.figure import Figure

from benchmarks.rates import Rates

__all__ = ["draw"]

#: Inches: at this size a README shows the letters as large as its own.
WIDTH = 9.0
ROW_HEIGHT = 0.36
MARGIN = 1.0
DOTS_PER_INCH = 160

INK = "#24292f"
GRID = "#d8dee4"
OURS = "#0969da"
THEIRS = "#8c959f"


def draw(rates: Rates, path: Path) -> None:
    """
    Write the picture, in the form that the path's ending names.
    """
    results = [result for result in rates.results if result.values("mbits")]
    figure = Figure(
        figsize=(WIDTH, MARGIN + ROW_HEIGHT * len(results)), layout="constrained"
    )
    axes = figure.add_subplot()
    # From the first line of the table down.
    axes.set_ylim(len(results) - 0.4, -1.0)
    axes.set_yticks(range(len(results)), [result.title for result in results])
    axes.set_xlabel("Mbit/s of payload", fontsize=9, color=INK)
    axes.tick_params(length=0, labelsize=9, labelcolor=INK)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    lines: list[tuple[float, str]] = [(-0.8, "CPU s/GB, send / receive")]
    for place, result in enumerate(results):
        values = result.values("mbits")
        colour = OURS if result.title.startswith("RootStream") else THEIRS
        axes.barh(place, median(values), 0.62, color=colour)
        axes.hlines(place, min(values), max(values), color=INK, linewidth=1)
        costs = [result.median(side) for side in ("send", "receive")]
        words = " / ".join("-" if cost is None else f"{cost:.1f}" for cost in costs)
        lines.append((place, words))
    for height, words in lines:
        axes.annotate(
            words,
            (1.0, height),
            xycoords=axes.get_yaxis_transform(),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=INK,
            annotation_clip=False,
        )
    figure.savefig(path, dpi=DOTS_PER_INCH, facecolor="white")
