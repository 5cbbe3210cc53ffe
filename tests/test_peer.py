"""
Tests for `rootstream.peer`: the shell around one link, and what applications hold.
"""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from rootstream.errors import GaveUp, LocalError
from rootstream.interfaces import IPath, IPeerReceiver, Transport
from rootstream.machine import PeerState
from rootstream.peer import Peer
from rootstream.protocol.events import (
    AudioFrame,
    Closed,
    Command,
    Control,
    DrillReport,
    Event,
    Expired,
    Impaired,
    InitAnswered,
    InitLapsed,
    InitSent,
    InputEvent,
    KeyFrameWanted,
    PathAuthenticated,
    PathDropped,
    PathMoved,
    PathNarrow,
    PathValidated,
    Recovered,
    SessionEstablished,
    Silent,
    Suspect,
    VideoFrame,
    VideoLost,
)
from rootstream.protocol.link import SOURCE_ENDED
from rootstream.receiver import PeerReceiver, describePath
from rootstream.testing import JoinedPeers
from tests.doubles import FakePath
from tests.virtual import Recorder, picture

SOUND = AudioFrame(b"sound", 1000)


class ScriptedLink:
    """
    A link that says what a test tells it to.
    """

    def __init__(self) -> None:
        self.events: deque[Event] = deque()
        self.packets: list[tuple[IPath, list[bytes]]] = []
        self.timer: float | None = None
        self.fired: list[float] = []
        self.dialled: list[IPath] = []
        self.abandoned: list[IPath] = []
        self.lost: list[tuple[IPath, str]] = []
        self.added: list[IPath] = []
        self.finished = False
        self.drained = False
        self.path: FakePath | None = None
        self.paths: list[FakePath] = []

    def nextEvent(self) -> Event | None:
        return self.events.popleft() if self.events else None

    def packetsToSend(self, now: float) -> list[tuple[IPath, list[bytes]]]:
        packets, self.packets = self.packets, []
        return packets

    def nextTimer(self) -> float | None:
        return self.timer

    def timerFired(self, now: float) -> None:
        self.fired.append(now)

    def connect(self, path: IPath, now: float) -> None:
        self.dialled.append(path)

    def abandon(self, path: IPath) -> None:
        self.abandoned.append(path)

    def addPath(self, path: IPath, now: float) -> None:
        self.added.append(path)

    def pathLost(self, path: IPath, reason: str, now: float) -> None:
        self.lost.append((path, reason))

    def close(self, code: int, text: str, now: float) -> None:
        pass

    def status(self) -> Any:
        return SimpleNamespace(path=self.path)


class Redialler:
    """
    Remembers what the peer tells it.
    """

    def __init__(self) -> None:
        self.told: list[str] = []

    def suspect(self) -> None:
        self.told.append("suspect")

    def impaired(self) -> None:
        self.told.append("impaired")

    def recovered(self) -> None:
        self.told.append("recovered")

    def lost(self, cause: str) -> None:
        self.told.append(f"lost: {cause}")

    def over(self) -> None:
        self.told.append("over")


