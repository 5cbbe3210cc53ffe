"""
How long the picture stops when something happens to the network: as who sees it knows,
and, as well as can be told from acknowledgements, as who sends it does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["AcknowledgementWatch", "PictureWatch"]

#: Seconds that nobody minds, at any frame rate.
UNSEEN = 0.1
#: Seconds without another disturbance until what was seen is told.  A gap that ended
#: so long before one was noticed belongs to it, too: who sends notices first.
SETTLED = 1.0
#: Of frame intervals, those that are averaged.
INTERVALS = 30
#: Seconds between two looks at what is acknowledged, while something goes on.
LOOK_INTERVAL = 0.02
#: Seconds after which it is not looked any more.
PATIENCE = 30.0


class PictureWatch:
    """
    Watches the pictures of one stream come.

    ``tell`` is called with a gap in seconds, less the interval between two pictures,
    and the words of the last disturbance, once all is well again: at most once a
    disturbance, and not for a gap that nobody sees.
    """

    def __init__(self, tell: Callable[[float, str], None]) -> None:
        self._tell = tell
        self._last: float | None = None
        self._intervals: deque[float] = deque(maxlen=INTERVALS)
        self._gaps: deque[tuple[float, float]] = deque()
        self._disturbedAt: float | None = None
        self._since = 0.0
        self._cause = ""

    def came(self, now: float) -> None:
        """
        A picture came.
        """
        last, self._last = self._last, now
        if last is None:
            return
        usual = sum(self._intervals) / (len(self._intervals) or 1)
        gap = now - last - usual
        if self._intervals and gap > UNSEEN:
            self._gaps.append((now, gap))
        else:
            self._intervals.append(now - last)

    def disturbed(self, cause: str, now: float) -> None:
        """
        Something happened that may stop the picture.
        """
        if self._disturbedAt is None:
            self._since = now
        self._disturbedAt = now
        self._cause = cause

    def look(self, now: float) -> None:
        """
        Tell of what has settled; to be called now and then.
        """
        if self._disturbedAt is None:
            while self._gaps and self._gaps[0][0] < now - SETTLED:
                self._gaps.popleft()
            return
        settled = self._disturbedAt + SETTLED
        if now < settled or self._last is None or self._last < settled:
            return
        gaps = [gap for at, gap in self._gaps if at >= self._since - SETTLED]
        self._gaps.clear()
        self._disturbedAt = None
        if gaps:
            self._tell(max(gaps), self._cause)


class IAcknowledged(Protocol):
    """
    As much of a peer as the watch of who sends needs.
    """

    @property
    def acknowledgedAt(self) -> float:
        """
        When an acknowledgement last told anything new.
        """

    @property
    def waiting(self) -> bool:
        """
        Whether media that was sent is not acknowledged.
        """


class AcknowledgementWatch:
    """
    Watches how long pictures go unacknowledged after a disturbance.

    ``tell`` is called as that of `PictureWatch` is.  Nothing is done, and costs
    nothing, until something happens.
    """

    def __init__(
        self,
        clock: IReactorTime,
        now: Callable[[], float],
        peer: IAcknowledged,
        tell: Callable[[float, str], None],
    ) -> None:
        self._clock = clock
        self._now = now
        self._peer = peer
        self._tell = tell
        self._timer: IDelayedCall | None = None
        self._last = 0.0
        self._longest = 0.0
        self._settledAt = 0.0
        self._cause = ""

    def disturbed(self, cause: str) -> None:
        """
        Something happened that may stop the picture.
        """
        now = self._now()
        self._settledAt = now + SETTLED
        self._cause = cause
        if self._timer is None:
            self._longest = 0.0
            # What was not sent is not missed, and before the first acknowledgement
            # there is no gap between two.
            self._last = (self._peer.waiting and self._peer.acknowledgedAt) or now
            self._timer = self._clock.callLater(LOOK_INTERVAL, self._look)

    def _look(self) -> None:
        self._timer = None
        at = self._peer.acknowledgedAt
        if at > self._last:
            self._longest = max(self._longest, at - self._last)
            self._last = at
        if self._last >= self._settledAt:
            if self._longest > UNSEEN:
                self._tell(self._longest, self._cause)
        elif self._now() < self._settledAt + PATIENCE:
            self._timer = self._clock.callLater(LOOK_INTERVAL, self._look)

    def stop(self) -> None:
        """
        Look no more.  Harmless when repeated.
        """
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
