"""
The ways to reach one peer, and which of them to use (PROTOCOL, section 4).

A path is *validated* when it is known to lead to the peer in both directions: a
handshake was completed over it, or a challenge sent on it came back.  An
authentic packet on another path proves nothing about where that path leads,
because anybody between the peers can forward a packet with an address of his
choice.  So a new path never moves sending by itself: the old path is asked
first (RFC 9000 section 9.3.3, RFC 9853), and only when it stays silent does the
new one, once validated, take over.

This module keeps the books and decides; `rootstream.protocol.link` sends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from rootstream.interfaces import IPath, Transport
from rootstream.protocol.backlog import Backlog
from rootstream.protocol.constants import (
    AMPLIFICATION,
    CHALLENGE_ATTEMPTS,
    CHALLENGE_SIZE,
    MAX_BACKLOG,
    MAX_BACKLOG_DELAY,
    MAX_PACKET,
    MAX_UNVALIDATED_PATHS,
    MAX_VALIDATED_PATHS,
    PATH_PROBE_HOLD,
    RECORD_HEADER,
)
from rootstream.protocol.pacing import Pace


@dataclass(slots=True, eq=False)
class PathState:
    """
    What is known of one path.  Sizes in bytes of packets, times in seconds.
    """

    path: IPath
    validated: bool = False
    #: We chose the address ourselves, so nobody can make us flood a third party.
    ours: bool = False
    received: int = 0
    sent: int = 0
    lastHeard: float = 0.0
    challenge: bytes | None = None
    challengeAt: float = 0.0
    challengesLeft: int = 0
    #: How large a packet may be on it.
    size: int = MAX_PACKET
    #: How fast packets leave on it, if it is not a stream.
    pace: Pace = field(default_factory=Pace)
    #: What waits in it, if it is a stream.
    waiting: Backlog = field(default_factory=Backlog)

    def allows(self, size: int) -> bool:
        """
        Whether ``size`` more bytes stay within the amplification limit.
        """
        if self.validated or self.ours:
            return True
        return self.sent + size <= AMPLIFICATION * self.received

    def congested(self, now: float, share: float = 1.0) -> bool:
        """
        Whether more waits in it than may, or more than that ``share``.
        """
        backlog = self.path.backlog
        if not backlog:
            return False
        return (
            backlog > share * MAX_BACKLOG
            or self.waiting.delay(backlog, now) > share * MAX_BACKLOG_DELAY
        )


class Paths:
    """
    All paths of one peer: at most ``MAX_UNVALIDATED_PATHS`` that are not validated,
    and ``MAX_VALIDATED_PATHS`` that are.

    @ivar current: the path that packets go out on, if there is one.
    @ivar deliberate: whether the peer said that it moves, whatever the old path
        answers.
    """

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._paths: dict[IPath, PathState] = {}
        self.current: PathState | None = None
        self._candidate: PathState | None = None
        self._oldUntil = 0.0
        self._oldAnswered = False
        self.deliberate = False
        self._quietUntil = 0.0

    def __iter__(self) -> Iterator[PathState]:
        return iter(tuple(self._paths.values()))

    def __len__(self) -> int:
        return len(self._paths)

    def get(self, path: IPath) -> PathState | None:
        """
        The books of ``path``, or None when nothing authentic came on it.
        """
        return self._paths.get(path)

    def heard(self, path: IPath, size: int, now: float) -> PathState | None:
        """
        Enter ``size`` bytes of authentic packets from ``path``.

        Returns the books of the path that had to be forgotten because there are
        too many, if any.
        """
        state = self._paths.get(path)
        if state is None:
            state = self._paths[path] = PathState(path)
        state.received += size
        state.lastHeard = now
        return self.trim(state)

    def trim(self, new: PathState) -> PathState | None:
        """
        Forget a path, other than the ``new`` one, if there are too many.  Returns its
        books, if any.
        """
        if len(self._paths) <= MAX_UNVALIDATED_PATHS:
            return None
        crowd = [state for state in self._paths.values() if not state.validated]
        if len(crowd) <= MAX_UNVALIDATED_PATHS:
            crowd = [state for state in self._paths.values() if state.validated]
            if len(crowd) <= MAX_VALIDATED_PATHS:
                return None
        needed = (new, self.current, self._candidate)
        # What we chose is where the peer is to be found again, and a connection took
        # more to make than an address that datagrams came from.
        forgotten = min(
            (state for state in crowd if state not in needed),
            key=lambda state: (
                state.ours,
                state.path.transport != Transport.UDP,
                state.lastHeard,
            ),
        )
        del self._paths[forgotten.path]
        return forgotten

    def validate(self, path: IPath, now: float) -> PathState:
        """
        A handshake was completed over ``path``: it leads to the peer.
        """
        state = self._paths.get(path)
        if state is None:
            state = self._paths[path] = PathState(path, lastHeard=now)
        state.validated = True
        state.challenge = None
        return state

    def add(self, path: IPath) -> PathState:
        """
        A path that we chose ourselves, to be validated by a challenge.
        """
        state = self._paths.get(path)
        if state is None:
            state = self._paths[path] = PathState(path)
        state.ours = True
        return state

    def given(self, path: IPath, packets: Sequence[bytes], now: float) -> None:
        """
        These packets are about to go out on ``path``: if it is a stream, they wait.
        """
        state = self._paths.get(path)
        if state is not None and path.transport != Transport.UDP:
            size = sum(map(len, packets)) + RECORD_HEADER * len(packets)
            state.waiting.give(size, path.backlog, now)

    def use(self, state: PathState) -> None:
        """
        Send on ``state`` from now on, and end any question about moving.
        """
        self.current = state
        self._candidate = None

    def lost(self, path: IPath) -> bool:
        """
        Forget ``path``.  Returns whether it was the current one; the validated
        path heard last then takes its place, if there is one.
        """
        state = self._paths.pop(path, None)
        if state is None:
            return False
        if state is self._candidate:
            self._candidate = None
        if state is not self.current:
            return False
        rest = [other for other in self._paths.values() if other.validated]
        self.current = max(rest, key=lambda other: other.lastHeard, default=None)
        self._candidate = None
        return True

    @property
    def hopeful(self) -> PathState | None:
        """
        The path in question, once it has answered and as long as the current one has
        not.
        """
        candidate = self._candidate
        if candidate is None or not candidate.validated or self._oldAnswered:
            return None
        return candidate

    def question(self, path: IPath, patience: float, now: float) -> None:
        """
        New packets of the peer arrive on ``path``, not on the current one: ask
        both, and give the old one ``patience`` seconds to answer.
        """
        if self._candidate is not None or now < self._quietUntil:
            return
        state = self._candidate = self._paths[path]
        self.deliberate = False
        self._oldAnswered = False
        self._oldUntil = now + patience
        if not state.validated:
            self.challenge(state, CHALLENGE_ATTEMPTS, now)
        if self.current is not None:
            self.challenge(self.current, CHALLENGE_ATTEMPTS, now)

    def follow(self, path: IPath, now: float) -> None:
        """
        The peer says that it has moved to ``path``: so do we, once it is validated.
        """
        state = self._candidate = self._paths[path]
        self.deliberate = True
        self._oldUntil = now
        if not state.validated:
            self.challenge(state, CHALLENGE_ATTEMPTS, now)

    def distrust(self, state: PathState) -> PathState | None:
        """
        Nothing gets through on ``state`` any more: it has to be validated anew.

        Returns the books of the path that had to be forgotten, as `heard` does.
        """
        state.validated = False
        state.sent = state.received = 0
        return self.trim(state)

    def challenge(self, state: PathState, attempts: int, now: float) -> None:
        """
        Ask whether ``state`` leads to the peer, ``attempts`` times at the most.
        """
        state.challenge = self._random(CHALLENGE_SIZE)
        state.challengeAt = now
        state.challengesLeft = attempts

    def challengesDue(
        self, interval: float, now: float
    ) -> list[tuple[PathState, bytes]]:
        """
        The challenges to send now; each is repeated after ``interval`` seconds,
        a few times.
        """
        due: list[tuple[PathState, bytes]] = []
        for state in self._paths.values():
            if state.challenge is None or now < state.challengeAt:
                continue
            if state.challengesLeft:
                state.challengesLeft -= 1
                state.challengeAt = now + interval
                due.append((state, state.challenge))
            else:
                state.challenge = None
                if state is self._candidate:
                    self._candidate = None
        return due

    def challenged(self, data: bytes) -> PathState | None:
        """
        The path that a PATH_RESPONSE answers for, if the challenge was ours: the one
        that it was sent on, whichever the answer came back by (RFC 9000, section
        8.2.3).
        """
        for state in self._paths.values():
            if state.challenge is not None and state.challenge == data:
                return state
        return None

    def responded(self, state: PathState) -> None:
        """
        The challenge on ``state`` came back.
        """
        state.challenge = None
        state.validated = True
        if state is self.current:
            self._oldAnswered = True

    def abandoned(self, path: IPath) -> None:
        """
        The peer says that it no longer uses ``path``: do not wait for it.
        """
        if self.current is not None and self.current.path == path:
            self._oldUntil = 0.0

    def decide(self, now: float) -> PathState | None:
        """
        The path to move to now, or None to stay.  It is the current one when that has
        answered: then the peer sends elsewhere although it need not.
        """
        candidate = self._candidate
        if candidate is None:
            return None
        if self._oldAnswered and not self.deliberate:
            self._candidate = None
            self._quietUntil = now + PATH_PROBE_HOLD
            return self.current
        if now < self._oldUntil or not candidate.validated:
            return None
        return candidate

    def nextTimer(self) -> float | None:
        """
        When `challengesDue` or `decide` have something to do, if ever.
        """
        times = [
            state.challengeAt
            for state in self._paths.values()
            if state.challenge is not None
        ]
        if self._candidate is not None and self._candidate.validated:
            times.append(self._oldUntil)
        return min(times, default=None)
