"""
Events in words: one line for each, the same wherever it is shown.

What comes from a peer or from a program's options is cleaned where it enters; here
nothing is but put together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

__all__ = ["describeEvent"]

Entry = Mapping[str, Any]


def describeEvent(entry: Entry) -> str:
    """
    An entry of the events file in words, without its peer; empty for measurements.
    """
    describe = _WORDS.get(entry["event"])
    return describe(entry) if describe is not None else str(entry["event"])


def _clock(entry: Entry) -> str:
    """
    When, on the clock on the wall.
    """
    return f"{datetime.fromisoformat(entry['time']).astimezone():%H:%M:%S}"


def _listening(entry: Entry) -> str:
    words = f"listening on port {entry['udp']}, UDP and TCP"
    return words + (f", and on port {entry['tls']}, TLS" if "tls" in entry else "")


def _path(entry: Entry) -> str:
    return f"{entry['transport'].upper()} since {_clock(entry)}: {entry['cause']}"


def _picture(entry: Entry) -> str:
    seen = entry.get("gap_of") != "acknowledgements"
    what = "picture stopped" if seen else "nothing acknowledged for"
    return f"{entry['cause']}; {what} {entry['gap_s']:.2f} s"


def _summary(entry: Entry) -> str:
    return (
        f"over after {entry['seconds']:.1f} s: {entry['frames_sent']} frames sent, "
        f"{entry['frames_received']} received, {entry['frames_lost']} lost"
    )


_WORDS: Mapping[str, Callable[[Entry], str]] = {
    "listening": _listening,
    "state": lambda entry: f"{entry['to']}: {entry['cause']}",
    "path": _path,
    "suspect": lambda entry: f"{entry['transport'].upper()}: {entry['cause']}",
    "impaired": lambda entry: f"not heard: {entry['cause']}",
    "recovered": lambda entry: f"back: {entry['cause']}",
    "attempt": lambda entry: (
        f"attempt {entry['n']} of {entry['of']} in {entry['wait_s']:g} s"
    ),
    "network": lambda entry: f"network: {entry['cause']}",
    "picture": _picture,
    "summary": _summary,
    "error": lambda entry: f"ended: {entry['message']}",
    "released": lambda entry: f"released {entry['count']} held by it: {entry['cause']}",
    "stats": lambda entry: "",
    "input": lambda entry: "",
}
