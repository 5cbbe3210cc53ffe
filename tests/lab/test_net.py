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

from tests.integration.programs import waitUntil
from tests.lab import namespace, router
from tests.lab.namespace import NAMESPACE_FILES
from tests.lab.net import NAMESPACES, LabUnavailable, Network, openNetwork
from tests.lab.traffic import PORT, ask, startEcho

ROOT = Path(__file__).resolve().parent.parent.parent

#: Builds a network with all there is, starts something in it that would speak up
#: later, and waits to be killed.
DOOMED = """
import time
from tests.lab.net import Network
network = Network(nat=True)
network.open()
network.emulate()
print(*(machine.name for machine in network.machines), flush=True)
child = network.a.popen(["sh", "-c", "echo started; sleep 30; echo survived"])
time.sleep(600)
"""


class NetworkTests(SynchronousTestCase):
    """
    Tests for what a network is from the first moment on.
    """

    def test_readyAtOnce(self) -> None:
        """
        The first packet through a new network is not lost in a cable that Linux has
        yet to see come up: then it would take a second.
        """
        for nat in (False, True):
            with Network(nat) as network:
                if network.natB is not None:
                    network.natB.forward(PORT)
                startEcho(self, network.b)
                for address in (network.b.address6, network.b.outside):
                    with self.subTest(nat=nat, address=address):
                        self.assertEqual(ask(network.a, "udp", address), "echo")

    def test_networksLiveSideBySide(self) -> None:
        """
        A second network of the same process has the same addresses and nothing
        else in common with the first, an emulator included.
        """
        network = openNetwork(self)
        startEcho(self, network.b)
        other = openNetwork(self)
        other.router.dropAll()
        for one in (network, other):
            one.emulate()
        self.assertEqual(ask(network.a, "udp", network.b.address), "echo")
        other.close()
        self.assertEqual(ask(network.a, "udp", network.b.address), "echo")


class CleanupTests(SynchronousTestCase):
    """
    Tests for what is left of a network.
    """

    def names(self, network: Network) -> list[str]:
        """
        The names of a network's namespaces that exist.
        """
        names = [machine.name for machine in network.machines]
        return [name for name in names if (NAMESPACES / name).exists()]

    def test_closedNetworkLeavesNothing(self) -> None:
        """
        Closing ends what runs inside and takes all namespaces away; closing again
        does nothing.
        """
        network = openNetwork(self, nat=True)
        child = network.a.popen(["sleep", "600"])
        self.addCleanup(child.kill)
        self.assertEqual(len(self.names(network)), 5)
        network.close()
        self.assertEqual(child.wait(timeout=20), -signal.SIGKILL)
        self.assertEqual(self.names(network), [])
        network.close()

    def test_nameServer(self) -> None:
        """
        A machine asks the name server that it is told of, and its file goes with it.
        """
        with Network() as network:
            network.b.resolveAt("192.0.2.53")
            files = NAMESPACE_FILES / network.b.name
            words = ["cat", "/etc/resolv.conf"]
            done = network.b.run(words, capture_output=True, check=True)
            self.assertEqual(done.stdout, "nameserver 192.0.2.53\n")
            self.assertTrue(files.exists())
        self.assertFalse(files.exists())

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
        network takes both away.  An emulator does not outlive its run.
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
        names = doomed.stdout.readline().split()
        self.assertEqual(len(names), 5)
        self.assertEqual(doomed.stdout.readline(), "started\n")
        living = openNetwork(self)
        for name in names:
            self.assertTrue((NAMESPACES / name).exists(), "it lives, and is left alone")
        living.close()
        doomed.kill()
        doomed.wait()
        inRouter = ["ip", "netns", "pids", names[2]]
        waitUntil(lambda: not namespace.command(inRouter), "the emulator ends")
        for name in names:
            self.assertTrue((NAMESPACES / name).exists(), "nothing else cleared it")

        openNetwork(self)
        for name in names:
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
