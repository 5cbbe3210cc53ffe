"""
Messages that arrive exactly once and in order: INPUT and CONTROL.

The sender numbers its messages from 0 and sends each again until the receiver's
ACK passes it; the receiver sorts and drops doubles.  Numbers are u32 and wrap, so
they are compared by serial arithmetic (RFC 1982).  Both belong to the session and
not to a path: a message sent on a path that dies is sent again on the next one.

Which packet a message travels in, and when ACKs go out, is the link's affair.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import inf

from rootstream.errors import LocalError
from rootstream.protocol.constants import (
    CHANNEL_WINDOW,
    MAX_RESEND_WAIT,
    MAX_UNACKNOWLEDGED,
)

_MASK = 0xFFFFFFFF


@dataclass(slots=True)
class _Message:
    """
    A message not acknowledged yet.  ``patience`` is what the retransmission time
    is multiplied by: 0 before the first sending, then 1, 2, 4, ...
    """

    body: bytes
    at: float
    patience: float = 0.0

    def dueAt(self, rto: float) -> float:
        return self.at + min(rto * self.patience, MAX_RESEND_WAIT)


class ReliableSender:
    """
    The sending half.  ``next`` is the number of the next message pushed.
    """

    def __init__(self, limit: int = MAX_UNACKNOWLEDGED) -> None:
        self._limit = limit
        #: No deque: one that is empty takes 0.7 kB, and a peer would have five.
        self._messages: list[_Message] = []
        #: How many of them, at the end, were never sent.
        self._fresh = 0
        #: Nothing that was sent is due again before.
        self._lookAt = inf
        self.next = 0

    def __len__(self) -> int:
        """
        Messages not acknowledged yet.
        """
        return len(self._messages)

    def push(self, body: bytes, now: float) -> int:
        """
        Take a message to be delivered, and return its number.
        """
        if len(self._messages) >= self._limit:
            raise LocalError(
                f"{self._limit} messages wait for the peer's answer: "
                "send less, or wait until it is reachable"
            )
        seq = self.next
        self._messages.append(_Message(body, now))
        self._fresh += 1
        self.next = (seq + 1) & _MASK
        return seq

    def due(self, now: float, rto: float) -> list[tuple[int, bytes]]:
        """
        The numbers and bodies to send now: those never sent, and those whose
        answer is overdue.  Each is taken as sent.
        """
        due: list[tuple[int, bytes]] = []
        # Many may wait for one acknowledgement: those are not looked at each time.
        start = 0 if now >= self._lookAt else len(self._messages) - self._fresh
        if not start:
            self._lookAt = inf
        first = self.next - len(self._messages)
        for place, message in enumerate(self._open(start), start):
            if message.dueAt(rto) <= now:
                due.append(((first + place) & _MASK, message.body))
                message.at = now
                message.patience = message.patience * 2 or 1.0
            self._lookAt = min(self._lookAt, message.dueAt(rto))
        opened = min(len(self._messages), CHANNEL_WINDOW)
        self._fresh = min(self._fresh, len(self._messages) - opened)
        return due

    def acknowledged(self, next: int) -> None:
        """
        The peer has every message before ``next``.

        An ACK that was overtaken by a newer one changes nothing, and neither
        does one for messages that never were.
        """
        count = (next - self.next + len(self._messages)) & _MASK
        if count <= len(self._messages):
            del self._messages[:count]
            self._fresh = min(self._fresh, len(self._messages))
            if not self._messages:
                self._lookAt = inf

    def nextTimer(self) -> float | None:
        """
        When `due` has something to say, if ever.
        """
        fresh = next(self._open(len(self._messages) - self._fresh), None)
        at = self._lookAt if fresh is None else min(self._lookAt, fresh.at)
        return at if self._messages else None

    def reset(self) -> None:
        """
        Forget all: the peer is a new one, and expects number 0.
        """
        self._messages.clear()
        self._fresh = 0
        self._lookAt = inf
        self.next = 0

    def _open(self, start: int) -> Iterator[_Message]:
        # The receiver would drop what is past its window.
        return islice(self._messages, start, CHANNEL_WINDOW)


class ReliableReceiver:
    """
    The receiving half.  ``next`` is the number expected next, which an ACK tells
    the sender.
    """

    def __init__(self, window: int = CHANNEL_WINDOW) -> None:
        self._window = window
        self._early: dict[int, bytes] = {}
        self.next = 0

    def receive(self, seq: int, body: bytes) -> list[bytes]:
        """
        Take a message, and return those that are now next in order.

        Doubles, and numbers past the window, are dropped.
        """
        ahead = (seq - self.next) & _MASK
        if ahead >= self._window:
            return []
        if ahead:
            self._early.setdefault(seq, body)
            return []
        ready = [body]
        self.next = (seq + 1) & _MASK
        while self.next in self._early:
            ready.append(self._early.pop(self.next))
            self.next = (self.next + 1) & _MASK
        return ready

    def reset(self) -> None:
        """
        Forget all: the peer is a new one, and begins with number 0.
        """
        self._early.clear()
        self.next = 0
