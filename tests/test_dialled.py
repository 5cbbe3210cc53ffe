"""
Tests for `rootstream.dialled`: a peer that is dialled, lost, dialled again and given
up on, on virtual time.
"""

from __future__ import annotations

import gc
import socket
import weakref
from itertools import pairwise
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

import rootstream.dialled
from rootstream.authorized import AuthorizedPeers
from rootstream.dialled import REDIAL_INTERVAL, DialledPeer
from rootstream.errors import (
    AddressRefused,
    GaveUp,
    HandshakeTimeout,
    LocalError,
    NoTransport,
)
from rootstream.host import Host
from rootstream.interfaces import Transport
from rootstream.peer import Peer
from rootstream.protocol.constants import TYPE_INIT
from rootstream.protocol.events import InputEvent
from rootstream.station import Station
from tests.virtual import (
    CLIENT_HOST,
    HOST,
    HOST_PORT,
    Recorder,
    VirtualReactor,
    identity,
    picture,
)

WAITS = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0]


class Watching(VirtualReactor):
    """
    Remembers the INITs that were sent, and when.
    """

    def __init__(self) -> None:
        super().__init__()
        self.inits: list[float] = []
        carry = self.net.carry

        def watch(packet: bytes, source: Any, destination: Any) -> None:
            if packet[0] == TYPE_INIT:
                self.inits.append(self.rightNow)
            carry(packet, source, destination)

        self.net.carry = watch  # type: ignore[method-assign]


class DialledCase(SynchronousTestCase):
    """
    A host that admits the one who dials it.
    """

    def setUp(self) -> None:
        self.reactor = Watching()
        self.reactor.surround(self)
        self.receiver = Recorder()
        self.hostReceiver = Recorder()
        self.host: Host | None = None

    def listen(self) -> None:
        """
        Start the host: a new process, which knows nothing of an earlier one.
        """
        self.host = Host(
            self.reactor,
            identity(2),
            AuthorizedPeers(None, [identity(1).key], False),
            lambda peer: self.hostReceiver,
            port=HOST_PORT,
            interface=HOST,
        )
        self.host.listen()

    def kill(self) -> None:
        """
        End the host as SIGKILL does: its sockets close, and nobody says a word.
        """
        self.reactor.net.ports.pop((HOST, HOST_PORT))
        self.reactor.tcpListeners.clear()
        for pipe in self.reactor.pipes:
            pipe.other.abortConnection()
        assert self.host is not None
        for peer in self.host.peers:
            peer.abandon()
        assert self.host._nextLook is not None
        self.host._nextLook.cancel()
        self.host = None

    def dial(self, host: str = HOST, **options: Any) -> Deferred[Peer]:
        """
        Begin to dial it.
        """
        remote = identity(2).key
        self.station = Station(self.reactor, identity(1))
        self.peer = self.station.peer(remote.x25519, remote.fingerprint)
        self.peer.setReceiver(self.receiver)
        connected = self.peer.whenConnected()
        self.dialled = DialledPeer(
            self.reactor, self.peer, self.station, host, HOST_PORT, **options
        )
        self.dialled.start()
        return connected

    def connect(self, **options: Any) -> None:
        """
        Dial it and be connected.
        """
        self.listen()
        connected = self.dial(**options)
        self.reactor.elapse(1.0)
        self.assertIs(self.successResultOf(connected), self.peer)

    def disconnect(self) -> None:
        """
        Cut the network until the peer counts as disconnected.
        """
        self.reactor.cut()
        states = len(self.receiver.states)
        self.reactor.elapse(32.0)
        self.assertEqual(self.receiver.route[states], "DISCONNECTED")


