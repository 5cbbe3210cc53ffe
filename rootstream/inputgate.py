"""
Where a host takes in the input of its peers: who may, and what becomes of keys that are
left down.

It is a dead-man's switch.  A peer that holds something down has to be heard all the
time; after half a second of silence, when it leaves, when it loses the right, or when
it has forgotten that it held anything, all that it holds is released here.

Keys that are released for silence stay so: the peer has to press them again.  What it
did meanwhile arrives when it is heard again, every press with its release, and in
order.  A release of what is not down is of no effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from rootstream.eventlog import EventLog
from rootstream.keys import Held, isFit
from rootstream.peer import Peer
from rootstream.protocol.events import EV_KEY, EV_SYN, InputEvent

__all__ = ["LET_GO_AFTER", "InputGate", "InputLog", "InputTaker"]

#: Seconds of silence after which nothing is held any more, and between two looks.
LET_GO_AFTER = 0.5
LOOK_INTERVAL = 0.1

#: Seconds between two complaints about a peer that has no right to send input.
LOG_INTERVAL = 10.0


class InputTaker(Protocol):
    """
    What input comes to in the end.
    """

    def take(self, fingerprint: str, events: Sequence[InputEvent]) -> None:
        """
        A peer's events, all of them `rootstream.keys.isFit`.
        """

    def close(self) -> None:
        """
        There will be no more.
        """


class InputLog:
    """
    Writes input down, and does nothing else.
    """

    def __init__(self, events: EventLog) -> None:
        self._events = events

    def take(self, fingerprint: str, events: Sequence[InputEvent]) -> None:
        fields = [[event.kind, event.code, event.value] for event in events]
        self._events.write("input", fingerprint, events=fields)

    def close(self) -> None:
        pass


class _Hands:
    """
    What one peer holds, since it was this instance.
    """

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.instance = peer.instance
        self.held = Held()

    def absent(self) -> str | None:
        """
        Why nothing may be held any more, if so.
        """
        if self.peer.silence >= LET_GO_AFTER:
            return f"nothing heard for {self.peer.silence:.1f} s"
        if "input" not in self.peer.rights:
            return "it may not send input any more"
        if self.peer.instance != self.instance:
            return "the peer began anew"
        return None


class InputGate:
    """
    The input of all peers, on its way to one taker.

    @ivar taken: events that were passed on.
    @ivar refused: events of peers without the right.
    @ivar dropped: events that mean nothing, or nothing that a peer may do.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, taker: InputTaker, events: EventLog
    ) -> None:
        self._clock = clock
        self._taker = taker
        self._events = events
        self._hands: dict[Peer, _Hands] = {}
        self._timer: IDelayedCall | None = None
        self._quietUntil = clock.seconds()
        self.taken = 0
        self.refused = 0
        self.dropped = 0

    def received(self, peer: Peer, events: Sequence[InputEvent]) -> None:
        """
        A peer has sent input.
        """
        if "input" not in peer.rights:
            self._refuse(peer, len(events))
            return
        hands = self._hands.get(peer)
        if hands is not None and hands.instance != peer.instance:
            self._letGo(hands, "the peer began anew")
            hands = None
        if hands is None:
            hands = self._hands[peer] = _Hands(peer)
        fit = [event for event in events if isFit(event)]
        self.dropped += len(events) - len(fit)
        self.taken += self._pass(hands, hands.held.take(fit))
        if hands.held:
            self._watch()

    def _refuse(self, peer: Peer, count: int) -> None:
        self.refused += count
        now = self._clock.seconds()
        if now >= self._quietUntil:
            self._quietUntil = now + LOG_INTERVAL
            self._log.warn(
                "Refused the input of {peer}: it may only watch.  To let it type and "
                "point: rootstream peers rights {peer} view,input.",
                peer=peer.fingerprint,
            )

    def left(self, peer: Peer, cause: str) -> None:
        """
        A peer is disconnected.
        """
        hands = self._hands.pop(peer, None)
        if hands is not None:
            self._letGo(hands, cause)

    def close(self) -> None:
        """
        Let go of everything; nothing will be passed on any more.
        """
        for peer in tuple(self._hands):
            self.left(peer, "the host was stopped")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._taker.close()

    def describe(self) -> str:
        """
        What came of it all, for the user.
        """
        return (
            f"Input: {self.taken} events taken, {self.refused} refused, "
            f"{self.dropped} of no meaning."
        )

    def _watch(self) -> None:
        if self._timer is None:
            self._timer = self._clock.callLater(LOOK_INTERVAL, self._look)

    def _look(self) -> None:
        self._timer = None
        for hands in tuple(self._hands.values()):
            cause = hands.absent() if hands.held else None
            if cause is not None:
                self._letGo(hands, cause)
            elif hands.held:
                self._watch()

    def _letGo(self, hands: _Hands, cause: str) -> None:
        count = len(hands.held)
        if count:
            self._pass(hands, hands.held.release())
            self._events.write(
                "released", hands.peer.fingerprint, count=count, cause=cause
            )

    def _pass(self, hands: _Hands, events: Sequence[InputEvent]) -> int:
        """
        Pass events on, and return how many those are.
        """
        others = [each.held for each in self._hands.values() if each is not hands]
        passed = [each for each in events if not _keptDown(each, others)]
        if all(each.kind == EV_SYN for each in passed):
            return 0
        self._taker.take(hands.peer.fingerprint, passed)
        return len(passed)


def _keptDown(event: InputEvent, others: Sequence[Held]) -> bool:
    """
    Whether a key stays down, since somebody else has it down as well.
    """
    return (
        event.kind == EV_KEY
        and not event.value
        and any(event in held for held in others)
    )
