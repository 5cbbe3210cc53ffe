"""
Tests for `rootstream.hostprogram`: a source for every authorised peer that dials.
"""

from __future__ import annotations

import gc
import io
import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

import rootstream.hostprogram
from rootstream.authorized import INPUT, AuthorizedPeers
from rootstream.client import connect
from rootstream.errors import PortInUse, SourceError
from rootstream.home import lockHome
from rootstream.host import Host
from rootstream.hostprogram import DRAIN_TIMEOUT, HostProgram, HostSettings
from rootstream.identity import Code, PeerKey, formatCode, loadIdentity
from rootstream.interfaces import IPeerReceiver
from rootstream.pairing import pair
from rootstream.peer import Peer
from rootstream.peersfile import PeersFile
from rootstream.protocol.events import AudioFrame, Command, Control, VideoFrame
from rootstream.protocol.link import SOURCE_ENDED
from tests.test_broadcast import FakeSource
from tests.test_control import askerOf
from tests.virtual import (
    CLIENT_HOST,
    HOST,
    HOST_PORT,
    Recorder,
    VirtualReactor,
    identity,
    picture,
)


class FakeTaker:
    """
    Takes a stream, as a recording does.
    """

    def __init__(self) -> None:
        self.frames: list[VideoFrame | AudioFrame] = []

    def video(self, frame: VideoFrame) -> None:
        self.frames.append(frame)

    def audio(self, frame: AudioFrame) -> None:
        self.frames.append(frame)


class HostProgramCase(SynchronousTestCase):
    """
    A host with a source that a test plays, and viewers that dial it.
    """

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.reactor.surround(self)
        self.reactor.running = True
        self.source = FakeSource()
        self.opened: list[str] = []
        self.patch(rootstream.hostprogram, "openSource", self.openSource)
        self.home = Path(self.mktemp())
        self.events = self.mktemp()
        self.out, self.err = io.StringIO(), io.StringIO()
        self.viewer = Recorder()

    def openSource(self, spec: str, **options: Any) -> FakeSource:
        self.opened.append(spec)
        return self.source

    def program(
        self,
        allow: tuple[PeerKey, ...] | None = None,
        allowAny: bool = False,
        duration: float | None = None,
        tlsPort: int | None = None,
        **options: Any,
    ) -> HostProgram:
        settings = HostSettings(
            home=self.home,
            port=HOST_PORT,
            interface=HOST,
            source="the film",
            allow=(identity(1).key,) if allow is None else allow,
            allowAny=allowAny,
            tlsPort=tlsPort,
            **options,
        )
        program = HostProgram(
            self.reactor, settings, self.out, self.err, self.events, duration
        )
        self.addCleanup(self.stop, program)
        return program

    def start(self, **options: Any) -> HostProgram:
        """
        Start a host whose source is open.
        """
        program = self.program(**options)
        program.startService()
        self.source.opening.callback(None)
        return program

    def stop(self, program: HostProgram) -> None:
        """
        End a host; nothing may be left of it.
        """
        stopping = program.stopService()
        self.reactor.elapse(2.0)
        self.successResultOf(stopping)

    def view(self, number: int = 1) -> Peer:
        """
        Let a viewer connect.
        """
        code = Code(loadIdentity(self.home).key, HOST, HOST_PORT)
        connecting = connect(
            self.reactor, code, self.viewer, identity=identity(number), tcp=False
        )
        self.reactor.elapse()
        return self.successResultOf(connecting)

    def play(self, *numbers: int) -> None:
        """
        Let the source deliver pictures, of which the first is a key frame.
        """
        for number in numbers:
            self.source.deliver.video(picture(number, number == 0))
        self.reactor.elapse()

    def written(self, event: str) -> list[dict[str, Any]]:
        """
        The events of one kind in the events file.
        """
        lines = map(json.loads, Path(self.events).read_text("utf-8").splitlines())
        return [line for line in lines if line["event"] == event]


