"""
The kernel's own word on changes of the network, in a namespace where it can be told to
change anything.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.programs import ROOT, waitUntil
from tests.lab.net import openNetwork

#: Writes down each change, and what addresses are gone with it.
WATCH = """
import sys
from twisted.internet import reactor
from rootstream.transport.netwatch import watchNetwork

def changed(change):
    print("; ".join([change.cause, *sorted(change.gone)]), flush=True)

watchNetwork(reactor, changed)
print("watching", flush=True)
reactor.run()
"""

GATEWAY = """
from rootstream.transport.network import findGateway
gateway = findGateway()
print(gateway and (gateway.address, gateway.linkLayer.hex(":")))
"""

ROUTER = "203.0.113.1"
ROUTER6 = "2001:db8:b::1"
MAC = "02:fc:00:00:00:05"


class KernelCase(SynchronousTestCase):
    """
    A machine on a network.
    """

    def setUp(self) -> None:
        self.network = openNetwork(self)
        self.machine = self.network.b

    def python(self, script: str) -> list[str]:
        """
        The command that runs a script of ours on the machine.
        """
        return self.machine.inside([sys.executable, "-c", script])

    def environment(self) -> dict[str, str]:
        """
        Where the script finds us.
        """
        return {**os.environ, "PYTHONPATH": str(ROOT)}


class WatchTests(KernelCase):
    """
    Tests for `watchNetwork` (F64).
    """

    def setUp(self) -> None:
        super().setUp()
        file, name = tempfile.mkstemp(prefix="rootstream-")
        self.path = Path(name)
        self.addCleanup(self.path.unlink)
        with os.fdopen(file, "wb") as out:
            process: subprocess.Popen[Any] = subprocess.Popen(
                self.python(WATCH), stdout=out, env=self.environment()
            )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.waitFor("watching")

    def waitFor(self, cause: str, gone: str = "") -> None:
        """
        Wait until a change is written, with an address that is gone, if any.
        """

        def written() -> bool:
            changes = [line.split("; ") for line in self.lines()]
            return any(each[0] == cause and gone in ["", *each] for each in changes)

        waitUntil(written, f"{cause!r}")

    def lines(self) -> list[str]:
        """
        What is written so far.
        """
        return self.path.read_text().splitlines()

    def test_link(self) -> None:
        """
        An interface goes down, with what depended on it, and comes up without.
        """
        self.machine.ip("link", "set", "eth0", "down")
        self.waitFor(
            "eth0 went down, address 2001:db8:b::2 removed from eth0, "
            "default route of IPv4 gone, default route of IPv6 gone",
            "2001:db8:b::2",
        )
        self.machine.ip("link", "set", "eth0", "up")
        self.waitFor("eth0 came up")

    def test_carrier(self) -> None:
        """
        A cable that is pulled out at the other end is noticed as well.
        """
        self.network.router.ip("link", "set", "tob", "down")
        self.waitFor("eth0 went down")
        self.network.router.ip("link", "set", "tob", "up")
        self.waitFor("eth0 came up")

    def test_addresses(self) -> None:
        """
        Addresses come and go.
        """
        for address in ("203.0.113.77", "2001:db8:b::77"):
            length = "64" if ":" in address else "24"
            words = (f"{address}/{length}", "dev", "eth0")
            self.machine.ip("address", "add", *words)
            self.waitFor(f"address {address} added to eth0")
            self.machine.ip("address", "del", *words)
            self.waitFor(f"address {address} removed from eth0", address)

    def test_routes(self) -> None:
        """
        Default routes change, and go.
        """
        self.machine.ip("route", "replace", "default", "via", "203.0.113.99")
        self.waitFor("default route of IPv4 now by 203.0.113.99 on eth0")
        # A better one beside it.
        self.machine.ip(
            *("-6", "route", "add", "default", "via", "2001:db8:b::99"),
            *("metric", "10"),
        )
        self.waitFor("default route of IPv6 now by 2001:db8:b::99 on eth0")
        self.machine.ip("route", "del", "default")
        self.waitFor("default route of IPv4 gone")

    def test_noise(self) -> None:
        """
        Renewed lifetimes, a worse route, a container's interface and a link-local
        address are no changes: what is told next is what changes next.
        """
        for _ in range(3):
            self.machine.ip(
                *("-6", "address", "change", "2001:db8:b::2/64", "dev", "eth0"),
                *("valid_lft", "7200", "preferred_lft", "3600"),
            )
        self.machine.ip(
            *("route", "add", "default", "via", "203.0.113.98", "metric", "9000")
        )
        self.machine.ip("link", "add", "veth7", "type", "veth", "peer", "veth8")
        self.machine.ip("link", "set", "veth7", "up")
        self.machine.ip("link", "set", "veth8", "up")
        self.machine.ip("address", "add", "fe80::77/64", "dev", "eth0")
        self.machine.ip("address", "add", "203.0.113.77/24", "dev", "eth0")
        self.waitFor("address 203.0.113.77 added to eth0")
        self.assertEqual(len(self.lines()), 2, self.lines())

    def test_storm(self) -> None:
        """
        Thousands of messages, more than a socket holds, come to a few changes, of
        which the last is right.
        """
        script = "".join(
            f"address {verb} 203.0.113.{number}/24 dev eth0\n"
            for _ in range(10)
            for verb in ("add", "del")
            for number in range(100, 250)
        )
        subprocess.run(
            ["ip", "-n", self.machine.name, "-batch", "-"],
            input=script,
            text=True,
            check=True,
        )
        self.machine.ip("address", "add", "203.0.113.77/24", "dev", "eth0")
        self.machine.ip("address", "del", "203.0.113.2/24", "dev", "eth0")
        waitUntil(lambda: "203.0.113.2" in self.lines()[-1].split("; "), "the last")
        self.assertLess(len(self.lines()), 100)


class GatewayTests(KernelCase):
    """
    Tests for `findGateway`.
    """

    def gateway(self) -> str:
        """
        What a program on the machine finds.
        """
        done = subprocess.run(
            self.python(GATEWAY),
            env=self.environment(),
            text=True,
            capture_output=True,
            check=True,
        )
        return done.stdout.strip()

    def test_found(self) -> None:
        """
        It is IPv4's router, or IPv6's where there is no other; one that was never
        spoken to is not known.
        """
        self.assertEqual(self.gateway(), "None")
        for address in (ROUTER, ROUTER6):
            self.machine.ip(
                *("neighbour", "replace", address, "lladdr", MAC),
                *("dev", "eth0", "nud", "stale"),
            )
        self.assertEqual(self.gateway(), str((ROUTER, MAC)))
        self.machine.ip("route", "del", "default")
        self.assertEqual(self.gateway(), str((ROUTER6, MAC)))
        self.machine.ip("-6", "route", "del", "default")
        self.assertEqual(self.gateway(), "None")
