"""
Whether a path swallows large packets: a *black hole* (RFC 8899, section 4.3).

Routers should say when a packet is too large, by ICMP.  Many do not, and what ICMP
says anybody can forge, so it is not listened to.  What is left is that large packets
are lost and small ones arrive.

Chance does that as well, and loses three in a row of a stream every few seconds.  So
what counts is a run of lost ones, copies included, none of them known to have arrived
and small ones arriving all the while.  A *round* is large ones sent and lost, and a
small one sent after them that arrived; it takes several, and one counts only so much,
because a network that is down for a moment swallows everything.  Where chance loses one
packet in five, sixteen in a row are one in 10^11.

*Large* are packets as large as packets can be, as all of a picture are but the last;
*small* are all others.
"""

from __future__ import annotations

from rootstream.protocol.constants import (
    BLACK_HOLE_LOSSES,
    BLACK_HOLE_ROUND_LOSSES,
    BLACK_HOLE_ROUNDS,
)


class BlackHole:
    """
    The evidence that large packets do not get through.

    Counters are those of packets; ``newest`` is the newest counter at the time when a
    packet, or a copy of it, went out.
    """

    def __init__(self) -> None:
        self._small = -1
        self.restart(-1)

    def restart(self, newest: int) -> None:
        """
        Nothing sent up to now counts.
        """
        self._since = newest
        self._acquit()

    def _acquit(self) -> None:
        self._lost = 0
        self._lostInRound = 0
        self._rounds = 0
        self._roundEnd = -1

    def largeArrived(self, newest: int) -> None:
        """
        A large packet was acknowledged: no black hole so far.
        """
        if newest > self._since:
            self._since = newest
        if self._lost:
            self._acquit()

    def smallArrived(self, counter: int) -> None:
        """
        A small packet was acknowledged.
        """
        if counter > self._small:
            self._small = counter

    def largeMissed(self, newest: int) -> None:
        """
        A large packet, or a copy of it, came to be missing.
        """
        if newest < self._since:
            return
        if self._lostInRound < BLACK_HOLE_ROUND_LOSSES:
            self._lostInRound += 1
            self._lost += 1
        if self._roundEnd <= newest < self._small:
            self._rounds += 1
            self._roundEnd = self._small
            self._lostInRound = 0

    @property
    def found(self) -> bool:
        """
        Whether there is no doubt any more.
        """
        return self._lost >= BLACK_HOLE_LOSSES and self._rounds >= BLACK_HOLE_ROUNDS
