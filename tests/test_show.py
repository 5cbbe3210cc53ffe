"""
Tests for `rootstream.show`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import segno
from twisted.trial.unittest import SynchronousTestCase

from rootstream.errors import BadCode
from rootstream.identity import Identity, checkHost, parseCode
from rootstream.show import describeIdentity, guessHost

#: Which of two modules above each other a character of the QR code leaves dark.
DARK = {"█": (0, 0), "▀": (0, 1), "▄": (1, 0), " ": (1, 1)}


class DescribeTests(SynchronousTestCase):
    """
    `describeIdentity` says what the owner passes on.
    """

    def setUp(self) -> None:
        self.identity = Identity.fromSeed(b"s" * 32, "living room")

    def test_lines(self) -> None:
        """
        Code, fingerprint and name have a line each, and the code can be read.
        """
        code, fingerprint, name = describeIdentity(
            self.identity, "::1", 9877, False
        ).split("\n")
        parsed = parseCode(code.removeprefix("code: "))
        self.assertEqual(parsed.key, self.identity.key)
        self.assertEqual((parsed.host, parsed.port), ("::1", 9877))
        self.assertEqual(fingerprint, f"fingerprint: {self.identity.key.fingerprint}")
        self.assertEqual(name, "name: living room")

    def test_badHost(self) -> None:
        """
        A host that nobody could dial is refused.
        """
        self.assertRaises(BadCode, describeIdentity, self.identity, "a b", 1, False)

    def test_qr(self) -> None:
        """
        The blocks are the modules of the code's QR symbol, within a quiet zone
        of four, and fit a terminal of 80 columns and 24 lines.
        """
        plain = describeIdentity(self.identity, "192.0.2.7", 9876, False)
        shown = describeIdentity(self.identity, "192.0.2.7", 9876, True)
        text, _, blocks = shown.partition("\n\n")
        self.assertEqual(text, plain)
        rows: list[list[int]] = []
        for line in blocks.split("\n"):
            pairs = [DARK[character] for character in line]
            rows.append([upper for upper, _ in pairs])
            rows.append([lower for _, lower in pairs])
        code = text.split("\n")[0].removeprefix("code: ")
        symbol = segno.make(code, error="m", micro=False)
        size = len(symbol.matrix)
        inner = [row[4 : 4 + size] for row in rows[4 : 4 + size]]
        self.assertEqual(inner, [list(row) for row in symbol.matrix])
        for row in rows[:4] + rows[4 + size : 8 + size]:
            self.assertEqual(row, [0] * (size + 8))
        self.assertLess(size + 8, 80)
        self.assertLessEqual(len(blocks.split("\n")), 24)

    def test_noSecret(self) -> None:
        """
        F95: nothing of the secret is shown.
        """
        shown = describeIdentity(self.identity, "host", 9876, True)
        self.assertNotIn("ssss", shown)


class GuessHostTests(SynchronousTestCase):
    """
    `guessHost` says by what others would reach this machine.
    """

    def routes(self, **addresses: str) -> Callable[[socket.AddressFamily, str], str]:
        """
        Return a routing table with an address of ours for each family it knows.
        """

        def routed(family: socket.AddressFamily, destination: str) -> str:
            address = addresses.get(family.name)
            if address is None:
                raise OSError("Network is unreachable")
            return address

        return routed

    def test_IPv4(self) -> None:
        """
        The IPv4 address of the default route comes first.
        """
        routes = self.routes(AF_INET="192.0.2.7", AF_INET6="2001:db8::7")
        self.assertEqual(guessHost(routes), "192.0.2.7")

    def test_IPv6(self) -> None:
        """
        Without IPv4 it is the IPv6 address.
        """
        self.assertEqual(guessHost(self.routes(AF_INET6="2001:db8::7")), "2001:db8::7")

    def test_hostname(self) -> None:
        """
        Without any route it is the host name.
        """
        self.assertEqual(guessHost(self.routes(), lambda: "gaming-pc"), "gaming-pc")

    def test_noHostname(self) -> None:
        """
        Where the host name cannot stand in a code it is loopback.
        """
        for name in ("", "my pc", "(none)"):
            self.assertEqual(
                guessHost(self.routes(), lambda name=name: name), "127.0.0.1"
            )

    def test_thisMachine(self) -> None:
        """
        On the machine that runs this the guess can stand in a code.
        """
        host = guessHost()
        self.assertEqual(checkHost(host), host)
