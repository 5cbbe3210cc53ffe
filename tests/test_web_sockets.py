"""
Tests for `rootstream.web.sockets`, `rootstream.web.stream` and `rootstream.web.server`:
what pages are told, and what they say.
"""

from __future__ import annotations

import json
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from rootstream.protocol.events import AudioFrame, InputEvent, VideoFrame
from rootstream.web.door import CLOSE_TIME, MAX_MESSAGE, MAX_SOCKETS
from rootstream.web.sockets import (
    LOST_AFTER,
    MAX_BEHIND,
    MAX_UNSENT,
    PING_EVERY,
    STUCK_AFTER,
)
from rootstream.web.stream import KEY_FRAME_WAIT
from tests.pages import ORIGIN, UPGRADE, PageTestCase, Wire

#: SPS of Constrained Baseline at level 3.1, PPS, and a slice.
SPS = bytes.fromhex("6742C01F")
KEY = b"\0\0\0\1" + SPS + b"\0\0\0\1\x68\xce\0\0\0\1\x65key"


def key(timestamp: int = 7, data: bytes = KEY) -> VideoFrame:
    """
    A key frame.
    """
    return VideoFrame(data, timestamp, keyFrame=True)


def delta(size: int = 5) -> VideoFrame:
    """
    A frame that needs those before it.
    """
    return VideoFrame(b"\0\0\0\1\x41".ljust(size, b"x"), 8)


class SocketTestCase(PageTestCase):
    """
    A page with its WebSockets.
    """

    def full(self, wire: Wire) -> None:
        """
        The page takes no more.
        """
        assert wire.producer is not None
        wire.producer.pauseProducing()

    def empty(self, wire: Wire) -> None:
        """
        It has taken all.
        """
        assert wire.producer is not None
        wire.producer.resumeProducing()


