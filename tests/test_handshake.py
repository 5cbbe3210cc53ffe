"""
Tests for `rootstream.protocol.handshake`, and our own frozen vectors.

``tests/vectors/rootstream-v2.json`` holds what the first implementation sent for
fixed keys; `makeVectors` is how it was made.  After a deliberate change of the wire,
which needs a new protocol version, write it again from the directory above with
``python -m tests.test_handshake > tests/vectors/rootstream-v2.json``.
"""

from __future__ import annotations

import json
from pathlib import Path
from struct import pack
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rootstream.errors import BadPacket
from rootstream.interfaces import Transport
from rootstream.protocol.cookies import CookieJar
from rootstream.protocol.handshake import (
    Initiation,
    InitPayload,
    Invitation,
    RespPayload,
    cookieKey,
    mac1Key,
    prologue,
)
from rootstream.protocol.noise import (
    HandshakeState,
    SymmetricState,
    keyedMac,
    publicKey,
)
from rootstream.protocol.session import Session
from tests.test_cookies import StillPath
from tests.test_noise import LOW_ORDER, flips

VECTORS = Path(__file__).with_name("vectors") / "rootstream-v2.json"


def seed(number: int) -> bytes:
    """
    32 bytes that count upwards from ``number``.
    """
    return bytes(range(number, number + 32))


INITIATOR = seed(0)
INITIATOR_PUBLIC = publicKey(INITIATOR)
RESPONDER = seed(32)
RESPONDER_PUBLIC = publicKey(RESPONDER)
PSK = seed(64)
INDEX = 0x01020304
PAYLOAD = InitPayload(1_700_000_000_000, bytes(16), 0x1122334455667788)
PATH = StillPath(Transport.UDP, ("192.0.2.1", 9876))
#: type, ver_max, ver_min, flags, index.
HEADER = pack("<BBBBI", 0x21, 2, 2, 0, INDEX)


def initiation(
    psk: bytes = PSK,
    payload: InitPayload = PAYLOAD,
    cookie: bytes | None = None,
    ephemeral: bytes | None = None,
) -> Initiation:
    """
    An INIT from the one side to the other.
    """
    return Initiation(
        INITIATOR, RESPONDER_PUBLIC, psk, INDEX, payload, cookie, ephemeral
    )


def opened(packet: bytes, psk: bytes = PSK) -> Invitation:
    """
    The responder's side, with an INIT opened all the way.
    """
    invitation = Invitation(packet)
    invitation.openStatic(RESPONDER, psk)
    invitation.openPayload()
    return invitation


def withMac1(body: bytes, receiver: bytes) -> bytes:
    """
    ``body`` and the right mac1 after it: anybody who knows the receiver's public
    key can make one.
    """
    return body + keyedMac(mac1Key(receiver), body)


def makeInit(header: bytes) -> bytes:
    """
    An authentic INIT with a header of any kind.
    """
    noise = HandshakeState.initiator(prologue(header), INITIATOR, RESPONDER_PUBLIC, PSK)
    body = header + noise.writeInit(PAYLOAD.encode())
    return withMac1(body, RESPONDER_PUBLIC) + bytes(16)


def makeResp(init: bytes, payload: RespPayload) -> bytes:
    """
    An authentic RESP with a payload of any kind.
    """
    noise = HandshakeState.responder(prologue(init[:8]), RESPONDER, PSK)
    noise.readStatic(init[8:144])
    noise.readInitPayload()
    body = b"\x22\0\0\0" + init[4:8] + noise.writeResp(payload.encode())
    return withMac1(body, INITIATOR_PUBLIC)


