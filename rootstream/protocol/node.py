"""
Everything that one identity says and hears, without input or output of its own.

A packet from the network is a stranger's until it proves otherwise.  The node
finds the `Link` that it is for by its index, and judges an INIT in the order
that costs us least (PROTOCOL, section 2): length, mac1, cookie when we are busy,
the static key, whether that key may come in, and whether it is a replay.  Whom
it turns away hears nothing, but for a RETRY.
"""

from __future__ import annotations

import os
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final

from rootstream.errors import BadPacket
from rootstream.interfaces import IPath
from rootstream.protocol.constants import (
    MAX_LINKS,
    MAX_REMEMBERED_PEERS,
    REMEMBERED_EPHEMERALS,
    RESP_SIZE,
    RETRY_SIZE,
    TYPE_DATA,
    TYPE_INIT,
    TYPE_RESP,
    TYPE_RETRY,
)
from rootstream.protocol.cookies import CookieJar
from rootstream.protocol.handshake import (
    InitPayload,
    Invitation,
    cookieKey,
    mac1Key,
)
from rootstream.protocol.handshakes import Credentials, Indices
from rootstream.protocol.limiter import LoadMeter, SourceLimiter, Unproven
from rootstream.protocol.link import Link, wallClock

_DATA: Final = bytes((TYPE_DATA,))
#: What all DATA of a session begin with.
_START: Final = itemgetter(slice(5))


@dataclass(slots=True)
class _Freshness:
    """
    What tells a peer's new INIT from a replayed one.
    """

    timestamp: int = -1
    ephemerals: list[bytes] = field(default_factory=list)


