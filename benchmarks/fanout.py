"""
``python -m benchmarks.fanout``: what one more viewer costs a host.

A host sends one stream of 8 Mbit/s to ever more viewers, over UDP on loopback: each a
real peer with keys of its own, all in one other process.  Printed are what arrived and
what the host spent on it, beside what sealing that many packets costs by itself, in the
same process: no host that seals for each viewer can do with less.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from rootstream.authorized import AuthorizedPeers
from rootstream.client import connect
from rootstream.fanout import Audience
from rootstream.host import Host
from rootstream.identity import Code, Identity
from rootstream.latency import Latencies
from rootstream.peer import Peer
from rootstream.protocol.constants import MAX_CHUNK, MAX_FRAMES
from rootstream.protocol.events import VideoFrame
from rootstream.receiver import PeerReceiver
from rootstream.transport.clock import mediaClock, useBoottime

__all__ = ["Crowd", "main", "table"]

LOOPBACK = "127.0.0.1"
FRAMES_PER_SECOND = 30
FRAME_SIZE = 8_000_000 // 8 // FRAMES_PER_SECOND
KEY_FRAME_EVERY = 2 * FRAMES_PER_SECOND
#: Seconds between two viewers that dial: slower than a host counts as flooded.
DIAL_INTERVAL = 0.02
#: Seconds that the last frame may take, and that one stream may, dialling included.
REST = 1.0
PATIENCE = 30.0
LONGEST = 15.0
#: The share of a processor that a hundred viewers may take.
LIMIT_VIEWERS, LIMIT = 100, 0.8

HEADINGS = (
    *("viewers", "frames", "not delivered", "p50 ms", "p99 ms"),
    *("processor", "sealing alone", "us a packet", ""),
)


@dataclass(frozen=True, slots=True)
class Crowd:
    """
    What was measured with so many viewers.

    :ivar frames: that the source had for each.
    :ivar delivered: that came to all of them together.
    :ivar p50: milliseconds from the source to a viewer, of half of what was delivered.
    :ivar share: of one processor, that the host took while it streamed.
    :ivar sealing: the same, of the encryption alone.
    :ivar packet: microseconds of the host a packet.
    """

    viewers: int
    frames: int
    delivered: int
    p50: float | None
    p99: float | None
    share: float
    sealing: float
    packet: float

    @property
    def missing(self) -> int:
        """
        Frames that did not arrive.
        """
        return self.viewers * self.frames - self.delivered

    @property
    def verdict(self) -> str:
        """
        Whether the limits hold, in a word.
        """
        if self.missing:
            return "lost"
        if self.viewers < LIMIT_VIEWERS:
            return ""
        limit = LIMIT * self.viewers / LIMIT_VIEWERS
        return "ok" if self.share <= limit else "over"


def table(crowds: Sequence[Crowd]) -> str:
    """
    The table for a terminal.
    """
    lines = [HEADINGS] + [
        (
            str(crowd.viewers),
            str(crowd.frames),
            str(crowd.missing),
            *("-" if ms is None else f"{ms:.1f}" for ms in (crowd.p50, crowd.p99)),
            f"{crowd.share:.1%}",
            f"{crowd.sealing:.1%}",
            f"{crowd.packet:.1f}",
            crowd.verdict,
        )
        for crowd in crowds
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(map(str.rjust, line, widths)).rstrip() + "\n" for line in lines
    )


def sealingCost() -> float:
    """
    Seconds of processor that the encryption of one full packet takes.
    """
    encrypt = ChaCha20Poly1305(os.urandom(32)).encrypt
    nonce, frames, header = bytes(12), os.urandom(MAX_FRAMES), bytes(13)
    count = 20_000
    began = time.process_time()
    for _ in range(count):
        encrypt(nonce, frames, header)
    return (time.process_time() - began) / count


class _Guest(PeerReceiver):
    """
    The host's side of a viewer.
    """

    def __init__(self, peer: Peer, audience: Audience) -> None:
        super().__init__(peer)
        self._audience = audience

    def stateChanged(self, old: str, new: str, cause: str) -> None:
        assert self.peer is not None
        if new == "CONNECTED":
            self._audience.add(self.peer)
        elif old == "CONNECTED":
            self._audience.remove(self.peer)

    def keyFrameWanted(self) -> None:
        assert self.peer is not None
        self._audience.keyFrameWanted(self.peer)


class _Viewer(PeerReceiver):
    """
    Counts what it sees.
    """

    def __init__(self, latencies: Latencies) -> None:
        super().__init__()
        self._latencies = latencies
        self.seen = 0

    def videoReceived(self, frame: VideoFrame) -> None:
        self.seen += 1
        # Both processes are of one machine: its clock is the same.
        self._latencies.add((mediaClock() - frame.timestamp) / 1e6)


def _reactor() -> Any:
    from twisted.internet import reactor

    useBoottime(reactor)
    return reactor


def host(viewers: int, seconds: float, pipe: Connection) -> None:
    """
    The measured process.  Tells its code, and at the end what it spent.
    """
    reactor = _reactor()
    identity = Identity.generate("host")
    wanted = True

    def want() -> None:
        nonlocal wanted
        wanted = True

    audience = Audience(reactor, want)
    anybody = AuthorizedPeers(None, (), allowAny=True)
    hosting = Host(
        reactor,
        identity,
        anybody,
        lambda peer: _Guest(peer, audience),
        port=0,
        interface=LOOPBACK,
    )
    pipe.send(Code(identity.key, LOOPBACK, hosting.listen()))
    data = os.urandom(FRAME_SIZE)
    frames = round(seconds * FRAMES_PER_SECOND)
    spent = began = 0.0

    def waitForAll() -> None:
        nonlocal spent, began
        if len(audience) < viewers:
            reactor.callLater(DIAL_INTERVAL, waitForAll)
            return
        spent, began = time.process_time(), reactor.seconds()
        stream(0)

    def stream(number: int) -> None:
        nonlocal spent, wanted
        if number == frames:
            spent = time.process_time() - spent
            reactor.callLater(REST, end)
            return
        due = began + (number + 1) / FRAMES_PER_SECOND
        keyFrame = wanted or number % KEY_FRAME_EVERY == 0
        wanted = False
        audience.video(VideoFrame(data, mediaClock(), keyFrame))
        reactor.callLater(max(0.0, due - reactor.seconds()), stream, number + 1)

    def end() -> None:
        pipe.send((frames, spent, sealingCost()))
        hosting.close().addCallback(lambda _: reactor.stop())

    waitForAll()
    reactor.callLater(PATIENCE, reactor.stop)
    reactor.run()


def crowd(viewers: int, code: Code, pipe: Connection) -> None:
    """
    The process of all viewers.  Tells at the end what they saw.
    """
    reactor = _reactor()
    latencies = Latencies()
    receivers = [_Viewer(latencies) for _ in range(viewers)]

    def dial(number: int) -> None:
        connect(
            reactor,
            code,
            receivers[number],
            identity=Identity.generate(f"viewer {number}"),
            tcp=False,
        ).addErrback(lambda _: reactor.stop())

    for number in range(viewers):
        reactor.callLater(number * DIAL_INTERVAL, dial, number)

    def look() -> None:
        if pipe.poll():
            reactor.stop()
        else:
            reactor.callLater(REST / 10, look)

    look()
    reactor.callLater(PATIENCE, reactor.stop)
    reactor.run()
    seen = sum(receiver.seen for receiver in receivers)
    pipe.send((seen, latencies.percentile(0.5), latencies.percentile(0.99)))


def measure(viewers: int, seconds: float) -> Crowd:
    """
    Stream to so many viewers for so long.
    """
    context = get_context("spawn")
    hostPipe, hostEnd = context.Pipe()
    crowdPipe, crowdEnd = context.Pipe()
    hosting = context.Process(target=host, args=(viewers, seconds, hostEnd))
    hosting.start()
    hostEnd.close()
    watching = None
    try:
        code = hostPipe.recv()
        watching = context.Process(target=crowd, args=(viewers, code, crowdEnd))
        watching.start()
        crowdEnd.close()
        frames, spent, sealing = hostPipe.recv()
        crowdPipe.send(None)
        delivered, p50, p99 = crowdPipe.recv()
    except EOFError:
        raise SystemExit(f"{viewers} viewers: they did not all connect") from None
    finally:
        for process in (hosting, watching):
            if process is not None:
                process.join(REST)
                process.kill()
    packets = viewers * frames * -(-FRAME_SIZE // MAX_CHUNK)
    length = frames / FRAMES_PER_SECOND
    return Crowd(
        viewers,
        frames,
        delivered,
        p50,
        p99,
        share=spent / length,
        sealing=packets * sealing / length,
        packet=spent / packets * 1e6,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Measure, and print.  Fails when a limit does not hold.
    """
    parser = argparse.ArgumentParser("benchmarks.fanout", description=__doc__)
    parser.add_argument("viewers", type=int, nargs="*", default=[1, 10, 50, 100])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each stream")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args(arguments)
    if min(options.viewers) < 1 or not 0 < options.seconds <= LONGEST:
        parser.error(f"1 viewer or more, and at most {LONGEST:.0f} seconds")
    crowds = [measure(viewers, options.seconds) for viewers in options.viewers]
    sys.stdout.write(table(crowds))
    if options.json is not None:
        rows = [asdict(each) for each in crowds]
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 1 if any(each.verdict in ("lost", "over") for each in crowds) else 0


if __name__ == "__main__":
    sys.exit(main())
