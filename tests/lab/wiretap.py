"""
What passes the router, written down packet by packet.

`Wiretap` is a process in the router's namespace that reads raw sockets.  It sees an
IPv4 packet when it comes from its sender, so before an emulator's link, and again when
it leaves.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import Any

from rootstream.protocol.constants import TYPE_DATA
from rootstream.transport.clock import boottime
from tests.lab.attendant import Attendant
from tests.lab.router import Router

#: linux/if_ether.h.  Only "all protocols" brings the packets that leave.
ETH_P_ALL = 0x0003
ETH_P_IP = 0x0800
#: linux/if_packet.h.
PACKET_OUTGOING = 4

PORTS = ("toa", "tob")
READ_SIZE = 65536
#: A second of a fast stream.
BUFFER = 16 << 20
#: Of a payload: the header of DATA and what a TCP record has in front.
HEAD = 16


@dataclass(frozen=True, slots=True)
class Seen:
    """
    One packet at one of the router's interfaces.

    :ivar at: when, in seconds since boot.
    :ivar port: the interface.
    :ivar leaving: whether it left there, or came.
    :ivar protocol: of IP: ``socket.IPPROTO_UDP`` and so on.
    :ivar source: the address and the port, 0 where there are none.
    :ivar target: the same.
    :ivar size: bytes of the payload.
    :ivar head: what the payload begins with, in hexadecimal.
    """

    at: float
    port: str
    leaving: bool
    protocol: int
    source: tuple[str, int]
    target: tuple[str, int]
    size: int
    head: str

    @property
    def kind(self) -> int | None:
        """
        The type of a packet of ours, sent in a datagram; None for anything else.
        """
        if self.protocol != socket.IPPROTO_UDP or not self.head:
            return None
        return int(self.head[:2], 16)

    @property
    def index(self) -> str | None:
        """
        The receiver index of DATA.
        """
        return self.head[2:10] if self.kind == TYPE_DATA else None


class Wiretap(Attendant):
    """
    Writes down each packet from now on.
    """

    title = "sniffer"

    def __init__(self, router: Router) -> None:
        super().__init__(router, "tests.lab.wiretap")
        self._seen: list[Seen] = []

    def seen(self) -> list[Seen]:
        """
        All packets so far.
        """
        told = json.loads(self.ask())
        for at, port, leaving, protocol, source, target, size, head in told:
            ends = (tuple(source), tuple(target))
            self._seen.append(Seen(at, port, leaving, protocol, *ends, size, head))
        return list(self._seen)


def openTaps(kind: int) -> dict[socket.socket, str]:
    """
    A socket for each interface, which gets packets of IP.
    """
    taps = {}
    for port in PORTS:
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(kind))
        tap.bind((port, kind))
        tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        tap.setblocking(False)
        taps[tap] = port
    return taps


def packets(
    taps: dict[socket.socket, str],
) -> Iterator[tuple[str, bool, bytes]]:
    """
    What waits in the sockets: interface, whether it leaves, and the packet.
    """
    for tap, port in taps.items():
        while True:
            try:
                packet, about = tap.recvfrom(READ_SIZE)
            except BlockingIOError:
                break
            if about[1] == ETH_P_IP:
                yield port, about[2] == PACKET_OUTGOING, packet


def describe(port: str, leaving: bool, packet: bytes) -> Seen:
    """
    A packet of IPv4, taken apart.
    """
    header = (packet[0] & 0x0F) * 4
    protocol = packet[9]
    (size,) = struct.unpack_from(">H", packet, 2)
    ends = (socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20]))
    numbers = (0, 0)
    start = header
    if protocol in (socket.IPPROTO_UDP, socket.IPPROTO_TCP):
        numbers = struct.unpack_from(">HH", packet, header)
        tcp = protocol == socket.IPPROTO_TCP
        start += (packet[header + 12] >> 4) * 4 if tcp else 8
    payload = packet[start:size]
    return Seen(
        boottime(),
        port,
        leaving,
        protocol,
        (ends[0], numbers[0]),
        (ends[1], numbers[1]),
        len(payload),
        payload[:HEAD].hex(),
    )


def listen() -> None:
    """
    Write down packets until the standard input ends.
    """
    taps = openTaps(ETH_P_ALL)
    seen: list[tuple[Any, ...]] = []
    print(json.dumps("ready"), flush=True)
    while True:
        ready, _, _ = select.select([0, *map(socket.socket.fileno, taps)], [], [])
        seen += [astuple(describe(*each)) for each in packets(taps)]
        if 0 in ready:
            if not sys.stdin.readline():
                return
            print(json.dumps(seen), flush=True)
            seen = []


def main() -> None:
    """
    The process.
    """
    # It stands for hardware, which does not wait for the programs that use it.
    os.nice(-20)
    listen()


if __name__ == "__main__":
    main()
