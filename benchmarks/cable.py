"""
Two machines joined by one cable, as fast as the kernel makes it.

The cables of the laboratory count packets, and so carry one at a time; this one carries
trains, as a real network card does.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab.namespace import LabUnavailable, Namespace, checkMachine, command
from tests.lab.net import clearLeftovers

__all__ = ["Cable"]

DEVICE = "eth0"
#: Of RFC 5737: a packet that escapes has nowhere to go.
ADDRESSES = "198.51.100.1", "198.51.100.2"


class Cable:
    """
    Machines ``a`` and ``b``, for as long as the context lasts.

    :ivar address: of ``a``.
    :ivar far: of ``b``.
    """

    _serial = itertools.count()
    address, far = ADDRESSES

    def __init__(self) -> None:
        # By these names the laboratory finds what a killed run has left.
        prefix = f"rs{os.getpid()}-9{next(self._serial)}"
        self.a = Namespace(f"{prefix}-a")
        self.b = Namespace(f"{prefix}-b")
        self._added: list[Namespace] = []

    def __enter__(self) -> Cable:
        checkMachine()
        if shutil.which("ethtool") is None:
            raise LabUnavailable("needs the command ethtool (package ethtool)")
        clearLeftovers()
        try:
            for machine in (self.a, self.b):
                machine.add()
                self._added.append(machine)
            far = ["peer", "name", DEVICE, "netns", self.b.name]
            self.a.ip("link", "add", DEVICE, "type", "veth", *far)
            for machine, address in zip((self.a, self.b), ADDRESSES, strict=True):
                machine.ip("address", "add", f"{address}/24", "dev", DEVICE)
                machine.ip("link", "set", DEVICE, "up")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        """
        End what runs on both machines and take them away.
        """
        while self._added:
            self._added.pop().delete()

    @contextmanager
    def withoutOffload(self) -> Iterator[None]:
        """
        Let the kernel of ``a`` cut trains of UDP itself, packet by packet, before the
        cable, as it does for a card that cannot.
        """
        self._offload("off")
        try:
            yield
        finally:
            self._offload("on")

    def _offload(self, state: str) -> None:
        feature = ["tx-udp-segmentation", state]
        command(self.a.inside(["ethtool", "-K", DEVICE, *feature]))
