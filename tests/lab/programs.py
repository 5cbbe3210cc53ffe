"""
The programs of RootStream on the two machines of a laboratory network.

They are judged by what they leave outside: the events files, and the video that
comes out of the viewer's standard output, with the time that each access unit came.
All times are those of the ``mono`` field of events: seconds since boot, one clock
for all network namespaces.
"""

from __future__ import annotations

import subprocess
import threading
from typing import IO, Any

from rootstream.identity import Identity, formatCode
from rootstream.transport.clock import boottime
from tests.integration.programs import PATIENCE, Program, ProgramTestCase
from tests.lab.net import openNetwork

__all__ = ["FPS", "PORT", "LabTestCase", "Pictures"]

PORT = 9876

#: Small, so that an encoder and a decoder fit in two processors beside the rest.
SIZE = "320x180"
FPS = 30

#: Of MPEG-TS (ISO/IEC 13818-1, 2.4.3.2): size and first byte of a packet.
TS_PACKET = 188
TS_SYNC = 0x47
#: Where libavformat puts the first stream of a programme: the video.
VIDEO_PID = 0x100


class Pictures:
    """
    The arrivals of video access units in an MPEG-TS that somebody writes.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._arrivals: list[float] = []
        self._keyFrames: list[float] = []
        self._arrived = threading.Condition()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    @property
    def arrivals(self) -> list[float]:
        """
        When each access unit came.
        """
        with self._arrived:
            return list(self._arrivals)

    def after(
        self, moment: float, patience: float = PATIENCE, *, keyFrame: bool = False
    ) -> float:
        """
        When the first access unit after ``moment`` came, or the first that a decoder
        can begin at.

        :raise AssertionError: if none does within ``patience`` seconds from now.
        """
        arrivals = self._keyFrames if keyFrame else self._arrivals

        def came() -> bool:
            return bool(arrivals) and arrivals[-1] > moment

        with self._arrived:
            if not self._arrived.wait_for(came, patience):
                raise AssertionError(f"no picture within {patience:g} s")
            return next(arrival for arrival in arrivals if arrival > moment)

    def join(self) -> None:
        """
        Wait for the end of the stream, which comes with its writer's.
        """
        self._thread.join()

    def _read(self) -> None:
        while len(packet := self._stream.read(TS_PACKET)) == TS_PACKET:
            assert packet[0] == TS_SYNC
            about = int.from_bytes(packet[1:3], "big")
            # payload_unit_start_indicator: an access unit begins.
            if about & 0x1FFF == VIDEO_PID and about & 0x4000:
                now = boottime()
                with self._arrived:
                    self._arrivals.append(now)
                    if isKeyFrame(packet):
                        self._keyFrames.append(now)
                    self._arrived.notify_all()


def isKeyFrame(packet: bytes) -> bool:
    """
    Whether a TS packet says that what begins in it can be decoded by itself:
    adaptation_field_control, adaptation_field_length, random_access_indicator.
    """
    return bool(packet[3] & 0x20 and packet[4] and packet[5] & 0x40)


class LabTestCase(ProgramTestCase):
    """
    One network, with a host on machine ``a`` and a viewer on ``b``.

    :cvar fps: pictures a second of the test source.
    :cvar nat: whether each is behind a NAT; the host's forwards its port.
    :ivar host: the host's process, once started.
    :ivar watcher: the viewer's process, once started.
    :ivar dialledAt: when the viewer began to dial.
    :ivar pictures: of the viewer.
    """

    fps = FPS
    nat = False

    host: Program
    watcher: Program
    dialledAt: float
    pictures: Pictures

    def setUp(self) -> None:
        """
        Nothing runs yet; there are two identities.
        """
        super().setUp()
        self.network = openNetwork(self, self.nat)
        if self.network.natA is not None:
            self.network.natA.forward(PORT)
        self.router = self.network.router

    def startLabHost(self, *options: str) -> None:
        """
        Start the host and wait until it listens.
        """
        self.host = self.start(
            "host",
            *("--home", str(self.directory / "hosting")),
            *("--port", str(PORT)),
            *("--source", f"test:{SIZE}@{self.fps}"),
            *options,
            launcher=self.network.a.inside([]),
        )
        self.host.waitFor("listening")

    def startWatcher(
        self, *options: str, address: str = "", identity: Identity | None = None
    ) -> None:
        """
        Start the viewer and wait until it dials ``identity`` at ``address``, or
        else the host.
        """
        key = (identity or self.hosting).key
        self.watcher = self.start(
            "connect",
            formatCode(key, address or self.network.a.outside, PORT),
            *("--home", str(self.directory / "viewer")),
            *("--sink", "-"),
            *options,
            stdout=subprocess.PIPE,
            launcher=self.network.b.inside([]),
        )
        assert self.watcher.process.stdout is not None
        self.pictures = Pictures(self.watcher.process.stdout)
        self.addCleanup(self.pictures.join)
        self.addCleanup(self.watcher.process.kill)
        dialled = self.watcher.waitFor("state", to="CONNECTING")
        self.dialledAt = dialled["mono"]

    def stream(self, *options: str, address: str = "") -> float:
        """
        Start both; returns when the first picture came.
        """
        self.startLabHost("--allow", formatCode(self.viewer.key, None))
        self.startWatcher(*options, address=address)
        return self.pictures.after(0.0)

    def stopWatching(self) -> dict[str, Any]:
        """
        Ask the viewer to end; returns its summary, when all pictures are there.
        """
        self.watcher.process.terminate()
        self.assertEqual(self.watcher.exitStatus(), 0, self.watcher.complaints())
        self.pictures.join()
        return self.watcher.waitFor("summary")

    def account(self) -> str:
        """
        All that is known of both processes, for a test that fails.
        """
        lines = [
            str(event)
            for program in (self.host, self.watcher)
            for event in program.events()
            if event["event"] != "stats"
        ]
        lines += [self.host.complaints(), self.watcher.complaints()]
        return "\n".join(lines)
