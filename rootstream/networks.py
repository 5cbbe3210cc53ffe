"""
Which transport worked on which network, so that the next dial there begins with it.

A network that swallows UDP did so last week as well; whoever dials there need not
wait to find out.  UDP is tried all the same, always at once, so a memory that is
wrong costs one connection more and nothing else.

A network is known by its router: the IP address, which half the world shares, with
the link-layer address, which nobody does.  A list of those is a list of where
somebody has been, so they are kept under a hash that only the owner's identity can
make: whoever finds the file, without the key, learns how many networks there were.

The file is written in a thread of its own, because a disk may take longer to be sure
than a picture may wait.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from twisted.logger import Logger

from rootstream.errors import LocalError
from rootstream.home import Home
from rootstream.identity import Identity
from rootstream.interfaces import Transport
from rootstream.transport.network import Gateway, findGateway

__all__ = ["NetworkMemory"]

#: The file in the home directory.
_NAME = "networks"
_VERSION = 1

#: Seconds until what worked is no longer believed. [P]
EXPIRY = 7 * 24 * 3600.0
#: What still works is written down anew only after this long, in seconds. [P]
RENEWAL = 24 * 3600.0
#: The networks remembered; the one longest not seen is forgotten first. [P]
MAX_NETWORKS = 64
#: Of the file: several times what 64 entries take.
_MAX_SIZE = 16 << 10

#: UDP needs no memory: it is what is tried anyway.
_REMEMBERED = {"tcp": Transport.TCP, "tls": Transport.TLS}


@dataclass(frozen=True, slots=True)
class _Known:
    """
    What worked on one network, and when, by the wall clock.
    """

    transport: Transport
    when: float


def _inThread(write: Callable[[], None]) -> None:
    threading.Thread(target=write, name="rootstream-networks", daemon=True).start()


class NetworkMemory:
    """
    The memory in one home, for `connect`; ``identity`` is its owner's.

    Nothing that is wrong with the file stops a dial: a broken one is replaced, and
    where none can be written the memory lasts as long as the process.
    """

    _log = Logger()

    def __init__(
        self,
        home: str | Path,
        identity: Identity,
        *,
        gateway: Callable[[], Gateway | None] = findGateway,
        wallClock: Callable[[], float] = time.time,
        later: Callable[[Callable[[], None]], None] = _inThread,
    ) -> None:
        self._home = Path(home)
        self._secret = identity.x25519Private
        self._gateway = gateway
        self._wallClock = wallClock
        self._later = later
        self._writing = threading.Lock()
        self._unwritten: bytes | None = None
        self._entries = self._load()

    def preferred(self) -> Transport | None:
        """
        What worked on the network that we are on now, if it was not UDP.
        """
        known = self._entries.get(self._network())
        return known.transport if known and self._younger(known, EXPIRY) else None

    def worked(self, transport: Transport) -> None:
        """
        A session runs over ``transport`` on the network that we are on now.
        """
        network = self._network()
        if not network:
            return
        known = self._entries.get(network)
        if transport is Transport.UDP:
            if known is None:
                return
            del self._entries[network]
        else:
            same = known is not None and known.transport is transport
            if known is not None and same and self._younger(known, RENEWAL):
                return
            self._entries[network] = _Known(transport, self._wallClock())
            if len(self._entries) > MAX_NETWORKS:
                del self._entries[min(self._entries, key=self._when)]
        self._save()

    def _when(self, network: str) -> float:
        return self._entries[network].when

    def _younger(self, known: _Known, age: float) -> bool:
        # What is dated from the future is from a clock that was wrong.
        return 0 <= self._wallClock() - known.when < age

    def _network(self) -> str:
        """
        The name under which the network that we are on now is remembered, or nothing
        if it cannot be told from others.
        """
        try:
            gateway = self._gateway()
        except OSError as error:
            self._log.debug("The gateway is unknown: {reason}.", reason=error.strerror)
            return ""
        if gateway is None:
            return ""
        about = gateway.address.encode("ascii") + b" " + gateway.linkLayer
        return blake2b(
            about, digest_size=16, key=self._secret, person=b"rs-networks"
        ).hexdigest()

    # --- the file ---

    def _load(self) -> dict[str, _Known]:
        try:
            with Home(self._home, create=False) as home:
                data = home.read(_NAME, _MAX_SIZE, secret=False)
            return {} if data is None else _parse(data)
        except (LocalError, ValueError) as error:
            self._log.warn(
                "The memory of networks in {home} is not used: {reason}.",
                home=str(self._home),
                reason=str(error),
            )
            return {}

    def _save(self) -> None:
        self._unwritten = _format(self._entries)
        self._later(self._write)

    def _write(self) -> None:
        # One after another, and each what is newest then, or the older could win.
        with self._writing:
            data, self._unwritten = self._unwritten, None
            if data is None:
                return
            try:
                with Home(self._home, create=False) as home:
                    home.publish(_NAME, data, 0o600, replace=True)
            except LocalError as error:
                self._log.warn(
                    "The memory of networks is not kept: {reason}.", reason=str(error)
                )


def _format(entries: dict[str, _Known]) -> bytes:
    networks = {
        network: {"transport": known.transport.name.lower(), "when": round(known.when)}
        for network, known in entries.items()
    }
    content = {"version": _VERSION, "networks": networks}
    return json.dumps(content, indent=1).encode("ascii") + b"\n"


def _parse(data: bytes) -> dict[str, _Known]:
    """
    What is in a file of ours.  Raises `ValueError` for one that is not.
    """
    if len(data) > _MAX_SIZE:
        raise ValueError("it is too long")
    try:
        content: Any = json.loads(data)
        if content["version"] != _VERSION:
            raise ValueError("it is of another version")
        entries = {
            network: _Known(_REMEMBERED[entry["transport"]], float(entry["when"]))
            for network, entry in content["networks"].items()
        }
    except (
        AttributeError,
        KeyError,
        TypeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise ValueError("it is not one of ours") from error
    if len(entries) > MAX_NETWORKS:
        raise ValueError("it has too many entries")
    if not all(math.isfinite(known.when) for known in entries.values()):
        raise ValueError("it has times that are none")
    return entries
