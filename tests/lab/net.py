"""
A small internet inside the machine: two hosts with a router between them.

`Network` builds network namespaces, ``a - r - b``, or ``a - natA - r - natB - b``, with
IPv4 and IPv6, and takes them away again.

It needs root, `ip` and `nft`; `openNetwork` skips a test without them, or fails it
where ``ROOTSTREAM_LAB_REQUIRED`` is set, so that a gate cannot pass by skipping.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.lab.emulator import Emulator
from tests.lab.line import Settings
from tests.lab.namespace import (
    NAMESPACES,
    Host,
    LabUnavailable,
    Namespace,
    checkMachine,
)
from tests.lab.nat import Nat
from tests.lab.router import Router

__all__ = [
    "NAMESPACES",
    "Emulator",
    "Host",
    "LabUnavailable",
    "Nat",
    "Network",
    "Router",
    "openNetwork",
    "orSkip",
]

#: Ours: the process that made it, which of its networks, and which machine.
NAME = re.compile(r"rs(?P<pid>\d+)-\d+-(?:[abr]|nat[AB])")


#: The first addresses of the cables, which RFC 5737 and RFC 3849 keep for
#: documentation, and RFC 1918 behind a NAT: a packet that escapes has nowhere to go.
OUTSIDE = {"a": ("198.51.100.", "2001:db8:a::"), "b": ("203.0.113.", "2001:db8:b::")}
INSIDE = {"a": ("10.1.0.", "2001:db8:a1::"), "b": ("10.2.0.", "2001:db8:b1::")}

#: The interface of a cable's end.  Without a number of its own it has the same as the
#: other end's in its namespace, and Linux takes up to a second to see them come up.
END_INDEX = "100"


class Network:
    """
    Two hosts with a router between them, for as long as the context lasts.

    Names hold the number of our process, so that networks of several runs live side
    by side, and so that what a killed run left can be told from what a live one
    uses: a new network clears the former first.

    :ivar a: a host.
    :ivar b: the other host.
    :ivar router: the machine in the middle.
    :ivar natA: the NAT between ``a`` and the router, if there is one.
    :ivar natB: the NAT between ``b`` and the router, if there is one.
    """

    _serial = itertools.count()

    def __init__(self, nat: bool = False) -> None:
        self._prefix = f"rs{os.getpid()}-{next(self._serial)}"
        self._emulator: Emulator | None = None
        self.router = Router(f"{self._prefix}-r")
        self.natA = self._nat("a") if nat else None
        self.natB = self._nat("b") if nat else None
        self.a = self._host("a", self.natA)
        self.b = self._host("b", self.natB)

    def __enter__(self) -> Network:
        self.open()
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    @property
    def machines(self) -> list[Namespace]:
        """
        All of the network's namespaces.
        """
        machines = [self.a, self.b, self.router, self.natA, self.natB]
        return [machine for machine in machines if machine is not None]

    def open(self) -> None:
        """
        Build the network.

        :raise LabUnavailable: if this machine or user cannot; nothing is left then.
        """
        checkMachine()
        clearLeftovers()
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """
        End what runs in the network and take it away.  Does no harm twice.
        """
        if self._emulator is not None:
            self._emulator.close()
        for machine in self.machines:
            if (NAMESPACES / machine.name).exists():
                machine.delete()

    def emulate(self, seed: int = 0, **settings: Any) -> Emulator:
        """
        Make the link between the hosts as bad as `line.Settings` say, in each
        direction: a delay of 10 ms makes a round trip of 20.

        One at a time: it is changed by its `Emulator.set`, or closed before another.

        :raise ValueError: if there is no such setting or value.
        :raise LabUnavailable: if this machine cannot.
        """
        wanted = Settings().changed(**settings)
        if self._emulator is not None:
            self._emulator.close()
        self._emulator = Emulator(self.router, (self.a, self.b), wanted, seed)
        return self._emulator

    def _nat(self, side: str) -> Nat:
        address = OUTSIDE[side][0] + "2"
        return Nat(f"{self._prefix}-nat{side.upper()}", address, INSIDE[side][0] + "2")

    def _host(self, side: str, nat: Nat | None) -> Host:
        four, six = OUTSIDE[side] if nat is None else INSIDE[side]
        outside = None if nat is None else nat.address
        name = f"{self._prefix}-{side}"
        return Host(name, f"to{side}", four + "2", six + "2", outside)

    def _build(self) -> None:
        for machine in self.machines:
            machine.add()
        for side, host, nat in (("a", self.a, self.natA), ("b", self.b, self.natB)):
            if nat is None:
                cable(host, "eth0", self.router, host.port, *OUTSIDE[side])
                continue
            four, six = OUTSIDE[side]
            cable(nat, "outside", self.router, host.port, four, six)
            cable(host, "eth0", nat, "inside", *INSIDE[side])
            nat.begin()
            behind = INSIDE[side][1] + "/64"
            self.router.ip("-6", "route", "add", behind, "via", six + "2")
        self.router.begin()


def cable(
    end: Namespace, device: str, gateway: Namespace, port: str, four: str, six: str
) -> None:
    """
    Join two machines, of which one is the other's way to everywhere.

    :param four: what the addresses begin with; the gateway's is the first.
    :param six: the same for IPv6.
    """
    far = ["peer", "name", port, "netns", gateway.name]
    end.ip("link", "add", device, "index", END_INDEX, "type", "veth", *far)
    for machine, interface, number in ((gateway, port, 1), (end, device, 2)):
        machine.ip("address", "add", f"{four}{number}/24", "dev", interface)
        machine.ip("address", "add", f"{six}{number}/64", "dev", interface)
        # Without, what a program sends at once passes as one packet of up to 64 kB,
        # and no rule about sizes or numbers of packets holds.
        machine.ip("link", "set", interface, "gso_max_segs", "1", "up")
    end.ip("route", "add", "default", "via", f"{four}1")
    end.ip("-6", "route", "add", "default", "via", f"{six}1")


def isAlive(pid: int) -> bool:
    """
    Whether a process of this number exists, whoever owns it.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def clearLeftovers() -> None:
    """
    Take away the networks of runs that died before they could.
    """
    if not NAMESPACES.is_dir():
        return
    for path in NAMESPACES.iterdir():
        match = NAME.fullmatch(path.name)
        if match is None or isAlive(int(match["pid"])):
            continue
        try:
            Namespace(path.name).delete()
        except LabUnavailable:
            # Another run may be clearing at the same time.
            if path.exists():
                raise


def openNetwork(case: SynchronousTestCase, nat: bool = False) -> Network:
    """
    A network for one test, taken away when it ends.

    :param nat: whether each host is behind a NAT.
    :raise SkipTest: if this machine or user cannot build one, unless
        ``ROOTSTREAM_LAB_REQUIRED`` is set: then the test fails.
    """
    network = Network(nat)
    with orSkip():
        network.open()
    case.addCleanup(network.close)
    return network


@contextmanager
def orSkip() -> Iterator[None]:
    """
    What a test needs of this machine, or else it is skipped, unless
    ``ROOTSTREAM_LAB_REQUIRED`` is set: then it fails.
    """
    try:
        yield
    except LabUnavailable as error:
        if os.environ.get("ROOTSTREAM_LAB_REQUIRED"):
            raise
        raise SkipTest(f"no laboratory: {error}") from error
