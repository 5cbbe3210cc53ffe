"""
Tests for a session that the network leaves and comes back to (F53).
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rootstream.interfaces import Transport
from rootstream.protocol.constants import TYPE_INIT
from rootstream.protocol.events import SessionEstablished, VideoFrame
from rootstream.protocol.link import Link
from tests.wire import Wire

#: Seconds between two frames.
INTERVAL = 1 / 30

#: Seconds of silence after which ``a`` looks for a new session, and more.
LONG = 3.0

#: Seconds between two INITs while it does.
PERIOD = 0.25


class CutTests(SynchronousTestCase):
    """
    ``a`` dialled ``b``, which sends it video, and nothing gets through for a while.
    """

    def setUp(self) -> None:
        """
        Nothing is sent yet.
        """
        self.wire = Wire()
        self.frames = 0

    def send(self, link: Link) -> None:
        """
        Let ``b`` send one frame, which refers to no other.
        """
        self.frames += 1
        link.send(VideoFrame(bytes(99), self.frames, True), self.wire.now)
        self.wire.pump(self.wire.b)

    def stream(self, link: Link, seconds: float) -> None:
        """
        Let ``b`` send video for a while.
        """
        end = self.wire.now + seconds
        while self.wire.now < end:
            self.send(link)
            self.wire.run(INTERVAL)

    def block(self, *transports: Transport) -> None:
        """
        Let nothing through, or let everything through again.
        """
        for side in (self.wire.a, self.wire.b):
            side.weather.blocked = set(transports)

    def test_sameSession(self) -> None:
        """
        However soon an INIT follows the return of the network, and the next frame
        that INIT, the session stays the one that both have.
        """
        for step in range(25):
            self.wire = Wire()
            a, b = self.wire.connect()
            self.stream(b, 1.0)
            self.block(Transport.UDP)
            self.stream(b, LONG + step * PERIOD / 25)
            self.send(b)
            self.block()
            inits = len(self.wire.a.packets(TYPE_INIT))
            self.assertGreater(inits, 2, "it looked for a new session")
            shown = len(self.wire.a.frames)
            self.wire.run(INTERVAL)
            self.stream(b, 1.0)
            self.assertGreater(len(self.wire.a.frames), shown + 20)
            for side in (self.wire.a, self.wire.b):
                self.assertEqual(len(side.eventsOf(SessionEstablished)), 1, step)
