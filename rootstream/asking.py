"""
What a command makes of the answers of programs that run: the good ones, and the rest a
line each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from rootstream.control import ask
from rootstream.protocol.frames import cleanText

__all__ = ["inquire", "nothingRuns", "tellFaults"]

#: Seconds that a program may take to answer what is done at once.
PATIENCE = 5.0
#: Bytes of an answer that are shown on one line.
MAX_SHOWN = 400


def inquire(
    home: Path, request: Mapping[str, object]
) -> tuple[list[dict[str, Any]], list[str]]:
    """
    Ask all programs of a home.  Returns what they answered, and what was wrong, in
    words.

    :raise RootstreamError: The home cannot be used.
    """
    answers = ask(home, request, PATIENCE)
    good = [answer for answer in answers if "error" not in answer]
    faults = [str(answer["error"]) for answer in answers if "error" in answer]
    if not answers:
        faults.append(nothingRuns(home))
    return good, faults


def nothingRuns(home: Path) -> str:
    """
    That there is nobody to ask, in words.
    """
    return (
        f"nothing runs with the home {home}; "
        "start rootstream host or connect, or give another --home"
    )


def tellFaults(err: IO[str], faults: Iterable[str]) -> None:
    """
    Say what was wrong, a line each, with nothing in it that steers a terminal (F74).
    """
    for fault in faults:
        err.write("rootstream: " + cleanText(fault, MAX_SHOWN) + "\n")
