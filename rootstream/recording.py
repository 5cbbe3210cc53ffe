"""
Recordings of a stream, begun and ended while it runs, without encoding anything anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed

from rootstream.errors import LocalError, SinkError
from rootstream.media import MediaSink, openSink
from rootstream.protocol.frames import cleanText
from rootstream.tee import Tee

__all__ = ["Recordings"]

#: The containers of a recording, by the end of its name.
ENDINGS = (".mkv", ".mp4")
#: Characters of a name that comes without a path.
MAX_NAME = 100


class Recordings:
    """
    One recording at a time of what a tee hands on.

    A file is whole up to its last access unit at every moment (F84); when the disk
    takes no more, the recording ends and the stream goes on (F83).  ``changed`` is
    told of each beginning and end: in words, with the file if one is still written, and
    whether it failed.

    :ivar file: what is written now.
    """

    def __init__(
        self, tee: Tee, reactor: Any, changed: Callable[[str, str | None, bool], None]
    ) -> None:
        self._tee = tee
        self._reactor = reactor
        self._changed = changed
        self._sink: MediaSink | None = None
        self._spoiled = False
        self.file: str | None = None

    def start(self, path: str) -> None:
        """
        Record into a new file.

        :raise LocalError: when that cannot be.
        """
        if self.file is not None:
            raise LocalError(f"{self.file} is being recorded; stop that first")
        if not path.lower().endswith(ENDINGS):
            raise LocalError(
                f"cannot record into {path!r}: choose a name that ends in "
                + " or ".join(ENDINGS)
            )
        self._sink = openSink(
            path,
            reactor=self._reactor,
            failed=self._failed,
            wantKeyFrame=lambda: None,
        )
        self.file = path
        self._changed(f"recording into {path}", path, False)
        self._tee.add(self._sink)

    def stop(self) -> Deferred[None]:
        """
        End the recording, if there is one; fires when the file is closed.
        """
        sink, self._sink = self._sink, None
        if sink is None:
            return succeed(None)
        self._tee.remove(sink)
        file, self.file = self.file, None
        assert file is not None
        self._spoiled = False

        def closed(_: None) -> None:
            if not self._spoiled:
                self._changed(f"recorded {file}", None, False)

        return sink.close().addCallback(closed)

    def _failed(self, error: SinkError) -> None:
        sink, self._sink = self._sink, None
        self.file = None
        if sink is None:
            # While it was being closed.
            self._spoiled = True
        else:
            self._tee.remove(sink)
        self._changed(f"the recording ended: {error}", None, True)

    def ask(
        self, asked: Mapping[str, Any], directory: Path
    ) -> Deferred[dict[str, Any]]:
        """
        Do what ``asked`` says: ``action`` is ``start`` or ``stop``.  ``file`` is where
        to, by its whole path; from a page, which says so with ``page``, it is a plain
        name, and the file is put into ``directory``.

        Raises `LocalError` when that makes no sense.
        """
        match asked.get("action"):
            case "start":
                file = asked.get("file")
                if not isinstance(file, str):
                    raise LocalError('"file" is the name of a file')
                if asked.get("page"):
                    file = str(self._place(file, directory))
                elif not Path(file).is_absolute():
                    raise LocalError('"file" is a path from the root')
                self.start(file)
                return succeed({"file": file})
            case "stop":
                if self.file is None:
                    raise LocalError("nothing is being recorded")
                return self.stop().addCallback(lambda _: {"file": None})
            case _:
                raise LocalError('"action" is start or stop')

    def _place(self, name: str, directory: Path) -> Path:
        """
        Where a recording of this plain name goes (F75).
        """
        plain = cleanText(name, MAX_NAME) == name and "/" not in name
        if not plain or not name or name.startswith("."):
            raise LocalError(
                "a recording's name is a plain one, such as evening.mkv, of at most "
                f"{MAX_NAME} characters"
            )
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise LocalError(
                f"cannot make {directory}: {error.strerror}; record by "
                "'rootstream record start FILE'"
            ) from None
        return directory / name
