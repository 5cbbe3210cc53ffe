"""
Somebody at the router who sends what he sees a second time, from another address.

He copies every UDP datagram over IPv4 between the hosts, with the address of somebody
who asked for nothing, or with his own, from which he passes answers on.  He is a
process in the router's namespace.  What comes he sees at once, and what he sends leaves
at once: over a link that has a delay, his copy is there first.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys

from tests.lab.attendant import Attendant
from tests.lab.router import Router
from tests.lab.wiretap import ETH_P_IP, openTaps, packets

#: The word that makes him pass answers on.
ANSWERS = "answers"

#: Which of the router's interfaces leads to the other host.
ACROSS = {"toa": "tob", "tob": "toa"}


class Forger(Attendant):
    """
    Sends every UDP datagram between the hosts a second time, from another address.
    """

    title = "sniffer"

    def __init__(self, router: Router, address: str, answers: bool = False) -> None:
        """
        :param address: the source.  Packets to it get as far as the router.
        :param answers: whether it is his own: what is sent there he passes on to the
            other host, so that both can talk through him.
        """
        router.ip("route", "replace", "blackhole", address)
        words = [address, ANSWERS] if answers else [address]
        super().__init__(router, "tests.lab.forger", words)

    def copied(self) -> int:
        """
        How many datagrams he has sent.
        """
        count: int = json.loads(self.ask())
        return count


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
    print(copied, flush=True)
    while True:
        ready, _, _ = select.select([0, *map(socket.socket.fileno, taps)], [], [])
        for port, _, packet in packets(taps):
            if packet[9] != socket.IPPROTO_UDP:
                continue
            source, target = packet[12:16], packet[16:20]
            hosts[port] = source
            if target == forged:
                other = hosts.get(ACROSS[port])
                if not answers or other is None:
                    continue
                target = other
            copy = readdressed(packet, forged, target)
            out.sendto(copy, (socket.inet_ntoa(target), 0))
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
    # No checksum, which is allowed over IPv4; the header's is the kernel's work.
    changed[header + 6 : header + 8] = bytes(2)
    return bytes(changed)


def main() -> None:
    """
    The process.
    """
    os.nice(-20)
    forge(sys.argv[1], ANSWERS in sys.argv[2:])


if __name__ == "__main__":
    main()
