"""
The handshakes under way with one peer, from the side that dials.

Every INIT is a handshake of its own, with a fresh ephemeral key, timestamp and
index, so that the answer to any of them completes a session and a late answer
to an old one still does.  At most ``MAX_OUTSTANDING_INITS`` wait for an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rootstream.errors import BadPacket
from rootstream.interfaces import IPath, Transport
from rootstream.protocol.constants import (
    COOKIE_LIFE,
    DIAL_TIMEOUT,
    INIT_INTERVAL,
    MAX_OUTSTANDING_INITS,
    MAX_PACKET,
    REKEY_RETRY,
)
from rootstream.protocol.handshake import Initiation, InitPayload, RespPayload


@dataclass(frozen=True, slots=True)
class Credentials:
    """
    Who we are: our static X25519 key pair and the pre-shared key, each 32 bytes.
    """

    private: bytes
    public: bytes
    psk: bytes

    def __repr__(self) -> str:
        # The default would print the private key into the first traceback.
        return f"<Credentials of {self.public.hex()[:16]}>"


class Indices:
    """
    The receiver indexes of this node: which conversation a packet belongs to.
    """

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._owners: dict[int, object] = {}

    def __len__(self) -> int:
        return len(self._owners)

    def claim(self, owner: object) -> int:
        """
        A new random index, not 0 and not in use.
        """
        index = 0
        while index == 0 or index in self._owners:
            index = int.from_bytes(self._random(4), "little")
        self._owners[index] = owner
        return index

    def release(self, index: int) -> None:
        """
        Nobody is reached by ``index`` any more.
        """
        self._owners.pop(index, None)

    def owner(self, index: int) -> object | None:
        """
        Who claimed ``index``.
        """
        return self._owners.get(index)


@dataclass(slots=True)
class _Candidate:
    """
    A path that INITs go out on.
    """

    nextAt: float
    #: Until then a datagram that may be lost is soon repeated.
    quickUntil: float
    cookie: bytes | None = None
    cookieUntil: float = 0.0


@dataclass(frozen=True, slots=True)
class Outstanding:
    """
    An INIT that waits for its answer.
    """

    initiation: Initiation
    path: IPath
    sentAt: float


@dataclass(frozen=True, slots=True)
class Answered:
    """
    An INIT that got its answer, and the keys that came of it.
    """

    outstanding: Outstanding
    response: RespPayload
    sendKey: bytes
    receiveKey: bytes


class Dialling:
    """
    The INITs that we send to one peer.
    """

    def __init__(
        self,
        credentials: Credentials,
        remote: bytes,
        instance: int,
        indices: Indices,
        owner: object,
        wallClock: Callable[[], int],
        random: Callable[[int], bytes],
    ) -> None:
        self._credentials = credentials
        self._remote = remote
        self._instance = instance
        self._indices = indices
        self._owner = owner
        self._wallClock = wallClock
        self._random = random
        self._candidates: dict[IPath, _Candidate] = {}
        self._outstanding: dict[int, Outstanding] = {}
        self._lastTimestamp = 0
        self.heldUntil = 0.0

    def __len__(self) -> int:
        return len(self._outstanding)

    @property
    def active(self) -> bool:
        """
        Whether there is a path to dial on.
        """
        return bool(self._candidates)

    def add(self, path: IPath, now: float, rekey: bool = False) -> None:
        """
        Dial on ``path`` too, from now on.
        """
        if path not in self._candidates:
            # A stream transport repeats by itself; the slow repetition there
            # is for a responder that answered with RETRY and forgot.
            quick = path.transport == Transport.UDP and not rekey
            until = now + DIAL_TIMEOUT if quick else now
            self._candidates[path] = _Candidate(now, until)

    def remove(self, path: IPath) -> None:
        """
        Dial on ``path`` no more, and forget what it was to answer.
        """
        self._candidates.pop(path, None)
        for index, one in list(self._outstanding.items()):
            if one.path == path:
                self._forget(index)

    def clear(self) -> None:
        """
        Stop dialling.
        """
        self._candidates.clear()
        self.withdraw()

    def withdraw(self) -> None:
        """
        Forget all INITs sent so far; new ones may follow.
        """
        for index in list(self._outstanding):
            self._forget(index)

    def _forget(self, index: int) -> None:
        del self._outstanding[index]
        self._indices.release(index)

    def due(self, now: float) -> list[tuple[IPath, bytes]]:
        """
        The INITs to send now.
        """
        packets: list[tuple[IPath, bytes]] = []
        if now < self.heldUntil:
            return packets
        for path, candidate in self._candidates.items():
            if now >= candidate.nextAt:
                quick = now < candidate.quickUntil
                candidate.nextAt = now + (INIT_INTERVAL if quick else REKEY_RETRY)
                packets.append((path, self._initiate(path, candidate, now)))
        return packets

    def _initiate(self, path: IPath, candidate: _Candidate, now: float) -> bytes:
        if len(self._outstanding) >= MAX_OUTSTANDING_INITS:
            # Those on a stream are slow but sure; a lost datagram is neither.
            self._forget(
                min(
                    self._outstanding,
                    key=lambda index: (
                        self._outstanding[index].path.transport != Transport.UDP,
                        self._outstanding[index].sentAt,
                    ),
                )
            )
        if now >= candidate.cookieUntil:
            candidate.cookie = None
        # Strictly increasing, also when the wall clock is set back (F24).
        self._lastTimestamp = max(self._wallClock(), self._lastTimestamp + 1)
        index = self._indices.claim(self._owner)
        initiation = Initiation(
            self._credentials.private,
            self._remote,
            self._credentials.psk,
            index,
            InitPayload(
                timestamp=self._lastTimestamp,
                challenge=candidate.cookie or bytes(16),
                instance=self._instance,
                caps=0,
                maxDatagram=MAX_PACKET,
                profile=0,
            ),
            candidate.cookie,
            self._random(32),
        )
        self._outstanding[index] = Outstanding(initiation, path, now)
        return initiation.packet

    def retry(self, packet: bytes, now: float) -> bool:
        """
        Take a RETRY.  Returns whether it was honoured: the next INIT, due at
        once, carries its cookie to the address that was dialled (F8).
        """
        one = self._outstanding.get(int.from_bytes(packet[4:8], "little"))
        if one is None:
            return False
        candidate = self._candidates[one.path]
        try:
            candidate.cookie = one.initiation.openRetry(packet)
        except BadPacket:
            return False
        candidate.cookieUntil = now + COOKIE_LIFE
        candidate.nextAt = now
        return True

    def response(self, packet: bytes) -> Answered | None:
        """
        Take a RESP.  Returns the handshake that it completes, or None.
        """
        index = int.from_bytes(packet[4:8], "little")
        one = self._outstanding.get(index)
        if one is None:
            return None
        try:
            response, sendKey, receiveKey = one.initiation.openResponse(packet)
        except BadPacket:
            return None
        # The index lives on: it is the one that the session receives on.
        del self._outstanding[index]
        return Answered(one, response, sendKey, receiveKey)

    def nextTimer(self) -> float | None:
        """
        When the next INIT is due, if ever.
        """
        if not self._candidates:
            return None
        earliest = min(one.nextAt for one in self._candidates.values())
        return max(earliest, self.heldUntil)