def makeVectors() -> dict[str, Any]:
    """
    All packets of a handshake with a RETRY and of the first DATA each way, made
    from fixed keys, with what is needed to make them.
    """
    jar = CookieJar(lambda size: bytes(range(160, 160 + size)))
    instance, responderIndex = 0x99AABBCCDDEEFF00, 0x05060708
    first = initiation(ephemeral=seed(96))
    retry = jar.retry(first.packet, PATH, 0.0, cookieKey(RESPONDER_PUBLIC))
    cookie = first.openRetry(retry)
    payload = InitPayload(PAYLOAD.timestamp + 250, cookie, PAYLOAD.instance)
    second = initiation(payload=payload, cookie=cookie, ephemeral=seed(97))
    resp, respSend, respReceive = opened(second.packet).respond(
        responderIndex, instance, INITIATOR_PUBLIC, ephemeral=seed(128)
    )
    _, initSend, initReceive = second.openResponse(resp)
    confirm = b"\x0c"
    initData = Session(initSend, initReceive, INDEX, responderIndex, 0.0, True)
    respData = Session(respSend, respReceive, responderIndex, INDEX, 0.0, False)
    values = {
        "inputs": {
            "initiator_private": INITIATOR,
            "responder_private": RESPONDER,
            "psk": PSK,
            "init_ephemeral": seed(96),
            "second_init_ephemeral": seed(97),
            "resp_ephemeral": seed(128),
            "cookie_secret": seed(160),
            "retry_nonce": seed(160)[:16],
            "data_frames": confirm,
        },
        "outputs": {
            "init": first.packet,
            "retry": retry,
            "cookie": cookie,
            "second_init": second.packet,
            "resp": resp,
            "initiator_send_key": initSend,
            "initiator_receive_key": initReceive,
            "initiator_data": initData.seal(confirm),
            "responder_data": respData.seal(confirm),
        },
    }
    return {
        "protocol": "RootStream/2, docs/protocol.rst",
        "about": "An INIT, the RETRY to it, the INIT that follows, the RESP to that "
        "one, and the first DATA each way. Bytes are hexadecimal.",
        "path": {"transport": 1, "address": PATH.address[0], "port": PATH.address[1]},
        "init_index": INDEX,
        "resp_index": responderIndex,
        "init_instance": PAYLOAD.instance,
        "resp_instance": instance,
        "init_ts_ms": PAYLOAD.timestamp,
        "second_init_ts_ms": payload.timestamp,
        **{
            group: {name: value.hex() for name, value in members.items()}
            for group, members in values.items()
        },
    }


class VectorTests(SynchronousTestCase):
    """
    The wire does not change by accident.
    """

    def test_frozen(self) -> None:
        """
        Every packet comes out byte for byte as it was frozen.
        """
        self.assertEqual(makeVectors(), json.loads(VECTORS.read_text()))

    def test_dataOpens(self) -> None:
        """
        The frozen DATA packets open under the frozen keys, each on its own side.
        """
        vectors = json.loads(VECTORS.read_text())
        outputs = {
            name: bytes.fromhex(value) for name, value in vectors["outputs"].items()
        }
        send, receive = outputs["initiator_send_key"], outputs["initiator_receive_key"]
        ours, theirs = vectors["init_index"], vectors["resp_index"]
        initiator = Session(send, receive, ours, theirs, 0.0, True)
        responder = Session(receive, send, theirs, ours, 0.0, False)
        self.assertEqual(responder.open(outputs["initiator_data"]), b"\x0c")
        self.assertEqual(initiator.open(outputs["responder_data"]), b"\x0c")


