"""
Which path a session uses: what is noticed becomes a decision, and a decision an
event and packets.

`Paths` and `Failover` keep the books; this acts on them.  Everything that may move a
session passes through `Routing.use`.
"""

from __future__ import annotations

from collections.abc import Callable

from rootstream.interfaces import IPath, Transport
from rootstream.protocol.constants import (
    CHALLENGE_ATTEMPTS,
    MAX_KNOWN_PATHS,
    MAX_SEQ,
    OLD_PATH_PATIENCE,
)
from rootstream.protocol.events import (
    Event,
    KeyFrameWanted,
    PathAuthenticated,
    PathDropped,
    PathMoved,
    PathValidated,
    Suspect,
)
from rootstream.protocol.failover import Failover
from rootstream.protocol.inbox import Heard, Inbox
from rootstream.protocol.outbox import Outbox
from rootstream.protocol.packing import Packing
from rootstream.protocol.paths import Paths, PathState
from rootstream.protocol.slots import Slots


class Routing:
    """
    The paths of one peer, and the way from one to another.  ``tell`` takes events.
    """

    def __init__(
        self,
        slots: Slots,
        paths: Paths,
        failover: Failover,
        packing: Packing,
        inbox: Inbox,
        outbox: Outbox,
        tell: Callable[[Event], None],
    ) -> None:
        self._slots = slots
        self._paths = paths
        self._failover = failover
        self._packing = packing
        self._inbox = inbox
        self._outbox = outbox
        self._tell = tell
        #: The UDP paths that we dialled, carrying or not, the last one last.
        self._known: dict[IPath, None] = {}
        #: The highest PATH_USE of either side.
        self._useSeq = 0

    # --- what we do ---

    def dialled(self, path: IPath) -> None:
        """
        INITs go out on ``path``: if it is UDP, it is one to return to.
        """
        if path.transport == Transport.UDP:
            self._known.pop(path, None)
            self._known[path] = None
            while len(self._known) > MAX_KNOWN_PATHS:
                del self._known[next(iter(self._known))]

    @property
    def wantsStandby(self) -> bool:
        """
        Whether the session runs on UDP with nothing to go to when that fails, or has
        lost its last connection.
        """
        current = self._paths.current
        if current is not None and current.path.transport != Transport.UDP:
            return False
        return self._failover.standby is None

    @property
    def transports(self) -> tuple[Transport, ...]:
        """
        The transports of the paths that there are.
        """
        return tuple(sorted({Transport(each.path.transport) for each in self._paths}))

    def add(self, path: IPath, now: float) -> None:
        """
        Make ``path``, which we dialled, a standby path.
        """
        self._paths.challenge(self._chosen(path), CHALLENGE_ATTEMPTS, now)

    def _chosen(self, path: IPath) -> PathState:
        state = self._paths.add(path)
        self._dropped(self._paths.trim(state))
        return state

    def askAll(self, now: float) -> None:
        """
        What did not carry may do so now, and the other way round: ask all paths.
        """
        for state in self._paths:
            self._paths.challenge(state, CHALLENGE_ATTEMPTS, now)
        self._failover.probesNow(now)

    def use(self, state: PathState, cause: str, now: float) -> None:
        """
        Send on ``state`` from now on; ``cause`` says why, in words.
        """
        before = self._paths.current
        self._paths.use(state)
        if before is None or before.path != state.path:
            self._failover.moved(now, self._betterPath())
            self._packing.again(state)
            if before is not None and before.path.address[0] != state.path.address[0]:
                self._rekeySoon()
            self._tell(PathAuthenticated(state.path))
            self._tell(PathMoved(state.path, cause))
        if self._outbox.needKey:
            # Refused while there was nothing to send it on.
            self._tell(KeyFrameWanted())

    def _rekeySoon(self) -> None:
        """
        The peer has another IP address: new keys, so that nobody who watched
        both networks can tell by the index that it is the same peer for long.
        """
        slot = self._slots.current
        if slot is not None and slot.session.isInitiator:
            slot.stale = True

    # --- what the peer does ---

    def heard(self, path: IPath, size: int, now: float) -> None:
        """
        An authentic packet of ``size`` bytes came by ``path``.
        """
        new = self._paths.get(path) is None
        forgotten = self._paths.heard(path, size, now)
        if new:
            self._tell(PathAuthenticated(path))
            state = self._paths.get(path)
            if state is not None and path.transport != Transport.UDP:
                # A connection that the peer made ahead of need.
                self._paths.challenge(state, CHALLENGE_ATTEMPTS, now)
        self._dropped(forgotten)

    def _dropped(self, forgotten: PathState | None) -> None:
        if forgotten is not None:
            self._tell(PathDropped(forgotten.path))

    def recovered(self) -> None:
        """
        The peer is heard again after the network was down.
        """
        self._failover.recovered()

    def read(self, heard: Heard, path: IPath, inUse: bool, now: float) -> None:
        """
        What packets that came by ``path`` say of paths; ``inUse`` when they are of the
        session that is sent on.
        """
        if heard.progress:
            self._failover.acknowledged(now)
        for data in heard.responses:
            answered = self._paths.challenged(data)
            if answered is not None:
                self._responded(answered, now)
        if heard.dropped:
            self._paths.abandoned(path)
        current = self._paths.current
        elsewhere = current is None or current.path != path
        if heard.use is not None and heard.use > self._useSeq:
            self._useSeq = heard.use
            # UDP is left only when it is silent, whatever is announced: a forwarder who
            # is faster delivers announcements too, and they would name his path (F44).
            onUDP = current is not None and current.path.transport == Transport.UDP
            if elsewhere and not onUDP:
                self._paths.follow(path, now)
        # Without a path any sign of the peer will do.
        moving = heard.newest if current is None else heard.moving
        if elsewhere and moving and inUse:
            patience = max(3 * self._inbox.roundTrip.rto, OLD_PATH_PATIENCE)
            self._paths.question(path, patience if current else 0.0, now)

    def _responded(self, state: PathState, now: float) -> None:
        new = not state.validated
        self._paths.responded(state)
        self._failover.responded(state, now)
        if not new:
            return
        self._tell(PathValidated(state.path))
        if state is self._failover.doubled(now):
            # It comes after the trouble began: it has missed what is under way.
            self._packing.again(state)

    def lost(self, path: IPath, reason: str, now: float) -> bool:
        """
        The connection under ``path`` ended.  Returns whether there is no path left.
        """
        if not self._paths.lost(path):
            return False
        current = self._paths.current
        if current is None:
            return True
        self._failover.moved(now, self._betterPath())
        self._packing.again(current)
        self._tell(PathMoved(current.path, reason))
        return False

    # --- time ---

    def timerFired(self, now: float) -> None:
        """
        Move, if what was asked was answered, or was not.
        """
        target = self._paths.decide(now)
        if target is not None and target is self._paths.current:
            self._insist(target)
        elif target is not None:
            trusted = self._failover.suspectSince is None
            follows = self._paths.deliberate and trusted
            cause = "the peer moved" if follows else self._silence(target)
            self._leave()
            self.use(target, cause, now)

    def _leave(self) -> None:
        """
        The path in use did not answer, unless the peer has left it for a better one.
        """
        current = self._paths.current
        if current is not None and not self._paths.deliberate:
            self._dropped(self._paths.distrust(current))

    def watch(self, now: float) -> None:
        """
        Keep an eye on the path in use, the standby path, and a better one.
        """
        current = self._paths.current
        if current is not None:
            self._watch(current, now)

    def nextTimer(self) -> float | None:
        """
        When `watch` has something to do, if ever.
        """
        if self._paths.current is None:
            return None
        return self._failover.nextTimer(self._inbox.roundTrip.smoothed or 0.0)

    def _watch(self, current: PathState, now: float) -> None:
        failover = self._failover
        roundTrip = self._inbox.roundTrip.smoothed or 0.0
        if failover.becomesSuspect(roundTrip, now):
            standby = failover.standby
            if standby is not None:
                self._packing.again(standby)
            path = standby.path if standby is not None else None
            self._tell(Suspect(current.path, path, failover.silence(now)))
        replacement = failover.replacement(now)
        if replacement is not None:
            cause = self._silence(replacement)
            self._dropped(self._paths.distrust(current))
            self._move(replacement, cause, now)
            return
        failover.keepsAlive(now)
        better = self._betterPath()
        if better is not None and failover.probe(better, now):
            self._move(better, "UDP carries again", now)

    def _silence(self, alive: PathState) -> str:
        """
        Why we move to ``alive`` from the path in use, in words.
        """
        current = self._paths.current
        if current is None:
            return "the peer is heard here"
        old, new = current.path.transport, alive.path.transport
        if old == new:
            return "the peer is heard from another address, the old one is silent"
        return f"{old.name} is silent, {new.name} is alive"

    def _move(self, state: PathState, cause: str, now: float) -> None:
        """
        Move on purpose, and say so.
        """
        self._announce()
        self.use(state, cause, now)

    def _announce(self) -> None:
        # A peer that has counted to the end gets no higher number: then each side
        # goes by what it hears.
        self._useSeq = min(self._useSeq + 1, MAX_SEQ)
        self._packing.announce(self._useSeq)

    def _insist(self, current: PathState) -> None:
        """
        The peer sends elsewhere although ``current`` carries: it went away for a
        moment's silence, or never heard that we moved.  The side that dialled looks
        for the better path, so it is the one to say again which that is.
        """
        if self._known and current.path.transport == Transport.UDP:
            self._announce()

    def _betterPath(self) -> PathState | None:
        """
        The UDP path to return to.  The side that dialled looks for it; the other
        follows.
        """
        current = self._paths.current
        if current is None or current.path.transport == Transport.UDP:
            return None
        if not self._known:
            return None
        return self._chosen(next(reversed(self._known)))
