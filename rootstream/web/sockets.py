"""
The page's two WebSockets: what happens, and the stream.

A page that does not read costs nothing: while its connection is full it is sent
nothing, and told anew when it has room, from the beginning or from a key frame.  No
list of messages waits for it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.websocket import WebSocketTransport
from zope.interface import implementer

from rootstream.errors import RootstreamError
from rootstream.protocol.events import InputEvent
from rootstream.web.door import Connection
from rootstream.web.served import Served
from rootstream.web.stream import Stream

__all__ = ["EventsSocket", "Socket", "StreamSocket"]

#: RFC 6455, section 7.4.1.
NORMAL: Final = 1000
POLICY: Final = 1008
#: Seconds between two looks whether a page is there, and until it is not; and that it
#: may take nothing at all.
PING_EVERY: Final = 15.0
LOST_AFTER: Final = 45.0
STUCK_AFTER: Final = 30.0
#: What waits on the way to a page at most: seconds, and bytes.
MAX_BEHIND: Final = 0.25
MAX_UNSENT: Final = 1_000_000
#: Input events in a message.
MAX_EVENTS: Final = 64

dumps: Final = json.JSONEncoder(separators=(",", ":")).encode


@implementer(IPushProducer)
class Socket:
    """
    What both have in common.  ``lost`` is told when it is gone.
    """

    def __init__(
        self,
        connection: Connection,
        now: Callable[[], float],
        lost: Callable[[Any], object],
    ) -> None:
        self._connection = connection
        self._now = now
        self._lost = lost
        self._transport: WebSocketTransport | None = None
        self._heardAt = self._pingedAt = now()
        self._fullSince: float | None = None
        self._unsent = 0

    # --- what Twisted's WebSockets call ---

    def negotiationStarted(self, transport: WebSocketTransport) -> None:
        """
        There is a connection.
        """
        # HTTP has been its producer until now.
        transport.detachProducer()
        transport.attachProducer(self)
        self._connection.upgraded()
        self._transport = transport

    def negotiationFinished(self) -> None:
        """
        The page listens.
        """
        self.opened()

    def textMessageReceived(self, message: str) -> None:
        """
        The page said something.
        """
        self._heard()
        if self._transport is not None:
            try:
                self.said(json.loads(message))
            except (ValueError, RecursionError):
                self.close(POLICY)

    def bytesMessageReceived(self, data: bytes | bytearray) -> None:
        """
        No page of ours says that.
        """
        self.close(POLICY)

    def pongReceived(self, payload: bytes) -> None:
        """
        The page is there.
        """
        self._heard()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The page is gone.
        """
        self._transport = None
        self._lost(self)

    # --- what its connection calls when it is full, and when it is not ---

    def pauseProducing(self) -> None:
        """
        There is more to send than the page takes.
        """
        if self._fullSince is None:
            self._fullSince = self._now()

    def resumeProducing(self) -> None:
        """
        All is sent.
        """
        self._fullSince = None

    def stopProducing(self) -> None:
        """
        There will be nobody to send to.
        """
        self._transport = None

    # --- for both ---

    def opened(self) -> None:
        """
        It begins.
        """
        raise NotImplementedError

    def said(self, message: object) -> None:
        """
        The page said something; raises `ValueError` when that makes no sense.
        """
        raise ValueError

    def happened(self, entry: Mapping[str, Any]) -> None:
        """
        An event.
        """

    def tick(self) -> None:
        """
        A second has passed.
        """
        now = self._now()
        stuck = self._fullSince is not None and now - self._fullSince > STUCK_AFTER
        if stuck or now - self._heardAt > LOST_AFTER:
            self._transport = None
            self._connection.abort()
        elif self._transport is not None and now - self._pingedAt >= PING_EVERY:
            self._pingedAt = now
            self._transport.ping()

    def close(self, code: int = NORMAL) -> None:
        """
        Say goodbye.
        """
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.loseConnection(code)
            self._connection.closing()

    def sendText(self, text: str) -> None:
        """
        Send a message, unless the socket is closed.
        """
        if self._transport is not None:
            self._count(len(text))
            self._transport.sendTextMessage(text)

    def sendBytes(self, data: bytes) -> None:
        """
        The same of bytes.
        """
        if self._transport is not None:
            self._count(len(data))
            self._transport.sendBytesMessage(data)

    def _count(self, size: int) -> None:
        # Of what was sent before it was full, all but the last message and the 64 KiB
        # that Twisted holds are gone.
        self._unsent = size if self._fullSince is None else self._unsent + size

    def _heard(self) -> None:
        self._heardAt = self._now()
        self._connection.messageEnded()


