"""
Tests for `tests.lab.net`: a laboratory that lies proves nothing.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.lab import namespace, router
from tests.lab.net import NAMESPACES, LabUnavailable, Network, openNetwork

ROOT = Path(__file__).resolve().parent.parent.parent

PORT = 9876

#: Echoes datagrams and TCP connections for IPv4 and IPv6 until it is killed.
ECHO = """
import selectors, socket, sys
ready = selectors.DefaultSelector()
for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
    one = socket.socket(socket.AF_INET6, kind)
    one.bind(("::", int(sys.argv[1])))
    if kind == socket.SOCK_STREAM:
        one.listen()
    ready.register(one, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in ready.select():
        if key.fileobj.type == socket.SOCK_DGRAM:
            data, address = key.fileobj.recvfrom(2000)
            key.fileobj.sendto(data, address)
        else:
            connection, _ = key.fileobj.accept()
            connection.sendall(connection.recv(2000))
            connection.close()
"""

#: Says what became of one word sent to the echo.
ASK = """
import socket, sys
kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
kind = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}[kind]
family = socket.AF_INET6 if ":" in host else socket.AF_INET
with socket.socket(family, kind) as one:
    one.settimeout(0.5)
    try:
        one.connect((host, port))
        one.sendall(b"word")
        print("echo" if one.recv(2000) == b"word" else "wrong")
    except TimeoutError:
        print("silence")
    except ConnectionError:
        print("refused")
    except OSError as error:
        print(error)
