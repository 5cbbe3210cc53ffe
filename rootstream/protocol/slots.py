"""
The sessions of one peer: previous, current, and half-open ones (after WireGuard).

We receive on all and send on the current one.  A session that the peer began is
half-open until a packet under its keys has opened: an INIT can be replayed, and
forged by whoever holds our own private key, so it must not replace anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from rootstream.interfaces import IPath
from rootstream.protocol.constants import (
    ACK_EVERY_PACKETS,
    ACK_HOLE_DELAY,
    ACK_INTERVAL,
    CONFIRM_DELAYS,
    HALF_OPEN_LIFE,
    MAX_OUTSTANDING_INITS,
    PREVIOUS_KEY_LIFE,
    REJECT_AFTER_TIME,
)
from rootstream.protocol.handshakes import Indices
from rootstream.protocol.recovery import SentPackets
from rootstream.protocol.session import Session


@dataclass(slots=True, eq=False)
class Slot:
    """
    One session, and what goes with its keys.

    ``path`` is the one that the handshake was made over, ``instance`` the
    peer's, ``deadAt`` when the keys die.
    """

    session: Session
    path: IPath
    instance: int
    deadAt: float
    sent: SentPackets = field(default_factory=SentPackets)
    #: When to send an ACK, and how many packets it will answer.
    ackAt: float | None = None
    ackCount: int = 0
    #: When to send CONFIRM, until something came under these keys.
    confirmsAt: list[float] = field(default_factory=list)
    #: New keys are wanted, whatever the age of these.
    stale: bool = False

    def wantsRekey(self, now: float) -> bool:
        """
        Whether it is time to replace these keys.
        """
        return self.stale or self.session.needsRekey(now)

    def owesAck(self, now: float, count: int, hole: bool) -> None:
        """
        ``count`` packets came that ask for an acknowledgement; ``hole`` when some
        before them did not.
        """
        self.ackCount += count
        if self.ackCount >= ACK_EVERY_PACKETS:
            self.ackAt = now
            return
        at = now + (ACK_HOLE_DELAY if hole else ACK_INTERVAL)
        if self.ackAt is None or at < self.ackAt:
            self.ackAt = at


class Slots:
    """
    At most one current and one previous session, and a few half-open ones.
    """

    def __init__(self, indices: Indices) -> None:
        self._indices = indices
        self._byIndex: dict[int, Slot] = {}
        self._half: dict[int, Slot] = {}
        self.current: Slot | None = None
        self.previous: Slot | None = None

    def __len__(self) -> int:
        return len(self._byIndex)

    def __iter__(self) -> Iterator[Slot]:
        return iter(tuple(self._byIndex.values()))

    def get(self, index: int) -> Slot | None:
        """
        The slot that receives on ``index``.
        """
        return self._byIndex.get(index)

    @property
    def halfOpen(self) -> int:
        """
        How many sessions wait for their first packet.
        """
        return len(self._half)

    @property
    def keyed(self) -> bool:
        """
        Whether there is a session that was confirmed.
        """
        return self.current is not None

    def isHalfOpen(self, slot: Slot) -> bool:
        """
        Whether nothing came under the keys of ``slot`` yet.
        """
        return slot.session.localIndex in self._half

    def offer(self, slot: Slot, now: float) -> None:
        """
        Keep a session that the peer began, until it is confirmed or lapses.
        """
        if len(self._half) >= MAX_OUTSTANDING_INITS:
            self._remove(next(iter(self._half.values())))
        slot.deadAt = now + HALF_OPEN_LIFE
        self._half[slot.session.localIndex] = slot
        self._byIndex[slot.session.localIndex] = slot

    def establish(self, slot: Slot, now: float) -> None:
        """
        Make ``slot`` the current session; the current one becomes the previous.
        """
        for other in list(self._half.values()):
            if other is slot:
                # Later ones stay: the peer may have gone on to them before this one's
                # first packet came.
                del self._half[slot.session.localIndex]
                break
            self._remove(other)
        if self.previous is not None:
            self._remove(self.previous)
        if self.current is not None and self.current.instance != slot.instance:
            # Nobody is left who could send under these keys, but for somebody who
            # kept packets of the instance that is gone.
            self._remove(self.current)
        self.previous = self.current
        if self.previous is not None:
            self.previous.deadAt = min(self.previous.deadAt, now + PREVIOUS_KEY_LIFE)
            self.previous.confirmsAt = []
        self.current = slot
        self._byIndex[slot.session.localIndex] = slot
        slot.deadAt = slot.session.createdAt + REJECT_AFTER_TIME
        if slot.session.isInitiator:
            slot.confirmsAt = [now] + [now + delay for delay in CONFIRM_DELAYS]

    def expire(self, now: float) -> list[Slot]:
        """
        Forget the keys whose time is over; returns their slots.
        """
        over = [
            slot
            for slot in self._byIndex.values()
            if now >= slot.deadAt or slot.session.dead(now)
        ]
        previous = self.previous
        if previous is not None and previous not in over and self.current in over:
            # There is nothing left to answer with.
            over.append(previous)
        for slot in over:
            self._remove(slot)
        return over

    def clear(self) -> None:
        """
        Forget all keys.
        """
        for slot in list(self._byIndex.values()):
            self._remove(slot)

    def _remove(self, slot: Slot) -> None:
        index = slot.session.localIndex
        self._byIndex.pop(index, None)
        self._half.pop(index, None)
        self._indices.release(index)
        slot.session.forget()
        if slot is self.current:
            self.current = None
        if slot is self.previous:
            self.previous = None

    def nextTimer(self) -> float | None:
        """
        When `expire` has something to do, if ever.
        """
        return min((slot.deadAt for slot in self._byIndex.values()), default=None)
