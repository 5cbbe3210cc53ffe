"""
SPAKE2: two who share a short secret find out, and nobody else does (RFC 9382).

The group is edwards25519, the hash SHA-256, the derivation HKDF and the confirmation
HMAC.  Whoever lacks the secret gets one guess at it for each exchange, and learns from
what passes only whether that guess was right.  The arithmetic is libsodium's, which
takes the same time for every secret.

CPace would do as well; PyNaCl has no ristretto255, and its other groups need a map to
the curve that PyNaCl does not have either.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from nacl import bindings as sodium

from rootstream.errors import BadPacket

__all__ = ["POINT_SIZE", "Confirmation", "Side", "scalarOf", "schedule"]

POINT_SIZE: Final = 32
TAG_SIZE: Final = 32
_HALF: Final = 16

#: Section 6 of the RFC: points whose logarithms nobody knows.
_M: Final = bytes.fromhex(
    "d048032c6ea0b6d697ddc2e86bda85a33adac920f1bf18e1b0c6d166a5cecdaf"
)
_N: Final = bytes.fromhex(
    "d3bfb518f44f3430f29d0c92af503865a1ed3281dc69b35dd868ba85f886c4ab"
)
_COFACTOR: Final = (8).to_bytes(32, "little")


def scalarOf(uniform: bytes) -> bytes:
    """
    The scalar, little-endian, of 64 uniform bytes.
    """
    return sodium.crypto_core_ed25519_scalar_reduce(uniform)


@dataclass(frozen=True, slots=True)
class Confirmation:
    """
    What A and B send to show that they had the same secret.
    """

    byA: bytes
    byB: bytes

    def __repr__(self) -> str:
        # Whoever reads a traceback must not be able to confirm.
        return "<Confirmation>"


def schedule(
    identities: tuple[bytes, bytes],
    shares: tuple[bytes, bytes],
    key: bytes,
    secret: bytes,
    about: bytes,
) -> Confirmation:
    """
    The end of the exchange: the transcript's confirmations (sections 3.3 and 4).

    ``key`` is the shared point and ``secret`` the scalar, both encoded; ``about`` is
    what both must agree on besides.
    """
    transcript = b"".join(
        len(part).to_bytes(8, "little") + part
        for part in (*identities, *shares, key, secret)
    )
    confirming = hashlib.sha256(transcript).digest()[_HALF:]
    extracted = _mac(bytes(32), confirming)
    keys = _mac(extracted, b"ConfirmationKeys" + about + b"\x01")
    return Confirmation(_mac(keys[:_HALF], transcript), _mac(keys[_HALF:], transcript))


def _mac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


class Side:
    """
    One side of one exchange: A, who begins, or B.

    @ivar share: what to send the other side.
    """

    def __init__(
        self,
        secret: bytes,
        isA: bool,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._secret = secret
        self._isA = isA
        self._exponent = scalarOf(random(64))
        blind = sodium.crypto_scalarmult_ed25519_noclamp(secret, _M if isA else _N)
        self.share = sodium.crypto_core_ed25519_add(
            sodium.crypto_scalarmult_ed25519_base_noclamp(self._exponent), blind
        )

    def finish(
        self, theirs: bytes, identities: tuple[bytes, bytes], about: bytes
    ) -> Confirmation:
        """
        The confirmations, given the other side's share; the names of A and B in
        ``identities``.

        :raise BadPacket: The share is no point of the group, or makes the key none.
        """
        if len(theirs) != POINT_SIZE or not (
            sodium.crypto_core_ed25519_is_valid_point(theirs)
        ):
            raise BadPacket("a share that is no point of the group")
        blind = sodium.crypto_scalarmult_ed25519_noclamp(
            self._secret, _N if self._isA else _M
        )
        # The factor 8 is for groups whose points are not judged; it costs nothing.
        exponent = sodium.crypto_core_ed25519_scalar_mul(self._exponent, _COFACTOR)
        try:
            key = sodium.crypto_scalarmult_ed25519_noclamp(
                exponent, sodium.crypto_core_ed25519_sub(theirs, blind)
            )
        except RuntimeError:
            raise BadPacket("a share that makes the key known to all") from None
        ours = self.share
        shares = (ours, theirs) if self._isA else (theirs, ours)
        return schedule(identities, shares, key, self._secret, about)
