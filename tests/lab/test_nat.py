"""
Tests for `tests.lab.nat`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import IO

from twisted.trial.unittest import SynchronousTestCase

from tests.lab.net import Host, Nat, openNetwork
from tests.lab.traffic import PORT, ask, startEcho

#: Says from which port each datagram comes that it answers.
WHO = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.bind(("", int(sys.argv[1])))
    print("ready", flush=True)
    while True:
        data, address = one.recvfrom(2000)
        print(*address, flush=True)
        one.sendto(data, address)
"""

#: A socket that sends when it is told to, and says whether an answer came in time;
#: what came unasked meanwhile is an answer too.
TALK = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.settimeout(0.5)
    for line in sys.stdin:
        if line == "send\\n":
            one.sendto(b"word", (sys.argv[1], int(sys.argv[2])))
        try:
            one.recv(2000)
            print("answer", flush=True)
        except TimeoutError:
            print("silence", flush=True)
"""


class NatTests(SynchronousTestCase):
    """
    Tests for what leaves a NAT, and what comes in.
    """

    def setUp(self) -> None:
        """
        A host behind each NAT; ``b`` talks to a program behind the NAT of ``a``.
        """
        self.network = openNetwork(self, nat=True)
        assert self.network.natA is not None
        assert self.network.natB is not None
        self.natA: Nat = self.network.natA
        self.natB: Nat = self.network.natB

    def popen(self, host: Host, script: str, *arguments: str) -> subprocess.Popen[str]:
        """
        Run a script on a host, for this test.
        """
        child = host.popen(
            [sys.executable, "-c", script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=1,
        )
        for pipe in (child.stdin, child.stdout):
            assert pipe is not None
            self.addCleanup(pipe.close)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        return child

    def startTalk(self) -> None:
        """
        Let ``b`` talk to ``a``, at a port that is forwarded.
        """
        self.natA.forward(PORT)
        self.who = self.popen(self.network.a, WHO, str(PORT))
        self.assertEqual(self.line(self.who.stdout), "ready")
        address = self.network.a.outside
        self.talker = self.popen(self.network.b, TALK, address, str(PORT))

    def talk(self, words: str = "send") -> str:
        """
        Whether ``b`` hears something after it sent, or without.
        """
        assert self.talker.stdin is not None
        self.talker.stdin.write(words + "\n")
        return self.line(self.talker.stdout)

    def seen(self) -> tuple[str, int]:
        """
        The address from which ``a`` heard something.
        """
        host, port = self.line(self.who.stdout).split()
        return host, int(port)

    def line(self, pipe: IO[str] | None) -> str:
        """
        The next line that a program writes.
        """
        assert pipe is not None
        return pipe.readline().strip()

    def test_addresses(self) -> None:
        """
        A host has an address of its own, and its NAT's for all others.
        """
        self.assertEqual(self.network.a.outside, self.natA.address)
        self.assertEqual(self.network.b.outside, self.natB.address)
        self.assertNotEqual(self.network.a.address, self.natA.address)
        plain = openNetwork(self)
        self.assertIsNone(plain.natA)
        self.assertEqual(plain.a.outside, plain.a.address)

    def test_masquerade(self) -> None:
        """
        What leaves a NAT comes from its address, and from one port as long as it is
        one conversation.
        """
        self.startTalk()
        self.assertEqual(self.talk(), "answer")
        first = self.seen()
        self.assertEqual(first[0], self.natB.address)
        self.assertEqual(self.talk(), "answer")
        self.assertEqual(self.seen(), first)

    def test_nothingComesInUnasked(self) -> None:
        """
        A port is silent, for UDP and TCP, until it is forwarded.
        """
        startEcho(self, self.network.a)
        b, address = self.network.b, self.network.a.outside
        self.assertEqual(ask(b, "udp", address), "silence")
        self.assertEqual(ask(b, "tcp", address), "silence")
        self.natA.forward(PORT)
        self.assertEqual(ask(b, "udp", address), "echo")
        self.assertEqual(ask(b, "tcp", address), "echo")

    def test_IPv6(self) -> None:
        """
        IPv6 is routed, from end to end.
        """
        startEcho(self, self.network.a)
        for kind in ("udp", "tcp"):
            self.assertEqual(ask(self.network.b, kind, self.network.a.address6), "echo")

    def test_rebind(self) -> None:
        """
        After a rebinding the next packet comes from another port, each time; the
        address stays.
        """
        self.startTalk()
        ports = []
        for _ in range(3):
            self.assertEqual(self.talk(), "answer")
            host, port = self.seen()
            self.assertEqual(host, self.natB.address)
            ports.append(port)
            self.natB.rebind()
        self.assertEqual(len(set(ports)), 3, ports)

    def test_renumber(self) -> None:
        """
        After it the next packet comes from another address, and a forwarded port is
        reached there.
        """
        self.startTalk()
        self.assertEqual(self.talk(), "answer")
        old = self.seen()[0]
        new = old.rpartition(".")[0] + ".99"
        self.natB.forward(PORT)
        startEcho(self, self.network.b)
        self.assertEqual(ask(self.network.a, "udp", old), "echo")
        self.natB.renumber(new)
        self.assertEqual(self.talk(), "answer")
        self.assertEqual(self.seen()[0], new)
        self.assertEqual(ask(self.network.a, "udp", new), "echo")

    def test_oldPortIsDead(self) -> None:
        """
        After a rebinding, what is sent to the old port goes nowhere.
        """
        self.startTalk()
        self.assertEqual(self.talk(), "answer")
        host, port = self.seen()
        self.who.kill()
        self.who.wait()
        # The same port as before, so that only the NAT can tell.
        script = (
            "import socket; one = socket.socket(type=socket.SOCK_DGRAM); "
            f"one.bind(('', {PORT})); one.sendto(b'x', ('{host}', {port}))"
        )
        send = [sys.executable, "-c", script]
        self.network.a.run(send, check=True, timeout=20)
        self.assertEqual(self.talk("listen"), "answer")
        self.natB.rebind()
        self.network.a.run(send, check=True, timeout=20)
        self.assertEqual(self.talk("listen"), "silence")

    def test_forgetAfter(self) -> None:
        """
        A mapping without traffic is forgotten after the time given, and the next
        packet gets another port.
        """
        self.natB.forgetAfter(1)
        self.startTalk()
        self.assertEqual(self.talk(), "answer")
        first = self.seen()
        self.assertEqual(self.talk(), "answer")
        self.assertEqual(self.seen(), first)
        time.sleep(2.5)
        self.assertEqual(self.talk(), "answer")
        self.assertNotEqual(self.seen(), first)
