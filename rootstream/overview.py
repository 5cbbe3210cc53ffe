"""
``rootstream status``: what the programs of a home are doing, as a table or as JSON.

The words about a peer are those of the events file.  What another version of a program
may have left out is shown as unknown, not missed.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rootstream.asking import inquire, tellFaults
from rootstream.errors import RootstreamError
from rootstream.protocol.frames import cleanText

__all__ = ["showStatus"]

#: Seconds between two looks.
INTERVAL = 1.0
#: Columns where there is no terminal to ask.
WIDE = 200

_BOLD, _GREEN, _YELLOW, _PLAIN = "\x1b[1m", "\x1b[32m", "\x1b[33m", "\x1b[0m"
#: To the upper left corner; to erase what is right of here, and all below.
_HOME, _REST, _BELOW = "\x1b[H", "\x1b[K", "\x1b[J"

_HEADER = (
    f"{'PEER':19}  {'STATE':12}  {'VIA':3}  {'RTT':>8}  {'LOSS':>6}  "
    f"{'MBIT/S':>7}  {'FPS':>5}  {'LATENCY':>8}"
)


@dataclass(frozen=True, slots=True)
class _Line:
    """
    One line, clean, and how it is to look.
    """

    text: str
    style: str = ""


def showStatus(
    home: Path,
    out: IO[str],
    err: IO[str],
    *,
    asJSON: bool = False,
    watch: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """
    Show what runs with ``home``; with ``watch``, each second until Ctrl-C.  Returns the
    exit status: 0 when something answered, or was watched.
    """
    try:
        if not watch:
            return 0 if _show(home, out, err, asJSON, False) else 1
        while True:
            _show(home, out, err, asJSON, True)
            sleep(INTERVAL)
    except RootstreamError as error:
        tellFaults(err, [str(error)])
        return 1
    except (KeyboardInterrupt, BrokenPipeError):
        # Or whoever read it has seen enough (`| head`).
        return 0


def _show(home: Path, out: IO[str], err: IO[str], asJSON: bool, watching: bool) -> bool:
    answers, faults = inquire(home, {"command": "status"})
    if asJSON:
        # Plain ASCII: what JSON escapes, no terminal obeys.
        for answer in answers:
            out.write(json.dumps(answer, separators=(",", ":")) + "\n")
        out.flush()
        tellFaults(err, faults)
        return bool(answers)
    lines = [line for answer in answers for line in _program(answer)]
    if watching:
        lines += [_Line(cleanText(fault, WIDE), _YELLOW) for fault in faults]
    _draw(out, lines, watching)
    if not watching:
        tellFaults(err, faults)
    return bool(answers)


def _draw(out: IO[str], lines: list[_Line], watching: bool) -> None:
    terminal = out.isatty()
    colour = terminal and not os.environ.get("NO_COLOR")
    width = shutil.get_terminal_size((WIDE, 24)).columns if terminal else WIDE
    rest = _REST if terminal and watching else ""
    pieces = [_HOME] if terminal and watching else []
    for line in lines:
        text = line.text[:width]
        if colour and line.style:
            text = f"{line.style}{text}{_PLAIN}"
        pieces.append(text + rest + "\n")
    if terminal and watching:
        pieces.append(_BELOW)
    elif watching:
        pieces.append("\n")
    out.write("".join(pieces))
    out.flush()


def _program(status: Mapping[str, Any]) -> Iterator[_Line]:
    words = [f"{status.get('role')} {status.get('version')}, up {_span(status)}"]
    for name in ("recording", "input", "weather"):
        if status.get(name):
            words.append(f"{name}: {status[name]}")
    yield _Line(cleanText("; ".join(words), WIDE), _BOLD)
    listed = status.get("peers")
    listed = listed if isinstance(listed, list) else ()
    peers = [peer for peer in listed if isinstance(peer, dict)]
    if not peers:
        yield _Line("  no peers")
        return
    yield _Line(_HEADER)
    for peer in peers:
        yield from _peer(peer)


def _peer(peer: Mapping[str, Any]) -> Iterator[_Line]:
    fingerprint = str(peer.get("fingerprint", "?"))
    name = str(peer.get("name") or fingerprint)
    state = str(peer.get("state", "?"))
    row = (
        f"{cleanText(name, 19):19}  {cleanText(state, 18):12}  "
        f"{cleanText(str(peer.get('transport') or '-').upper(), 3):3}  "
        f"{_number(peer.get('rtt_ms'), '{:.1f} ms'):>8}  "
        f"{_number(peer.get('loss'), '{:.1%}'):>6}  "
        f"{_number(peer.get('mbit_s'), '{:.2f}'):>7}  "
        f"{_number(peer.get('fps'), '{:.1f}'):>5}  "
        f"{_number(peer.get('latency_ms'), '{:.1f} ms'):>8}"
    )
    yield _Line(row.rstrip(), _GREEN if state == "CONNECTED" else _YELLOW)
    more = [fingerprint]
    if peer.get("address"):
        more.append(f"at {peer['address']}")
    rights = peer.get("rights")
    if isinstance(rights, list) and rights:
        more.append(f"may {','.join(map(str, rights))}")
    yield _Line("  " + cleanText(" ".join(more), WIDE))
    if peer.get("cause"):
        yield _Line("  " + cleanText(str(peer["cause"]), WIDE))


def _number(value: object, form: str) -> str:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return form.format(value) if known else "-"


def _span(status: Mapping[str, Any]) -> str:
    seconds = status.get("uptime_s")
    if not isinstance(seconds, int | float) or not 0 <= seconds < 1e10:
        return "?"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
