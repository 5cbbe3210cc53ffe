"""
Where a container's bytes go: a file that is whole at every moment, or a pipe.

Both gather what the muxer writes and let it go with `commit`, after each access
unit.  Both are used from the thread of their sink alone, but for `abandon`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
from typing import Final

from rootstream.errors import SinkError

__all__ = ["PipeOutput", "WholeFile"]

#: A pipe that polls writable takes this much without blocking (POSIX PIPE_BUF).
PIPE_STEP: Final = select.PIPE_BUF
#: How often a blocked pipe looks whether it was abandoned.
POLL_MS: Final = 100


class WholeFile:
    """
    A new file that never ends in half an access unit.

    When the disk refuses a write, what reached it of the last access unit is cut
    off again, and the file stays as it was after the one before (F83).
    """

    def __init__(self, path: str) -> None:
        self._path = path
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        try:
            self._file = os.open(path, flags, 0o666)
        except FileExistsError:
            raise SinkError(
                f"{path} exists; remove it or choose another name"
            ) from None
        except OSError as error:
            raise SinkError(
                f"cannot create {path}: {error.strerror}; choose another place"
            ) from None
        self._pending = bytearray()
        self._broken = False

    def write(self, data: bytes) -> int:
        # After a failure libavformat still wants to write its trailer somewhere.
        if not self._broken:
            self._pending += data
        return len(data)

    def tell(self) -> int:
        return os.lseek(self._file, 0, os.SEEK_CUR) + len(self._pending)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.commit()
        return os.lseek(self._file, offset, whence)

    def commit(self) -> None:
        """
        Let all that was written reach the file, or none of it.
        """
        size = os.fstat(self._file).st_size
        try:
            while self._pending:
                del self._pending[: os.write(self._file, self._pending)]
        except OSError as error:
            self._broken = True
            self._pending.clear()
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, size)
            raise self._refused(error) from None

    def _refused(self, error: OSError) -> SinkError:
        advice = "make room and record again"
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            advice = "see to the disk"
        return SinkError(
            f"cannot write {self._path}: {error.strerror}; it is playable up to "
            f"here; {advice}"
        )

    def close(self) -> None:
        """
        Put the file to disk; a file that never got a byte is removed.
        """
        try:
            if not self._broken:
                self.commit()
                os.fsync(self._file)
        except OSError as error:
            raise self._refused(error) from None
        finally:
            empty = os.fstat(self._file).st_size == 0
            os.close(self._file)
            if empty:
                with contextlib.suppress(OSError):
                    os.unlink(self._path)

    def abandon(self) -> None:
        """
        A file does not keep its writer waiting.
        """


class PipeOutput:
    """
    A pipe or socket that somebody reads, slowly perhaps.
    """

    def __init__(self, file: int) -> None:
        self._file = file
        self._pending = bytearray()
        self._abandoned = False
        self._poll = select.poll()
        self._poll.register(file, select.POLLOUT)

    def write(self, data: bytes) -> int:
        self._pending += data
        return len(data)

    def commit(self) -> None:
        """
        Wait until the reader has taken all, or is gone, or `abandon` is called.
        """
        try:
            while self._pending and not self._abandoned:
                if self._poll.poll(POLL_MS):
                    del self._pending[: os.write(self._file, self._pending[:PIPE_STEP])]
        except OSError as error:
            self._pending.clear()
            self._abandoned = True
            raise SinkError(
                f"cannot write to standard output: {error.strerror}; its reader is gone"
            ) from None
        finally:
            if self._abandoned:
                self._pending.clear()

    def close(self) -> None:
        self.commit()

    def abandon(self) -> None:
        """
        Stop waiting for the reader; called from any thread.
        """
        self._abandoned = True
