"""
What `benchmarks.throughput` measures: RootStream in several dresses, what a user would
take instead, and what Python could do at best.

Each is one run on a cable, and returns what it measured by name: for a rate ``mbits``
of payload a second, ``send`` and ``receive`` in CPU seconds a GB of it, ``loss`` in
percent of the packets; for a delay its percentiles in seconds, ``p50`` and ``p99``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cable import Cable
from benchmarks.figures import nearestRank
from benchmarks.rates import Run
from benchmarks.rivals import SRT, iperfTCP, iperfUDP, quic
from tests.lab.namespace import Namespace

__all__ = ["CONTESTS", "Contest"]

ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"
#: Seconds beyond the measured ones: two interpreters start, and one stream ends.
PATIENCE = 40.0


@dataclass(frozen=True, slots=True)
class Contest:
    """
    One line of a table.

    :ivar happen: makes one run of so many seconds.
    """

    name: str
    title: str
    happen: Callable[[Cable, float], Run]


def ours(machine: Namespace, *arguments: str) -> subprocess.Popen[str]:
    """
    Start one of our own programs on a machine.
    """
    command = [sys.executable, "-m", *arguments]
    return machine.popen(command, stdout=subprocess.PIPE, cwd=ROOT)


@contextmanager
def started(machine: Namespace, *arguments: str) -> Iterator[tuple[Any, Any]]:
    """
    One of our programs that the other end waits for: the process, and what it said
    first.
    """
    process = ours(machine, *arguments)
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline() or "{}")
    finally:
        process.kill()
        process.communicate()


def outcome(process: subprocess.Popen[str], seconds: float) -> dict[str, Any]:
    """
    What a program said last.

    :raise AssertionError: if it failed.
    """
    said, _ = process.communicate(timeout=seconds + PATIENCE)
    assert process.returncode == 0, f"status {process.returncode}"
    last: dict[str, Any] = json.loads(said.splitlines()[-1])
    return last


def ends(
    task: str, seconds: float, host: Namespace, viewer: Namespace, *options: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """
    One run of `benchmarks.ends`: what the host said, and the viewer.  The options are
    those of both.
    """
    common = [task, "--seconds", str(seconds), *options]
    with started(host, "benchmarks.ends", "host", *common) as (hosting, first):
        assert "code" in first, "the host did not start"
        watching = ours(
            viewer, "benchmarks.ends", "viewer", *common, "--code", first["code"]
        )
        try:
            seen = outcome(watching, seconds)
            return outcome(hosting, 0.0) if task != "echo" else {}, seen
        finally:
            watching.kill()
            watching.communicate()


def rate(
    cable: Cable, seconds: float, *options: str, address: str = Cable.address
) -> Run:
    """
    How much arrives when frames are sent as fast as they are acknowledged.
    """
    sent, seen = ends(
        "flood", seconds, cable.a, cable.b, "--address", address, *options
    )
    return {
        "mbits": seen["bytes"] * 8e-6 / seen["seconds"],
        "send": sent["cpu"] / sent["bytes"] * 1e9,
        "receive": seen["cpu"] / seen["bytes"] * 1e9,
        "loss": 100 * seen["late"] / seen["packets"],
        "frames_lost": seen["lost"],
    }


def product(*options: str, offload: bool = True) -> Callable[[Cable, float], Run]:
    """
    A contest of ours, with these options of both ends.
    """

    def happen(cable: Cable, seconds: float) -> Run:
        with nullcontext() if offload else cable.withoutOffload():
            return rate(cable, seconds, *options)

    return happen


def ceiling(cable: Cable, seconds: float) -> Run:
    """
    The cipher and two sockets: what a stream of packets could be in this language.
    """
    bare = "benchmarks.bare", "--address", cable.far, "--seconds", str(seconds)
    with started(cable.b, *bare, "drain") as (draining, _):
        sent = outcome(ours(cable.a, *bare, "pour"), seconds)
        seen = outcome(draining, 0.0)
    return {
        "mbits": seen["bytes"] * 8e-6 / seen["seconds"],
        "send": sent["cpu"] / sent["bytes"] * 1e9,
        "receive": seen["cpu"] / seen["bytes"] * 1e9,
        "loss": 100 * (1 - seen["packets"] / sent["packets"]),
    }


def cipher(cable: Cable, seconds: float) -> Run:
    """
    The cipher alone.
    """
    done = outcome(
        ours(cable.a, "benchmarks.bare", "cipher", "--seconds", str(seconds)), seconds
    )
    return {
        "mbits": done["bytes"] * 8e-6 / done["seconds"],
        "send": done["cpu"] / done["bytes"] * 1e9,
    }


def percentiles(delays: Sequence[float]) -> Run:
    """
    What is kept of the delays of a run.
    """
    return {
        "p50": nearestRank(delays, 50),
        "p99": nearestRank(delays, 99),
        "count": len(delays),
    }


def pictures(cable: Cable, seconds: float) -> Run:
    """
    How long a frame takes from `Peer.sendVideo` to the receiver, at 60 a second.
    """
    _, seen = ends("frames", seconds, cable.a, cable.b, "--address", cable.address)
    return percentiles(seen["delays"])


def roundTrip(cable: Cable, seconds: float) -> Run:
    """
    How long an input event takes to the host and back, both on one machine.
    """
    _, seen = ends("echo", seconds, cable.a, cable.a, "--address", LOOPBACK)
    return percentiles(seen["delays"])


def bareRoundTrip(cable: Cable, seconds: float) -> Run:
    """
    The same between two loops of Python with nothing but a socket and the cipher.
    """
    bare = "benchmarks.bare", "--address", LOOPBACK, "--seconds", str(seconds)
    with started(cable.a, *bare, "answer"):
        return percentiles(outcome(ours(cable.a, *bare, "ask"), seconds)["delays"])


CONTESTS = (
    Contest("ceiling", "two sockets and the cipher (ceiling)", ceiling),
    Contest("cipher", "the cipher alone, no socket", cipher),
    Contest("udp", "RootStream, UDP", product()),
    Contest(
        "udp-no-offload", "RootStream, UDP, no kernel offload", product(offload=False)
    ),
    Contest("udp-single", "RootStream, no trains", product("--ports", "single")),
    Contest("udp-stock", "RootStream, Twisted's UDP port", product("--ports", "stock")),
    Contest("tcp", "RootStream, TCP", product("--transport", "tcp")),
    Contest("srt", "SRT, AES-128", SRT()),
    Contest("quic", "aioquic, datagrams", quic),
    Contest("iperf-udp", "iperf3, UDP, not encrypted", iperfUDP),
    Contest("iperf-tcp", "iperf3, TCP, not encrypted", iperfTCP),
    Contest("frame", "frame of 100 kB, to the receiver", pictures),
    Contest("round-trip", "input and answer, RootStream", roundTrip),
    Contest("bare-round-trip", "packet and answer, socket and cipher", bareRoundTrip),
)