class EventsTests(SocketTestCase):
    """
    Tests for ``/api/events``.
    """

    def test_hello(self) -> None:
        """
        A page is first told what the program is, what it can do and what happened.
        """
        entry = self.program.events.write("network", cause="a cable")
        self.program.events.write("stats", "aaaa", fps=30)
        (hello,) = self.openSocket("/api/events").takeMessages()
        self.assertEqual(
            hello,
            {
                "type": "hello",
                "role": "demo",
                "version": "1.0",
                "csrf": self.server.csrf,
                "history": [dict(entry)],
                "weather": False,
                "input": True,
                "commands": ["control", "drill", "events", "record", "weather"],
            },
        )

    def test_events(self) -> None:
        """
        Events come at once, but neither measurements nor what somebody types; the
        status comes each second.
        """
        wire = self.openSocket("/api/events")
        wire.takeMessages()
        entry = self.program.events.write("network", cause="a cable")
        self.program.events.write("stats", "aaaa", fps=30)
        self.program.events.write("input", "aaaa", events=[[1, 30, 1]])
        self.assertEqual(wire.takeMessages(), [{**entry, "type": "event"}])
        self.clock.advance(1)
        (status,) = wire.takeMessages()
        self.assertEqual(status["type"], "status")
        self.assertEqual(status["peers"][0]["fingerprint"], "aaaa-bbbb")

    def test_markup(self) -> None:
        """
        What a peer calls itself is JSON and plain ASCII on the way (F92).
        """
        wire = self.openSocket("/api/events")
        wire.takeMessages()
        self.program.events.write("error", text="<script>\u202e\u2028")
        self.assertNotIn("\u202e".encode(), wire.value())
        self.assertEqual(wire.takeMessages()[0]["text"], "<script>\u202e\u2028")

    def test_pageDoesNotRead(self) -> None:
        """
        For a page that does not read nothing is kept; when it does, it is told the
        whole history.
        """
        wire = self.openSocket("/api/events")
        wire.takeMessages()
        self.full(wire)
        for _ in range(1000):
            self.program.events.write("network", cause="a cable")
        self.clock.advance(1)
        self.assertEqual(wire.value(), b"")
        self.empty(wire)
        (hello,) = wire.takeMessages()
        self.assertEqual(len(hello["history"]), 500)
        self.full(wire)
        self.empty(wire)
        self.assertEqual(wire.takeMessages(), [])

    def test_pageIsStuck(self) -> None:
        """
        A page that takes nothing for long is given up.
        """
        wire = self.openSocket("/api/events")
        self.full(wire)
        self.clock.pump([1] * int(STUCK_AFTER))
        self.assertFalse(wire.lost)
        self.clock.pump([1] * 2)
        self.assertTrue(wire.lost)

    def test_pageIsGone(self) -> None:
        """
        A page that answers no ping is given up; one that does is kept.
        """
        there, gone = (self.openSocket("/api/events") for _ in range(2))
        for _ in range(int(LOST_AFTER) + 1):
            self.clock.advance(1)
            for message in there.takeMessages():
                if isinstance(message, Ping):
                    there.sendMessage(message.response())
        pings = [m for m in gone.takeMessages() if isinstance(m, Ping)]
        self.assertEqual(len(pings), int(LOST_AFTER / PING_EVERY))
        self.assertTrue(gone.lost)
        self.assertFalse(there.lost)

    def test_pageTalks(self) -> None:
        """
        A page has nothing to say here.
        """
        wire = self.openSocket("/api/events")
        wire.takeMessages()
        wire.say({"type": "keyframe"})
        self.assertEqual(wire.takeMessages(), [1008])
        self.assertTrue(wire.lost)

    def test_leaves(self) -> None:
        """
        A page that left is forgotten.
        """
        wire = self.openSocket("/api/events")
        wire.hangUp()
        self.program.events.write("network", cause="a cable")
        self.clock.advance(60)
        self.assertIn(b"rootstream_pages 0.0", self.ask("/metrics")[2])

    def test_many(self) -> None:
        """
        There is room for a hundred pages with both their sockets, and an end to it; a
        page that closes makes room.
        """
        wires = [self.openSocket("/api/events") for _ in range(MAX_SOCKETS)]
        self.assertGreaterEqual(MAX_SOCKETS, 200)
        status, _, body = self.ask("/api/events", Origin=ORIGIN, **UPGRADE)
        self.assertEqual(status, 503)
        self.assertIn(b"close some", body)
        wires[0].hangUp()
        wires[0] = self.openSocket("/api/events")
        self.program.events.write("network", cause="a cable")
        for wire in wires:
            self.assertEqual(wire.takeMessages()[-1]["type"], "event")


class KeptTests(SocketTestCase):
    """
    Tests for a page that outlives the program.
    """

    def home(self) -> Path:
        self.where = Path(self.mktemp())
        return self.where

    def test_restart(self) -> None:
        """
        The next program of the same home knows the page's cookie.
        """
        cookie, csrf = self.cookie, self.server.csrf
        self.server.close()
        self.clock.advance(0)
        self.clock.tcpServers.clear()
        self.program = type(self.program)()
        self.server = type(self.server)(
            self.clock, self.program, self.server.address, self.where
        )
        self.server.open()
        self.assertEqual(self.ask("/", Cookie=cookie)[0], 200)
        self.assertEqual(self.server.csrf, csrf)


class HostTests(SocketTestCase):
    """
    Tests for the page of a host.
    """

    role = "host"

    def test_noStream(self) -> None:
        """
        A host shows nothing here.
        """
        status, _, _ = self.ask("/api/stream", Origin=ORIGIN, **UPGRADE)
        self.assertEqual(status, 404)


