"""
Tests for `rootstream.transport.network`, against a kernel that says what it is told.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from rootstream.transport import netlink
from rootstream.transport.netlink import Message, attribute, attributes
from rootstream.transport.network import (
    Gateway,
    Snapshot,
    describeChange,
    findGateway,
    takeSnapshot,
)

UP, RUNNING, LOOPBACK = 0x1, 0x40, 0x8
TEMPORARY, DEPRECATED, TENTATIVE = 0x01, 0x20, 0x40
UNIVERSE, LINK, HOST = 0, 253, 254
UNICAST, UNREACHABLE = 1, 7
REACHABLE, STALE, FAILED = 0x02, 0x04, 0x20

ROUTER_MAC = bytes.fromhex("02fc00000005")


def packed(address: str) -> bytes:
    """
    An IP address as the kernel writes it.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.inet_pton(family, address)


def link(index: int, name: str, flags: int = UP | RUNNING) -> Message:
    """
    What the kernel says of an interface.
    """
    body = struct.pack("=BxHiII", 0, 1, index, flags, 0)
    return Message(netlink.NEW_LINK, body + attribute(3, name.encode() + b"\0"))


def address(
    index: int, text: str, scope: int = UNIVERSE, flags: int = 0, far: str = ""
) -> Message:
    """
    What it says of an address; ``far`` is the other end of a point-to-point link.
    """
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    body = struct.pack("=BBBBi", family, 24, flags & 0xFF, scope, index)
    body += attribute(1, packed(far or text))
    if far or family == socket.AF_INET:
        body += attribute(2, packed(text))
    return Message(netlink.NEW_ADDRESS, body + attribute(8, struct.pack("=I", flags)))


def route(index: int, gateway: str = "", kind: int = UNICAST) -> Message:
    """
    What it says of the way to somewhere.
    """
    body = struct.pack("=BBBBBBBBI", 0, 0, 0, 0, 254, 0, 0, kind, 0)
    body += attribute(4, struct.pack("=I", index))
    if gateway:
        body += attribute(5, packed(gateway))
    return Message(netlink.NEW_ROUTE, body)


def neighbour(state: int, linkLayer: bytes = ROUTER_MAC) -> Message:
    """
    What it says of a machine on the same cable.
    """
    body = struct.pack("=BxxxiHBB", 2, 1, state, 0, 0)
    return Message(netlink.NEW_NEIGHBOUR, body + attribute(2, linkLayer))


class NetworkCase(SynchronousTestCase):
    """
    A kernel whose answers a test can change.

    @ivar routes: by family; an error number instead of a message is raised.
    """

    def setUp(self) -> None:
        self.links = [link(1, "lo", UP | RUNNING | LOOPBACK), link(2, "eth0")]
        self.addresses = [
            address(1, "127.0.0.1", HOST),
            address(1, "::1", HOST),
            address(2, "192.0.2.7"),
            address(2, "2001:db8::7"),
        ]
        self.routes: dict[int, Message | int] = {
            socket.AF_INET: route(2, "192.0.2.1"),
            socket.AF_INET6: route(2, "fe80::1"),
        }
        self.neighbour: Message | int = neighbour(REACHABLE)
        self.asked: list[tuple[int, bytes]] = []
        self.patch(netlink, "ask", self.ask)

    def ask(self, kind: int, body: bytes, *, every: bool = False) -> Sequence[Message]:
        """
        Answer as the kernel does.
        """
        self.asked.append((kind, body))
        self.assertEqual(every, kind in (netlink.GET_LINK, netlink.GET_ADDRESS))
        if kind == netlink.GET_LINK:
            return self.links
        if kind == netlink.GET_ADDRESS:
            return self.addresses
        answer = self.neighbour if kind == netlink.GET_NEIGHBOUR else None
        if kind == netlink.GET_ROUTE:
            answer = self.routes[body[0]]
        if isinstance(answer, int):
            raise OSError(answer, os.strerror(answer))
        assert answer is not None
        return [answer]


