"""
Tests for `rootstream.networks`.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from rootstream.identity import Identity
from rootstream.interfaces import Transport
from rootstream.networks import EXPIRY, MAX_NETWORKS, RENEWAL, NetworkMemory
from rootstream.transport.network import Gateway
from tests.virtual import identity

TCP, TLS, UDP = Transport.TCP, Transport.TLS, Transport.UDP
OWNER = identity(1)

HOME = Gateway("192.168.1.1", bytes.fromhex("02fc00000001"))
#: The address that all routers have, and another router.
WORK = Gateway("192.168.1.1", bytes.fromhex("02fc00000002"))


class MemoryCase(SynchronousTestCase):
    """
    A home, a clock, and a network to be on.

    @ivar gateway: of the network; an exception is raised.
    """

    def setUp(self) -> None:
        self.home = Path(self.mktemp()).absolute()
        self.home.mkdir(mode=0o700)
        self.path = self.home / "networks"
        self.gateway: Gateway | OSError | None = HOME
        self.now = 1_800_000_000.0
        self.later: list[Callable[[], None]] = []

    def memory(self, owner: Identity = OWNER) -> NetworkMemory:
        """
        The memory of a program that begins now.
        """

        def findGateway() -> Gateway | None:
            if isinstance(self.gateway, OSError):
                raise self.gateway
            return self.gateway

        return NetworkMemory(
            self.home,
            owner,
            gateway=findGateway,
            wallClock=lambda: self.now,
            later=self.later.append,
        )

    def write(self) -> int:
        """
        Let what is to be written be written; returns how often there was something.
        """
        count = len(self.later)
        while self.later:
            self.later.pop(0)()
        return count

    def content(self) -> Any:
        """
        What the file says.
        """
        return json.loads(self.path.read_text("ascii"))

    def warnings(self, call: Callable[[], object]) -> list[str]:
        """
        What is logged as a warning meanwhile.
        """
        with capturedLogs() as logs:
            call()
        return [
            str(each.get("reason"))
            for each in logs
            if each["log_level"] is LogLevel.warn
        ]


class RememberTests(MemoryCase):
    """
    What is remembered, and for how long.
    """

    def test_remembered(self) -> None:
        """
        A stream that worked is preferred on that network, by this program and by the
        next, and on no other network.
        """
        for transport in (TCP, TLS):
            memory = self.memory()
            memory.worked(transport)
            self.write()
            for each in (memory, self.memory()):
                self.gateway = HOME
                self.assertIs(each.preferred(), transport)
                self.gateway = WORK
                self.assertIsNone(each.preferred())
            self.gateway = HOME

    def test_nothingKnown(self) -> None:
        """
        At first nothing is preferred, and nothing is written.
        """
        self.assertEqual(self.warnings(lambda: self.memory().preferred()), [])
        self.assertIsNone(self.memory().preferred())
        self.assertFalse(self.path.exists())

    def test_udpErases(self) -> None:
        """
        Once UDP worked on a network, nothing is remembered of it; on others it is.
        """
        memory = self.memory()
        memory.worked(TCP)
        self.gateway = WORK
        memory.worked(TCP)
        memory.worked(UDP)
        self.write()
        self.assertIsNone(self.memory().preferred())
        self.gateway = HOME
        self.assertIs(self.memory().preferred(), TCP)

    def test_expired(self) -> None:
        """
        After a week a network is tried as if it were new.
        """
        self.memory().worked(TCP)
        self.write()
        self.now += EXPIRY - 1
        self.assertIs(self.memory().preferred(), TCP)
        self.now += 2
        self.assertIsNone(self.memory().preferred())

    def test_clockSetBack(self) -> None:
        """
        What is dated from the future is not believed, and replaced by what works now.
        """
        memory = self.memory()
        memory.worked(TCP)
        self.now -= 3600.0
        self.assertIsNone(memory.preferred())
        memory.worked(TCP)
        self.assertIs(memory.preferred(), TCP)

    def test_renewed(self) -> None:
        """
        What works every day is written once a day, and never expires.
        """
        memory = self.memory()
        memory.worked(TCP)
        self.assertEqual(self.write(), 1)
        self.now += RENEWAL - 1
        memory.worked(TCP)
        self.assertEqual(self.write(), 0)
        self.now += 2
        memory.worked(TCP)
        self.assertEqual(self.write(), 1)
        self.now += EXPIRY - 1
        self.assertIs(self.memory().preferred(), TCP)

    def test_udpAlone(self) -> None:
        """
        Where UDP always worked nothing is ever written.
        """
        self.memory().worked(UDP)
        self.assertEqual(self.write(), 0)

    def test_bounded(self) -> None:
        """
        Of very many networks the one longest not seen is forgotten.
        """
        memory = self.memory()
        for number in range(MAX_NETWORKS + 1):
            self.now += 1
            self.gateway = Gateway(f"10.0.0.{number}", bytes(6))
            memory.worked(TCP)
        self.write()
        memory = self.memory()
        self.assertIs(memory.preferred(), TCP)
        for number, expected in ((0, None), (1, TCP)):
            self.gateway = Gateway(f"10.0.0.{number}", bytes(6))
            self.assertIs(memory.preferred(), expected)

    def test_unknownNetwork(self) -> None:
        """
        On a network that cannot be told from others nothing is learned or preferred.
        """
        memory = self.memory()
        memory.worked(TCP)
        self.write()
        for self.gateway in (None, OSError(errno.EPERM, "forbidden")):
            self.assertIsNone(memory.preferred())
            memory.worked(TLS)
            memory.worked(UDP)
            self.assertEqual(self.write(), 0)


class FileTests(MemoryCase):
    """
    Tests for the file ``networks``.
    """

    def test_private(self) -> None:
        """
        The file is its owner's alone, and names no router: with another key the same
        network has another name.
        """
        self.memory().worked(TCP)
        self.write()
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        text = self.path.read_text("ascii")
        for secret in ("192.168", "02fc", "02:fc"):
            self.assertNotIn(secret, text)
        [first] = self.content()["networks"]
        self.path.unlink()
        self.memory(identity(2)).worked(TCP)
        self.write()
        [second] = self.content()["networks"]
        self.assertNotEqual(first, second)

    def test_format(self) -> None:
        """
        The file says its version, and of each network the transport and the time.
        """
        self.memory().worked(TLS)
        self.write()
        content = self.content()
        self.assertEqual(content["version"], 1)
        [entry] = content["networks"].values()
        self.assertEqual(entry, {"transport": "tls", "when": 1_800_000_000})

    def test_broken(self) -> None:
        """
        A file that is not one of ours is not used, which one line says; it is replaced
        as soon as there is something to remember.
        """
        entry = {"transport": "tcp", "when": 1.0}

        def ours(**networks: object) -> str:
            return json.dumps({"version": 1, "networks": networks})

        for text in (
            "",
            "no JSON",
            "[]",
            "7",
            "[" * 15_000,
            '{"version": 2}',
            '{"version": 1}',
            '{"version": 1, "networks": []}',
            ours(a=7),
            ours(a={"transport": "tcp"}),
            ours(a={"transport": "udp", "when": 1.0}),
            ours(a={"transport": "tcp", "when": "yesterday"}),
            ours(a={"transport": "tcp", "when": float("nan")}),
            ours(a={"transport": "tcp", "when": 10**400}),
            ours(a={"transport": [], "when": 1.0}),
            ours(**{str(number): entry for number in range(MAX_NETWORKS + 1)}),
            ours(a=entry) + " " * 20_000,
            "\ud800",
        ):
            self.path.write_text(text, "utf-8", "surrogatepass")
            [warning] = self.warnings(self.memory)
            self.assertTrue(warning, text[:50])
            memory = self.memory()
            self.assertIsNone(memory.preferred())
            memory.worked(TCP)
            self.write()
            self.assertEqual(len(self.content()["networks"]), 1)

    def test_notAFile(self) -> None:
        """
        What only bears its name is not read.
        """
        os.symlink("/etc/passwd", self.path)
        [warning] = self.warnings(self.memory)
        self.assertIn("symbolic link", warning)

    def test_readOnly(self) -> None:
        """
        In a home that cannot be written, the memory lasts as long as the program.
        """
        memory = self.memory()
        memory.worked(TCP)
        self.path.mkdir()
        [warning] = self.warnings(self.write)
        self.assertIn("cannot write", warning)
        self.assertIs(memory.preferred(), TCP)
        memory.worked(TLS)
        self.assertIs(memory.preferred(), TLS)
        self.write()

    def test_noHome(self) -> None:
        """
        A home that is not there is no reason to fail.
        """
        self.home.rmdir()
        [warning] = self.warnings(self.memory)
        self.assertIn("there is no directory", warning)

    def test_newestWins(self) -> None:
        """
        Writings that were held up leave what was remembered last.
        """
        memory = self.memory()
        memory.worked(TCP)
        memory.worked(TLS)
        for write in reversed(self.later):
            write()
        [entry] = self.content()["networks"].values()
        self.assertEqual(entry["transport"], "tls")

    def test_thread(self) -> None:
        """
        By itself it writes in a thread that holds up neither us nor our end.
        """
        memory = NetworkMemory(self.home, OWNER, gateway=lambda: HOME)
        memory.worked(TCP)
        for thread in threading.enumerate():
            if thread.name == "rootstream-networks":
                self.assertTrue(thread.daemon)
                thread.join(20.0)
        [entry] = self.content()["networks"].values()
        self.assertEqual(entry["transport"], "tcp")
