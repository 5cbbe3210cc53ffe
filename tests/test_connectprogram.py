"""
Tests for `rootstream.connectprogram`: what one host sends, into one sink.
"""

from __future__ import annotations

import gc
import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

import rootstream.connectprogram
from rootstream.authorized import VIEW, AuthorizedPeers
from rootstream.connectprogram import ConnectProgram, ConnectSettings
from rootstream.errors import LocalError, SinkError
from rootstream.host import Host
from rootstream.identity import Identity, formatCode, loadOrCreateIdentity
from rootstream.networks import NetworkMemory
from rootstream.peersfile import PeersFile
from rootstream.protocol.events import (
    AudioFrame,
    Command,
    Control,
    InputEvent,
    VideoFrame,
)
from rootstream.protocol.pairing import Guest
from rootstream.reception import Reception
from rootstream.transport.network import Gateway
from tests.test_control import askerOf
from tests.virtual import (
    HOST,
    HOST_PORT,
    Recorder,
    VirtualReactor,
    codeOf,
    identity,
    picture,
)

SOUND = AudioFrame(b"sound", 0)


class FakeSink:
    """
    A sink that keeps what it is given, until it is closed.
    """

    def __init__(self) -> None:
        self.video_: list[VideoFrame] = []
        self.audio_: list[AudioFrame] = []
        self.closed = False

    def video(self, frame: VideoFrame) -> None:
        if not self.closed:
            self.video_.append(frame)

    def audio(self, frame: AudioFrame) -> None:
        self.audio_.append(frame)

    def close(self) -> Deferred[None]:
        self.closed = True
        return succeed(None)


class ConnectProgramCase(SynchronousTestCase):
    """
    A viewer with a sink that a test looks into, and a host to dial.
    """

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.reactor.surround(self)
        self.reactor.running = True
        self.sink = FakeSink()
        self.sinkOptions: dict[str, Any] = {}
        self.opened: list[str] = []
        self.gateway: Gateway | None = None
        self.later: list[Callable[[], None]] = []
        self.patch(rootstream.connectprogram, "openSink", self.openSink)
        self.patch(
            rootstream.connectprogram,
            "NetworkMemory",
            partial(NetworkMemory, gateway=self.findGateway, later=self.later.append),
        )
        self.home = Path(self.mktemp())
        self.events = self.mktemp()
        self.out, self.err = io.StringIO(), io.StringIO()
        self.hostReceiver = Recorder()

    def openSink(self, spec: str, **options: Any) -> FakeSink:
        self.opened.append(spec)
        self.sinkOptions = options
        return self.sink

    def findGateway(self) -> Gateway | None:
        return self.gateway

    def program(self, sink: str = "null", **options: Any) -> ConnectProgram:
        duration = options.pop("duration", None)
        settings = ConnectSettings(self.home, codeOf(identity(2)), sink, **options)
        return ConnectProgram(
            self.reactor, settings, self.out, self.err, self.events, duration
        )

    def listen(self) -> Host:
        guest = loadOrCreateIdentity(self.home).key
        host = Host(
            self.reactor,
            identity(2),
            AuthorizedPeers(None, [guest], False),
            lambda peer: self.hostReceiver,
            port=HOST_PORT,
            interface=HOST,
        )
        host.listen()
        return host

    def start(self, **options: Any) -> ConnectProgram:
        """
        Start a host, and a viewer that is connected to it.
        """
        self.host = self.listen()
        program = self.program(**options)
        program.startService()
        self.reactor.elapse()
        self.assertEqual(self.hostReceiver.route[-1], "CONNECTED")
        return program

    def stop(self, program: ConnectProgram) -> None:
        stopping = program.stopService()
        self.reactor.elapse(2.0)
        self.successResultOf(stopping)
        self.assertTrue(self.sink.closed)

    def written(self, event: str) -> list[dict[str, Any]]:
        """
        The events of one kind in the events file.
        """
        lines = map(json.loads, Path(self.events).read_text("utf-8").splitlines())
        return [line for line in lines if line["event"] == event]


