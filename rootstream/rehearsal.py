"""
``rootstream drill``: the rehearsal of a failure with the programs that run.

Both ends are here: what a program does when it is asked (`drillPeers`), and what the
command asks and shows (`rehearse`).  They talk through `rootstream.control`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.python.failure import Failure

from rootstream.asking import MAX_SHOWN, nothingRuns, tellFaults
from rootstream.control import ask
from rootstream.errors import LocalError, RootstreamError
from rootstream.eventlog import EventLog
from rootstream.peer import Peer
from rootstream.protocol.constants import DRILL_PATIENCE
from rootstream.protocol.events import DrillReport
from rootstream.protocol.frames import cleanText

__all__ = ["describeDrill", "drillFields", "drillPeers", "rehearse"]

DRILL_SECONDS = 3.0

#: Seconds that a program may take to answer, besides the drill.
ANSWER_PATIENCE = 5.0


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def drillFields(report: DrillReport) -> dict[str, object]:
    """
    The fields of a ``drill`` event.
    """
    moved = report.movedTo
    return {
        "transport": report.transport.name.lower(),
        "seconds": report.seconds,
        "picture_gap_s": _seconds(report.pictureGap),
        "ack_gap_s": _seconds(report.acknowledgementGap),
        "moved_to": None if moved is None else moved.name.lower(),
        "moved_after_s": _seconds(report.movedAfter),
        "back_after_s": _seconds(report.backAfter),
    }


def describeDrill(report: DrillReport) -> str:
    """
    A report in words.
    """
    if report.pictureGap is not None:
        words = f"picture stopped {report.pictureGap:.2f} s"
    elif report.acknowledgementGap is not None:
        words = f"no acknowledgement for {report.acknowledgementGap:.2f} s"
    else:
        words = "nothing was streaming"
    dead = report.transport.name
    if report.movedTo is None or report.movedAfter is None:
        return f"{words}, never left {dead}"
    words += f", moved to {report.movedTo.name} after {report.movedAfter:.2f} s"
    if report.backAfter is None:
        return f"{words}, not back on {dead}"
    return f"{words}, back on {dead} {report.backAfter:.2f} s after the drill ended"


# --- The program ----------------------------------------------------------------


def drillPeers(
    peers: Iterable[Peer], request: Mapping[str, Any], events: EventLog
) -> Deferred[dict[str, object]]:
    """
    Do what ``rootstream drill`` asks: rehearse with all connected peers, or with the
    one whose fingerprint is ``peer``, for so many ``seconds``.  Fires with the object
    to answer; each report goes to ``events`` as well.

    Raises `LocalError` when the request makes no sense.
    """
    seconds = request.get("seconds", DRILL_SECONDS)
    wanted = request.get("peer")
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        raise LocalError('"seconds" is a number')
    if wanted is not None and not isinstance(wanted, str):
        raise LocalError('"peer" is a fingerprint, or null for all')
    chosen = [
        peer for peer in peers if peer.connected and wanted in (None, peer.fingerprint)
    ]
    drills = [_drill(peer, seconds, events) for peer in chosen]
    return gatherResults(drills, consumeErrors=True).addCallback(
        lambda told: {"peers": told}
    )


def _drill(peer: Peer, seconds: float, events: EventLog) -> Deferred[dict[str, object]]:
    who = {"peer": peer.fingerprint, "name": peer.name}

    def ended(report: DrillReport) -> dict[str, object]:
        fields = {**drillFields(report), "text": describeDrill(report)}
        events.write("drill", peer.fingerprint, **fields)
        return {**who, **fields}

    def refused(reason: Failure) -> dict[str, object]:
        # Cancelled when whoever asked is gone.
        cancelled = reason.trap(LocalError, CancelledError) is CancelledError
        why = "the drill was cancelled" if cancelled else str(reason.value)
        return {**who, "error": why}

    return peer.drill(seconds).addCallbacks(ended, refused)


# --- The command ----------------------------------------------------------------


class _Progress:
    """
    Says what is going on while it takes long.
    """

    def __init__(self, err: IO[str], seconds: float) -> None:
        self._err = err
        self._line = f"UDP counts as dead for {seconds:g} s, then sessions return: "
        self._shown = False

    def tick(self) -> None:
        """
        A second has passed.
        """
        self._err.write("." if self._shown else self._line)
        self._err.flush()
        self._shown = True

    def end(self) -> None:
        """
        Leave the line.
        """
        if self._shown:
            self._err.write("\n")


def rehearse(
    home: Path, seconds: float, peer: str | None, out: IO[str], err: IO[str]
) -> int:
    """
    Ask the programs of ``home`` for a drill, and show what came of it, a line a peer.
    Returns the exit status: 0 when there was one.
    """
    progress = _Progress(err, seconds)
    request = {"command": "drill", "seconds": seconds, "peer": peer}
    patience = seconds + DRILL_PATIENCE + ANSWER_PATIENCE
    try:
        answers = ask(home, request, patience, progress.tick)
    except RootstreamError as error:
        err.write(f"rootstream: {error}\n")
        return 1
    except KeyboardInterrupt:
        # The programs notice that we are gone, and end the drill.
        progress.end()
        err.write("rootstream: stopped; UDP carries again\n")
        return 1
    progress.end()
    reports, faults = _sorted(answers)
    if not answers:
        faults.append(nothingRuns(home))
    elif not reports and not faults:
        who = f"the peer {peer} is not" if peer is not None else "nobody is"
        faults.append(f"{who} connected to what runs with the home {home}")
    for line in reports:
        out.write(cleanText(line, MAX_SHOWN) + "\n")
    tellFaults(err, faults)
    return 0 if reports else 1


def _sorted(answers: Iterable[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """
    The reports and the refusals in what programs answered, a line each.  What another
    version of a program may have left out is not missed.
    """
    reports: list[str] = []
    faults = [str(answer["error"]) for answer in answers if "error" in answer]
    for answer in answers:
        peers = answer.get("peers")
        for told in peers if isinstance(peers, list) else ():
            if not isinstance(told, dict):
                continue
            who = f"{told.get('peer', '')} {told.get('name', '')}".strip()
            if "error" in told:
                faults.append(f"{who}: {told['error']}")
            else:
                reports.append(f"{who}: {told.get('text', 'no report')}")
    return reports, faults
