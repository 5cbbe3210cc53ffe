"""
Hosts that are known by name: what bad name servers say, and which of two address
families carries.  Real processes, real lookups, a name server of our own.
"""

from __future__ import annotations

import signal
from typing import Any

from rootstream.identity import formatCode
from rootstream.transport.clock import boottime
from tests.integration.programs import waitUntil
from tests.lab.judging import LabTests
from tests.lab.nameserver import NameServer
from tests.lab.nat64 import POOL, Nat64, translated
from tests.lab.net import orSkip
from tests.lab.programs import PORT

#: A name that is there and is never told about.
SILENT = "silent.example"
#: Many addresses where nobody is (RFC 2544 keeps them for benchmarks).
MANY = [f"198.18.{n // 250}.{n % 250 + 1}" for n in range(1000)]
NOBODY = "198.18.0.0/15"
#: Addresses at which there can be no one peer.
BAD = ["0.0.0.0", "224.0.0.251", "239.1.2.3", "255.255.255.255", "::", "ff02::1"]

#: Notes in the viewer's own machine whom it sends packets of ours, loopback included.
BOOKS = f"""
table inet lab {{
    set called4 {{ type ipv4_addr; flags dynamic; size 4096; }}
    set called6 {{ type ipv6_addr; flags dynamic; size 4096; }}
    chain output {{
        type filter hook output priority filter; policy accept;
        meta l4proto {{ tcp, udp }} th dport {PORT} add @called4 {{ ip daddr }}
        meta l4proto {{ tcp, udp }} th dport {PORT} add @called6 {{ ip6 daddr }}
    }}
}}
"""


class NamedHostTests(LabTests):
    """
    A network with a name server in the router, which the viewer asks.
    """

    #: Of the router, where the viewer is.
    nameServer = "203.0.113.1"

    def setUp(self) -> None:
        """
        A host runs.
        """
        super().setUp()
        a, b = self.network.a, self.network.b
        with orSkip():
            server = NameServer(
                self.router,
                {
                    "both.example": [a.address, a.address6],
                    "bad.example": BAD,
                    "mixed.example": [*BAD, a.address],
                    "many.example": MANY,
                    "own.example": [b.address, a.address],
                    "nat64.example": [translated(a.address)],
                    SILENT: None,
                },
            )
        self.addCleanup(server.close)
        b.resolveAt(self.nameServer)
        b.nft(BOOKS)
        self.startLabHost("--allow", formatCode(self.viewer.key, None))

    def called(self) -> set[str]:
        """
        Whom the viewer has sent packets.
        """
        listed: set[str] = set()
        for name in ("called4", "called6"):
            listing = self.listed("set", name, self.network.b)
            listed.update(listing.get("elem", []))
        return listed

    def connects(self, name: str, limit: float, transport: str = "udp") -> None:
        """
        A host is reached by its name, in time, and the stream is whole.
        """
        self.startWatcher(address=name)
        first = self.pictures.after(0.0)
        self.within("first picture", first - self.dialledAt, limit, 3.0)
        self.wasWhole(transport)

    def refuses(self, name: str, *phrases: str) -> dict[str, Any]:
        """
        The viewer ends, and its last line says why; returns that event.
        """
        self.startWatcher(address=name)
        error = self.watcher.waitFor("error")
        self.assertEqual(self.watcher.exitStatus(), 1)
        *_, last = self.watcher.complaints().splitlines()
        self.assertOneLine(last, name, *phrases)
        self.assertNotIn("Traceback", self.watcher.complaints())
        self.assertEqual(self.watcher.events("attempt"), [])
        return error


