"""
Tests for `rootstream.weather`.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rootstream.errors import LocalError
from rootstream.interfaces import Transport
from rootstream.weather import (
    MAX_PLANNED,
    Change,
    DelayLine,
    Forecast,
    Planned,
    Weather,
    parseChange,
    parseScript,
)

UDP, TCP, TLS = Transport


class ChangeTests(SynchronousTestCase):
    """
    Tests for `parseChange` and what changes make of the weather.
    """

    def after(self, *texts: str) -> Weather:
        """
        What some changes make of clear weather.
        """
        weather = Weather()
        for text in texts:
            weather = parseChange(text).applied(weather)
        return weather

    def test_settings(self) -> None:
        """
        Each text changes its own setting, and what undoes it undoes it.
        """
        for text, weather in {
            "block udp": Weather(udpBlocked=True),
            "block tcp": Weather(tcpBlocked=True),
            "host offline": Weather(offline=True),
            "cut 5s": Weather(cut=5.0),
            "loss 5%": Weather(loss=0.05),
            "delay 100ms": Weather(delay=0.1),
            "jitter 20ms": Weather(jitter=0.02),
        }.items():
            self.assertEqual(self.after(text), weather)
            self.assertEqual(self.after(text, "clear"), Weather())
        for texts in (
            ("block udp", "unblock udp"),
            ("block tcp", "unblock tcp"),
            ("host offline", "host online"),
            ("loss 5%", "loss 0%"),
            ("delay 1s", "delay 0ms"),
            ("jitter 1s", "jitter 0ms"),
        ):
            self.assertEqual(self.after(*texts), Weather())

    def test_settingsAddUp(self) -> None:
        """
        What was set before stays.
        """
        weather = self.after("block udp", "loss 2%", "delay 10ms", "loss 3%")
        self.assertEqual(weather, Weather(udpBlocked=True, loss=0.03, delay=0.01))

    def test_spelling(self) -> None:
        """
        Case, spaces and the unit of time are the user's choice.
        """
        self.assertEqual(parseChange("  Block   UDP "), Change("udpBlocked", True))
        self.assertEqual(parseChange("cut 500 ms"), Change("cut", 0.5))
        self.assertEqual(parseChange("delay 0.1s"), Change("delay", 0.1))
        self.assertEqual(parseChange("loss 2.5 %"), Change("loss", 0.025))
        self.assertEqual(parseChange("loss 100%"), Change("loss", 1.0))

    def test_wrong(self) -> None:
        """
        What means nothing is refused with what would.
        """
        for text in (
            *("", "rain", "block", "block icmp", "cut", "cut 5", "cut 5m", "cut -1s"),
            *("cut infs", "cut nan s", "cut ..s", "loss 5", "loss -1%", "loss .%"),
            *("delay 1e3ms", "delay 100", "block udp now", "x" * 5000),
        ):
            error = self.assertRaises(LocalError, parseChange, text)
            self.assertIn("; say block udp, unblock udp", str(error))
            self.assertLess(len(str(error)), 300)

    def test_tooMuch(self) -> None:
        """
        What is out of bounds is refused with the bounds.
        """
        for text, words in {
            "cut 0s": "cut takes above 0 to 3600 s",
            "cut 3601s": "cut takes above 0 to 3600 s",
            "loss 101%": "loss takes from 0 to 100%",
            "delay 5001ms": "delay takes from 0 to 5 s",
        }.items():
            error = self.assertRaises(LocalError, parseChange, text)
            self.assertEqual(str(error), words)

    def test_strangeText(self) -> None:
        """
        What is quoted can be shown on a terminal.
        """
        error = self.assertRaises(LocalError, parseChange, "block \x1b[2Judp")
        self.assertTrue(str(error).isprintable())


class WeatherTests(SynchronousTestCase):
    """
    Tests for `Weather`.
    """

    def test_silent(self) -> None:
        """
        A blocked transport is silent alone; a cut and a host that is gone silence all.
        """
        for weather, silent in {
            Weather(): set(),
            Weather(loss=1.0, delay=1.0): set(),
            Weather(udpBlocked=True): {UDP},
            Weather(tcpBlocked=True): {TCP, TLS},
            Weather(cut=1.0): {UDP, TCP, TLS},
            Weather(offline=True): {UDP, TCP, TLS},
        }.items():
            self.assertEqual(
                {each for each in Transport if weather.silent(each)}, silent
            )

    def test_words(self) -> None:
        """
        The words name all that is not as it should be.
        """
        self.assertEqual(str(Weather()), "clear")
        self.assertEqual(str(Weather(udpBlocked=True)), "UDP blocked")
        self.assertEqual(
            str(Weather(True, True, 2.5, 0.005, 0.1, True)),
            "host offline, network cut for 2.5 s, UDP blocked, TCP blocked, "
            "UDP loss 0.5%, delay 100 ms each way",
        )
        self.assertEqual(str(Weather(jitter=0.02)), "jitter up to 20 ms")

    def test_wait(self) -> None:
        """
        Jitter comes on top of the delay, as chance has it; without it nothing is left
        to chance.
        """
        chances = iter([0.5, 0.0])
        weather = Weather(delay=0.1, jitter=0.02)
        self.assertEqual(weather.wait(chances.__next__), 0.11)
        self.assertEqual(weather.wait(chances.__next__), 0.1)
        self.assertEqual(Weather(delay=0.1).wait(chances.__next__), 0.1)


class ScriptTests(SynchronousTestCase):
    """
    Tests for `parseScript`.
    """

    def test_changes(self) -> None:
        """
        Each part is a time and a change; they come in the order of their times, and of
        the script where these are the same.
        """
        script = parseScript("5s: block udp; 1500ms: cut 5s;5 : loss 5% ; ")
        self.assertEqual(
            script,
            (
                Planned(1.5, Change("cut", 5.0)),
                Planned(5.0, Change("udpBlocked", True)),
                Planned(5.0, Change("loss", 0.05)),
            ),
        )

    def test_wrong(self) -> None:
        """
        A part that is none is named.
        """
        for script, words in {
            "": "the weather script is empty",
            " ; ": "the weather script is empty",
            "block udp": "'block udp' in the weather script begins with no time",
            "5s block udp": "'5s block udp' in the weather script begins",
            "1s: clear; soon: clear": "'soon: clear' in the weather script begins",
            "-1s: clear": "'-1s: clear' in the weather script begins",
            "86401s: clear": "begins with no time within a day",
            "5s: rain": "no such weather: 'rain'",
            "5s:": "no such weather: ''",
            "1s: clear;" * (MAX_PLANNED + 1): "has 1000 changes at most",
        }.items():
            error = self.assertRaises(LocalError, parseScript, script)
            self.assertIn(words, str(error))


class ForecastTests(SynchronousTestCase):
    """
    Tests for `Forecast`.
    """

    def forecast(self, script: str) -> Forecast:
        """
        One that begins at 100.
        """
        forecast = Forecast(parseScript(script))
        forecast.begin(100.0)
        return forecast

    def course(self, forecast: Forecast) -> list[tuple[float, str]]:
        """
        When the weather changes, and to what.
        """
        course = []
        while (due := forecast.nextTimer()) is not None:
            forecast.timerFired(due)
            course.append((due, str(forecast.weather)))
        return course

    def test_nothing(self) -> None:
        """
        Without a script it is clear and stays so.
        """
        forecast = Forecast()
        forecast.begin(100.0)
        self.assertEqual((forecast.weather, forecast.nextTimer()), (Weather(), None))

    def test_script(self) -> None:
        """
        Changes come at their times from the beginning, and a cut ends by itself.
        """
        forecast = self.forecast("0s: loss 1%; 5s: block udp; 6s: cut 2s; 7s: clear")
        self.assertEqual(
            self.course(forecast),
            [
                (100.0, "UDP loss 1%"),
                (105.0, "UDP blocked, UDP loss 1%"),
                (106.0, "network cut for 2 s, UDP blocked, UDP loss 1%"),
                (107.0, "clear"),
            ],
        )
        forecast = self.forecast("1s: cut 2s; 2s: block tcp")
        self.assertEqual(self.course(forecast)[-1], (103.0, "TCP blocked"))

    def test_late(self) -> None:
        """
        A timer that comes late does all that should have been, from when it should.
        """
        forecast = self.forecast("1s: cut 2s; 2s: block udp; 9s: cut 5s; 20s: clear")
        forecast.timerFired(110.0)
        self.assertEqual(str(forecast.weather), "network cut for 5 s, UDP blocked")
        self.assertEqual(forecast.nextTimer(), 114.0)

    def test_cutAgain(self) -> None:
        """
        A second cut counts from its own beginning.
        """
        forecast = Forecast()
        forecast.change(Change("cut", 5.0), 10.0)
        forecast.change(Change("cut", 1.0), 12.0)
        self.assertEqual(self.course(forecast), [(13.0, "clear")])

    def test_clearEndsACut(self) -> None:
        """
        After ``clear`` nothing is left to come of a cut; other changes leave it.
        """
        forecast = Forecast()
        forecast.change(Change("cut", 5.0), 10.0)
        forecast.change(Change("loss", 0.5), 11.0)
        self.assertEqual(forecast.nextTimer(), 15.0)
        forecast.change(Change(None), 12.0)
        self.assertIsNone(forecast.nextTimer())


class DelayLineTests(SynchronousTestCase):
    """
    Tests for `DelayLine`.
    """

    def test_time(self) -> None:
        """
        A call can be taken when its time has come, and its size counts until then.
        """
        line = DelayLine()
        line.put(1.0, 10, lambda: "a")
        line.put(2.0, 5, lambda: "b")
        self.assertEqual((line.size, line.nextTimer()), (15, 1.0))
        self.assertIsNone(line.take(0.9))
        call = line.take(1.0)
        assert call is not None
        self.assertEqual((call(), line.size, line.nextTimer()), ("a", 5, 2.0))
        self.assertIsNone(line.take(1.0))
        line.clear()
        self.assertEqual((line.size, line.nextTimer()), (0, None))
        self.assertIsNone(line.take(3.0))

    def test_order(self) -> None:
        """
        When the delay becomes shorter, nothing overtakes.
        """
        line = DelayLine()
        line.put(2.0, 1, lambda: "slow")
        line.put(1.0, 1, lambda: "fast")
        self.assertIsNone(line.take(1.5))
        taken = [line.take(2.0), line.take(2.0)]
        self.assertEqual([call() for call in taken if call], ["slow", "fast"])