class SnapshotTests(NetworkCase):
    """
    What belongs to a snapshot, and what does not.
    """

    def test_everything(self) -> None:
        """
        Interfaces that are up, addresses, and default routes.
        """
        snapshot = takeSnapshot()
        self.assertEqual(
            snapshot,
            Snapshot(
                frozenset({"eth0"}),
                frozenset({("eth0", "192.0.2.7"), ("eth0", "2001:db8::7")}),
                ("192.0.2.1 on eth0", "fe80::1 on eth0"),
            ),
        )
        self.assertEqual(snapshot.own, {"127.0.0.1", "::1", "192.0.2.7", "2001:db8::7"})

    def test_wayOut(self) -> None:
        """
        Of routes the kernel is asked for one, to an address far away, of each family.
        """
        takeSnapshot()
        questions = [body for kind, body in self.asked if kind == netlink.GET_ROUTE]
        self.assertEqual([body[:2] for body in questions], [b"\x02\x20", b"\x0a\x80"])
        self.assertEqual(
            [attributes(body[12:]) for body in questions],
            [{1: packed("240.0.0.1")}, {1: packed("2000::")}],
        )

    def test_noise(self) -> None:
        """
        What comes and goes while everything works is no change: link-local addresses,
        temporary and deprecated ones, those still being checked for doubles, and
        interfaces that have nothing else.
        """
        before = takeSnapshot()
        self.links.append(link(9, "veth1234"))
        self.addresses += [
            address(9, "fe80::9", LINK),
            address(2, "2001:db8::99", flags=TEMPORARY),
            address(2, "2001:db8::98", flags=DEPRECATED),
            address(2, "2001:db8::97", flags=TENTATIVE),
        ]
        after = takeSnapshot()
        self.assertEqual(after, before)
        self.assertEqual(len(after.own - before.own), 4)

    def test_flagsOfThePast(self) -> None:
        """
        A kernel that tells an address's flags only in the old place is understood.
        """
        before = takeSnapshot()
        body = struct.pack("=BBBBi", socket.AF_INET6, 64, TEMPORARY, UNIVERSE, 2)
        body += attribute(1, packed("2001:db8::99"))
        self.addresses.append(Message(netlink.NEW_ADDRESS, body))
        self.assertEqual(takeSnapshot(), before)

    def test_secondary(self) -> None:
        """
        A second IPv4 address has the flag of a temporary IPv6 one, and counts.
        """
        self.addresses.append(address(2, "192.0.2.8", flags=TEMPORARY))
        self.assertIn(("eth0", "192.0.2.8"), takeSnapshot().addresses)

    def test_zeroconf(self) -> None:
        """
        IPv4's link-local addresses count: whoever has one has no other.
        """
        self.addresses = [address(2, "169.254.7.7", LINK)]
        self.assertEqual(takeSnapshot().addresses, {("eth0", "169.254.7.7")})

    def test_pointToPoint(self) -> None:
        """
        Of a point-to-point link our end counts; it needs no gateway.
        """
        self.links.append(link(3, "wg0"))
        self.addresses.append(address(3, "10.9.0.2", far="10.9.0.1"))
        self.routes[socket.AF_INET] = route(3)
        snapshot = takeSnapshot()
        self.assertIn(("wg0", "10.9.0.2"), snapshot.addresses)
        self.assertEqual(snapshot.routes[0], "wg0")

    def test_down(self) -> None:
        """
        An interface that is switched off, or has no carrier, is down.
        """
        for flags in (0, UP, RUNNING):
            self.links[1] = link(2, "eth0", flags)
            self.assertEqual(takeSnapshot().up, frozenset())

    def test_noRoute(self) -> None:
        """
        No route, a route that refuses, or no IPv6 at all is no way out.
        """
        self.routes[socket.AF_INET] = errno.ENETUNREACH
        for answer in (errno.EOPNOTSUPP, route(1, kind=UNREACHABLE)):
            self.routes[socket.AF_INET6] = answer
            self.assertEqual(takeSnapshot().routes, ("", ""))

    def test_overIPv6(self) -> None:
        """
        An IPv4 route over an IPv6 router has that for a gateway.
        """
        plain = route(2)
        via = struct.pack("=H", socket.AF_INET6) + packed("fe80::1")
        self.routes[socket.AF_INET] = Message(
            netlink.NEW_ROUTE, plain.body + attribute(18, via)
        )
        self.assertEqual(takeSnapshot().routes[0], "fe80::1 on eth0")

    def test_refused(self) -> None:
        """
        What the kernel forbids is an error.
        """
        self.routes[socket.AF_INET] = errno.EPERM
        self.assertRaises(PermissionError, takeSnapshot)

    def test_malformed(self) -> None:
        """
        Messages of other kinds, cut off anywhere, or with addresses that are none,
        are left out; an interface whose name is missing has none.
        """
        whole = takeSnapshot()
        junk = [Message(99, b"x" * 40)]
        for good in (self.links[1], self.addresses[3]):
            junk += [Message(good.kind, good.body[:end]) for end in range(20)]
        body = struct.pack("=BBBBi", 77, 0, 0, 0, 2) + attribute(1, b"no address")
        junk.append(Message(netlink.NEW_ADDRESS, body))
        self.links[:0] = junk
        self.addresses[:0] = junk
        self.assertEqual(takeSnapshot(), whole)
        for kind in (netlink.NEW_LINK, netlink.NEW_ROUTE):
            for end in (0, 11, 12, 15):
                self.routes[socket.AF_INET] = Message(kind, b"\1" * end)
                self.assertEqual(takeSnapshot().routes[0], "")

    def test_interfaceOfTheMoment(self) -> None:
        """
        A route over an interface that came since is told by its number.
        """
        self.routes[socket.AF_INET] = route(12)
        self.assertEqual(takeSnapshot().routes[0], "12")


