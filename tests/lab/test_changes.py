"""
Streams on machines whose own network changes: interfaces, addresses and routes come
and go, and the machine sleeps.

As in `tests.lab.test_fallback`, limits are for a quiet machine, what fails a test has
a margin, and what was measured is written to the output.
"""

from __future__ import annotations

import json
import signal
import sys
import time

from rootstream.identity import formatCode
from rootstream.networks import EXPIRY
from rootstream.protocol.constants import HEAD_START, TLS_HEAD_START
from rootstream.transport.clock import boottime
from tests.integration.programs import waitUntil
from tests.lab.namespace import Host
from tests.lab.programs import PORT
from tests.lab.test_fallback import LabTests

#: Seconds without network: long enough to be noticed by silence alone.
OUTAGE = 3.0


def gatewayOf(host: Host) -> str:
    """
    The address of a host's router.
    """
    return host.address.rpartition(".")[0] + ".1"


def renumbered(host: Host) -> str:
    """
    Another address on a host's network.
    """
    return host.address.rpartition(".")[0] + ".77"


class ChangeCase(LabTests):
    """
    What follows a change, whatever it was.
    """

    def wasNoticed(self, *causes: str) -> None:
        """
        The programs on the machine that changed wrote down what changed.
        """
        told = "; ".join(
            event["cause"]
            for program in (self.watcher, self.host)
            for event in program.events("network")
        )
        for cause in causes:
            self.assertIn(cause, told)

    def resumes(self, what: str, since: float, limit: float, margin: float) -> None:
        """
        Write down how long there were no pictures, too.
        """
        super().resumes(what, since, limit, margin)
        sys.stdout.write(f"    without pictures: {self.longestGap():.3f} s\n")


class InterfaceTests(ChangeCase):
    """
    An interface that goes down and comes up again (F64).
    """

    def downAndUp(self, machine: Host) -> None:
        """
        It comes up as if somebody configured it: with its default route.
        """
        machine.ip("link", "set", "eth0", "down")
        time.sleep(OUTAGE)
        machine.ip("link", "set", "eth0", "up")
        machine.ip("route", "add", "default", "via", gatewayOf(machine))
        self.resumes(f"pictures after {OUTAGE:g} s", boottime(), 1.0, 3.0)
        self.stayedConnected()
        self.wasNoticed("eth0 went down", "default route of IPv4 gone", "eth0 came up")

    def test_ofTheViewer(self) -> None:
        """
        A viewer whose interface was down has pictures as soon as it is up, in the
        same session.
        """
        self.countSessions()
        self.stream()
        self.watch()
        self.downAndUp(self.network.b)
        self.assertEqual(self.sessions(), 1)

    def test_ofTheHost(self) -> None:
        """
        So has the viewer of a host whose interface was down.
        """
        self.countSessions()
        self.stream()
        self.watch()
        self.downAndUp(self.network.a)
        self.assertEqual(self.sessions(), 1)

    def test_overTCP(self) -> None:
        """
        A session over TCP goes on at once too, although TCP by itself would wait for
        longer and longer before it repeats itself.
        """
        self.stream("--no-udp")
        self.watch()
        self.downAndUp(self.network.b)
        self.assertEqual(self.stopWatching()["transport"], "tcp")


class AddressTests(ChangeCase):
    """
    A machine that gets another address in the middle of a stream (F64).
    """

    def roam(self, machine: Host) -> float:
        """
        One address goes, another one comes; returns when.
        """
        machine.ip("address", "del", f"{machine.address}/24", "dev", "eth0")
        machine.ip("address", "add", f"{renumbered(machine)}/24", "dev", "eth0")
        machine.ip("route", "add", "default", "via", gatewayOf(machine))
        return boottime()

    def goesOn(self, machine: Host, since: float) -> None:
        """
        Pictures come again, and both sides stayed connected.
        """
        self.resumes("pictures after the move", since, 0.4, 3.0)
        self.stayedConnected()
        self.wasNoticed(
            f"address {machine.address} removed from eth0",
            f"address {renumbered(machine)} added to eth0",
        )

    def test_ofTheViewer(self) -> None:
        """
        A viewer that roams is followed: pictures go to its new address, and the
        standby connection, which cannot move, is made anew.
        """
        viewer = self.network.b
        self.stream()
        self.watch()
        self.goesOn(viewer, self.roam(viewer))
        path = self.host.events("path")[-1]
        self.assertEqual(path["transport"], "udp")
        self.assertTrue(path["address"].startswith(renumbered(viewer) + ":"), path)
        self.router.dropUDP()
        self.watcher.waitFor("path", transport="tcp")
        self.resumes("pictures over the standby path", boottime(), 0.3, 2.0)
        self.stayedConnected()

    def test_overTCP(self) -> None:
        """
        A session over TCP goes on over a new connection, because the old one ends
        with its address.
        """
        viewer = self.network.b
        self.stream("--no-udp")
        self.watch()
        self.goesOn(viewer, self.roam(viewer))
        causes = [event["cause"] for event in self.watcher.events("impaired")]
        self.assertEqual(causes, ["the last connection was lost"])
        self.assertEqual(self.stopWatching()["transport"], "tcp")

    def test_ofTheHost(self) -> None:
        """
        A host that gets another address takes its viewers along.
        """
        host = self.network.a
        self.stream()
        self.watch()
        self.goesOn(host, self.roam(host))
        path = self.watcher.events("path")[-1]
        self.assertTrue(path["address"].startswith(renumbered(host) + ":"), path)