class StartTests(HostProgramCase):
    """
    How a host begins.
    """

    def test_says(self) -> None:
        """
        It says where it listens and its code, and writes the ports down.
        """
        self.start()
        said = self.out.getvalue()
        self.assertIn("Listening on port 9876, UDP and TCP.\n", said)
        key = loadIdentity(self.home).key
        self.assertIn(f"@{HOST}\n", said)
        self.assertIn(f"fingerprint: {key.fingerprint}\n", said)
        self.assertNotIn("Nobody", said)
        self.assertNotIn("WARNING", said)
        [listening] = self.written("listening")
        self.assertEqual((listening["udp"], listening["tcp"]), (9876, 9876))
        self.assertNotIn("tls", listening)
        self.assertEqual(self.opened, ["the film"])

    def test_TLS(self) -> None:
        """
        With a TLS port it says and writes down that one too.
        """
        self.start(tlsPort=443)
        self.assertIn(
            "Listening on port 9876, UDP and TCP, and on port 443, TLS.\n",
            self.out.getvalue(),
        )
        [listening] = self.written("listening")
        self.assertEqual((listening["udp"], listening["tls"]), (9876, 443))

    def test_nobodyListed(self) -> None:
        """
        A host that would let nobody in says so, and how to change it.
        """
        self.start(allow=())
        self.assertIn(
            f"Nobody may connect yet: add a peer's code to {self.home / 'peers'}, "
            "or use --allow CODE or --pair.\n",
            self.out.getvalue(),
        )

    def test_everybody(self) -> None:
        """
        A host that lets everyone in warns of it.
        """
        self.start(allow=(), allowAny=True)
        self.assertIn("WARNING: --allow-any lets everyone in", self.out.getvalue())
        self.assertNotIn("Nobody", self.out.getvalue())

    def test_guessedAddress(self) -> None:
        """
        Without an interface, the code names the address that others would reach.
        """
        self.patch(rootstream.hostprogram, "guessHost", lambda: "198.51.100.7")
        program = self.program()
        program._settings = HostSettings(self.home, HOST_PORT, "", "the film")
        program.startService()
        self.assertIn("@198.51.100.7\n", self.out.getvalue())

    def test_reload(self) -> None:
        """
        Told to, a host reads its list of peers at once; before it listens there is
        nothing to read.
        """
        program = self.program()
        program.reload()
        program.startService()
        looked: list[Host] = []
        self.patch(Host, "refresh", lambda host: looked.append(host))
        program.reload()
        self.assertEqual(len(looked), 1)
        self.stop(program)

    def test_privileges(self) -> None:
        """
        What twistd starts while it still has the rights of root binds the ports, and
        listens on them later.
        """
        bound: list[Any] = []

        def bind(*where: object) -> str:
            bound.append(where)
            return "sockets"

        self.patch(rootstream.hostprogram, "bindBoth", bind)
        program = self.program()
        listened: list[object] = []
        listen = Host.listen

        def note(host: Host, sockets: Any) -> int:
            listened.append(sockets)
            return listen(host)

        self.patch(Host, "listen", note)
        program.privilegedStartService()
        program.startService()
        self.assertEqual(len(bound), 1)
        self.assertEqual(listened, ["sockets"])
        self.stop(program)

    def test_neverBegun(self) -> None:
        """
        Ports that were bound for nothing are given back; that they are taken is said
        when the host begins.
        """
        given: list[str] = []

        class Sockets:
            def close(self) -> None:
                given.append("back")

        self.patch(rootstream.hostprogram, "bindBoth", lambda *where: Sockets())
        home, self.home = self.home, Path("/dev/null/home")
        program = self.program()
        self.home = home
        program.privilegedStartService()
        program.startService()
        self.stop(program)
        self.assertEqual(given, ["back"])

        def taken(*where: object) -> None:
            raise PortInUse("port 443 is in use")

        self.patch(rootstream.hostprogram, "bindBoth", taken)
        other = self.program()
        other.privilegedStartService()
        other.startService()
        self.assertEqual(other.exitStatus, 0)
        self.stop(other)

    def assertFault(self, text: str) -> None:
        """
        One line says it, and the host has ended with status 1.
        """
        self.assertEqual(self.err.getvalue().count("\n"), 1, self.err.getvalue())
        self.assertTrue(self.err.getvalue().startswith("rootstream: "))
        self.assertIn(text, self.err.getvalue())
        [error] = self.written("error")
        self.assertIn(error["message"], self.err.getvalue())
        self.assertTrue(self.reactor.hasStopped)

    def test_portInUse(self) -> None:
        """
        A port that is taken is said.
        """
        first = self.start()
        self.home = Path(self.mktemp())
        second = self.program()
        second.startService()
        self.assertFault("port 9876 is in use")
        self.assertEqual((first.exitStatus, second.exitStatus), (0, 1))
        # It has taken no port, and its lock goes with it.
        second.stopService()
        lockHome(self.home).release()

    def test_secondInstance(self) -> None:
        """
        A home that another host uses is refused (F85).
        """
        lock = lockHome(self.home)
        self.addCleanup(lock.release)
        program = self.program()
        program.startService()
        self.assertFault("another rootstream runs with this home")
        self.assertEqual(program.exitStatus, 1)

    def test_homeIsNoDirectory(self) -> None:
        """
        A home that is a file is said.
        """
        self.home.write_text("not a directory")
        program = self.program()
        program.startService()
        self.assertFault("is not a directory")

    def test_sourceOfNothing(self) -> None:
        """
        A source that names nothing ends the host before it listens.
        """

        def refuse(spec: str, **options: Any) -> Any:
            raise SourceError("no source is named")

        self.patch(rootstream.hostprogram, "openSource", refuse)
        self.program().startService()
        self.assertFault("no source is named")
        self.assertEqual(self.reactor.net.ports, {})

    def test_unreadableSource(self) -> None:
        """
        A source that cannot be read is said as soon as that is known.
        """
        program = self.program()
        program.startService()
        self.source.opening.errback(SourceError("film.mp4 has no video"))
        self.assertFault("film.mp4 has no video")
        self.assertEqual(program.exitStatus, 1)


