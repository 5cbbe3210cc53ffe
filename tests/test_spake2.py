"""
Tests for `rootstream.protocol.spake2`.
"""

from __future__ import annotations

import hashlib
from typing import Any

from nacl import bindings as sodium
from twisted.trial.unittest import SynchronousTestCase

from rootstream.errors import BadPacket
from rootstream.protocol import spake2
from rootstream.protocol.spake2 import Confirmation, Side, scalarOf, schedule

NAMES = (b"anna", b"bob")
SECRET = scalarOf(hashlib.sha512(b"a phrase").digest())
OTHER = scalarOf(hashlib.sha512(b"another phrase").digest())


def published(letter: str) -> bytes:
    """
    Find M or N as the RFC's appendix A does: the first hash of a chain that is a point.
    """
    chain = f"edwards25519 point generation seed ({letter})".encode()
    for _ in range(1000):
        chain = hashlib.sha256(chain).digest()
        if sodium.crypto_core_ed25519_is_valid_point(chain):
            return chain
    raise AssertionError("no point")


class ScheduleTests(SynchronousTestCase):
    """
    The transcript and what is derived from it, which no group enters.
    """

    def test_published(self) -> None:
        """
        RFC 9382, appendix B, first vector (P-256): the same transcript gives the same
        confirmations.
        """
        made = schedule(
            (b"server", b"client"),
            (
                bytes.fromhex(
                    "04a56fa807caaa53a4d28dbb9853b9815c61a411118a6fe516a8798434751470f9"
                    "010153ac33d0d5f2047ffdb1a3e42c9b4e6be662766e1eeb4116988ede5f912c"
                ),
                bytes.fromhex(
                    "0406557e482bd03097ad0cbaa5df82115460d951e3451962f1eaf4367a420676d0"
                    "9857ccbc522686c83d1852abfa8ed6e4a1155cf8f1543ceca528afb591a1e0b7"
                ),
            ),
            bytes.fromhex(
                "0412af7e89717850671913e6b469ace67bd90a4df8ce45c2af19010175e37eed69"
                "f75897996d539356e2fa6a406d528501f907e04d97515fbe83db277b715d3325"
            ),
            bytes.fromhex(
                "2ee57912099d31560b3a44b1184b9b4866e904c49d12ac5042c97dca461b1a5f"
            ),
            b"",
        )
        self.assertEqual(
            made.byA.hex(),
            "58ad4aa88e0b60d5061eb6b5dd93e80d9c4f00d127c65b3b35b1b5281fee38f0",
        )
        self.assertEqual(
            made.byB.hex(),
            "d3e2e547f1ae04f2dbdbf0fc4b79f8ecff2dff314b5d32fe9fcef2fb26dc459b",
        )

    def test_quiet(self) -> None:
        """
        What confirms does not show in a traceback.
        """
        self.assertNotIn("aa", repr(Confirmation(b"aa", b"aa")))


class GroupTests(SynchronousTestCase):
    """
    The exchange over edwards25519.
    """

    def sides(self, a: bytes = SECRET, b: bytes = SECRET) -> tuple[Side, Side]:
        return Side(a, True), Side(b, False)

    def test_constants(self) -> None:
        """
        M and N are the RFC's: hashes of its seeds, so nobody knows their logarithms.
        """
        self.assertEqual(spake2._M, published("M"))
        self.assertEqual(spake2._N, published("N"))

    def test_agree(self) -> None:
        """
        Who has the same secret gets the same confirmations, and different ones for
        each side and each exchange.
        """
        seen = set()
        for _ in range(3):
            a, b = self.sides()
            first = a.finish(b.share, NAMES, b"about")
            self.assertEqual(first, b.finish(a.share, NAMES, b"about"))
            seen |= {first.byA, first.byB}
        self.assertEqual(len(seen), 6)

    def test_disagree(self) -> None:
        """
        Another secret, another name on either side, or another matter gives nothing in
        common; neither does one's own share sent back.
        """
        a, b = self.sides()
        mine = a.finish(b.share, NAMES, b"about")
        stranger = Side(OTHER, False)
        for theirs in (
            stranger.finish(a.share, NAMES, b"about"),
            b.finish(a.share, (b"eve", b"bob"), b"about"),
            b.finish(a.share, (b"anna", b"eve"), b"about"),
            b.finish(a.share, (b"annab", b"ob"), b"about"),
            b.finish(a.share, NAMES, b"another matter"),
            a.finish(a.share, NAMES, b"about"),
        ):
            self.assertNotEqual(mine.byA, theirs.byA)
            self.assertNotEqual(mine.byB, theirs.byB)

    def test_badShares(self) -> None:
        """
        A share of a small group, or that is no point, or not 32 bytes, is refused: it
        would make the key one of a few.
        """
        a, b = self.sides()
        order8 = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"
        one = bytes([1]) + bytes(31)
        mixed = sodium.crypto_core_ed25519_add(b.share, bytes.fromhex(order8))
        shares: list[Any] = [
            b"",
            b.share[:-1],
            b.share + b"\0",
            bytes(32),
            b"\xff" * 32,
            one,
            bytes.fromhex(order8),
            mixed,
        ]
        for share in shares:
            self.assertRaises(BadPacket, a.finish, share, NAMES, b"")

    def test_neutralKey(self) -> None:
        """
        A share that is only the blinding would make the key neutral for everyone who
        knows the secret; it is refused.
        """
        blind = sodium.crypto_scalarmult_ed25519_noclamp(SECRET, spake2._N)
        a, _ = self.sides()
        self.assertRaises(BadPacket, a.finish, blind, NAMES, b"")