class StreamTests(SocketTestCase):
    """
    Tests for ``/api/stream``.
    """

    def watch(self) -> Wire:
        """
        A page that shows the stream.
        """
        return self.openSocket("/api/stream")

    def watching(self) -> Wire:
        """
        One that has begun.
        """
        wire = self.watch()
        self.program.tee.video(key())
        self.assertEqual(len(wire.takeMessages()), 2)
        return wire

    def test_frames(self) -> None:
        """
        From a key frame on, frames come as they are, with their time and their age;
        before it comes the codec.
        """
        wire = self.watch()
        self.assertEqual(self.program.keyFramesWanted, 1)
        tee = self.program.tee
        tee.video(delta())
        tee.audio(AudioFrame(b"o", 9))
        tee.video(key())
        tee.video(delta())
        tee.audio(AudioFrame(b"opus", 9, 48000, 2, 480))
        config, first, second, sound = wire.takeMessages()
        self.assertEqual(config, {"type": "config", "codec": "avc1.42C01F"})
        self.assertEqual(first, struct.pack("<BBQQ", 1, 1, 7, 250_000) + KEY)
        self.assertEqual(second[:18], struct.pack("<BBQQ", 1, 0, 8, 250_000))
        self.assertEqual(
            sound,
            struct.pack("<BBQQIHH", 2, 0, 9, 250_000, 48000, 2, 480) + b"opus",
        )

    def test_unknownAge(self) -> None:
        """
        Before the host's clock is known, a frame's age is not.
        """
        self.program.latencyOf = lambda frame: None  # type: ignore[method-assign]
        wire = self.watch()
        self.program.tee.video(key())
        self.assertEqual(wire.takeMessages()[1][10:18], b"\xff" * 8)

    def test_codecChanges(self) -> None:
        """
        The codec is told again when it is another, and only then.
        """
        wire = self.watching()
        tee = self.program.tee
        tee.video(key())
        tee.video(key(data=KEY.replace(SPS, b"\x67\x64\x00\x28")))
        tee.video(key(data=b"\0\0\0\1\x65no sets"))
        first, config, *rest = wire.takeMessages()
        self.assertIsInstance(first, bytes)
        self.assertEqual(config, {"type": "config", "codec": "avc1.640028"})
        self.assertEqual([type(message) for message in rest], [bytes, bytes])

    def test_secondPage(self) -> None:
        """
        Another page begins at the next key frame, which is asked for; the first goes
        on.
        """
        first = self.watching()
        self.clock.advance(KEY_FRAME_WAIT)
        second = self.watch()
        self.assertEqual(self.program.keyFramesWanted, 2)
        self.program.tee.video(delta())
        self.assertEqual(len(first.takeMessages()), 1)
        self.assertEqual(second.takeMessages(), [])
        self.program.tee.video(key())
        self.assertEqual(len(second.takeMessages()), 2)

    def test_nobodyWatches(self) -> None:
        """
        When the last page has gone, the stream is left alone.
        """
        first, second = self.watching(), self.watch()
        first.hangUp()
        self.assertEqual(len(self.program.tee), 1)
        second.hangUp()
        self.assertEqual(len(self.program.tee), 0)

    def test_slowPage(self) -> None:
        """
        A page a quarter of a second behind loses frames until it has taken all and the
        next key frame comes, which is asked for.
        """
        wire = self.watching()
        tee = self.program.tee
        self.full(wire)
        self.clock.advance(MAX_BEHIND)
        tee.video(delta())
        self.assertEqual(len(wire.takeMessages()), 1)
        self.clock.advance(KEY_FRAME_WAIT)
        tee.audio(AudioFrame(b"opus", 9))
        tee.video(delta())
        tee.audio(AudioFrame(b"opus", 9))
        tee.video(key())
        self.assertEqual(wire.takeMessages(), [])
        self.assertEqual(self.program.keyFramesWanted, 1)
        self.empty(wire)
        self.clock.advance(KEY_FRAME_WAIT)
        tee.video(delta())
        self.assertEqual(wire.takeMessages(), [])
        self.assertEqual(self.program.keyFramesWanted, 2)
        tee.video(key())
        self.assertEqual(len(wire.takeMessages()), 1)

    def test_noQueue(self) -> None:
        """
        However much comes at once, no more than a megabyte waits for a page.
        """
        wire = self.watching()
        self.full(wire)
        for _ in range(100):
            self.program.tee.video(delta(50_000))
        self.assertLess(len(wire.value()), MAX_UNSENT + 60_000)
        self.assertGreater(len(wire.value()), MAX_UNSENT // 2)

    def test_muchBefore(self) -> None:
        """
        What was taken before does not count against a page.
        """
        wire = self.watching()
        for _ in range(50):
            self.program.tee.video(delta(50_000))
        self.full(wire)
        wire.clear()
        self.program.tee.video(delta(50_000))
        self.assertGreater(len(wire.value()), 50_000)
        self.empty(wire)

    def test_impaired(self) -> None:
        """
        The page is told when the host is not heard, and when it is again.
        """
        wire = self.watching()
        for event in ("impaired", "path", "recovered"):
            self.program.events.write(
                event, "aaaa", cause="silent", transport="udp", address="x"
            )
        self.assertEqual(
            wire.takeMessages(), [{"type": "impaired"}, {"type": "recovered"}]
        )

    def test_impairedBefore(self) -> None:
        """
        So is a page that comes later, or that had no room for it.
        """
        early = self.watching()
        self.full(early)
        self.program.events.write("impaired", "aaaa", cause="silent")
        late = self.watch()
        self.assertEqual(late.takeMessages(), [{"type": "impaired"}])
        self.assertEqual(early.takeMessages(), [])
        self.empty(early)
        self.assertEqual(early.takeMessages(), [{"type": "impaired"}])
        states = ("CONNECTED", "DISCONNECTED", "CONNECTED")
        for old, new in pairwise(states):
            self.assertEqual(late.value(), b"")
            self.program.events.write(
                "state", "aaaa", **{"from": old, "to": new, "cause": "x"}
            )
        for wire in (early, late):
            self.assertEqual(wire.takeMessages(), [{"type": "recovered"}])

    def test_input(self) -> None:
        """
        What is pressed in the page goes to the program, once and in order.
        """
        wire = self.watching()
        wire.say({"type": "input", "events": [[1, 30, 1], [2, 0, -5]]})
        wire.say({"type": "input", "events": [[1, 30, 0]]})
        wire.say({"type": "input", "events": []})
        self.assertEqual(
            self.program.inputs,
            [
                [InputEvent(1, 30, 1), InputEvent(2, 0, -5)],
                [InputEvent(1, 30, 0)],
                [],
            ],
        )
        self.assertFalse(wire.lost)

    def test_closedPage(self) -> None:
        """
        When a page is gone that sent input, all that is held is let go of; one that
        only watched changes nothing.
        """
        self.watching().hangUp()
        self.assertEqual(self.program.released, 0)
        wire = self.watching()
        wire.say({"type": "input", "events": [[1, 30, 1]]})
        wire.hangUp()
        self.assertEqual(self.program.released, 1)

    def test_keyFrame(self) -> None:
        """
        A page may ask for a key frame, but not for many; how it does is heard.
        """
        wire = self.watching()
        for _ in range(5):
            wire.say({"type": "keyframe"})
        self.assertEqual(self.program.keyFramesWanted, 1)
        self.clock.advance(KEY_FRAME_WAIT)
        for _ in range(5):
            wire.say({"type": "keyframe"})
        self.assertEqual(self.program.keyFramesWanted, 2)
        wire.say({"type": "shown", "fps": 30, "latency_ms": None, "dropped": 0})
        self.assertFalse(wire.lost)

    def test_junk(self) -> None:
        """
        A page that says anything else is closed with 1008, and the stream goes on.
        """
        other = self.watching()
        wrong: list[Any] = [
            [],
            1,
            None,
            {},
            {"type": "what"},
            {"type": "input"},
            {"type": "input", "events": 1},
            {"type": "input", "events": [[1, 30, 1]] * 65},
        ]
        for part in (1, [1, 2], [1, 2, 3, 4], [1, 2, True], [1, 2, 0.5], ["1", 2, 3]):
            wrong.append({"type": "input", "events": [part]})
        for kind, value in ((-1, 0), (1 << 16, 0), (1, 1 << 31), (1, -(1 << 31) - 1)):
            wrong.append({"type": "input", "events": [[kind, 1, value]]})
        messages = [TextMessage(json.dumps(message)) for message in wrong]
        for message in (
            *messages,
            TextMessage("{"),
            TextMessage("[" * 60000),
            BytesMessage(b"\0"),
        ):
            with self.subTest(str(message.data)[:40]):
                wire = self.watch()
                wire.sendMessage(message)
                self.assertEqual(wire.takeMessages(), [1008])
                self.clock.advance(0)
        self.assertEqual(self.program.inputs, [])
        self.program.tee.video(delta())
        self.assertEqual(len(other.takeMessages()), 1)

    def test_rawJunk(self) -> None:
        """
        Bytes that are no WebSocket end the connection, and nothing is logged.
        """
        other = self.watching()
        for junk in (b"\xff" * 100, b"\x81\x05hello", b"\x81\xff" + b"\xff" * 12):
            wire = self.watch()
            wire.send(junk)
            wire.send(junk)
            self.assertTrue(wire.lost)
            self.clock.advance(0)
        self.program.tee.video(delta())
        self.assertEqual(len(other.takeMessages()), 1)

    def test_faultOfOurs(self) -> None:
        """
        A fault of ours ends that connection, and is logged; the stream goes on.
        """
        other, wire = self.watching(), self.watch()

        def wrong(events: object) -> None:
            raise ZeroDivisionError

        self.program.sendInput = wrong  # type: ignore[method-assign]
        wire.say({"type": "input", "events": []})
        self.assertTrue(wire.lost)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.program.tee.video(delta())
        self.assertEqual(len(other.takeMessages()), 1)

    def test_afterTheClose(self) -> None:
        """
        What comes after a page's own close is nobody's business.
        """
        wire = self.watching()
        wire.loseConnection = lambda: None  # type: ignore[method-assign]
        wire.sendMessage(CloseConnection(1000))
        wire.send(b"\x81\x80\0\0\0\0")
        self.assertTrue(wire.lost)

    def test_connectionEnds(self) -> None:
        """
        Nothing is sent once the connection says that it ends.
        """
        wire = self.watching()
        assert wire.producer is not None
        wire.producer.stopProducing()
        self.program.tee.video(delta())
        self.assertEqual(wire.takeMessages(), [])

    def test_endlessMessage(self) -> None:
        """
        A message that grows and grows, whole or in parts, ends the connection at 64
        KiB; many short ones do not.
        """
        for finished in (True, False):
            wire = self.watch()
            for _ in range(MAX_MESSAGE // 1000):
                wire.sendMessage(TextMessage("x" * 999, message_finished=False))
            self.assertFalse(wire.lost)
            wire.sendMessage(TextMessage("x" * 1999, message_finished=finished))
            self.assertTrue(wire.lost)
            self.clock.advance(0)
        wire = self.watch()
        for _ in range(3000):
            wire.say({"type": "shown", "fps": 30})
        self.assertFalse(wire.lost)

    def test_closeThatHangs(self) -> None:
        """
        Whoever does not take the end of it is not waited for.
        """
        wire = self.watching()
        wire.loseConnection = lambda: None  # type: ignore[method-assign]
        wire.say({})
        self.assertFalse(wire.lost)
        self.program.tee.video(delta())
        self.assertEqual(wire.takeMessages(), [1008])
        self.clock.advance(CLOSE_TIME)
        self.assertTrue(wire.lost)
