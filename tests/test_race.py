"""
Tests for `rootstream.transport.race`, on virtual time.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, FailureGroup
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from rootstream.errors import LocalError
from rootstream.interfaces import IPath
from rootstream.transport.race import firstOf
from tests.doubles import FakePath


class FirstOfTests(SynchronousTestCase):
    """
    Tests for `firstOf`.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.ways: list[Deferred[IPath]] = []
        self.cancelled: list[int] = []

    def tearDown(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def way(self) -> Deferred[IPath]:
        number = len(self.ways)
        way: Deferred[IPath] = Deferred(lambda _: self.cancelled.append(number))
        self.ways.append(way)
        return way

    def race(self, count: int) -> Deferred[IPath]:
        return firstOf(self.clock, [(n * 0.25, self.way) for n in range(count)])

    def test_staggered(self) -> None:
        """
        Ways start an interval apart, and the earlier ones go on.
        """
        first = self.race(3)
        started = []
        for _ in range(6):
            started.append(len(self.ways))
            self.clock.advance(0.125)
        self.assertEqual(started, [1, 1, 2, 2, 3, 3])
        path = FakePath()
        self.ways[1].callback(path)
        self.assertIs(self.successResultOf(first), path)
        self.assertEqual(self.cancelled, [0, 2])

    def test_failureStartsNext(self) -> None:
        """
        A failure starts the next way at once; the one after it keeps its distance.
        """
        first = self.race(3)
        self.ways[0].errback(Failure(ConnectionDone()))
        self.assertEqual(len(self.ways), 2)
        self.clock.advance(0.24)
        self.assertEqual(len(self.ways), 2)
        self.clock.advance(0.01)
        self.assertEqual(len(self.ways), 3)
        first.cancel()
        self.failureResultOf(first, CancelledError)

    def test_times(self) -> None:
        """
        Each way has a time of its own, counted from the first; two may have the same.
        """
        first = firstOf(self.clock, [(at, self.way) for at in (0.5, 0.5, 1.0, 2.0)])
        started = []
        for _ in range(7):
            self.clock.advance(0.0)
            started.append(len(self.ways))
            self.clock.advance(0.25)
        self.assertEqual(started, [2, 2, 3, 3, 3, 3, 4])
        first.cancel()
        self.failureResultOf(first, CancelledError)

    def test_allFail(self) -> None:
        """
        When all have failed, so has the whole, with all reasons in order.
        """
        first = self.race(2)
        self.clock.advance(0.25)
        self.ways[1].errback(Failure(ConnectionLost()))
        self.assertNoResult(first)
        self.ways[0].errback(Failure(ConnectionDone()))
        failures = self.failureResultOf(first, FailureGroup).value.failures
        self.assertEqual(
            [failure.type for failure in failures], [ConnectionDone, ConnectionLost]
        )

    def test_raises(self) -> None:
        """
        A way that raises when it is started has failed.
        """

        def broken() -> Deferred[IPath]:
            raise LocalError("no such family")

        first = firstOf(self.clock, [(0.0, broken), (0.25, self.way)])
        self.ways[0].callback(FakePath())
        self.successResultOf(first)

    def test_cancel(self) -> None:
        """
        Cancelled, it cancels what has started and starts no more.
        """
        first = self.race(3)
        self.clock.advance(0.25)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(self.cancelled, [0, 1])

    def test_cancelledByItsOwnStart(self) -> None:
        """
        A way whose start ends the whole race is cancelled, or, if it has succeeded
        already, closed.
        """
        path = FakePath()
        self.assertEqual(self.startThatEnds(None), [0])
        self.assertEqual(self.startThatEnds(path), [])
        self.assertTrue(path.closed)

    def startThatEnds(self, result: FakePath | None) -> list[int]:
        """
        Start a way that cancels its race; which of the ways were cancelled?
        """

        def start() -> Deferred[IPath]:
            way = self.way()
            first.cancel()
            if result is not None:
                way.callback(result)
            return way

        self.ways.clear()
        self.cancelled.clear()
        begin: Deferred[IPath] = Deferred()
        first = firstOf(self.clock, [(0.0, lambda: begin), (0.25, start)])
        begin.errback(Failure(ConnectionDone()))
        self.failureResultOf(first, CancelledError)
        return self.cancelled