class ViewersTests(HostProgramCase):
    """
    A host and those who watch.
    """

    def test_drill(self) -> None:
        """
        Asked through its home for a drill, it rehearses with its viewers, answers with
        what came of it, and writes that down.
        """
        program = self.start()
        self.assertEqual(program.home, self.home)
        self.view()
        self.assertEqual(list(program.peers), list(program._host.peers))
        connection = askerOf(self.reactor, self.home)
        connection.dataReceived(b'{"command": "drill", "seconds": 0.5}\n')
        self.reactor.elapse(0.2)
        self.assertEqual(connection.transport.value(), b"")
        self.reactor.elapse(3.0)
        [answer] = json.loads(connection.transport.value())["peers"]
        self.assertEqual(answer["peer"], identity(1).key.fingerprint)
        self.assertIn("never left UDP", answer["text"])
        [event] = self.written("drill")
        self.assertEqual((event["seconds"], event["moved_to"]), (0.5, None))
        connection.connectionLost(Failure(ConnectionDone()))

    def test_drillBeforeItListens(self) -> None:
        """
        Before there is a host there is nobody to rehearse with.
        """
        self.assertEqual(self.program().peers, ())

    def test_stream(self) -> None:
        """
        A viewer is said to be there, gets the frames, and is measured each second.
        """
        self.start()
        self.assertEqual(self.source.starts, 0)
        self.view()
        self.assertEqual(self.source.starts, 1)
        fingerprint = identity(1).key.fingerprint
        self.assertIn(f"{fingerprint} is connected.\n", self.out.getvalue())
        self.play(0, 1, 2)
        self.assertEqual(
            [frame.data for frame in self.viewer.video],
            [b"picture 0", b"picture 1", b"picture 2"],
        )
        self.reactor.elapse(1.0)
        stats = self.written("stats")[-1]
        self.assertEqual(stats["peer"], fingerprint)
        self.assertEqual(stats["frames"], 3)
        self.assertEqual(stats["transport"], "udp")
        self.assertEqual(
            [event["to"] for event in self.written("state")],
            ["HANDSHAKE_RECEIVED", "CONNECTED"],
        )

    def test_status(self) -> None:
        """
        It tells how each viewer does, by the measurements of the last second and the
        words of the last event; of one that is gone nothing is kept.
        """
        program = self.start()
        viewing = self.view()
        self.play(0, 1, 2)
        self.reactor.elapse(1.5)
        status = program.status()
        self.assertEqual(status.role, "host")
        [peer] = status.peers
        [stats] = self.written("stats")
        self.assertEqual(peer.fingerprint, identity(1).key.fingerprint)
        self.assertEqual((peer.state, peer.transport), ("CONNECTED", "udp"))
        for name in ("fps", "mbit_s", "loss", "jitter_ms", "frames", "bytes"):
            self.assertEqual(getattr(peer, name), stats[name])
        self.assertEqual((peer.frames, peer.lost, peer.latency_ms), (3, 0, None))
        self.assertEqual(peer.rights, ("view",))
        last = self.written("state")[-1]
        self.assertEqual(peer.cause, last["text"])
        assert peer.since is not None
        self.assertApproximates(peer.since, self.reactor.rightNow - last["mono"], 0.01)
        viewing.close()
        self.reactor.elapse(1.0)
        self.assertNotIn("CONNECTED", [peer.state for peer in program.status().peers])
        self.assertEqual(program.status().asDict()["role"], "host")

    def test_orders(self) -> None:
        """
        What its own user orders reaches the source; a viewer that is disconnected is
        told.
        """
        program = self.start()
        viewing = self.view()
        order = program.commands["control"]
        self.reactor.elapse(1.0)
        self.successResultOf(order({"action": "bitrate", "value": 2e6}))
        self.assertIn((Command.SET_BITRATE, 2_000_000), self.source.asked)
        self.successResultOf(order({"action": "disconnect"}))
        self.reactor.elapse(0.1)
        assert viewing.closed is not None
        self.assertEqual(viewing.closed.text, "the host disconnected you")

    def test_taken(self) -> None:
        """
        Whoever takes the stream on the host itself, such as a recording, makes it flow
        without a viewer; a program that does not run is harmless.
        """
        self.program().wantKeyFrame()
        program = self.start()
        self.assertEqual(self.source.starts, 0)
        taker = FakeTaker()
        program.tee.add(taker)
        self.assertEqual(self.source.starts, 1)
        self.assertEqual(self.source.asked, [(Command.REQUEST_KEYFRAME, 0)])
        self.play(0, 1)
        self.assertEqual(
            [frame.data for frame in taker.frames], [b"picture 0", b"picture 1"]
        )

    def test_unacknowledged(self) -> None:
        """
        How long pictures went unacknowledged when something happened to the way to a
        viewer is written down, and nothing is watched once he is gone.
        """
        program = self.start()
        viewing = self.view()
        self.play(0)
        [peer] = program.peers
        receiver = peer._receiver
        receiver.pathSuspected("udp", "192.0.2.1:9876", "no acknowledgement")
        self.reactor.elapse(0.3)
        for number in range(1, 40):
            self.play(number)
            self.reactor.elapse(0.04)
        [event] = self.written("picture")
        self.assertEqual(event["gap_of"], "acknowledgements")
        self.assertApproximates(event["gap_s"], 0.33, 0.05)
        self.assertIn("UDP: no acknowledgement; nothing ack", event["text"])
        receiver.impaired("UDP is silent")
        viewing.close()
        self.reactor.elapse(0.1)
        receiver.impaired("UDP is silent")

    def test_receiver(self) -> None:
        """
        What a viewer of the host gets told of is a whole receiver.
        """
        program = self.start()
        self.view()
        assert program._host is not None
        [peer] = program._host.peers
        verifyObject(IPeerReceiver, peer._receiver)

    def test_controls(self) -> None:
        """
        What a viewer asks for reaches the source.
        """
        self.start()
        peer = self.view()
        self.reactor.elapse(1.0)
        peer.sendControl(Control(Command.SET_BITRATE, 3_000_000))
        peer.sendControl(Control(Command.REQUEST_KEYFRAME))
        self.reactor.elapse()
        self.assertEqual(
            self.source.asked,
            [(Command.REQUEST_KEYFRAME, 0), (Command.SET_BITRATE, 3_000_000)][::-1],
        )

    def test_viewerLeaves(self) -> None:
        """
        A viewer that goes is said to be gone, and why; the others go on.
        """
        self.start(allow=(identity(1).key, identity(3).key))
        leaving = self.view()
        self.viewer = staying = Recorder()
        self.view(3)
        self.play(0)
        leaving.close("seen enough")
        self.reactor.elapse()
        self.assertIn(
            "is disconnected: the peer closed: seen enough.\n", self.out.getvalue()
        )
        self.play(1)
        self.assertEqual(len(staying.video), 2)

    def test_viewerComesBack(self) -> None:
        """
        A viewer that falls silent is gone after 30 s, and watches on when it is
        heard again, from a key frame.
        """
        self.start()
        self.view()
        self.play(0)
        self.reactor.cut()
        self.reactor.elapse(35.0)
        self.assertIn("is disconnected: nothing heard for 30 s.", self.out.getvalue())
        self.reactor.mend()
        self.reactor.elapse(2.0)
        self.assertEqual(self.out.getvalue().count("is connected."), 2)
        self.assertEqual(self.source.asked[-1], (Command.REQUEST_KEYFRAME, 0))
        before = len(self.viewer.video)
        self.play(0, 1)
        self.assertEqual(len(self.viewer.video), before + 2)

    def test_unauthorised(self) -> None:
        """
        One who is not listed gets nothing at all: zero bytes.
        """
        self.start(allow=())
        sent: list[object] = []
        carry = self.reactor.net.carry

        def watch(packet: bytes, source: Any, destination: Any) -> None:
            if destination[0] == CLIENT_HOST:
                sent.append(packet)
            carry(packet, source, destination)

        self.reactor.net.carry = watch  # type: ignore[method-assign]
        code = Code(loadIdentity(self.home).key, HOST, HOST_PORT)
        connecting = connect(
            self.reactor, code, self.viewer, identity=identity(1), tcp=False
        )
        connecting.addErrback(lambda _: None)
        self.reactor.elapse(4.0)
        self.assertEqual(sent, [])
        self.assertEqual(self.written("state"), [])
        connecting.cancel()


