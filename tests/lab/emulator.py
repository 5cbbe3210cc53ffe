"""
A bad link in user space, put into the router while traffic flows.

The router sends what comes from each host into a TUN device.  A process in its
namespace reads it there, has `line.Line` decide what becomes of it, and sends the
packets on through a raw socket: they are output of the router then, so its rules,
counters and quotas, which look at forwarded packets, see each packet once, before the
link.  For the same reason a NAT belongs into a namespace of its own: the router's
connection tracking would see each packet twice.

`Emulator` runs that process and talks to it: a JSON object in a line on its standard
input, answered by a line.  It ends with its standard input, so with us, however we end.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tests.lab.attendant import Attendant
from tests.lab.line import Line, Settings
from tests.lab.namespace import Host, LabUnavailable
from tests.lab.router import DETOURS, Router

#: linux/if_tun.h.
TUN = "/dev/net/tun"
TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000

#: Packets that wait in a TUN while our process does not run: half a second at
#: 100 Mbit/s.  The queue of a bad line is in `line.Line`, not here.
TUN_QUEUE = 5_000
#: Packets taken from one direction before the other has its turn.
BATCH = 64
#: Larger than any packet of IP.
READ_SIZE = 65536


class Emulator(Attendant):
    """
    The link between two hosts, as bad in each direction as its settings say.

    :ivar settings: those of each direction, by the host that sends.
    """

    title = "emulator"

    def __init__(
        self, router: Router, hosts: Sequence[Host], settings: Settings, seed: int
    ) -> None:
        """
        :param seed: of all chances; another one for each direction is made of it.

        :raise LabUnavailable: if the machine has no TUN devices.
        """
        if not os.access(TUN, os.R_OK | os.W_OK):
            raise LabUnavailable(f"needs {TUN}, to emulate a link (kernel module tun)")
        self._router = router
        self.settings = dict.fromkeys(hosts, settings)
        devices = self._devices()
        super().__init__(router, "tests.lab.emulator", [str(seed), *devices])
        try:
            self._tell()
            self._divert()
        except BaseException:
            self.close()
            raise

    def set(self, sender: Host | None = None, **settings: Any) -> None:
        """
        Change some settings of what one host sends, or of both directions; the others
        stay.  They hold when this returns.

        :raise ValueError: if there is no such setting or value; nothing is changed.
        """
        senders = self.settings if sender is None else [sender]
        changed = {host: self.settings[host].changed(**settings) for host in senders}
        self.settings |= changed
        self._tell()

    def _devices(self) -> list[str]:
        return [f"from-{host.port}" for host in self.settings]

    def _divert(self) -> None:
        """
        Lead what comes from the hosts into the TUN devices.  The routes go when the
        devices do, with the process.
        """
        for host, device in zip(self.settings, self._devices(), strict=True):
            ip = self._router.ip
            # It has no address and no neighbours: it must not look for any.
            ip("link", "set", device, "addrgenmode", "none", "multicast", "off")
            ip("link", "set", device, "txqueuelen", str(TUN_QUEUE), "up")
            way = ["default", "dev", device, "table", DETOURS[host.port]]
            ip("-4", "route", "add", *way)
            ip("-6", "route", "add", *way)

    def _tell(self) -> None:
        """
        Give the process all settings, and wait until they hold.
        """
        everything = [asdict(settings) for settings in self.settings.values()]
        self.ask(json.dumps(everything))


def openTun(name: str) -> int:
    """
    Make a TUN device, for as long as the file descriptor is open.
    """
    tun = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
    flags = IFF_TUN | IFF_NO_PI
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    return tun


class Out:
    """
    Where packets leave: complete ones, as they are, wherever they are addressed to.
    """

    def __init__(self) -> None:
        self._four = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._six = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)

    def send(self, packet: bytes) -> None:
        """
        Send a packet.  What the kernel refuses is lost, as on any link.
        """
        try:
            if packet[0] >> 4 == 6:
                where = socket.inet_ntop(socket.AF_INET6, packet[24:40])
                self._six.sendto(packet, (where, 0))
            else:
                where = socket.inet_ntop(socket.AF_INET, packet[16:20])
                self._four.sendto(packet, (where, 0))
        except OSError:
            return


def run(seed: int, devices: Sequence[str]) -> None:
    """
    Carry packets until the standard input ends.
    """
    clock = time.monotonic
    tuns = [openTun(name) for name in devices]
    lines = [Line(Settings(), seed * len(tuns) + n) for n in range(len(tuns))]
    ways = dict(zip(tuns, lines, strict=True))
    out = Out()
    print("ready", flush=True)
    while True:
        wait = min(line.nextTime() for line in lines) - clock()
        # A wait of forever is none at all for select().
        timeout = None if wait == float("inf") else max(0.0, wait)
        ready, _, _ = select.select([0, *tuns], [], [], timeout)
        if 0 in ready:
            if not (request := sys.stdin.readline()):
                return
            for line, settings in zip(lines, json.loads(request), strict=True):
                line.change(Settings(**settings), clock())
            print("done", flush=True)
        for tun, line in ways.items():
            if tun in ready:
                for packet in filter(isForwarded, read(tun)):
                    line.enter(packet, clock())
            for packet in line.leave(clock()):
                out.send(packet)


def read(tun: int) -> list[bytes]:
    """
    The packets that wait in a device, up to a batch.
    """
    packets: list[bytes] = []
    try:
        while len(packets) < BATCH:
            packets.append(os.read(tun, READ_SIZE))
    except BlockingIOError:
        pass
    return packets


def isForwarded(packet: bytes) -> bool:
    """
    Whether a packet came from a host.  The router's own kernel tells the device which
    IPv6 groups it listens to, at moments of its own, to addresses that no router
    forwards to (RFC 4291, section 2.7), and would take the chances of another.
    """
    return packet[0] >> 4 != 6 or packet[24:26] != b"\xff\x02"


def main() -> None:
    """
    The process.
    """
    # It stands for hardware, which does not wait for the programs that use it.
    os.nice(-20)
    run(int(sys.argv[1]), sys.argv[2:])


if __name__ == "__main__":
    main()
