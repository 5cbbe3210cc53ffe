"""
A rehearsal: for some seconds a running session behaves as if one transport were dead,
and what that does to it is measured.

Whatever goes out by the transport is dropped after all bookkeeping, as a network would,
and whatever comes in by it is not looked at.  So nothing else is told of a drill:
suspicion, the move and the return are the real ones, and so are the numbers.  The peer
sees a network that failed.

A link has a `Drill` only while one runs; `rootstream.protocol.link` asks it.
"""

from __future__ import annotations

from collections.abc import Iterable

from rootstream.errors import LocalError
from rootstream.interfaces import IPath, Transport
from rootstream.protocol.constants import DRILL_PATIENCE, MAX_DRILL, VIDEO_DEADLINE
from rootstream.protocol.events import DrillReport
from rootstream.protocol.inbox import Inbox
from rootstream.protocol.liveness import Liveness
from rootstream.protocol.paths import Paths
from rootstream.protocol.slots import Slots


class Drill:
    """
    One rehearsal of the loss of ``transport`` for ``seconds``.

    It only reads the books of others, after each thing that may have changed them, but
    for one PING at the beginning and one when the transport carries again: a session
    that streams nothing would notice neither.

    Raises `LocalError` when there is nothing to rehearse.
    """

    def __init__(
        self,
        transport: Transport,
        seconds: float,
        slots: Slots,
        paths: Paths,
        inbox: Inbox,
        liveness: Liveness,
        now: float,
    ) -> None:
        # Not the other way round: NaN compares with nothing.
        if not 0 < seconds <= MAX_DRILL:
            raise LocalError(
                f"a drill lasts up to {MAX_DRILL:.0f} s, not {seconds:g} s; "
                "choose a number of seconds above 0"
            )
        current = paths.current
        if current is None or liveness.impaired:
            raise LocalError(
                "the peer is not reached now, so there is nothing to rehearse; "
                "try again once it is connected"
            )
        used = Transport(current.path.transport)
        if used != transport:
            raise LocalError(
                f"the session runs on {used.name} already; "
                f"try again once it is on {transport.name}"
            )
        self._transport = transport
        self._seconds = seconds
        self._slots = slots
        self._paths = paths
        self._inbox = inbox
        self._liveness = liveness
        self._beganAt = now
        self._until = now + seconds
        self._lifted = False
        self._endsAt = self._until + DRILL_PATIENCE
        self._frames = inbox.framesReceived
        self._frameAt = now
        self._pictureGap: float | None = None
        self._waiting = self._mediaWaits
        self._progressAt = now
        self._ackGap: float | None = None
        self._movedAfter: float | None = None
        self._movedTo: Transport | None = None
        self._backAt: float | None = None
        liveness.askNow(now)

    # --- the network that it plays ---

    def blocks(self, path: IPath, now: float) -> bool:
        """
        Whether nothing passes on ``path``.
        """
        return path.transport == self._transport and now < self._until

    def passed(
        self, batches: Iterable[tuple[IPath, list[bytes]]], now: float
    ) -> list[tuple[IPath, list[bytes]]]:
        """
        What is left of ``batches``.
        """
        return [batch for batch in batches if not self.blocks(batch[0], now)]

    # --- what it does to the session ---

    def observe(self, now: float) -> bool:
        """
        Note what has changed.  Returns whether the drill is over: the session has been
        back for a moment, or had its time to return.
        """
        self._observeFrames(now)
        self._observeProgress(now)
        if now >= self._until and not self._lifted:
            self._lifted = True
            self._liveness.askNow(now)
        self._observePath(now)
        return now >= self._endsAt

    def _observeFrames(self, now: float) -> None:
        frames = self._inbox.framesReceived
        if frames != self._frames:
            self._pictureGap = max(self._pictureGap or 0.0, now - self._frameAt)
            self._frames = frames
            self._frameAt = now

    def _observeProgress(self, now: float) -> None:
        if self._waiting:
            self._ackGap = max(self._ackGap or 0.0, now - self._progressAt)
        progressAt = max((slot.sent.progressAt for slot in self._slots), default=0.0)
        if progressAt > self._progressAt or not self._waiting:
            self._progressAt = now
        self._waiting = self._mediaWaits

    @property
    def _mediaWaits(self) -> bool:
        return any(slot.sent.resendable for slot in self._slots)

    def _observePath(self, now: float) -> None:
        current = self._paths.current
        if current is None:
            return
        transport = Transport(current.path.transport)
        if transport != self._transport:
            if self._movedTo is None:
                self._movedTo = transport
                self._movedAfter = now - self._beganAt
        elif self._lifted and self._backAt is None and current.lastHeard >= self._until:
            # On a path that carries nothing it would not be back.
            self._backAt = now
            # What the picture has to catch up with is not given up before this.
            self._endsAt = min(self._endsAt, now + VIDEO_DEADLINE)

    def nextTimer(self) -> float:
        """
        When to call `observe`, if nothing happens before.
        """
        return self._endsAt if self._lifted else self._until

    def report(self, now: float) -> DrillReport:
        """
        What came of it, when it ends now.
        """
        gap, backAfter = self._pictureGap, None
        if self._movedTo is not None and self._backAt is not None:
            backAfter = self._backAt - self._until
        return DrillReport(
            transport=self._transport,
            seconds=self._seconds,
            # A picture that stands still at the end stands still.
            pictureGap=gap if gap is None else max(gap, now - self._frameAt),
            acknowledgementGap=self._ackGap,
            movedAfter=self._movedAfter,
            movedTo=self._movedTo,
            backAfter=backAfter,
        )
