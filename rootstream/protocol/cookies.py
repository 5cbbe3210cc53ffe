"""
Cookies: what shows that a source can receive at the address it sends from.

A cookie is a MAC over transport, address and port under a secret of ours, so the
responder keeps nothing for it.  A RETRY carries it sealed under a key that the
INIT leads to, so only somebody who saw the INIT can read or forge one.

This is WireGuard's cookie reply (whitepaper, section 5.4.7) with two differences:
the transport enters the MAC, and ChaCha20-Poly1305 replaces XChaCha20, the long
random nonce going into the key instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import blake2s
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from rootstream.errors import BadPacket
from rootstream.interfaces import IPath
from rootstream.protocol.constants import COOKIE_LIFE, RETRY_SIZE, TYPE_RETRY
from rootstream.protocol.limiter import parseAddress
from rootstream.protocol.noise import keyedMac

__all__ = ["CookieJar", "openRetry"]

#: type and flags, receiver index.
_HEADER: Final = 8
_NONCE: Final = slice(_HEADER, _HEADER + 16)
#: Each RETRY has a key of its own, so the AEAD's nonce can be fixed.
_ZERO: Final = bytes(12)


class CookieJar:
    """
    The responder's secret, and the cookies made with it.

    The secret changes every 120 s and the one before stays good, so a cookie is
    accepted for 120 to 240 s.  The changes follow a fixed grid of time, not the
    calls: a secret that nobody asked for does not live longer.
    """

    def __init__(self, random: Callable[[int], bytes] = os.urandom) -> None:
        self._random = random
        # Both secrets are made by the first call, which knows the time.
        self._current = self._previous = b""
        self._period: int | None = None

    def cookie(self, path: IPath, now: float) -> bytes:
        """
        The cookie that the other end of ``path`` is told now.
        """
        return self.valid(path, now)[0]

    def valid(self, path: IPath, now: float) -> tuple[bytes, bytes]:
        """
        The cookies that are accepted now on ``path``: current and previous.
        """
        self._renew(now)
        host, port = path.address
        address = parseAddress(host)
        source = (
            bytes((path.transport, address.version))
            + address.packed
            + port.to_bytes(2, "little")
        )
        return keyedMac(self._current, source), keyedMac(self._previous, source)

    def retry(self, init: bytes, path: IPath, now: float, cookieKey: bytes) -> bytes:
        """
        The RETRY that answers ``init``, a well-formed INIT with a right mac1.
        """
        header = bytes((TYPE_RETRY, 0, 0, 0)) + init[4:8]
        nonce = self._random(16)
        key = _retryKey(cookieKey, nonce, init[144:160])
        sealed = ChaCha20Poly1305(key).encrypt(_ZERO, self.cookie(path, now), header)
        return header + nonce + sealed

    def _renew(self, now: float) -> None:
        period = int(now // COOKIE_LIFE)
        if period == self._period:
            return
        self._previous = (
            self._current if period - 1 == self._period else self._random(32)
        )
        self._current = self._random(32)
        self._period = period


def openRetry(packet: bytes, initMac1: bytes, cookieKey: bytes) -> bytes:
    """
    The cookie in a RETRY that answers the INIT whose mac1 is ``initMac1``.
    """
    if len(packet) != RETRY_SIZE or packet[:4] != bytes((TYPE_RETRY, 0, 0, 0)):
        raise BadPacket("not a RETRY")
    key = _retryKey(cookieKey, packet[_NONCE], initMac1)
    try:
        return ChaCha20Poly1305(key).decrypt(
            _ZERO, packet[_NONCE.stop :], packet[:_HEADER]
        )
    except InvalidTag as error:
        raise BadPacket("a RETRY does not open") from error


def _retryKey(cookieKey: bytes, nonce: bytes, initMac1: bytes) -> bytes:
    return blake2s(nonce + initMac1, key=cookieKey).digest()
