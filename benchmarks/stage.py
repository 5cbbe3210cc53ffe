"""
One host and one viewer of the real programs, on a laboratory network, for measuring.

They are judged from outside: by the events files, and by when pictures come out of the
viewer's standard output.  A wait that lasts too long is an `AssertionError`, as in the
tests whose parts this uses.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.figures import longestGap
from rootstream.identity import formatCode, loadOrCreateIdentity
from rootstream.transport.clock import boottime
from tests.integration.programs import PATIENCE, Program, waitUntil
from tests.lab.net import Network
from tests.lab.programs import PORT, Pictures

__all__ = ["INTERVAL", "ROUND_TRIP", "Stage"]

FPS = 60
#: Small, so that two processors are not what is measured.
SOURCE = f"test:320x180@{FPS}"
INTERVAL = 1 / FPS
#: Of the network, as long as nothing happens.
ROUND_TRIP = 0.02

#: Sends back what it gets, at the discard port, which nothing else uses.
ECHO = """
import socket
with socket.socket(type=socket.SOCK_DGRAM) as port:
    port.bind(("", 9))
    print(flush=True)
    while True:
        port.sendto(*port.recvfrom(100))
"""
#: Shows how long that takes.  The first datagram has to find its neighbours.
ASK = """
import socket, sys, time
with socket.socket(type=socket.SOCK_DGRAM) as port:
    port.settimeout(5.0)
    for _ in range(2):
        began = time.perf_counter()
        port.sendto(bytes(100), (sys.argv[1], 9))
        port.recv(100)
        took = time.perf_counter() - began
