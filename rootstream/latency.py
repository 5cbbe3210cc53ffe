"""
How long frames take from capture to receipt.
"""

from __future__ import annotations

from collections import Counter

__all__ = ["Latencies"]

#: Counted apart: tenths of a millisecond, up to ten seconds.
_STEP = 1e-4
_LONGEST = 100_000


class Latencies:
    """
    The latencies of a stream: the median of the last moment, and the distribution of
    all, in memory that does not grow with it.  What is asked for is in milliseconds.
    """

    def __init__(self) -> None:
        self._recent: list[float] = []
        self._counts: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """
        One frame took so many seconds.
        """
        self._recent.append(seconds)
        self._counts[min(round(seconds / _STEP), _LONGEST)] += 1

    def takeMedian(self) -> float | None:
        """
        The median since the last call, or None when there was no frame.
        """
        recent, self._recent = sorted(self._recent), []
        return round(recent[len(recent) // 2] * 1000, 3) if recent else None

    def percentile(self, share: float) -> float | None:
        """
        The latency that ``share`` of all frames did not exceed (nearest rank), to a
        tenth of a millisecond; None when there was no frame.
        """
        rank = share * self._counts.total()
        reached = 0
        for steps in sorted(self._counts):
            reached += self._counts[steps]
            if reached >= rank:
                return round(steps * _STEP * 1000, 1)
        return None
