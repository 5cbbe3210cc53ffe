"""
What a user would take instead, measured on the same cable: iperf3, SRT, aioquic.

Each call of one is one run, as in `benchmarks.contests`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.cable import Cable
from benchmarks.rates import Missing, Run
from tests.lab.namespace import Namespace

__all__ = ["SRT", "iperfTCP", "iperfUDP", "quic"]

ROOT = Path(__file__).resolve().parent.parent
PORT = "9878"
#: Names, in the environment, a Python that has aioquic: it may not like our versions.
QUIC_PYTHON = "AIOQUIC_PYTHON"
#: Seconds for a program to listen.
LISTENS_AFTER = 0.5
PATIENCE = 30.0

#: Of SRT in live mode.
SRT_PAYLOAD = 1316
#: In Mbit/s, tried in this order: what SRT carries without loss depends on the machine.
SRT_RATES = tuple(range(2000, 100, -100))
SRT_FLUSH = 0.5
#: What its buffers hold by default is less than comes in 120 ms, its latency, at such
#: rates, and its bandwidth is limited to 1 Gbit/s.
SRT_OPTIONS = (
    "latency=120&rcvbuf=48000000&sndbuf=48000000&fc=32768&maxbw=400000000"
    "&udp_rcvbuf=8000000&udp_sndbuf=8000000"
)
#: In percent: less counts as none.
SRT_LOSS = 0.1
#: Writes so many bytes a second for so many seconds, once somebody reads, and has had
#: time to connect: what comes before that is dropped.
FEED = """
import os, sys, time
rate, seconds, chunk = float(sys.argv[1]), float(sys.argv[2]), os.urandom(131600)
os.write(1, chunk)
time.sleep(0.5)
began = time.perf_counter()
sent = 0
while (now := time.perf_counter() - began) < seconds:
    if sent > now * rate:
        time.sleep(0.001)
        continue
    sent += os.write(1, chunk)
print(sent, now, file=sys.stderr)
"""
#: Counts what comes, so that what is measured need not.
DRAIN = """
import os
size = 0
while data := os.read(0, 1 << 20):
    size += len(data)