class EventsSocket(Socket):
    """
    ``/api/events``: what happened, what happens, and each second how it is.

    A page that could not be told everything is told the whole history again.
    """

    def __init__(
        self,
        connection: Connection,
        now: Callable[[], float],
        lost: Callable[[Any], object],
        hello: Callable[[], str],
    ) -> None:
        super().__init__(connection, now, lost)
        self._hello = hello
        self._missed = False

    def opened(self) -> None:
        """
        It begins.
        """
        self._missed = False
        self.sendText(self._hello())

    def resumeProducing(self) -> None:
        """
        All is sent.
        """
        super().resumeProducing()
        if self._missed:
            self.opened()

    def happened(self, entry: Mapping[str, Any]) -> None:
        """
        An event.
        """
        if self._fullSince is not None:
            self._missed = True
        else:
            self.sendText(dumps({**entry, "type": "event"}))

    def status(self, text: str) -> None:
        """
        How it is, as JSON.
        """
        if self._fullSince is None:
            self.sendText(text)


class StreamSocket(Socket):
    """
    ``/api/stream``: frames to the page, and what is pressed there back to the host.

    More than `MAX_BEHIND` seconds or `MAX_UNSENT` bytes behind, it leaves frames out up
    to the next key frame.

    :ivar dropped: how many.
    """

    def __init__(
        self,
        connection: Connection,
        now: Callable[[], float],
        lost: Callable[[Any], object],
        stream: Stream,
        served: Served,
    ) -> None:
        super().__init__(connection, now, lost)
        self._stream = stream
        self._served = served
        self._begun = False
        self._codec: str | None = None
        self._typed = False
        self._impaired = False
        self.dropped = 0

    def opened(self) -> None:
        """
        It begins.
        """
        self._tellImpaired()
        self._stream.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The page is gone.
        """
        self._stream.remove(self)
        if self._typed:
            # Whoever held a key there cannot let go of it any more.
            self._served.releaseInput()
        super().connectionLost(reason)

    def resumeProducing(self) -> None:
        """
        All is sent.
        """
        super().resumeProducing()
        self._tellImpaired()

    @property
    def wantsKeyFrame(self) -> bool:
        """
        Whether it can go on only with a key frame, and has room for one.
        """
        return not self._begun and self._fullSince is None

    def video(self, message: bytes, keyFrame: bool, codec: str | None) -> None:
        """
        A frame.
        """
        if keyFrame and self._fullSince is None:
            self._begun = True
        if self._begun and self._isBehind():
            self._begun = False
        if not self._begun:
            self.dropped += 1
            return
        if keyFrame and codec != self._codec:
            self._codec = codec
            self.sendText(dumps({"type": "config", "codec": codec}))
        self.sendBytes(message)

    def audio(self, message: bytes) -> None:
        """
        A packet of sound.
        """
        if self._begun and not self._isBehind():
            self.sendBytes(message)

    def _isBehind(self) -> bool:
        return self._fullSince is not None and (
            self._now() - self._fullSince > MAX_BEHIND or self._unsent > MAX_UNSENT
        )

    def happened(self, entry: Mapping[str, Any]) -> None:
        """
        An event; the page need not read all to know that the host is not heard.
        """
        self._tellImpaired()

    def _tellImpaired(self) -> None:
        if self._impaired != self._stream.impaired and self._fullSince is None:
            self._impaired = self._stream.impaired
            word = "impaired" if self._impaired else "recovered"
            self.sendText(dumps({"type": word}))

    def said(self, message: object) -> None:
        """
        Input, or what the page needs.
        """
        match message:
            case {"type": "input", "events": list(events)} if len(events) <= MAX_EVENTS:
                self._input([_inputEvent(event) for event in events])
            case {"type": "keyframe"}:
                self._stream.wantKeyFrame()
            case {"type": "shown"}:
                pass
            case _:
                raise ValueError

    def _input(self, events: list[InputEvent]) -> None:
        # The host has not granted it, or is not there: the page sees both.
        with contextlib.suppress(RootstreamError):
            self._served.sendInput(events)
            self._typed = True


def _inputEvent(given: object) -> InputEvent:
    match given:
        case [int(kind), int(code), int(value)] if (
            0 <= kind < 1 << 16
            and 0 <= code < 1 << 16
            and -(1 << 31) <= value < 1 << 31
            and not {bool} & {type(part) for part in (kind, code, value)}
        ):
            return InputEvent(kind, code, value)
        case _:
            raise ValueError
