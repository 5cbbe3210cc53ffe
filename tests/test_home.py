"""
Tests for `rootstream.home`.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from unittest import SkipTest

from twisted.python.monkey import MonkeyPatcher
from twisted.trial.unittest import SynchronousTestCase

from rootstream.errors import IdentityError
from rootstream.home import Home, lockHome


def openFiles() -> int:
    return len(os.listdir("/dev/fd"))


class HomeTestCase(SynchronousTestCase):
    """
    A private home, and the promise that nothing stays open.
    """

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        self.path.mkdir(mode=0o700)
        before = openFiles()
        # The first cleanup to be added is the last to run.
        self.addCleanup(lambda: self.assertEqual(openFiles(), before))

    def open(self) -> Home:
        home = Home(self.path, create=False)
        self.addCleanup(home.close)
        return home

    def refusal(self, call: Callable[[], object]) -> str:
        """
        Return what `IdentityError` says, which must be one line.
        """
        text = str(self.assertRaises(IdentityError, call))
        self.assertNotIn("\n", text)
        return text

    def owners(self, *answers: int) -> None:
        """
        Make the process look as if it ran as these users, one check after
        another; the last stays.
        """
        left = list(answers)
        self.patch(os, "geteuid", lambda: left.pop(0) if len(left) > 1 else left[0])


class OpenTests(HomeTestCase):
    """
    `Home` judges the directory before anything in it is touched.
    """

    def test_created(self) -> None:
        """
        A missing home is created, with its parents, for its owner alone.
        """
        path = self.path / "a" / "b"
        Home(path, create=True).close()
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o700)

    def test_notCreated(self) -> None:
        """
        A missing home that was not to be created is refused, with the command
        that makes one.
        """
        text = self.refusal(lambda: Home(self.path / "none", create=False))
        self.assertIn("run `rootstream identity`", text)
        self.assertFalse((self.path / "none").exists())

    def test_file(self) -> None:
        """
        A home that is a file is refused, whether or not it may be created.
        """
        path = self.path / "file"
        path.write_text("")
        for create in (False, True):
            text = self.refusal(lambda create=create: Home(path, create=create))
            self.assertIn(f"{path} is not a directory", text)
            self.assertIn("--home", text)

    def test_belowFile(self) -> None:
        """
        A home below a file cannot be created, and the text names the home.
        """
        (self.path / "file").write_text("")
        path = self.path / "file" / "home"
        text = self.refusal(lambda: Home(path, create=True))
        self.assertIn(f"cannot create {path}: Not a directory", text)

    def test_unreachable(self) -> None:
        """
        A home that the system refuses to open is refused with its reason.
        """

        def refuse(*args: object) -> int:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        self.patch(os, "open", refuse)
        text = self.refusal(lambda: Home(self.path, create=False))
        self.assertIn(f"cannot open {self.path}: Permission denied", text)

    def test_writableByOthers(self) -> None:
        """
        F79: a home that its group or the world may write is refused, with the
        command that mends it, quoted for the shell.
        """
        path = self.path / "my home"
        path.mkdir()
        for mode in (0o777, 0o720, 0o702):
            path.chmod(mode)
            text = self.refusal(lambda: Home(path, create=True))
            self.assertIn(f"run: chmod 700 '{path}'", text)

    def test_readableByOthers(self) -> None:
        """
        A home that others may only look into is accepted.
        """
        self.path.chmod(0o755)
        Home(self.path, create=False).close()

    def test_otherOwner(self) -> None:
        """
        F79: a home of another user is refused, with the command that mends it.
        """
        real = os.geteuid()
        self.owners(real + 1)
        text = self.refusal(lambda: Home(self.path, create=False))
        self.assertIn(f"belongs to user {real}, not to you (user {real + 1})", text)
        self.assertIn(f"chown {real + 1} {self.path}", text)

    def test_contextManager(self) -> None:
        """
        A ``with`` block gives the directory back.
        """
        with Home(str(self.path), create=False) as home:
            self.assertEqual(home.path, self.path)


class ReadTests(HomeTestCase):
    """
    `Home.read` returns the bytes of private regular files and of nothing else.
    """

    def setUp(self) -> None:
        super().setUp()
        self.file = self.path / "file"

    def write(self, data: bytes, mode: int = 0o600) -> None:
        self.file.write_bytes(data)
        self.file.chmod(mode)

    def read(self, secret: bool = True) -> bytes | None:
        with Home(self.path, create=False) as home:
            return home.read("file", 4, secret=secret)

    def test_whole(self) -> None:
        """
        A file up to the limit is returned whole.
        """
        for data in (b"", b"abc", b"abcd"):
            self.write(data)
            self.assertEqual(self.read(), data)

    def test_long(self) -> None:
        """
        Of a file past the limit one byte too many is returned, and no more.
        """
        self.write(b"abcdefgh")
        self.assertEqual(self.read(), b"abcde")

    def test_missing(self) -> None:
        """
        A missing file is None, not an empty one.
        """
        self.assertIs(self.read(), None)

    def test_mode(self) -> None:
        """
        F79: a secret that anybody else may read, write or run is refused, with
        the command that mends it.
        """
        for mode in (0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o601):
            self.write(b"abcd", mode)
            text = self.refusal(self.read)
            self.assertIn(f"run: chmod 600 {self.file}", text)

    def test_publicMode(self) -> None:
        """
        What is no secret may be readable by all.
        """
        self.write(b"abcd", 0o644)
        self.assertEqual(self.read(secret=False), b"abcd")

    def test_readOnly(self) -> None:
        """
        A secret that its owner may only read is accepted.
        """
        self.write(b"abcd", 0o400)
        self.assertEqual(self.read(), b"abcd")

    def test_otherOwner(self) -> None:
        """
        F79: a secret of another user in our own home is refused.
        """
        self.write(b"abcd")
        real = os.geteuid()
        self.owners(real, real + 1)
        self.assertIn(f"{self.file} belongs to user {real}", self.refusal(self.read))

    def test_symlink(self) -> None:
        """
        F80: a symbolic link is refused even if its target would do.
        """
        target = self.path / "target"
        target.write_bytes(b"abcd")
        target.chmod(0o600)
        self.file.symlink_to(target)
        self.assertIn(f"{self.file} is a symbolic link", self.refusal(self.read))

    def test_fifo(self) -> None:
        """
        F80: a FIFO that nobody writes to is refused at once, not waited for.
        """

        def late(number: int, frame: FrameType | None) -> None:
            raise AssertionError("waited for a FIFO")

        old = signal.signal(signal.SIGALRM, late)
        self.addCleanup(signal.signal, signal.SIGALRM, old)
        signal.alarm(10)
        self.addCleanup(signal.alarm, 0)
        os.mkfifo(self.file, 0o600)
        self.assertIn("is not a regular file", self.refusal(self.read))

    def test_directory(self) -> None:
        """
        F80: a directory is refused.
        """
        self.file.mkdir(mode=0o700)
        self.assertIn("is not a regular file", self.refusal(self.read))

    def test_socket(self) -> None:
        """
        F80: a socket is refused.
        """
        # The path of a socket is at most 107 bytes long, so it is a relative one.
        back = os.open(".", os.O_RDONLY)
        self.addCleanup(os.close, back)
        os.chdir(self.path)
        self.addCleanup(os.fchdir, back)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("file")
            self.assertIn(f"cannot read {self.file}", self.refusal(self.read))

    def test_device(self) -> None:
        """
        F80: a device is refused.
        """
        try:
            os.mknod(self.file, stat.S_IFCHR | 0o600, os.makedev(1, 5))
        except PermissionError:
            raise SkipTest("this user may not make devices") from None
        try:
            text = self.refusal(self.read)
        finally:
            self.file.unlink()
        self.assertIn(f"{self.file}", text)

    def test_swapped(self) -> None:
        """
        F80: the file that was opened is judged, not what bears its name later.
        """
        self.write(b"abcd", 0o644)
        realOpen = os.open

        def swap(path: str, *args: int, **where: int) -> int:
            descriptor = realOpen(path, *args, **where)
            if path == "file":
                self.file.unlink()
                self.write(b"good", 0o600)
            return descriptor

        self.patch(os, "open", swap)
        self.assertIn("chmod 600", self.refusal(self.read))

    def test_homeSwapped(self) -> None:
        """
        F80: files come from the directory that was judged, though another bears
        its name by now.
        """
        self.write(b"good")
        home = self.open()
        self.path.rename(self.path.with_suffix(".moved"))
        self.path.mkdir(mode=0o777)
        self.write(b"evil")
        self.assertEqual(home.read("file", 4, secret=True), b"good")


class PublishTests(HomeTestCase):
    """
    `Home.publish` makes whole files or none.
    """

    def publish(self, *, replace: bool) -> bool:
        with Home(self.path, create=False) as home:
            return home.publish("file", b"new", 0o600, replace=replace)

    def content(self) -> dict[str, bytes]:
        return {entry.name: entry.read_bytes() for entry in self.path.iterdir()}

    def failing(self, name: str, number: int) -> MonkeyPatcher:
        """
        Let a call of the operating system fail.
        """

        def fail(*args: object, **kwargs: object) -> None:
            raise OSError(number, os.strerror(number))

        return self.patch(os, name, fail)

    def test_new(self) -> None:
        """
        A new file has its bytes, its mode, and no draft beside it.
        """
        for replace in (False, True):
            self.assertTrue(self.publish(replace=replace))
            self.assertEqual(self.content(), {"file": b"new"})
            mode = stat.S_IMODE((self.path / "file").stat().st_mode)
            self.assertEqual(mode, 0o600)
            (self.path / "file").unlink()

    def test_keeps(self) -> None:
        """
        Without ``replace`` a file that is there stays as it is.
        """
        (self.path / "file").write_bytes(b"old")
        self.assertFalse(self.publish(replace=False))
        self.assertEqual(self.content(), {"file": b"old"})

    def test_replaces(self) -> None:
        """
        With ``replace`` the new file takes the place of the old one.
        """
        (self.path / "file").write_bytes(b"old")
        self.assertTrue(self.publish(replace=True))
        self.assertEqual(self.content(), {"file": b"new"})

    def test_order(self) -> None:
        """
        F81: the bytes are on the disk before the name, and the name before
        `publish` returns.
        """
        calls: list[str] = []

        def recorded(name: str) -> None:
            real = getattr(os, name)

            def call(*args: object, **kwargs: object) -> object:
                what = name
                if name == "fsync":
                    isDirectory = stat.S_ISDIR(os.fstat(args[0]).st_mode)
                    what += " directory" if isDirectory else " file"
                calls.append(what)
                return real(*args, **kwargs)

            self.patch(os, name, call)

        for name in ("fsync", "link", "rename", "unlink"):
            recorded(name)
        self.publish(replace=False)
        self.assertEqual(calls, ["fsync file", "link", "unlink", "fsync directory"])

    def test_diskFull(self) -> None:
        """
        F83: a full disk is said in one line, and nothing partial remains.
        """
        for name in ("fsync", "link"):
            self.failing(name, errno.ENOSPC)
            text = self.refusal(lambda: self.publish(replace=False))
            self.assertIn(
                f"cannot write {self.path / 'file'}: No space left on device", text
            )
            self.assertEqual(self.content(), {})

    def test_readOnly(self) -> None:
        """
        A home that cannot be written is said in one line.
        """
        home = self.open()
        self.failing("open", errno.EROFS)
        text = self.refusal(lambda: home.publish("file", b"new", 0o600, replace=False))
        self.assertIn("Read-only file system", text)
        self.assertIn(f"make room in {self.path} and let it be written", text)

    def test_sweptByWinner(self) -> None:
        """
        A process whose draft was swept by the one that was first has lost, and
        says so.
        """
        realLink = os.link

        def link(source: str, name: str, **where: int) -> None:
            (self.path / "file").write_bytes(b"first")
            with Home(self.path, create=False) as other:
                other.sweep()
            realLink(source, name, **where)

        self.patch(os, "link", link)
        self.assertFalse(self.publish(replace=False))
        self.assertEqual(self.content(), {"file": b"first"})

    def test_sweep(self) -> None:
        """
        `Home.sweep` removes drafts and nothing else, and forgives a home that
        cannot be written.
        """
        home = self.open()
        for name in (".file.01.rootstream-new", ".profile.new", "file"):
            (self.path / name).write_bytes(b"")
        readOnly = self.failing("unlink", errno.EROFS)
        home.sweep()
        self.assertEqual(len(self.content()), 3)
        readOnly.restore()
        home.sweep()
        self.assertEqual(set(self.content()), {".profile.new", "file"})

    def test_exists(self) -> None:
        """
        A name is taken even by a link that leads nowhere.
        """
        home = self.open()
        self.assertFalse(home.exists("file"))
        (self.path / "file").symlink_to("nowhere")
        self.assertTrue(home.exists("file"))


class SocketsTests(HomeTestCase):
    """
    Tests for the sockets in a `Home`.
    """

    def test_listenAndDial(self) -> None:
        """
        Who dials a name reaches who listens by it, and nobody but the owner may.
        """
        home = self.open()
        with home.listen("here") as listening:
            mode = (self.path / "here").lstat().st_mode
            self.assertEqual(stat.S_IMODE(mode), 0o600)
            with home.dial("here", 5.0) as near, listening.accept()[0] as far:
                near.sendall(b"?")
                self.assertEqual(far.recv(1), b"?")

    def test_refused(self) -> None:
        """
        A name that is taken, or that nobody listens by, is the system's error, and
        leaves nothing open.
        """
        home = self.open()
        (self.path / "file").write_text("")
        self.assertRaises(OSError, home.listen, "file")
        self.assertRaises(FileNotFoundError, home.dial, "nobody", 5.0)
        home.listen("left").close()
        self.assertRaises(ConnectionRefusedError, home.dial, "left", 5.0)

    def test_names(self) -> None:
        """
        Sockets are told from all else, be it a link to one, and removed by name.
        """
        home = self.open()
        for name in ("a-2", "a-1", "b"):
            home.listen(name).close()
        (self.path / "a-file").write_text("")
        (self.path / "a-link").symlink_to("a-1")
        self.assertEqual(home.sockets("a-"), ["a-1", "a-2"])
        home.remove("a-1")
        home.remove("a-1")
        self.assertEqual(home.sockets("a-"), ["a-2"])


class LockTests(HomeTestCase):
    """
    One host a home.
    """

    def test_second(self) -> None:
        """
        F85: the second host with a home is refused and told who has it.
        """
        lock = lockHome(self.path)
        self.addCleanup(lock.release)
        text = self.refusal(lambda: lockHome(self.path))
        self.assertEqual(
            text,
            f"another rootstream runs with this home (process {os.getpid()}); "
            "stop it or give another --home",
        )

    def test_unnamed(self) -> None:
        """
        F85: a lock file without a process number still refuses.
        """
        lock = lockHome(self.path)
        self.addCleanup(lock.release)
        (self.path / "lock").write_bytes(b"\x1b[2J")
        self.assertIn("(process unknown)", self.refusal(lambda: lockHome(self.path)))

    def test_release(self) -> None:
        """
        A home that was released, once or twice, can be had again.
        """
        lock = lockHome(self.path)
        lock.release()
        lock.release()
        lockHome(self.path).release()

    def test_longerNumber(self) -> None:
        """
        Nothing of the number of an earlier process remains in the file.
        """
        (self.path / "lock").write_bytes(b"123456789012\n")
        lockHome(self.path).release()
        self.assertEqual((self.path / "lock").read_bytes(), b"%d\n" % os.getpid())

    def test_killed(self) -> None:
        """
        F85: the lock of a killed process is free.
        """
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            lockHome(self.path)
            os.write(theirs, b"locked")
            signal.pause()
        self.assertEqual(os.read(ours, 6), b"locked")
        self.assertIn(f"process {child}", self.refusal(lambda: lockHome(self.path)))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ours)
        os.close(theirs)
        lockHome(self.path).release()

    def test_creates(self) -> None:
        """
        A missing home is created, for a host makes its identity there.
        """
        lockHome(self.path / "new").release()
        self.assertTrue((self.path / "new").is_dir())

    def test_notAFile(self) -> None:
        """
        A lock file that is a link or a FIFO is refused.
        """
        lock = self.path / "lock"
        lock.symlink_to("elsewhere")
        self.assertIn(f"cannot lock {lock}", self.refusal(lambda: lockHome(self.path)))
        self.assertFalse((self.path / "elsewhere").exists())
        lock.unlink()
        os.mkfifo(lock)
        self.assertIn("not a regular file", self.refusal(lambda: lockHome(self.path)))
