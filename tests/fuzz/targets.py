"""
What is fuzzed: a function for each reader of bytes that others wrote.

A target feeds what really reads, and lets pass what that may raise.  Whatever else
comes of it is a finding: another exception, a failure in the log, an answer that is
longer than it may be, or something that was taken and should not have been.

The first byte of an input mostly says how it is meant, since luck finds neither the
right MACs nor keys.  An input always does the same: all chance comes from seeds.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random
from struct import pack
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from wsproto.events import BytesMessage, TextMessage

from rootstream.authorized import AuthorizedPeers, parseLine
from rootstream.control import MAX_LINE, Asker
from rootstream.errors import BadCode, BadPacket, BadPeersFile, LocalError, WrongPhrase
from rootstream.eventlog import EventLog
from rootstream.identity import MAX_NAME, cleanName, formatCode, parseCode
from rootstream.interfaces import Transport
from rootstream.orders import orderPeers
from rootstream.peersfile import PeersFile, _spell
from rootstream.protocol import frames
from rootstream.protocol.constants import (
    MAX_FRAME_COUNT,
    MAX_FRAMES,
    MAX_OWED_ANSWERS,
    MAX_PACKET,
    MAX_PAIRING,
    MAX_REASSEMBLY_BYTES,
    MIN_RECORD,
    RESP_SIZE,
    TYPE_DATA,
    TYPE_INIT,
    TYPE_RESP,
    TYPE_RETRY,
)
from rootstream.protocol.cookies import CookieJar
from rootstream.protocol.events import (
    AudioReceived,
    ControlReceived,
    Event,
    InputReceived,
    PairingReceived,
)
from rootstream.protocol.handshake import Invitation, cookieKey, mac1Key, prologue
from rootstream.protocol.inbox import Heard, Inbox
from rootstream.protocol.noise import HandshakeState, keyedMac
from rootstream.protocol.pairing import HostPairing, ViewerPairing
from rootstream.protocol.recovery import SentPackets
from rootstream.protocol.spake2 import scalarOf
from rootstream.rehearsal import drillPeers
from rootstream.transport.tcp import PacketStream
from rootstream.weather import parseChange, parseScript
from tests.doubles import RecordingSink
from tests.forgery import RESP_MAC1, remac
from tests.pages import PageTestCase
from tests.virtual import identity
from tests.wire import Side, Wire, WirePath
from tests.witness import Witness

__all__ = ["TARGETS", "Finding", "Target", "join", "split"]

Target = Callable[[bytes], None]

#: Parts of one input at most, and bytes of a line that a user is told.
MAX_PARTS: Final = 64
MAX_TOLD: Final = 1000

VIEWER, HOST = identity(1), identity(2)
SECRET: Final = scalarOf(b"\7" * 64)
BINDING: Final = b"this session"


class Finding(AssertionError):
    """
    Nothing was raised, and still it is wrong.
    """


def _hold(condition: bool, words: str) -> None:
    if not condition:
        raise Finding(words)


def split(data: bytes) -> Iterator[bytes]:
    """
    The parts of an input: each behind its length, cut short at the end.
    """
    offset = 0
    for _ in range(MAX_PARTS):
        if offset >= len(data):
            return
        size = int.from_bytes(data[offset : offset + 2], "little")
        yield data[offset + 2 : offset + 2 + size]
        offset += 2 + size


def join(*parts: bytes) -> bytes:
    """
    The inverse of `split`.
    """
    return b"".join(pack("<H", len(part)) + part for part in parts)


def _how(data: bytes) -> tuple[int, bytes]:
    return (data[0] if data else 0), data[1:]


@contextmanager
def _noFailures() -> Iterator[None]:
    """
    Nothing may be noted as a failure of ours meanwhile.
    """
    failures: list[Failure] = []

    def see(event: LogEvent) -> None:
        if "log_failure" in event:
            failures.append(event["log_failure"])

    globalLogPublisher.addObserver(see)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(see)
    for failure in failures:
        failure.raiseException()


def _toldWell(text: str) -> None:
    """
    What a user is told is one line, and nothing that a terminal obeys.
    """
    _hold(text.isprintable(), f"told {text!r}")
    _hold(len(text) < MAX_TOLD, "told without end")


# --- packets of strangers ---------------------------------------------------------


def _path(side: Side) -> WirePath:
    return WirePath(Transport.UDP, side.address)


def _bounded(wire: Wire) -> None:
    """
    Nothing holds more than it may.
    """
    witness = Witness(wire)
    for side in (wire.a, wire.b):
        witness.checkBounds(side)


def init(data: bytes) -> None:
    """
    An INIT: any bytes, or with a right mac1, or by one who may come in, with any
    header and payload; and each of them to a host that is busy.
    """
    how, body = _how(data)
    wire = Wire()
    host = wire.b
    packet = body
    if how % 3 == 1:
        packet = remac(body.ljust(160, b"\0"), host.keys.public)
    elif how % 3 == 2:
        header, payload = body[:8].ljust(8, b"\0"), body[8:48].ljust(40, b"\0")
        noise = HandshakeState.initiator(
            prologue(header), wire.a.keys.private, host.keys.public, wire.a.keys.psk
        )
        sealed = noise.writeInit(payload, Random(how).randbytes(32))
        packet = remac(header + sealed, host.keys.public)
    if how & 0x40:
        host.node._load.underLoad = lambda now: True  # type: ignore[method-assign]
    for path in (_path(wire.a), WirePath(Transport.UDP, ("198.51.100.1", 1))):
        said = len(host.sent)
        wire.deliver(host, packet, path)
        answers = [each for _, _, each in host.sent[said:]]
        _hold(sum(map(len, answers)) < max(len(packet), 1), "more out than in")
    _hold(len(host.packets(TYPE_RESP)) <= 1, "a replay was answered")
    wire.run(6)
    _bounded(wire)
    _hold(not host.linkTo(wire.a).established, "a session without a proof")


def resp(data: bytes) -> None:
    """
    A RESP to our INIT: any bytes, or with a right index, or with a right mac1 as well,
    or by whom we dialled, with any payload.
    """
    how, packet = _how(data)
    wire = Wire()
    wire.a.weather.blocked.add(Transport.UDP)
    link = wire.a.dial(wire.b)
    [called] = wire.a.packets(TYPE_INIT)
    start = bytes((TYPE_RESP, 0, 0, 0)) + called[4:8]
    if how % 4:
        packet = start + packet
    if how % 4 == 2:
        packet = packet[:RESP_MAC1].ljust(RESP_MAC1, b"\0")
    elif how % 4 == 3:
        invitation = Invitation(called)
        invitation.openStatic(wire.b.keys.private, wire.b.keys.psk)
        invitation.openPayload()
        payload = packet[8:40].ljust(32, b"\0")
        packet = start + invitation._noise.writeResp(payload, Random(1).randbytes(32))
    if how % 4 > 1:
        packet += keyedMac(mac1Key(wire.a.keys.public), packet)
    wire.deliver(wire.a, packet, _path(wire.b))
    _hold(how % 4 == 3 or not link.established, "a session with somebody else")
    _hold(len(packet) == RESP_SIZE or not link.established, "a RESP of another size")
    wire.deliver(wire.a, packet, _path(wire.b))
    wire.run(2)
    _bounded(wire)


def retry(data: bytes) -> None:
    """
    A RETRY: any bytes, or with a right index, or by whom we dialled, with any cookie.
    """
    how, packet = _how(data)
    wire = Wire()
    wire.a.weather.blocked.add(Transport.UDP)
    link = wire.a.dial(wire.b)
    [called] = wire.a.packets(TYPE_INIT)
    if how % 3 == 1:
        packet = bytes((TYPE_RETRY, 0, 0, 0)) + called[4:8] + packet
    elif how % 3 == 2:
        chance = iter(packet + bytes(200))
        jar = CookieJar(lambda size: bytes(islice(chance, size)))
        key = cookieKey(wire.b.keys.public)
        packet = jar.retry(called, _path(wire.a), wire.now, key)
    for _ in range(3):
        wire.deliver(wire.a, packet, _path(wire.b))
    again = len(wire.a.packets(TYPE_INIT)) - 1
    _hold(again == (how % 3 == 2), f"{again} more INITs")
    wire.run(1)
    _bounded(wire)
    _hold(not link.established, "a session")


# --- what a peer may have written ---------------------------------------------------


def _told(event: Event) -> None:
    """
    What a peer said can be said again: nothing is let in that may not be sent.
    """
    match event:
        case AudioReceived(frame):
            frames.encodeAudio(frame)
        case InputReceived(inputs):
            frames.encodeInput(inputs)
        case ControlReceived(control):
            _hold(
                frames.decodeControl(frames.encodeControl(control)) == control,
                f"{control} changes on the way",
            )
        case PairingReceived(message):
            _hold(0 < len(message) <= MAX_PAIRING, "a PAIRING of no size")


def dataFrames(data: bytes) -> None:
    """
    The frames of packets, one after the other, as if they had just been opened.
    """
    how, body = _how(data)
    inbox = Inbox()
    inbox.restricted = bool(how & 1)
    sent = SentPackets()
    sent.sent(0, [b"sent"] * 40, 1000.0, 1001.0)
    path = WirePath(Transport.UDP, ("192.0.2.1", 1111))
    heard = Heard(-1)
    now = 1000.0
    for counter, part in enumerate(split(body)):
        plain = part[:MAX_FRAMES]
        try:
            parsed = frames.parseFrames(plain)
        except BadPacket:
            parsed = None
        else:
            _hold(len(parsed) <= MAX_FRAME_COUNT, "too many frames")
            held = sum(len(each) for _, each in parsed)
            _hold(held < len(plain), "frames longer than their packet")
        now += 0.01 * (how >> 1)
        try:
            # A packet that came out of order, now and then.
            inbox.take([(counter ^ (how & 2), plain)], heard, path, sent, now)
        except BadPacket:
            break
        _hold(parsed is not None or plain[:1] == b"\2", "frames that do not parse")
        if heard.close is not None:
            text = heard.close.text
            _hold(frames.cleanText(text) == text, f"goodbye {text!r}")
            break
    heard.events.extend(inbox.timerFired(now + 1))
    for event in heard.events:
        _told(event)
    _hold(inbox._video.bytesHeld <= MAX_REASSEMBLY_BYTES, "pictures without end")
    owed = inbox.takePongs(now) + [each for _, each in inbox.takeChallenges()]
    _hold(len(owed) <= 2 * MAX_OWED_ANSWERS, "answers without end")
    for each in inbox.messagesDue(0.2, now):
        _hold(len(each) <= MAX_FRAMES, "messages that fit no packet")


def data(data: bytes) -> None:
    """
    DATA to a session: any bytes, or with the header of a real packet, or sealed by the
    peer with anything in it.
    """
    how, body = _how(data)
    wire = Wire()
    link = wire.connect()[1]
    paths = _path(wire.a), WirePath(Transport.UDP, ("198.51.100.1", 1))
    if how & 1:
        link.restrict()
    heard, authentic = wire.b.session(wire.a).bytesReceived, 0
    for part in split(body):
        kind, rest = _how(part)
        path = paths[kind >> 2 & 1]
        if kind % 4 == 0:
            wire.deliver(wire.b, rest, path)
        elif kind % 4 == 1:
            index = wire.a.session(wire.b).remoteIndex
            packet = pack("<BI", TYPE_DATA, index) + rest
            wire.deliver(wire.b, packet, path)
        elif wire.a.linkTo(wire.b).established:
            session = wire.a.session(wire.b)
            packet = session.seal(rest[:MAX_FRAMES])
            authentic += 1
            for _ in range(kind % 4 - 1):
                wire.deliver(wire.b, packet, path)
        if kind & 8:
            wire.run(0.06)
        if link.finished or not wire.a.linkTo(wire.b).established:
            break
        _bounded(wire)
    if not link.finished and not authentic:
        # Beside what the two say by themselves, nothing was opened.
        _hold(not link.drained or link.established, "junk ended a session")
        _hold(wire.b.session(wire.a).bytesReceived >= heard, "a session lost count")
        _hold(link.status().path == paths[0], "junk moved a session")
    for event in wire.b.events:
        _told(event)
    wire.run(1)


# --- streams, files and pages -------------------------------------------------------


def tcp(data: bytes) -> None:
    """
    Records of a TCP connection, in pieces of any size.
    """
    size, body = _how(data)
    sink, transport = RecordingSink(), _Aborted()
    stream = PacketStream(sink)
    stream.makeConnection(transport)
    step = size or len(body) or 1
    for start in range(0, len(body), step):
        stream.dataReceived(body[start : start + step])
        _hold(len(stream._partial) < 2 + MAX_PACKET, "a packet without end")
    expected, wrong = _records(body)
    _hold(sink.packets == expected, "other packets than were sent")
    _hold(transport.aborted == wrong, "a wrong length, and no end of it")


class _Aborted(StringTransport):
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


def _records(body: bytes) -> tuple[list[bytes], bool]:
    """
    The packets in ``body``, and whether it goes wrong, said as simply as can be.
    """
    packets = []
    while len(body) >= 2:
        length = int.from_bytes(body[:2], "big")
        if not MIN_RECORD <= length <= MAX_PACKET:
            return packets, True
        if len(body) < 2 + length:
            break
        packets.append(body[2 : 2 + length])
        body = body[2 + length :]
    return packets, False


def code(data: bytes) -> None:
    """
    What a user gives as a code: an argument, which may hold bytes that are no text.
    The names of devices are cleaned beside.
    """
    text = data.decode("utf-8", "surrogateescape")
    for requireHost in (True, False):
        try:
            parsed = parseCode(text, requireHost)
        except BadCode as error:
            _toldWell(str(error))
            continue
        again = parseCode(formatCode(parsed.key, parsed.host, parsed.port), requireHost)
        _hold(again == parsed, "a code that changes when it is written")
    name = cleanName(text)
    _hold(len(name.encode()) <= MAX_NAME, "a name without end")
    _hold(cleanName(name) == name, "a name that is not clean")
    said = frames.cleanText(text)
    _hold(frames.cleanText(said) == said and said.isprintable(), f"said {said!r}")


@cache
def _directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="rootstream-fuzz-")


def peers(data: bytes) -> None:
    """
    A peers file, read by a host and by the command that edits it.
    """
    path = Path(_directory().name, "peers")
    path.write_bytes(data)
    path.chmod(0o600)
    listed = None
    with suppress(BadPeersFile):
        listed = AuthorizedPeers(path, (), False).listed()
    try:
        lines = PeersFile(path).listed()
    except LocalError as error:
        _toldWell(str(error))
        return
    if listed is not None:
        may = [line.code.key.x25519 for line in lines if line.rights]
        _hold(may == [peer.x25519 for peer in listed], "two readers, two lists")
    for line in lines:
        _hold(cleanName(line.name) == line.name, f"a name {line.name!r}")
        again = parseLine(_spell(line.word, line.rights, line.name))
        _hold(
            again is not None
            and (again.code, again.rights) == (line.code, line.rights),
            "a line that changes when it is written",
        )


class _Peer:
    """
    A peer that can be asked for something.
    """

    fingerprint = "aaaa-bbbb-cccc-dddd"
    name = "den"
    connected = True

    def drill(self, seconds: float) -> Deferred[Any]:
        raise LocalError("not now")


def _commands() -> Mapping[str, Callable[[Mapping[str, Any]], Deferred[Any]]]:
    """
    The commands that read what they are asked, as the programs have them.
    """
    there: list[Any] = [_Peer()]
    events = EventLog(None, wallClock=lambda: 0.0, now=lambda: 0.0)

    def weather(asked: Mapping[str, Any]) -> Deferred[Any]:
        text = asked.get("text")
        if not isinstance(text, str):
            raise LocalError('"text" is the weather that there is to be')
        with suppress(LocalError):
            parseScript(text)
        return succeed({"weather": str(parseChange(text))})

    return {
        "control": lambda asked: orderPeers(there, asked, lambda *ordered: None),
        "drill": lambda asked: drillPeers((), asked, events),
        "weather": weather,
    }


def control(data: bytes) -> None:
    """
    Lines to the control socket, in pieces of any size.
    """
    size, body = _how(data)
    clock, transport = Clock(), _Aborted()
    asker = Asker(clock, _commands(), lambda asker: None)
    with _noFailures():
        asker.makeConnection(transport)
        step = size or len(body) or 1
        for start in range(0, len(body), step):
            if not transport.disconnecting:
                asker.dataReceived(body[start : start + step])
        asker.connectionLost(Failure(ConnectionDone()))
    _hold(not clock.getDelayedCalls(), "a timer is left")
    answers = transport.value().splitlines()
    _hold(len(answers) <= body.count(b"\n") + 1, "more answers than questions")
    for answer in answers:
        _hold(isinstance(json.loads(answer), dict), "an answer that is no object")
        _hold(answer.isascii() and len(answer) <= MAX_LINE, "an answer of no use")


class _Page(PageTestCase):
    """
    A page that is served; as a test case it has no tests.
    """

    def runTest(self) -> None:
        raise AssertionError("not for running")


def websocket(data: bytes) -> None:
    """
    What a page says: text, bytes or anything on the socket of its stream or of the
    events, or a request for a command.
    """
    how, body = _how(data)
    page = _Page()
    with _noFailures():
        page.setUp()
        # Some of those that it has fail on purpose.
        page.server._commands.clear()
        page.server._commands.update(_commands())
        if how % 8 == 5:
            page.connect().send(page.request("/api/control", "POST", body))
        elif how % 8 == 6:
            page.connect().send(body)
        else:
            wire = page.openSocket("/api/stream" if how & 8 else "/api/events")
            for part in split(body):
                match how % 8:
                    case 0 | 1 | 2:
                        wire.sendMessage(TextMessage(part.decode("utf-8", "replace")))
                    case 3:
                        wire.sendMessage(BytesMessage(part))
                    case _:
                        wire.send(part)
            page.clock.advance(1)
        for wire in page.wires:
            _hold(len(wire.value()) < 1 << 16, "an answer without end")
            wire.hangUp()
        page.server.close()
    for inputs in page.program.inputs:
        frames.encodeInput(inputs) if inputs else None
    page.clock.advance(60)
    _hold(not page.clock.getDelayedCalls(), "a timer is left")


def pairing(data: bytes) -> None:
    """
    Messages to a host that pairs, or to a viewer, before or after a right beginning.
    """
    how, body = _how(data)
    random = Random(1).randbytes
    binding = BINDING if how & 4 else b"another session"
    viewer = ViewerPairing(SECRET, VIEWER.key, "laptop", HOST.key, BINDING, random)
    host = HostPairing(SECRET, HOST.key, VIEWER.key.x25519, binding, random)
    begun = how & 2
    answer = host.receive(viewer.message or b"") if begun else None
    if begun and how & 4:
        viewer.receive(answer or b"")
    for part in split(body):
        try:
            message = frames.decodePairing(part)
            if how & 1:
                viewer.receive(message)
                said = viewer.message
            else:
                said = host.receive(message)
                if host.guest is not None:
                    said = host.welcome(HOST.name)
        except (BadPacket, WrongPhrase) as error:
            _toldWell(str(error))
            break
        _hold(said is None or 0 < len(said) <= MAX_PAIRING, "an answer of no size")
    for name in (viewer.host, host.guest and host.guest.name):
        _hold(name is None or cleanName(name) == name, f"a name {name!r}")
    if host.guest is not None:
        _hold(host.guest.key == VIEWER.key, "somebody else was let in")


#: By name, each with a corpus of that name.
TARGETS: Final[Mapping[str, Target]] = {
    "init": init,
    "resp": resp,
    "retry": retry,
    "frames": dataFrames,
    "data": data,
    "tcp": tcp,
    "code": code,
    "peers": peers,
    "control": control,
    "websocket": websocket,
    "pairing": pairing,
}
