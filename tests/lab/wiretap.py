"""
What passes the router, packet by packet, and somebody who makes use of it.

`Wiretap` writes down all IPv4 packets that come to the router and leave it.  `Forger`
is an attacker who sees what it sees, and sends a copy of each UDP datagram with a
source of his own choice: an address that somebody else has, who did not ask for
anything, or one of his own, from which he passes answers on.

Each is a process in the router's namespace that reads raw sockets.  Both see a packet
when it comes from its sender, so before an emulator's link; what the forger sends
leaves at once, so over a link with a delay it arrives first.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from rootstream.protocol.constants import TYPE_DATA
from rootstream.transport.clock import boottime
from tests.lab.namespace import LabUnavailable
from tests.lab.router import Router

ROOT = Path(__file__).resolve().parent.parent.parent

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


class _Process:
    """
    One of this module's processes.  It answers a line with a line, and ends with its
    standard input.
    """

    def __init__(self, router: Router, *words: str) -> None:
        self._process = router.popen(
            [sys.executable, "-m", "tests.lab.wiretap", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=1,
            cwd=ROOT,
            # What interrupts a run at its terminal must not reach it: we end it.
            start_new_session=True,
        )
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """
        End it.  Does no harm twice.
        """
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
        self._process.wait()

    def _ask(self) -> Any:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write("\n")
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        if not (answer := self._process.stdout.readline()):
            raise LabUnavailable("the wiretap ended; why is above")
        return json.loads(answer)


class Wiretap(_Process):
    """
    Writes down each packet.
    """

    def __init__(self, router: Router) -> None:
        self._seen: list[Seen] = []
        super().__init__(router, "listen")

    def seen(self) -> list[Seen]:
        """
        All packets so far.
        """
        for at, port, leaving, protocol, source, target, size, head in self._ask():
            self._seen.append(
                Seen(
                    at,
                    port,
                    leaving,
                    protocol,
                    tuple(source),
                    tuple(target),
                    size,
                    head,
                )
            )
        return list(self._seen)


class Forger(_Process):
    """
    Sends every UDP datagram between the hosts a second time, from another address.
    """

    def __init__(self, router: Router, address: str, answers: bool = False) -> None:
        """
        :param address: the source.  Packets to it get as far as the router.
        :param answers: whether it is his own: what is sent there he passes on to the
            other host, so that both can talk through him.
        """
        router.ip("route", "replace", "blackhole", address)
        super().__init__(router, "forge", address, *(["answers"] if answers else []))

    def copied(self) -> int:
        """
        How many datagrams he has sent.
        """
        count: int = self._ask()
        return count


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
        ready, _, _ = select.select([0, *taps], [], [])
        seen += [astuple(describe(*each)) for each in packets(taps)]
        if 0 in ready:
            if not sys.stdin.readline():
                return
            print(json.dumps(seen), flush=True)
            seen = []


def forge(address: str, answers: bool) -> None:
    """
    Copy datagrams until the standard input ends.
    """
    taps = openTaps(ETH_P_IP)
    out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    forged = socket.inet_aton(address)
    #: Who is behind each interface, once he has spoken.
    hosts: dict[str, bytes] = {}
    copied = 0
    print(json.dumps("ready"), flush=True)
    while True:
        ready, _, _ = select.select([0, *taps], [], [])
        for port, _, packet in packets(taps):
            if packet[9] != socket.IPPROTO_UDP:
                continue
            source, target = packet[12:16], packet[16:20]
            hosts[port] = source
            if target == forged:
                other = hosts.get(PORTS[port == PORTS[0]])
                if not answers or other is None:
                    continue
                target = other
            out.sendto(
                readdressed(packet, forged, target), (socket.inet_ntoa(target), 0)
            )
            copied += 1
        if 0 in ready:
            if not sys.stdin.readline():
                return
            print(copied, flush=True)


def readdressed(packet: bytes, source: bytes, target: bytes) -> bytes:
    """
    A datagram over IPv4, with other addresses and the same ports.
    """
    header = (packet[0] & 0x0F) * 4
    changed = bytearray(packet)
    changed[12:20] = source + target
    # None: that is allowed over IPv4.  The kernel makes that of the header.
    changed[header + 6 : header + 8] = bytes(2)
    return bytes(changed)


def main() -> None:
    """
    The process.
    """
    # It stands for hardware, which does not wait for the programs that use it.
    os.nice(-20)
    if sys.argv[1] == "listen":
        listen()
    else:
        forge(sys.argv[2], sys.argv[3:] == ["answers"])


if __name__ == "__main__":
    main()