class RoundTripTests(SynchronousTestCase):
    """
    A handshake between two honest sides.
    """

    def test_handshake(self) -> None:
        """
        Both sides end with the same keys and know what the other said.
        """
        payload = InitPayload(7, bytes(range(16)), 1 << 63, 5, 1200, 3)
        initiating = initiation(payload=payload)
        self.assertEqual(len(initiating.packet), 176)
        self.assertEqual((initiating.index, initiating.timestamp), (INDEX, 7))

        invitation = Invitation(initiating.packet)
        self.assertEqual(invitation.index, INDEX)
        self.assertEqual(invitation.ephemeral, initiating.packet[8:40])
        self.assertEqual(invitation.mac1, initiating.packet[144:160])
        self.assertTrue(invitation.checkMac1(mac1Key(RESPONDER_PUBLIC)))
        self.assertEqual(invitation.openStatic(RESPONDER, PSK), INITIATOR_PUBLIC)
        self.assertEqual(invitation.openPayload(), payload)
        resp, theirSend, theirReceive = invitation.respond(
            77, 88, INITIATOR_PUBLIC, caps=9
        )
        self.assertEqual(len(resp), 104)

        answer, send, receive = initiating.openResponse(resp)
        self.assertEqual(answer, RespPayload(77, 2, 2, 1400, 9, 88, 7))
        self.assertEqual((send, receive), (theirReceive, theirSend))
        self.assertNotEqual(send, receive)

    def test_mac1(self) -> None:
        """
        The mac1 of an INIT is right for the responder that was dialled alone.
        """
        invitation = Invitation(initiation().packet)
        self.assertFalse(invitation.checkMac1(mac1Key(INITIATOR_PUBLIC)))

    def test_mac2(self) -> None:
        """
        mac2 is right for the cookie that was given, current or previous, and for
        no other; without a cookie it is zeros and right for none.
        """
        cookie, other = seed(1)[:16], seed(2)[:16]
        invitation = Invitation(initiation(cookie=cookie).packet)
        self.assertTrue(invitation.checkMac2((cookie, other)))
        self.assertTrue(invitation.checkMac2((other, cookie)))
        self.assertFalse(invitation.checkMac2((other,)))
        plain = initiation().packet
        self.assertEqual(plain[160:], bytes(16))
        self.assertFalse(Invitation(plain).checkMac2((cookie, other)))

    def test_laterVersions(self) -> None:
        """
        An initiator that speaks version 2 among others is answered; one that does
        not is refused.
        """
        both = makeInit(pack("<BBBBI", 0x21, 3, 1, 0, INDEX))
        invitation = Invitation(both)
        self.assertEqual(invitation.openStatic(RESPONDER, PSK), INITIATOR_PUBLIC)
        for high, low in ((3, 3), (1, 1), (2, 3), (1, 2)):
            packet = makeInit(pack("<BBBBI", 0x21, high, low, 0, INDEX))
            self.assertRaises(BadPacket, Invitation, packet)


