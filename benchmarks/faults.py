"""
What networks do to a stream: each fault, how it is made, and what of it is measured.

A fault is made after a random part of a second, so that no timer of the programs is
always at the same place.  The time at which the router's rules change is that before
`nft` is started, so a time *since* such a change is some milliseconds too long, never
too short.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.figures import Row
from benchmarks.stage import ROUND_TRIP, Stage
from rootstream.transport.clock import boottime
from tests.integration.programs import waitUntil
from tests.lab.net import Host
from tests.lab.programs import PORT

__all__ = ["FAULTS", "Fault"]

TLS_PORT = 443
#: Seconds of the stream to look at once a fault is over, or was survived.
AFTERWARDS = 1.0
#: What a viewer far from the router calls itself, in turn.
ADDRESSES = ("203.0.113.2", "203.0.113.3")


@dataclass(frozen=True, slots=True)
class Fault:
    """
    Something that a network, or a machine, does.

    :ivar rows: what is measured of it.
    :ivar happen: makes it happen once, and returns the time of each row in seconds.
    :ivar host: options of the host.
    :ivar viewer: options of the viewer.
    :ivar nat: whether each machine is behind a NAT.
    :ivar waits: most of a run is waiting, so several may run at once.
    :ivar disconnects: the viewer may well come to DISCONNECTED.
    """

    rows: tuple[Row, ...]
    happen: Callable[[Stage], tuple[float, ...]]
    host: tuple[str, ...] = ()
    viewer: tuple[str, ...] = ()
    nat: bool = False
    waits: bool = False
    disconnects: bool = False

    @property
    def name(self) -> str:
        """
        The name of its first row stands for it.
        """
        return self.rows[0].name


def someTime() -> float:
    """
    A random part of a second.
    """
    return random.random()


# --- nothing ---


def roundTrip(stage: Stage) -> tuple[float]:
    """
    What the network itself takes.
    """
    return (stage.roundTrip(),)


def nothing(stage: Stage) -> tuple[float]:
    """
    What the machine itself does to the pictures.
    """
    stage.settle("udp")
    since = boottime()
    stage.watch(AFTERWARDS)
    return (stage.gap(since),)


# --- dialling ---


def dial(stage: Stage) -> tuple[float]:
    began = stage.dial()
    connected = stage.happens(stage.viewer, "state", began, to="CONNECTED")
    stage.pictures.after(began)
    stage.hangUp()
    return (connected["mono"] - began,)


def dialWithoutUDP(stage: Stage) -> tuple[float]:
    stage.router.restore()
    stage.router.dropUDP()
    return firstPicture(stage)


def dialWithTLSAlone(stage: Stage) -> tuple[float]:
    stage.router.restore()
    stage.router.dropUDP()
    stage.router.rule(f"tcp dport {PORT} drop")
    return firstPicture(stage)


def firstPicture(stage: Stage) -> tuple[float]:
    began = stage.dial()
    first = stage.pictures.after(began)
    stage.hangUp()
    return (first - began,)


# --- UDP blocked under a stream ---


def blocked(stage: Stage, sender: Host | None = None) -> tuple[float, float]:
    """
    UDP is dropped, from one side or both, until the session has moved and a while
    longer.  Returns the longest gap until all is as before, and when that was.
    """
    stage.settle("udp")
    stage.watch(someTime())
    since = boottime()
    stage.router.dropUDP(sender)
    stage.happens(stage.viewer, "path", since, transport="tcp")
    stage.watch(AFTERWARDS + someTime())
    restored = boottime()
    stage.router.restore()
    back = stage.happens(stage.viewer, "path", restored, transport="udp")
    stage.watch(AFTERWARDS)
    return stage.gap(since), back["mono"] - restored


def blockedFromTheHost(stage: Stage) -> tuple[float]:
    return blocked(stage, stage.network.a)[:1]


def blockedFromTheViewer(stage: Stage) -> tuple[float]:
    return blocked(stage, stage.network.b)[:1]


def blockedWithoutStandby(stage: Stage) -> tuple[float]:
    """
    Each time with a new viewer: one that was on TCP keeps that connection.
    """
    stage.settle("udp")
    stage.watch(someTime())
    since = boottime()
    stage.router.dropUDP()
    stage.happens(stage.viewer, "path", since, transport="tcp")
    stage.watch(AFTERWARDS)
    gap = stage.gap(since)
    stage.router.restore()
    stage.hangUp()
    return (gap,)


# --- what changes under a stream ---


def reset(stage: Stage) -> tuple[float]:
    """
    A middlebox resets the connection; the next one passes.
    """
    stage.settle("tcp")
    stage.watch(someTime())
    port = stage.host.events("path")[-1]["address"].rpartition(":")[2]
    since = boottime()
    for end in ("sport", "dport"):
        stage.router.rule(f"tcp {end} {port} reject with tcp reset")
    stage.happens(stage.viewer, "path", since, transport="tcp")
    stage.watch(AFTERWARDS)
    stage.router.restore()
    return (stage.gap(since),)


def rebinding(stage: Stage) -> tuple[float]:
    """
    The viewer's NAT forgets it, and gives it another port.
    """
    stage.settle("udp")
    stage.watch(someTime())
    assert stage.network.natB is not None
    since = boottime()
    stage.network.natB.rebind()
    stage.happens(stage.host, "path", since, transport="udp")
    stage.watch(AFTERWARDS)
    return (stage.gap(since),)


def roaming(stage: Stage) -> tuple[float]:
    """
    The viewer's machine gets another address, and loses the one it had.
    """
    stage.settle("udp")
    stage.watch(someTime())
    machine = stage.network.b
    # Or the kernel takes the new address away with the old one.
    machine.switch("ipv4/conf/eth0/promote_secondaries", 1)
    used = stage.host.events("path")[-1]["address"].rpartition(":")[0]
    [other] = set(ADDRESSES) - {used}
    since = boottime()
    machine.ip("address", "add", f"{other}/24", "dev", "eth0")
    machine.ip("address", "del", f"{used}/24", "dev", "eth0")
    waitUntil(
        lambda: stage.host.events("path")[-1]["address"].startswith(other),
        f"the host sends to {other}",
    )
    stage.watch(AFTERWARDS)
    return (stage.gap(since),)


# --- everything gone ---


def gone(stage: Stage, seconds: float) -> tuple[float, float]:
    """
    Nothing passes for a while.  Returns when the first picture came after that, and
    when the first that needs none of those that were lost; after a disconnection that
    is the same one.
    """
    stage.settle("udp")
    stage.router.dropAll()
    # What the programs do once a second begins with the cut: vary the return.
    stage.watch(seconds - 0.5 + someTime())
    restored = boottime()
    stage.router.restore()
    back = stage.pictures.after(restored)
    whole = stage.pictures.after(restored, keyFrame=True)
    return back - restored, whole - restored


def restarted(stage: Stage) -> tuple[float]:
    """
    The host is killed, and started again some time later.
    """
    stage.settle("udp")
    stage.watch(someTime())
    stage.killHost()
    stage.watch(someTime())
    listening = stage.startHost()
    return (stage.pictures.after(listening) - listening,)


RTT = ROUND_TRIP

#: In the order of the table.
FAULTS = (
    Fault((Row("round-trip", "the network alone: round trip"),), roundTrip),
    Fault((Row("nothing", "nothing happens: longest gap"),), nothing),
    Fault((Row("dial", "dial, open network", RTT + 0.005, RTT + 0.025),), dial),
    Fault(
        (Row("dial-tcp", "dial, UDP dropped: first frame", 0.45, 0.8),),
        dialWithoutUDP,
    ),
    Fault(
        (Row("dial-tls", "dial, only TLS passes: first frame", 1.3, 1.8),),
        dialWithTLSAlone,
        host=("--tls-port", str(TLS_PORT)),
        viewer=("--tls-port", str(TLS_PORT)),
    ),
    Fault(
        (
            Row("udp-dropped", "UDP dropped, standby on", 0.25, 0.5),
            Row("udp-back", "back on UDP after the block ends", 2.0, 5.0),
        ),
        blocked,
    ),
    Fault(
        (Row("no-standby", "UDP dropped, standby off", 0.7, 1.5),),
        blockedWithoutStandby,
        viewer=("--no-standby",),
    ),
    Fault(
        (Row("from-host", "UDP dropped from the host only", 0.25, 0.5),),
        blockedFromTheHost,
    ),
    Fault(
        (Row("from-viewer", "UDP dropped from the viewer only", 0.25, 0.5),),
        blockedFromTheViewer,
    ),
    Fault(
        (Row("reset", "TCP reset by a middlebox, while on TCP", 0.15, 0.4),),
        reset,
        viewer=("--no-udp",),
    ),
    Fault(
        (Row("rebinding", "NAT rebinding (port)", RTT + 0.05, RTT + 0.15),),
        rebinding,
        nat=True,
    ),
    Fault(
        (Row("roaming", "address change (roaming)", RTT + 0.3, RTT + 0.6),),
        roaming,
    ),
    Fault(
        (
            Row("gone-5", "network gone 5 s: after its return", 0.1, 0.3),
            Row("gone-5-whole", "the same, until a key frame"),
        ),
        lambda stage: gone(stage, 5.0),
        waits=True,
    ),
    Fault(
        (Row("gone-60", "network gone 60 s: after its return", 0.8, 1.5),),
        lambda stage: gone(stage, 60.0)[:1],
        waits=True,
        disconnects=True,
    ),
    Fault(
        (Row("restart", "host killed, restarted: after it listens", 0.8, 2.0),),
        restarted,
    ),
)
