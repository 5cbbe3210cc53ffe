"""
Several ways to one end: the first to get there wins.

Start the first way; start the next when its time has come, or at once when one has
failed; keep the earlier ones going; the first to succeed ends the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, FailureGroup, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from rootstream.interfaces import IPath

__all__ = ["Way", "firstOf"]

#: Seconds after which a way starts, and what starts it.
Way = tuple[float, Callable[[], Deferred[IPath]]]


def firstOf(clock: IReactorTime, ways: Sequence[Way]) -> Deferred[IPath]:
    """
    The path of the first way that succeeds; the others are cancelled.

    :param ways: each with its time, in order; the first starts now, and the others as
        much later as their times are.  A failure starts the next at once, and those
        after it as much earlier.
    :return: fails with `FailureGroup`, in the order of ``ways``.
    """
    race = _Race(clock, ways)
    race.startNext()
    return race.first


class _Race:
    """
    The state of one `firstOf`.
    """

    def __init__(self, clock: IReactorTime, ways: Sequence[Way]) -> None:
        self._clock = clock
        self._ways = ways
        self._started: list[Deferred[IPath]] = []
        self._failures: dict[int, Failure] = {}
        self._timer: IDelayedCall | None = None
        self._over = False
        self.first: Deferred[IPath] = Deferred(lambda _: self._end())

    def startNext(self) -> None:
        number = len(self._started)
        start, begin = self._ways[number]
        self._timer = None
        if number + 1 < len(self._ways):
            later = self._ways[number + 1][0] - start
            self._timer = self._clock.callLater(later, self.startNext)
        way = maybeDeferred(begin)
        self._started.append(way)
        way.addCallbacks(self._succeeded, self._failed, errbackArgs=(number,))
        if self._over:
            # By what the start itself brought about.
            way.cancel()

    def _succeeded(self, path: IPath) -> None:
        if self._over:
            # Too late by a moment.
            path.close()
            return
        self._end()
        self.first.callback(path)

    def _failed(self, reason: Failure, number: int) -> None:
        self._failures[number] = reason
        if self._over:
            return
        if len(self._failures) == len(self._ways):
            self._end()
            failures = [self._failures[number] for number in sorted(self._failures)]
            self.first.errback(FailureGroup(failures))
        elif self._timer is not None:
            self._timer.cancel()
            self.startNext()

    def _end(self) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for way in self._started:
            way.cancel()