print(took)
"""

#: The stream is undisturbed when it was for so many seconds.
QUIET = 1.0
#: Nor is it when a gap was longer; a busy machine makes some of a few hundredths.
QUIET_GAP = 0.1


class Stage:
    """
    A network with a host on machine ``a``, and a viewer on ``b`` from the first
    `dial` or `settle` on.  A context manager: what it left is gone after it.

    :ivar lost: frames that the viewers, as far as they have hung up, gave up.
    :ivar disconnected: how often they came to DISCONNECTED.
    """

    def __init__(
        self, host: Sequence[str] = (), viewer: Sequence[str] = (), nat: bool = False
    ) -> None:
        """
        :param host: more options of the host.
        :param viewer: more options of the viewer.
        :param nat: whether each machine is behind a NAT.
        """
        self.network = Network(nat=nat)
        self.router = self.network.router
        self.lost = 0
        self.disconnected = 0
        self._hostOptions = host
        self._viewerOptions = viewer
        self._started = 0
        self._host: Program | None = None
        self._viewer: Program | None = None
        self._pictures: Pictures | None = None

    def __enter__(self) -> Stage:
        self._directory = Path(tempfile.mkdtemp(prefix="rootstream-"))
        try:
            self._hosting = loadOrCreateIdentity(self._directory / "hosting")
            self._watching = loadOrCreateIdentity(self._directory / "watching")
            self.network.open()
            self.network.emulate(delay=ROUND_TRIP / 2)
            self._address = self.network.a.address
            if self.network.natA is not None:
                self.network.natA.forward(PORT)
                self._address = self.network.natA.address
            self.startHost()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """
        End the programs and take the network away.
        """
        self._endViewer()
        if self._host is not None:
            self._host.kill()
        self.network.close()
        shutil.rmtree(self._directory)

    # --- the programs ---

    @property
    def host(self) -> Program:
        assert self._host is not None
        return self._host

    @property
    def viewer(self) -> Program:
        assert self._viewer is not None, "nobody watches"
        return self._viewer

    @property
    def pictures(self) -> Pictures:
        assert self._pictures is not None, "nobody watches"
        return self._pictures

    def startHost(self) -> float:
        """
        Start the host, again after `killHost`; returns when it listened.
        """
        self._host = Program(
            self._newDirectory("host"),
            [
                "host",
                *("--home", str(self._directory / "hosting")),
                *("--port", str(PORT)),
                *("--source", SOURCE),
                *("--allow", formatCode(self._watching.key, None)),
                *self._hostOptions,
            ],
            launcher=self.network.a.inside([]),
        )
        listening: float = self._host.waitFor("listening")["mono"]
        return listening

    def killHost(self) -> None:
        """
        Let it end without a word.
        """
        self.host.kill()

    def dial(self) -> float:
        """
        Start a viewer who was never here before, in place of the one there is;
        returns when it began to dial.
        """
        self.hangUp()
        directory = self._newDirectory("viewer")
        home = directory.with_name(f"{directory.name}-home")
        # What a viewer may remember of networks is in its home.
        shutil.copytree(self._directory / "watching", home)
        code = formatCode(self._hosting.key, self._address, PORT)
        self._viewer = Program(
            directory,
            [
                *("connect", code),
                *("--home", str(home)),
                *("--sink", "-"),
                *self._viewerOptions,
            ],
            stdout=subprocess.PIPE,
            launcher=self.network.b.inside([]),
        )
        assert self._viewer.process.stdout is not None
        self._pictures = Pictures(self._viewer.process.stdout)
        began: float = self._viewer.waitFor("state", to="CONNECTING")["mono"]
        return began

    def hangUp(self) -> None:
        """
        Let the viewer go, if there is one, and count what it lost.
        """
        if self._viewer is None:
            return
        # Before its own end, which is another.
        self.disconnected += self._viewer.states().count("DISCONNECTED")
        self._viewer.process.terminate()
        self._viewer.exitStatus()
        self.lost += self._viewer.waitFor("summary")["frames_lost"]
        self._endViewer()

    def _endViewer(self) -> None:
        viewer, self._viewer = self._viewer, None
        pictures, self._pictures = self._pictures, None
        if viewer is None:
            return
        viewer.process.kill()
        if pictures is not None:
            # Before what it reads is closed.
            pictures.join()
        viewer.kill()

    def _newDirectory(self, name: str) -> Path:
        self._started += 1
        return self._directory / f"{name}-{self._started}"

    def roundTrip(self) -> float:
        """
        How long a datagram takes from ``b`` to ``a`` and back, without our programs.
        """
        network = self.network
        echo = network.a.popen([sys.executable, "-c", ECHO], stdout=subprocess.PIPE)
        try:
            assert echo.stdout is not None
            echo.stdout.readline()
            asked = network.b.run(
                [sys.executable, "-c", ASK, network.a.address],
                capture_output=True,
                check=True,
            )
            return float(asked.stdout)
        finally:
            echo.kill()
            echo.communicate()

    # --- the stream ---

    def settle(self, transport: str) -> None:
        """
        Wait until a viewer, perhaps a new one, has watched over this transport for a
        moment without a disturbance.
        """
        if self._viewer is None:
            self.dial()
        waitUntil(lambda: self._isQuiet(transport), f"quiet over {transport}")

    def _isQuiet(self, transport: str) -> bool:
        since = boottime() - QUIET
        paths = self.viewer.events("path")
        arrivals = self.pictures.arrivals
        return (
            bool(paths)
            and paths[-1]["transport"] == transport
            and paths[-1]["mono"] < since
            and arrivals[0] < since
            and longestGap(arrivals, since, boottime(), INTERVAL) < QUIET_GAP
        )

    def watch(self, seconds: float) -> None:
        """
        Let some time of the stream pass.
        """
        time.sleep(seconds)

    def happens(
        self,
        program: Program,
        event: str,
        since: float,
        seconds: float = PATIENCE,
        **fields: object,
    ) -> dict[str, Any]:
        """
        The first event after ``since`` with these fields, once it is there.
        """
        return program.waitFor(
            event, lambda entry: bool(entry["mono"] > since), seconds, **fields
        )

    def gap(self, since: float) -> float:
        """
        The longest time without a picture since then.
        """
        return longestGap(self.pictures.arrivals, since, boottime(), INTERVAL)

    def account(self) -> str:
        """
        All that is known of both programs, for a run that fails.
        """
        lines = []
        for name, program in (("host", self._host), ("viewer", self._viewer)):
            if program is not None:
                lines += [
                    f"{name}: {event}"
                    for event in program.events()
                    if event["event"] != "stats"
                ]
                lines += [
                    f"{name}: {line}" for line in program.complaints().splitlines()
                ]
        return "\n".join(lines)