class StreamTests(ConnectProgramCase):
    """
    A viewer that is connected.
    """

    def test_memory(self) -> None:
        """
        What carried the stream on this network is remembered in the home.
        """
        self.gateway = Gateway("192.0.2.254", bytes(6))
        self.reactor.blockUDP()
        self.listen()
        program = self.program()
        program.startService()
        self.reactor.elapse(1.0)
        [write] = self.later
        write()
        self.assertIn("tcp", (self.home / "networks").read_text("ascii"))
        self.stop(program)

    def test_intoTheSink(self) -> None:
        """
        Frames and sound go into the sink as they came.
        """
        program = self.start()
        [there] = self.host.peers
        there.sendVideo(picture())
        there.sendAudio(SOUND)
        self.reactor.elapse()
        self.assertEqual(self.sink.video_, [picture()])
        self.assertEqual(self.sink.audio_, [SOUND])
        self.assertEqual(self.opened, ["null"])
        self.stop(program)

    def test_says(self) -> None:
        """
        Each state is said with its cause, and written down with the host's
        fingerprint.
        """
        program = self.start()
        self.assertEqual(
            self.out.getvalue().splitlines(),
            [
                "CONNECTING: first attempt",
                "HANDSHAKE_SENT: INIT sent over udp to 192.0.2.1:9876",
                "CONNECTED: handshake confirmed over udp",
            ],
        )
        states = self.written("state")
        self.assertEqual([event["to"] for event in states][-1], "CONNECTED")
        self.assertEqual(states[0]["peer"], identity(2).key.fingerprint)
        [path] = self.written("path")
        self.assertEqual(path["address"], "192.0.2.1:9876")
        self.stop(program)

    def test_drill(self) -> None:
        """
        Asked through its home for a drill, it rehearses with the host: the session goes
        on over TCP meanwhile.
        """
        program = self.start()
        self.reactor.elapse(1.0)
        connection = askerOf(self.reactor, self.home)
        connection.dataReceived(b'{"command": "drill", "peer": null}\n')
        self.reactor.elapse(8.0)
        [answer] = json.loads(connection.transport.value())["peers"]
        self.assertEqual(answer["peer"], identity(2).key.fingerprint)
        self.assertIn("moved to TCP", answer["text"])
        [event] = self.written("drill")
        self.assertEqual((event["seconds"], event["moved_to"]), (3.0, "tcp"))
        self.assertLess(event["back_after_s"], 3.0)
        self.assertEqual(self.hostReceiver.route[-1], "CONNECTED")
        connection.connectionLost(Failure(ConnectionDone()))
        self.stop(program)

    def test_input(self) -> None:
        """
        What its user does goes to the host, once it is connected, and what is held is
        let go of when he goes away.
        """
        program = self.program()
        program.releaseInput()
        self.assertRaises(LocalError, program.sendInput, [InputEvent(1, 30, 1)])
        program = self.start()
        program.sendInput([InputEvent(1, 30, 1), InputEvent(0, 0, 0)])
        program.releaseInput()
        self.reactor.elapse()
        self.assertEqual(
            [(event.kind, event.value) for event in self.hostReceiver.input],
            [(1, 1), (0, 0), (1, 0), (0, 0)],
        )
        self.stop(program)

    def test_notYetConnected(self) -> None:
        """
        Before it is connected there is nobody to rehearse with.
        """
        program = self.program()
        program.startService()
        connection = askerOf(self.reactor, self.home)
        connection.dataReceived(b'{"command": "drill"}\n')
        self.assertEqual(connection.transport.value(), b'{"peers": []}\n')
        connection.connectionLost(Failure(ConnectionDone()))
        self.stop(program)

    def test_statistics(self) -> None:
        """
        What was received is measured each second once it is connected, and summed up
        at the end.
        """
        program = self.start()
        [there] = self.host.peers
        for number in range(30):
            captured = VideoFrame(b"x", round(self.reactor.rightNow * 1e6), number == 0)
            there.sendVideo(captured)
        self.reactor.elapse(1.0)
        [stats] = self.written("stats")
        # The network here takes a millisecond.
        self.assertAlmostEqual(stats["latency_ms"], 1.0, delta=0.2)
        self.assertEqual((stats["frames"], stats["transport"]), (30, "udp"))
        self.assertGreater(stats["fps"], 25)
        self.stop(program)
        [summary] = self.written("summary")
        self.assertEqual(summary["frames_received"], 30)
        self.assertEqual(summary["frames_lost"], 0)
        self.assertEqual(summary["transport"], "udp")
        for field in ("latency_p50_ms", "latency_p99_ms"):
            self.assertAlmostEqual(summary[field], 1.0, delta=0.2)

    def test_status(self) -> None:
        """
        It tells how its host does, as measured in the last second.
        """
        program = self.start()
        [there] = self.host.peers
        captured = VideoFrame(b"x", round(self.reactor.rightNow * 1e6), True)
        there.sendVideo(captured)
        self.reactor.elapse(1.0)
        [peer] = program.status().peers
        [stats] = self.written("stats")
        self.assertEqual((peer.state, peer.frames, peer.rights), ("CONNECTED", 1, ()))
        self.assertEqual(peer.latency_ms, stats["latency_ms"])
        self.assertTrue(peer.cause.startswith("CONNECTED: "), peer.cause)
        self.stop(program)

    def test_statusWhileDialling(self) -> None:
        """
        A host that is not reached yet is there, with what is done about it.
        """
        program = self.program()
        self.assertEqual(program.status().peers, ())
        program.startService()
        [peer] = program.status().peers
        last = self.written("state")[-1]
        self.assertEqual((peer.state, peer.cause), (last["to"], last["text"]))
        self.assertIn("first attempt", self.written("state")[0]["cause"])
        self.reactor.elapse(1.0)
        [peer] = program.status().peers
        assert peer.since is not None
        self.assertGreater(peer.since, 0.1)
        self.assertEqual((peer.transport, peer.rtt_ms, peer.frames), (None, None, 0))
        self.stop(program)

    def test_orders(self) -> None:
        """
        What its own user orders goes to the host; to disconnect ends it.
        """
        program = self.start()
        order = program.commands["control"]
        self.successResultOf(order({"action": "fps", "value": 15.0}))
        self.reactor.elapse()
        self.assertEqual(self.hostReceiver.control, [Control(Command.SET_FPS, 15)])
        self.successResultOf(order({"action": "disconnect"}))
        self.assertFalse(self.reactor.running)
        self.assertEqual(program.exitStatus, 0)
        self.stop(program)

    def test_noStatisticsBeforeConnecting(self) -> None:
        """
        Nothing is measured of a host that is not there yet.
        """
        program = self.program()
        program.startService()
        self.reactor.elapse(3.0)
        self.assertEqual(self.written("stats"), [])
        self.stop(program)
        [summary] = self.written("summary")
        self.assertEqual((summary["frames_received"], summary["transport"]), (0, None))

    def test_keyFrame(self) -> None:
        """
        A sink that left frames out gets a key frame asked of the host.
        """
        program = self.program()
        program.startService()
        self.sinkOptions["wantKeyFrame"]()
        self.assertEqual(self.hostReceiver.control, [])
        program.stopService()
        self.reactor.elapse(0.5)
        program = self.start()
        self.sinkOptions["wantKeyFrame"]()
        self.reactor.elapse()
        self.assertEqual(self.hostReceiver.control, [Control(Command.REQUEST_KEYFRAME)])
        self.stop(program)

    def test_transports(self) -> None:
        """
        A transport that is switched off is not used.
        """
        program = self.start(udp=False)
        self.assertEqual(self.reactor.net.carried, 0)
        self.stop(program)
        program = self.start(tcp=False)
        self.assertEqual(len(self.reactor.pipes), 1)
        self.stop(program)

    def listen(self) -> Host:
        for address in list(self.reactor.tcpListeners):
            del self.reactor.tcpListeners[address]
            del self.reactor.net.ports[address]
        return super().listen()