class EndTests(HostProgramCase):
    """
    How a host ends.
    """

    def test_sourceEnds(self) -> None:
        """
        At the end of the source the viewers get the last frames and a goodbye that
        says why, and the host ends with status 0.
        """
        program = self.start()
        peer = self.view()
        self.source.deliver.video(picture())
        self.source.deliver.ended(None)
        self.reactor.elapse(1.0)
        self.assertEqual(self.viewer.video, [picture()])
        assert peer.closed is not None
        self.assertEqual(
            (peer.closed.code, peer.closed.text), (SOURCE_ENDED, "the source has ended")
        )
        self.assertIn("The source has ended.\n", self.out.getvalue())
        self.assertTrue(self.reactor.hasStopped)
        self.assertEqual(program.exitStatus, 0)

    def test_sourceEndsUnseen(self) -> None:
        """
        A source that ends without viewers ends the host at once.
        """
        self.start()
        self.view().close()
        self.reactor.elapse()
        self.source.deliver.ended(None)
        self.reactor.elapse(0.01)
        self.assertTrue(self.reactor.hasStopped)

    def test_viewerThatTakesNothing(self) -> None:
        """
        A viewer that does not take the last of what was sent holds the end up for two
        seconds and no more, and nothing is logged as an error.
        """
        program = self.start()
        self.view()
        self.play(0)
        self.reactor.cut()
        assert program._host is not None
        [peer] = program._host.peers
        # Unlike video, this is never given up.
        peer.sendControl(Control(Command.PAUSE))
        self.source.deliver.ended(None)
        self.reactor.elapse(DRAIN_TIMEOUT - 0.1)
        self.assertFalse(self.reactor.hasStopped)
        self.reactor.elapse(0.3)
        self.assertTrue(self.reactor.hasStopped)
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_sourceFails(self) -> None:
        """
        A source that fails in the middle is said, and ends the host with status 1.
        """
        program = self.start()
        self.view()
        self.source.deliver.ended(SourceError("the film tore"))
        self.assertEqual(self.err.getvalue(), "rootstream: the film tore\n")
        self.assertEqual(program.exitStatus, 1)

    def test_sourceEndsLate(self) -> None:
        """
        A source that ends while the host ends is no news.
        """
        program = self.start()
        self.view()
        program.finish(0)
        self.source.deliver.ended(SourceError("interrupted"))
        self.assertEqual(self.err.getvalue(), "")
        self.assertEqual(program.exitStatus, 0)

    def test_stoppedWhileDraining(self) -> None:
        """
        A stop while the last frames are on their way is a stop.
        """
        program = self.start()
        peer = self.view()
        self.source.deliver.video(picture())
        self.source.deliver.ended(None)
        program.stopService()
        self.reactor.elapse(1.0)
        assert peer.closed is not None
        self.assertEqual(peer.closed.text, "the host was stopped")

    def test_stopped(self) -> None:
        """
        A stop says goodbye within two seconds, stops the source, frees the home, and
        leaves a summary of all viewers (F86).
        """
        program = self.start(allow=(identity(1).key, identity(3).key))
        first = self.view()
        self.play(0, 1)
        first.close()
        self.reactor.elapse()
        second = self.view(3)
        self.play(0)
        stopping = program.stopService()
        self.reactor.elapse(0.5)
        self.successResultOf(stopping)
        assert second.closed is not None
        self.assertEqual(second.closed.text, "the host was stopped")
        self.assertTrue(self.source.stopped)
        self.assertEqual(self.reactor.tcpListeners, {})
        lockHome(self.home).release()
        [summary] = self.written("summary")
        self.assertEqual(summary["frames_sent"], 3)
        self.assertEqual(summary["transport"], "udp")
        self.assertGreater(summary["bytes"], 0)
        self.assertEqual(summary, self.written("summary")[-1])

    def test_stoppedWhileTheNetworkIsGone(self) -> None:
        """
        A stop does not wait for viewers that are not heard.
        """
        program = self.start()
        self.view()
        self.play(0)
        self.reactor.cut()
        stopping = program.stopService()
        self.reactor.elapse(1.0)
        self.successResultOf(stopping)

    def test_goodbyeThatHangs(self) -> None:
        """
        A viewer whose goodbye does not get away counts in the summary all the same.
        """
        program = self.start()
        self.view()
        self.play(0)
        assert program._host is not None
        self.patch(program._host, "close", lambda *_: Deferred())
        stopping = program.stopService()
        self.reactor.elapse(2.0)
        self.successResultOf(stopping)
        self.assertIn("is disconnected: the host was stopped.", self.out.getvalue())
        [summary] = self.written("summary")
        self.assertGreater(summary["bytes"], 0)

    def test_sourceThatDoesNotStop(self) -> None:
        """
        A source that hangs does not keep the host: it ends with its summary, and
        nothing is logged as an error.
        """
        self.source.stop = Deferred  # type: ignore[method-assign]  # hangs
        program = self.start()
        self.view()
        stopping = program.stopService()
        self.reactor.elapse(2.0)
        self.successResultOf(stopping)
        self.assertEqual(len(self.written("summary")), 1)
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])


