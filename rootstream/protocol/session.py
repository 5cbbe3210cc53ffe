"""
One set of transport keys: seals frames into DATA packets and opens them again.

A session knows nothing of paths, so a packet is accepted once whatever way it came,
and nothing of time except its own age: the link asks `Session.dead` by timer and
then calls `Session.forget`, so that no packet pays for a clock reading.

An authentic packet is the only thing that changes the replay window.  A packet that
does not open is counted, and that is all it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from rootstream.errors import LocalError
from rootstream.protocol.constants import (
    DATA_HEADER,
    FAILED_OPENS_KILL,
    FAILED_OPENS_REKEY,
    MAX_PACKET,
    MIN_DATA,
    REJECT_AFTER_PACKETS,
    REJECT_AFTER_TIME,
    REKEY_AFTER_BYTES,
    REKEY_AFTER_PACKETS,
    REKEY_AFTER_TIME,
    TYPE_DATA,
)
from rootstream.protocol.replay import ReplayWindow

__all__ = ["Session", "SessionExhausted"]

_ADDRESSED: Final = Struct("<BI")
#: What the nonce has before the counter.
_NONCE_START: Final = bytes(4)


class SessionExhausted(LocalError):
    """
    These keys may not send any more: 2^40 packets went out, or the keys are
    forgotten.  Send on a newer session.
    """


class Session:
    """
    Both directions of one handshake's keys.

    ``jitter`` is added to the age at which an initiator wants new keys.  Counts
    are public because the link and its statistics read them:

    - ``sendCounter``: the counter of the next packet, and so how many went out;
    - ``failedOpens``: how many packets had a wrong tag;
    - ``refused``: how many packets were refused, by reason.
    """

    __slots__ = (
        "_addressed",
        "_keys",
        "_opener",
        "_rekeyAt",
        "_sealer",
        "bytesReceived",
        "bytesSent",
        "createdAt",
        "failedOpens",
        "isInitiator",
        "localIndex",
        "refused",
        "remoteIndex",
        "replay",
        "sendCounter",
    )

    def __init__(
        self,
        sendKey: bytes,
        receiveKey: bytes,
        localIndex: int,
        remoteIndex: int,
        createdAt: float,
        isInitiator: bool,
        jitter: float = 0.0,
    ) -> None:
        self._keys: tuple[bytes, bytes] | None = (sendKey, receiveKey)
        self._sealer: ChaCha20Poly1305 | None = None
        self._opener: ChaCha20Poly1305 | None = None
        self._addressed = _ADDRESSED.pack(TYPE_DATA, localIndex)
        self.createdAt = createdAt
        self._rekeyAt = createdAt + REKEY_AFTER_TIME + jitter
        self.localIndex = localIndex
        self.remoteIndex = remoteIndex
        self.isInitiator = isInitiator
        self.replay = ReplayWindow()
        self.sendCounter = 0
        self.bytesSent = 0
        self.bytesReceived = 0
        self.failedOpens = 0
        self.refused = {"length": 0, "index": 0, "replay": 0, "tag": 0}

    @property
    def packetsSent(self) -> int:
        """
        How many packets went out.
        """
        return self.sendCounter

    def seal(self, frames: bytes) -> bytes:
        """
        One packet with these frames in it.
        """
        return self.sealMany((frames,))[0]

    def sealMany(self, batch: Sequence[bytes]) -> list[bytes]:
        """
        A packet for each of the batch, with counters in its order.  All of them,
        or `SessionExhausted` and none.
        """
        sealer = self._sealer
        if sealer is None and self._keys is not None:
            sealer = self._sealer = ChaCha20Poly1305(self._keys[0])
        counter = self.sendCounter
        if sealer is None or counter + len(batch) > REJECT_AFTER_PACKETS:
            raise SessionExhausted("send on a newer session: this one is used up")
        encrypt = sealer.encrypt
        addressed = _ADDRESSED.pack(TYPE_DATA, self.remoteIndex)
        packets = []
        for number, frames in enumerate(batch, counter):
            count = number.to_bytes(8, "little")
            header = addressed + count
            packets.append(header + encrypt(_NONCE_START + count, frames, header))
        self.sendCounter += len(packets)
        self.bytesSent += sum(map(len, packets))
        return packets

    def open(self, packet: bytes) -> bytes | None:
        """
        The frames of one packet, or None when it is refused.
        """
        opened = self.openMany((packet,))
        return opened[0][1] if opened else None

    def openMany(self, packets: Sequence[bytes]) -> list[tuple[int, bytes]]:
        """
        Counter and frames of each packet that opens, in their order; the others
        are counted and skipped.
        """
        opened: list[tuple[int, bytes]] = []
        opener = self._opener
        if opener is None and self._keys is not None:
            opener = self._opener = ChaCha20Poly1305(self._keys[1])
        if opener is None:
            self.refused["index"] += len(packets)
            return opened
        decrypt = opener.decrypt
        replay = self.replay
        addressed = self._addressed
        # Most counters are one more than the last: those are marked a run at a time,
        # and what such a packet begins with is known.
        first = following = replay.largest + 1
        total = 0
        for packet in packets:
            size = len(packet)
            if not MIN_DATA <= size <= MAX_PACKET:
                self.refused["length"] += 1
                continue
            counter = following
            count = following.to_bytes(8, "little")
            header = addressed + count
            inOrder = packet.startswith(header) and following < REJECT_AFTER_PACKETS
            if not inOrder:
                if not packet.startswith(addressed):
                    self.refused["index"] += 1
                    continue
                header = packet[:DATA_HEADER]
                count = header[len(addressed) :]
                counter = int.from_bytes(count, "little")
                if following > first:
                    replay.markNext(following - first)
                    first = following
                if not replay.check(counter):
                    self.refused["replay"] += 1
                    continue
            try:
                frames = decrypt(_NONCE_START + count, packet[DATA_HEADER:], header)
            except InvalidTag:
                self.refused["tag"] += 1
                self.failedOpens += 1
                continue
            if inOrder:
                following += 1
            else:
                replay.mark(counter)
                first = following = replay.largest + 1
            total += size
            opened.append((counter, frames))
        if following > first:
            replay.markNext(following - first)
        self.bytesReceived += total
        return opened

    def needsRekey(self, now: float) -> bool:
        """
        Is it time for new keys?  Age asks the initiator alone, so that the two
        sides do not dial each other; the limits of use ask both, for what either
        direction carried.
        """
        return (
            (self.isInitiator and now >= self._rekeyAt)
            or self.sendCounter >= REKEY_AFTER_PACKETS
            or self.replay.largest >= REKEY_AFTER_PACKETS - 1
            or self.bytesSent >= REKEY_AFTER_BYTES
            or self.bytesReceived >= REKEY_AFTER_BYTES
            or self.failedOpens >= FAILED_OPENS_REKEY
        )

    def dead(self, now: float) -> bool:
        """
        Must these keys go, both ways?  The owner calls `forget` when they must.
        """
        return (
            self._keys is None
            or now - self.createdAt >= REJECT_AFTER_TIME
            or self.sendCounter >= REJECT_AFTER_PACKETS
            or self.failedOpens >= FAILED_OPENS_KILL
        )

    def forget(self) -> None:
        """
        Drop the keys: nothing is sealed or opened any more.  Python cannot erase
        memory, so this is all that a process can do for traffic recorded earlier.
        """
        self._keys = None
        self.rest()

    def rest(self) -> None:
        """
        Keep nothing but the keys until there is a packet again.  What OpenSSL prepares
        of them takes 4.3 kB a session, and 2 us to be made again.
        """
        self._sealer = None
        self._opener = None
