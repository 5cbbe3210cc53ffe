"""
Tests for a session that the network leaves and comes back to (F53).
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rootstream.interfaces import Transport
from rootstream.protocol.constants import INIT_INTERVAL, TYPE_INIT, TYPE_RESP
from rootstream.protocol.events import SessionEstablished, VideoFrame
from tests.wire import Wire

#: Seconds between two frames.
FRAME = 1 / 30


class CutTests(SynchronousTestCase):
    """
    ``a`` dialled ``b``, which sends it video, and nothing gets through for a while.
    """

    def setUp(self) -> None:
        """
        The session is there.
        """
        self.wire = Wire()
        self.a, self.b = self.wire.connect()
        self.frames = 0

    def stream(self, seconds: float) -> None:
        """
        Let ``b`` send video for a while.
        """
        for _ in range(round(seconds / FRAME)):
            self.frames += 1
            # As from a source that was asked for a key frame.
            self.b.send(VideoFrame(bytes(99), self.frames, True), self.wire.now)
            self.wire.pump(self.wire.b)
            self.wire.run(FRAME)

    def block(self, *transports: Transport) -> None:
        """
        Let these transports carry nothing.
        """
        for side in (self.wire.a, self.wire.b):
            side.weather.blocked = set(transports)

    def inits(self) -> int:
        """
        How many INITs ``a`` has sent.
        """
        return len(self.wire.a.packets(TYPE_INIT))

    def returnBefore(self, skipped: int) -> None:
        """
        Let the network return just before an INIT, after some more that were lost.
        """
        self.stream(1.0)
        self.block(Transport.UDP)
        self.stream(3.0)
        before = self.inits()
        self.assertGreater(before, 2, "it looks for a new session")
        while self.inits() <= before + skipped:
            self.wire.run(0.001)
        self.wire.run(INIT_INTERVAL - 0.002)
        self.block()

    def test_initComesFirst(self) -> None:
        """
        If the first packet that gets through again is an INIT, the session is still
        the one that both have: what ``b`` sends on it arrives before the RESP.
        """
        # Some of the INITs leave together with a PING.
        for skipped in range(4):
            self.setUp()
            self.returnBefore(skipped)
            self.wire.run(0.1)
            self.assertEqual(len(self.wire.b.packets(TYPE_RESP)), 2)
            shown = len(self.wire.a.frames)
            self.stream(1.0)
            self.assertGreater(len(self.wire.a.frames), shown + 20)
            for side in (self.wire.a, self.wire.b):
                self.assertEqual(len(side.eventsOf(SessionEstablished)), 1)
