"""
Tests for `rootstream.protocol.noise`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from twisted.trial.unittest import SynchronousTestCase

from rootstream.errors import BadPacket
from rootstream.protocol.noise import (
    HandshakeState,
    SymmetricState,
    keyedMac,
    publicKey,
)

VECTORS = Path(__file__).with_name("vectors") / "noise-ik.json"

#: Points whose multiples by a clamped scalar are all zero, as published at
#: cr.yp.to/ecdh.html: 0, 1, two of order 8, p - 1, p and p + 1.
LOW_ORDER = [
    bytes(32),
    b"\1" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    *((2**255 - 19 + step).to_bytes(32, "little") for step in (-1, 0, 1)),
]

INITIATOR = bytes(range(32))
RESPONDER = bytes(range(32, 64))
PSK = bytes(range(64, 96))
PROLOGUE = b"prologue"


def pair(
    initiatorPsk: bytes | None = PSK, responderPsk: bytes | None = PSK
) -> tuple[HandshakeState, HandshakeState]:
    """
    Both sides of a handshake that has not begun.
    """
    return (
        HandshakeState.initiator(
            PROLOGUE, INITIATOR, publicKey(RESPONDER), initiatorPsk
        ),
        HandshakeState.responder(PROLOGUE, RESPONDER, responderPsk),
    )


def flips(data: bytes) -> list[bytes]:
    """
    ``data`` with each of its bits flipped in turn.
    """
    whole = int.from_bytes(data, "little")
    return [
        (whole ^ 1 << bit).to_bytes(len(data), "little") for bit in range(len(data) * 8)
    ]


class VectorTests(SynchronousTestCase):
    """
    The published vectors of cacophony, noise-c and snow.
    """

    def check(self, vector: dict[str, Any]) -> None:
        """
        Run one vector's handshake and transport messages, from both sides.
        """
        fields = {
            name: bytes.fromhex(value)
            for name, value in vector.items()
            if name.startswith(("init_", "resp_")) and isinstance(value, str)
        }
        psks = vector.get("init_psks")
        psk = bytes.fromhex(psks[0]) if psks else None
        initiator = HandshakeState.initiator(
            fields["init_prologue"],
            fields["init_static"],
            fields["init_remote_static"],
            psk,
        )
        responder = HandshakeState.responder(
            fields["resp_prologue"], fields["resp_static"], psk
        )
        texts = [
            (bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"]))
            for message in vector["messages"]
        ]
        (first, firstSealed), (second, secondSealed), *rest = texts

        sealed = initiator.writeInit(first, fields["init_ephemeral"])
        self.assertEqual(sealed, firstSealed)
        static = responder.readStatic(sealed)
        self.assertEqual(static, publicKey(fields["init_static"]))
        self.assertEqual(responder.readInitPayload(), first)
        sealed = responder.writeResp(second, fields["resp_ephemeral"])
        self.assertEqual(sealed, secondSealed)
        self.assertEqual(initiator.readResp(sealed), second)
        self.assertEqual(initiator.handshakeHash, responder.handshakeHash)
        if "handshake_hash" in vector:
            self.assertEqual(initiator.handshakeHash.hex(), vector["handshake_hash"])

        toResponder, toInitiator = initiator.split()
        self.assertEqual(responder.split(), (toInitiator, toResponder))
        # The initiator begins, and they take turns; each key counts on its own.
        for number, (text, sealed) in enumerate(rest):
            key = ChaCha20Poly1305(toInitiator if number % 2 else toResponder)
            nonce = bytes(4) + (number // 2).to_bytes(8, "little")
            self.assertEqual(key.encrypt(nonce, text, b""), sealed)

    def test_published(self) -> None:
        """
        All four published handshakes come out byte for byte, with their hashes and
        transport messages.
        """
        vectors = json.loads(VECTORS.read_text())["vectors"]
        self.assertEqual(len(vectors), 4)
        for vector in vectors:
            self.check(vector)

    def test_publishedPattern(self) -> None:
        """
        One of the published vectors is for the very pattern that we speak.
        """
        vectors = json.loads(VECTORS.read_text())["vectors"]
        names = [vector["protocol_name"] for vector in vectors]
        self.assertIn("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s", names)

    def test_publicKey(self) -> None:
        """
        `publicKey` gives the public key of RFC 7748, section 6.1.
        """
        private = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"
        public = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
        self.assertEqual(publicKey(bytes.fromhex(private)).hex(), public)

    def test_keyedMac(self) -> None:
        """
        `keyedMac` is 16 bytes and depends on the key and on the message.
        """
        macs = {keyedMac(key, text) for key in (b"a", b"b") for text in (b"", b"c")}
        self.assertEqual({len(mac) for mac in macs}, {16})
        self.assertEqual(len(macs), 4)


class HandshakeTests(SynchronousTestCase):
    """
    `HandshakeState` against itself and against forgers.
    """

    def test_bitsOfInit(self) -> None:
        """
        A first message with any bit flipped is refused (F10).
        """
        initiator, _ = pair()
        for forged in flips(initiator.writeInit(b"")):
            _, responder = pair()
            with self.assertRaises(BadPacket):
                responder.readStatic(forged)
                responder.readInitPayload()

    def test_lengthsOfInit(self) -> None:
        """
        A first message cut or lengthened anywhere is refused (F11).
        """
        initiator, _ = pair()
        message = initiator.writeInit(b"payload")
        cut = [message[:length] for length in range(len(message))]
        for forged in [*cut, message + b"\0", message + bytes(100)]:
            _, responder = pair()
            with self.assertRaises(BadPacket):
                responder.readStatic(forged)
                responder.readInitPayload()

    def test_forgedResponses(self) -> None:
        """
        The true second message opens after forgeries of every bit and length
        (F7): each failure leaves the state as it was.
        """
        initiator, responder = pair()
        responder.readStatic(initiator.writeInit(b"to"))
        responder.readInitPayload()
        message = responder.writeResp(b"back")
        before = initiator.handshakeHash
        cut = [message[:length] for length in range(len(message))]
        for forged in [*cut, message + b"\0", *flips(message)]:
            self.assertRaises(BadPacket, initiator.readResp, forged)
            self.assertEqual(initiator.handshakeHash, before)
        self.assertEqual(initiator.readResp(message), b"back")
        self.assertEqual(initiator.split(), responder.split()[::-1])

    def test_wrongPrologue(self) -> None:
        """
        Sides with different prologues do not understand each other (F26).
        """
        initiator, _ = pair()
        responder = HandshakeState.responder(b"prelude", RESPONDER, PSK)
        message = initiator.writeInit(b"")
        self.assertRaises(BadPacket, responder.readStatic, message)

    def test_wrongResponder(self) -> None:
        """
        Only the responder that was called can read who is calling.
        """
        initiator, _ = pair()
        other = HandshakeState.responder(PROLOGUE, bytes(32), PSK)
        message = initiator.writeInit(b"")
        self.assertRaises(BadPacket, other.readStatic, message)

    def test_wrongPsk(self) -> None:
        """
        A wrong PSK shows in the second message and nowhere earlier: the responder
        cannot tell it, and the initiator gets no keys (F17).
        """
        initiator, responder = pair(responderPsk=bytes(32))
        responder.readStatic(initiator.writeInit(b"to"))
        self.assertEqual(responder.readInitPayload(), b"to")
        message = responder.writeResp(b"back")
        self.assertRaises(BadPacket, initiator.readResp, message)

    def test_lowOrderEphemerals(self) -> None:
        """
        A low-order ephemeral is refused on both sides, with the unused top bit of
        the point clear or set (F14).
        """
        initiator, responder = pair()
        message = initiator.writeInit(b"")
        responder.readStatic(message)
        responder.readInitPayload()
        answer = responder.writeResp(b"")
        for point in LOW_ORDER:
            for bad in (point, point[:31] + bytes((point[31] | 0x80,))):
                _, responder = pair()
                error = self.assertRaises(
                    BadPacket, responder.readStatic, bad + message[32:]
                )
                self.assertIn("all-zero", str(error))
                error = self.assertRaises(
                    BadPacket, initiator.readResp, bad + answer[32:]
                )
                self.assertIn("all-zero", str(error))

    def test_freshEphemerals(self) -> None:
        """
        Ephemeral keys come from the system's generator, a new one each time (F28).
        """
        initiator, responder = pair()
        message = initiator.writeInit(b"")
        self.assertNotEqual(message[:32], pair()[0].writeInit(b"")[:32])
        responder.readStatic(message)
        responder.readInitPayload()
        with mock.patch("os.urandom", lambda size: b"\7" * size):
            answer = responder.writeResp(b"")
        self.assertEqual(answer[:32], publicKey(b"\7" * 32))


class SymmetricStateTests(SynchronousTestCase):
    """
    `SymmetricState` on its own.
    """

    def test_copy(self) -> None:
        """
        A copy goes its own way.
        """
        state = SymmetricState(b"name")
        state.mixKey(b"shared")
        copy = state.copy()
        before = state.hash
        sealed = copy.seal(b"text")
        self.assertEqual(state.hash, before)
        self.assertEqual(state.open(sealed), b"text")
        self.assertEqual(state.hash, copy.hash)

    def test_openFails(self) -> None:
        """
        A text that does not open leaves the state as it was.
        """
        state = SymmetricState(b"name")
        state.mixKey(b"shared")
        sealed = state.copy().seal(b"text")
        self.assertRaises(BadPacket, state.open, sealed[:-1] + b"\0\0")
        self.assertEqual(state.open(sealed), b"text")
