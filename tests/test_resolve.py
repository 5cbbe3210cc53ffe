"""
Tests for `rootstream.transport.resolve`.
"""

from __future__ import annotations

import socket
import threading
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rootstream.errors import AddressRefused
from rootstream.transport.resolve import (
    MAX_CANDIDATES,
    RESOLVE_TIMEOUT,
    Candidate,
    lookUpInThread,
    resolve,
)

V4 = socket.AF_INET
V6 = socket.AF_INET6


class ResolveTests(SynchronousTestCase):
    """
    Tests for `resolve`.
    """

    def setUp(self) -> None:
        self.clock = Clock()

    def tearDown(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def found(self, *addresses: str) -> list[Candidate]:
        """
        What a name with these addresses becomes.
        """
        return self.successResultOf(
            resolve(
                self.clock, "host.test", 9876, lambda _, host: succeed(list(addresses))
            )
        )

    def refused(self, host: str, *addresses: str) -> str:
        """
        Why a name with these addresses is refused.
        """
        answer = resolve(
            self.clock, host, 9876, lambda _, host: succeed(list(addresses))
        )
        return str(self.failureResultOf(answer, AddressRefused).value)

    def test_literals(self) -> None:
        """
        An IP address is not looked up.
        """

        def never(reactor: Any, host: str) -> Deferred[list[str]]:
            raise AssertionError("looked up")

        for host, expected in (
            ("192.0.2.1", Candidate(V4, "192.0.2.1", 1)),
            ("2001:DB8:0::1", Candidate(V6, "2001:db8::1", 1)),
            ("fe80::1%eth0", Candidate(V6, "fe80::1%eth0", 1)),
            ("::ffff:192.0.2.1", Candidate(V4, "192.0.2.1", 1)),
        ):
            answer = resolve(self.clock, host, 1, never)
            self.assertEqual(self.successResultOf(answer), [expected])

    def test_interleaved(self) -> None:
        """
        Families take turns, in the system's order within each, the system's
        preferred one first (F66).
        """
        found = self.found("2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1")
        self.assertEqual(
            [candidate.host for candidate in found],
            ["2001:db8::1", "192.0.2.1", "2001:db8::2", "2001:db8::3"],
        )
        found = self.found("192.0.2.1", "192.0.2.2", "2001:db8::1")
        self.assertEqual(
            [candidate.host for candidate in found],
            ["192.0.2.1", "2001:db8::1", "192.0.2.2"],
        )

    def test_bounded(self) -> None:
        """
        Of a thousand addresses eight are tried, each once (F65).
        """
        many = [f"192.0.2.{n % 250}" for n in range(1000)]
        found = self.found(*many)
        self.assertEqual(len(found), MAX_CANDIDATES)
        self.assertEqual(len(set(found)), MAX_CANDIDATES)
        self.assertEqual(len(self.found("192.0.2.1", "::ffff:192.0.2.1")), 1)

    def test_badAddresses(self) -> None:
        """
        Addresses that can never be a peer are refused, whether written or found
        (F65).
        """
        for bad in (
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "::ffff:0.0.0.0",
        ):
            self.assertIn("can never be a peer", self.refused(bad))
            self.assertIn("host.test (", self.refused("host.test", bad))
            found = self.found(bad, "192.0.2.1")
            self.assertEqual(found, [Candidate(V4, "192.0.2.1", 9876)])

    def test_unresolvable(self) -> None:
        """
        A name that does not resolve is refused in words, whatever the resolver
        raised (F65).
        """
        for error, word in (
            (socket.gaierror(-2, "Name or service not known"), "not known"),
            (UnicodeError("label too long"), "not a host name"),
            (ValueError("embedded null byte"), "not a host name"),
        ):
            answer = resolve(self.clock, "x.test", 1, lambda *_, e=error: fail(e))
            text = str(self.failureResultOf(answer, AddressRefused).value)
            self.assertIn("cannot resolve x.test: check the name", text)
            self.assertIn(word, text)
        self.assertIn("cannot resolve x.test", self.refused("x.test"))

    def test_timeout(self) -> None:
        """
        A name service that does not answer has five seconds (F65).
        """
        answer = resolve(self.clock, "x.test", 1, lambda *_: Deferred())
        self.clock.advance(RESOLVE_TIMEOUT - 0.01)
        self.assertNoResult(answer)
        self.clock.advance(0.01)
        text = str(self.failureResultOf(answer, AddressRefused).value)
        self.assertIn("no answer in 5 seconds", text)

    def test_cancelled(self) -> None:
        """
        A lookup can be cancelled, and leaves no timer.
        """
        answer = resolve(self.clock, "x.test", 1, lambda *_: Deferred())
        answer.cancel()
        self.failureResultOf(answer, CancelledError)


class LookUpInThreadTests(SynchronousTestCase):
    """
    Tests for `lookUpInThread`, with the system's resolver replaced.
    """

    def setUp(self) -> None:
        self.delivered = threading.Event()
        self.calls: list[Any] = []

    def callFromThread(self, call: Any, *args: Any) -> None:
        self.calls.append((call, args))
        self.delivered.set()

    def lookUp(self) -> Deferred[list[str]]:
        answer = lookUpInThread(self, "host.test")
        self.assertTrue(self.delivered.wait(10))
        return answer

    def deliver(self) -> None:
        [(call, args)] = self.calls
        call(*args)

    def test_found(self) -> None:
        """
        Addresses come back in the reactor's thread, from a thread that does not
        keep the process alive.
        """
        seen = []

        def getaddrinfo(host: str, port: object, **more: object) -> list[Any]:
            seen.append((host, threading.current_thread().daemon))
            return [(V4, 2, 17, "", ("192.0.2.1", 0)), (V6, 2, 17, "", ("::1", 0))]

        self.patch(socket, "getaddrinfo", getaddrinfo)
        answer = self.lookUp()
        self.assertNoResult(answer)
        self.deliver()
        self.assertEqual(self.successResultOf(answer), ["192.0.2.1", "::1"])
        self.assertEqual(seen, [("host.test", True)])

    def test_failure(self) -> None:
        """
        What the resolver raises becomes the Deferred's failure.
        """

        def getaddrinfo(*args: object, **more: object) -> list[Any]:
            raise socket.gaierror(-2, "Name or service not known")

        self.patch(socket, "getaddrinfo", getaddrinfo)
        answer = self.lookUp()
        self.deliver()
        self.failureResultOf(answer, socket.gaierror)

    def test_tooLate(self) -> None:
        """
        An answer to a cancelled lookup is ignored.
        """
        self.patch(socket, "getaddrinfo", lambda *_, **__: [])
        answer = self.lookUp()
        answer.cancel()
        self.deliver()
        self.failureResultOf(answer, CancelledError)
