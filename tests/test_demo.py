"""
Tests for `rootstream.demo`: both ends of one stream.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

import rootstream.demo
from rootstream.demo import DemoProgram
from rootstream.errors import GaveUp, LocalError, SourceError
from rootstream.protocol.events import InputEvent, VideoFrame
from rootstream.weather import Forecast, parseChange, parseScript
from tests.mediasamples import encodedFrames
from tests.test_broadcast import FakeSource
from tests.virtual import VirtualReactor, picture


class Calm:
    """
    A `rootstream.wind.Wind` that stands in nobody's way: the host's port itself.
    """

    def __init__(
        self,
        reactor: Any,
        hostPort: int,
        forecast: Forecast,
        changed: Callable[[str], None],
    ) -> None:
        self._reactor = reactor
        self._port = hostPort
        self._forecast = forecast
        self._changed = changed
        self.closedWith: list[str] = []

    def listen(self) -> int:
        self._forecast.begin(self._reactor.seconds())
        self._forecast.timerFired(self._reactor.seconds())
        return self._port

    def change(self, text: str) -> str:
        self._forecast.change(parseChange(text), self._reactor.seconds())
        self._changed(str(self._forecast.weather))
        return str(self._forecast.weather)

    def close(self) -> Deferred[None]:
        self.closedWith = list(self._reactor.net.ports)
        return succeed(None)


class DemoProgramTests(SynchronousTestCase):
    """
    Tests for `DemoProgram`.
    """

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.reactor.surround(self)
        self.reactor.running = True
        self.source = FakeSource()
        self.patch(rootstream.demo, "openSource", lambda *_, **__: self.source)
        self.patch(rootstream.demo, "Wind", Calm)
        self.events = self.mktemp()
        self.out, self.err = io.StringIO(), io.StringIO()

    def start(self, seconds: float = 0.1, **options: Any) -> DemoProgram:
        """
        Start a demo whose source is open.
        """
        program = DemoProgram(self.reactor, self.out, self.err, self.events, **options)
        program.startService()
        if not self.source.opening.called:
            self.source.opening.callback(None)
        self.reactor.elapse(seconds)
        return program

    def stop(self, program: DemoProgram) -> None:
        stopping = program.stopService()
        self.reactor.elapse(1.0)
        self.successResultOf(stopping)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.reactor.net.ports, {})

    def written(self, event: str) -> list[dict[str, Any]]:
        lines = map(json.loads, Path(self.events).read_text("utf-8").splitlines())
        return [line for line in lines if line["event"] == event]

    def test_line(self) -> None:
        """
        Each second a line tells state, transport, resolution, rates, round trip, loss
        and latency.
        """
        program = self.start()
        now = int(self.reactor.seconds() * 1e6)
        sample = encodedFrames(1)[0].data
        for number in range(10):
            self.source.deliver.video(
                VideoFrame(sample, now - 5000 + number, number == 0)
            )
        self.reactor.elapse(1.0)
        line = self.out.getvalue().splitlines()[-1]
        self.assertRegex(
            line,
            r"^CONNECTED udp \d+x\d+ 10 fps \d+\.\d\d Mbit/s "
            r"RTT 2\.\d ms loss 0\.0% latency 6\.\d ms$",
        )
        mine = [event for event in self.written("stats") if "latency_ms" in event]
        self.assertEqual(mine[-1]["frames"], 10)
        self.assertEqual(len(self.written("stats")), 2 * len(mine))
        self.stop(program)

    def test_input(self) -> None:
        """
        With an input log the viewer's keys arrive in the events file, once each, and
        what the page leaves down is let go of; without, they come to nothing.
        """
        program = self.start(input="log")
        self.assertEqual(program.inputGoes, "log")
        program.sendInput([InputEvent(1, 30, 1), InputEvent(0, 0, 0)])
        self.reactor.elapse(1.0)
        program.releaseInput()
        self.reactor.elapse(0.1)
        groups = [entry["events"] for entry in self.written("input")]
        self.assertEqual(groups, [[[1, 30, 1], [0, 0, 0]], [[1, 30, 0], [0, 0, 0]]])
        self.stop(program)
        self.assertIn("Input: 4 events taken, 0 refused", self.out.getvalue())
        quiet = self.start()
        self.assertIsNone(quiet.inputGoes)
        quiet.sendInput([InputEvent(1, 30, 1)])
        self.stop(quiet)
        self.assertEqual(len(self.written("input")), 2)

    def test_beginning(self) -> None:
        """
        It listens on loopback only, with keys of the moment, and writes the port.
        """
        program = self.start()
        [listening] = self.written("listening")
        self.assertEqual(
            list(self.reactor.tcpListeners), [("127.0.0.1", listening["tcp"])]
        )
        self.assertIn("on 127.0.0.1, port", self.out.getvalue())
        self.stop(program)

    def test_summary(self) -> None:
        """
        At the end it sums up what went through, on the screen and in the events.
        """
        program = self.start()
        for number in range(3):
            self.source.deliver.video(picture(number, number == 0))
        self.reactor.elapse(1.0)
        self.stop(program)
        self.assertRegex(
            self.out.getvalue().splitlines()[-1],
            r"^In 1\.1 s: 3 frames sent, 3 received, 0 lost, "
            r"0\.0 MB, all of it encrypted\.$",
        )
        [summary] = self.written("summary")
        self.assertEqual((summary["frames_sent"], summary["frames_received"]), (3, 3))
        self.assertTrue(self.source.stopped)

    def test_nothingShownYet(self) -> None:
        """
        Before the first frame the line shows what is not known as such.
        """
        program = self.start(1.1)
        line = self.out.getvalue().splitlines()[-1]
        self.assertIn("CONNECTED udp ? 0 fps", line)
        self.assertIn("latency ? ms", line)
        self.stop(program)

    def test_whileConnecting(self) -> None:
        """
        While the two are not connected it says so; a stop then is no error.
        """
        self.reactor.cut()
        program = self.start(2.1)
        self.assertEqual(self.out.getvalue().splitlines()[-1], "connecting")
        self.stop(program)
        self.assertEqual(self.written("summary"), [])
        self.assertEqual(self.err.getvalue(), "")

    def test_neverConnected(self) -> None:
        """
        A demo whose ends do not find each other is a fault of this machine.
        """
        self.patch(
            rootstream.demo, "connect", lambda *_, **__: fail(GaveUp("no loopback"))
        )
        program = self.start()
        self.assertEqual(self.err.getvalue(), "rootstream: no loopback\n")
        self.assertEqual(program.exitStatus, 1)
        self.stop(program)

    def test_sourceFails(self) -> None:
        """
        An encoder that fails ends it, with one line.
        """
        program = self.start()
        self.source.deliver.ended(None)
        self.assertEqual(program.exitStatus, 0)
        self.source.deliver.ended(SourceError("no encoder for H.264"))
        self.assertEqual(self.err.getvalue(), "rootstream: no encoder for H.264\n")
        self.assertEqual(program.exitStatus, 1)
        self.stop(program)

    def test_badSource(self) -> None:
        """
        A source that cannot even be named is a fault before anything is dialled.
        """

        def refuse(*_: Any, **__: Any) -> Any:
            raise SourceError("no encoder")

        self.patch(rootstream.demo, "openSource", refuse)
        program = self.start()
        self.assertEqual(program.exitStatus, 1)
        self.stop(program)

    def test_viewerLeaves(self) -> None:
        """
        A viewer that is gone is measured no more.
        """
        program = self.start(1.05)
        assert program._viewer is not None
        program._viewer.close()
        self.reactor.elapse(0.2)
        before = len(self.written("stats"))
        self.reactor.elapse(1.0)
        self.assertEqual(len(self.written("stats")), before + 1)
        self.stop(program)

    def test_weather(self) -> None:
        """
        The weather can be changed while it runs; each change is shown and written.
        """
        program = self.start()
        self.assertEqual(program.weather, "clear")
        self.assertEqual(program.setWeather("block udp"), "UDP blocked")
        self.assertEqual(program.weather, "UDP blocked")
        self.assertRaises(LocalError, program.setWeather, "rain")
        self.assertEqual(program.status().weather, "UDP blocked")
        self.assertEqual(self.out.getvalue().splitlines()[-1], "Weather: UDP blocked.")
        self.assertEqual(
            [event["text"] for event in self.written("weather")], ["UDP blocked"]
        )
        self.stop(program)

    def test_happening(self) -> None:
        """
        What becomes of the stream is shown in the words of the events file.
        """
        program = self.start()
        self.reactor.cut()
        self.reactor.elapse(20.0)
        self.reactor.mend()
        self.reactor.elapse(2.0)
        shown = self.out.getvalue().splitlines()
        host = shown[0].split()[1]
        [impaired] = [e for e in self.written("impaired") if e["peer"] == host]
        self.assertEqual(shown.count(impaired["text"] + "."), 1)
        self.assertEqual(sum(line.startswith("UDP since ") for line in shown), 1)
        self.stop(program)

    def test_noWeatherYet(self) -> None:
        """
        Before it runs there is no weather to change.
        """
        program = DemoProgram(self.reactor, self.out, self.err)
        self.assertRaises(LocalError, program.setWeather, "clear")

    def test_askWeather(self) -> None:
        """
        It can be changed by a command, too, which refuses what is no text.
        """
        program = self.start()
        ask = program.commands["weather"]
        self.assertEqual(
            self.successResultOf(ask({"text": "loss 5%"})), {"weather": "UDP loss 5%"}
        )
        self.assertRaises(LocalError, ask, {"text": 5.0})
        self.stop(program)

    def test_script(self) -> None:
        """
        A script begins when the demo does.
        """
        program = self.start(script=parseScript("0s: loss 5%; 60s: clear"))
        self.assertEqual(program.weather, "UDP loss 5%")
        self.stop(program)

    def test_goodbyesPass(self) -> None:
        """
        The network between the two is closed last.
        """
        program = self.start()
        wind: Any = program._wind
        self.stop(program)
        self.assertEqual(wind.closedWith, [])
        self.assertEqual(self.out.getvalue().splitlines()[-1][:3], "In ")
