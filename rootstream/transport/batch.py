"""
Trains of datagrams: many in one call of the kernel.

Sending a picture of seventy packets by seventy calls costs more than encrypting it.
Linux takes a whole train at once (UDP_SEGMENT, generic segmentation offload, since
4.18) and hands one over at once (UDP_GRO, since 5.0): one path through the network
stack, however many packets are in it.  What is on the wire is the same.

Both are asked of a socket, which may have neither; `udp` does without then, and so it
does when the environment says ``ROOTSTREAM_TRAINS=off``, for a network card or a tunnel
that says it takes them and spoils them.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

from rootstream.transport.sockets import Destination

__all__ = ["receiveTrain", "sendTrain", "takesTrains", "trains"]

# Not in the socket module; the numbers are Linux's (linux/udp.h).
_UDP_SEGMENT = 103
_UDP_GRO = 104
_SEGMENT = struct.Struct("=H")
_GRO_SIZE = struct.Struct("=i")

#: The variable that forbids trains when it is ``off``.
SWITCH = "ROOTSTREAM_TRAINS"

#: Packets in a train: UDP_MAX_SEGMENTS of kernels before 6.9.
MAX_TRAIN = 64
#: Bytes in a train: what an IPv6 datagram can hold, its header of UDP included.
MAX_TRAIN_BYTES = 65_535 - 8 - 40

_ANCILLARY = socket.CMSG_SPACE(_GRO_SIZE.size)


def trains(packets: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """
    Cut packets, in their order, into what one call can send: all of one size, but for
    the last, which may be smaller.
    """
    start = 0
    count = len(packets)
    while start < count:
        size = len(packets[start])
        most = min(count, start + min(MAX_TRAIN, MAX_TRAIN_BYTES // size))
        alike = takewhile(size.__eq__, map(len, packets[start:most]))
        end = start + len(list(alike))
        if end < most and len(packets[end]) < size:
            end += 1
        yield packets[start:end]
        start = end


def sendTrain(
    skt: socket.socket, train: Sequence[bytes], destination: Destination | None
) -> None:
    """
    Send one of `trains`, to ``destination`` or whom the socket is connected to: all of
    it or nothing.

    :raises OSError: if the kernel does not take it.
    """
    ancillary: list[Any] = []
    if len(train) > 1:
        segment = _SEGMENT.pack(len(train[0]))
        ancillary.append((socket.SOL_UDP, _UDP_SEGMENT, segment))
    if destination is None:
        skt.sendmsg(train, ancillary)
    else:
        skt.sendmsg(train, ancillary, 0, destination)


def takesTrains(skt: socket.socket) -> bool:
    """
    Ask a UDP socket to hand over trains.  Returns whether it does, and so whether it
    sends them.
    """
    if os.environ.get(SWITCH) == "off":
        return False
    try:
        skt.setsockopt(socket.SOL_UDP, _UDP_GRO, 1)
    except OSError:
        return False
    return True


def receiveTrain(skt: socket.socket, largest: int) -> tuple[list[bytes], Any]:
    """
    The datagrams that wait first in a socket which `takesTrains`, and who sent them.
    Of one larger than ``largest`` no more than that and a byte is there.

    :raises OSError: as `socket.recvmsg` does.
    """
    data, ancillary, _, source = skt.recvmsg(65_535, _ANCILLARY)
    size = 0
    for level, kind, value in ancillary:
        if level == socket.SOL_UDP and kind == _UDP_GRO:
            (size,) = _GRO_SIZE.unpack_from(value)
    if not 0 < size < len(data):
        return [data[: largest + 1]], source
    cut = min(size, largest + 1)
    return [data[at : at + cut] for at in range(0, len(data), size)], source
