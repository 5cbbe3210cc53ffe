"""
A NAT64 in the router: machines with IPv6 only reach those with IPv4 (RFC 6052, 7915).

The translator is Debian's ``tayga``: what is behind its TUN device is the other family.
"""

from __future__ import annotations

import ipaddress
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.lab.namespace import LabUnavailable, Namespace, command

DEVICE = "nat64"
#: What stands before an IPv4 address.  Ours, because the well-known one is not for the
#: addresses of this network.
PREFIX = "2001:db8:64::"
#: What the machines with IPv6 only are seen as: TEST-NET-1 (RFC 5737).
POOL = "192.0.2.0/24"
OWN = "192.0.2.1"


def translated(address: str) -> str:
    """
    The IPv6 address by which an IPv4 address is reached.
    """
    low = int(ipaddress.IPv4Address(address))
    return str(ipaddress.IPv6Address(int(ipaddress.IPv6Address(PREFIX)) + low))


class Nat64:
    """
    The translator's process in a router, for both directions.
    """

    def __init__(self, router: Namespace) -> None:
        """
        :raise LabUnavailable: if the program is missing, or does not run.
        """
        if shutil.which("tayga") is None:
            raise LabUnavailable("needs the command tayga (package tayga)")
        self._router = router
        self._directory = Path(tempfile.mkdtemp(prefix="rootstream-nat64-"))
        configuration = self._directory / "tayga.conf"
        configuration.write_text(
            f"tun-device {DEVICE}\n"
            f"ipv4-addr {OWN}\n"
            f"prefix {PREFIX}/96\n"
            f"dynamic-pool {POOL}\n"
            f"data-dir {self._directory}\n"
        )
        tayga = ["tayga", "--config", str(configuration)]
        command(router.inside([*tayga, "--mktun"]))
        router.ip("link", "set", DEVICE, "up")
        router.ip("route", "add", POOL, "dev", DEVICE)
        router.ip("-6", "route", "add", f"{PREFIX}/96", "dev", DEVICE)
        self._process = router.popen(
            [*tayga, "--nodetach"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @property
    def ready(self) -> bool:
        """
        Whether it reads its device.
        """
        words = ["ip", "-j", "-n", self._router.name, "link", "show", DEVICE]
        [link] = json.loads(command(words))
        return "LOWER_UP" in link["flags"]

    def close(self) -> None:
        """
        End it.  The device goes with the router.
        """
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._directory)