print(size)
"""


def need(command: str, package: str) -> None:
    """
    :raise Missing: if there is no such command.
    """
    if shutil.which(command) is None:
        raise Missing(f"not installed (package {package})")


def iperf(cable: Cable, seconds: float, *options: str) -> dict[str, Any]:
    """
    What iperf3 says at the end.
    """
    need("iperf3", "iperf3")
    server = cable.b.popen(
        ["iperf3", "-s", "-1", "-p", PORT], stdout=subprocess.DEVNULL
    )
    try:
        time.sleep(LISTENS_AFTER)
        done = cable.a.run(
            [
                *("iperf3", "-c", cable.far, "-p", PORT, "-J"),
                *("-t", str(max(round(seconds), 1)), *options),
            ],
            capture_output=True,
            timeout=seconds + PATIENCE,
        )
        end: dict[str, Any] = json.loads(done.stdout)["end"]
        return end
    finally:
        server.kill()
        server.communicate()


def iperfRun(end: dict[str, Any], total: dict[str, Any], loss: float) -> Run:
    """
    What is measured, from what it said.
    """
    cpu = end["cpu_utilization_percent"]
    arrived = total["bytes"] * (1 - loss / 100)
    return {
        "mbits": arrived * 8e-6 / total["seconds"],
        "send": cpu["host_total"] / 100 * total["seconds"] / total["bytes"] * 1e9,
        "receive": cpu["remote_total"] / 100 * total["seconds"] / arrived * 1e9,
        "loss": loss,
    }


def iperfUDP(cable: Cable, seconds: float) -> Run:
    """
    As fast as it can, in datagrams of our size.
    """
    end = iperf(cable, seconds, "-u", "-b", "0", "-l", "1384")
    return iperfRun(end, end["sum"], end["sum"]["lost_percent"])


def iperfTCP(cable: Cable, seconds: float) -> Run:
    """
    As fast as it can.
    """
    end = iperf(cable, seconds)
    return iperfRun(end, end["sum_received"], 0.0)


# --- SRT ---


def srtOnce(cable: Cable, seconds: float, mbits: float) -> Run:
    """
    SRT at a rate.
    """
    secret = f"passphrase=correct-horse-battery&pbkeylen=16&{SRT_OPTIONS}"
    quiet = ["srt-live-transmit", "-q", "-ll", "fatal", "-a", "no"]
    chunk = ["-c", str(SRT_PAYLOAD)]
    here = f"srt://:{PORT}?mode=listener&{secret}"
    there = f"srt://{cable.far}:{PORT}?mode=caller&{secret}"
    receiver = cable.b.popen([*quiet, *chunk, here, "file://con"], stdout=-1)
    drain = subprocess.Popen(
        [sys.executable, "-c", DRAIN], stdin=receiver.stdout, stdout=-1, text=True
    )
    feed = subprocess.Popen(
        [sys.executable, "-c", FEED, str(mbits * 125_000), str(seconds)],
        stdout=-1,
        stderr=-1,
        text=True,
    )
    time.sleep(LISTENS_AFTER)
    sender = cable.a.popen(
        [*quiet, *chunk, "file://con", there], stdin=feed.stdout, stdout=-3
    )
    children = receiver, drain, feed, sender
    try:
        for ours in (receiver.stdout, feed.stdout):
            assert ours is not None
            ours.close()
        assert feed.stderr is not None
        fed = feed.stderr.read().split()
        sent, took = int(fed[0]), float(fed[1])
        feed.wait(PATIENCE)
        # It does not end with its input, and has some left to send.
        time.sleep(SRT_FLUSH)
        sendCPU = interrupt(sender)
        receiveCPU = interrupt(receiver)
        said, _ = drain.communicate(timeout=PATIENCE)
    finally:
        for child in children:
            child.kill()
            child.wait()
    # What was written to begin with may have been dropped, or not.
    arrived = min(int(said), sent)
    return {
        # It is live: what does not come in time does not come at all.
        "mbits": arrived * 8e-6 / took,
        "send": sendCPU / sent * 1e9,
        "receive": receiveCPU / arrived * 1e9,
        "loss": 100 * (1 - arrived / sent),
    }


def interrupt(process: subprocess.Popen[str]) -> float:
    """
    Let a program end; returns the CPU seconds it used.
    """
    # Not by the process object, which might find it dead and drop what it used.
    os.kill(process.pid, signal.SIGINT)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        pid, status, used = os.wait4(process.pid, os.WNOHANG)
        if pid:
            # Or the process object would wait for a stranger.
            process.returncode = os.waitstatus_to_exitcode(status)
            return used.ru_utime + used.ru_stime
        time.sleep(0.02)
    raise AssertionError(f"{process.args!r} does not end")


class SRT:
    """
    SRT at the highest of `SRT_RATES` that loses nothing, which the first run looks for.
    """

    def __init__(self) -> None:
        self._rates: Sequence[float] = SRT_RATES

    def __call__(self, cable: Cable, seconds: float) -> Run:
        need("srt-live-transmit", "srt-tools")
        for mbits in self._rates:
            run = srtOnce(cable, seconds, mbits)
            if run["loss"] <= SRT_LOSS:
                break
        self._rates = (mbits,)
        return run


# --- aioquic ---


def quic(cable: Cable, seconds: float) -> Run:
    """
    aioquic's datagrams, as fast as they are acknowledged, with the interpreter that
    has it.
    """
    python = os.environ.get(QUIC_PYTHON, sys.executable)
    if python == sys.executable and importlib.util.find_spec("aioquic") is None:
        raise Missing(f"not installed (aioquic; {QUIC_PYTHON} names who has it)")
    program = [python, "-m", "benchmarks.quicends"]
    viewer = cable.b.popen(
        [*program, "view", cable.far, PORT], stdout=subprocess.PIPE, cwd=ROOT
    )
    try:
        assert viewer.stdout is not None
        viewer.stdout.readline()
        sent = lastWords(
            cable.a,
            [*program, "send", cable.far, PORT, str(seconds)],
            seconds + PATIENCE,
        )
        said, _ = viewer.communicate(timeout=PATIENCE)
    finally:
        viewer.kill()
        viewer.wait()
    seen = json.loads(said.splitlines()[-1])
    return {
        "mbits": seen["bytes"] * 8e-6 / seen["seconds"],
        "send": sent["cpu"] / sent["bytes"] * 1e9,
        "receive": seen["cpu"] / seen["bytes"] * 1e9,
        "loss": 100 * (1 - seen["bytes"] / sent["bytes"]),
    }


def lastWords(
    machine: Namespace, command: Sequence[str], seconds: float
) -> dict[str, Any]:
    """
    What a program says at its end.
    """
    done = machine.run(
        command, stdout=subprocess.PIPE, cwd=ROOT, timeout=seconds, check=True
    )
    words: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return words
