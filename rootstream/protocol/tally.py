"""
What a link has counted so far.
"""

from __future__ import annotations

from dataclasses import dataclass

from rootstream.protocol.recovery import SentPackets

__all__ = ["Tally"]


@dataclass(slots=True)
class Tally:
    """
    Counts of a whole conversation (`rootstream.protocol.status.LinkStatus`).  The
    last three are those of sessions that are gone; the others count for themselves.

    Apart from the link for its size, too: an object of more than 30 attributes takes
    1.3 kB more than one of 30, and there is one a peer.
    """

    framesSent: int = 0
    bytesSent: int = 0
    bytesReceived: int = 0
    packetsExpected: int = 0
    packetsInOrder: int = 0
    acknowledged: int = 0
    lost: int = 0
    resent: int = 0

    def account(self, sent: SentPackets) -> None:
        """
        Take over what a session had counted.
        """
        self.acknowledged += sent.acknowledged
        self.lost += sent.lost
        self.resent += sent.resent
