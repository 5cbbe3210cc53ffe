"""
How fast packets leave on one path: in trains that it has room for.

A datagram that finds a full buffer on its way is lost, and nobody tells before its
acknowledgement is missed.  So a frame that is longer than a train does not leave at
once but at a *rate*, which the path finds out: it grows while more waits than may
leave and nothing is missing, and is halved when packets are missing by the dozen, as
the end of a train is that was too long.  What chance loses comes one by one, says
nothing about room, and only keeps the rate from growing.

A stream has a pace of its own (`rootstream.protocol.backlog`).
"""

from __future__ import annotations

from rootstream.protocol.constants import (
    BURST_MOST,
    BURST_PACKETS,
    BURST_SECONDS,
    PACE_GROWTH,
    PACE_LEAST,
    PACE_MISSED,
    PACE_MOST,
    PACE_START,
    PACE_STEP,
)


class Pace:
    """
    The pace of one path.

    @ivar rate: packets a second.
    """

    __slots__ = ("_growsAt", "_halvesAt", "_paidUntil", "rate")

    def __init__(self) -> None:
        self.rate: float = PACE_START
        #: What has left was due by then; the future is borrowed from.
        self._paidUntil = 0.0
        self._growsAt: float | None = None
        self._halvesAt = 0.0

    def _since(self, now: float) -> float:
        # A pause earns one burst, however long it was.
        burst = min(
            max(BURST_PACKETS / self.rate, BURST_SECONDS), BURST_MOST / self.rate
        )
        return max(self._paidUntil, now - burst)

    def allowance(self, now: float) -> int:
        """
        How many packets may leave now.
        """
        return round((now - self._since(now)) * self.rate)

    def left(self, count: int, now: float) -> None:
        """
        So many packets have left.
        """
        if count:
            self._paidUntil = self._since(now) + count / self.rate

    def strained(self, roundTrip: float, now: float) -> None:
        """
        More waits than may leave.
        """
        step = max(roundTrip, PACE_STEP)
        if self._growsAt is None:
            # What this rate does is known a round trip later.
            self._growsAt = now + step
        elif now >= self._growsAt:
            self._growsAt = now + step
            self.rate = min(self.rate * PACE_GROWTH, PACE_MOST)

    def missed(self, count: int, roundTrip: float, now: float) -> None:
        """
        So many packets have come to be missing at once.
        """
        step = max(roundTrip, PACE_STEP)
        self._growsAt = now + step
        if count >= PACE_MISSED and now >= self._halvesAt:
            # What left before this is no evidence against the new rate.
            self._halvesAt = now + step
            self.rate = max(self.rate / 2, PACE_LEAST)

    def nextTimer(self) -> float:
        """
        When enough may leave to be worth waking up for.
        """
        # A quarter of a train is; one packet is not.
        return self._paidUntil + BURST_PACKETS / 4 / self.rate
