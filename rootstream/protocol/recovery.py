"""
What was sent and is not yet known to have arrived (after RFC 9002).

Media packets are kept until they are acknowledged or too late to be of use, and
sent again, same bytes and same counter, when an acknowledgement shows a hole or
none comes: a picture of twenty packets on a network that loses one in twenty
would otherwise be broken more often than not.  The receiver's replay window
drops the copy that was not needed.

INPUT and CONTROL are not kept here: they are resent by their own sequence
numbers, which outlive the session (`rootstream.protocol.channel`).

This is on the way of every packet, so nothing here looks at all that is under
way.  The packets stand in the order in which they were last sent, which is the
order in which they come to be missing: `SentPackets.due` looks at the first until
one is not missing, and the timer is that one's.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from rootstream.protocol.blackhole import BlackHole
from rootstream.protocol.constants import (
    ACK_BITS,
    LOSS_REORDER,
    MAX_PACKET,
    MAX_SENT_BYTES,
    MINIMUM_PATIENCE,
    SENT_LIFE,
)
from rootstream.protocol.frames import Ack


@dataclass(slots=True, eq=False)
class _Sent:
    #: None when it is only counted, not resent.
    packet: bytes | None
    deadline: float
    sentAt: float
    #: The newest counter when it was last sent.  A copy has the counter of the
    #: first, so this is what tells whether a later packet has overtaken it.
    newest: int
    size: int


class SentPackets:
    """
    The packets of one session that ask for an acknowledgement.

    Bounded by time and by ``MAX_SENT_BYTES``.

    @ivar largest: the largest counter acknowledged so far, -1 at first.
    @ivar progressAt: when an acknowledgement last told anything new.
    @ivar lost: packets that were given up.
    @ivar acknowledged: packets that arrived.
    @ivar resent: copies sent again.
    @ivar blackHole: whether it is the large ones that are missing.
    """

    def __init__(self) -> None:
        self._sent: OrderedDict[int, _Sent] = OrderedDict()
        self._bytes = 0
        self._newest = -1
        self._last = Ack(-1, 0, 0, 0)
        self.largest = -1
        self.progressAt = 0.0
        self.lost = 0
        self.acknowledged = 0
        self.resent = 0
        self.blackHole = BlackHole()

    def __len__(self) -> int:
        return len(self._sent)

    @property
    def resendable(self) -> bool:
        """
        Whether media waits that would be sent again.
        """
        return self._bytes > 0

    def clear(self) -> None:
        """
        Wait for nothing any more.
        """
        self._sent.clear()
        self._bytes = 0

    def sent(
        self, counter: int, packet: bytes, now: float, deadline: float | None
    ) -> None:
        """
        Enter a packet that went out.  With a ``deadline`` it is sent again until
        then; without, it is only counted.
        """
        self._newest = counter
        size = len(packet)
        if deadline is None:
            self._sent[counter] = _Sent(None, now + SENT_LIFE, now, counter, size)
            return
        self._sent[counter] = _Sent(packet, deadline, now, counter, size)
        self._bytes += size
        while self._bytes > MAX_SENT_BYTES:
            self._giveUp(next(iter(self._sent)))

    def _drop(self, counter: int) -> _Sent:
        one = self._sent.pop(counter)
        if one.packet is not None:
            self._bytes -= one.size
        return one

    def _giveUp(self, counter: int) -> None:
        self._drop(counter)
        self.lost += 1

    def _arrived(self, counter: int) -> None:
        one = self._drop(counter)
        if one.size == MAX_PACKET:
            self.blackHole.largeArrived(one.newest)
        else:
            self.blackHole.smallArrived(counter)

    def received(self, ack: Ack, now: float) -> bool:
        """
        Take an acknowledgement.  Whatever it does not cover stays.  Returns whether
        it told anything new.
        """
        sent = self._sent
        before = len(sent)
        if ack.largest in sent:
            self._arrived(ack.largest)
        # Most of an ACK repeats the one before.
        fresh = ack.bitmap
        ahead = ack.largest - self._last.largest
        if 0 <= ahead <= ACK_BITS:
            fresh &= ~((self._last.bitmap << 1 | 1) << ahead >> 1)
        self._last = ack
        counter = ack.largest
        # Digits of text: shifting a number this long copies it for each bit.
        for arrived in reversed(f"{fresh:b}"):
            counter -= 1
            if arrived == "1" and counter in sent:
                self._arrived(counter)
        gained = before - len(sent)
        if gained:
            self.acknowledged += gained
            self.progressAt = now
        # An ACK of what was never sent must not make all that follows missing.
        self.largest = max(self.largest, min(ack.largest, self._newest))
        return gained > 0

    def due(
        self, roundTrip: float, timeout: float, size: int, now: float
    ) -> list[bytes]:
        """
        The packets to send again now, of at most ``size`` bytes.

        A packet counts as missing when one sent ``LOSS_REORDER`` later has
        arrived, or any later one and 9/8 of ``roundTrip`` has passed (RFC 9002,
        section 6.1), or nothing at all came for ``timeout`` seconds.
        """
        again: list[bytes] = []
        sent = self._sent
        while sent:
            counter, one = next(iter(sent.items()))
            if now < self._missingAt(one, roundTrip, timeout):
                break
            if one.size == MAX_PACKET:
                self.blackHole.largeMissed(one.newest)
            if now >= one.deadline:
                self._giveUp(counter)
                continue
            if one.packet is not None and one.size <= size:
                again.append(one.packet)
            # What is only counted moves on in the line as well.
            one.sentAt = now
            one.newest = self._newest
            sent.move_to_end(counter)
        self.resent += len(again)
        return again

    def unacknowledged(self, size: int, now: float) -> list[bytes]:
        """
        All packets that are not acknowledged and not too late, to be sent again on
        another path, which passes ``size`` bytes.
        """
        # What was lost on the other one says nothing of it.
        self.blackHole.restart(self._newest)
        again: list[bytes] = []
        for one in self._sent.values():
            if one.packet is None or one.size > size:
                continue
            if now < one.deadline:
                again.append(one.packet)
                one.sentAt = now
                one.newest = self._newest
        self.resent += len(again)
        return again

    def _missingAt(self, one: _Sent, roundTrip: float, timeout: float) -> float:
        if one.newest + LOSS_REORDER <= self.largest:
            return one.sentAt
        if one.newest < self.largest:
            return one.sentAt + min(max(1.125 * roundTrip, MINIMUM_PATIENCE), timeout)
        return one.sentAt + timeout

    def nextTimer(self, roundTrip: float, timeout: float) -> float | None:
        """
        When `due` has something to send, if ever.
        """
        if not self.resendable:
            # What is only counted is worth no wake-up: the next PING finds it.
            return None
        return self._missingAt(next(iter(self._sent.values())), roundTrip, timeout)
