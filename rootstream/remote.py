"""
``rootstream record`` and ``rootstream control``: orders to programs that run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from rootstream.asking import MAX_SHOWN, inquire, tellFaults
from rootstream.errors import LocalError, RootstreamError
from rootstream.orders import ACTIONS
from rootstream.protocol.frames import cleanText

__all__ = ["controlStream", "recordStream"]


def recordStream(home: Path, words: Sequence[str], out: IO[str], err: IO[str]) -> int:
    """
    Begin (``start FILE``) or end (``stop``) the recording of what runs with ``home``;
    returns the exit status.
    """
    match words:
        case ["start", file]:
            # The program may run in another directory.
            path = str(Path(file).absolute())
            request = {"command": "record", "action": "start", "file": path}
        case ["stop"]:
            request = {"command": "record", "action": "stop"}
        case _:
            tellFaults(err, ["say record start FILE, or record stop"])
            return 1

    def told(answer: Mapping[str, Any]) -> str:
        file = answer.get("file")
        return f"recording into {file}" if file else "the recording is over"

    return _order(home, request, told, out, err)


def controlStream(home: Path, words: Sequence[str], out: IO[str], err: IO[str]) -> int:
    """
    Order something about the streams of what runs with ``home``: ``PEER ACTION
    [VALUE]``, with ``all`` for every peer; returns the exit status.
    """
    try:
        request = _parse(words)
    except LocalError as error:
        tellFaults(err, [str(error)])
        return 1

    def told(answer: Mapping[str, Any]) -> str:
        peers = answer.get("peers")
        who = " ".join(map(str, peers)) if isinstance(peers, list) else ""
        return f"{request['action']}: {who}"

    return _order(home, request, told, out, err)


def _parse(words: Sequence[str]) -> dict[str, object]:
    if len(words) not in (2, 3) or words[1] not in ACTIONS:
        raise LocalError(
            "say control PEER ACTION [VALUE]; PEER is a fingerprint or all, ACTION "
            f"one of {', '.join(ACTIONS)}"
        )
    peer, action = words[:2]
    request: dict[str, object] = {
        "command": "control",
        "peer": None if peer == "all" else peer,
        "action": action,
    }
    if len(words) == 3:
        try:
            request["value"] = float(words[2])
        except ValueError:
            raise LocalError(
                f"the value of {action} is a number, not {words[2]!r}"
            ) from None
    return request


def _order(
    home: Path,
    request: Mapping[str, object],
    told: Callable[[Mapping[str, Any]], str],
    out: IO[str],
    err: IO[str],
) -> int:
    try:
        good, faults = inquire(home, request)
    except RootstreamError as error:
        good, faults = [], [str(error)]
    for answer in good:
        out.write(cleanText(told(answer), MAX_SHOWN) + "\n")
    if good:
        # What another program of this home has nothing to do with is no fault.
        return 0
    tellFaults(err, faults)
    return 1
