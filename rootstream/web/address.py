"""
Where a page is served: ``--web [ADDR:]PORT``.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from rootstream.errors import LocalError

__all__ = ["LOOPBACK", "WebAddress", "parseWebAddress"]

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class WebAddress:
    """
    An IP address to listen on, and a TCP port; port 0 is any that is free.
    """

    host: str = LOOPBACK
    port: int = 0

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parseWebAddress(text: str) -> WebAddress | None:
    """
    The address that a text means; None for ``none``, which is no page.

    Raises `LocalError` when it means nothing.
    """
    if text == "none":
        return None
    host, colon, port = text.rpartition(":")
    try:
        if not (port.isascii() and port.isdigit() and int(port) <= 65535):
            raise ValueError
        if not colon:
            return WebAddress(LOOPBACK, int(port))
        return WebAddress(str(ip_address(host.strip("[]"))), int(port))
    except ValueError:
        raise LocalError(
            f"--web takes a port, or an address and a port such as 0.0.0.0:8080 or "
            f"[::1]:8080, or none; not {text!r}"
        ) from None
