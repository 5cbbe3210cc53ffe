"""
The states of a peer, as users see them.

The machine decides nothing about packets: it turns what the `Link` and the
dialler report into one of seven states, and tells each move with its cause.
Every state takes every input, because most inputs can be caused by the network.

The table is data: one line a move.  Whatever is not in it stays where it is.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from automat import TypeMachineBuilder

__all__ = ["PeerInputs", "PeerState", "buildPeerMachine"]


class PeerState(enum.Enum):
    """
    What a peer is to us now.
    """

    DISCOVERED = "DISCOVERED"
    CONNECTING = "CONNECTING"
    HANDSHAKE_SENT = "HANDSHAKE_SENT"
    HANDSHAKE_RECEIVED = "HANDSHAKE_RECEIVED"
    CONNECTED = "CONNECTED"
    DISCONNECTED = "DISCONNECTED"
    FAILED = "FAILED"


class PeerInputs(Protocol):
    """
    What can happen to a peer; each ``cause`` is in words.
    """

    def dialled(self, cause: str) -> None:
        """
        An attempt to reach the peer begins.
        """

    def initSent(self, cause: str) -> None:
        """
        The first INIT of an attempt left.
        """

    def initAnswered(self, cause: str) -> None:
        """
        The peer dialled us and was answered.
        """

    def initLapsed(self, cause: str) -> None:
        """
        The peer did not confirm the handshake that it began.
        """

    def confirmed(self, cause: str) -> None:
        """
        A handshake is confirmed.
        """

    def resumed(self, cause: str) -> None:
        """
        The peer is heard again on the keys it had.
        """

    def attemptFailed(self, cause: str) -> None:
        """
        An attempt got no answer.
        """

    def lost(self, cause: str) -> None:
        """
        Nothing was heard for too long.
        """

    def closed(self, cause: str) -> None:
        """
        One of the two said goodbye.
        """

    def gaveUp(self, cause: str) -> None:
        """
        The last attempt of the schedule has failed.
        """

    def describe(self) -> PeerState:
        """
        The state now.
        """


@dataclass(frozen=True, slots=True)
class PeerCore:
    """
    Whom the machine tells of its moves: ``moved(old, new, cause)``, which must not
    raise, since the machine has moved already.
    """

    moved: Callable[[PeerState, PeerState, str], None]


_S = PeerState
_I = PeerInputs

#: From any of these, the same things follow.
_TRYING = (_S.DISCOVERED, _S.CONNECTING, _S.HANDSHAKE_SENT, _S.HANDSHAKE_RECEIVED)

_MOVES: list[tuple[tuple[PeerState, ...], Callable[..., None], PeerState]] = [
    ((_S.DISCOVERED, _S.DISCONNECTED), _I.dialled, _S.CONNECTING),
    (
        (_S.DISCOVERED, _S.CONNECTING, _S.DISCONNECTED),
        _I.initSent,
        _S.HANDSHAKE_SENT,
    ),
    (
        (_S.DISCOVERED, _S.CONNECTING, _S.HANDSHAKE_SENT, _S.DISCONNECTED),
        _I.initAnswered,
        _S.HANDSHAKE_RECEIVED,
    ),
    ((_S.HANDSHAKE_RECEIVED,), _I.initLapsed, _S.DISCONNECTED),
    ((*_TRYING, _S.DISCONNECTED), _I.confirmed, _S.CONNECTED),
    ((*_TRYING, _S.DISCONNECTED), _I.resumed, _S.CONNECTED),
    (_TRYING, _I.attemptFailed, _S.DISCONNECTED),
    ((_S.CONNECTED,), _I.lost, _S.DISCONNECTED),
    ((*_TRYING, _S.CONNECTED), _I.closed, _S.DISCONNECTED),
    ((*_TRYING, _S.DISCONNECTED), _I.gaveUp, _S.FAILED),
]


def buildPeerMachine() -> Callable[[PeerCore], PeerInputs]:
    """
    The class of the machine: call it with a `PeerCore`.
    """
    builder = TypeMachineBuilder(PeerInputs, PeerCore)
    states = {state: builder.state(state.value) for state in PeerState}
    inputs = [
        getattr(PeerInputs, name)
        for name in vars(PeerInputs)
        if not name.startswith("_") and name != "describe"
    ]
    moves = {
        (old, happening.__name__): new
        for olds, happening, new in _MOVES
        for old in olds
    }
    for old, state in states.items():
        for happening in inputs:
            new = moves.get((old, happening.__name__))
            if new is None:
                state.upon(happening).loop().returns(None)
            else:
                state.upon(happening).to(states[new])(_tell(old, new))
        state.upon(PeerInputs.describe).loop()(_answer(old))
    return builder.build()


def _tell(old: PeerState, new: PeerState) -> Callable[..., None]:
    def tell(peer: PeerInputs, core: PeerCore, cause: str) -> None:
        core.moved(old, new, cause)

    return tell


def _answer(state: PeerState) -> Callable[..., PeerState]:
    def answer(peer: PeerInputs, core: PeerCore) -> PeerState:
        return state

    return answer
