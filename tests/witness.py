"""
Watches two nodes for what must never happen, while it happens.

A `Witness` is told what the two send and get, looks into them now and then, and raises
a `Violation` that says in words what went wrong.  It knows nothing of networks and
faults: whatever those do, all of this holds.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar
from unittest import mock

from rootstream.interfaces import IPath, Transport
from rootstream.protocol import constants, link
from rootstream.protocol.events import (
    AudioFrame,
    AudioReceived,
    Closed,
    Command,
    Control,
    ControlReceived,
    Event,
    InputEvent,
    InputReceived,
    SessionEstablished,
    VideoFrame,
    VideoReceived,
)
from rootstream.protocol.frames import FrameType
from rootstream.protocol.link import Link
from rootstream.protocol.node import Node
from rootstream.protocol.session import Session
from tests.wire import Side, Wire

#: So many timers may ring within so many seconds; more are a loop that never sleeps.
#: The first pair is for those that nothing came of.
SPINS = ((20, 0.001), (400, 0.2))
#: SET_BITRATE takes no smaller value.
FIRST_CONTROL = 500_000
SIZES = {
    constants.TYPE_INIT: constants.INIT_SIZE,
    constants.TYPE_RESP: constants.RESP_SIZE,
    constants.TYPE_RETRY: constants.RETRY_SIZE,
}


class Violation(AssertionError):
    """
    Something happened that never may.
    """


class WatchedSession(Session):
    """
    A session that tells what it seals and opens.
    """

    __slots__ = ("keys", "witness")

    #: Sessions are made deep inside a link: whom a new one tells.
    watching: ClassVar[Witness]

    def __init__(self, sendKey: bytes, receiveKey: bytes, *rest: Any) -> None:
        super().__init__(sendKey, receiveKey, *rest)
        self.keys = sendKey, receiveKey
        self.witness = self.watching
        self.witness.keyed(sendKey)

    def sealMany(self, batch: Sequence[bytes]) -> list[bytes]:
        first = self.sendCounter
        packets = super().sealMany(batch)
        self.witness.sealed(self, first, batch, packets)
        return packets

    def openMany(self, packets: Sequence[bytes]) -> list[tuple[int, bytes]]:
        opened = super().openMany(packets)
        self.witness.opened(self, opened)
        return opened


@dataclass(eq=False)
class Start:
    """
    Messages that one side numbers from 0, for one instance of the other side.
    """

    number: int
    messages: dict[str, list[int]] = field(
        default_factory=lambda: {"INPUT": [], "CONTROL": []}
    )
    arrived: Counter[str] = field(default_factory=Counter)
    receiver: int | None = None


class Witness:
    """
    Sees everything that the two sides of ``wire`` do.

    @ivar speaker: the link that fills packets now, if any.
    @ivar closing: one side is about to say goodbye.
    @ivar accepted: how many packets opened.
    @ivar delivered: how many messages and frames arrived, by kind.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._sendKeys: set[bytes] = set()
        self._plain: dict[tuple[bytes, int], bytes] = {}
        self._packets: set[bytes] = set()
        self._opened: set[tuple[bytes, int]] = set()
        self._rang = [deque[float](maxlen=timers) for timers, _ in SPINS]
        self._number = 0
        self._instance: dict[Side, int] = {}
        self._starts: dict[Side, Start] = {}
        self._startOf: dict[int, Start] = {}
        self._media: dict[int, VideoFrame | AudioFrame] = {}
        self._awaited: set[int] = set()
        self._newest: dict[tuple[int, str], int] = {}
        self._answers: set[tuple[Node, bytes]] = set()
        self._bytesFrom: Counter[tuple[Side, IPath]] = Counter()
        self._bytesTo: Counter[tuple[Side, IPath]] = Counter()
        self.speaker: Link | None = None
        self.closing = False
        self.accepted = 0
        self.delivered: Counter[str] = Counter()

    @contextmanager
    def watch(self) -> Iterator[None]:
        """
        Let all sessions made meanwhile tell us.
        """
        WatchedSession.watching = self
        with mock.patch.object(link, "Session", WatchedSession):
            yield

    # --- keys and packets ---

    def keyed(self, sendKey: bytes) -> None:
        """
        A session begins.
        """
        if sendKey in self._sendKeys:
            raise Violation("two sessions send under the same key")
        self._sendKeys.add(sendKey)

    def sealed(
        self,
        session: WatchedSession,
        first: int,
        batch: Sequence[bytes],
        packets: Sequence[bytes],
    ) -> None:
        """
        Packets were made, with counters from ``first``.
        """
        self._young(session)
        key = session.keys[0]
        current = self.speaker and self.speaker._slots.current
        for counter, plain in enumerate(batch, first):
            if (key, counter) in self._plain:
                raise Violation(f"the counter {counter} was used twice under one key")
            if counter >= constants.REJECT_AFTER_PACKETS:
                raise Violation(f"the counter {counter} was used")
            self._plain[key, counter] = plain
            other = not current or current.session is not session
            if other and plain[0] & 0x7F != FrameType.ACK:
                raise Violation("more than an ACK was sent under other than the keys")
        self._packets.update(packets)

    def opened(
        self, session: WatchedSession, opened: Sequence[tuple[int, bytes]]
    ) -> None:
        """
        Packets were accepted.
        """
        key = session.keys[1]
        for counter, plain in opened:
            self._young(session)
            if (key, counter) in self._opened:
                raise Violation(f"the packet {counter} was accepted twice")
            if self._plain.get((key, counter)) != plain:
                raise Violation(f"the packet {counter} was accepted, and never sent")
            self._opened.add((key, counter))
            self.accepted += 1

    def _young(self, session: Session) -> None:
        age = self._wire.now - session.createdAt
        if age > constants.REJECT_AFTER_TIME + 0.001:
            raise Violation(f"keys of {age:.3f} s were used")

    def sends(self, side: Side, path: IPath, packet: bytes) -> None:
        """
        A packet goes out.
        """
        self._bytesTo[side, path] += len(packet)
        if packet[0] == constants.TYPE_DATA:
            if packet not in self._packets:
                raise Violation("a DATA packet left that no key had sealed")
        elif len(packet) != SIZES.get(packet[0]):
            raise Violation(f"{len(packet)} bytes of no known type left")
        elif packet[0] == constants.TYPE_RESP:
            answer = side.node, packet[4:8]
            if answer in self._answers:
                raise Violation("one INIT was answered twice")
            self._answers.add(answer)

    def arrives(self, side: Side, path: IPath, packets: Sequence[bytes]) -> None:
        """
        Packets, whoever made them, reach a side.
        """
        self._bytesFrom[side, path] += sum(map(len, packets))

    def checkAmplification(self, path: IPath) -> None:
        """
        F46: nobody sends more than thrice what he gets to where the peer never was.
        """
        for (side, each), sent in self._bytesTo.items():
            limit = constants.AMPLIFICATION * self._bytesFrom[side, each]
            if each == path and sent > limit:
                raise Violation(
                    f"{sent} bytes went where the peer never was, {limit} may"
                )

    def rang(self, fruitful: bool) -> None:
        """
        A timer of either side rang, and something came of it or not.
        """
        now = self._wire.now
        for rang, (timers, within) in zip(
            self._rang[fruitful:], SPINS[fruitful:], strict=True
        ):
            rang.append(now)
            if len(rang) == timers and now - rang[0] < within:
                raise Violation(f"{timers} timers within {within} s")

    # --- what is sent and arrives ---

    def _startOver(self, side: Side) -> None:
        self._number += 1
        self._starts[side] = Start(self._number)

    def _begun(self, side: Side, link: Link) -> None:
        """
        Note when a side is another than before: it has forgotten everything.
        """
        if self._instance.get(side) != link.instance:
            self._instance[side] = link.instance
            self._startOver(side)

    def forgotten(self, side: Side) -> None:
        """
        A side lost its link, and with it what it had to send.
        """
        self._instance.pop(side, None)
        self._starts.pop(side, None)

    def message(self, side: Side, link: Link, kind: str) -> Control | list[InputEvent]:
        """
        The next INPUT or CONTROL that ``side`` is about to send.
        """
        self._begun(side, link)
        number = self._next()
        start = self._starts[side]
        start.messages[kind].append(number)
        self._startOf[number] = start
        if kind == "INPUT":
            return [InputEvent(1, 2, number)]
        return Control(Command.SET_BITRATE, FIRST_CONTROL + number)

    def media(
        self, kind: str, size: int, awaited: bool = False
    ) -> VideoFrame | AudioFrame:
        """
        The next frame that a side is about to send; ``awaited`` if nothing may keep it
        from arriving.
        """
        number = self._next()
        data = number.to_bytes(4, "big") * (size // 4 + 1)
        if kind == "video":
            # All are key frames: which may be dropped is tested elsewhere.
            frame: VideoFrame | AudioFrame = VideoFrame(data, number, True)
        else:
            frame = AudioFrame(data, number)
        self._media[number] = frame
        if awaited:
            self._awaited.add(number)
        return frame

    def _next(self) -> int:
        self._number += 1
        return self._number

    def happened(self, side: Side, link: Link, event: Event) -> None:
        """
        A side told something.
        """
        self._begun(side, link)
        match event:
            case SessionEstablished(_, _, True):
                # What was not acknowledged was for the instance that is gone.
                self._startOver(side)
            case InputReceived(events):
                for each in events:
                    self._messageArrived(link, "INPUT", each.value)
            case ControlReceived(Control(Command.SET_BITRATE, value)):
                self._messageArrived(link, "CONTROL", value - FIRST_CONTROL)
            case VideoReceived(frame) | AudioReceived(frame):
                kind = "video" if isinstance(event, VideoReceived) else "audio"
                self._frameArrived(link, kind, frame)
            case Closed() if not self.closing:
                raise Violation(f"closed: {event.text}")

    def _messageArrived(self, link: Link, kind: str, number: int) -> None:
        start = self._startOf.get(number)
        if start is None:
            raise Violation(f"{kind} {number} arrived and was never sent")
        if start.receiver is None:
            start.receiver = link.instance
        if start.receiver != link.instance:
            raise Violation(f"{kind} {number} was for an instance that is gone")
        self._inOrder(link, "start", start.number, orSame=True)
        arrived, sent = start.arrived[kind], start.messages[kind]
        if arrived >= len(sent) or sent[arrived] != number:
            how = "again" if number in sent[:arrived] else "before its turn"
            raise Violation(f"{kind} {number} arrived {how}")
        start.arrived[kind] += 1
        self.delivered[kind] += 1

    def _frameArrived(
        self, link: Link, kind: str, frame: VideoFrame | AudioFrame
    ) -> None:
        if self._media.get(frame.timestamp) != frame:
            raise Violation(f"{kind} {frame.timestamp} arrived and was never sent")
        if kind == "video":
            self._inOrder(link, kind, frame.timestamp)
        else:
            self._inOrder(link, f"audio {frame.timestamp}", 1)
        self._awaited.discard(frame.timestamp)
        self.delivered[kind] += 1

    def _inOrder(
        self, link: Link, kind: str, number: int, orSame: bool = False
    ) -> None:
        """
        Numbers of one kind only grow.
        """
        before = self._newest.get((link.instance, kind), -1)
        if number < before or (number == before and not orSame):
            raise Violation(f"{kind} {number} arrived after {before}")
        self._newest[link.instance, kind] = number

    @property
    def missing(self) -> str:
        """
        What was sent and has not arrived, in words; empty when nothing.
        """
        words = [
            f"{kind} {sent[start.arrived[kind] :]}"
            for start in self._starts.values()
            for kind, sent in start.messages.items()
            if start.arrived[kind] < len(sent)
        ]
        if self._awaited:
            words.append(f"frames {sorted(self._awaited)}")
        return ", ".join(words)

    # --- what is held ---

    def checkBounds(self, side: Side) -> None:
        """
        Nothing of a side has grown past its limit, and its books are right.
        """
        node = side.node
        for name, held, limit in _holdings(side, self._wire.now):
            if held > limit:
                raise Violation(f"{held} {name}, of {limit} at the most")
        indices = 0
        for each in node.links:
            indices += len(each._slots) + len(each._dialling)
            for slot in each._slots:
                held = sum(map(len, slot.sent._packets.values()))
                if held != slot.sent._bytes:
                    raise Violation("the bytes sent are counted wrongly")
            video = each._inbox._video
            held = sum(
                sum(map(len, frame.chunks.values()))
                if frame.chunks is not None
                else len(frame.video.data)
                for frame in video._frames.values()
                if frame.chunks is not None or frame.video is not None
            )
            if held != video.bytesHeld:
                raise Violation("the bytes of pictures are counted wrongly")
        if len(node._indices) != indices:
            raise Violation(f"{len(node._indices)} indices for {indices} uses")

    @property
    def disagreement(self) -> str:
        """
        Whether the two sides send under different keys, in words; empty if not.
        """
        wire = self._wire
        a = wire.a.linkTo(wire.b)._slots.current
        b = wire.b.linkTo(wire.a)._slots.current
        if a is None or b is None:
            return "there is no session"
        indices = a.session.localIndex, a.session.remoteIndex
        if indices != (b.session.remoteIndex, b.session.localIndex):
            return "the two sides send under different keys"
        return ""


def _holdings(side: Side, now: float) -> Iterator[tuple[str, float, float]]:
    """
    What a side holds: name, how much, and how much it may be.
    """
    node = side.node
    yield "links", len(node), 1
    yield "peers remembered", len(node._fresh), 1
    for fresh in node._fresh.values():
        yield "ephemerals", len(fresh.ephemerals), constants.REMEMBERED_EPHEMERALS
    for each in node.links:
        slots, inbox = each._slots, each._inbox
        yield "half-open sessions", slots.halfOpen, constants.MAX_OUTSTANDING_INITS
        yield "sessions", len(slots) - slots.halfOpen, 2
        yield "INITs", len(each._dialling), constants.MAX_OUTSTANDING_INITS
        states = list(each._paths)
        validated = sum(state.validated for state in states)
        yield "validated paths", validated, constants.MAX_VALIDATED_PATHS
        others = len(states) - validated
        yield "paths not validated", others, constants.MAX_UNVALIDATED_PATHS
        yield "known paths", len(each._routing._known), constants.MAX_KNOWN_PATHS
        datagrams = [path for path in each._redial if path.transport == Transport.UDP]
        yield "paths to dial", len(datagrams), constants.MAX_KNOWN_PATHS
        for state in states:
            if not (state.validated or state.ours):
                limit = constants.AMPLIFICATION * state.received
                yield "bytes to who knows whom", state.sent, limit
        if slots.previous is not None:
            left = slots.previous.deadAt - now
            yield "s to live with old keys", left, constants.PREVIOUS_KEY_LIFE
        yield "PINGs", len(inbox._pings), constants.MAX_OWED_ANSWERS
        yield "challenges", len(inbox._challenges), constants.MAX_OWED_ANSWERS
        for channel in (inbox._inputOut, inbox._controlOut):
            yield "messages", len(channel), constants.MAX_UNACKNOWLEDGED
        for arriving in (inbox._inputIn, inbox._controlIn):
            yield "early messages", len(arriving._early), constants.CHANNEL_WINDOW
        video = inbox._video
        yield "incomplete frames", video._partial, constants.MAX_PARTIAL_FRAMES
        yield "frames", len(video._frames), constants.MAX_WAITING_FRAMES
        yield "bytes of frames", video.bytesHeld, constants.MAX_REASSEMBLY_BYTES
        for slot in slots:
            yield "bytes sent", slot.sent._bytes, constants.MAX_SENT_BYTES
