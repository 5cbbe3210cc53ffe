"""
A stream under a flood, and what it came to: for a benchmark and for tests.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rootstream.authorized import VIEW
from rootstream.identity import Identity, formatCode, loadOrCreateIdentity
from rootstream.peersfile import PeersFile
from tests.integration.programs import Program, waitUntil
from tests.lab.flooder import Flooder
from tests.lab.net import Network
from tests.lab.programs import PORT

__all__ = ["RATE", "Flooded", "flooded"]

#: Datagrams a second.
RATE = 50_000

#: Between two looks of the host's timer at the clock, and how many there are at most.
_TICK = 0.01
_MAX_LAGS = 100_000

#: What the host runs: the command, and beside it a timer that writes down how late it
#: is, each time, when it is told to.
_TIMED = """
import sys
from tests.lab.flooding import command
sys.exit(command())
"""


@dataclass(frozen=True, slots=True)
class Flooded:
    """
    A flood and what it did.

    :ivar rate: datagrams a second that were sent.
    :ivar loss: the share of video frames that the viewer missed.
    :ivar stopped: the longest time without a picture, in seconds.
    :ivar lag: how late the host's timers were, in seconds: in the middle, and but for
        one in a hundred.
    :ivar processor: the share of a processor that the host took, and took before.
    :ivar grew: how many bytes of memory the host took more.
    :ivar connected: seconds until another viewer was connected.
    """

    kind: str
    seconds: float
    rate: float
    loss: float
    stopped: float
    lag50: float
    lag99: float
    processor: float
    processorBefore: float
    grew: int
    connected: float

    def asDict(self) -> dict[str, Any]:
        """
        The same for JSON.
        """
        return asdict(self)


def command() -> int:
    """
    ``rootstream``, with its timers watched: how late they were since the last SIGUSR1
    is written to the file that the first argument names at the next.
    """
    from twisted.internet import reactor as installed
    from twisted.internet.task import LoopingCall

    from rootstream.cli import main

    reactor: Any = installed
    path = sys.argv.pop(1)
    lags: list[float] = []
    last = time.monotonic()

    def tick() -> None:
        nonlocal last
        now = time.monotonic()
        if len(lags) < _MAX_LAGS:
            lags.append(max(0.0, now - last - _TICK))
        last = now

    def dump(*_: object) -> None:
        taken, lags[:] = sorted(lags), []
        draft = Path(path + ".new")
        draft.write_text(json.dumps(taken))
        draft.rename(path)

    def begin() -> None:
        signal.signal(signal.SIGUSR1, dump)
        LoopingCall(tick).start(_TICK)

    reactor.callWhenRunning(begin)
    return main()


def _processorTime(pid: int) -> float:
    """
    Seconds that a process has run, in its own code and in the kernel's.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> int:
    """
    Bytes of memory that a process has now.
    """
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class _Stage:
    """
    A host, a viewer that watches, and one that comes later.
    """

    def __init__(self, network: Network, directory: Path) -> None:
        self._network = network
        self._directory = directory
        self._lags = directory / "lags"
        homes = {name: directory / f"home-{name}" for name in ("host", "first", "more")}
        self.identities: dict[str, Identity] = {
            name: loadOrCreateIdentity(home) for name, home in homes.items()
        }
        peers = PeersFile(homes["host"] / "peers")
        for name in ("first", "more"):
            key = self.identities[name].key
            peers.add(key, formatCode(key, None), VIEW, name)
        words = ["host", "--home", str(homes["host"]), "--port", str(PORT)]
        self.host = self._timed(words)
        self.programs = [self.host]

    def _timed(self, words: list[str]) -> Program:
        script = f"import sys; sys.argv.insert(1, {str(self._lags)!r})\n" + _TIMED
        host = Program(
            self._directory / "host",
            [*words, "--source", "test:320x180@30"],
            script=script,
            launcher=self._network.a.inside([]),
        )
        host.waitFor("listening")
        return host

    def watch(self, name: str) -> Program:
        """
        Start a viewer.
        """
        code = formatCode(self.identities["host"].key, self._network.a.address, PORT)
        viewer = Program(
            self._directory / name,
            [
                *("connect", code, "--no-tcp"),
                *("--home", str(self._directory / f"home-{name}")),
            ],
            launcher=self._network.b.inside([]),
        )
        self.programs.append(viewer)
        return viewer

    def lags(self) -> list[float]:
        """
        How late the host's timers were since this was asked last.
        """
        with contextlib.suppress(FileNotFoundError):
            self._lags.unlink()
        os.kill(self.host.process.pid, signal.SIGUSR1)
        waitUntil(self._lags.exists, "the host wrote its lags")
        found: list[float] = json.loads(self._lags.read_text())
        return found

    def close(self) -> None:
        for program in self.programs:
            program.kill()


def flooded(
    network: Network,
    directory: Path,
    kind: str,
    seconds: float,
    rate: int = RATE,
) -> Flooded:
    """
    Stream, flood the host for some seconds, let another viewer come meanwhile, and
    tell what it did.
    """
    stage = _Stage(network, directory)
    try:
        viewer = stage.watch("first")
        viewer.waitFor("state", to="CONNECTED")
        viewer.waitFor("stats", lambda entry: entry["frames"] > 30)
        pid = stage.host.process.pid
        stage.lags()
        before, began = _processorTime(pid), time.monotonic()
        time.sleep(1.0)
        quiet = (_processorTime(pid) - before) / (time.monotonic() - began)

        stage.lags()
        memory = _memory(pid)
        target = network.a.address, PORT
        key = stage.identities["host"].key.x25519
        flooder = Flooder(network.router, kind, target, rate, key)
        try:
            before, began = _processorTime(pid), time.monotonic()
            time.sleep(seconds / 3)
            more = stage.watch("more")
            came = more.waitFor("state", to="CONNECTED")
            dialled = more.waitFor("state", to="CONNECTING")
            time.sleep(max(0.0, seconds - (time.monotonic() - began)))
            took = time.monotonic() - began
            busy = (_processorTime(pid) - before) / took
            sent = flooder.sent()
            grew = _memory(pid) - memory
        finally:
            flooder.close()
        lags = stage.lags()
        time.sleep(0.5)
        gaps = [entry["gap_s"] for entry in viewer.events("picture")]
        viewer.process.terminate()
        viewer.exitStatus()
        summary = viewer.waitFor("summary")
        frames = summary["frames_received"] + summary["frames_lost"]
        return Flooded(
            kind=kind,
            seconds=round(took, 2),
            rate=round(sent / took),
            loss=round(summary["frames_lost"] / frames, 5),
            stopped=max(gaps, default=0.0),
            lag50=round(lags[len(lags) // 2], 5),
            lag99=round(lags[len(lags) * 99 // 100], 5),
            processor=round(busy, 3),
            processorBefore=round(quiet, 3),
            grew=grew,
            connected=round(came["mono"] - dialled["mono"], 3),
        )
    finally:
        stage.close()
