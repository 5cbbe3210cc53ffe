"""
The machines of the laboratory: one network namespace each.

A `Namespace` is a machine with nothing but a loopback interface; `Host` is one at an
end of the network.  They are made with `ip`, which needs root.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: Where `ip netns` keeps a file for each namespace.
NAMESPACES = Path("/run/netns")
#: Where `ip netns exec` finds the files that stand for those in ``/etc``.
NAMESPACE_FILES = Path("/etc/netns")

#: A command of the laboratory itself takes milliseconds.
COMMAND_TIMEOUT = 20.0


class LabUnavailable(Exception):
    """
    The machine or its user may not build a network; the text names what is missing.
    """


def command(argv: Sequence[str], text: str = "") -> str:
    """
    Run one of the laboratory's own commands, with a text for its standard input.

    :raise LabUnavailable: if it fails, with its own words.
    """
    try:
        done = subprocess.run(
            argv,
            input=text,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabUnavailable(f"{argv[0]} does not run: {error}") from error
    if done.returncode:
        words = " ".join(done.stderr.split())
        raise LabUnavailable(f"`{' '.join(argv)}` failed: {words}")
    return done.stdout


def checkMachine() -> None:
    """
    Say which privilege or tool is missing, before anything is built.

    :raise LabUnavailable: if one is.
    """
    if os.geteuid() != 0:
        raise LabUnavailable("needs root, to make network namespaces")
    for tool, package in (("ip", "iproute2"), ("nft", "nftables")):
        if shutil.which(tool) is None:
            raise LabUnavailable(f"needs the command {tool} (package {package})")


class Namespace:
    """
    One machine of the network: what runs here sees only its interfaces.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._children: list[subprocess.Popen[str]] = []

    def add(self) -> None:
        """
        Make the namespace, with a loopback interface that works.
        """
        command(["ip", "netns", "add", self.name])
        # An address still being checked for doubles can neither be bound nor ask
        # for its neighbours; on two ends of one cable there are no doubles.
        self.switch("ipv6/conf/default/accept_dad", 0)
        self.ip("link", "set", "lo", "up")

    def delete(self) -> None:
        """
        Kill all that runs in the namespace and take it away.

        The processes go first: a namespace without a name lives on, unseen, while
        one of them does.  Children of ours are killed first of all: one may be about
        to enter, and not be seen inside yet.
        """
        for child in self._children:
            child.kill()
        for pid in command(["ip", "netns", "pids", self.name]).split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue
        command(["ip", "netns", "delete", self.name])
        shutil.rmtree(NAMESPACE_FILES / self.name, ignore_errors=True)

    def ip(self, *arguments: str) -> None:
        """
        Run `ip` on this namespace's interfaces, addresses or routes.
        """
        command(["ip", "-n", self.name, *arguments])

    def nft(self, rules: str) -> None:
        """
        Apply an `nft` script, such as ``add rule inet lab forward ... drop``.
        """
        command(self.inside(["nft", "-f", "-"]), rules)

    def switch(self, path: str, value: int) -> None:
        """
        Set one of the namespace's settings below ``/proc/sys/net``.
        """
        script = f"echo {value} > /proc/sys/net/{path}"
        command(self.inside(["sh", "-c", script]))

    def resolveAt(self, address: str) -> None:
        """
        Have what starts here from now on ask the name server at this address.
        """
        files = NAMESPACE_FILES / self.name
        files.mkdir(parents=True, exist_ok=True)
        (files / "resolv.conf").write_text(f"nameserver {address}\n")

    def route(self) -> None:
        """
        Forward packets between the interfaces from now on.
        """
        self.switch("ipv4/ip_forward", 1)
        self.switch("ipv6/conf/all/forwarding", 1)

    def inside(self, argv: Sequence[str]) -> list[str]:
        """
        The command that runs another one in the namespace.  It replaces itself by
        it, so a signal to its process reaches the right one.
        """
        return ["ip", "netns", "exec", self.name, *argv]

    def run(
        self, argv: Sequence[str], **keywords: Any
    ) -> subprocess.CompletedProcess[str]:
        """
        `subprocess.run` in the namespace, on text.
        """
        return subprocess.run(self.inside(argv), text=True, **keywords)

    def popen(self, argv: Sequence[str], **keywords: Any) -> subprocess.Popen[str]:
        """
        `subprocess.Popen` in the namespace, on text.  `Network.close` ends it.
        """
        child = subprocess.Popen(self.inside(argv), text=True, **keywords)
        self._children.append(child)
        return child


class Host(Namespace):
    """
    An end of the network, and its addresses.

    :ivar address: its own one, of IPv4.
    :ivar address6: its own one, of IPv6.
    :ivar outside: the IPv4 address that the other end sees: of its NAT if it has one.
    :ivar port: the router's interface that leads to it.
    """

    def __init__(
        self,
        name: str,
        port: str,
        address: str,
        address6: str,
        outside: str | None = None,
    ) -> None:
        super().__init__(name)
        self.port = port
        self.address = address
        self.address6 = address6
        self.outside = outside or address
