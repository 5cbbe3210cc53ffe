"""
What the owner of an identity is shown: code, fingerprint, name and a QR code.

Printing it is left to the command.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Callable

import segno

from rootstream.errors import BadCode
from rootstream.identity import Identity, checkHost, formatCode

__all__ = ["describeIdentity", "guessHost"]


def describeIdentity(identity: Identity, host: str, port: int, qr: bool) -> str:
    """
    Return a line each for code, fingerprint and name, and with ``qr`` the code
    once more as blocks for a camera.

    :raise BadCode: ``host`` is no host.
    """
    code = formatCode(identity.key, host, port)
    text = (
        f"code: {code}\nfingerprint: {identity.key.fingerprint}\nname: {identity.name}"
    )
    return f"{text}\n\n{_blocksOf(code)}" if qr else text


def _blocksOf(code: str) -> str:
    out = io.StringIO()
    # Level M mends 15 % of damage, which reflections on a screen need, and keeps
    # a code within the width of 80 columns.
    segno.make(code, error="m", micro=False).terminal(out, compact=True)
    return out.getvalue().rstrip("\n")


def _routedAddress(family: socket.AddressFamily, destination: str) -> str:
    """
    Return our address on the route to ``destination``.  Connecting a UDP socket
    asks the routing table and sends nothing.
    """
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((destination, 9))
        address: str = probe.getsockname()[0]
        return address


def guessHost(
    routedAddress: Callable[[socket.AddressFamily, str], str] = _routedAddress,
    hostname: Callable[[], str] = socket.gethostname,
) -> str:
    """
    Return the address by which other machines would reach this one: that of the
    default route, else the host name, else loopback.

    Behind a NAT it is the inner address; nothing on this machine knows the outer.
    """
    # Addresses for documentation (RFC 5737 and 3849): routed like any other.
    for family, destination in (
        (socket.AF_INET, "192.0.2.1"),
        (socket.AF_INET6, "2001:db8::1"),
    ):
        try:
            return routedAddress(family, destination)
        except OSError:
            continue
    try:
        return checkHost(hostname())
    except BadCode:
        return "127.0.0.1"
