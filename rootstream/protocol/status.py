"""
What a link tells of itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from rootstream.interfaces import IPath


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """
    What a link has done so far.  Times in seconds, sizes in bytes of packets;
    ``clockOffset`` in microseconds: add it to our media clock to get the peer's.
    ``packetsExpected`` less ``packetsInOrder`` were lost, or late, at first sight:
    what was sent again does not hide what the network did.
    """

    path: IPath | None
    impaired: bool
    roundTrip: float | None
    jitter: float
    clockOffset: int | None
    framesSent: int
    framesDropped: int
    framesReceived: int
    framesLost: int
    bytesSent: int
    bytesReceived: int
    packetsExpected: int
    packetsInOrder: int
    packetsAcknowledged: int
    packetsLost: int
    packetsResent: int
