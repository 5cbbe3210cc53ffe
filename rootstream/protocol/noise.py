"""
The Noise handshake that agrees on keys: ``Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s``.

This is Noise revision 34 for the one pattern that we speak, and nothing of our
packets: headers, MACs and payload formats belong to `rootstream.protocol.handshake`.
All keys are 32 raw bytes, X25519 throughout.  Without a PSK it runs plain IK, for
which there are more published vectors; on the wire a PSK is always mixed in.

Whatever goes wrong with bytes of the other side is a `BadPacket`.
"""

from __future__ import annotations

import hmac
import os
from functools import lru_cache
from hashlib import blake2s
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from rootstream.errors import BadPacket
from rootstream.protocol.constants import TAG

__all__ = ["HandshakeState", "SymmetricState", "keyedMac", "publicKey"]

KEY: Final = 32
#: An encrypted static key: the key and its tag.
SEALED_KEY: Final = KEY + TAG

# In IK and IKpsk2 each handshake key seals exactly one text before the next DH
# replaces it, so the nonce of Noise's CipherState never leaves zero.
_NONCE: Final = bytes(12)


def publicKey(private: bytes) -> bytes:
    """
    The X25519 public key of a private one.
    """
    return _static(private)[1]


def keyedMac(key: bytes, message: bytes) -> bytes:
    """
    ``MAC(key, message)`` of the protocol: keyed BLAKE2s with 16 bytes of output.
    """
    return blake2s(message, digest_size=16, key=key).digest()


def _raw(private: X25519PrivateKey) -> bytes:
    return private.public_key().public_bytes_raw()


@lru_cache(maxsize=8)
def _static(private: bytes) -> tuple[X25519PrivateKey, bytes]:
    """
    A key that outlives its handshakes, with its public half.  To load it costs as much
    as a DH, which every stranger could have had us do.
    """
    loaded = X25519PrivateKey.from_private_bytes(private)
    return loaded, _raw(loaded)


def _ephemeral(private: bytes | None) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(private or os.urandom(KEY))


def _exchange(private: X25519PrivateKey, public: bytes) -> bytes:
    """
    One DH.  OpenSSL fails on the all-zero result that the seven low-order points
    lead to; without that check an attacker who sends one knows the result.
    """
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise BadPacket("X25519 gave an all-zero result") from error


class SymmetricState:
    """
    Noise's SymmetricState (section 5.2): a chaining key, the hash of all that
    was said, and the key that seals the next text.
    """

    __slots__ = ("_chain", "_key", "hash")

    def __init__(self, protocolName: bytes) -> None:
        # Noise pads a name of up to 32 bytes instead; both of ours are longer.
        self.hash = blake2s(protocolName).digest()
        self._chain = self.hash
        self._key = b""

    def copy(self) -> SymmetricState:
        """
        A state that goes on from here without touching this one.
        """
        other = SymmetricState.__new__(SymmetricState)
        other.hash = self.hash
        other._chain = self._chain
        other._key = self._key
        return other

    def mixHash(self, data: bytes) -> None:
        """
        From here on both sides agree on ``data``, or nothing opens.
        """
        self.hash = blake2s(self.hash + data).digest()

    def mixKey(self, material: bytes) -> None:
        """
        Let ``material`` into the chain, and take a fresh sealing key from it.
        """
        self._chain, self._key = self._expand(material, 2)

    def mixKeyAndHash(self, psk: bytes) -> None:
        """
        Let a pre-shared key into the chain, the hash and the sealing key.
        """
        self._chain, toHash, self._key = self._expand(psk, 3)
        self.mixHash(toHash)

    def seal(self, text: bytes) -> bytes:
        """
        Encrypt ``text`` under all that was mixed so far, and mix the result in.
        """
        sealed = ChaCha20Poly1305(self._key).encrypt(_NONCE, text, self.hash)
        self.mixHash(sealed)
        return sealed

    def open(self, sealed: bytes) -> bytes:
        """
        The opposite of `seal`.  Changes nothing when it fails.
        """
        try:
            text = ChaCha20Poly1305(self._key).decrypt(_NONCE, sealed, self.hash)
        except InvalidTag as error:
            raise BadPacket("a handshake field does not open") from error
        self.mixHash(sealed)
        return text

    def split(self) -> tuple[bytes, bytes]:
        """
        The transport keys: initiator to responder, and back.
        """
        forward, backward = self._expand(b"", 2)
        return forward, backward

    def _expand(self, material: bytes, outputs: int) -> list[bytes]:
        """
        Noise's HKDF (section 4.3), which is RFC 5869 with the chain as its salt.
        """
        secret = hmac.digest(self._chain, material, blake2s)
        blocks: list[bytes] = []
        last = b""
        for number in range(1, outputs + 1):
            last = hmac.digest(secret, last + bytes((number,)), blake2s)
            blocks.append(last)
        return blocks


