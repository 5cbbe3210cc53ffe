"""
What was sent and is not yet known to have arrived (after RFC 9002).

Media packets are kept until they are acknowledged or too late to be of use, and
sent again, same bytes and same counter, when an acknowledgement shows a hole or
none comes: a picture of twenty packets on a network that loses one in twenty
would otherwise be broken more often than not.  The receiver's replay window
drops the copy that was not needed.

INPUT and CONTROL are not kept here: they are resent by their own sequence
numbers, which outlive the session (`rootstream.protocol.channel`).

This is on the way of every packet, so nothing here looks at all that is under way,
and there is no object a packet.  What left together is a *flight*, and the flights
stand in the order in which they left, which is the order in which their packets come
to be missing: `SentPackets.due` looks at the first until one is not missing, and the
timer is that one's.  What is sent again leaves in a new flight, at the end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rootstream.protocol.blackhole import BlackHole
from rootstream.protocol.constants import (
    ACK_BITS,
    LOSS_REORDER,
    MAX_PACKET,
    MAX_SENT_BYTES,
    MAX_SPENT_FLIGHTS,
    MINIMUM_PATIENCE,
    SENT_LIFE,
)
from rootstream.protocol.frames import Ack


@dataclass(slots=True, eq=False)
class _Flight:
    """
    Packets that left at the same time and are of use as long: ``head`` and the
    ``rest``, which passes over those that have arrived meanwhile.
    """

    head: int
    rest: Iterator[int]
    sentAt: float
    deadline: float


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
        #: By counter; empty for one that is only counted, not resent.
        self._packets: dict[int, bytes] = {}
        self._flights: deque[_Flight] = deque()
        #: The newest counter when a packet was last sent again.  A copy has the
        #: counter of the first, so this is what tells whether a later packet has
        #: overtaken it.
        self._copied: dict[int, int] = {}
        self._bytes = 0
        self._newest = -1
        #: The last ACK: its largest counter, and all that it covers, that one lowest.
        self._told = (-1, 0)
        self.largest = -1
        self.progressAt = 0.0
        self.lost = 0
        self.acknowledged = 0
        self.resent = 0
        self.blackHole = BlackHole()

    def __len__(self) -> int:
        return len(self._packets)

    @property
    def resendable(self) -> bool:
        """
        Whether media waits that would be sent again.
        """
        return self._bytes > 0

    @property
    def overtaken(self) -> bool:
        """
        Whether something sent later than what is still under way has arrived.
        """
        oldest = self._oldest()
        if oldest is None:
            return False
        return self._copied.get(oldest.head, oldest.head) < self.largest

    def clear(self) -> None:
        """
        Wait for nothing any more.
        """
        self._packets.clear()
        self._flights.clear()
        self._copied.clear()
        self._bytes = 0

    def sent(
        self, first: int, packets: Sequence[bytes], now: float, deadline: float
    ) -> None:
        """
        Enter packets that went out together, with the counters from ``first`` on.
        They are sent again until ``deadline``.
        """
        counters = range(first, first + len(packets))
        self._newest = counters[-1]
        self._packets.update(zip(counters, packets, strict=True))
        self._bytes += sum(map(len, packets))
        self._enter(counters, now, deadline)
        while self._bytes > MAX_SENT_BYTES and (oldest := self._oldest()):
            self._giveUp(oldest.head)

    def counted(self, counter: int, now: float) -> None:
        """
        Enter a packet that went out and is not to be sent again.  It is smaller than
        packets can be.
        """
        self._newest = counter
        self._packets[counter] = b""
        self._enter((counter,), now, now + SENT_LIFE)

    def _enter(self, counters: Sequence[int], now: float, deadline: float) -> None:
        flights = self._flights
        if len(flights) > len(self._packets) + MAX_SPENT_FLIGHTS:
            # Over a stream nobody asks what is due, and the first may wait for long.
            self._flights = flights = deque(filter(self._underWay, flights))
        rest = filter(self._packets.__contains__, counters[1:])
        flights.append(_Flight(counters[0], rest, now, deadline))

    def _underWay(self, flight: _Flight) -> bool:
        """
        Whether anything of it is not known to have arrived: its ``head`` then is.
        """
        if flight.head in self._packets:
            return True
        head = next(flight.rest, None)
        if head is None:
            return False
        flight.head = head
        return True

    def _oldest(self) -> _Flight | None:
        """
        The first flight that is under way, if any is.
        """
        flights = self._flights
        while flights:
            if self._underWay(flights[0]):
                return flights[0]
            flights.popleft()
        return None

    def _giveUp(self, counter: int) -> None:
        self._bytes -= len(self._packets.pop(counter))
        self._copied.pop(counter, None)
        self.lost += 1

    def received(self, ack: Ack, now: float) -> bool:
        """
        Take an acknowledgement.  Whatever it does not cover stays.  Returns whether
        it told anything new.
        """
        told = ack.bitmap << 1 | 1
        # Most of an ACK repeats the one before.
        largest, known = self._told
        ahead = ack.largest - largest
        fresh = told & ~(known << ahead) if 0 <= ahead <= ACK_BITS else told
        self._told = ack.largest, told
        # An ACK of what was never sent must not make all that follows missing.
        self.largest = max(self.largest, min(ack.largest, self._newest))
        covered = range(ack.largest + 1 - fresh.bit_length(), ack.largest + 1)
        packets = self._packets
        if fresh & (fresh + 1):
            # Digits of text: shifting a number this long copies it for each bit.
            arrived = [
                counter
                for counter, digit in zip(covered, f"{fresh:b}", strict=True)
                if digit == "1" and counter in packets
            ]
        else:
            # Nothing is missing between.
            arrived = list(filter(packets.__contains__, covered))
        if not arrived:
            return False
        self._arrived(arrived)
        self.acknowledged += len(arrived)
        self.progressAt = now
        return True

    def _arrived(self, counters: Sequence[int]) -> None:
        sizes = list(map(len, map(self._packets.pop, counters)))
        self._bytes -= sum(sizes)
        copied = self._copied
        if not copied and sizes.count(MAX_PACKET) == len(sizes):
            self.blackHole.largeArrived(counters[-1])
            return
        ends = list(zip(counters, sizes, strict=True))
        large = [counter for counter, size in ends if size == MAX_PACKET]
        if large:
            newest = large[-1]
            if copied:
                newest = max(copied.get(counter, counter) for counter in large)
            self.blackHole.largeArrived(newest)
        if len(large) < len(ends):
            small = [counter for counter, size in ends if size != MAX_PACKET]
            self.blackHole.smallArrived(small[-1])
        if copied:
            for counter in counters:
                copied.pop(counter, None)

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
        while flight := self._oldest():
            if now < self._missingAt(flight, roundTrip, timeout):
                break
            missing = [flight.head]
            for counter in flight.rest:
                flight.head = counter
                if now < self._missingAt(flight, roundTrip, timeout):
                    break
                missing.append(counter)
            else:
                self._flights.popleft()
            again += self._missed(missing, flight.deadline, size, now)
        self.resent += len(again)
        return again

    def _missed(
        self, counters: Sequence[int], deadline: float, size: int, now: float
    ) -> list[bytes]:
        """
        These packets of one flight are missing.  Returns those to send again.
        """
        again = []
        for counter in counters:
            packet = self._packets[counter]
            if len(packet) == MAX_PACKET:
                self.blackHole.largeMissed(self._copied.get(counter, counter))
            if now >= deadline:
                self._giveUp(counter)
            elif 0 < len(packet) <= size:
                again.append(packet)
        if now < deadline:
            # What is only counted moves on in the line as well.
            self._copy(counters, deadline, now)
        return again

    def _copy(self, counters: Sequence[int], deadline: float, now: float) -> None:
        self._enter(counters, now, deadline)
        self._copied.update(dict.fromkeys(counters, self._newest))

    def unacknowledged(self, size: int, now: float) -> list[bytes]:
        """
        All packets that are not acknowledged and not too late, to be sent again on
        another path, which passes ``size`` bytes.
        """
        # What was lost on the other one says nothing of it.
        self.blackHole.restart(self._newest)
        again: list[bytes] = []
        packets = self._packets
        flights, self._flights = self._flights, deque()
        for flight in filter(self._underWay, flights):
            stay: list[int] = []
            leave: list[int] = []
            for each in (flight.head, *flight.rest):
                fits = 0 < len(packets[each]) <= size
                (leave if fits and now < flight.deadline else stay).append(each)
            if stay:
                self._enter(stay, flight.sentAt, flight.deadline)
            if leave:
                self._copy(leave, flight.deadline, now)
                again += [packets[each] for each in leave]
        self.resent += len(again)
        return again

    def _missingAt(self, flight: _Flight, roundTrip: float, timeout: float) -> float:
        """
        When the head of a flight counts as missing.
        """
        newest = self._copied.get(flight.head, flight.head)
        if newest + LOSS_REORDER <= self.largest:
            return flight.sentAt
        if newest < self.largest:
            wait = min(max(1.125 * roundTrip, MINIMUM_PATIENCE), timeout)
            return flight.sentAt + wait
        return flight.sentAt + timeout

    def nextTimer(self, roundTrip: float, timeout: float) -> float | None:
        """
        When `due` has something to send, if ever.
        """
        # What is only counted is worth no wake-up: the next PING finds it.
        oldest = self._oldest() if self.resendable else None
        if oldest is None:
            return None
        return self._missingAt(oldest, roundTrip, timeout)
