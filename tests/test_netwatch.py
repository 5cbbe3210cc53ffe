"""
Tests for `rootstream.transport.netwatch`, on virtual time.
"""

from __future__ import annotations

import errno
from typing import Any, cast

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from rootstream.transport import netwatch
from rootstream.transport.netwatch import (
    SETTLING,
    SLEEP_CHECK,
    NetworkChange,
    NetworkWatch,
    slept,
    watchNetwork,
)
from rootstream.transport.network import Snapshot


class FakeSocket:
    """
    A subscribed socket.

    @ivar waiting: what is in it; an exception is raised.
    """

    def __init__(self) -> None:
        self.waiting: list[bytes | OSError] = []
        self.closed = False

    def recv(self, size: int) -> bytes:
        if not self.waiting:
            raise BlockingIOError(errno.EAGAIN, "nothing")
        first = self.waiting.pop(0)
        if isinstance(first, OSError):
            raise first
        return first

    def fileno(self) -> int:
        return 7

    def close(self) -> None:
        self.closed = True


def wired(*addresses: str, up: bool = True, route: str = "") -> Snapshot:
    """
    What a machine with one cable sees.
    """
    return Snapshot(
        frozenset({"eth0"} if up else ()),
        frozenset(("eth0", address) for address in addresses),
        (route, ""),
        frozenset(addresses) | {"127.0.0.1"},
    )


class WatchCase(SynchronousTestCase):
    """
    A watch with a network and a sleep that a test can change.

    @ivar looks: how often the network was looked at.
    """

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.network: Snapshot | OSError = wired("192.0.2.7")
        self.looks = 0
        self.slept = 100.0
        self.sockets: list[FakeSocket] = []
        self.refusal: OSError | None = None
        self.changes: list[NetworkChange] = []
        self.watch = NetworkWatch(
            self.reactor,
            look=self.look,
            subscribe=cast("Any", self.subscribe),
            slept=lambda: self.slept,
        )

    def look(self) -> Snapshot:
        self.looks += 1
        if isinstance(self.network, OSError):
            raise self.network
        return self.network

    def subscribe(self) -> FakeSocket:
        if self.refusal is not None:
            raise self.refusal
        self.sockets.append(FakeSocket())
        return self.sockets[-1]

    def begin(self) -> None:
        """
        Watch until the end of the test, which leaves nothing behind.
        """
        end = self.watch.add(self.changes.append)
        self.addCleanup(self.assertStopped)
        self.addCleanup(end)

    def assertStopped(self) -> None:
        """
        No timer, no reader, no socket.
        """
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertTrue(all(each.closed for each in self.sockets))
        self.assertFalse(self.watch.watching)

    def say(self, *what: bytes | OSError) -> None:
        """
        The kernel says something; whoever reads is told that it has.
        """
        self.sockets[-1].waiting += what
        for reader in self.reactor.getReaders():
            reader.doRead()


