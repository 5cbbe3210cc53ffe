"""
What this machine's network is like: what of it matters to paths, in what way it
changed, and which network it is.

Left out is whatever changes while everything still works.  Router advertisements
renew lifetimes every few seconds; temporary IPv6 addresses come and go by the day;
link-local ones come with each container.  Where packets leave to is asked as a
packet would ask, for an address that nobody has: policy rules, metrics, and the half
routes of VPNs count as they do for packets, and a router with a million routes
answers as fast as a laptop.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rootstream.transport import netlink

__all__ = ["Gateway", "Snapshot", "describeChange", "findGateway", "takeSnapshot"]

# The fixed parts of messages (linux/rtnetlink.h, if_link.h, if_addr.h, neighbour.h).
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBi")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_NUMBER = struct.Struct("=I")

# Attributes.
_IFLA_IFNAME, _IFLA_EXT_MASK = 3, 29
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_VIA = 1, 4, 5, 18
_NDA_DST, _NDA_LLADDR = 1, 2

_IFF_UP, _IFF_LOOPBACK, _IFF_RUNNING = 0x1, 0x8, 0x40
#: RTEXT_FILTER_SKIP_STATS: counters are most of what is told of a link.
_SKIP_STATISTICS = 1 << 3

_SCOPE_LINK, _SCOPE_HOST = 253, 254
#: IFA_F_TEMPORARY, DADFAILED, DEPRECATED, TENTATIVE.  On IPv4 the first is
#: IFA_F_SECONDARY, which is an address like any other.
_PASSING6 = 0x01 | 0x08 | 0x20 | 0x40

_UNICAST = 1
#: NUD_REACHABLE, STALE, DELAY, PROBE, PERMANENT: the link-layer address is known.
_KNOWN_STATES = 0x02 | 0x04 | 0x08 | 0x10 | 0x80

#: Outside of every network, and so at the end of the default route: of RFC 1112's
#: class E, and of the block that IANA gives addresses from.
_ELSEWHERE = {socket.AF_INET: "240.0.0.1", socket.AF_INET6: "2000::"}
#: Where there is no route.
_NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL)
#: Where there is no IPv6.
_NO_FAMILY = (errno.EOPNOTSUPP, errno.EAFNOSUPPORT)

#: Of what changed at once, this much is named.
_MAX_NAMED = 4


@dataclass(frozen=True, slots=True)
class Route:
    """
    Where packets to far networks go: the next hop's address, if it needs one, and
    the interface's number.
    """

    gateway: str
    index: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """
    What matters to paths: interfaces with addresses that are up, the addresses that
    others reach us at, and the default routes in words, IPv4's and IPv6's.

    ``own`` is every address of the machine.  It is not compared: one that only our
    own connections use comes and goes without a change of the network.
    """

    up: frozenset[str] = frozenset()
    addresses: frozenset[tuple[str, str]] = frozenset()
    routes: tuple[str, str] = ("", "")
    own: frozenset[str] = field(default=frozenset(), compare=False)


@dataclass(frozen=True, slots=True)
class Gateway:
    """
    The router of the network that we are on: its IP address and its link-layer
    address.
    """

    address: str
    linkLayer: bytes


def takeSnapshot() -> Snapshot:
    """
    What the network is like now.

    :raises OSError: if the kernel does not say.
    """
    # Before the addresses: one whose interface is too new is in the next snapshot.
    links = dict(_links())
    found = list(_addresses())
    own = frozenset(address for _, address, _ in found)
    addresses = frozenset(
        (links[index][0], address)
        for index, address, lasting in found
        if lasting and index in links
    )
    named = {name for name, _ in addresses}
    up = frozenset(name for name, up in links.values() if up and name in named)
    names = {index: name for index, (name, _) in links.items()}
    ipv4, ipv6 = (_routeInWords(family, names) for family in _ELSEWHERE)
    return Snapshot(up, addresses, (ipv4, ipv6), own)


def _routeInWords(family: int, names: dict[int, str]) -> str:
    route = _route(family)
    if route is None:
        return ""
    name = names.get(route.index, str(route.index))
    return f"{route.gateway} on {name}" if route.gateway else name


def _told(
    answer: Iterable[netlink.Message], kind: int, header: struct.Struct
) -> Iterator[tuple[tuple[Any, ...], dict[int, bytes]]]:
    """
    The header and the attributes of each message of one kind; one too short is
    passed over.
    """
    for message in answer:
        if message.kind == kind and len(message.body) >= header.size:
            about = netlink.attributes(message.body[header.size :])
            yield header.unpack_from(message.body), about


def _links() -> Iterator[tuple[int, tuple[str, bool]]]:
    body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    body += netlink.attribute(_IFLA_EXT_MASK, _NUMBER.pack(_SKIP_STATISTICS))
    answer = netlink.ask(netlink.GET_LINK, body, every=True)
    for (_, _, index, flags, _), about in _told(answer, netlink.NEW_LINK, _LINK):
        name = about.get(_IFLA_IFNAME, b"")
        if not flags & _IFF_LOOPBACK:
            up = bool(flags & _IFF_UP and flags & _IFF_RUNNING)
            yield index, (name.rstrip(b"\0").decode("ascii", "replace"), up)


def _addresses() -> Iterator[tuple[int, str, bool]]:
    """
    The interface's number, the address, and whether others may rely on it.
    """
    body = _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    answer = netlink.ask(netlink.GET_ADDRESS, body, every=True)
    for header, about in _told(answer, netlink.NEW_ADDRESS, _ADDRESS):
        family, _, flags, scope, index = header
        if len(more := about.get(_IFA_FLAGS, b"")) == _NUMBER.size:
            flags = _NUMBER.unpack(more)[0]
        lasting = scope != _SCOPE_HOST
        if family == socket.AF_INET6:
            lasting &= scope != _SCOPE_LINK and not flags & _PASSING6
        # Of a point-to-point link the other is the far end.
        text = _text(family, about.get(_IFA_LOCAL) or about.get(_IFA_ADDRESS, b""))
        if text:
            yield index, text, lasting


def _text(family: int, packed: bytes) -> str:
    """
    An address as people write it, or nothing if it is none.
    """
    try:
        return socket.inet_ntop(family, packed)
    except (OSError, ValueError):
        return ""


def _route(family: int) -> Route | None:
    """
    Where a packet to nowhere in particular would go.
    """
    target = socket.inet_pton(family, _ELSEWHERE[socket.AddressFamily(family)])
    body = _ROUTE.pack(family, 8 * len(target), 0, 0, 0, 0, 0, 0, 0)
    body += netlink.attribute(_RTA_DST, target)
    try:
        answer = netlink.ask(netlink.GET_ROUTE, body)
    except OSError as error:
        if error.errno in _NO_ROUTE + _NO_FAMILY:
            return None
        raise
    for header, about in _told(answer, netlink.NEW_ROUTE, _ROUTE):
        kind = header[7]
        index = about.get(_RTA_OIF, b"")
        if kind == _UNICAST and len(index) == _NUMBER.size:
            gateway = _text(family, about.get(_RTA_GATEWAY, b""))
            # An IPv4 route over an IPv6 router: the family, then its address.
            via = about.get(_RTA_VIA, b"")
            return Route(
                gateway or _text(socket.AF_INET6, via[2:]), _NUMBER.unpack(index)[0]
            )
    return None


def findGateway() -> Gateway | None:
    """
    The router that packets to far networks go to, IPv4's if there is one.  None if
    there is none, as on a point-to-point link, or if the kernel does not know its
    link-layer address yet.

    :raises OSError: if the kernel does not say.
    """
    route = _route(socket.AF_INET) or _route(socket.AF_INET6)
    if route is None or not route.gateway:
        return None
    family = socket.AF_INET6 if ":" in route.gateway else socket.AF_INET
    body = _NEIGHBOUR.pack(family, route.index, 0, 0, 0)
    body += netlink.attribute(_NDA_DST, socket.inet_pton(family, route.gateway))
    try:
        answer = netlink.ask(netlink.GET_NEIGHBOUR, body)
    except OSError as error:
        # Not asked yet; or a kernel before 5.0, which tells of all or none.
        if error.errno in (errno.ENOENT, errno.EOPNOTSUPP):
            return None
        raise
    for header, about in _told(answer, netlink.NEW_NEIGHBOUR, _NEIGHBOUR):
        state = header[2]
        linkLayer = about.get(_NDA_LLADDR, b"")
        if linkLayer and state & _KNOWN_STATES:
            return Gateway(route.gateway, linkLayer)
    return None


def describeChange(before: Snapshot, after: Snapshot) -> str:
    """
    What changed between two snapshots, in words.
    """
    words = [f"{name} went down" for name in sorted(before.up - after.up)]
    words += [f"{name} came up" for name in sorted(after.up - before.up)]
    for name, address in sorted(before.addresses - after.addresses):
        words.append(f"address {address} removed from {name}")
    for name, address in sorted(after.addresses - before.addresses):
        words.append(f"address {address} added to {name}")
    for version, old, new in zip((4, 6), before.routes, after.routes, strict=True):
        if new and new != old:
            words.append(f"default route of IPv{version} now by {new}")
        elif old and not new:
            words.append(f"default route of IPv{version} gone")
    more = len(words) - _MAX_NAMED
    if more > 0:
        words[_MAX_NAMED:] = [f"{more} more"]
    return ", ".join(words)
