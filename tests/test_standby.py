"""
Tests for `rootstream.standby`.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rootstream.interfaces import IPath, Transport
from rootstream.standby import COLD_LIFE, FIRST_WAIT, LAST_WAIT, Standby
from tests.doubles import FakePath


class FakePeer:
    """
    A peer whose wants are set by hand.
    """

    def __init__(self) -> None:
        self.wantsStandby = True
        self.path: IPath | None = None

    def status(self) -> SimpleNamespace:
        """
        Where packets go.
        """
        return SimpleNamespace(path=self.path)


class StandbyCase(SynchronousTestCase):
    """
    A peer that a test connects.
    """

    warm = True

    def setUp(self) -> None:
        self.clock = Clock()
        self.peer = FakePeer()
        self.dialled: list[Deferred[IPath]] = []
        self.cancelled = 0
        self.standby = Standby(
            self.clock, cast("Any", self.peer), self.dial, warm=self.warm
        )

    def dial(self) -> Deferred[IPath]:
        """
        An attempt that ends when the test says so.
        """

        def cancel(_: Deferred[IPath]) -> None:
            self.cancelled += 1

        self.dialled.append(Deferred(cancel))
        return self.dialled[-1]

    def connect(self) -> FakePath:
        """
        The last attempt succeeds.
        """
        path = FakePath(Transport.TCP)
        self.dialled[-1].callback(path)
        return path

    def refuse(self) -> None:
        """
        The last attempt fails.
        """
        self.dialled[-1].errback(ConnectionRefusedError())


class WarmTests(StandbyCase):
    """
    Connections kept in reserve.
    """

    def test_connected(self) -> None:
        """
        One connection is made, and given to the peer; no second one.
        """
        self.standby.pathsChanged()
        self.standby.pathsChanged()
        self.assertEqual(len(self.dialled), 1)
        path = self.connect()
        self.assertFalse(path.closed)
        self.standby.needed()
        self.assertEqual(len(self.dialled), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_notWanted(self) -> None:
        """
        Nothing is dialled for a peer that has no use for it.
        """
        self.peer.wantsStandby = False
        self.standby.pathsChanged()
        self.assertEqual(self.dialled, [])

    def test_atOnce(self) -> None:
        """
        A connection that is there before the dial returns is taken as well.
        """
        path = FakePath(Transport.TCP)
        standby = Standby(self.clock, cast("Any", self.peer), lambda: succeed(path))
        standby.pathsChanged()
        standby.pathsChanged()
        self.assertFalse(path.closed)

    def test_refused(self) -> None:
        """
        After a failure the next attempt waits, each time twice as long, up to a
        minute; and nobody is asked to hurry in between.
        """
        self.standby.pathsChanged()
        waits = []
        for _ in range(9):
            self.refuse()
            count = len(self.dialled)
            self.standby.pathsChanged()
            self.assertEqual(len(self.dialled), count)
            [call] = self.clock.getDelayedCalls()
            waits.append(call.getTime() - self.clock.seconds())
            self.clock.advance(waits[-1])
            self.assertEqual(len(self.dialled), count + 1)
        self.assertEqual(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60])
        self.assertEqual((waits[0], waits[-1]), (FIRST_WAIT, LAST_WAIT))

    def test_inNeed(self) -> None:
        """
        When the path in use is suspect, the wait is over.
        """
        self.standby.pathsChanged()
        self.refuse()
        self.standby.needed()
        self.assertEqual(len(self.dialled), 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_networkChanged(self) -> None:
        """
        F64: on another network what failed before is tried at once, and first waits
        are short again; what was being tried is given up and tried anew.
        """
        self.standby.pathsChanged()
        for _ in range(3):
            self.refuse()
            self.clock.advance(LAST_WAIT)
        self.refuse()
        self.standby.networkChanged()
        self.assertEqual(len(self.dialled), 5)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.standby.networkChanged()
        self.assertEqual((len(self.dialled), self.cancelled), (6, 1))
        self.refuse()
        self.clock.advance(FIRST_WAIT)
        self.connect()
        self.standby.networkChanged()
        self.assertEqual((len(self.dialled), self.cancelled), (7, 1))

    def test_lost(self) -> None:
        """
        A connection that ended is dialled again after a while; the end of another
        one means nothing.
        """
        self.standby.pathsChanged()
        path = self.connect()
        self.standby.lost(FakePath(Transport.TCP))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.standby.lost(path)
        self.clock.advance(FIRST_WAIT)
        self.assertEqual(len(self.dialled), 2)

    def test_patienceReturns(self) -> None:
        """
        The wait is short again after a connection that lasted; after one that ended
        at once, it is not.
        """
        self.standby.pathsChanged()
        for _ in range(4):
            self.refuse()
            self.clock.advance(LAST_WAIT)
        self.standby.lost(self.connect())
        self.clock.advance(FIRST_WAIT)
        self.assertEqual(len(self.dialled), 5)
        self.clock.advance(LAST_WAIT)
        self.assertEqual(len(self.dialled), 6)
        path = self.connect()
        self.clock.advance(LAST_WAIT)
        self.standby.lost(path)
        self.clock.advance(FIRST_WAIT)
        self.assertEqual(len(self.dialled), 7)

    def test_noLongerWanted(self) -> None:
        """
        A wait ends in nothing when the peer has found another way meanwhile.
        """
        self.standby.pathsChanged()
        self.refuse()
        self.peer.wantsStandby = False
        self.clock.advance(FIRST_WAIT)
        self.assertEqual(len(self.dialled), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopWaiting(self) -> None:
        """
        A stop ends a wait.
        """
        self.standby.pathsChanged()
        self.refuse()
        self.standby.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopDialling(self) -> None:
        """
        A stop gives an attempt up, and what comes of it is not tried again.
        """
        self.standby.pathsChanged()
        self.standby.stop()
        self.assertEqual(self.cancelled, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopConnected(self) -> None:
        """
        A stop closes the connection, and its end is not mourned.
        """
        self.standby.pathsChanged()
        path = self.connect()
        self.standby.stop()
        self.assertTrue(path.closed)
        self.standby.lost(path)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ColdTests(StandbyCase):
    """
    Connections that are dialled when they are needed.
    """

    warm = False

    def test_needed(self) -> None:
        """
        Only a need is a reason to dial.
        """
        self.standby.pathsChanged()
        self.assertEqual(self.dialled, [])
        self.standby.needed()
        self.standby.needed()
        self.assertEqual(len(self.dialled), 1)
        path = self.connect()
        self.assertFalse(path.closed)

    def test_falseAlarm(self) -> None:
        """
        A connection that was not used after all is closed after a while, and its end
        is no reason to dial.
        """
        self.standby.needed()
        path = self.connect()
        self.clock.advance(COLD_LIFE - 0.1)
        self.assertFalse(path.closed)
        self.clock.advance(0.1)
        self.assertTrue(path.closed)
        self.standby.lost(path)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.standby.needed()
        self.assertEqual(len(self.dialled), 2)

    def test_inUse(self) -> None:
        """
        One that carries the session stays, until a while after it does not.
        """
        self.standby.needed()
        path = self.peer.path = self.connect()
        self.standby.pathsChanged()
        self.clock.advance(COLD_LIFE)
        self.assertFalse(path.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.peer.path = FakePath()
        self.standby.pathsChanged()
        self.clock.advance(COLD_LIFE)
        self.assertTrue(path.closed)

    def test_lost(self) -> None:
        """
        One that ended before its time is not closed again; nor is one that failed
        tried again before there is need.
        """
        self.standby.needed()
        path = self.connect()
        self.standby.lost(path)
        self.clock.advance(COLD_LIFE)
        self.assertFalse(path.closed)
        self.standby.needed()
        self.refuse()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop(self) -> None:
        """
        A stop leaves no timer.
        """
        self.standby.needed()
        path = self.connect()
        self.standby.stop()
        self.assertTrue(path.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])