class DescribeTests(SynchronousTestCase):
    """
    Changes in words.
    """

    BEFORE = Snapshot(
        frozenset({"eth0"}),
        frozenset({("eth0", "192.0.2.7")}),
        ("192.0.2.1 on eth0", ""),
    )

    def test_roamed(self) -> None:
        """
        Interfaces, addresses and routes are named, what went before what came.
        """
        after = Snapshot(
            frozenset({"wlan0"}),
            frozenset({("wlan0", "198.51.100.7")}),
            ("198.51.100.1 on wlan0", ""),
        )
        self.assertEqual(
            describeChange(self.BEFORE, after),
            "eth0 went down, wlan0 came up, address 192.0.2.7 removed from eth0, "
            "address 198.51.100.7 added to wlan0, 1 more",
        )

    def test_routes(self) -> None:
        """
        A route comes, goes, or leads elsewhere.
        """
        for routes, words in (
            (("192.0.2.9 on eth0", ""), "IPv4 now by 192.0.2.9 on eth0"),
            (("", ""), "IPv4 gone"),
            (("192.0.2.1 on eth0", "fe80::1 on eth0"), "IPv6 now by fe80::1 on eth0"),
        ):
            after = Snapshot(self.BEFORE.up, self.BEFORE.addresses, routes)
            self.assertEqual(
                describeChange(self.BEFORE, after), f"default route of {words}"
            )

    def test_bounded(self) -> None:
        """
        Of very many changes at once a few are named.
        """
        many = frozenset(("eth0", f"192.0.2.{number}") for number in range(7, 107))
        after = Snapshot(self.BEFORE.up, many, self.BEFORE.routes)
        words = describeChange(self.BEFORE, after)
        self.assertLess(len(words), 200)
        self.assertTrue(words.endswith(", 95 more"), words)


class GatewayTests(NetworkCase):
    """
    Tests for `findGateway`.
    """

    def test_found(self) -> None:
        """
        The router's IP address and link-layer address; the kernel is asked for the
        neighbour on the route's interface.
        """
        for state in (REACHABLE, STALE):
            self.neighbour = neighbour(state)
            self.assertEqual(findGateway(), Gateway("192.0.2.1", ROUTER_MAC))
        kind, body = self.asked[-1]
        self.assertEqual(kind, netlink.GET_NEIGHBOUR)
        self.assertEqual(struct.unpack_from("=BxxxiHBB", body), (2, 2, 0, 0, 0))
        self.assertEqual(attributes(body[12:]), {1: packed("192.0.2.1")})

    def test_onlyIPv6(self) -> None:
        """
        Without IPv4 it is IPv6's router.
        """
        self.routes[socket.AF_INET] = errno.ENETUNREACH
        self.assertEqual(findGateway(), Gateway("fe80::1", ROUTER_MAC))
        self.assertEqual(self.asked[-1][1][0], socket.AF_INET6)

    def test_none(self) -> None:
        """
        There is none without a route, or on a point-to-point link.
        """
        self.routes[socket.AF_INET] = route(3)
        self.assertIsNone(findGateway())
        self.routes[socket.AF_INET] = self.routes[socket.AF_INET6] = errno.ENETUNREACH
        self.assertIsNone(findGateway())

    def test_unknown(self) -> None:
        """
        A router that was not spoken to, does not answer, or has no link-layer address
        cannot be told from another; nor can one on a kernel that does not say.
        """
        answers: list[Message | int] = [
            errno.ENOENT,
            errno.EOPNOTSUPP,
            neighbour(FAILED),
            neighbour(0),
            neighbour(REACHABLE, b""),
            Message(netlink.NEW_NEIGHBOUR, b"short"),
            Message(netlink.NEW_LINK, bytes(40)),
        ]
        for self.neighbour in answers:
            self.assertIsNone(findGateway())

    def test_refused(self) -> None:
        """
        What the kernel forbids is an error.
        """
        self.neighbour = errno.EPERM
        self.assertRaises(PermissionError, findGateway)