class InitTests(SynchronousTestCase):
    """
    What becomes of an INIT that is not as it should be.
    """

    def refused(self, packet: bytes) -> None:
        """
        With a right mac1 or not, ``packet`` does not open.
        """
        with self.assertRaises(BadPacket):
            opened(packet)

    def test_bits(self) -> None:
        """
        An INIT with any bit of its header or Noise fields flipped is refused, though
        its mac1 is right (F10, F26).
        """
        init = initiation().packet
        for body in flips(init[:144]):
            self.refused(withMac1(body, RESPONDER_PUBLIC) + bytes(16))

    def test_macBits(self) -> None:
        """
        An INIT with any bit flipped, mac2 apart, fails at its mac1, which costs no
        DH (F1, F10).
        """
        key = mac1Key(RESPONDER_PUBLIC)
        init = initiation().packet
        for forged in flips(init[:160]):
            try:
                invitation = Invitation(forged + init[160:])
            except BadPacket:
                continue
            self.assertFalse(invitation.checkMac1(key))

    def test_mac2Bits(self) -> None:
        """
        An INIT with any bit flipped, mac1 recomputed, fails at its mac2 (F9, F10).
        """
        cookie = seed(1)[:16]
        init = initiation(cookie=cookie).packet
        forgeries = [
            withMac1(body, RESPONDER_PUBLIC) + init[160:] for body in flips(init[:144])
        ]
        forgeries += [init[:160] + mac2 for mac2 in flips(init[160:])]
        for forged in forgeries:
            try:
                invitation = Invitation(forged)
            except BadPacket:
                continue
            self.assertFalse(invitation.checkMac2((cookie,)))

    def test_lengths(self) -> None:
        """
        An INIT cut or lengthened anywhere is refused (F11).
        """
        init = initiation().packet
        for length in range(176):
            self.assertRaises(BadPacket, Invitation, init[:length])
        for extra in range(1, 200):
            self.assertRaises(BadPacket, Invitation, init + bytes(extra))

    def test_zeroIndex(self) -> None:
        """
        An authentic INIT with index zero, or with a flag set, is refused.
        """
        for header in (
            pack("<BBBBI", 0x21, 2, 2, 0, 0),
            pack("<BBBBI", 0x21, 2, 2, 1, INDEX),
            pack("<BBBBI", 0x24, 2, 2, 0, INDEX),
        ):
            self.assertRaises(BadPacket, Invitation, makeInit(header))

    def craft(self, ephemeral: bytes, es: bytes, static: bytes, ss: bytes) -> bytes:
        """
        An INIT by somebody who chooses public keys and DH results freely.
        """
        symmetric = SymmetricState(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
        for data in (prologue(HEADER), RESPONDER_PUBLIC, ephemeral):
            symmetric.mixHash(data)
        symmetric.mixKey(ephemeral)
        symmetric.mixKey(es)
        sealedStatic = symmetric.seal(static)
        symmetric.mixKey(ss)
        body = HEADER + ephemeral + sealedStatic + symmetric.seal(PAYLOAD.encode())
        return withMac1(body, RESPONDER_PUBLIC) + bytes(16)

    def exchange(self, private: bytes) -> bytes:
        """
        An honest DH with the responder.
        """
        return X25519PrivateKey.from_private_bytes(private).exchange(
            X25519PublicKey.from_public_bytes(RESPONDER_PUBLIC)
        )

    def test_lowOrder(self) -> None:
        """
        An INIT that is right in all else, with a low-order ephemeral or static key
        and the all-zero DH result that it leads to, is refused (F14).
        """
        es, ss = self.exchange(seed(3)), self.exchange(INITIATOR)
        honest = self.craft(publicKey(seed(3)), es, INITIATOR_PUBLIC, ss)
        opened(honest)
        for point in LOW_ORDER:
            self.refused(self.craft(point, bytes(32), INITIATOR_PUBLIC, ss))
            self.refused(self.craft(publicKey(seed(3)), es, point, bytes(32)))

    @settings(deadline=None, max_examples=50)
    @given(st.binary(max_size=200), st.binary(min_size=168, max_size=168))
    def test_junk(self, junk: bytes, tail: bytes) -> None:
        """
        Whatever stands there, an INIT that does not open is a `BadPacket` (F11).
        """
        self.refused(junk)
        self.refused(HEADER + tail)


class RespTests(SynchronousTestCase):
    """
    What becomes of a RESP that is not as it should be.
    """

    def setUp(self) -> None:
        self.initiating = initiation()
        self.resp, _, _ = opened(self.initiating.packet).respond(
            77, 88, INITIATOR_PUBLIC
        )

    def refused(self, packet: bytes) -> None:
        """
        ``packet`` does not open.
        """
        self.assertRaises(BadPacket, self.initiating.openResponse, packet)

    def test_bits(self) -> None:
        """
        A RESP with any bit flipped is refused, with its old mac1 or a right one;
        the true RESP opens after all of them (F7, F10).
        """
        for forged in flips(self.resp):
            self.refused(forged)
        for body in flips(self.resp[:88]):
            self.refused(withMac1(body, INITIATOR_PUBLIC))
        self.initiating.openResponse(self.resp)

    def test_lengths(self) -> None:
        """
        A RESP cut or lengthened anywhere is refused; the true one opens after all of
        them (F11).
        """
        for length in range(104):
            self.refused(self.resp[:length])
        for extra in range(1, 100):
            self.refused(self.resp + bytes(extra))
        self.initiating.openResponse(self.resp)

    def test_replayed(self) -> None:
        """
        A RESP works once (F6), since the handshake's secrets are gone after it
        (F19), and one to another INIT never.
        """
        self.initiating.openResponse(self.resp)
        error = self.assertRaises(BadPacket, self.initiating.openResponse, self.resp)
        self.assertIn("had its RESP", str(error))
        self.assertRaises(BadPacket, initiation().openResponse, self.resp)

    def test_otherIndex(self) -> None:
        """
        A RESP to an index that is not ours is refused before any DH (F6).
        """
        other = Initiation(INITIATOR, RESPONDER_PUBLIC, PSK, INDEX + 1, PAYLOAD)
        error = self.assertRaises(BadPacket, other.openResponse, self.resp)
        self.assertIn("another index", str(error))

    def test_wrongPsk(self) -> None:
        """
        Sides with different PSKs get no session, and the responder answers one
        with a wrong PSK exactly as any other (F17).
        """
        initiating = initiation(psk=bytes(32))
        invitation = opened(initiating.packet)
        resp, _, _ = invitation.respond(77, 88, INITIATOR_PUBLIC)
        self.assertEqual(len(resp), 104)
        self.assertRaises(BadPacket, initiating.openResponse, resp)

    def test_payload(self) -> None:
        """
        An authentic RESP that speaks another version, echoes another time or names
        no index is refused.
        """
        time = PAYLOAD.timestamp
        for payload in (
            RespPayload(77, 3, 3, 1400, 0, 88, time),
            RespPayload(77, 1, 1, 1400, 0, 88, time),
            RespPayload(77, 2, 2, 1400, 0, 88, time + 1),
            RespPayload(0, 2, 2, 1400, 0, 88, time),
        ):
            initiating = initiation()
            packet = makeResp(initiating.packet, payload)
            self.assertRaises(BadPacket, initiating.openResponse, packet)
        initiating = initiation()
        payload = RespPayload(77, 3, 1, 1400, 0, 88, time)
        packet = makeResp(initiating.packet, payload)
        self.assertEqual(initiating.openResponse(packet)[0], payload)

    @settings(deadline=None, max_examples=50)
    @given(st.binary(max_size=150), st.binary(min_size=80, max_size=80))
    def test_junk(self, junk: bytes, tail: bytes) -> None:
        """
        Whatever stands there, a RESP that does not open is a `BadPacket` (F11).
        """
        self.refused(junk)
        body = b"\x22\0\0\0" + pack("<I", INDEX) + tail
        self.refused(withMac1(body, INITIATOR_PUBLIC))


class RetryTests(SynchronousTestCase):
    """
    What an INIT does with a RETRY.
    """

    def setUp(self) -> None:
        self.jar = CookieJar()
        self.key = cookieKey(RESPONDER_PUBLIC)

    def test_cookie(self) -> None:
        """
        The cookie of a RETRY makes a mac2 that the responder accepts.
        """
        first = initiation()
        cookie = first.openRetry(self.jar.retry(first.packet, PATH, 0.0, self.key))
        self.assertEqual(cookie, self.jar.cookie(PATH, 0.0))
        second = Invitation(initiation(cookie=cookie).packet)
        self.assertTrue(second.checkMac2(self.jar.valid(PATH, 1.0)))

    def test_once(self) -> None:
        """
        One RETRY is honoured, after any number of forged ones (F8).
        """
        first = initiation()
        retry = self.jar.retry(first.packet, PATH, 0.0, self.key)
        for forged in [*flips(retry), *(retry[:length] for length in range(56))]:
            self.assertRaises(BadPacket, first.openRetry, forged)
        first.openRetry(retry)
        self.assertRaises(BadPacket, first.openRetry, retry)
        again = self.jar.retry(first.packet, PATH, 0.0, self.key)
        self.assertRaises(BadPacket, first.openRetry, again)

    def test_otherInit(self) -> None:
        """
        A RETRY to an older INIT, or to another index, is refused (F8).
        """
        first, second = initiation(), initiation()
        retry = self.jar.retry(first.packet, PATH, 0.0, self.key)
        self.assertRaises(BadPacket, second.openRetry, retry)
        moved = first.packet[:4] + pack("<I", INDEX + 1) + first.packet[8:]
        retry = self.jar.retry(moved, PATH, 0.0, self.key)
        error = self.assertRaises(BadPacket, first.openRetry, retry)
        self.assertIn("another index", str(error))

    def test_handshakeGoesOn(self) -> None:
        """
        The RESP to an INIT opens although a RETRY came first.
        """
        first = initiation()
        first.openRetry(self.jar.retry(first.packet, PATH, 0.0, self.key))
        resp, _, _ = opened(first.packet).respond(77, 88, INITIATOR_PUBLIC)
        self.assertEqual(first.openResponse(resp)[0].index, 77)


if __name__ == "__main__":
    print(json.dumps(makeVectors(), indent=1))