class ConnectingTests(DialledCase):
    """
    The first attempt.
    """

    def test_connects(self) -> None:
        """
        An answered first attempt passes through the states, each with its cause.
        """
        self.connect()
        self.assertEqual(
            self.receiver.states,
            [
                ("DISCOVERED", "CONNECTING", "first attempt"),
                (
                    "CONNECTING",
                    "HANDSHAKE_SENT",
                    "INIT sent over udp to 192.0.2.1:9876",
                ),
                ("HANDSHAKE_SENT", "CONNECTED", "handshake confirmed over udp"),
            ],
        )
        self.assertEqual(
            self.receiver.paths, [("udp", "192.0.2.1:9876", "handshake confirmed")]
        )
        self.assertEqual(self.hostReceiver.route, ["HANDSHAKE_RECEIVED", "CONNECTED"])
        self.assertEqual(self.receiver.attempts, [])

    def test_overTCP(self) -> None:
        """
        Where UDP is silent, the session comes over TCP within 0.6 s (F47).
        """
        self.listen()
        self.reactor.blockUDP()
        connected = self.dial()
        self.reactor.elapse(0.6)
        self.successResultOf(connected)
        self.assertEqual(self.receiver.paths[0][0], "tcp")
        self.assertEqual(self.receiver.route[-1], "CONNECTED")

    def test_oneSocketAFamily(self) -> None:
        """
        All attempts go out of one UDP socket for each address family.
        """
        opened = []

        def listenPackets(reactor: Any, sink: Any, port: int, interface: str) -> Any:
            opened.append(interface)
            return self.reactor._listenPackets(reactor, sink, port, interface)

        self.patch(rootstream.dialled, "listenPackets", listenPackets)
        self.dial(tcp=False)
        self.reactor.elapse(12.0)
        self.assertGreater(len(self.receiver.attempts), 1)
        self.assertEqual(opened, ["0.0.0.0"])
        self.dialled._openUDP(socket.AF_INET6)
        self.assertEqual(opened, ["0.0.0.0", "::"])

    def test_noTransport(self) -> None:
        """
        With both transports off there is one clear error and no second attempt.
        """
        connected = self.dial(udp=False, tcp=False)
        self.failureResultOf(connected, NoTransport)
        self.assertEqual(self.receiver.route, ["CONNECTING", "DISCONNECTED", "FAILED"])
        self.assertEqual(self.receiver.attempts, [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_localErrorEndsFirstAttempt(self) -> None:
        """
        An address that can never be a peer ends the first attempt for good (F65).
        """
        connected = self.dial("0.0.0.0")
        self.failureResultOf(connected, AddressRefused)
        self.assertEqual(self.receiver.route[-1], "FAILED")
        self.assertEqual(self.receiver.attempts, [])
        self.assertEqual(self.station.peers, ())

    def test_localErrorLaterIsOneOfMany(self) -> None:
        """
        A fault of this side in a later attempt, such as a network that went away,
        is one failed attempt: the schedule goes on.
        """
        connected = self.dial(tcp=False)
        self.reactor.elapse(4.0)

        def broken(*_: Any) -> Any:
            raise LocalError("no network")

        self.patch(self.dialled, "_sockets", {})
        self.patch(rootstream.dialled, "listenPackets", broken)
        self.reactor.elapse(2.0)
        self.assertGreater(len(self.receiver.attempts), 2)
        self.assertIn(
            ("CONNECTING", "DISCONNECTED", "no network"), self.receiver.states
        )
        self.assertNoResult(connected)
        connected.addErrback(lambda _: None)


class ScheduleTests(DialledCase):
    """
    A peer that is gone: retried exactly on the schedule, then removed.
    """

    def test_goneForGood(self) -> None:
        """
        A host that is gone is shown as disconnected 30 s after it was last heard,
        tried ten times after the scheduled waits, and failed.
        """
        self.connect()
        self.reactor.cut()
        self.reactor.elapse(28.0)
        self.assertEqual(self.receiver.route[-1], "CONNECTED")
        self.reactor.elapse(3.0)
        self.assertEqual(
            self.receiver.states[3],
            ("CONNECTED", "DISCONNECTED", "nothing heard for 30 s"),
        )
        self.reactor.elapse(200.0)
        self.assertEqual(
            self.receiver.attempts,
            [(number, 10, wait) for number, wait in enumerate(WAITS, 1)],
        )
        self.assertEqual(self.receiver.waits, WAITS)
        self.assertAlmostEqual(sum(self.receiver.waits), 81.1)
        attempt = ["CONNECTING", "HANDSHAKE_SENT", "DISCONNECTED"]
        self.assertEqual(self.receiver.route[4:-1], attempt * 10)
        causes = [
            cause for _, new, cause in self.receiver.states if new == "CONNECTING"
        ]
        self.assertEqual(
            causes[1:], [f"attempt {number} of 10" for number in range(1, 11)]
        )
        last = self.receiver.states[-1]
        self.assertEqual(last[:2], ("DISCONNECTED", "FAILED"))
        self.assertEqual(
            last[2],
            "gave up after 10 attempts: no answer, or not authorised there "
            "(UDP: silent for 5 s; TCP: no answer for 5 s)",
        )

    def test_waitsAreWaited(self) -> None:
        """
        Between the end of an attempt and the start of the next lies the wait.
        """
        moments: list[tuple[str, float]] = []
        recorder = self.receiver

        class Timed(Recorder):
            def stateChanged(timed, old: str, new: str, cause: str) -> None:
                recorder.stateChanged(old, new, cause)
                moments.append((new, self.reactor.rightNow))

        self.receiver = Timed()
        self.listen()
        self.dial()
        self.reactor.elapse(1.0)
        self.reactor.cut()
        self.reactor.elapse(230.0)
        ends = [at for new, at in moments if new == "DISCONNECTED"]
        starts = [at for new, at in moments if new == "CONNECTING"][1:]
        waits = [start - end for end, start in zip(ends, starts, strict=False)]
        self.assertEqual([round(wait, 6) for wait in waits], WAITS)

    def test_freed(self) -> None:
        """
        Whom we gave up on leaves nothing behind: no peer, no link, no keys, no
        timer and no socket.
        """
        self.connect()
        gone = [
            weakref.ref(thing)
            for thing in (self.peer, self.peer._link, self.dialled, self.station)
        ]
        self.reactor.cut()
        self.kill()
        self.reactor.elapse(300.0)
        self.assertEqual(self.receiver.route[-1], "FAILED")
        self.assertEqual(self.station.peers, ())
        self.assertEqual(len(self.station.node), 0)
        del self.peer, self.dialled, self.station
        gc.collect()
        self.assertEqual([each() for each in gone], [None] * 4)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.reactor.net.ports, {})

    def test_neverThere(self) -> None:
        """
        A host that never answers is retried on the same schedule; then whoever
        waits for it is told that it was given up on.
        """
        connected = self.dial()
        self.reactor.elapse(150.0)
        error = self.failureResultOf(connected, GaveUp).value
        self.assertIn("no answer, or not authorised there", str(error))
        self.assertEqual(self.receiver.waits, WAITS)
        self.assertEqual(self.receiver.route[-1], "FAILED")
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_resumedDuringSchedule(self) -> None:
        """
        A black hole of 60 s: shown as disconnected at 30 s, and back 1.5 s after
        the network, on the keys it had, without waiting for an attempt (F54).
        """
        self.connect()
        self.reactor.cut()
        self.reactor.elapse(60.0)
        self.assertEqual(self.receiver.route[3], "DISCONNECTED")
        self.assertGreater(len(self.receiver.attempts), 3)
        before = len(self.receiver.attempts)
        self.reactor.mend()
        self.reactor.elapse(1.5)
        old, new, cause = self.receiver.states[-1]
        self.assertEqual((old, new), ("DISCONNECTED", "CONNECTED"))
        self.assertTrue(cause.startswith("heard again after 6"), cause)
        self.reactor.elapse(29.0)
        self.assertEqual(self.receiver.route[-1], "CONNECTED")
        self.assertEqual(len(self.receiver.attempts), before)

    def test_scheduleStartsAnew(self) -> None:
        """
        A loss after a recovery begins the schedule from its first wait.
        """
        self.connect()
        self.reactor.cut()
        self.reactor.elapse(45.0)
        self.reactor.mend()
        self.reactor.elapse(3.0)
        self.assertEqual(self.receiver.route[-1], "CONNECTED")
        self.receiver.attempts.clear()
        self.disconnect()
        self.reactor.elapse(160.0)
        self.assertEqual(self.receiver.waits, WAITS)
        self.assertEqual(self.receiver.route[-1], "FAILED")

    def test_hostRestarted(self) -> None:
        """
        A host that was killed and restarted has us again within two seconds, and
        is known for a new instance (F27).
        """
        self.connect()
        self.kill()
        self.listen()
        self.peer.sendVideo(picture())
        self.reactor.elapse(2.5)
        self.assertEqual(self.receiver.route[-1], "CONNECTED")
        self.assertEqual(self.hostReceiver.route[-1], "CONNECTED")
        self.assertTrue(self.peer.sendVideo(picture(1)))
        self.reactor.elapse(0.1)
        self.assertEqual(self.hostReceiver.video, [picture(1)])

    def test_networkChanged(self) -> None:
        """
        A network that appears during a wait is tried at once.
        """
        self.connect()
        self.disconnect()
        self.reactor.elapse(40.0)
        while self.receiver.route[-1] != "DISCONNECTED":
            self.reactor.elapse(1.0)
        waits = len(self.receiver.attempts)
        before = len(self.reactor.inits)
        self.reactor.changeNetwork()
        self.reactor.elapse(0.01)
        self.assertEqual(self.receiver.route[-2:], ["CONNECTING", "HANDSHAKE_SENT"])
        self.assertEqual(self.receiver.states[-2][2], "the network changed")
        self.assertGreater(len(self.reactor.inits), before)
        self.reactor.elapse(6.0)
        self.assertEqual(self.receiver.attempts[waits], (1, 10, 0.1))


class ChangedTests(DialledCase):
    """
    The network changes, in each state of a peer (F64).
    """

    def reached(self) -> float:
        """
        How many seconds it takes from now until the peer is connected.
        """
        began = self.reactor.rightNow
        while self.receiver.route[-1] != "CONNECTED":
            self.reactor.elapse(0.01)
            self.assertLess(self.reactor.rightNow - began, 10.0)
        return self.reactor.rightNow - began

    def test_firstAttempt(self) -> None:
        """
        An attempt that was begun on the network before starts over at once.
        """
        self.listen()
        self.reactor.cut()
        self.dial(udp=False)
        self.reactor.elapse(1.0)
        self.reactor.mend()
        self.reactor.changeNetwork()
        self.assertLess(self.reached(), 0.1)
        self.assertEqual(self.receiver.attempts, [])

    def test_nameOfTheMoment(self) -> None:
        """
        A network that goes away during the first attempt, and with it all names, does
        not end it for good.
        """
        connected = self.dial(tcp=False)
        self.reactor.elapse(1.0)

        def broken(*_: Any) -> Any:
            raise LocalError("no network")

        self.patch(self.dialled, "_sockets", {})
        self.patch(rootstream.dialled, "listenPackets", broken)
        self.reactor.changeNetwork()
        self.reactor.elapse(1.0)
        self.assertNoResult(connected)
        self.assertIn(
            ("HANDSHAKE_SENT", "DISCONNECTED", "no network"), self.receiver.states
        )
        self.assertGreater(len(self.receiver.attempts), 1)
        connected.addErrback(lambda _: None)

    def test_scheduleStartsOver(self) -> None:
        """
        A change ends the wait, and the schedule begins again with the shortest.
        """
        self.listen()
        connected = self.dial(tcp=False)
        self.reactor.cut()
        self.reactor.elapse(30.0)
        while self.receiver.route[-1] != "DISCONNECTED":
            self.reactor.elapse(0.1)
        self.reactor.mend()
        self.reactor.changeNetwork()
        self.assertLess(self.reached(), 0.1)
        self.assertEqual(
            [cause for *_, cause in self.receiver.states if "network" in cause],
            ["the network changed"],
        )
        self.successResultOf(connected)

    def test_connected(self) -> None:
        """
        A peer that is connected stays so, in its session, and asks all its paths.
        """
        self.connect()
        self.reactor.elapse(5.0)
        self.reactor.inits.clear()
        carried = self.reactor.net.carried
        self.reactor.changeNetwork()
        self.assertGreater(self.reactor.net.carried, carried)
        self.reactor.elapse(5.0)
        self.assertEqual(self.receiver.route[-1], "CONNECTED")
        self.assertEqual(self.reactor.inits, [])
        self.assertEqual(len(self.receiver.paths), 1)

    def test_impaired(self) -> None:
        """
        A peer that is impaired is dialled at once, whatever was being dialled.
        """
        self.connect(udp=False)
        self.reactor.cut()
        self.peer.sendVideo(picture())
        self.reactor.elapse(5.0)
        self.assertTrue(self.peer.status().impaired)
        self.reactor.mend()
        for pipe in self.reactor.pipes:
            pipe.lost = pipe.other.lost = True
        self.reactor.changeNetwork()
        self.reactor.elapse(0.1)
        self.assertFalse(self.peer.status().impaired)
        self.assertEqual(self.receiver.route[-1], "CONNECTED")

    def test_addressGone(self) -> None:
        """
        A connection from an address that is gone ends then and there, and the session
        goes on over another; UDP and connections from other addresses stay.
        """
        self.connect(udp=False)
        before = self.peer.status().path
        assert before is not None
        self.reactor.changeNetwork("something else", "192.0.2.77")
        self.assertIs(self.peer.status().path, before)
        self.reactor.changeNetwork("roamed", CLIENT_HOST)
        self.reactor.elapse(0.1)
        after = self.peer.status().path
        self.assertIsNot(after, before)
        self.assertIsNotNone(after)
        self.assertEqual(self.receiver.route[-1], "CONNECTED")

    def test_standbyGone(self) -> None:
        """
        A standby connection from an address that is gone is made anew at once.
        """
        self.connect()
        count = len(self.reactor.pipes)
        self.reactor.changeNetwork("roamed", CLIENT_HOST)
        self.reactor.elapse(0.1)
        self.assertEqual(len(self.reactor.pipes), count + 1)
        self.assertTrue(self.reactor.pipes[count - 1].lost)
        self.assertFalse(self.reactor.pipes[count].lost)
        self.assertEqual(len(self.receiver.paths), 1)

    def test_over(self) -> None:
        """
        Who is given up on watches no network any more.
        """
        self.connect()
        self.peer.close()
        self.reactor.elapse(1.0)
        assert self.host is not None
        self.host.close()
        self.assertEqual(self.reactor.watching, {})
        self.reactor.changeNetwork()

    def test_tenMinutesAsleep(self) -> None:
        """
        After ten minutes of suspend the keys are too old, because they age in it; the
        first thing that happens is another handshake, within a second and a round
        trip (F67).
        """
        self.connect()
        self.reactor.elapse(5.0)
        self.reactor.inits.clear()
        woken = self.reactor.rightNow + 600.0
        self.reactor.advance(600.0)
        self.reactor.changeNetwork("resumed from suspend after 600 s")
        self.reached()
        self.assertLess(self.reactor.rightNow - woken, 1.0)
        self.assertGreater(len(self.reactor.inits), 0)
        self.reactor.elapse(1.0)
        self.assertTrue(self.peer.sendVideo(picture()))
        self.reactor.elapse(0.1)
        self.assertEqual(self.hostReceiver.video[-1:], [picture()])

    def test_aMinuteAsleep(self) -> None:
        """
        After a minute of it the session goes on, without another handshake.
        """
        self.connect()
        self.reactor.elapse(5.0)
        self.reactor.inits.clear()
        woken = self.reactor.rightNow + 60.0
        self.reactor.advance(60.0)
        self.reactor.changeNetwork("resumed from suspend after 60 s")
        self.reached()
        self.assertLess(self.reactor.rightNow - woken, 0.1)
        self.assertEqual(self.reactor.inits, [])


class FakeMemory:
    """
    A memory of networks that remembers what it was told.
    """

    def __init__(self, transport: Transport | None) -> None:
        self.transport = transport
        self.told: list[Transport] = []

    def preferred(self) -> Transport | None:
        return self.transport

    def worked(self, transport: Transport) -> None:
        self.told.append(transport)


class MemoryTests(DialledCase):
    """
    What worked on a network before.
    """

    def test_preferred(self) -> None:
        """
        What the memory prefers is dialled at once.
        """
        self.listen()
        self.reactor.blockUDP()
        connected = self.dial(memory=FakeMemory(Transport.TCP))
        self.reactor.elapse(0.05)
        self.successResultOf(connected)
        self.assertEqual(self.receiver.paths[0][0], "tcp")

    def test_worked(self) -> None:
        """
        It is told of each transport that carries the session.
        """
        memory = FakeMemory(None)
        self.connect(memory=memory)
        self.assertEqual(set(memory.told), {Transport.UDP})
        memory.told.clear()
        self.reactor.blockUDP()
        self.peer.sendVideo(picture())
        self.reactor.elapse(3.0)
        self.assertEqual(set(memory.told), {Transport.TCP})


class ImpairedTests(DialledCase):
    """
    Silence that may pass: dialled again at once, quietly.
    """

    def test_redialledEachSecond(self) -> None:
        """
        While nothing is heard, INITs go out each second, in no attempt of the
        schedule and without a change of state.
        """
        self.connect(tcp=False)
        self.peer.sendVideo(picture())
        self.reactor.cut()
        cutAt = self.reactor.rightNow
        self.reactor.inits.clear()
        self.reactor.elapse(28.0)
        self.assertEqual(self.receiver.route[-1], "CONNECTED")
        self.assertEqual(self.receiver.attempts, [])
        self.assertLess(self.reactor.inits[0] - cutAt, 3.0)
        inits = [cutAt, *self.reactor.inits]
        gaps = [later - earlier for earlier, later in pairwise(inits)]
        self.assertLess(max(gaps[1:]), 2.0)

    def test_dialledAgainAfterAFailure(self) -> None:
        """
        A quick attempt that fails is followed by another, ever later up to a second,
        also one that fails before it has begun.
        """
        self.connect(tcp=False)
        calls: list[float] = []

        def broken(family: int) -> Any:
            calls.append(self.reactor.rightNow)
            raise LocalError("no such interface")

        self.patch(self.dialled._connector, "_openUDP", broken)
        self.peer.sendVideo(picture())
        self.reactor.cut()
        self.reactor.elapse(10.0)
        gaps = [round(later - earlier, 6) for earlier, later in pairwise(calls)]
        self.assertGreater(len(gaps), 4)
        self.assertEqual(gaps[:5], [0.1, 0.2, 0.4, 0.8, REDIAL_INTERVAL])
        self.assertEqual(set(gaps[5:]), {REDIAL_INTERVAL})

    def test_movesToTCP(self) -> None:
        """
        A session whose UDP falls silent goes on over TCP, found by a quick attempt;
        INPUT that was sent meanwhile arrives once (F48).
        """
        self.connect()
        self.peer.sendVideo(picture())
        self.reactor.elapse(0.1)
        self.reactor.blockUDP()
        event = InputEvent(1, 30, 1)
        self.peer.sendInput([event])
        self.reactor.elapse(4.0)
        self.assertEqual(self.receiver.paths[-1][0], "tcp")
        self.assertEqual(self.hostReceiver.input, [event])
        self.assertEqual(self.receiver.route[-1], "CONNECTED")
        self.assertNotIn("DISCONNECTED", self.receiver.route)
        self.assertTrue(self.peer.sendVideo(picture(1)))
        self.reactor.elapse(0.1)
        self.assertEqual(self.hostReceiver.video, [picture(), picture(1)])

    def test_tcpPathLost(self) -> None:
        """
        A session whose only connection ends is dialled again at once, and goes on
        (F59).
        """
        self.listen()
        self.dial(udp=False)
        self.reactor.elapse(1.0)
        self.assertEqual(self.receiver.paths[-1][0], "tcp")
        [pipe] = self.reactor.pipes
        pipe.abortConnection()
        self.reactor.elapse(0.5)
        self.assertEqual(len(self.reactor.pipes), 2)
        self.assertNotIn("DISCONNECTED", self.receiver.route)
        self.assertTrue(self.peer.sendVideo(picture()))
        self.reactor.elapse(0.1)
        self.assertEqual(self.hostReceiver.video, [picture()])

    def test_tcpPathLostToARestart(self) -> None:
        """
        When the peer does not know the session on the new connection either, a
        handshake follows.
        """
        self.listen()
        self.dial(udp=False)
        self.reactor.elapse(1.0)
        for peer in self.host.peers:
            peer.abandon()
        [pipe] = self.reactor.pipes
        pipe.abortConnection()
        self.reactor.elapse(0.2)
        self.assertEqual(len(self.reactor.pipes), 2)
        self.assertEqual(self.receiver.health[-1][0], "impaired")
        self.reactor.elapse(0.5)
        self.assertEqual(self.receiver.health[-1][0], "recovered")
        self.assertIn("new instance", self.receiver.health[-1][1])

    def test_suspectWithoutStandby(self) -> None:
        """
        F48: without a standby connection, one is dialled as soon as UDP is suspect, not
        when the peer is impaired.
        """
        self.connect(standby=False)
        self.reactor.elapse(0.5)
        self.assertEqual(self.reactor.pipes, [])
        self.reactor.blockUDP()
        self.peer.sendInput([InputEvent(1, 30, 1)])
        self.reactor.elapse(0.4)
        self.assertEqual(self.receiver.health[-1][0], "udp suspect")
        self.assertEqual(self.hostReceiver.input, [InputEvent(1, 30, 1)])

    def test_recoveryEndsIt(self) -> None:
        """
        When the peer is heard again, quick attempts stop.
        """
        self.connect(tcp=False)
        self.peer.sendVideo(picture())
        self.reactor.cut()
        self.reactor.elapse(5.0)
        self.reactor.mend()
        self.reactor.elapse(2.0)
        self.reactor.inits.clear()
        self.reactor.elapse(20.0)
        self.assertEqual(self.reactor.inits, [])


class OverTests(DialledCase):
    """
    A conversation that somebody ended.
    """

    def assertOver(self) -> None:
        """
        Nothing is left of it, and nothing happens any more.
        """
        states, attempts = list(self.receiver.states), list(self.receiver.attempts)
        assert self.host is not None
        self.host.close()
        self.reactor.elapse(1.0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.reactor.net.ports, {})
        self.assertTrue(all(pipe.lost for pipe in self.reactor.pipes))
        self.assertEqual(self.receiver.states, states)
        self.assertEqual(self.receiver.attempts, attempts)
        self.assertEqual(self.station.peers, ())

    def test_closedByPeer(self) -> None:
        """
        A goodbye of the peer ends everything: no attempt follows.
        """
        self.connect()
        assert self.host is not None
        [there] = self.host.peers
        there.close("enough")
        self.reactor.elapse(1.0)
        self.assertEqual(
            self.receiver.states[-1],
            ("CONNECTED", "DISCONNECTED", "the peer closed: enough"),
        )
        assert self.peer.closed is not None
        self.assertTrue(self.peer.closed.byPeer)
        self.reactor.elapse(60.0)
        self.assertEqual(self.receiver.attempts, [])
        self.assertOver()

    def test_closedByUs(self) -> None:
        """
        Our own goodbye reaches the peer, and ends everything here.
        """
        self.connect()
        closed = self.peer.close("done")
        self.reactor.elapse(0.5)
        self.successResultOf(closed)
        self.assertEqual(
            self.hostReceiver.states[-1],
            ("CONNECTED", "DISCONNECTED", "the peer closed: done"),
        )
        self.assertEqual(self.receiver.route[-1], "DISCONNECTED")
        self.assertOver()

    def test_closedOverTCP(self) -> None:
        """
        A goodbye over TCP arrives before the connection ends.
        """
        self.listen()
        self.dial(udp=False)
        self.reactor.elapse(1.0)
        self.peer.close("done")
        self.reactor.elapse(0.5)
        self.assertEqual(self.hostReceiver.states[-1][2], "the peer closed: done")
        self.assertOver()

    def test_closedWhileConnecting(self) -> None:
        """
        Whoever gives up while an attempt runs has not failed: the one change of
        state says who ended it, and no attempt is announced.
        """
        self.listen()
        self.reactor.cut()
        connected = self.dial()
        self.reactor.elapse(1.0)
        closed = self.peer.close("changed my mind")
        self.successResultOf(closed)
        self.failureResultOf(connected)
        self.assertEqual(
            self.receiver.states[2:],
            [("HANDSHAKE_SENT", "DISCONNECTED", "this side closed: changed my mind")],
        )
        self.assertOver()

    def test_abandonedWhileConnecting(self) -> None:
        """
        A peer that is forgotten while an attempt runs tells of no failed attempt
        and of none to come.
        """
        self.listen()
        self.reactor.cut()
        connected = self.dial()
        connected.addErrback(lambda _: None)
        self.reactor.elapse(1.0)
        self.peer.abandon()
        self.assertEqual(self.receiver.route, ["CONNECTING", "HANDSHAKE_SENT"])
        self.assertOver()

    def test_closedWhileWaiting(self) -> None:
        """
        A goodbye during a wait ends the wait.
        """
        self.connect()
        self.disconnect()
        self.reactor.elapse(20.0)
        self.peer.close()
        self.reactor.elapse(1.0)
        self.assertOver()

    def test_closedWhileRedialling(self) -> None:
        """
        A goodbye during a quick attempt, or between two, ends them.
        """
        for between in (False, True):
            self.receiver = Recorder()
            self.connect(tcp=False)
            self.peer.sendVideo(picture())
            self.reactor.cut()
            self.reactor.elapse(3.0)
            while between and self.dialled._redialLater is None:
                self.reactor.elapse(0.5)
            self.peer.close()
            self.reactor.elapse(1.0)
            assert self.host is not None
            for peer in self.host.peers:
                peer.abandon()
            self.assertOver()
            self.reactor.mend()

    def test_lostTwice(self) -> None:
        """
        Keys that die during the schedule change nothing in it.
        """
        self.connect()
        self.disconnect()
        states = len(self.receiver.states)
        self.dialled.lost("its keys are too old to use")
        self.assertEqual(len(self.receiver.states), states)
        self.peer.abandon()

    def test_lateHandshakeError(self) -> None:
        """
        The error of an attempt that was ended from outside is not told.
        """
        self.connect()
        self.peer.abandon()
        states = len(self.receiver.states)
        self.assertFalse(self.dialled.attemptFailed(Failure(HandshakeTimeout("late"))))
        self.assertEqual(len(self.receiver.states), states)
