"""
Somebody at the router who sends a host far more than it can want.

He is a process in the router's namespace with a raw socket, so his datagrams come from
whatever address he likes.  ``KINDS`` says what he sends.  He keeps to a rate as well as
he can, and says how many he sent.
"""

from __future__ import annotations

import os
import random
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator

from rootstream.protocol.constants import (
    INIT_SIZE,
    TYPE_DATA,
    TYPE_INIT,
    VERSION,
)
from rootstream.protocol.handshake import mac1Key
from rootstream.protocol.noise import keyedMac
from tests.lab.attendant import Attendant
from tests.lab.router import Router
from tests.lab.wiretap import ETH_P_IP, openTaps, packets

__all__ = ["KINDS", "Flooder"]

#: What he can send: bytes that are no packets; INITs by one who does not know the
#: host's key; INITs by one who does; DATA of a session that he has seen, from anywhere;
#: and the same from the viewer's own address.
KINDS = ("junk", "init", "knowing", "data", "viewer")

#: Different datagrams of one flood, which he repeats.
VARIETY = 2048
#: RFC 2544: the network of addresses for such things.
SOURCES = "198.18."
#: Seconds between two handfuls.
PACE = 0.002
#: Of an INIT: the versions that it speaks, and no flags.
INIT_START = bytes((TYPE_INIT, VERSION, VERSION, 0))
#: How many bytes of a DATA packet tell whose it is.
INDEX = 5


class Flooder(Attendant):
    """
    Floods a UDP port from now on, until it is closed.
    """

    title = "flooder"

    def __init__(
        self,
        router: Router,
        kind: str,
        target: tuple[str, int],
        rate: int,
        key: bytes = bytes(32),
    ) -> None:
        """
        :param rate: datagrams a second.
        :param key: the host's X25519 key.
        """
        # What answers there are go no further.
        router.ip("route", "replace", "blackhole", SOURCES + "0.0/16")
        words = [kind, target[0], str(target[1]), str(rate), key.hex()]
        super().__init__(router, "tests.lab.flooder", words)

    def sent(self) -> int:
        """
        How many datagrams he has sent.
        """
        return int(self.ask())


def datagram(source: str, ports: tuple[int, int], target: str, data: bytes) -> bytes:
    """
    A datagram over IPv4; the kernel fills in what is missing in its header.
    """
    size = 28 + len(data)
    header = struct.pack(
        ">BBHHHBBH", 0x45, 0, size, 0, 0, 64, socket.IPPROTO_UDP, 0
    ) + (socket.inet_aton(source) + socket.inet_aton(target))
    # No checksum, which is allowed over IPv4.
    return header + struct.pack(">HHHH", *ports, size - 20, 0) + data


def seen(target: str, port: int) -> tuple[str, int, bytes]:
    """
    Who sends DATA to the host, and what it begins with.
    """
    taps = openTaps(ETH_P_IP)
    try:
        while True:
            select.select(taps, [], [], 20.0)
            for _, _, packet in packets(taps):
                start = (packet[0] & 0x0F) * 4
                data = packet[start + 8 :]
                if (
                    packet[9] == socket.IPPROTO_UDP
                    and packet[16:20] == socket.inet_aton(target)
                    and packet[start + 2 : start + 4] == port.to_bytes(2, "big")
                    and data[:1] == bytes((TYPE_DATA,))
                ):
                    source = int.from_bytes(packet[start : start + 2], "big")
                    return socket.inet_ntoa(packet[12:16]), source, data[:INDEX]
    finally:
        for tap in taps:
            tap.close()


def payloads(kind: str, key: bytes, index: bytes) -> Iterator[bytes]:
    """
    What the datagrams carry.
    """
    chance = random.Random(kind)
    secret = mac1Key(key)
    while True:
        match kind:
            case "junk":
                yield chance.randbytes(chance.randrange(1, 400))
            case "init":
                yield INIT_START + chance.randbytes(INIT_SIZE - len(INIT_START))
            case "knowing":
                start = INIT_START + chance.randbytes(140)
                yield start + keyedMac(secret, start) + bytes(16)
            case _:
                counter = chance.randrange(1 << 20, 1 << 21).to_bytes(8, "little")
                yield index + counter + chance.randbytes(100)


def flood(kind: str, target: str, port: int, rate: int, key: bytes) -> None:
    """
    Send until the standard input ends.
    """
    viewer, viewerPort, index = "", 0, b""
    if kind in ("data", "viewer"):
        viewer, viewerPort, index = seen(target, port)
    chance = random.Random(port)
    ready = []
    for data, _ in zip(payloads(kind, key, index), range(VARIETY), strict=False):
        source = f"{SOURCES}{chance.randrange(256)}.{chance.randrange(1, 255)}"
        ports = chance.randrange(1024, 65536), port
        if kind == "viewer":
            source, ports = viewer, (viewerPort, port)
        ready.append(datagram(source, ports, target, data))
    out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    where = (target, 0)
    print(0, flush=True)
    began = time.monotonic()
    sent = 0
    while True:
        due = int((time.monotonic() - began) * rate)
        for number in range(sent, min(due, sent + rate // 20)):
            out.sendto(ready[number % VARIETY], where)
        sent = max(sent, min(due, sent + rate // 20))
        if select.select([0], [], [], PACE)[0]:
            if not sys.stdin.readline():
                return
            print(sent, flush=True)


def main() -> None:
    """
    The process.
    """
    os.nice(-5)
    kind, target, port, rate, key = sys.argv[1:]
    flood(kind, target, int(port), int(rate), bytes.fromhex(key))


if __name__ == "__main__":
    main()
