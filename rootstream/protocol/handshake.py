"""
The packets of the handshake: INIT, RESP, and what an initiator does with a RETRY.

`Initiation` is one INIT and whatever answers it; `Invitation` is a responder's view
of an INIT, opened step by step so that each step costs a stranger more than us.
Both are single values without clocks or timers.  Freshness, rates, half-open slots,
repeats and who may call belong to the link.

Whatever does not parse or authenticate is a `BadPacket`.  Offsets are those of
docs/protocol.rst.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2s
from hmac import compare_digest
from struct import Struct
from typing import ClassVar, Final, Self

from rootstream.errors import BadPacket
from rootstream.protocol import cookies
from rootstream.protocol.constants import (
    INIT_SIZE,
    MAX_PACKET,
    RESP_SIZE,
    TYPE_INIT,
    TYPE_RESP,
    VERSION,
)
from rootstream.protocol.noise import HandshakeState, keyedMac, publicKey

__all__ = [
    "InitPayload",
    "Initiation",
    "Invitation",
    "RespPayload",
    "cookieKey",
    "mac1Key",
    "prologue",
]

_HEADER: Final = 8
_INIT_HEADER: Final = Struct("<BBBBI")
_RESP_START: Final = bytes((TYPE_RESP, 0, 0, 0))
_MAC: Final = 16
_INIT_MAC1: Final = INIT_SIZE - 2 * _MAC
_INIT_MAC2: Final = INIT_SIZE - _MAC
_RESP_MAC1: Final = RESP_SIZE - _MAC


def mac1Key(public: bytes) -> bytes:
    """
    The key of mac1 in packets to the owner of ``public``.  Who does not know whom
    he is calling cannot make the mac, and gets no answer.
    """
    return blake2s(b"RS2-mac1" + public).digest()


def cookieKey(public: bytes) -> bytes:
    """
    What the keys of RETRY packets from the owner of ``public`` are made with.
    """
    return blake2s(b"RS2-cook" + public).digest()


def prologue(header: bytes) -> bytes:
    """
    The Noise prologue of a handshake whose INIT begins with ``header``: both sides
    must have seen the same versions, flags and index.
    """
    return b"RootStream/2\0\0\0\0" + header


def _agree(verMax: int, verMin: int) -> None:
    if not verMin <= VERSION <= verMax:
        raise BadPacket("the other side does not speak version 2")


@dataclass(frozen=True, slots=True)
class InitPayload:
    """
    What an initiator says of itself.  ``timestamp`` is ms since 1970 and grows with
    each INIT; ``challenge`` is the cookie it was given, or zeros; ``instance``
    is random for each start of its process.
    """

    timestamp: int
    challenge: bytes
    instance: int
    caps: int = 0
    maxDatagram: int = MAX_PACKET
    profile: int = 0

    _layout: ClassVar[Struct] = Struct("<Q16sQIHH")

    def encode(self) -> bytes:
        """
        The 40 bytes that go into an INIT.
        """
        return self._layout.pack(
            self.timestamp,
            self.challenge,
            self.instance,
            self.caps,
            self.maxDatagram,
            self.profile,
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """
        The opposite of `encode`, for exactly 40 bytes.
        """
        return cls(*cls._layout.unpack(data))


@dataclass(frozen=True, slots=True)
class RespPayload:
    """
    What a responder says of itself.  ``index`` is what DATA to it must carry.
    """

    index: int
    verMax: int
    verMin: int
    maxDatagram: int
    caps: int
    instance: int
    timestampEcho: int

    # Four reserved bytes end it: sent as zeros, not looked at.
    _layout: ClassVar[Struct] = Struct("<IBBHIQQ4x")

    def encode(self) -> bytes:
        """
        The 32 bytes that go into a RESP.
        """
        return self._layout.pack(
            self.index,
            self.verMax,
            self.verMin,
            self.maxDatagram,
            self.caps,
            self.instance,
            self.timestampEcho,
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """
        The opposite of `encode`, for exactly 32 bytes.
        """
        return cls(*cls._layout.unpack(data))


class Initiation:
    """
    One INIT of ours, and what its answers lead to.

    Forged answers change nothing: the true RESP, and one true RETRY, still open
    after any number of them.
    """

    def __init__(
        self,
        localPrivate: bytes,
        remotePublic: bytes,
        psk: bytes,
        index: int,
        payload: InitPayload,
        cookie: bytes | None = None,
        ephemeral: bytes | None = None,
    ) -> None:
        header = _INIT_HEADER.pack(TYPE_INIT, VERSION, VERSION, 0, index)
        self.index = index
        self.timestamp = payload.timestamp
        self._noise: HandshakeState | None = HandshakeState.initiator(
            prologue(header), localPrivate, remotePublic, psk
        )
        packet = header + self._noise.writeInit(payload.encode(), ephemeral)
        self._mac1 = keyedMac(mac1Key(remotePublic), packet)
        packet += self._mac1
        self.packet = packet + (keyedMac(cookie, packet) if cookie else bytes(_MAC))
        self._mac1Key = mac1Key(publicKey(localPrivate))
        self._cookieKey = cookieKey(remotePublic)
        self._retried = False

    def openRetry(self, packet: bytes) -> bytes:
        """
        The cookie for the next INIT.  One RETRY is honoured: a replayed one must
        not make us send again and again.
        """
        if self._retried:
            raise BadPacket("this INIT had its RETRY")
        if int.from_bytes(packet[4:8], "little") != self.index:
            raise BadPacket("a RETRY to another index")
        cookie = cookies.openRetry(packet, self._mac1, self._cookieKey)
        self._retried = True
        return cookie

    def openResponse(self, packet: bytes) -> tuple[RespPayload, bytes, bytes]:
        """
        What the responder said, and our keys to send and to receive with.  Works
        once; afterwards nothing here remembers the handshake's secrets.
        """
        if self._noise is None:
            raise BadPacket("this INIT had its RESP")
        if len(packet) != RESP_SIZE or packet[:4] != _RESP_START:
            raise BadPacket("not a RESP")
        if int.from_bytes(packet[4:8], "little") != self.index:
            raise BadPacket("a RESP to another index")
        mac1 = keyedMac(self._mac1Key, packet[:_RESP_MAC1])
        if not compare_digest(mac1, packet[_RESP_MAC1:]):
            raise BadPacket("a RESP with a wrong mac1")
        payload = RespPayload.decode(self._noise.readResp(packet[_HEADER:_RESP_MAC1]))
        _agree(payload.verMax, payload.verMin)
        if payload.timestampEcho != self.timestamp:
            raise BadPacket("a RESP to another timestamp")
        if not payload.index:
            raise BadPacket("a RESP without an index")
        send, receive = self._noise.split()
        self._noise = None
        return payload, send, receive


class Invitation:
    """
    Somebody's INIT.  The constructor looks at its plain header only; the methods
    go further, in the order in which they stand here.
    """

    # Set by the steps that open them.
    _noise: HandshakeState
    _payload: InitPayload

    def __init__(self, packet: bytes) -> None:
        if len(packet) != INIT_SIZE:
            raise BadPacket("an INIT has 176 bytes")
        kind, verMax, verMin, flags, index = _INIT_HEADER.unpack_from(packet)
        if kind != TYPE_INIT or flags or not index:
            raise BadPacket("not an INIT that we understand")
        _agree(verMax, verMin)
        self._packet = packet
        self.index: int = index
        self.ephemeral = packet[8:40]
        self.mac1 = packet[_INIT_MAC1:_INIT_MAC2]

    def checkMac1(self, ourMac1Key: bytes) -> bool:
        """
        Is it addressed to us, by somebody who knows our key?
        """
        expected = keyedMac(ourMac1Key, self._packet[:_INIT_MAC1])
        return compare_digest(expected, self.mac1)

    def checkMac2(self, accepted: Iterable[bytes]) -> bool:
        """
        Was it made with one of the ``accepted`` cookies?
        """
        mac2 = self._packet[_INIT_MAC2:]
        signed = self._packet[:_INIT_MAC2]
        return any(
            compare_digest(keyedMac(cookie, signed), mac2) for cookie in accepted
        )

    def openStatic(self, localPrivate: bytes, psk: bytes) -> bytes:
        """
        The key that the initiator says is its own: enough to turn strangers away.
        """
        self._noise = HandshakeState.responder(
            prologue(self._packet[:_HEADER]), localPrivate, psk
        )
        return self._noise.readStatic(self._packet[_HEADER:_INIT_MAC1])

    def openPayload(self) -> InitPayload:
        """
        What the owner of that key says.  It may be a replay: nothing of it may be
        acted on before a packet under the new keys has opened.
        """
        self._payload = InitPayload.decode(self._noise.readInitPayload())
        return self._payload

    def respond(
        self,
        index: int,
        instance: int,
        initiatorPublic: bytes,
        caps: int = 0,
        ephemeral: bytes | None = None,
    ) -> tuple[bytes, bytes, bytes]:
        """
        The RESP, and our keys to send and to receive with.
        """
        payload = RespPayload(
            index,
            VERSION,
            VERSION,
            MAX_PACKET,
            caps,
            instance,
            self._payload.timestamp,
        )
        packet = _RESP_START + self._packet[4:8]
        packet += self._noise.writeResp(payload.encode(), ephemeral)
        packet += keyedMac(mac1Key(initiatorPublic), packet)
        return packet, *self._noise.split()
