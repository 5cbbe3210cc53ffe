"""
A source and a sink in a process of their own, with no network between.

Run as ``python -m tests.integration.mediaprogram SOURCE SINK SECONDS``.  Says
``open`` on standard error once frames flow, and what went wrong, if anything.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from twisted.internet import reactor as _reactor

from rootstream.errors import LocalError, SourceError
from rootstream.media import MediaSink, openSink, openSource
from rootstream.protocol.events import AudioFrame, VideoFrame

reactor: Any = _reactor


class Joined:
    """
    Hands every frame of the source to the sink.
    """

    def __init__(self, source: str, sink: str) -> None:
        self._sink: MediaSink = openSink(sink, reactor=reactor, failed=self.ended)
        self._source = openSource(
            source, reactor=reactor, clock=lambda: time.monotonic_ns() // 1000
        )
        self._frames = 0
        self._ending = False
        self._source.open().addCallbacks(
            lambda _: self._source.start(self), lambda reason: self.ended(reason.value)
        )

    def video(self, frame: VideoFrame) -> None:
        self._frames += 1
        self._sink.video(frame)
        if self._frames == 15:
            # Must not get between the packets on standard output.
            print("stray words")
            sys.stderr.write("open\n")
            sys.stderr.flush()

    def audio(self, frame: AudioFrame) -> None:
        self._sink.audio(frame)

    def ended(self, error: LocalError | SourceError | None) -> None:
        if error is not None:
            sys.stderr.write(f"{error}\n")
        if not self._ending:
            self._ending = True
            stopped = self._source.stop()
            stopped.addCallback(lambda _: self._sink.close())
            stopped.addCallback(lambda _: reactor.stop())


def main(source: str, sink: str, seconds: str) -> None:
    try:
        joined = Joined(source, sink)
    except LocalError as error:
        sys.exit(str(error))
    reactor.callLater(float(seconds), joined.ended, None)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