"""

#: Builds a network, starts something in it that would speak up later, and waits to
#: be killed.
DOOMED = """
import time
from tests.lab.net import Network
network = Network()
network.open()
print(network.a.name, flush=True)
child = network.a.popen(["sh", "-c", "echo started; sleep 30; echo survived"])
time.sleep(600)
"""


class NetworkTests(SynchronousTestCase):
    """
    Tests for what passes between the two hosts.
    """

    def setUp(self) -> None:
        """
        An echo runs on ``b``.
        """
        self.network = openNetwork(self)
        script = [sys.executable, "-c", ECHO, str(PORT)]
        self.echo = self.network.b.popen(script, stdout=subprocess.PIPE)
        self.addCleanup(self.echo.wait)
        self.addCleanup(self.echo.kill)
        assert self.echo.stdout is not None
        self.addCleanup(self.echo.stdout.close)
        self.assertEqual(self.echo.stdout.readline(), "ready\n")

    def ask(self, kind: str, address: str | None = None) -> str:
        """
        What ``a`` hears from the echo.
        """
        where = address or self.network.b.address
        script = [sys.executable, "-c", ASK, kind, where, str(PORT)]
        done = self.network.a.run(script, capture_output=True, timeout=20)
        return done.stdout.strip() + done.stderr

    def test_everythingPasses(self) -> None:
        """
        Untouched, the router forwards UDP and TCP over IPv4 and IPv6.
        """
        for address in (self.network.b.address6, self.network.b.address):
            for kind in ("udp", "tcp"):
                with self.subTest(address=address, kind=kind):
                    self.assertEqual(self.ask(kind, address), "echo")

    def test_dropUDP(self) -> None:
        """
        UDP without an answer leaves TCP alone, on IPv6 too, until it is restored.
        """
        self.network.router.dropUDP()
        self.assertEqual(self.ask("udp"), "silence")
        self.assertEqual(self.ask("udp", self.network.b.address6), "silence")
        self.assertEqual(self.ask("tcp"), "echo")
        self.network.router.restore()
        self.assertEqual(self.ask("udp"), "echo")

    def test_dropTCP(self) -> None:
        """
        TCP without an answer leaves UDP alone.
        """
        self.network.router.dropTCP()
        self.assertEqual(self.ask("tcp"), "silence")
        self.assertEqual(self.ask("udp"), "echo")

    def test_rejectTCP(self) -> None:
        """
        A rejected TCP connection is refused at once, not left to time out.
        """
        self.network.router.rejectTCP()
        self.assertEqual(self.ask("tcp"), "refused")
        self.assertEqual(self.ask("udp"), "echo")

    def test_dropAll(self) -> None:
        """
        In a black hole the sender sees neither an answer nor an error; one
        `restore` ends all rules.
        """
        self.network.router.rejectTCP()
        self.network.router.dropUDP()
        self.network.router.restore()
        self.network.router.dropAll()
        self.assertEqual(self.ask("udp"), "silence")
        self.assertEqual(self.ask("tcp"), "silence")
        self.network.router.restore()
        self.assertEqual(self.ask("udp"), "echo")
        self.assertEqual(self.ask("tcp"), "echo")

    def test_oneDirection(self) -> None:
        """
        A rule of one's own can tell the directions apart by the router's ports.
        """
        self.network.router.rule(f"iifname tob udp sport {PORT} counter drop")
        self.assertEqual(self.ask("udp"), "silence")
        listing = ["nft", "list", "chain", "inet", "lab", "forward"]
        done = self.network.router.run(listing, capture_output=True, timeout=20)
        self.assertIn("counter packets 1 ", done.stdout)

    def test_networksLiveSideBySide(self) -> None:
        """
        A second network of the same process has the same addresses and nothing
        else in common with the first.
        """
        other = openNetwork(self)
        other.router.dropAll()
        self.assertEqual(self.ask("udp"), "echo")
        other.close()
        self.assertEqual(self.ask("udp"), "echo")


class CleanupTests(SynchronousTestCase):
    """
    Tests for what is left of a network.
    """

    def names(self, network: Network) -> list[str]:
        """
        The names of a network's namespaces that exist.
        """
        ends = (network.a, network.b, network.router)
        return [end.name for end in ends if (NAMESPACES / end.name).exists()]

    def test_closedNetworkLeavesNothing(self) -> None:
        """
        Closing ends what runs inside and takes all three namespaces away; closing
        again does nothing.
        """
        network = openNetwork(self)
        child = network.a.popen(["sleep", "600"])
        self.addCleanup(child.kill)
        self.assertEqual(len(self.names(network)), 3)
        network.close()
        self.assertEqual(child.wait(timeout=20), -signal.SIGKILL)
        self.assertEqual(self.names(network), [])
        network.close()

    def test_contextEndsWithItsBlock(self) -> None:
        """
        A network used as a context is gone after it, also after an error.
        """
        openNetwork(self).close()
        network = Network()
        with self.assertRaises(ZeroDivisionError), network:
            self.assertEqual(len(self.names(network)), 3)
            raise ZeroDivisionError
        self.assertEqual(self.names(network), [])

    def test_failedBuildLeavesNothing(self) -> None:
        """
        If the last step of building fails, the earlier ones are undone.
        """
        openNetwork(self).close()
        network = Network()
        self.patch(router, "RULESET", "this is no ruleset")
        self.assertRaises(LabUnavailable, network.open)
        self.assertEqual(self.names(network), [])

    def test_killedRunIsClearedByTheNext(self) -> None:
        """
        A run that was killed leaves its namespaces and a process in one; the next
        network takes both away.
        """
        openNetwork(self).close()
        doomed = subprocess.Popen(
            [sys.executable, "-c", DOOMED],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(doomed.wait)
        self.addCleanup(doomed.kill)
        assert doomed.stdout is not None
        self.addCleanup(doomed.stdout.close)
        name = doomed.stdout.readline().strip()
        self.assertEqual(doomed.stdout.readline(), "started\n")
        living = openNetwork(self)
        self.assertTrue((NAMESPACES / name).exists(), "it lives, and is left alone")
        living.close()
        doomed.kill()
        doomed.wait()
        self.assertTrue((NAMESPACES / name).exists(), "nothing else cleared it")

        openNetwork(self)
        self.assertFalse((NAMESPACES / name).exists())
        self.assertEqual(doomed.stdout.read(), "")


class AvailabilityTests(SynchronousTestCase):
    """
    Tests for machines and users that cannot build a network.
    """

    def setUp(self) -> None:
        """
        We are root, and have all tools.
        """
        self.patch(os, "geteuid", lambda: 0)
        self.patch(shutil, "which", lambda tool: f"/sbin/{tool}")

    def test_complete(self) -> None:
        """
        Root with all tools may go on.
        """
        namespace.checkMachine()

    def test_withoutRoot(self) -> None:
        """
        A user without the privilege is told which one.
        """
        self.patch(os, "geteuid", lambda: 1000)
        error = self.assertRaises(LabUnavailable, Network().open)
        self.assertEqual(str(error), "needs root, to make network namespaces")

    def test_withoutTool(self) -> None:
        """
        A missing tool is named, with the package that has it.
        """
        self.patch(shutil, "which", {"ip": "/sbin/ip"}.get)
        error = self.assertRaises(LabUnavailable, Network().open)
        self.assertEqual(str(error), "needs the command nft (package nftables)")

    def test_toolThatFails(self) -> None:
        """
        A tool that runs and refuses is quoted in one line.
        """
        script = "import sys; sys.exit('no\\nwith reasons')"
        error = self.assertRaises(
            LabUnavailable, namespace.command, [sys.executable, "-c", script]
        )
        self.assertTrue(str(error).endswith("failed: no with reasons"), str(error))

    def test_toolThatIsNotThere(self) -> None:
        """
        A tool that vanished is no reason for another kind of error.
        """
        self.assertRaises(LabUnavailable, namespace.command, ["/nonexistent/tool"])

    def test_skipped(self) -> None:
        """
        Where nobody asked for the laboratory, its tests are skipped with the reason.
        """
        self.patch(os, "geteuid", lambda: 1000)
        with mock.patch.dict(os.environ):
            os.environ.pop("ROOTSTREAM_LAB_REQUIRED", None)
            error = self.assertRaises(SkipTest, openNetwork, self)
        self.assertIn("needs root", str(error))

    def test_required(self) -> None:
        """
        Where the laboratory is required, a missing privilege is a failure.
        """
        self.patch(os, "geteuid", lambda: 1000)
        with mock.patch.dict(os.environ, ROOTSTREAM_LAB_REQUIRED="1"):
            self.assertRaises(LabUnavailable, openNetwork, self)
