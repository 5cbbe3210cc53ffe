"""
Tests for `rootstream.protocol.cookies`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from rootstream.errors import BadPacket
from rootstream.interfaces import IPath, Transport
from rootstream.protocol.cookies import CookieJar, openRetry

INIT = bytes(range(176))
MAC1 = INIT[144:160]
KEY = bytes(range(100, 132))


@implementer(IPath)
@dataclass(frozen=True)
class StillPath:
    """
    A path that is only looked at.
    """

    transport: Transport
    address: tuple[str, int]
    backlog: int = 0
    local: str | None = None

    def sendPackets(self, packets: Sequence[bytes]) -> None:
        """
        Not used.
        """

    def authenticated(self) -> None:
        """
        Not used.
        """

    def chosen(self) -> None:
        """
        Not used.
        """

    def close(self) -> None:
        """
        Not used.
        """


def path(
    host: str = "192.0.2.1", port: int = 9876, transport: Transport = Transport.UDP
) -> StillPath:
    """
    A path to ``host``.
    """
    return StillPath(transport, (host, port))


class CookieTests(SynchronousTestCase):
    """
    `CookieJar.cookie` and `CookieJar.valid`.
    """

    def test_path(self) -> None:
        """
        The double used here is a path.
        """
        self.assertTrue(verifyObject(IPath, path()))

    def test_repeats(self) -> None:
        """
        The same source gets the same cookie again, and it is 16 bytes.
        """
        jar = CookieJar()
        self.assertEqual(jar.cookie(path(), 0.0), jar.cookie(path(), 119.9))
        self.assertEqual(len(jar.cookie(path(), 0.0)), 16)

    def test_elsewhere(self) -> None:
        """
        A cookie is refused from another address, port or transport (F9).
        """
        jar = CookieJar()
        cookie = jar.cookie(path(), 0.0)
        for other in (
            path(host="192.0.2.2"),
            path(host="2001:db8::1"),
            path(port=9877),
            path(port=9876 ^ 0x100),
            path(transport=Transport.TCP),
        ):
            self.assertNotIn(cookie, jar.valid(other, 0.0))
        self.assertIn(cookie, jar.valid(path(), 0.0))

    def test_families(self) -> None:
        """
        An IPv6 address never shares the cookie of an IPv4 one, except the mapped
        form of the same address; and a scope changes nothing.
        """
        jar = CookieJar()
        cookie = jar.cookie(path(), 0.0)
        self.assertEqual(jar.cookie(path("::ffff:192.0.2.1"), 0.0), cookie)
        self.assertNotEqual(jar.cookie(path("::192.0.2.1"), 0.0), cookie)
        scoped, plain = path("fe80::1%eth0"), path("fe80::1")
        self.assertEqual(jar.cookie(scoped, 0.0), jar.cookie(plain, 0.0))

    def test_expiry(self) -> None:
        """
        A cookie is accepted for 120 to 240 s and then refused (F9).
        """
        jar = CookieJar()
        early, late = jar.cookie(path(), 240.0), jar.cookie(path(), 359.9)
        self.assertEqual(early, late)
        self.assertEqual(jar.valid(path(), 360.0)[1], early)
        self.assertNotEqual(jar.cookie(path(), 479.9), early)
        self.assertIn(early, jar.valid(path(), 479.9))
        self.assertNotIn(early, jar.valid(path(), 480.0))

    def test_idleExpiry(self) -> None:
        """
        A secret that nobody asked for in the meantime expires all the same (F9).
        """
        jar = CookieJar()
        cookie = jar.cookie(path(), 0.0)
        self.assertNotIn(cookie, jar.valid(path(), 240.0))
        cookie = jar.cookie(path(), 240.0)
        self.assertNotIn(cookie, jar.valid(path(), 1e6))

    def test_secrets(self) -> None:
        """
        Two responders give different cookies, and a first cookie is made with a
        secret of 32 random bytes.
        """
        self.assertNotEqual(
            CookieJar().cookie(path(), 0.0), CookieJar().cookie(path(), 0.0)
        )
        asked = []

        def random(size: int) -> bytes:
            asked.append(size)
            return bytes(size)

        CookieJar(random).cookie(path(), 0.0)
        self.assertEqual(set(asked), {32})


class RetryTests(SynchronousTestCase):
    """
    `CookieJar.retry` and `openRetry`.
    """

    def setUp(self) -> None:
        self.jar = CookieJar()
        self.packet = self.jar.retry(INIT, path(), 0.0, KEY)

    def test_roundTrip(self) -> None:
        """
        Who sent the INIT reads the cookie of its path.
        """
        cookie = openRetry(self.packet, MAC1, KEY)
        self.assertEqual(cookie, self.jar.cookie(path(), 0.0))

    def test_layout(self) -> None:
        """
        A RETRY is 56 bytes, under a third of an INIT, and names the INIT's index.
        """
        self.assertEqual(len(self.packet), 56)
        self.assertEqual(self.packet[:8], b"\x23\0\0\0" + INIT[4:8])

    def test_freshNonce(self) -> None:
        """
        Two RETRY packets share no nonce, and so no key.
        """
        again = self.jar.retry(INIT, path(), 0.0, KEY)
        self.assertNotEqual(again[8:24], self.packet[8:24])

    def test_bits(self) -> None:
        """
        A RETRY with any bit flipped does not open (F8, F10).
        """
        whole = int.from_bytes(self.packet, "little")
        for bit in range(56 * 8):
            forged = (whole ^ 1 << bit).to_bytes(56, "little")
            self.assertRaises(BadPacket, openRetry, forged, MAC1, KEY)

    def test_lengths(self) -> None:
        """
        A RETRY cut or lengthened anywhere is refused (F11).
        """
        cut = [self.packet[:length] for length in range(56)]
        longer = [self.packet + bytes(extra) for extra in range(1, 100)]
        for forged in [*cut, *longer]:
            self.assertRaises(BadPacket, openRetry, forged, MAC1, KEY)

    def test_otherInit(self) -> None:
        """
        A RETRY to one INIT does not open for another, nor one of another
        responder (F8).
        """
        self.assertRaises(BadPacket, openRetry, self.packet, bytes(16), KEY)
        self.assertRaises(BadPacket, openRetry, self.packet, MAC1, bytes(32))

    @settings(deadline=None, max_examples=50)
    @given(st.binary(max_size=120), st.integers(0, 1000))
    def test_junk(self, junk: bytes, seed: int) -> None:
        """
        Whatever stands there, a RETRY that does not open is a `BadPacket` (F11).
        """
        self.assertRaises(BadPacket, openRetry, junk, MAC1, KEY)
        right = b"\x23\0\0\0" + Random(seed).randbytes(52)
        self.assertRaises(BadPacket, openRetry, right, MAC1, KEY)
