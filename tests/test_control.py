"""
Tests for `rootstream.control`: asking a program that runs.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

import rootstream.control
from rootstream.control import (
    MAX_ASKERS,
    MAX_IDLE,
    MAX_LINE,
    PAUSE,
    Asker,
    ControlSocket,
    ask,
)
from rootstream.errors import IdentityError, LocalError


def askerOf(reactor: MemoryReactorClock, home: Path) -> Asker:
    """
    A connection to the program that this process runs in a home.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.path.relpath(home / f"control-{os.getpid()}"))
        [control] = [
            each for each in reactor.getReaders() if isinstance(each, ControlSocket)
        ]
        control.doRead()
    _, _, factory = reactor.adoptedStreamConnections[-1]
    asker = factory.buildProtocol(None)
    assert isinstance(asker, Asker)
    asker.makeConnection(StringTransport())
    return asker


class AskerTests(SynchronousTestCase):
    """
    Tests for `Asker`: lines in, lines out.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[Mapping[str, Any]] = []
        self.waiting: list[Deferred[Any]] = []
        self.cancelled = 0
        self.gone: list[Asker] = []
        commands = {
            "echo": self.echo,
            "wait": self.wait,
            "refuse": self.refuse,
            "break": self.break_,
        }
        self.asker = Asker(self.clock, commands, self.gone.append)
        self.transport = StringTransport()
        self.asker.makeConnection(self.transport)
        self.addCleanup(self.hangUp)

    def hangUp(self) -> None:
        """
        The end of a connection leaves no timer.
        """
        if not self.gone:
            self.asker.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.gone, [self.asker])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def echo(self, request: Mapping[str, Any]) -> Deferred[Any]:
        self.asked.append(request)
        return succeed({"seen": request.get("what")})

    def wait(self, request: Mapping[str, Any]) -> Deferred[Any]:
        def cancel(_: object) -> None:
            self.cancelled += 1

        self.waiting.append(Deferred(cancel))
        return self.waiting[-1]

    def refuse(self, request: Mapping[str, Any]) -> Deferred[Any]:
        raise LocalError("not now, because")

    def break_(self, request: Mapping[str, Any]) -> Deferred[Any]:
        raise ZeroDivisionError("a bug")

    def say(self, line: bytes) -> list[dict[str, Any]]:
        """
        What is answered to some bytes.
        """
        self.transport.clear()
        self.asker.dataReceived(line)
        return [json.loads(each) for each in self.transport.value().splitlines()]

    def test_answers(self) -> None:
        """
        A line that names a command is answered by it with one line; another may
        follow.  Bytes may come as they like.
        """
        for what in ("one", "t\u00e4w"):
            line = json.dumps({"command": "echo", "what": what}).encode() + b"\n"
            self.assertEqual(self.say(line[:9]), [])
            self.assertEqual(self.say(line[9:]), [{"seen": what}])
        self.assertEqual(len(self.asked), 2)

    def test_plainText(self) -> None:
        """
        An answer is plain ASCII, whatever is in it (F74).
        """
        self.say(b'{"command": "echo", "what": "\\u202e\\u001b[2J"}\n')
        self.assertTrue(all(32 <= byte < 127 for byte in self.transport.value()[:-1]))

    def test_junk(self) -> None:
        """
        A bad line is answered with what is wrong about it, and costs nothing else:
        the next is read as usual.
        """
        for line in (
            b"",
            b"drill",
            b"\xff\xfe\x00",
            b"[" * 4000,
            b"1" * 4000,
            b"[]",
            b"null",
            b'"command"',
            b"{}",
            b'{"command": 7}',
            b'{"command": ["echo"]}',
            b'{"command": "echo"} {"command": "echo"}',
            b'{"command": "destroy"}',
        ):
            [answer] = self.say(line + b"\n")
            self.assertEqual(list(answer), ["error"], line)
        self.assertEqual(self.asked, [])
        self.assertEqual(self.say(b'{"command": "echo"}\n'), [{"seen": None}])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_unknownCommand(self) -> None:
        """
        Whoever asks for a command that does not exist is told which do.
        """
        [answer] = self.say(b'{"command": "destroy"}\n')
        self.assertIn("break, echo, refuse, wait", answer["error"])

    def test_refused(self) -> None:
        """
        An error that is the asker's to mend is answered in its words.
        """
        self.assertEqual(
            self.say(b'{"command": "refuse"}\n'), [{"error": "not now, because"}]
        )

    def test_bug(self) -> None:
        """
        One that is not is logged here, and answered without a traceback.
        """
        [answer] = self.say(b'{"command": "break"}\n')
        self.assertNotIn("a bug", answer["error"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_tooLong(self) -> None:
        """
        A line that does not end is answered and hung up on, and not kept.
        """
        fits = b'{"command": "echo"}'.ljust(MAX_LINE) + b"\n"
        self.assertEqual(self.say(fits), [{"seen": None}])
        [answer] = self.say(b"x" * (MAX_LINE + 1))
        self.assertIn(f"{MAX_LINE} bytes", answer["error"])
        self.assertTrue(self.transport.disconnecting)

    def test_oneAtATime(self) -> None:
        """
        Who asks before he was answered is told to wait; what was asked goes on.
        """
        self.assertEqual(self.say(b'{"command": "wait"}\n'), [])
        [answer] = self.say(b'{"command": "echo"}\n')
        self.assertIn("wait", answer["error"])
        self.assertEqual(self.asked, [])
        self.transport.clear()
        self.waiting[0].callback({"done": 1})
        self.assertEqual(self.transport.value(), b'{"done": 1}\n')

    def test_flood(self) -> None:
        """
        Who does not read the answers is read no further, so that they do not pile up.
        """
        self.assertIs(self.transport.producer, self.asker)
        self.asker.pauseProducing()
        self.assertEqual(self.say(b'{"command": "echo"}\n'), [])
        self.assertEqual(self.transport.producerState, "paused")
        self.asker.resumeProducing()
        self.assertEqual(self.transport.value(), b'{"seen": null}\n')

    def test_idle(self) -> None:
        """
        A connection that says nothing for a minute ends; one that waits for its answer
        may wait.
        """
        self.say(b'{"command": "wait"}\n')
        self.clock.advance(10 * MAX_IDLE)
        self.assertFalse(self.transport.disconnected)
        self.waiting[0].callback({})
        self.clock.advance(MAX_IDLE - 1)
        self.assertFalse(self.transport.disconnected)
        self.clock.advance(2)
        self.assertTrue(self.transport.disconnected)

    def test_hungUp(self) -> None:
        """
        When whoever asked is gone, what was asked is cancelled, and nothing is said
        to the void or to the log.
        """
        self.say(b'{"command": "wait"}\n')
        self.hangUp()
        self.assertEqual(self.cancelled, 1)
        self.assertEqual(self.transport.value(), b"")
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_cancelled(self) -> None:
        """
        What is cancelled for another reason is still answered.
        """
        self.say(b'{"command": "wait"}\n')
        self.waiting[0].errback(CancelledError())
        self.assertIn(b'"error"', self.transport.value())


class SocketCase(SynchronousTestCase):
    """
    A home, and a reactor that only remembers.
    """

    def setUp(self) -> None:
        self.home = Path(self.mktemp()).absolute()
        self.home.mkdir(mode=0o700)
        self.reactor = MemoryReactorClock()
        self.name = f"control-{os.getpid()}"

    def open(self) -> ControlSocket:
        """
        A socket that listens.
        """
        control = ControlSocket(self.reactor, self.home, {})
        control.open()
        self.addCleanup(control.close)
        return control

    def dial(self) -> socket.socket:
        """
        A connection that has not been taken.
        """
        connection = socket.socket(socket.AF_UNIX)
        self.addCleanup(connection.close)
        connection.settimeout(5)
        where = os.open(self.home, os.O_RDONLY)
        self.addCleanup(os.close, where)
        connection.connect(f"/proc/self/fd/{where}/{self.name}")
        return connection

    def leave(self, name: str) -> None:
        """
        Leave a socket behind, as a killed process does.
        """
        left = socket.socket(socket.AF_UNIX)
        left.bind(os.path.relpath(self.home / name))
        left.close()

    def names(self) -> list[str]:
        """
        What is in the home.
        """
        return sorted(os.listdir(self.home))


class ControlSocketTests(SocketCase):
    """
    Tests for `ControlSocket`.
    """

    def test_interface(self) -> None:
        """
        The reactor can read from it.
        """
        verifyObject(IReadDescriptor, self.open())

    def test_private(self) -> None:
        """
        It bears the process's number, and is its owner's alone from the first moment,
        whatever the umask.
        """
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        control = self.open()
        status = (self.home / self.name).lstat()
        self.assertTrue(stat.S_ISSOCK(status.st_mode))
        self.assertEqual(stat.S_IMODE(status.st_mode), 0o600)
        self.assertEqual(self.reactor.getReaders(), [control])
        self.assertIn("control", control.logPrefix())

    def test_closed(self) -> None:
        """
        Closed, it leaves nothing, also when it is closed again.
        """
        control = self.open()
        control.close()
        control.close()
        control.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.names(), [])
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(control.fileno(), -1)

    def test_nameGone(self) -> None:
        """
        A name that somebody else removed is no matter.
        """
        control = self.open()
        (self.home / self.name).unlink()
        control.close()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_longPath(self) -> None:
        """
        A home with a path of more than 107 bytes is as good as any.
        """
        self.home = self.home / ("x" * 100) / ("y" * 100)
        self.home.mkdir(mode=0o700, parents=True)
        control = self.open()
        self.dial()
        control.doRead()
        self.assertEqual(len(self.reactor.adoptedStreamConnections), 1)

    def test_arrived(self) -> None:
        """
        A connection of our own user is handed to the reactor.
        """
        control = self.open()
        self.dial()
        control.doRead()
        [(_, family, factory)] = self.reactor.adoptedStreamConnections
        self.assertEqual(family, socket.AF_UNIX)
        asker = factory.buildProtocol(None)
        self.assertIsInstance(asker, Asker)
        asker.connectionLost(Failure(ConnectionDone()))
        # Nobody else waits.
        control.doRead()
        self.assertEqual(len(self.reactor.adoptedStreamConnections), 1)

    def test_strangers(self) -> None:
        """
        Root may ask as well as the owner; anybody else who got here is hung up on
        without a word, by what the kernel says of him.
        """
        control = self.open()
        me = os.geteuid()
        for uid, owner, taken in ((0, 1000, 1), (1000, 1000, 1), (1001, 1000, 0)):
            self.reactor.adoptedStreamConnections.clear()
            self.patch(rootstream.control, "_uidOf", lambda _, uid=uid: uid)
            self.patch(os, "geteuid", lambda owner=owner: owner)
            connection = self.dial()
            control.doRead()
            self.assertEqual(len(self.reactor.adoptedStreamConnections), taken)
            if not taken:
                self.assertEqual(connection.recv(100), b"")
        self.patch(os, "geteuid", lambda: me)

    def test_tooMany(self) -> None:
        """
        The ninth connection is told so, and closed.
        """
        control = self.open()
        self.dial()
        control.doRead()
        [(_, _, factory)] = self.reactor.adoptedStreamConnections
        askers = [factory.buildProtocol(None) for _ in range(MAX_ASKERS)]
        for asker in askers:
            asker.makeConnection(StringTransport())
        connection = self.dial()
        control.doRead()
        self.assertIn("too many", json.loads(connection.recv(4096))["error"])
        self.assertEqual(connection.recv(100), b"")
        # One that is gone before it could be told is no matter.
        self.dial().close()
        control.doRead()
        self.assertEqual(len(self.reactor.adoptedStreamConnections), 1)
        askers[0].connectionLost(Failure(ConnectionDone()))
        self.dial()
        control.doRead()
        self.assertEqual(len(self.reactor.adoptedStreamConnections), 2)
        control.close()
        self.assertTrue(all(asker.transport.disconnected for asker in askers[1:]))
        for asker in askers[1:]:
            asker.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_noMoreFiles(self) -> None:
        """
        F76: when the process can open no more files, it pauses for a second and then
        takes what waits; a close meanwhile ends that.
        """
        control = self.open()
        self.dial()

        def full(*arguments: object) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        adopt = self.reactor.adoptStreamConnection
        self.reactor.adoptStreamConnection = full
        with capturedLogs() as logs:
            control.doRead()
        self.assertEqual(len(logs), 1)
        self.assertEqual(self.reactor.getReaders(), [])
        self.reactor.advance(PAUSE)
        self.assertEqual(self.reactor.getReaders(), [control])
        self.reactor.adoptStreamConnection = adopt
        self.dial()
        control.doRead()
        self.assertEqual(len(self.reactor.adoptedStreamConnections), 1)
        self.reactor.adoptStreamConnection = full
        self.dial()
        control.doRead()
        control.close()
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class UnavailableTests(SocketCase):
    """
    Where there can be no socket.
    """

    def assertWarns(self, phrase: str) -> None:
        """
        One warning with this phrase, and nothing else.
        """
        before = self.names() if self.home.is_dir() else []
        with capturedLogs() as logs:
            control = self.open()
            control.close()
        [warning] = logs
        self.assertEqual(warning["log_level"].name, "warn")
        self.assertIn(phrase, str(warning["reason"]))
        self.assertEqual(self.reactor.getReaders(), [])
        if self.home.is_dir():
            self.assertEqual(self.names(), before)

    def test_noHome(self) -> None:
        """
        A home that went away.
        """
        self.home.rmdir()
        self.assertWarns("there is no directory")

    def test_othersMayWrite(self) -> None:
        """
        A home that others may write into: they could put theirs in its place.
        """
        self.home.chmod(0o777)
        self.assertWarns("others may write")

    def test_taken(self) -> None:
        """
        A name that something else has.
        """
        (self.home / self.name).write_text("a file")
        self.assertWarns("in use")

    def test_cannotBeRemoved(self) -> None:
        """
        A socket that cannot be removed at the end stays, with a warning.
        """
        control = self.open()

        def readOnly(*arguments: object, **named: object) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        with capturedLogs() as logs:
            patch = self.patch(os, "unlink", readOnly)
            control.close()
            patch.restore()
        self.assertEqual(len(logs), 1)
        self.assertEqual(control.fileno(), -1)


class StaleTests(SocketCase):
    """
    What killed programs leave behind.
    """

    def finished(self) -> int:
        """
        The number of a process that is over.
        """
        done = subprocess.Popen([sys.executable, "-c", ""])
        done.wait()
        return done.pid

    def test_removed(self) -> None:
        """
        The next program removes them, one of its own number included, and no file of
        any other kind.
        """
        self.leave(f"control-{self.finished()}")
        self.leave(self.name)
        self.leave("control-99999999999999999999")
        self.leave("control-nonsense")
        (self.home / "control-1x").write_text("a file")
        (self.home / "peers").write_text("")
        self.open()
        self.assertEqual(self.names(), sorted(["control-1x", self.name, "peers"]))

    def test_removedByWhoeverAsks(self) -> None:
        """
        So does the command that asks.
        """
        self.leave(f"control-{self.finished()}")
        self.assertEqual(ask(self.home, {}, 1.0), [])
        self.assertEqual(self.names(), [])

    def test_beside(self) -> None:
        """
        Several programs may share a home.
        """
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(os.path.relpath(self.home / "control-7"))
            other.listen()
            self.open()
            self.assertEqual(self.names(), sorted(["control-7", self.name]))

    def test_notYetListening(self) -> None:
        """
        The socket of a process that lives is let alone: it may listen in a moment.
        """
        name = f"control-{os.getppid()}"
        self.leave(name)
        self.assertEqual(ask(self.home, {}, 1.0), [])
        self.assertEqual(self.names(), [name])

    def test_ofAnotherUser(self) -> None:
        """
        A process that we may not signal lives, too.
        """
        self.leave("control-7")

        def forbidden(process: int, signal: int) -> None:
            raise PermissionError

        self.patch(os, "kill", forbidden)
        self.assertEqual(ask(self.home, {}, 1.0), [])
        self.assertEqual(self.names(), ["control-7"])


class AskTests(SocketCase):
    """
    Tests for `ask`, with programs played by threads.
    """

    def setUp(self) -> None:
        super().setUp()
        self.heard: list[bytes] = []

    def play(self, name: str, behave: Callable[[socket.socket], object]) -> None:
        """
        A program that does as it likes with one connection.
        """
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(os.path.relpath(self.home / name))
        listening.listen()

        def run() -> None:
            with listening, listening.accept()[0] as connection:
                connection.settimeout(5)
                behave(connection)

        thread = threading.Thread(target=run)
        thread.start()
        self.addCleanup(thread.join)

    def answering(self, answer: bytes) -> Callable[[socket.socket], object]:
        """
        One that reads a line and answers, in two pieces.
        """

        def behave(connection: socket.socket) -> None:
            self.heard.append(connection.recv(4096))
            connection.sendall(answer[:3])
            connection.sendall(answer[3:])
            connection.recv(1)

        return behave

    def test_all(self) -> None:
        """
        All programs are asked the same, at once; their answers come back in order.
        """
        self.play("control-11", self.answering(b'{"n": 1}\n'))
        self.play("control-12", self.answering(b'{"n": 2}\n'))
        answers = ask(self.home, {"command": "drill"}, 10.0)
        self.assertEqual(answers, [{"n": 1}, {"n": 2}])
        self.assertEqual(self.heard, [b'{"command": "drill"}\n'] * 2)

    def test_noAnswer(self) -> None:
        """
        One that hangs up, says nonsense, no object, or far too much, and one that says
        nothing in time, has given no answer; the others' are not lost.
        """
        endless = self.answering(b"x" * (rootstream.control.MAX_ANSWER + 1))
        self.play("control-11", lambda connection: None)
        self.play("control-12", self.answering(b"nonsense\n"))
        self.play("control-13", self.answering(b"[1]\n"))
        self.play("control-14", self.answering(b'{"n": 4}\n'))
        self.play("control-15", lambda connection: connection.recv(4096) * 0)
        self.play("control-16", endless)
        self.play("control-17", self.reset)
        self.play("control-18", self.wait)
        ticks: list[int] = []
        answers = ask(self.home, {}, 1.5, lambda: ticks.append(1))
        self.assertEqual(
            [answer.get("error", answer) for answer in answers],
            [
                f"process {number} gave no answer" if number != 14 else {"n": 4}
                for number in range(11, 19)
            ],
        )
        self.assertIn(1, ticks)

    def wait(self, connection: socket.socket) -> None:
        """
        Say nothing until the other end hangs up.
        """
        while connection.recv(4096):
            pass

    def reset(self, connection: socket.socket) -> None:
        """
        Close with bytes unread: the other end is told of a reset.
        """
        self.assertNotEqual(connection.recv(1), b"")

    def test_notLetIn(self) -> None:
        """
        A socket that does not let us in is passed over, and stays.
        """
        self.play("control-11", lambda connection: None)

        def closed(self: object, where: str) -> None:
            raise PermissionError

        with self.dial11():
            self.patch(socket.socket, "connect", closed)
            self.assertEqual(ask(self.home, {}, 1.0), [])
        self.assertEqual(self.names(), ["control-11"])

    def dial11(self) -> socket.socket:
        """
        The connection that ends the thread of ``control-11``.
        """
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(os.path.relpath(self.home / "control-11"))
        return connection

    def test_noHome(self) -> None:
        """
        A home that is not there, or cannot be read, is an error in words.
        """
        self.assertRaises(IdentityError, ask, self.home / "no", {}, 1.0)

        def unreadable(where: object) -> None:
            raise OSError(errno.EIO, "Input/output error")

        self.patch(os, "scandir", unreadable)
        error = self.assertRaises(LocalError, ask, self.home, {}, 1.0)
        self.assertIn("Input/output error", str(error))

    def test_credentials(self) -> None:
        """
        The kernel tells who is at the other end.
        """
        ends = socket.socketpair(socket.AF_UNIX)
        for end in ends:
            self.addCleanup(end.close)
        self.assertEqual(rootstream.control._uidOf(ends[0]), os.geteuid())
        answering = rootstream.control._uidOf(ends[1])
        self.assertEqual(answering, os.geteuid())
