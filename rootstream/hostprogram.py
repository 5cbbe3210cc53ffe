"""
``rootstream host``: one source, for every authorised peer that dials.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IReactorTime

from rootstream.authorized import VIEW, AuthorizedPeers, formatRights
from rootstream.broadcast import Broadcast
from rootstream.errors import RootstreamError, SourceError
from rootstream.eventlog import EventLog, Meter
from rootstream.home import Lock, lockHome
from rootstream.host import Host
from rootstream.identity import PeerKey, formatCode, loadOrCreateIdentity
from rootstream.inputgate import InputGate, InputLog
from rootstream.machine import PeerState
from rootstream.media import openSource
from rootstream.peer import Peer
from rootstream.peersfile import PeersFile
from rootstream.pictures import AcknowledgementWatch
from rootstream.protocol.events import Command, Control, InputEvent
from rootstream.protocol.link import SOURCE_ENDED
from rootstream.protocol.pairing import Guest
from rootstream.protocol.status import LinkStatus
from rootstream.reception import PHRASE_LIFE, Reception
from rootstream.service import Program, Watched
from rootstream.show import describeIdentity, guessHost
from rootstream.transport.clock import boottime, mediaClock
from rootstream.transport.listen import Bound, bindBoth
from rootstream.uinput import UinputDevices
from rootstream.web.address import WebAddress

__all__ = ["INPUT_MODES", "HostProgram", "HostSettings", "Viewer", "openGate"]

#: What can become of the peers' input.
INPUT_MODES = ("off", "log", "uinput")

#: Seconds that the last frames of a source may take to arrive.
DRAIN_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class HostSettings:
    """
    The options of ``rootstream host``.
    """

    home: Path
    port: int
    interface: str
    source: str
    tlsPort: int | None = None
    allow: Sequence[PeerKey] = ()
    allowAny: bool = False
    allowInput: Sequence[PeerKey] = ()
    #: Show a phrase, and what to give to whoever knows it.
    pair: bool = False
    pairRights: frozenset[str] = VIEW
    #: One of `INPUT_MODES`.
    input: str = "off"


def openGate(mode: str, clock: IReactorTime, events: EventLog) -> InputGate | None:
    """
    Where the peers' input comes in, by one of `INPUT_MODES`.

    :raises LocalError: if this machine cannot do it.
    """
    match mode:
        case "log":
            return InputGate(clock, InputLog(events), events)
        case "uinput":
            return InputGate(clock, UinputDevices(), events)
        case _:
            return None


class HostProgram(Program):
    """
    A host, its source, and what the events file says of its viewers.
    """

    role = "host"

    def __init__(
        self,
        reactor: Any,
        settings: HostSettings,
        out: IO[str],
        err: IO[str],
        events: str | None = None,
        duration: float | None = None,
        record: str | None = None,
        web: WebAddress | None = None,
    ) -> None:
        super().__init__(reactor, out, err, events, duration, record, web)
        self._settings = settings
        self._lock: Lock | None = None
        self._bound: Bound | None = None
        self._host: Host | None = None
        self._reception: Reception | None = None
        self._broadcast: Broadcast | None = None
        self._gate: InputGate | None = None
        self._meters: dict[Peer, Meter] = {}
        self._left: list[LinkStatus] = []
        self.commands["peers"] = self._refresh

    def _refresh(self, asked: Mapping[str, Any]) -> Deferred[Any]:
        """
        The list of peers was changed: act on it now.
        """
        if self._host is not None:
            self._host.refresh()
        return succeed({})

    @property
    def home(self) -> Path:
        return self._settings.home

    @property
    def peers(self) -> Sequence[Peer]:
        return self._host.peers if self._host is not None else ()

    @property
    def inputGoes(self) -> str | None:
        return self._settings.input if self._gate is not None else None

    def wantKeyFrame(self) -> None:
        if self._broadcast is not None:
            self._broadcast.teeWantsKeyFrame()

    def order(self, peer: Peer, command: Command, value: int) -> None:
        if self._broadcast is not None:
            self._broadcast.ordered(peer, command, value)

    def privilegedStartService(self) -> None:
        """
        Bind the ports, for which twistd still has the rights of root that it drops
        next if it is told to (``--uid``).
        """
        super().privilegedStartService()
        settings = self._settings
        # What it raises is raised, and said, when the program begins.
        with contextlib.suppress(RootstreamError):
            self._bound = bindBoth(settings.port, settings.interface, settings.tlsPort)

    def reload(self) -> None:
        if self._host is not None:
            self._host.refresh()

    def begin(self) -> None:
        settings = self._settings
        identity = loadOrCreateIdentity(settings.home)
        self._lock = lockHome(settings.home)
        peers = settings.home / "peers"
        authorized = AuthorizedPeers(
            peers, settings.allow, settings.allowAny, settings.allowInput
        )
        if settings.pair:
            self._reception = Reception(
                self._reactor, identity, self._join, self._paired
            )
        self._gate = openGate(settings.input, self._reactor, self._events)
        source = openSource(settings.source, reactor=self._reactor, clock=mediaClock)
        self._broadcast = Broadcast(self._reactor, source, self._sourceEnded, self.tee)
        host = Host(
            self._reactor,
            identity,
            authorized,
            self._receiverFor,
            port=settings.port,
            interface=settings.interface,
            tlsPort=settings.tlsPort,
            reception=self._reception,
        )
        # It owns them now.
        bound, self._bound = self._bound, None
        port = host.listen(bound)
        self._host = host
        ports: dict[str, Any] = {"udp": port, "tcp": port}
        where = f"port {port}, UDP and TCP"
        if host.tlsPort is not None:
            ports["tls"] = host.tlsPort
            where += f", and on port {host.tlsPort}, TLS"
        self._events.write("listening", **ports)
        self.say(f"Listening on {where}.")
        where = settings.interface or guessHost()
        self.say(describeIdentity(identity, where, port, qr=False))
        code = formatCode(identity.key, where, port)
        if settings.allowAny:
            self.say("WARNING: --allow-any lets everyone in who has the code.")
        elif self._reception is None and not authorized.listed():
            self.say(
                f"Nobody may connect yet: add a peer's code to {peers}, "
                "or use --allow CODE or --pair."
            )
        if self._reception is not None:
            self.say(
                f"To pair, within {PHRASE_LIFE:.0f} s, on the other machine:\n"
                f"  rootstream connect '{code}' --pair '{self._reception.phrase}'"
            )
        self._broadcast.open()

    def _join(self, guest: Guest) -> None:
        """
        Put who has proven to know the phrase on the list.
        """
        given = PeersFile(self._settings.home / "peers").add(
            guest.key,
            formatCode(guest.key, None),
            self._settings.pairRights,
            guest.name,
        )
        rights = formatRights(given)
        self._events.write(
            "paired",
            guest.key.fingerprint,
            name=guest.name,
            rights=rights,
            text=f"paired with {guest.name or 'a machine'}: it may {rights}",
        )

    def _paired(self, text: str, fingerprint: str | None) -> None:
        self.say(text)
        self._events.write("pairing", fingerprint, text=text)
        if self._host is not None:
            self._host.refresh()

    def _sourceEnded(self, error: SourceError | None) -> None:
        if self._ending:
            return
        if error is not None:
            self.fault(error)
            return
        assert self._host is not None
        self.say("The source has ended.")
        viewers = [peer for peer in self._host.peers if peer.connected]
        # What the timeout cancels is no error.
        drained = [peer.whenDrained() for peer in viewers]
        DeferredList(drained, consumeErrors=True).addTimeout(
            DRAIN_TIMEOUT, self._reactor, onTimeoutCancel=lambda *_: None
        ).addCallback(self._sayGoodbye)

    def _sayGoodbye(self, _: object) -> None:
        if self._host is not None and not self._ending:
            goodbye = self._host.close("the source has ended", SOURCE_ENDED)
            goodbye.addBoth(lambda _: self.finish(0))

    def _receiverFor(self, peer: Peer) -> Viewer:
        assert self._broadcast is not None
        return Viewer(
            peer,
            self._broadcast,
            self._events,
            self._came,
            self._gone,
            self._reactor,
            self._gate,
        )

    def _came(self, peer: Peer) -> None:
        self._meters[peer] = Meter(boottime(), sending=True)
        self.say(f"{_named(peer)} is connected.")

    def _gone(self, peer: Peer, cause: str) -> None:
        if self._meters.pop(peer, None) is not None:
            self._left.append(peer.status())
        self.say(f"{_named(peer)} is disconnected: {cause}.")

    def tick(self) -> None:
        for peer, meter in self._meters.items():
            self.measure(peer, meter)

    def cleanUp(self) -> Deferred[Any]:
        endings: list[Deferred[Any]] = []
        if self._reception is not None:
            self._reception.stop()
        if self._broadcast is not None:
            endings.append(self._broadcast.stop())
        if self._host is not None:
            endings.append(self._host.close("the host was stopped"))
        return DeferredList(endings, consumeErrors=True).addCallback(self._over)

    def _over(self, _: object) -> None:
        for peer in list(self._meters):
            self._gone(peer, "the host was stopped")
        if self._gate is not None:
            self._gate.close()
        if self._lock is not None:
            self._lock.release()
        if self._bound is not None:
            self._bound.close()
        if self._broadcast is not None and self._host is not None:
            if self._gate is not None:
                self.say(self._gate.describe())
            self.summarise(
                sent=self._broadcast.framesSent,
                size=sum(status.bytesSent for status in self._left),
                path=self._left[-1].path if self._left else None,
            )


def _named(peer: Peer) -> str:
    return f"{peer.fingerprint} {peer.name}".rstrip()


class Viewer(Watched):
    """
    What a host's peer sends, and when it comes and goes.
    """

    def __init__(
        self,
        peer: Peer,
        broadcast: Broadcast,
        events: EventLog,
        came: Callable[[Peer], None],
        gone: Callable[[Peer, str], None],
        clock: IReactorTime | None = None,
        gate: InputGate | None = None,
    ) -> None:
        """
        :param clock: to watch with how long pictures go unacknowledged; not watched
            without, where somebody sees them.
        """
        super().__init__(peer.fingerprint, events, peer)
        self._acknowledgements: AcknowledgementWatch | None = None
        if clock is not None:
            self._acknowledgements = AcknowledgementWatch(
                clock, boottime, peer, self._unacknowledged
            )
        self._peer = peer
        self._broadcast = broadcast
        self._gate = gate
        self._came = came
        self._gone = gone

    def _unacknowledged(self, gap: float, cause: str) -> None:
        self._stopped(gap, cause, "acknowledgements")

    def _disturbed(self, event: str, **fields: object) -> str:
        words = super()._disturbed(event, **fields)
        if self._acknowledgements is not None and self._peer.connected:
            self._acknowledgements.disturbed(words)
        return words

    def stateChanged(self, old: str, new: str, cause: str) -> None:
        super().stateChanged(old, new, cause)
        if new == PeerState.CONNECTED.value:
            self._came(self._peer)
            self._broadcast.viewerCame(self._peer)
        elif old == PeerState.CONNECTED.value:
            if self._gate is not None:
                self._gate.left(self._peer, cause)
            if self._acknowledgements is not None:
                self._acknowledgements.stop()
            self._broadcast.viewerLeft(self._peer)
            self._gone(self._peer, cause)

    def inputReceived(self, events: Sequence[InputEvent]) -> None:
        if self._gate is not None:
            self._gate.received(self._peer, events)

    def controlReceived(self, control: Control) -> None:
        self._broadcast.controlled(self._peer, control)

    def keyFrameWanted(self) -> None:
        self._broadcast.keyFrameWanted(self._peer)
