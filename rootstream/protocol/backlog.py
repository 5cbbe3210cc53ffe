"""
How long a stream takes for what waits in it.

A stream has room for everything and time for little: what it was given comes out in
order, however late.  So the delay is bounded before, by giving it no more than it will
take in time.  How many bytes wait, its path tells.  How long they will, shows in how
fast the kernel took them since the oldest of them came.
"""

from __future__ import annotations

from dataclasses import dataclass

from rootstream.protocol.constants import (
    BACKLOG_STEP,
    MAX_BACKLOG_MARKS,
    MIN_BACKLOG_AGE,
)


@dataclass(slots=True, eq=False)
class _Mark:
    """
    What had been given and taken, in bytes: ``given`` with what came at ``at`` and
    shortly after, ``taken`` before it.
    """

    at: float
    given: int
    taken: int


class Backlog:
    """
    The books of one stream.  ``backlog`` is always what waits in it now.
    """

    def __init__(self) -> None:
        self._given = 0
        self._marks: list[_Mark] = []

    def give(self, size: int, backlog: int, now: float) -> None:
        """
        The stream is about to be given ``size`` bytes.
        """
        taken = self._forget(backlog)
        self._given += size
        last = self._marks[-1] if self._marks else None
        crowded = len(self._marks) >= MAX_BACKLOG_MARKS
        if last is not None and (crowded or now < last.at + BACKLOG_STEP):
            last.given = self._given
        else:
            self._marks.append(_Mark(now, self._given, taken))

    def delay(self, backlog: int, now: float) -> float:
        """
        For how many seconds the oldest byte has waited, or the newest is going to,
        whichever is more.
        """
        taken = self._forget(backlog)
        if not self._marks:
            return 0.0
        oldest = self._marks[0]
        age = now - oldest.at
        gone = taken - oldest.taken
        # It takes large bites: a look too short sees one, or none.
        if age < MIN_BACKLOG_AGE or gone <= 0:
            return age
        return max(age, backlog * age / gone)

    def _forget(self, backlog: int) -> int:
        """
        Drop the marks of what the kernel has, and return how much that is.
        """
        taken = self._given - backlog
        gone = 0
        for mark in self._marks:
            if mark.given > taken:
                break
            gone += 1
        del self._marks[:gone]
        return taken