class HandshakeState:
    """
    One side of one handshake::

        <- s
        ...
        -> e, es, s, ss        writeInit          readStatic, readInitPayload
        <- e, ee, se, psk      readResp           writeResp

    Make one with `initiator` or `responder`, call its side's methods once each, in
    that order, then `split`.  The responder reads in two steps so that a stranger
    costs it one DH and no more: it looks at the static key before it goes on.

    A failure leaves a responder's state useless, and an initiator's untouched:
    anybody who saw the INIT can send a RESP that does not open, and the true one
    must still complete the handshake.
    """

    # Set by the steps: the initiator's own ephemeral key, and what the responder
    # keeps of the first message until it knows who wrote it.
    _ephemeral: X25519PrivateKey
    _remoteEphemeral: bytes
    _sealedPayload: bytes

    def __init__(
        self,
        prologue: bytes,
        isInitiator: bool,
        localPrivate: bytes,
        responderPublic: bytes | None,
        psk: bytes | None,
    ) -> None:
        pattern = b"IK" if psk is None else b"IKpsk2"
        self._symmetric = SymmetricState(
            b"Noise_" + pattern + b"_25519_ChaChaPoly_BLAKE2s"
        )
        self._symmetric.mixHash(prologue)
        self._local, self._localPublic = _static(localPrivate)
        # None for the one who is the responder.
        responderPublic = responderPublic or self._localPublic
        self._symmetric.mixHash(responderPublic)
        self._isInitiator = isInitiator
        self._psk = psk
        self._remoteStatic = responderPublic

    @classmethod
    def initiator(
        cls,
        prologue: bytes,
        localPrivate: bytes,
        remotePublic: bytes,
        psk: bytes | None,
    ) -> Self:
        """
        The side that knows whom it wants to talk to.
        """
        return cls(prologue, True, localPrivate, remotePublic, psk)

    @classmethod
    def responder(cls, prologue: bytes, localPrivate: bytes, psk: bytes | None) -> Self:
        """
        The side that learns from the first message who is calling.
        """
        return cls(prologue, False, localPrivate, None, psk)

    @property
    def handshakeHash(self) -> bytes:
        """
        The hash of all that both sides said so far.
        """
        return self._symmetric.hash

    def writeInit(self, payload: bytes, ephemeral: bytes | None = None) -> bytes:
        """
        The first message, with ``payload`` sealed in it.  ``ephemeral`` is a
        private key, given only to reproduce vectors.
        """
        symmetric = self._symmetric
        self._ephemeral = _ephemeral(ephemeral)
        public = _raw(self._ephemeral)
        self._mixEphemeral(symmetric, public)
        symmetric.mixKey(_exchange(self._ephemeral, self._remoteStatic))
        static = symmetric.seal(self._localPublic)
        symmetric.mixKey(_exchange(self._local, self._remoteStatic))
        return public + static + symmetric.seal(payload)

    def readStatic(self, message: bytes) -> bytes:
        """
        Who wrote this first message, as far as the message says: its static key
        is not proved before `readInitPayload` has returned, and its freshness
        not before the first packet under the new keys.
        """
        if len(message) < KEY + SEALED_KEY + TAG:
            raise BadPacket("a handshake message is too short")
        symmetric = self._symmetric
        self._remoteEphemeral = message[:KEY]
        self._mixEphemeral(symmetric, self._remoteEphemeral)
        symmetric.mixKey(_exchange(self._local, self._remoteEphemeral))
        self._remoteStatic = symmetric.open(message[KEY : KEY + SEALED_KEY])
        self._sealedPayload = message[KEY + SEALED_KEY :]
        return self._remoteStatic

    def readInitPayload(self) -> bytes:
        """
        The payload of the message that `readStatic` was given.
        """
        self._symmetric.mixKey(_exchange(self._local, self._remoteStatic))
        return self._symmetric.open(self._sealedPayload)

    def writeResp(self, payload: bytes, ephemeral: bytes | None = None) -> bytes:
        """
        The second message, with ``payload`` sealed in it.  ``ephemeral`` is a
        private key, given only to reproduce vectors.
        """
        symmetric = self._symmetric
        own = _ephemeral(ephemeral)
        public = _raw(own)
        self._mixEphemeral(symmetric, public)
        symmetric.mixKey(_exchange(own, self._remoteEphemeral))
        symmetric.mixKey(_exchange(own, self._remoteStatic))
        if self._psk is not None:
            symmetric.mixKeyAndHash(self._psk)
        return public + symmetric.seal(payload)

    def readResp(self, message: bytes) -> bytes:
        """
        The payload of the second message.  On failure nothing has changed.
        """
        if len(message) < KEY + TAG:
            raise BadPacket("a handshake message is too short")
        symmetric = self._symmetric.copy()
        ephemeral = message[:KEY]
        self._mixEphemeral(symmetric, ephemeral)
        symmetric.mixKey(_exchange(self._ephemeral, ephemeral))
        symmetric.mixKey(_exchange(self._local, ephemeral))
        if self._psk is not None:
            symmetric.mixKeyAndHash(self._psk)
        payload = symmetric.open(message[KEY:])
        self._symmetric = symmetric
        return payload

    def split(self) -> tuple[bytes, bytes]:
        """
        This side's keys after both messages: to send with, and to receive with.
        """
        forward, backward = self._symmetric.split()
        return (forward, backward) if self._isInitiator else (backward, forward)

    def _mixEphemeral(self, symmetric: SymmetricState, public: bytes) -> None:
        """
        The ``e`` token.  With a PSK the ephemeral enters the chain too, so that
        no two handshakes share a key (section 9.2).
        """
        symmetric.mixHash(public)
        if self._psk is not None:
            symmetric.mixKey(public)
