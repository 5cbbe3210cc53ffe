"""
Tests for `rootstream.transport.reconnect`: the schedule of PROTOCOL, section 5.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, NotConnectingError
from twisted.internet.interfaces import IConnector
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from rootstream.errors import HandshakeTimeout
from rootstream.transport.reconnect import PeerReconnector
from rootstream.transport.tcp import PacketStream
from tests.doubles import FakePath, RecordingSink

WAITS = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0]


class RecordingClock(Clock):
    """
    Remembers the waits that it was asked for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def callLater(self, when: float, *args: Any, **more: Any) -> Any:
        self.waits.append(when)
        return super().callLater(when, *args, **more)


@implementer(IConnector)
class FakeConnector:
    """
    Counts what the factory asks of it.
    """

    def __init__(self, factory: PeerReconnector) -> None:
        self.factory = factory
        self.connecting = False
        self.connects = 0
        self.stops = 0

    def connect(self) -> None:
        assert not self.connecting
        self.connecting = True
        self.connects += 1
        self.factory.startedConnecting(self)

    def stopConnecting(self) -> None:
        if not self.connecting:
            raise NotConnectingError
        self.stops += 1
        self.fail()

    def disconnect(self) -> None:
        raise AssertionError("not the factory's business")

    def getDestination(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.1", 9876)

    def fail(self, text: str = "no answer") -> None:
        self.connecting = False
        self.factory.clientConnectionFailed(self, Failure(HandshakeTimeout(text)))

    def succeed(self) -> None:
        self.connecting = False
        self.factory.attemptSucceeded(FakePath())

    def lose(self) -> None:
        self.factory.clientConnectionLost(self, Failure(ConnectionDone()))


class PeerReconnectorTests(SynchronousTestCase):
    """
    Tests for `PeerReconnector`.
    """

    def setUp(self) -> None:
        self.clock = RecordingClock()
        self.attempts: list[tuple[int, int, float]] = []
        self.gaveUps = 0
        self.factory = PeerReconnector(
            RecordingSink(), self.clock, self.attempted, self.gaveUp
        )
        self.connector = FakeConnector(self.factory)

    def tearDown(self) -> None:
        self.factory.stopTrying()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def attempted(self, n: int, of: int, wait: float) -> None:
        self.attempts.append((n, of, wait))

    def gaveUp(self) -> None:
        self.gaveUps += 1

    def failAll(self) -> None:
        """
        Fail the attempt in progress and all that follow it.
        """
        while self.connector.connecting:
            self.connector.fail()
            if self.clock.getDelayedCalls():
                self.clock.advance(self.clock.waits[-1])

    def test_double(self) -> None:
        """
        The connector of these tests is one.
        """
        verifyObject(IConnector, self.connector)

    def test_schedule(self) -> None:
        """
        The waits are exactly the ten of the protocol, 81.1 s in all, each
        announced before it; then it gives up, once.
        """
        self.connector.connect()
        self.failAll()
        self.assertEqual(self.clock.waits, WAITS)
        self.assertEqual(round(sum(self.clock.waits), 9), 81.1)
        self.assertEqual(
            self.attempts, [(n + 1, 10, wait) for n, wait in enumerate(WAITS)]
        )
        self.assertEqual(self.connector.connects, 11)
        self.assertEqual(self.gaveUps, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_announcedBeforeTheWait(self) -> None:
        """
        An attempt is announced when its wait begins, not when it ends.
        """
        self.connector.connect()
        self.connector.fail()
        self.assertEqual(self.attempts, [(1, 10, 0.1)])
        self.assertEqual(self.connector.connects, 1)

    def test_lost(self) -> None:
        """
        A lost connection has the whole schedule, whatever came before it.
        """
        self.connector.connect()
        self.connector.fail()
        self.clock.advance(0.1)
        self.connector.fail()
        self.clock.advance(0.2)
        self.connector.succeed()
        self.clock.waits.clear()
        self.connector.lose()
        self.clock.advance(0.1)
        self.failAll()
        self.assertEqual(self.clock.waits, WAITS)
        self.assertEqual(self.gaveUps, 1)

    def test_lastError(self) -> None:
        """
        Why the last attempt failed is kept, without its traceback.
        """
        self.assertIsNone(self.factory.lastError)
        self.connector.connect()
        try:
            raise HandshakeTimeout("why")
        except HandshakeTimeout as error:
            self.factory.clientConnectionFailed(self.connector, Failure(error))
        self.assertEqual(str(self.factory.lastError), "why")
        assert self.factory.lastError is not None
        self.assertIsNone(self.factory.lastError.__traceback__)

    def test_resetCancels(self) -> None:
        """
        A reset schedule leaves no call of the old one behind.
        """
        self.connector.connect()
        self.connector.fail()
        self.factory.resetDelay()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.factory.delay, 0.1)

    def test_tryNowWhileWaiting(self) -> None:
        """
        A change of the network ends the wait: one attempt begins at once, and the
        schedule starts over.
        """
        self.connector.connect()
        for wait in WAITS[:5]:
            self.connector.fail()
            self.clock.advance(wait)
        self.connector.fail()
        self.factory.tryNow()
        self.assertEqual(self.connector.connects, 7)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.waits.clear()
        self.failAll()
        self.assertEqual(self.clock.waits, WAITS)

    def test_tryNowWhileConnecting(self) -> None:
        """
        An attempt in progress goes on; only the schedule starts over.
        """
        self.connector.connect()
        self.connector.fail()
        self.clock.advance(0.1)
        self.factory.tryNow()
        self.assertEqual(self.connector.connects, 2)
        self.connector.fail()
        self.assertEqual(self.clock.waits, [0.1, 0.1])

    def test_tryNowInAttempt(self) -> None:
        """
        Whoever is told of a wait may end it there and then.
        """
        self.factory._attempt = lambda n, of, wait: self.factory.tryNow()
        self.connector.connect()
        self.connector.fail()
        self.assertEqual(self.connector.connects, 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_tryNowTooLate(self) -> None:
        """
        A peer that was given up stays given up.
        """
        self.connector.connect()
        self.failAll()
        self.factory.tryNow()
        self.assertEqual(self.connector.connects, 11)
        self.assertEqual(self.gaveUps, 1)

    def test_tryNowBefore(self) -> None:
        """
        Before the first attempt there is nothing to hasten.
        """
        self.factory.tryNow()
        self.assertEqual(self.connector.connects, 0)

    def test_stopWhileWaiting(self) -> None:
        """
        Stopped in a wait, it dials no more and does not call that giving up.
        """
        self.connector.connect()
        self.connector.fail()
        self.factory.stopTrying()
        self.clock.advance(100)
        self.assertEqual((self.connector.connects, self.gaveUps), (1, 0))

    def test_stopWhileConnecting(self) -> None:
        """
        Stopped in the very first attempt, it ends that attempt, too, and a late
        success or retry changes nothing.
        """
        self.connector.connect()
        self.factory.stopTrying()
        self.assertEqual(self.connector.stops, 1)
        self.factory.attemptSucceeded(FakePath())
        self.factory.retry(self.connector)
        self.assertFalse(self.factory.continueTrying)
        self.assertEqual((self.attempts, self.gaveUps), ([], 0))

    def test_forgets(self) -> None:
        """
        After giving up nothing of the factory refers to the connector.
        """
        self.connector.connect()
        self.failAll()
        connector = weakref.ref(self.connector)
        del self.connector
        gc.collect()
        self.assertIsNone(connector())

    def test_underTCP(self) -> None:
        """
        It is a real factory: ``reactor.connectTCP`` gets a packet stream of it, and
        its failures are retried.
        """
        reactor = MemoryReactorClock()
        reactor.connectTCP("192.0.2.1", 9876, self.factory)
        [(_, _, factory, _, _)] = reactor.tcpClients
        stream = factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 9876))
        self.assertIsInstance(stream, PacketStream)
        self.factory.clientConnectionFailed(self.connector, Failure(ConnectionDone()))
        self.assertEqual(self.clock.waits, [0.1])