class ChangeTests(WatchCase):
    """
    The kernel says that something changed.
    """

    def test_descriptor(self) -> None:
        """
        A reactor can read it.
        """
        self.begin()
        verifyObject(IReadDescriptor, self.watch)
        self.assertEqual(self.watch.fileno(), 7)
        self.assertEqual(self.watch.logPrefix(), "Network")

    def test_told(self) -> None:
        """
        What changed is told once it has settled, in words, with the addresses that
        are gone.
        """
        self.begin()
        self.say(b"message")
        self.network = wired("192.0.2.8")
        self.reactor.advance(SETTLING / 2)
        self.assertEqual(self.changes, [])
        self.reactor.advance(SETTLING / 2)
        [change] = self.changes
        self.assertEqual(
            change.cause,
            "address 192.0.2.7 removed from eth0, address 192.0.2.8 added to eth0",
        )
        self.assertEqual(change.gone, {"192.0.2.7"})

    def test_noChange(self) -> None:
        """
        A message about something else, such as a router's advertisement that renews
        a lifetime, is no change.
        """
        self.begin()
        for _ in range(10):
            self.say(b"renewed")
            self.reactor.advance(4.0)
        self.assertEqual(self.changes, [])
        self.assertEqual(self.looks, 11)

    def test_thereAndBack(self) -> None:
        """
        What is as it was when it has settled did not change.
        """
        self.begin()
        self.network = wired("192.0.2.7", up=False)
        self.say(b"down")
        self.reactor.advance(SETTLING / 2)
        self.network = wired("192.0.2.7")
        self.say(b"up")
        self.reactor.advance(SETTLING)
        self.assertEqual(self.changes, [])

    def test_storm(self) -> None:
        """
        However many messages come, the network is looked at once in a while, and
        nothing is read in between.
        """
        self.begin()
        for _ in range(3):
            self.say(*[b"message"] * 500)
            self.assertEqual(self.reactor.getReaders(), [])
            self.reactor.advance(SETTLING)
            self.assertEqual(self.sockets[-1].waiting, [])
            self.assertEqual(self.reactor.getReaders(), [self.watch])
        self.assertEqual(self.looks, 4)

    def test_overrun(self) -> None:
        """
        Messages that were lost because there were too many say as much as those that
        came.
        """
        self.begin()
        self.network = wired("192.0.2.8")
        self.say(OSError(errno.ENOBUFS, "No buffer space available"), b"message")
        self.reactor.advance(SETTLING)
        self.assertEqual(len(self.changes), 1)

    def test_endlessMessages(self) -> None:
        """
        A kernel that never stops talking does not hold the reactor.
        """
        self.begin()
        self.say(*[b"message"] * 5000)
        self.reactor.advance(SETTLING)
        self.assertGreater(len(self.sockets[-1].waiting), 0)

    def test_pendingError(self) -> None:
        """
        epoll's word for an overrun is taken for a message; that of a reactor that
        shuts down is not.
        """
        self.begin()
        self.network = wired("192.0.2.8")
        self.watch.connectionLost(Failure(ConnectionDone()))
        self.reactor.advance(SETTLING)
        self.assertEqual(len(self.changes), 1)
        self.watch.connectionLost(Failure(ConnectionLost()))
        self.assertTrue(self.sockets[-1].closed)
        self.assertEqual(self.watch.fileno(), -1)
        self.watch.connectionLost(Failure(ConnectionDone()))
        self.reactor.advance(SETTLING)
        self.assertEqual(len(self.changes), 1)

    def test_stoppedWhileSettling(self) -> None:
        """
        Who has stopped watching is told nothing of what was just changing.
        """
        end = self.watch.add(self.changes.append)
        self.network = wired("192.0.2.8")
        self.say(b"message")
        end()
        self.assertStopped()
        self.assertEqual(self.changes, [])

    def test_again(self) -> None:
        """
        A watch that has stopped can start again, from what there is then.
        """
        self.watch.add(self.changes.append)()
        self.network = wired("192.0.2.8")
        self.begin()
        self.say(b"message")
        self.reactor.advance(SETTLING)
        self.assertEqual(self.changes, [])
        self.assertEqual(len(self.sockets), 2)


