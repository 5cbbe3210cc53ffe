"""
Host names to addresses worth dialling.

Lookups run in threads of their own, not in the reactor's pool: a name server that
does not answer holds a thread for half a minute, and the reactor waits for its
pool before it lets the process end.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterable
from itertools import chain, zip_longest
from typing import Any, NamedTuple

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.python.failure import Failure

from rootstream.errors import AddressRefused

__all__ = ["Candidate", "lookUpInThread", "resolve"]

#: Seconds for the name service to answer.
RESOLVE_TIMEOUT = 5.0

#: Addresses of one name that are tried.  Whoever writes its zone chooses how many
#: there are, and at whom they point.
MAX_CANDIDATES = 8

_BROADCAST = ipaddress.IPv4Address("255.255.255.255")


class Candidate(NamedTuple):
    """
    One address to dial.
    """

    family: int
    host: str
    port: int


#: Finds the addresses of a name, in the system's order of preference; its Deferred
#: fails with `OSError`, or `ValueError` for what cannot be a name.
LookUp = Callable[[Any, str], "Deferred[list[str]]"]


def lookUpInThread(reactor: Any, host: str) -> Deferred[list[str]]:
    """
    Ask the system's resolver.
    """
    answer: Deferred[list[str]] = Deferred()

    def deliver(result: Any) -> None:
        if not answer.called:
            answer.callback(result)

    def ask() -> None:
        result: list[str] | Failure
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
            result = [str(address[0]) for *_, address in found]
        except (OSError, ValueError) as error:
            result = Failure(error)
        reactor.callFromThread(deliver, result)

    threading.Thread(target=ask, name="rootstream-resolve", daemon=True).start()
    return answer


def resolve(
    reactor: Any, host: str, port: int, lookUp: LookUp = lookUpInThread
) -> Deferred[list[Candidate]]:
    """
    The addresses of a host, best first, IPv6 and IPv4 in turn (RFC 8305, section 4).

    :return: fails with `AddressRefused` if there is none worth dialling.
    """
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return _candidates(host, [str(literal)], port)

    def unanswered(result: object, seconds: float) -> Failure:
        return Failure(
            AddressRefused(
                f"cannot resolve {host}: no answer in {seconds:g} seconds: "
                "check the name and the network"
            )
        )

    def unresolved(reason: Failure) -> Failure:
        if reason.check(AddressRefused, CancelledError):
            return reason
        text = getattr(reason.value, "strerror", None) or "not a host name"
        return Failure(
            AddressRefused(f"cannot resolve {host}: check the name ({text})")
        )

    return (
        lookUp(reactor, host)
        .addTimeout(RESOLVE_TIMEOUT, reactor, onTimeoutCancel=unanswered)
        .addErrback(unresolved)
        .addCallback(lambda found: _candidates(host, found, port))
    )


def _candidates(
    host: str, addresses: Iterable[str], port: int
) -> Deferred[list[Candidate]]:
    refused = []
    families: dict[int, list[Candidate]] = {}
    for text in dict.fromkeys(addresses):
        address = ipaddress.ip_address(text)
        mapped = getattr(address, "ipv4_mapped", None)
        if mapped is not None:
            # Our IPv6 sockets carry IPv6 only.
            address = mapped
        if address.is_unspecified or address.is_multicast or address == _BROADCAST:
            refused.append(text)
            continue
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        # The dict keeps the family first that the system prefers.
        families.setdefault(family, []).append(Candidate(family, str(address), port))
    inTurn = chain.from_iterable(zip_longest(*families.values()))
    found = [candidate for candidate in inTurn if candidate is not None]
    if found:
        return succeed(list(dict.fromkeys(found))[:MAX_CANDIDATES])
    if not refused:
        return fail(AddressRefused(f"cannot resolve {host}: check the name"))
    where = host if refused == [host] else f"{host} ({', '.join(refused[:3])})"
    return fail(AddressRefused(f"{where} can never be a peer: check the address"))