class BadNameTests(NamedHostTests):
    """
    Names that lead nowhere, or where nobody should be sent.
    """

    def test_missing(self) -> None:
        """
        A name that is not there is told at once (F65).
        """
        error = self.refuses("missing.example", "cannot resolve", "check the name")
        self.within("told after", error["mono"] - self.dialledAt, 0.5, 3.0)
        self.assertEqual(self.called(), set())

    def test_silent(self) -> None:
        """
        A name server that does not answer is waited for 5 s and no longer (F65).
        """
        error = self.refuses(SILENT, "no answer in 5 seconds")
        took = error["mono"] - self.dialledAt
        self.within("told after", took, 5.0, 7.0)
        self.assertGreater(took, 4.9)

    def test_nothingWaits(self) -> None:
        """
        Meanwhile the program goes on: asked to end, it ends (F65).
        """
        self.startWatcher(address=SILENT)
        self.watch(1.0)
        asked = boottime()
        self.watcher.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.watcher.exitStatus(), 0, self.watcher.complaints())
        self.within("ended after", boottime() - asked, 0.5, 2.5)

    def test_many(self) -> None:
        """
        Of a thousand addresses eight are tried (F65).
        """
        self.router.ip("route", "add", "blackhole", NOBODY)
        self.startWatcher(address="many.example")
        waitUntil(lambda: len(self.called()) >= 8, "eight are called")
        # Long enough for the next four.
        self.watch(1.0)
        called = self.called()
        self.assertEqual(len(called), 8, called)
        self.assertLess(called, set(MANY))

    def test_bad(self) -> None:
        """
        A name that leads to no machine, to many, or to whatever is nearest, is refused
        without a packet (F65).
        """
        self.refuses("bad.example", "can never be a peer")
        self.assertEqual(self.called(), set())

    def test_mixed(self) -> None:
        """
        Such addresses beside a good one are passed over (F65).
        """
        self.connects("mixed.example", 0.3)
        self.assertEqual(self.called(), {self.network.a.address})

    def test_own(self) -> None:
        """
        The viewer's own address is not refused, because a host may run there; where
        none does, the next is tried a moment later (F65).
        """
        self.connects("own.example", 0.55)
        own = {self.network.b.address, self.network.a.address}
        self.assertEqual(self.called(), own)


class FamilyTests(NamedHostTests):
    """
    A host with addresses of both families, of which one carries.
    """

    def test_noIPv4(self) -> None:
        """
        On a network that swallows IPv4, IPv6 carries (F66).
        """
        self.router.rule("meta nfproto ipv4 drop")
        self.connects("both.example", 0.3)

    def test_noIPv6(self) -> None:
        """
        On one that swallows IPv6, which is tried first, IPv4 follows in 250 ms (F66).
        """
        self.router.rule("meta nfproto ipv6 drop")
        self.connects("both.example", 0.55)
        [path] = self.watcher.events("path")
        self.assertEqual(path["address"], f"{self.network.a.address}:{PORT}")


class TranslationTests(NamedHostTests):
    """
    A viewer without IPv4, and a host that has nothing else.
    """

    nameServer = "2001:db8:b::1"

    def test_NAT64(self) -> None:
        """
        Behind a NAT64 the stream runs over UDP, and where that is blocked over TCP
        (F66).
        """
        with orSkip():
            nat64 = Nat64(self.router)
        self.addCleanup(nat64.close)
        waitUntil(lambda: nat64.ready, "the NAT64 reads its device")
        self.network.a.ip("-6", "address", "flush", "dev", "eth0")
        self.network.b.ip("-4", "address", "flush", "dev", "eth0")
        self.startWatcher(address="nat64.example")
        first = self.pictures.after(0.0)
        self.within("first picture", first - self.dialledAt, 0.3, 3.0)
        [path] = self.host.events("path")
        self.assertTrue(path["address"].startswith(POOL[:8]), path)
        self.watch()
        self.router.dropUDP()
        self.watcher.waitFor("path", transport="tcp")
        self.resumes("pictures over TCP", boottime(), 0.1, 1.5)
        self.stayedConnected()
        self.assertEqual(self.stopWatching()["frames_lost"], 0, self.account())