class PairTests(HostProgramCase):
    """
    ``--pair``.
    """

    def test_paired(self) -> None:
        """
        It shows a phrase, which is written nowhere else; who knows it is listed with
        the rights that were asked for, and may come in.
        """
        self.start(allow=(), pair=True, pairRights=INPUT)
        said = self.out.getvalue()
        self.assertNotIn("Nobody", said)
        phrase = said.split("--pair '")[1].split("'")[0]
        self.assertEqual(len(phrase.split()), 6)
        code = Code(loadIdentity(self.home).key, HOST, HOST_PORT)
        self.assertIn(f"rootstream connect '{formatCode(code.key, HOST)}' --pair", said)
        pairing = pair(self.reactor, code, phrase, identity=identity(1), tcp=False)
        self.reactor.elapse(1.0)
        self.successResultOf(pairing)
        self.view(1)
        [peer] = AuthorizedPeers(self.home / "peers", (), False).listed()
        self.assertEqual(peer.rights, INPUT)
        self.assertIn(f"Paired with {peer.fingerprint}", self.out.getvalue())
        [paired] = self.written("paired")
        self.assertEqual(paired["rights"], "view,input")
        self.assertEqual(paired["peer"], peer.fingerprint)
        self.assertNotIn(phrase, Path(self.events).read_text())

    def test_revoked(self) -> None:
        """
        Who is taken off the list is gone as soon as the program is told.
        """
        program = self.start(allow=())
        path = self.home / "peers"
        PeersFile(path).add(
            identity(1).key, formatCode(identity(1).key, None), INPUT, "Anna"
        )
        there = self.view(1)
        PeersFile(path).revoke("Anna")
        self.successResultOf(program.commands["peers"]({}))
        self.reactor.elapse(0.2)
        assert there.closed is not None
        self.assertIn("taken off the list", there.closed.text)
        self.assertIn("taken off the list", self.written("state")[-1]["cause"])

    def test_askedTooEarly(self) -> None:
        """
        A program that has no host yet has nobody to send away.
        """
        program = self.program()
        self.successResultOf(program.commands["peers"]({}))
        program.startService()
        self.source.opening.callback(None)
