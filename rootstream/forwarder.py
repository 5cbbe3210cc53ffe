"""
Input on its way from here to a host.
"""

from __future__ import annotations

from collections.abc import Sequence

from rootstream.keys import REPORT, Held, isFit
from rootstream.peer import Peer
from rootstream.protocol.constants import MAX_INPUT_EVENTS
from rootstream.protocol.events import InputEvent

__all__ = ["MAX_WAITING", "InputForwarder"]

#: Calls of `Peer.sendInput` that may wait for an answer.  What releases keys goes out
#: beyond that: there is room for as much again.
MAX_WAITING = 2048


class InputForwarder:
    """
    Sends the input of one user to a peer, and lets go of all that is held when that
    user goes away.

    Keys are pressed only while the peer is connected and takes what is sent; they are
    released whatever happens.

    @ivar dropped: events that were of no use, or came when nothing could be sent.
    """

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._held = Held()
        self.dropped = 0

    @property
    def holds(self) -> bool:
        """
        Whether a key is down or an axis not at rest.
        """
        return bool(self._held)

    def send(self, events: Sequence[InputEvent]) -> None:
        """
        Send events, which end with a report.
        """
        fit = [event for event in events if isFit(event)]
        if not self._peer.connected or self._peer.inputWaiting >= MAX_WAITING:
            # What moved is past; what was let go of must not stay down.
            fit = [each for each in fit if each in self._held and not each.value]
            fit += [REPORT] if fit else []
        self.dropped += max(0, len(events) - len(fit))
        self._pass(self._held.take(fit))

    def releaseAll(self) -> None:
        """
        Let go of everything.
        """
        self._pass(self._held.release())

    def _pass(self, events: Sequence[InputEvent]) -> None:
        if all(event == REPORT for event in events):
            return
        for start in range(0, len(events), MAX_INPUT_EVENTS):
            self._peer.sendInput(events[start : start + MAX_INPUT_EVENTS])