class Node:
    """
    The links of one identity, and the door that strangers knock on.

    ``admits`` says whether an X25519 key may open a conversation that we did not
    ask for.

    @ivar refused: how many packets were dropped, by reason.
    @ivar retries: how many RETRYs were sent.
    """

    def __init__(
        self,
        credentials: Credentials,
        admits: Callable[[bytes], bool],
        *,
        wallClock: Callable[[], int] = wallClock,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._credentials = credentials
        self._admits = admits
        self._wallClock = wallClock
        self._random = random
        self._indices = Indices(random)
        self._links: dict[bytes, Link] = {}
        self._fresh: OrderedDict[bytes, _Freshness] = OrderedDict()
        self._cookies = CookieJar(random)
        self._mac1Key = mac1Key(credentials.public)
        self._cookieKey = cookieKey(credentials.public)
        self._sources = SourceLimiter()
        self._load = LoadMeter()
        self._unproven = Unproven()
        self._replies: list[tuple[IPath, bytes]] = []
        self.refused: Counter[str] = Counter()
        self.retries = 0

    def __len__(self) -> int:
        return len(self._links)

    @property
    def links(self) -> Iterable[Link]:
        """
        The links there are.
        """
        return tuple(self._links.values())

    def link(self, remote: bytes, now: float) -> Link:
        """
        The link to the peer with this X25519 key, made when there is none.
        """
        link = self._links.get(remote)
        if link is None:
            link = self._links[remote] = Link(
                self._credentials,
                remote,
                self._indices,
                now,
                wallClock=self._wallClock,
                random=self._random,
                unproven=self._unproven,
            )
        return link

    def forget(self, link: Link) -> None:
        """
        The link is of no more use: its keys go.  What tells replays stays.
        """
        link.discard()
        if self._links.get(link.remote) is link:
            del self._links[link.remote]

    def receive(self, packets: Sequence[bytes], path: IPath, now: float) -> list[Link]:
        """
        Take a batch of packets; returns the links that have something to do.
        """
        touched: dict[Link, None] = {}
        starts = set(map(_START, packets))
        if len(starts) == 1 and (start := starts.pop())[:1] == _DATA:
            # A train of a stream.
            link = self._indices.owner(int.from_bytes(start[1:], "little"))
            if isinstance(link, Link):
                return [link] if link.receiveData(packets, path, now) else []
        run: list[bytes] = []
        owner: Link | None = None
        # What DATA for the same session as the last begins with.
        same = b""
        for packet in packets:
            if same and packet.startswith(same):
                run.append(packet)
                continue
            link = self._owner(packet)
            if link is None:
                if packet[:1] == bytes((TYPE_INIT,)):
                    invited = self._initReceived(packet, path, now)
                    if invited is not None:
                        touched[invited] = None
                continue
            if link is not owner and run and owner is not None:
                owner.receive(run, path, now)
                run = []
            owner = link
            same = packet[:5] if packet[0] == TYPE_DATA else b""
            run.append(packet)
            touched[link] = None
        if owner is not None:
            owner.receive(run, path, now)
        return list(touched)

    def _owner(self, packet: bytes) -> Link | None:
        """
        The link that a packet's index names.  Costs no cryptography (F6).
        """
        size = len(packet)
        kind = packet[0] if packet else None
        if kind == TYPE_DATA:
            start = 1
        elif (kind == TYPE_RESP and size == RESP_SIZE) or (
            kind == TYPE_RETRY and size == RETRY_SIZE
        ):
            start = 4
        else:
            if kind != TYPE_INIT:
                self.refused["type"] += 1
            return None
        owner = self._indices.owner(int.from_bytes(packet[start : start + 4], "little"))
        if not isinstance(owner, Link):
            self.refused["index"] += 1
            return None
        return owner

    def _initReceived(self, packet: bytes, path: IPath, now: float) -> Link | None:
        try:
            return self._judge(packet, path, now)
        except BadPacket:
            self.refused["handshake"] += 1
            return None

    def _judge(self, packet: bytes, path: IPath, now: float) -> Link | None:
        invitation = Invitation(packet)
        if not invitation.checkMac1(self._mac1Key):
            self.refused["mac1"] += 1
            return None
        self._load.arrived(now)
        if self._load.underLoad(now):
            if not invitation.checkMac2(self._cookies.valid(path, now)):
                self._retry(packet, path, now)
                return None
            if not self._sources.allow(path.address[0], now):
                self.refused["source"] += 1
                return None
        if not self._load.mayHandshake(now):
            self.refused["load"] += 1
            return None
        remote = invitation.openStatic(self._credentials.private, self._credentials.psk)
        if remote == self._credentials.public or not (
            remote in self._links or self._admits(remote)
        ):
            self.refused["unauthorised"] += 1
            return None
        if remote not in self._links and len(self._links) >= MAX_LINKS:
            self.refused["links"] += 1
            return None
        payload = invitation.openPayload()
        if not self._isFresh(remote, packet, invitation, payload, path, now):
            return None
        link = self.link(remote, now)
        link.invited(invitation, payload, path, now)
        return link

    def _isFresh(
        self,
        remote: bytes,
        packet: bytes,
        invitation: Invitation,
        payload: InitPayload,
        path: IPath,
        now: float,
    ) -> bool:
        fresh = self._fresh.setdefault(remote, _Freshness())
        self._fresh.move_to_end(remote)
        while len(self._fresh) > MAX_REMEMBERED_PEERS:
            self._fresh.popitem(last=False)
        if invitation.ephemeral in fresh.ephemerals:
            self.refused["replay"] += 1
            return False
        newer = payload.timestamp > fresh.timestamp
        # A clock set back, or a replay: who gets our answer tells (F24).
        if not newer and payload.challenge not in self._cookies.valid(path, now):
            self.refused["stale"] += 1
            self._retry(packet, path, now)
            return False
        fresh.timestamp = payload.timestamp
        del fresh.ephemerals[: 1 - REMEMBERED_EPHEMERALS]
        fresh.ephemerals.append(invitation.ephemeral)
        return True

    def _retry(self, packet: bytes, path: IPath, now: float) -> None:
        self.retries += 1
        self._replies.append(
            (path, self._cookies.retry(packet, path, now, self._cookieKey))
        )

    def packetsToSend(self) -> list[tuple[IPath, list[bytes]]]:
        """
        The node's own answers: RETRYs.
        """
        replies, self._replies = self._replies, []
        return [(path, [packet]) for path, packet in replies]