class SubscriberTests(WatchCase):
    """
    Several who want to know.
    """

    def change(self) -> None:
        """
        Something changes.
        """
        self.network = wired(f"192.0.2.{100 + self.looks}")
        self.say(b"message")
        self.reactor.advance(SETTLING)

    def test_severalOneSocket(self) -> None:
        """
        All are told, in the order in which they came, from one socket; it is closed
        when the last one has left, and leaving twice does no harm.
        """
        told: list[str] = []
        first = self.watch.add(lambda change: told.append("first"))
        second = self.watch.add(lambda change: told.append("second"))
        self.change()
        self.assertEqual(told, ["first", "second"])
        first()
        first()
        self.change()
        self.assertEqual(told, ["first", "second", "second"])
        second()
        self.assertEqual(len(self.sockets), 1)
        self.assertStopped()

    def test_leavingMeanwhile(self) -> None:
        """
        Who leaves because of what another one does is not told any more.
        """
        ends = [
            self.watch.add(lambda change: ends[1]()),
            self.watch.add(self.changes.append),
        ]
        self.change()
        self.assertEqual(self.changes, [])
        ends[0]()
        self.assertStopped()

    def test_bug(self) -> None:
        """
        An error in one is logged, and the others are told all the same.
        """

        def broken(change: NetworkChange) -> None:
            raise ZeroDivisionError

        end = self.watch.add(broken)
        self.begin()
        self.change()
        self.assertEqual(len(self.changes), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        end()


class BlindTests(WatchCase):
    """
    A machine that does not let us know.
    """

    def assertSaidOnce(self, logs: list[dict[str, Any]]) -> None:
        """
        One line says so.
        """
        warnings = [each for each in logs if each["log_level"] is LogLevel.warn]
        self.assertEqual(len(warnings), 1)
        self.assertIn("not noticed here", warnings[0]["log_format"])

    def test_forbidden(self) -> None:
        """
        Where netlink is missing or forbidden the program goes on, and suspend is
        noticed as before.
        """
        for error in (errno.EPERM, errno.ENOSYS, errno.EAFNOSUPPORT):
            self.refusal = OSError(error, "not here")
            with capturedLogs() as logs:
                end = self.watch.add(self.changes.append)
            self.assertSaidOnce(logs)
            self.slept += 60.0
            self.reactor.advance(SLEEP_CHECK)
            [change] = self.changes
            self.assertEqual(change.cause, "resumed from suspend after 60 s")
            self.changes.clear()
            end()
            self.assertStopped()

    def test_noLook(self) -> None:
        """
        It is the same when only the questions are forbidden, from the beginning or
        later.
        """
        works, self.network = self.network, OSError(errno.EPERM, "not here")
        with capturedLogs() as logs:
            self.watch.add(self.changes.append)()
        self.assertSaidOnce(logs)
        self.assertStopped()
        self.network = works
        self.begin()
        self.network = OSError(errno.EPERM, "not here any more")
        with capturedLogs() as logs:
            self.say(b"message")
            self.reactor.advance(SETTLING)
        self.assertSaidOnce(logs)
        self.assertTrue(self.sockets[-1].closed)


class SleepTests(WatchCase):
    """
    The machine sleeps (F67).
    """

    def test_resumed(self) -> None:
        """
        Ten minutes of suspend are noticed within a second of the wake-up, once; they
        say nothing of addresses.
        """
        self.begin()
        self.reactor.advance(SLEEP_CHECK)
        self.slept += 600.0
        self.reactor.advance(SLEEP_CHECK)
        expected = NetworkChange("resumed from suspend after 600 s", frozenset())
        self.assertEqual(self.changes, [expected])
        self.reactor.advance(SLEEP_CHECK)
        self.assertEqual(self.changes, [expected])

    def test_awake(self) -> None:
        """
        What two clocks differ by when they are read one after the other is no sleep.
        """
        self.begin()
        for off in (0.1, -0.1, 0.2, -0.2):
            self.slept += off
            self.reactor.advance(SLEEP_CHECK)
        self.assertEqual(self.changes, [])

    def test_clocks(self) -> None:
        """
        A machine that is awake does not sleep any longer.
        """
        before = slept()
        self.assertGreater(before, -0.5)
        self.assertLess(abs(slept() - before), 0.5)


class SharedTests(WatchCase):
    """
    Tests for `watchNetwork`.
    """

    def setUp(self) -> None:
        super().setUp()
        self.made = 0
        self.patch(netwatch, "NetworkWatch", self.make)
        self.patch(netwatch, "_watches", {})

    def make(self, reactor: object) -> NetworkWatch:
        self.made += 1
        return self.watch

    def test_oneAReactor(self) -> None:
        """
        All who watch with one reactor share one watch, which is forgotten with the
        last of them.
        """
        ends = [watchNetwork(self.reactor, self.changes.append) for _ in range(3)]
        self.assertEqual(self.made, 1)
        self.network = wired("192.0.2.8")
        self.say(b"message")
        self.reactor.advance(SETTLING)
        self.assertEqual(len(self.changes), 3)
        for end in ends:
            end()
        self.assertEqual(netwatch._watches, {})
        self.assertStopped()
        watchNetwork(self.reactor, self.changes.append)()
        self.assertEqual(self.made, 2)

    def test_endedTwice(self) -> None:
        """
        Who ends twice does not end the watch that somebody else has begun meanwhile.
        """
        first = watchNetwork(self.reactor, self.changes.append)
        first()
        second = watchNetwork(self.reactor, self.changes.append)
        first()
        self.assertTrue(self.watch.watching)
        self.assertEqual(len(netwatch._watches), 1)
        second()
        self.assertStopped()
