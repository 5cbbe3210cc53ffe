"""
The events file: what happened, for programs to read (docs/events.rst).
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import IO, Any

from twisted.logger import Logger

from rootstream.errors import LocalError
from rootstream.protocol.status import LinkStatus
from rootstream.transport.clock import boottime
from rootstream.words import describeEvent

__all__ = ["Entry", "EventLog", "Meter"]

#: An event, as it is written.
Entry = Mapping[str, Any]

#: Events that are kept to be shown.
HISTORY = 500


class EventLog:
    """
    One JSON object a line, each flushed; without a path there is no file.  Whoever
    subscribes is told of each, and the last ones are kept.

    Raises `LocalError` when the file cannot be opened.  When it cannot be written
    later (a full disk), that is logged once and the stream goes on.

    @ivar history: the last `HISTORY` events, measurements left out.
    """

    _log = Logger()

    def __init__(
        self,
        path: str | None,
        *,
        wallClock: Callable[[], float] = time.time,
        now: Callable[[], float] = boottime,
    ) -> None:
        self._wallClock = wallClock
        self._now = now
        self._file: IO[str] | None = None
        self._subscribers: list[Callable[[Entry], None]] = []
        self.history: deque[Entry] = deque(maxlen=HISTORY)
        if path is not None:
            try:
                self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115
            except OSError as error:
                raise LocalError(
                    f"cannot write the events file {path}: {error.strerror}; "
                    "choose another --events"
                ) from None

    def write(self, event: str, peer: str | None = None, **fields: object) -> Entry:
        """
        Write one event, of the peer with this fingerprint.  What it comes to in words
        is its ``text``, unless the fields have one.  Returns what is written.
        """
        wall = datetime.fromtimestamp(self._wallClock(), UTC)
        entry: dict[str, object] = {
            "time": wall.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "mono": round(self._now(), 6),
            "event": event,
        }
        if peer is not None:
            entry["peer"] = peer
        entry |= fields
        text = entry.get("text") or describeEvent(entry)
        if text:
            entry["text"] = text
            self.history.append(entry)
        for subscriber in tuple(self._subscribers):
            subscriber(entry)
        if self._file is not None:
            self._append(entry)
        return entry

    def _append(self, entry: Entry) -> None:
        assert self._file is not None
        try:
            # Text from a peer is plain ASCII here: what JSON escapes, no terminal
            # obeys (F74).
            self._file.write(json.dumps(entry, separators=(",", ":")) + "\n")
            self._file.flush()
        except OSError as error:
            self._log.error(
                "The events file cannot be written: {reason}.", reason=error.strerror
            )
            self.close()

    def subscribe(self, subscriber: Callable[[Entry], None]) -> Callable[[], None]:
        """
        Tell ``subscriber``, which must not raise, of each event from now on.  Returns
        what to call when it is to be told no more.
        """
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)

    def close(self) -> None:
        """
        Write no more.
        """
        file, self._file = self._file, None
        if file is not None:
            # What a full disk did not take is refused once more here.
            with contextlib.suppress(OSError):
                file.close()


class Meter:
    """
    The measurements of one peer, a `stats` event's worth at a time.

    ``frames`` and ``bytes`` are those of the direction that the media flows in.
    """

    def __init__(self, now: float, sending: bool) -> None:
        self._at = now
        self._sending = sending
        self._last: LinkStatus | None = None

    def take(self, status: LinkStatus, now: float) -> dict[str, object]:
        """
        The fields of a ``stats`` event: rates since the last call, totals since
        the beginning.
        """
        seconds = max(now - self._at, 1e-6)
        frames, size = self._totals(status)
        framesBefore, sizeBefore = self._totals(self._last)
        roundTrip = status.roundTrip
        fields: dict[str, object] = {
            "transport": status.path.transport.name.lower() if status.path else None,
            "rtt_ms": round(roundTrip * 1000, 3) if roundTrip is not None else None,
            "jitter_ms": round(status.jitter * 1000, 3),
            "loss": round(self._loss(status), 4),
            "fps": round((frames - framesBefore) / seconds, 1),
            "mbit_s": round((size - sizeBefore) * 8e-6 / seconds, 3),
            "frames": frames,
            "bytes": size,
        }
        self._at = now
        self._last = status
        return fields

    def _totals(self, status: LinkStatus | None) -> tuple[int, int]:
        if status is None:
            return 0, 0
        if self._sending:
            return status.framesSent, status.bytesSent
        return status.framesReceived, status.bytesReceived

    def _loss(self, status: LinkStatus) -> float:
        """
        The share of packets that the network lost or delayed since the last call:
        in our direction as we see it, in the other as the peer's acknowledgements
        show it.
        """
        if self._sending:
            bad = status.packetsResent + status.packetsLost
            all_ = status.packetsAcknowledged + status.packetsLost
        else:
            bad = status.packetsExpected - status.packetsInOrder
            all_ = status.packetsExpected
        if self._last is not None:
            last = self._last
            if self._sending:
                bad -= last.packetsResent + last.packetsLost
                all_ -= last.packetsAcknowledged + last.packetsLost
            else:
                bad -= last.packetsExpected - last.packetsInOrder
                all_ -= last.packetsExpected
        return min(max(bad / all_, 0.0), 1.0) if all_ > 0 else 0.0