class ScriptedCase(SynchronousTestCase):
    """
    A peer around a `ScriptedLink`.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.link = ScriptedLink()
        self.forgotten: list[object] = []
        self.receiver = Recorder()
        self.peer = Peer(
            self.clock,
            self.clock.seconds,
            self.link,  # type: ignore[arg-type]  # a double of a class
            "aaaa-bbbb-cccc-dddd",
            "",
            self.forget,
        )
        self.peer.setReceiver(self.receiver)
        self.path = FakePath()

    def forget(self, link: Any) -> None:
        self.forgotten.append(link)
        link.finished = True

    def happen(self, *events: Event) -> None:
        """
        Let the link tell of events.
        """
        self.link.events.extend(events)
        self.peer.pump()

    def establish(self, restarted: bool = False) -> None:
        """
        Let a handshake be confirmed.
        """
        self.happen(SessionEstablished(self.path, False, restarted))


class EventsTests(ScriptedCase):
    """
    What the peer makes of each event of its link.
    """

    def test_dialledPathOfAHandshake(self) -> None:
        """
        The states follow the link, each with a cause that names the path.
        """
        self.peer.dialled("first attempt")
        self.happen(InitSent(self.path))
        self.establish()
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
        self.assertEqual(repr(self.peer), "<Peer aaaa-bbbb-cccc-dddd CONNECTED>")

    def test_addressOfIPv6(self) -> None:
        """
        An IPv6 address is shown in brackets, so that its port can be told.
        """
        path = FakePath(Transport.TCP, ("2001:db8::1", 9876))
        self.assertEqual(describePath(path), ("tcp", "[2001:db8::1]:9876"))
        self.happen(InitAnswered(path))
        self.assertEqual(
            self.receiver.states[0][2],
            "the peer dialled over tcp from [2001:db8::1]:9876",
        )

    def test_restartedPeer(self) -> None:
        """
        A new instance of the peer is named as such, and needs a key frame.
        """
        self.establish(restarted=True)
        self.assertEqual(
            self.receiver.states[0][2],
            "handshake confirmed over udp, with a new instance of the peer",
        )
        self.assertEqual(self.receiver.keyFramesWanted, 1)

    def test_rekeyChangesNoState(self) -> None:
        """
        A second handshake of a connected peer is no news to the application.
        """
        self.establish()
        self.establish()
        self.assertEqual(self.receiver.route, ["CONNECTED"])
        self.assertEqual(self.receiver.keyFramesWanted, 0)

    def test_paths(self) -> None:
        """
        A path on which the peer proved itself is told so, one of no more use is
        closed, and a move is told to the application.
        """
        self.happen(PathAuthenticated(self.path))
        self.assertTrue(self.path.isAuthenticated)
        self.assertFalse(self.path.closed)
        self.happen(PathDropped(self.path), PathMoved(FakePath(), "it is nicer there"))
        self.assertTrue(self.path.closed)
        self.assertEqual(
            self.receiver.paths, [("udp", "192.0.2.1:9876", "it is nicer there")]
        )

    def test_narrowPath(self) -> None:
        """
        That a path passes no large packets is a line in the log, and of no concern to
        the application.
        """
        with capturedLogs() as logged:
            self.happen(PathNarrow(self.path, 1200))
        [line] = [formatEvent(event) for event in logged]
        self.assertIn("192.0.2.1:9876", line)
        self.assertIn("1200 bytes", line)
        self.assertEqual(self.receiver.paths, [])

    def test_lostVideoIsNoCall(self) -> None:
        """
        Lost frames are for the status; the application is not called for them.
        """
        self.happen(VideoLost(3))
        self.assertEqual(self.receiver.video, [])
        self.assertEqual(self.receiver.keyFramesWanted, 0)

    def test_keyFrameWantedHere(self) -> None:
        """
        Frames dropped on this side ask the application for a key frame.
        """
        self.happen(KeyFrameWanted())
        self.assertEqual(self.receiver.keyFramesWanted, 1)

    def test_silentPeerThatDialledUs(self) -> None:
        """
        A peer that dials us is disconnected after a silence, and can come back.
        """
        self.establish()
        self.happen(Impaired(1.5))
        self.assertEqual(self.receiver.route, ["CONNECTED"])
        self.happen(Silent(30.0))
        self.assertEqual(self.receiver.states[-1][2], "nothing heard for 30 s")
        self.happen(Recovered(31.25))
        self.assertEqual(self.receiver.states[-1][2], "heard again after 31.2 s")
        self.assertEqual(self.receiver.route[-1], "CONNECTED")
        self.assertEqual(self.forgotten, [])

    def test_join(self) -> None:
        """
        A path has joined when the peer has answered on it; one that was given up may
        answer.
        """
        first, second = FakePath(Transport.TCP), FakePath(Transport.TCP)
        joined, given = self.peer.join(first), self.peer.join(second)
        self.assertEqual(self.link.added, [first, second])
        given.addErrback(lambda reason: reason.trap(CancelledError) and None)
        given.cancel()
        self.happen(PathValidated(second), PathValidated(FakePath()))
        self.assertNoResult(joined)
        self.happen(PathValidated(first))
        self.assertIsNone(self.successResultOf(joined))

    def test_health(self) -> None:
        """
        A suspicion, an impairment and its end are told in words; without a standby
        path, suspicion is a reason to dial, with one it is not.
        """
        self.peer.redialler = redialler = Redialler()
        self.establish()
        udp, tcp = FakePath(), FakePath(Transport.TCP)
        self.happen(Suspect(udp, tcp, 0.15))
        self.assertEqual(redialler.told, ["recovered"])
        self.happen(Suspect(udp, None, 0.151))
        self.assertEqual(redialler.told, ["recovered", "suspect"])
        self.happen(Impaired(1.5, (Transport.UDP, Transport.TCP)), Recovered(2.0))
        self.happen(Impaired(1.5, (Transport.UDP,)), Recovered(2.0), Recovered(3.0))
        self.happen(Impaired(0.1))
        self.establish()
        doubled = "no acknowledgement for 0.15 s: everything goes out on tcp as well"
        self.assertEqual(
            self.receiver.health,
            [
                ("udp suspect", doubled),
                ("udp suspect", "no acknowledgement for 0.15 s"),
                (
                    "impaired",
                    "UDP and TCP are silent for 1.5 s: the network or the peer is down",
                ),
                ("recovered", "heard again after 2.0 s"),
                (
                    "impaired",
                    "UDP is silent for 1.5 s: the network or the peer is down",
                ),
                ("recovered", "heard again after 2.0 s"),
                ("impaired", "the last connection was lost"),
                ("recovered", "handshake confirmed over udp"),
            ],
        )

    def test_expiredPeerThatDialledUs(self) -> None:
        """
        Once its last key is dead, a peer that dialled us is forgotten.
        """
        self.establish()
        self.happen(Silent(30.0), Expired())
        self.assertEqual(self.receiver.route, ["CONNECTED", "DISCONNECTED"])
        self.assertEqual(self.forgotten, [self.link])

    def test_lapsedHandshake(self) -> None:
        """
        Whoever dialled us and did not confirm in time is forgotten.
        """
        self.happen(InitAnswered(self.path), InitLapsed())
        self.assertEqual(
            self.receiver.states[-1],
            (
                "HANDSHAKE_RECEIVED",
                "DISCONNECTED",
                "the peer did not confirm its handshake",
            ),
        )
        self.assertEqual(self.forgotten, [self.link])

    def test_redialler(self) -> None:
        """
        Who dials the peer is told of all that changes what there is to dial.
        """
        self.peer.redialler = redialler = Redialler()
        self.establish()
        self.happen(Impaired(1.5), Recovered(2.0), Silent(30.0), Expired())
        self.assertEqual(
            redialler.told,
            [
                "recovered",
                "impaired",
                "recovered",
                "lost: nothing heard for 30 s",
                "lost: its keys are too old to use",
            ],
        )
        self.assertEqual(self.forgotten, [])

    def test_lapsedHandshakeOfADialledPeer(self) -> None:
        """
        A handshake that the other side began and left does not end our own dial.
        """
        self.peer.redialler = redialler = Redialler()
        self.peer.dialled("first attempt")
        self.happen(InitSent(self.path), InitAnswered(self.path), InitLapsed())
        self.assertEqual(self.forgotten, [])
        self.assertEqual(redialler.told, [])

    def test_closed(self) -> None:
        """
        An end is told with who ended it and why, and everything is forgotten.
        """
        for byPeer, who in ((True, "the peer"), (False, "this side")):
            self.setUp()
            self.peer.redialler = redialler = Redialler()
            self.establish()
            end = Closed(SOURCE_ENDED, "the film is over", byPeer)
            self.happen(end)
            self.assertEqual(
                self.receiver.states[-1],
                ("CONNECTED", "DISCONNECTED", f"{who} closed: the film is over"),
            )
            self.assertEqual(self.peer.closed, end)
            self.assertEqual(redialler.told[-1], "over")
            self.assertIs(self.peer.redialler, None)
            self.assertEqual(self.forgotten, [self.link])


class PumpTests(ScriptedCase):
    """
    The loop: events out, packets out, one timer.
    """

    def test_oneTimer(self) -> None:
        """
        A peer has at most one delayed call, however often it is pumped; it waits for
        what the link named last, or is a little early.
        """
        self.peer.pump()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        waits = ((5.0, 5.0), (5.5, 5.0), (3.0, 3.0), (3.0, 3.0), (9.0, 9.0), (7.0, 7.0))
        for at, until in waits:
            self.link.timer = at
            self.peer.pump()
            [call] = self.clock.getDelayedCalls()
            self.assertEqual(call.getTime(), until)
        self.clock.advance(6.9)
        self.assertEqual(self.link.fired, [])

    def test_timerFires(self) -> None:
        """
        The timer calls the link, and is armed for what the link wants next.
        """
        self.link.timer = 2.0
        self.peer.pump()
        self.link.timer = 4.0
        self.clock.advance(2.0)
        self.assertEqual(self.link.fired, [2.0])
        [call] = self.clock.getDelayedCalls()
        self.assertEqual(call.getTime(), 4.0)

    def test_overdueTimer(self) -> None:
        """
        What was due before now is due now, not in the past.
        """
        self.clock.advance(10.0)
        self.link.timer = 2.0
        self.peer.pump()
        [call] = self.clock.getDelayedCalls()
        self.assertEqual(call.getTime(), 10.0)

    def test_noTimer(self) -> None:
        """
        A link that waits for nothing costs no delayed call.
        """
        self.link.timer = 2.0
        self.peer.pump()
        self.link.timer = None
        self.peer.pump()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_packets(self) -> None:
        """
        Packets go out on the paths that the link names.
        """
        other = FakePath(Transport.TCP)
        self.link.packets = [(self.path, [b"one", b"two"]), (other, [b"three"])]
        self.peer.pump()
        self.assertEqual(self.path.sent, [b"one", b"two"])
        self.assertEqual(other.sent, [b"three"])

    def test_sendingFromAnEvent(self) -> None:
        """
        What is sent from within an event goes out in the same turn, after the event.
        """
        order: list[object] = []

        class Answering(PeerReceiver):
            def keyFrameWanted(answering) -> None:
                self.link.packets.append((self.path, [b"answer"]))
                self.peer.pump()
                order.append(list(self.path.sent))

        self.peer.setReceiver(Answering())
        self.happen(KeyFrameWanted())
        self.assertEqual(order, [[]])
        self.assertEqual(self.path.sent, [b"answer"])

    def test_pathLost(self) -> None:
        """
        The end of a connection is passed on to the link.
        """
        self.peer.pathLost(self.path, "pulled out")
        self.assertEqual(self.link.lost, [(self.path, "pulled out")])


class HandshakeTests(ScriptedCase):
    """
    The peer as a `rootstream.transport.dial.IHandshaker`.
    """

    def test_confirmed(self) -> None:
        """
        A confirmed handshake fires all that wait for one, the path that carries the
        session before the others.
        """
        order: list[int] = []
        paths = [FakePath(), self.path, FakePath()]
        for number, path in enumerate(paths):
            self.peer.handshake(path).addCallback(
                lambda _, order, number: order.append(number), order, number
            )
        self.assertEqual(self.link.dialled, paths)
        self.establish()
        self.assertEqual(order, [1, 0, 2])

    def test_firstEndsTheOthers(self) -> None:
        """
        Whoever is told first may cancel the others, as a race of paths does.
        """
        other = FakePath()
        loser = self.peer.handshake(other)
        self.peer.handshake(self.path).addCallback(lambda _: loser.cancel())
        self.establish()
        self.failureResultOf(loser, CancelledError)
        self.assertEqual(self.link.abandoned, [other])

    def test_cancel(self) -> None:
        """
        Cancelling stops dialling on that path, and on no other.
        """
        kept = self.peer.handshake(FakePath())
        gone = self.peer.handshake(self.path)
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.assertEqual(self.link.abandoned, [self.path])
        self.establish()
        self.successResultOf(kept)

    def test_recoveryConfirms(self) -> None:
        """
        A peer that is heard again on its old keys needs no handshake: those under
        way have what they wanted.
        """
        self.establish()
        waiting = self.peer.handshake(self.path)
        self.happen(Recovered(2.0))
        self.successResultOf(waiting)


class EndingTests(ScriptedCase):
    """
    `Peer.abandon` and `Peer.gaveUp`.
    """

    def test_abandon(self) -> None:
        """
        A forgotten peer leaves no timer and no path, and nobody waits for it any more.
        """
        self.link.paths = [FakePath(), FakePath(Transport.TCP)]
        self.link.timer = 5.0
        self.peer.redialler = redialler = Redialler()
        shake = self.peer.handshake(self.path)
        connected = self.peer.whenConnected()
        closed, drained = self.peer.close(), self.peer.whenDrained()
        self.peer.abandon()
        self.failureResultOf(shake, CancelledError)
        self.failureResultOf(connected, CancelledError)
        self.successResultOf(closed)
        self.successResultOf(drained)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(redialler.told, ["over"])
        self.assertEqual([path.closed for path in self.link.paths], [True, True])
        self.assertEqual(self.forgotten, [self.link])

    def test_closedOverAStream(self) -> None:
        """
        Who says goodbye over TCP is told only when the kernel has it: the process may
        end next, and what still waits here would go with it.
        """
        self.link.path = path = FakePath(Transport.TCP)
        path.backlog = 50
        closed = self.peer.close()
        self.peer.abandon()
        self.clock.advance(0.5)
        self.assertNoResult(closed)
        path.backlog = 0
        self.clock.advance(0.5)
        self.successResultOf(closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_abandonTwice(self) -> None:
        """
        Forgetting a forgotten peer does no harm.
        """
        self.peer.redialler = redialler = Redialler()
        self.peer.abandon()
        self.peer.abandon()
        self.assertEqual(redialler.told, ["over"])

    def test_gaveUp(self) -> None:
        """
        Whoever waits for a peer that is given up on learns why.
        """
        connected = self.peer.whenConnected()
        self.peer.gaveUp(GaveUp("ten times nothing"))
        self.assertEqual(
            str(self.failureResultOf(connected, GaveUp).value), "ten times nothing"
        )
        self.assertEqual(
            self.receiver.states, [("DISCOVERED", "FAILED", "ten times nothing")]
        )
        self.assertEqual(self.forgotten, [self.link])


class ReceiverTests(ScriptedCase):
    """
    The application's side.
    """

    def test_peerReceiver(self) -> None:
        """
        `PeerReceiver` is a whole receiver that does nothing.
        """
        receiver = PeerReceiver()
        verifyObject(IPeerReceiver, receiver)
        for name, values in (
            ("videoReceived", (picture(),)),
            ("audioReceived", (SOUND,)),
            ("inputReceived", ((),)),
            ("controlReceived", (Control(Command.PAUSE),)),
            ("stateChanged", ("a", "b", "c")),
            ("attemptScheduled", (1, 10, 0.1)),
            ("keyFrameWanted", ()),
            ("pathChanged", ("udp", "192.0.2.1:1", "c")),
        ):
            self.assertIs(getattr(receiver, name)(*values), None)

    def test_bugIsLoggedAndEndsNothing(self) -> None:
        """
        An exception of the application is logged with its traceback; the peer goes
        on, with the very events that follow.
        """

        class Broken(Recorder):
            def stateChanged(broken, old: str, new: str, cause: str) -> None:
                raise ZeroDivisionError("a bug of the application")

        broken = Broken()
        self.peer.setReceiver(broken)
        self.link.timer = 3.0
        self.happen(
            SessionEstablished(self.path, False, False),
            PathMoved(self.path, "told after the bug"),
        )
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIs(self.peer.state, PeerState.CONNECTED)
        self.assertEqual(len(broken.paths), 1)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_stateIsKnownWithinTheCall(self) -> None:
        """
        An application that is told of a state may ask for it, and finds it.
        """
        seen: list[object] = []

        class Asking(PeerReceiver):
            def stateChanged(asking, old: str, new: str, cause: str) -> None:
                seen.append((new, self.peer.state.value, self.peer.connected))

        self.peer.setReceiver(Asking())
        self.peer.dialled("first attempt")
        self.establish()
        self.assertEqual(
            seen,
            [("CONNECTING", "CONNECTING", False), ("CONNECTED", "CONNECTED", True)],
        )

    def test_movesWithinTheCallAreToldInOrder(self) -> None:
        """
        A move that the application itself brings about is told after the one it was
        told of.
        """
        states = self.receiver.states

        class GivingUp(PeerReceiver):
            def stateChanged(giving, old: str, new: str, cause: str) -> None:
                states.append((old, new, cause))
                if new == "CONNECTING":
                    self.peer.gaveUp(GaveUp("not today"))

        self.peer.setReceiver(GivingUp())
        self.peer.dialled("first attempt")
        self.assertEqual(
            states,
            [
                ("DISCOVERED", "CONNECTING", "first attempt"),
                ("CONNECTING", "FAILED", "not today"),
            ],
        )

    def test_attemptScheduled(self) -> None:
        """
        The application is told of each attempt to come.
        """
        self.peer.attemptScheduled(3, 10, 0.4)
        self.assertEqual(self.receiver.attempts, [(3, 10, 0.4)])


class JoinedCase(SynchronousTestCase):
    """
    Two real peers, joined in memory.
    """

    def setUp(self) -> None:
        self.joined = JoinedPeers()
        self.a, self.b = self.joined.a, self.joined.b
        self.atA, self.atB = Recorder(), Recorder()
        self.a.setReceiver(self.atA)
        self.b.setReceiver(self.atB)

    def timers(self) -> int:
        """
        How many delayed calls there are once all packets have arrived.
        """
        clock: Any = self.joined.clock
        while any(
            call.func.__name__ == "packetsReceived" for call in clock.getDelayedCalls()
        ):
            self.joined.run(0.001)
        return len(clock.getDelayedCalls())


class SendingTests(JoinedCase):
    """
    What goes from peer to peer.
    """

    def test_everyKind(self) -> None:
        """
        Video, sound, input and control arrive as they were sent, both ways.
        """
        events = [InputEvent(1, 30, 1), InputEvent(0, 0, 0)]
        control = Control(Command.SET_FPS, 25)
        for here, there in ((self.a, self.atB), (self.b, self.atA)):
            self.assertTrue(here.sendVideo(picture()))
            self.assertTrue(here.sendAudio(SOUND))
            self.assertTrue(here.sendInput(events))
            self.assertTrue(here.sendControl(control))
            self.joined.run()
            self.assertEqual(there.video, [picture()])
            self.assertEqual(there.audio, [SOUND])
            self.assertEqual(there.input, events)
            self.assertEqual(there.control, [control])
            self.assertEqual(there.keyFramesWanted, 0)

    def test_keyFrameRequest(self) -> None:
        """
        A request for a key frame is told as one, and as the command that it is.
        """
        self.a.sendControl(Control(Command.REQUEST_KEYFRAME))
        self.joined.run()
        self.assertEqual(self.atB.keyFramesWanted, 1)
        self.assertEqual(self.atB.control, [Control(Command.REQUEST_KEYFRAME)])

    def test_answersFromWithinEvents(self) -> None:
        """
        Two applications that answer each other from within their events do so
        until one stops, without recursion and in order.
        """

        def answering(peer: Peer, until: int) -> Recorder:
            class Answering(Recorder):
                def inputReceived(answering, events: Any) -> None:
                    super().inputReceived(events)
                    value = events[-1].value
                    if value < until:
                        peer.sendInput([InputEvent(1, 1, value + 1)])
                        peer.sendInput([InputEvent(1, 1, value + 1)])

            return Answering()

        atA, atB = answering(self.a, 5), answering(self.b, 5)
        self.a.setReceiver(atA)
        self.b.setReceiver(atB)
        self.a.sendInput([InputEvent(1, 1, 0)])
        self.joined.run(2.0)
        self.assertEqual([one.value for one in atB.input], [0] + [2] * 4 + [4] * 16)
        self.assertEqual([one.value for one in atA.input], [1] * 2 + [3] * 8 + [5] * 32)

    def test_tooLarge(self) -> None:
        """
        What cannot be sent at all is said, and changes nothing.
        """
        with self.assertRaises(LocalError):
            self.a.sendAudio(AudioFrame(bytes(2000), 0))
        self.assertTrue(self.a.sendAudio(SOUND))

    def test_oneTimerAPeer(self) -> None:
        """
        However much is sent, each peer has one delayed call.
        """
        for number in range(30):
            self.a.sendVideo(picture(number))
            self.b.sendAudio(SOUND)
            self.a.sendInput([InputEvent(1, 1, number)])
            self.joined.run(0.01)
        self.assertEqual(self.timers(), 2)

    def test_status(self) -> None:
        """
        The status counts what went through.
        """
        self.a.sendVideo(picture())
        self.joined.run()
        self.assertEqual(self.a.status().framesSent, 1)
        self.assertEqual(self.b.status().framesReceived, 1)

    def test_latency(self) -> None:
        """
        The time from capture to now is told on the clock of the capturer, once
        that is known; a frame from the future is of this moment.
        """
        now = int(self.joined.clock.seconds() * 1e6)
        latency = self.b.latency(VideoFrame(b"", now - 250_000))
        assert latency is not None
        self.assertAlmostEqual(latency, 0.25, 2)
        self.assertEqual(self.b.latency(VideoFrame(b"", now + 50_000)), 0.0)

    def test_nothingIsKnownOfAStranger(self) -> None:
        """
        Without a session media is refused, and there is no latency to tell.
        """
        self.a.abandon()
        self.b.abandon()
        station = self.joined._stations[0]
        stranger = station.peer(bytes(range(32)), "aaaa")
        self.assertIs(stranger.latency(picture()), None)
        self.assertFalse(stranger.sendVideo(picture()))
        self.assertFalse(stranger.sendAudio(SOUND))


class WaitingTests(JoinedCase):
    """
    The Deferreds of a peer.
    """

    def test_whenConnected(self) -> None:
        """
        Who asks a connected peer is answered at once, with the peer.
        """
        self.assertIs(self.successResultOf(self.a.whenConnected()), self.a)

    def test_whenConnectedCancelled(self) -> None:
        """
        Who does not want to wait any more is not told later.
        """
        station = self.joined._stations[0]
        stranger = station.peer(bytes(range(32)), "aaaa")
        waiting = stranger.whenConnected()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        stranger.gaveUp(GaveUp("nobody there"))

    def test_whenDrained(self) -> None:
        """
        Fires when all that was sent has arrived, and not before.
        """
        self.a.sendInput([InputEvent(1, 1, 1)])
        drained = self.a.whenDrained()
        self.assertNoResult(drained)
        self.joined.run(0.3)
        self.successResultOf(drained)
        self.assertEqual(self.atB.input, [InputEvent(1, 1, 1)])

    def test_whenDrainedCancelled(self) -> None:
        """
        Who does not wait for the rest any more does not hinder those who do.
        """
        self.a.sendInput([InputEvent(1, 1, 1)])
        one, other = self.a.whenDrained(), self.a.whenDrained()
        one.cancel()
        self.failureResultOf(one, CancelledError)
        self.joined.run(0.3)
        self.successResultOf(other)

    def test_drainedWhenOver(self) -> None:
        """
        What cannot arrive any more is waited for no longer.
        """
        self.joined.connected = False
        self.a.sendInput([InputEvent(1, 1, 1)])
        drained = self.a.whenDrained()
        self.joined.run(1.0)
        self.assertNoResult(drained)
        self.a.close()
        self.joined.run(0.2)
        self.successResultOf(drained)


class DrillTests(JoinedCase):
    """
    `Peer.drill`.
    """

    def stream(self, seconds: float) -> None:
        """
        Pictures from ``b`` to ``a``.
        """
        for number in range(round(seconds / 0.04)):
            self.b.sendVideo(picture(number, number % 25 == 0))
            self.joined.run(0.04)

    def test_report(self) -> None:
        """
        It fires with what happened: here, where UDP is all there is, the picture
        stands still for as long as it lasts.
        """
        self.stream(0.4)
        drill = self.a.drill(0.5)
        self.stream(0.4)
        self.assertNoResult(drill)
        self.stream(2.0)
        report = self.successResultOf(drill)
        self.assertIs(report.transport, Transport.UDP)
        self.assertTrue(0.5 <= report.pictureGap < 1.2, report)
        self.assertIsNone(report.movedTo)
        self.assertEqual(self.atA.route, [])

    def test_refused(self) -> None:
        """
        It fails, in words, when there is nothing to rehearse; a drill that runs is not
        disturbed by that.
        """
        for seconds in (0, 61):
            error = self.failureResultOf(self.a.drill(seconds), LocalError)
            self.assertIn("up to 60 s", error.getErrorMessage())
        drill = self.a.drill(0.2)
        error = self.failureResultOf(self.a.drill(), LocalError)
        self.assertIn("running already", error.getErrorMessage())
        self.joined.run(1.5)
        self.successResultOf(drill)

    def test_cancelled(self) -> None:
        """
        Cancelled, it lets UDP carry at once.
        """
        self.stream(0.2)
        drill = self.a.drill(60)
        self.stream(0.2)
        received = len(self.atA.video)
        drill.cancel()
        self.failureResultOf(drill, CancelledError)
        self.stream(0.4)
        self.assertGreater(len(self.atA.video), received + 5)
        self.successResultOf(self.drilled(0.2))

    def drilled(self, seconds: float) -> Deferred[DrillReport]:
        """
        A drill that has run its time.
        """
        drill = self.a.drill(seconds)
        self.joined.run(seconds + 1.0)
        return drill

    def test_closed(self) -> None:
        """
        It ends with our goodbye, which is heard.
        """
        drill = self.a.drill()
        closed = self.a.close()
        self.joined.run(0.2)
        self.successResultOf(closed)
        self.assertIsNone(self.successResultOf(drill).backAfter)
        self.assertEqual(self.atB.route, ["DISCONNECTED"])

    def test_abandoned(self) -> None:
        """
        It ends when the peer is forgotten without a word.
        """
        drill = self.a.drill()
        self.a.abandon()
        self.assertIsNone(self.successResultOf(drill).backAfter)
        self.failureResultOf(self.a.drill(), LocalError)

    def test_anotherFromItsCallback(self) -> None:
        """
        Whoever is told of its end may begin the next.
        """
        drill = self.a.drill(0.1).addCallback(lambda _: self.a.drill(0.1))
        self.joined.run(3.0)
        self.successResultOf(drill)


class ClosingTests(JoinedCase):
    """
    `Peer.close`.
    """

    def test_goodbye(self) -> None:
        """
        A goodbye reaches the peer with its words, and ends both sides for good.
        """
        closed = self.a.close("the film is over", SOURCE_ENDED)
        self.assertNoResult(closed)
        self.joined.run(0.2)
        self.successResultOf(closed)
        self.assertEqual(
            self.atB.states,
            [("CONNECTED", "DISCONNECTED", "the peer closed: the film is over")],
        )
        assert self.b.closed is not None
        self.assertEqual(self.b.closed, Closed(SOURCE_ENDED, "the film is over", True))
        self.assertEqual(self.joined.clock.getDelayedCalls(), [])

    def test_sendingAfterwards(self) -> None:
        """
        Nothing is sent to a peer that is closed.
        """
        self.a.close()
        self.assertFalse(self.a.sendVideo(picture()))
        self.assertFalse(self.a.sendAudio(SOUND))
        self.assertFalse(self.a.sendInput([InputEvent(1, 1, 1)]))
        self.assertFalse(self.a.sendControl(Control(Command.PAUSE)))

    def test_twice(self) -> None:
        """
        A second goodbye waits for the first; one afterwards has nothing to wait for.
        """
        first, second = self.a.close(), self.a.close()
        self.joined.run(0.2)
        self.successResultOf(first)
        self.successResultOf(second)
        self.successResultOf(self.a.close())
        self.assertEqual(len(self.atA.states), 1)

    def test_fromWithinAnEvent(self) -> None:
        """
        An application may say goodbye from within an event.
        """
        closed: list[Deferred[None]] = []

        class Leaving(Recorder):
            def videoReceived(leaving, frame: VideoFrame) -> None:
                super().videoReceived(frame)
                closed.append(self.b.close("seen enough"))

        leaving = Leaving()
        self.b.setReceiver(leaving)
        self.a.sendVideo(picture())
        self.a.sendVideo(picture(1))
        self.joined.run(0.3)
        self.successResultOf(closed[0])
        self.assertEqual(self.atA.states[-1][2], "the peer closed: seen enough")
        self.assertEqual(self.joined.clock.getDelayedCalls(), [])

    def test_cutOff(self) -> None:
        """
        A peer that is never heard again is disconnected after 30 s, and forgotten
        with its last key: no timer is left.
        """
        self.joined.connected = False
        self.a.sendVideo(picture())
        self.b.sendVideo(picture())
        for _ in range(56):
            self.joined.clock.advance(0.5)
        self.assertEqual(self.atA.route, [])
        for _ in range(600):
            self.joined.clock.advance(0.5)
        self.assertEqual(self.atA.route, ["DISCONNECTED"])
        self.assertEqual(self.atB.route, ["DISCONNECTED"])
        self.assertEqual(self.joined.clock.getDelayedCalls(), [])
