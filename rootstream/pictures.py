"""
How long the picture stops when something happens to the network.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

__all__ = ["PictureWatch"]

#: Seconds that nobody minds, at any frame rate.
UNSEEN = 0.1
#: Seconds without another disturbance until what was seen is told.  A gap that ended
#: so long before one was noticed belongs to it, too: who sends notices first.
SETTLED = 1.0
#: Of frame intervals, those that are averaged.
INTERVALS = 30


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
