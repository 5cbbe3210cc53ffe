"""
The pairing exchange: a viewer and a host that know one phrase trust each other's keys.

It runs inside a session, in PAIRING frames, and is SPAKE2 with both keys, the viewer's
name and the session itself in its transcript (docs/protocol.rst, "Pairing").  Four
messages, the viewer's first.  They may be lost: the viewer repeats its own until it is
answered, and the host answers a repeated one again.

Whoever lacks the phrase has one guess an exchange and learns no more.  The host counts
a try when it has answered, since the answer tells a guess from another.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rootstream.errors import BadCode, BadPacket, WrongPhrase
from rootstream.identity import KEY_SIZE, PeerKey, cleanName
from rootstream.protocol.spake2 import (
    POINT_SIZE,
    TAG_SIZE,
    Confirmation,
    Side,
    scalarOf,
)

__all__ = ["Guest", "HostPairing", "ViewerPairing", "secretOf"]

_OFFER: Final = 1
_ANSWER: Final = 2
_PROOF: Final = 3
_WELCOME: Final = 4

_CONTEXT: Final = b"rootstream pairing 1"
#: Of a name in UTF-8.
_MAX_NAME: Final = 64


def secretOf(phrase: str) -> bytes:
    """
    The scalar that a phrase stands for.  Takes a twentieth of a second on purpose.
    """
    uniform = hashlib.scrypt(
        phrase.encode(), salt=_CONTEXT, n=1 << 14, r=8, p=1, dklen=64
    )
    return scalarOf(uniform)


@dataclass(frozen=True, slots=True)
class Guest:
    """
    A viewer that has proven that it knows the phrase, and the name that it gave.
    """

    key: PeerKey
    name: str


def _identities(viewer: bytes, name: bytes, host: bytes) -> tuple[bytes, bytes]:
    return b"viewer" + viewer + name, b"host" + host


def _named(name: str) -> bytes:
    return cleanName(name).encode()


class ViewerPairing:
    """
    The viewer's side, for one session.  ``binding`` is what the two ends of that have
    in common.

    @ivar message: what to send, again and again until it changes; None at the end.
    @ivar host: the name that the host gave, once it has taken us in.
    """

    def __init__(
        self,
        secret: bytes,
        key: PeerKey,
        name: str,
        host: PeerKey,
        binding: bytes,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._side = Side(secret, True, random)
        self._identities = _identities(key.ed25519, _named(name), host.ed25519)
        self._about = _CONTEXT + binding
        self.message: bytes | None = (
            bytes((_OFFER,)) + self._side.share + key.ed25519 + _named(name)
        )
        self.host: str | None = None

    def receive(self, message: bytes) -> None:
        """
        Take a message of the host's; one that came before is ignored.

        :raise WrongPhrase: The host has another phrase, or is not the one that the
            code names.
        :raise BadPacket: The message is none.
        """
        kind, body = message[0], message[1:]
        if self.message is None:
            # Whatever comes now was sent before the host knew.
            return
        proven = self.message[0] == _PROOF
        if kind == _WELCOME and proven:
            if len(body) > _MAX_NAME:
                raise BadPacket("a name that is too long")
            self.message = None
            self.host = cleanName(body.decode("utf-8", "replace"))
        elif kind != _ANSWER:
            raise BadPacket("a pairing message out of order")
        elif not proven:
            self._answered(body)

    def _answered(self, body: bytes) -> None:
        if len(body) != POINT_SIZE + TAG_SIZE:
            raise BadPacket("a pairing answer of the wrong size")
        made = self._side.finish(body[:POINT_SIZE], self._identities, self._about)
        if not hmac.compare_digest(made.byB, body[POINT_SIZE:]):
            raise WrongPhrase(
                "the host has another phrase; look at what it shows now and try again"
            )
        self.message = bytes((_PROOF,)) + made.byA


class HostPairing:
    """
    The host's side, for one session: it answers, and never speaks first.

    @ivar tried: whether the viewer has used up one of its tries.
    @ivar guest: who has proven to know the phrase.
    """

    def __init__(
        self,
        secret: bytes,
        host: PeerKey,
        remote: bytes,
        binding: bytes,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._side = Side(secret, False, random)
        self._host = host
        self._remote = remote
        self._about = _CONTEXT + binding
        self._offer: bytes | None = None
        self._offered: Guest | None = None
        self._answer = b""
        self._expected: Confirmation | None = None
        self._welcome: bytes | None = None
        self.guest: Guest | None = None

    @property
    def tried(self) -> bool:
        return self._offer is not None

    def receive(self, message: bytes) -> bytes | None:
        """
        Take a message of the viewer's; returns what to answer.  When it is the proof,
        `guest` is set, and nothing is answered before `welcome`.

        :raise WrongPhrase: The viewer has another phrase.
        :raise BadPacket: The message is none, or a second try.
        """
        kind = message[0]
        if kind == _OFFER:
            return self._offerReceived(message)
        if kind != _PROOF or self._expected is None:
            raise BadPacket("a pairing message out of order")
        if not hmac.compare_digest(self._expected.byA, message[1:]):
            raise WrongPhrase("the viewer has another phrase")
        self.guest = self._offered
        return self._welcome

    def welcome(self, name: str) -> bytes:
        """
        The last message, once the guest is stored: the host's name.
        """
        self._welcome = bytes((_WELCOME,)) + _named(name)
        return self._welcome

    def _offerReceived(self, offer: bytes) -> bytes:
        if self._offer is not None:
            if offer != self._offer:
                raise BadPacket("a second try in one session")
            return self._answer
        share = offer[1 : 1 + POINT_SIZE]
        rest = offer[1 + POINT_SIZE :]
        key, name = rest[:KEY_SIZE], rest[KEY_SIZE:]
        if len(name) > _MAX_NAME:
            raise BadPacket("a name that is too long")
        try:
            guest = PeerKey.fromEd25519(key)
        except BadCode as error:
            raise BadPacket("a pairing offer without a key") from error
        if guest.x25519 != self._remote:
            raise BadPacket("a pairing offer with somebody else's key")
        identities = _identities(key, name, self._host.ed25519)
        self._expected = self._side.finish(share, identities, self._about)
        self._offer = offer
        self._offered = Guest(guest, cleanName(name.decode("utf-8", "replace")))
        self._answer = bytes((_ANSWER,)) + self._side.share + self._expected.byB
        return self._answer
