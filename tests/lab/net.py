"""
A small internet inside the machine: two hosts with a router between them.

`Network` builds three network namespaces, ``a - r - b``, with IPv4 and IPv6, and
takes them away again.  What a hostile network does happens in the ROUTER: a drop in
the sender's own namespace makes `sendto` fail with EPERM, which a real firewall
does not do.

It needs root, `ip` and `nft`; `openNetwork` skips a test without them, or fails it
where ``ROOTSTREAM_LAB_REQUIRED`` is set, so that a gate cannot pass by skipping.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

#: Where `ip netns` keeps a file for each namespace.
NAMESPACES = Path("/run/netns")

#: Ours: the process that made it, which of its networks, and which end.
NAME = re.compile(r"rs(?P<pid>\d+)-\d+-[abr]")

#: A command of the laboratory itself takes milliseconds.
COMMAND_TIMEOUT = 20.0

#: Everything that the router does to packets is in this one chain.
FORWARD = "inet lab forward"
RULESET = """
table inet lab {
    chain forward {
        type filter hook forward priority filter; policy accept;
    }
}
"""


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
        one of them does.
        """
        for pid in command(["ip", "netns", "pids", self.name]).split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue
        command(["ip", "netns", "delete", self.name])

    def ip(self, *arguments: str) -> None:
        """
        Run `ip` on this namespace's interfaces, addresses or routes.
        """
        command(["ip", "-n", self.name, *arguments])

    def switch(self, path: str, value: int) -> None:
        """
        Set one of the namespace's settings below ``/proc/sys/net``.
        """
        script = f"echo {value} > /proc/sys/net/{path}"
        command(self.inside(["sh", "-c", script]))

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
        return subprocess.Popen(self.inside(argv), text=True, **keywords)


class Host(Namespace):
    """
    An end of the network, and its addresses.
    """

    def __init__(self, name: str, address: str, address6: str) -> None:
        super().__init__(name)
        self.address = address
        self.address6 = address6


class Router(Namespace):
    """
    The middle of the network, which forwards, or does not.

    Its interfaces are ``toa`` and ``tob``.  Rules add up until `restore`.
    """

    def nft(self, rules: str) -> None:
        """
        Apply an `nft` script, such as ``add rule inet lab forward ... drop``.
        """
        command(self.inside(["nft", "-f", "-"]), rules)

    def rule(self, statement: str) -> None:
        """
        Do something to forwarded packets, in both directions.
        """
        self.nft(f"add rule {FORWARD} {statement}\n")

    def dropUDP(self) -> None:
        """
        Swallow every UDP datagram.
        """
        self.rule("meta l4proto udp drop")

    def dropTCP(self) -> None:
        """
        Swallow every TCP segment, of connections that exist too.
        """
        self.rule("meta l4proto tcp drop")

    def dropAll(self) -> None:
        """
        Swallow everything: a black hole.
        """
        self.rule("drop")

    def rejectTCP(self) -> None:
        """
        Answer every TCP segment with a reset, as some firewalls do.
        """
        self.rule("meta l4proto tcp reject with tcp reset")

    def restore(self) -> None:
        """
        Forward everything again.
        """
        self.nft(f"flush chain {FORWARD}\n")


class Network:
    """
    Two hosts with a router between them, for as long as the context lasts.

    Names hold the number of our process, so that networks of several runs live side
    by side, and so that what a killed run left can be told from what a live one
    uses: a new network clears the former first.
    """

    _serial = itertools.count()

    def __init__(self) -> None:
        prefix = f"rs{os.getpid()}-{next(self._serial)}"
        # Addresses that RFC 5737 and RFC 3849 keep for documentation: a packet that
        # escapes has nowhere to go.
        self.a = Host(f"{prefix}-a", "198.51.100.2", "2001:db8:a::2")
        self.b = Host(f"{prefix}-b", "203.0.113.2", "2001:db8:b::2")
        self.router = Router(f"{prefix}-r")

    def __enter__(self) -> Network:
        self.open()
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

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
        for end in (self.a, self.b, self.router):
            if (NAMESPACES / end.name).exists():
                end.delete()

    def _build(self) -> None:
        for end in (self.a, self.b, self.router):
            end.add()
        self._join(self.a, "toa", "198.51.100.1", "2001:db8:a::1")
        self._join(self.b, "tob", "203.0.113.1", "2001:db8:b::1")
        self.router.switch("ipv4/ip_forward", 1)
        self.router.switch("ipv6/conf/all/forwarding", 1)
        self.router.nft(RULESET)

    def _join(self, host: Host, port: str, gateway: str, gateway6: str) -> None:
        """
        A cable between a host's ``eth0`` and a port of the router.
        """
        far = ["peer", "name", port, "netns", self.router.name]
        host.ip("link", "add", "eth0", "type", "veth", *far)
        self.router.ip("address", "add", f"{gateway}/24", "dev", port)
        self.router.ip("address", "add", f"{gateway6}/64", "dev", port)
        self.router.ip("link", "set", port, "up")
        host.ip("address", "add", f"{host.address}/24", "dev", "eth0")
        host.ip("address", "add", f"{host.address6}/64", "dev", "eth0")
        host.ip("link", "set", "eth0", "up")
        host.ip("route", "add", "default", "via", gateway)
        host.ip("-6", "route", "add", "default", "via", gateway6)


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


def openNetwork(case: SynchronousTestCase) -> Network:
    """
    A network for one test, taken away when it ends.

    :raise SkipTest: if this machine or user cannot build one, unless
        ``ROOTSTREAM_LAB_REQUIRED`` is set: then the test fails.
    """
    network = Network()
    try:
        network.open()
    except LabUnavailable as error:
        if os.environ.get("ROOTSTREAM_LAB_REQUIRED"):
            raise
        raise SkipTest(f"no laboratory: {error}") from error
    case.addCleanup(network.close)
    return network
