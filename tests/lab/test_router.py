"""
Tests for `tests.lab.router`: every rule, without an emulator and with one.
"""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from tests.lab.net import openNetwork
from tests.lab.traffic import ask, carry, startEcho


class RouterTests(SynchronousTestCase):
    """
    Tests for what passes between the two hosts.
    """

    def setUp(self) -> None:
        """
        An echo runs on ``b``.
        """
        self.network = openNetwork(self)
        self.router = self.network.router
        startEcho(self, self.network.b)

    def ask(self, kind: str, address: str | None = None) -> str:
        """
        What ``a`` hears from the echo.
        """
        return ask(self.network.a, kind, address or self.network.b.address)

    def carried(self, count: int, size: int = 100, back: bool = False) -> int:
        """
        How many datagrams of so many pass from ``a`` to ``b``, or else back.
        """
        a, b = self.network.a, self.network.b
        # The echo has the port on b.
        sender, receiver = (b, a) if back else (a, b)
        return len(carry(sender, receiver, count, size=size, port=9877))

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
        self.router.dropUDP()
        self.assertEqual(self.ask("udp"), "silence")
        self.assertEqual(self.ask("udp", self.network.b.address6), "silence")
        self.assertEqual(self.ask("tcp"), "echo")
        self.router.restore()
        self.assertEqual(self.ask("udp"), "echo")

    def test_dropTCP(self) -> None:
        """
        TCP without an answer leaves UDP alone.
        """
        self.router.dropTCP()
        self.assertEqual(self.ask("tcp"), "silence")
        self.assertEqual(self.ask("udp"), "echo")

    def test_rejectTCP(self) -> None:
        """
        A rejected TCP connection is refused at once, not left to time out.
        """
        self.router.rejectTCP()
        self.assertEqual(self.ask("tcp"), "refused")
        self.assertEqual(self.ask("udp"), "echo")

    def test_rejectUDP(self) -> None:
        """
        A rejected datagram is answered by ICMP, over IPv4 and IPv6.
        """
        self.router.rejectUDP()
        self.assertEqual(self.ask("udp"), "refused")
        self.assertEqual(self.ask("udp", self.network.b.address6), "refused")
        self.assertEqual(self.ask("tcp"), "echo")

    def test_dropAll(self) -> None:
        """
        In a black hole the sender sees neither an answer nor an error; one
        `restore` ends all rules.
        """
        self.router.rejectTCP()
        self.router.dropUDP()
        self.router.restore()
        self.router.dropAll()
        self.assertEqual(self.ask("udp"), "silence")
        self.assertEqual(self.ask("tcp"), "silence")
        self.router.restore()
        self.assertEqual(self.ask("udp"), "echo")
        self.assertEqual(self.ask("tcp"), "echo")

    def test_oneDirection(self) -> None:
        """
        What one host sends is dropped; what the other sends passes.
        """
        for drop in (self.router.dropUDP, self.router.dropAll):
            drop(self.network.a)
            self.assertEqual(self.carried(20), 0)
            self.assertEqual(self.carried(20, back=True), 20)
            self.router.restore()
        self.router.dropUDP(self.network.b)
        self.assertEqual(self.carried(20), 20)
        self.assertEqual(self.carried(20, back=True), 0)
        self.router.restore()
        self.router.dropTCP(self.network.b)
        self.assertEqual(self.ask("tcp"), "silence")
        self.assertEqual(self.carried(20, back=True), 20)

    def test_dropLarger(self) -> None:
        """
        A packet of the size given passes, one that is a byte larger does not.
        """
        self.router.dropLarger(1280, self.network.a)
        self.assertEqual(self.carried(20, size=1280), 20)
        self.assertEqual(self.carried(20, size=1281), 0)
        self.assertEqual(self.carried(20, size=1281, back=True), 20)

    def test_limitRate(self) -> None:
        """
        What exceeds the rate is dropped, after a second's worth of it.
        """
        self.router.limitRate(320_000, self.network.a)
        # 8 Mbit/s for half a second: of 500 kB, 40 and another 20 pass.
        count = self.carried(500, size=1000)
        self.assertTrue(45 < count < 110, count)
        self.assertEqual(self.carried(50, size=1000, back=True), 50)

    def test_quota(self) -> None:
        """
        After so many bytes nothing passes, until all rules end.
        """
        self.router.quota(10_000)
        self.assertEqual(self.carried(50, size=1000), 10)
        self.assertEqual(self.carried(50, size=100), 0)
        self.router.restore()
        self.assertEqual(self.carried(50), 50)

    def test_ruleOfOnesOwn(self) -> None:
        """
        A rule of one's own can tell the directions apart by the router's ports, and
        meets each packet once.
        """
        self.router.rule("iifname tob udp sport 9876 counter drop")
        self.assertEqual(self.ask("udp"), "silence")
        self.router.rule("udp dport 9877 counter")
        self.assertEqual(self.carried(20), 20)
        listing = ["nft", "-j", "list", "chain", "inet", "lab", "forward"]
        done = self.router.run(listing, capture_output=True, timeout=20)
        counted = [
            term["counter"]["packets"]
            for entry in json.loads(done.stdout)["nftables"]
            for term in entry.get("rule", {}).get("expr", [])
            if "counter" in term
        ]
        self.assertEqual(counted, [1, 20])


class EmulatedRouterTests(RouterTests):
    """
    The same, with a link that is emulated.
    """

    def setUp(self) -> None:
        """
        Every packet is on the way for a while.
        """
        super().setUp()
        self.network.emulate(delay=0.01)