class RouteTests(ChangeCase):
    """
    A machine whose way out changes (F64).
    """

    def test_goneAndBack(self) -> None:
        """
        A host's default route that was gone is used as soon as it is back.
        """
        self.countSessions()
        self.stream()
        self.watch()
        host = self.network.a
        host.ip("route", "del", "default")
        time.sleep(OUTAGE)
        host.ip("route", "add", "default", "via", gatewayOf(host))
        self.assertGreater(boottime() - self.pictures.arrivals[-1], OUTAGE / 2)
        self.resumes("pictures after the return", boottime(), 1.0, 3.0)
        self.stayedConnected()
        self.assertEqual(self.sessions(), 1)
        self.wasNoticed("default route of IPv4 gone", "default route of IPv4 now by")

    def test_another(self) -> None:
        """
        Another router is used at once, and no frame is lost.
        """
        self.stream()
        self.watch()
        other = gatewayOf(self.network.b).removesuffix("1") + "99"
        self.router.ip("address", "add", f"{other}/24", "dev", "tob")
        self.network.b.ip("route", "change", "default", "via", other)
        self.watcher.waitFor(
            "network", cause=f"default route of IPv4 now by {other} on eth0"
        )
        self.wasWhole("udp")


class SleepTests(ChangeCase):
    """
    A viewer that stops for a while, as in suspend (F67).
    """

    def test_seconds(self) -> None:
        """
        After seconds of it pictures are back at once, in the same session.
        """
        self.countSessions()
        self.stream()
        self.watch()
        self.watcher.process.send_signal(signal.SIGSTOP)
        time.sleep(8.0)
        self.watcher.process.send_signal(signal.SIGCONT)
        self.resumes("pictures after the stop", boottime(), 1.0, 3.0)
        self.assertEqual(self.sessions(), 1)


class MemoryTests(ChangeCase):
    """
    What worked on a network is tried first when it is dialled from again.
    """

    def redial(self) -> float:
        """
        The viewer ends, and dials again; returns how long its first picture takes.
        """
        self.stopWatching()
        self.startWatcher()
        return self.pictures.after(0.0) - self.dialledAt

    def test_tlsRemembered(self) -> None:
        """
        Where only TLS passes, the second dial does not wait a second for it.
        """
        self.router.dropUDP()
        self.router.rule(f"tcp dport {PORT} drop")
        self.startLabHost(
            *("--allow", formatCode(self.viewer.key, None), "--tls-port", "443")
        )
        self.startWatcher()
        first = self.pictures.after(0.0) - self.dialledAt
        self.assertGreater(first, TLS_HEAD_START)
        again = self.redial()
        self.within("first picture over TLS, remembered", again, 0.3, TLS_HEAD_START)
        self.assertEqual(self.stopWatching()["transport"], "tls")

    def test_tcpRemembered(self) -> None:
        """
        Where UDP is swallowed, the second dial does not wait for it; a week later it
        does; and once UDP has carried a session there, nothing is remembered.
        """
        self.router.dropUDP()
        first = self.stream() - self.dialledAt
        self.assertGreater(first, HEAD_START)
        # A machine that is busy every time is another matter.
        again = min(self.redial() for _ in range(3))
        self.within("first picture over TCP, remembered", again, 0.2, HEAD_START)
        path = self.directory / "viewer" / "networks"
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        memory = json.loads(path.read_text())
        [entry] = memory["networks"].values()
        self.assertEqual(entry["transport"], "tcp")
        for secret in (gatewayOf(self.network.b), self.network.b.name):
            self.assertNotIn(secret, path.read_text())
        entry["when"] -= EXPIRY
        path.write_text(json.dumps(memory))
        self.assertGreater(self.redial(), HEAD_START)
        self.router.restore()
        self.watcher.waitFor("path", transport="udp")
        waitUntil(
            lambda: not json.loads(path.read_text())["networks"], "nothing remembered"
        )