class EndTests(ConnectProgramCase):
    """
    How a viewer ends.
    """

    def test_hostSaysGoodbye(self) -> None:
        """
        A goodbye of the host ends it with status 0.
        """
        program = self.start()
        self.host.close("the source has ended")
        self.reactor.elapse()
        self.assertIn(
            "DISCONNECTED: the peer closed: the source has ended", self.out.getvalue()
        )
        self.assertTrue(self.reactor.hasStopped)
        self.assertEqual(program.exitStatus, 0)
        self.stop(program)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_neverThere(self) -> None:
        """
        A host that never answers is given up on after the schedule: one line, and
        status 3.
        """
        program = self.program()
        program.startService()
        self.reactor.elapse(150.0)
        self.assertEqual(self.err.getvalue().count("\n"), 1)
        self.assertIn("no answer, or not authorised there", self.err.getvalue())
        self.assertEqual(program.exitStatus, 3)
        self.assertEqual(
            [event["wait_s"] for event in self.written("attempt")],
            [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0],
        )
        self.assertEqual(self.written("state")[-1]["to"], "FAILED")
        [error] = self.written("error")
        self.assertIn("gave up after 10 attempts", error["message"])
        self.stop(program)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_goneForGood(self) -> None:
        """
        A host that was there and is gone for good is given up on the same way.
        """
        program = self.start()
        self.reactor.cut()
        self.reactor.elapse(200.0)
        self.assertEqual(len(self.written("attempt")), 10)
        self.assertEqual(self.err.getvalue().count("\n"), 1)
        self.assertIn("gave up after 10 attempts", self.err.getvalue())
        self.assertEqual(program.exitStatus, 3)
        self.stop(program)

    def test_noTransport(self) -> None:
        """
        With both transports off there is one line, and status 1.
        """
        program = self.program(udp=False, tcp=False)
        program.startService()
        self.assertEqual(self.err.getvalue().count("\n"), 1)
        self.assertIn("both UDP and TCP are switched off", self.err.getvalue())
        self.assertEqual(program.exitStatus, 1)
        self.stop(program)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stopped(self) -> None:
        """
        A stop says goodbye to the host, closes the sink, and takes less than two
        seconds (F86).
        """
        program = self.start()
        stopping = program.stopService()
        self.reactor.elapse(0.3)
        self.successResultOf(stopping)
        self.assertEqual(
            self.hostReceiver.states[-1][2], "the peer closed: the viewer was stopped"
        )
        self.assertTrue(self.sink.closed)
        self.assertEqual(program.exitStatus, 0)

    def test_pictureDuringTheGoodbye(self) -> None:
        """
        A picture that is on its way when the viewer is stopped is written, as it is
        counted.
        """
        program = self.start()
        [guest] = self.host.peers
        self.assertTrue(guest.sendVideo(picture(1)))
        stopping = program.stopService()
        self.reactor.elapse(2.0)
        self.successResultOf(stopping)
        self.assertEqual(len(self.sink.video_), 1)
        [summary] = self.written("summary")
        self.assertEqual(summary["frames_received"], 1)
        self.successResultOf(self.host.close())

    def test_stoppedWhileConnecting(self) -> None:
        """
        A stop while it connects is an end like any other: no error, status 0.
        """
        program = self.program()
        program.startService()
        self.reactor.elapse(1.0)
        self.stop(program)
        self.assertEqual(self.err.getvalue(), "")
        self.assertEqual(program.exitStatus, 0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_duration(self) -> None:
        """
        A duration that is over ends it with status 0.
        """
        program = self.start(duration=5.0)
        self.reactor.elapse(5.0)
        self.assertTrue(self.reactor.hasStopped)
        self.assertEqual(program.exitStatus, 0)
        self.stop(program)

    def test_bug(self) -> None:
        """
        An error that is nobody's but ours is logged with its traceback.
        """
        self.patch(
            rootstream.connectprogram,
            "connect",
            lambda *_, **__: fail(ZeroDivisionError("bug")),
        )
        program = self.program()
        program.startService()
        self.stop(program)
        del program
        self.sinkOptions.clear()
        gc.collect()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class SinkTests(ConnectProgramCase):
    """
    Sinks that make trouble.
    """

    def refuse(self, spec: str, **options: Any) -> Any:
        raise SinkError("cannot write film.mkv: it is a directory")

    def test_unwritable(self) -> None:
        """
        A sink that cannot be opened is said in one line; nothing is dialled.
        """
        self.patch(rootstream.connectprogram, "openSink", self.refuse)
        for sink in ("film.mkv", "-"):
            self.err = io.StringIO()
            program = self.program(sink)
            program.startService()
            self.assertEqual(
                self.err.getvalue(),
                "rootstream: cannot write film.mkv: it is a directory\n",
            )
            self.assertEqual(program.exitStatus, 1)
            self.successResultOf(program.stopService())
        self.assertEqual(self.reactor.net.ports, {})
        self.assertEqual(self.written("state"), [])

    def test_standardOutput(self) -> None:
        """
        Standard output is taken before anything could be logged to it; another sink
        only when the program starts.
        """
        self.program("film.mkv")
        self.assertEqual(self.opened, [])
        program = self.program("-")
        self.assertEqual(self.opened, ["-"])
        program.startService()
        self.assertEqual(self.opened, ["-"])
        self.stop(program)

    def test_full(self) -> None:
        """
        A sink that fails later ends the program with one line and status 1 (F83).
        """
        program = self.start(sink="film.mkv")
        self.sinkOptions["failed"](SinkError("the disk is full"))
        self.assertEqual(self.err.getvalue(), "rootstream: the disk is full\n")
        self.assertEqual(program.exitStatus, 1)
        self.stop(program)

    def test_homeIsNoDirectory(self) -> None:
        """
        A home that is a file is said before the sink is opened.
        """
        self.home.write_text("")
        program = self.program("film.mkv")
        program.startService()
        self.assertIn("is not a directory", self.err.getvalue())
        self.assertEqual(self.opened, [])
        self.assertEqual(program.exitStatus, 1)
        self.successResultOf(program.stopService())


class PairTests(ConnectProgramCase):
    """
    ``--pair``.
    """

    phrase = "abandon ability able about above zoo"

    def reception(self) -> None:
        """
        Let a host show the phrase.
        """
        self.stored: list[Guest] = []
        reception = Reception(
            self.reactor,
            Identity.fromSeed(identity(2).seed, "desk"),
            self.store,
            lambda text, fingerprint: None,
            self.phrase,
        )
        self.addCleanup(reception.stop)
        self.peersThere = Path(self.mktemp()).absolute()
        self.host = Host(
            self.reactor,
            identity(2),
            AuthorizedPeers(self.peersThere, [], False),
            lambda peer: self.hostReceiver,
            port=HOST_PORT,
            interface=HOST,
            reception=reception,
        )
        self.host.listen()

    def store(self, guest: Guest) -> None:
        self.stored.append(guest)
        word = formatCode(guest.key, None)
        PeersFile(self.peersThere).add(guest.key, word, VIEW, guest.name)

    def test_paired(self) -> None:
        """
        It proves the phrase, keeps the host's code by the name that the host gave, and
        watches; the host is not let in here for that.
        """
        self.reception()
        program = self.program(pair=self.phrase)
        program.startService()
        self.reactor.elapse(2.0)
        self.assertEqual(self.hostReceiver.route[-1], "CONNECTED")
        [guest] = self.stored
        self.assertEqual(guest.key, loadOrCreateIdentity(self.home).key)
        [listed] = PeersFile(self.home / "peers").listed()
        self.assertEqual((listed.name, listed.rights), ("desk", frozenset()))
        self.assertEqual(listed.code, codeOf(identity(2)))
        [paired] = self.written("paired")
        self.assertEqual((paired["name"], paired["rights"]), ("desk", "none"))
        self.assertIn("Paired with", self.out.getvalue())
        self.stop(program)
        self.successResultOf(self.host.close())

    def test_wrongPhrase(self) -> None:
        """
        Another phrase ends it with status 1 and one line that says so.
        """
        self.reception()
        program = self.program(pair="abandon ability able about above zone")
        program.startService()
        self.reactor.elapse(2.0)
        self.assertEqual(program.exitStatus, 1)
        self.assertIn("the host has another phrase", self.err.getvalue())
        self.assertFalse((self.home / "peers").exists())
        self.stop(program)
        self.host.close()
        self.reactor.elapse(1.0)

    def test_noAnswer(self) -> None:
        """
        Where nobody answers it ends with status 3.
        """
        program = self.program(pair=self.phrase)
        program.startService()
        self.reactor.elapse(25.0)
        self.assertEqual(program.exitStatus, 3)
        self.assertIn("no answer from the host", self.err.getvalue())
        self.stop(program)
