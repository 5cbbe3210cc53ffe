"""
``python -m tests.integration.kills WHAT COUNT``: kill a process of ours that writes, at
moments of chance, so many times, and look at what it left.

The processes are forks of this one, which has no threads: a thousand new interpreters
would take minutes.  Prints how often the file was there and how often it was not, or
the first thing that was wrong, and then ends with status 1.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median

import av

from rootstream.authorized import AuthorizedPeers
from rootstream.identity import Identity, formatCode, loadOrCreateIdentity
from rootstream.media.mp4 import Mp4Muxer
from rootstream.media.muxing import AvMuxer, Opening, Recorder
from rootstream.media.outputs import WholeFile
from rootstream.peersfile import PeersFile
from rootstream.protocol.events import VideoFrame
from tests.mediasamples import encodedFrames, silence

#: Of the pictures and sound that are recorded.
FRAMES = 40
#: Each recording that is decoded, not only taken apart: it takes long.
DECODED = 25
#: Where files are in memory: to wait for a disk would only take time, since what a
#: process has written survives it.
MEMORY = "/dev/shm"
#: Seconds that a process may live longer than it takes to do what it does.
MARGIN = 1.1


class Identities:
    """
    An identity that is created.
    """

    def act(self, home: Path) -> None:
        """
        What is killed.
        """
        loadOrCreateIdentity(home)

    def judge(self, home: Path, number: int) -> str:
        """
        What came of it; raises when that may not be.
        """
        key = home / "identity.key"
        before = key.read_bytes() if key.exists() else None
        identity = loadOrCreateIdentity(home)
        assert before in (None, identity.seed), "another identity than the one before"
        assert not list(home.glob("*new")), "what the killed one began stays for ever"
        return "none" if before is None else "whole"


class Peers:
    """
    A ``peers`` file that is changed.
    """

    def __init__(self) -> None:
        keys = [Identity.generate(str(number)).key for number in range(20)]
        self._new = Identity.generate("new").key
        self._text = "# mine\n" + "".join(
            f"{formatCode(key, None)} peer {number}\n"
            for number, key in enumerate(keys)
        )

    def act(self, home: Path) -> None:
        """
        What is killed.
        """
        PeersFile(home / "peers").add(
            self._new, formatCode(self._new, None), frozenset(("view",)), "new"
        )

    def prepare(self, home: Path) -> None:
        """
        The list before.
        """
        home.mkdir(mode=0o700)
        (home / "peers").write_text(self._text)
        (home / "peers").chmod(0o600)

    def judge(self, home: Path, number: int) -> str:
        """
        What came of it; raises when that may not be.
        """
        text = (home / "peers").read_text()
        listed = AuthorizedPeers(home / "peers", [], False).listed()
        assert len(listed) in (20, 21), "half a list"
        assert text.startswith(self._text), "a line was lost"
        if len(listed) == 20:
            assert text == self._text, "half a line"
        # Whoever comes next is not kept from it.
        self.act(home)
        assert len(PeersFile(home / "peers").listed()) == 21
        return "old" if len(listed) == 20 else "new"


class Recording:
    """
    A recording that is written; what it takes is made once.
    """

    def __init__(self, ending: str) -> None:
        self._ending = ending
        self._frames: list[VideoFrame] = encodedFrames(FRAMES)
        #: How long the file is once so many pictures are in it; 0 while they wait.
        self._ends: list[int] = []
        with tempfile.TemporaryDirectory() as directory:
            self.act(Path(directory) / "home", self._ends.append)

    def act(self, home: Path, put: Callable[[int], None] = lambda size: None) -> None:
        """
        What is killed: what the thread of a sink does.
        """
        home.mkdir()
        file = WholeFile(str(home / f"film{self._ending}"))

        def openMuxer(opening: Opening) -> Mp4Muxer | AvMuxer:
            if self._ending == ".mp4":
                return Mp4Muxer(file, opening.keyFrame, opening.channels)
            return AvMuxer(file, "matroska", opening)

        recorder = Recorder(openMuxer)
        for frame in self._frames:
            recorder.write(frame, frame.timestamp / 1e6)
            recorder.write(silence(frame.timestamp), frame.timestamp / 1e6)
            file.commit()
            put(file.tell())
        recorder.close()
        file.close()

    def judge(self, home: Path, number: int) -> str:
        """
        What came of it; raises when that may not be.  A kill in the middle of a write
        may leave a part of the picture after those that are whole.
        """
        film = home / f"film{self._ending}"
        size = film.stat().st_size if film.exists() else 0
        whole = max(
            (n for n, end in enumerate(self._ends, 1) if 0 < end <= size), default=0
        )
        if whole < 2:
            # Of one picture there is nothing to see but that.
            return "none"
        with av.open(str(film)) as container:
            pictures = sum(bool(packet.size) for packet in container.demux(video=0))
        # The muxer keeps one until the next one comes.
        assert whole - 1 <= pictures <= FRAMES, f"{pictures} of {whole} pictures"
        if number % DECODED == 0:
            decoded = 0
            with av.open(str(film)) as container, suppress(av.error.InvalidDataError):
                for _ in container.decode(video=0):
                    decoded += 1
            # And the decoder one.
            assert decoded >= whole - 2, f"{decoded} of {whole} pictures decoded"
        return "whole" if pictures == FRAMES else "to where it was killed"


KINDS: dict[str, Callable[[], Identities | Peers | Recording]] = {
    "identity": Identities,
    "peers": Peers,
    "mkv": lambda: Recording(".mkv"),
    "mp4": lambda: Recording(".mp4"),
}


def fork(act: Callable[[Path], None], home: Path) -> int:
    """
    Do something in a process of its own; returns its number.
    """
    child = os.fork()
    if child == 0:
        try:
            act(home)
        finally:
            os._exit(0)
    return child


def main() -> None:
    """
    Kill, look, and say what was seen.
    """
    kind = KINDS[sys.argv[1]]()
    count = int(sys.argv[2])
    pick = random.Random(84)
    seen: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(
        dir=MEMORY if os.path.isdir(MEMORY) else None
    ) as directory:
        base = Path(directory)

        def begin(name: str) -> tuple[int, Path]:
            home = base / name
            if isinstance(kind, Peers):
                kind.prepare(home)
            return fork(kind.act, home), home

        # How long it takes when nobody kills it.
        times = []
        for number in range(9):
            began = time.perf_counter()
            os.waitpid(begin(f"whole{number}")[0], 0)
            times.append(time.perf_counter() - began)
        usual = median(times)
        for number in range(count):
            child, home = begin(str(number))
            time.sleep(pick.uniform(0.0, MARGIN * usual))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            if home.exists() or not isinstance(kind, Recording):
                seen[kind.judge(home, number)] += 1
            else:
                seen["none"] += 1
    print(", ".join(f"{name}: {times}" for name, times in sorted(seen.items())))


if __name__ == "__main__":
    main()
