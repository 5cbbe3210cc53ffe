"""
The home directory: a private place for the identity, the peers file, a lock, and the
sockets of programs that run with it.

It is opened once, judged by what was opened, and its files are reached through
that descriptor, so nobody can swap the directory between the check and the use.
What the files mean is left to `rootstream.identity`, `rootstream.authorized` and
`rootstream.control`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final

from rootstream.errors import IdentityError

__all__ = ["Home", "Lock", "lockHome"]

#: O_NONBLOCK: opening a FIFO must not wait for somebody to write into it.
_SAFELY: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
#: Marks files that are not whole yet; odd enough never to be anybody else's.
_UNFINISHED: Final = ".rootstream-new"
_LOCK: Final = "lock"


@contextmanager
def _explained(verb: str, path: Path, fix: str) -> Iterator[None]:
    """
    Turn what the operating system refuses into one line with its fix.
    """
    try:
        yield
    except OSError as error:
        raise IdentityError(f"cannot {verb} {path}: {error.strerror}; {fix}") from error


class Home:
    """
    An open home directory that only its owner can change.  A context manager.
    """

    __slots__ = ("_descriptor", "path")

    def __init__(self, path: str | Path, *, create: bool) -> None:
        """
        Open the directory; with ``create``, make it first if it is missing.

        :raise IdentityError: It is no directory, or others may write into it.
        """
        self.path = Path(path)
        fix = "make it accessible, or give another directory with --home"
        if create:
            with _explained("create", self.path, fix), suppress(FileExistsError):
                os.makedirs(self.path, mode=0o700)
        with _explained("open", self.path, fix):
            try:
                self._descriptor = os.open(
                    self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
                )
            except FileNotFoundError:
                raise IdentityError(
                    f"there is no directory {self.path}; run `rootstream identity` "
                    "with this home to make an identity in it"
                ) from None
            except NotADirectoryError:
                raise IdentityError(
                    f"{self.path} is not a directory; "
                    "give a directory with --home, or move that file away"
                ) from None
        try:
            self._judge()
        except IdentityError:
            self.close()
            raise

    def __enter__(self) -> Home:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """
        Give the directory back.  What `lock` took stays taken.
        """
        os.close(self._descriptor)

    def _judge(self) -> None:
        status = os.fstat(self._descriptor)
        _checkOwner(self.path, status)
        if status.st_mode & 0o022:
            raise IdentityError(
                f"others may write into {self.path} and so replace the key; "
                f"run: chmod 700 {shlex.quote(str(self.path))}"
            )

    def exists(self, name: str) -> bool:
        """
        Whether anything bears this name, be it a dangling link.
        """
        return name in os.listdir(self._descriptor)

    def read(self, name: str, limit: int, *, secret: bool) -> bytes | None:
        """
        Return the file's bytes, or None if there is no such file.

        Of a longer file ``limit + 1`` bytes come back, enough to see that it is
        too long.  A ``secret`` one must be ours and readable by nobody else.

        :raise IdentityError: It is no regular file, or not private.
        """
        path = self.path / name
        with _explained("read", path, "make it readable, or restore it"):
            try:
                descriptor = os.open(
                    name, os.O_RDONLY | _SAFELY, dir_fd=self._descriptor
                )
            except FileNotFoundError:
                return None
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
                raise IdentityError(
                    f"{path} is a symbolic link, which another could redirect; "
                    "put the file itself in its place"
                ) from error
            try:
                status = os.fstat(descriptor)
                _checkRegular(path, status)
                if secret:
                    _checkOwner(path, status)
                    _checkPrivate(path, status)
                return os.read(descriptor, limit + 1)
            finally:
                os.close(descriptor)

    def publish(self, name: str, data: bytes, mode: int, *, replace: bool) -> bool:
        """
        Write a file that is there whole or not at all, whenever we are killed.

        The bytes go to a file of another name and reach the disk before the
        name does.  Without ``replace`` the name is given by link(2), which
        unlike rename(2) never overwrites.

        :return: False if another file or another process was first.
        :raise IdentityError: The directory cannot be written.
        """
        path = self.path / name
        draft = f".{name}.{os.urandom(8).hex()}{_UNFINISHED}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY
        here = self._descriptor
        fix = f"make room in {self.path} and let it be written"
        with _explained("write", path, fix):
            descriptor = os.open(draft, flags, mode, dir_fd=here)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                if replace:
                    os.rename(draft, name, src_dir_fd=here, dst_dir_fd=here)
                else:
                    os.link(draft, name, src_dir_fd=here, dst_dir_fd=here)
            except (FileExistsError, FileNotFoundError):
                # The draft is gone when the winner has already swept.
                return False
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(draft, dir_fd=here)
            os.fsync(here)
        return True

    def sweep(self) -> None:
        """
        Remove what killed processes left unfinished.

        Only for a home whose identity is whole: a draft that a living process
        still writes can then no longer win, and `publish` says so to it.
        """
        with suppress(OSError):  # a home on a read-only disk may be untidy
            for name in os.listdir(self._descriptor):
                if name.endswith(_UNFINISHED):
                    os.unlink(name, dir_fd=self._descriptor)

    def listen(self, name: str) -> socket.socket:
        """
        Return a UNIX stream socket that listens by this name, for its owner alone.

        :raise OSError: It cannot be made, or the name is taken.
        """
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # bind(2) gives the name the mode that the socket has, so there is no
            # moment in which others could connect, and no umask to set for all threads.
            os.fchmod(listening.fileno(), 0o600)
            listening.bind(self._inside(name))
            listening.listen()
        except BaseException:
            listening.close()
            raise
        return listening

    def dial(self, name: str, timeout: float) -> socket.socket:
        """
        Return a connection to whoever listens by this name.

        :raise OSError: Nobody does, or not to us.
        """
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout)
            connection.connect(self._inside(name))
        except BaseException:
            connection.close()
            raise
        return connection

    def sockets(self, prefix: str) -> list[str]:
        """
        The names of sockets that begin so.

        :raise OSError: The directory cannot be read.
        """
        return sorted(
            entry.name
            for entry in os.scandir(self._descriptor)
            if entry.name.startswith(prefix)
            and stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode)
        )

    def remove(self, name: str) -> None:
        """
        Remove a name; harmless when it is gone.

        :raise OSError: It cannot be removed.
        """
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._descriptor)

    def _inside(self, name: str) -> str:
        """
        A path of this directory, however long its own is: an address of a socket has
        room for 107 bytes.
        """
        return f"/proc/self/fd/{self._descriptor}/{name}"

    def lock(self) -> Lock:
        """
        Take the lock of this home; it ends with the process, however that ends.

        :raise IdentityError: Another process has it.
        """
        path = self.path / _LOCK
        flags = os.O_RDWR | os.O_CREAT | _SAFELY
        with _explained("lock", path, "remove it, or give another --home"):
            descriptor = os.open(_LOCK, flags, 0o600, dir_fd=self._descriptor)
            try:
                _checkRegular(path, os.fstat(descriptor))
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
            except BlockingIOError:
                owner = os.pread(descriptor, 20, 0).strip()
                os.close(descriptor)
                process = owner.decode() if owner.isdigit() else "unknown"
                raise IdentityError(
                    f"another rootstream runs with this home (process {process}); "
                    "stop it or give another --home"
                ) from None
            except BaseException:
                os.close(descriptor)
                raise
        return Lock(descriptor)


class Lock:
    """
    The right to be the only host with a home.
    """

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """
        Let another process have the home.  Harmless when repeated.

        The file stays: removing it would let two others hold two locks, one on
        the removed file and one on its successor.
        """
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def lockHome(home: str | Path) -> Lock:
    """
    Make this process the only host with ``home``.

    The lock file names the process that takes it: a daemon takes it after its
    last fork.

    :raise IdentityError: Another process has it; the text says which.
    """
    with Home(home, create=True) as directory:
        return directory.lock()


def _checkOwner(path: Path, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        raise IdentityError(
            f"{path} belongs to user {status.st_uid}, not to you "
            f"(user {os.geteuid()}); run as that user, or: "
            f"chown {os.geteuid()} {shlex.quote(str(path))}"
        )


def _checkPrivate(path: Path, status: os.stat_result) -> None:
    if status.st_mode & 0o077:
        raise IdentityError(
            f"others may use the secret key in {path}; "
            f"run: chmod 600 {shlex.quote(str(path))}"
        )


def _checkRegular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise IdentityError(
            f"{path} is not a regular file; remove it and put the file in its place"
        )
