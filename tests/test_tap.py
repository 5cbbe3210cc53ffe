"""
Tests for `rootstream.tap`: options, and the programs that they make.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.application.service import IService
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

import rootstream.tap
from rootstream.authorized import INPUT, VIEW
from rootstream.connectprogram import ConnectProgram
from rootstream.demo import DemoProgram
from rootstream.hostprogram import HostProgram
from rootstream.identity import formatCode
from rootstream.tap import Options, homeOf, makeProgram, makeService
from rootstream.weather import parseScript
from rootstream.web.address import WebAddress
from tests.virtual import HOST, VirtualReactor, codeOf, identity, installReactor

CODE = formatCode(identity(2).key, HOST, 9900)


def parsed(*words: str) -> Options:
    """
    The options of a command line.
    """
    options = Options()
    options.parseOptions(list(words))
    return options


class OptionsTests(SynchronousTestCase):
    """
    Tests for `Options`.
    """

    def assertRefused(self, text: str, *words: str) -> None:
        """
        A command line is refused in one line that says ``text``.
        """
        with self.assertRaises(UsageError) as caught:
            parsed(*words)
        self.assertIn(text, str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))

    def test_web(self) -> None:
        """
        Only the demo has a page unasked; another address is given with the port.
        """
        for line, expected in (
            (["demo"], WebAddress("127.0.0.1", 0)),
            (["demo", "--web", "none"], None),
            (["host", "--web", "8080"], WebAddress("127.0.0.1", 8080)),
            (["host", "--web", "[::]:80"], WebAddress("::", 80)),
        ):
            self.assertEqual(parsed(*line).subOptions["web"], expected)
        self.assertRefused("--web takes a port", "demo", "--web", "x")

    def test_hostDefaults(self) -> None:
        """
        A host needs no option at all.
        """
        options = parsed("host").subOptions
        self.assertEqual(
            dict(options),
            {
                "home": None,
                "port": 9876,
                "tls-port": None,
                "interface": "",
                "source": "test",
                "events": None,
                "record": None,
                "web": None,
                "duration": None,
                "allow-any": 0,
                "pair": 0,
                "pair-rights": VIEW,
                "input": "off",
            },
        )
        self.assertEqual(options.allowed, [])

    def test_host(self) -> None:
        """
        Each option of ``host`` is taken; ``--allow`` as often as it is given.
        """
        options = parsed(
            "host",
            *("--home", "/h", "--port", "9877", "--interface", "127.0.0.1"),
            *("--tls-port", "443"),
            *("--source", "film.mp4", "--events", "/e", "--duration", "1.5"),
            *("--allow", CODE, "--allow", formatCode(identity(3).key, None)),
            *("--allow-input", formatCode(identity(4).key, None)),
            "--allow-any",
        ).subOptions
        self.assertEqual(
            dict(options),
            {
                "home": "/h",
                "port": 9877,
                "tls-port": 443,
                "interface": "127.0.0.1",
                "source": "film.mp4",
                "events": "/e",
                "record": None,
                "web": None,
                "duration": 1.5,
                "allow-any": 1,
                "pair": 0,
                "pair-rights": VIEW,
                "input": "off",
            },
        )
        self.assertEqual(options.allowed, [identity(2).key, identity(3).key])
        self.assertEqual(options.allowedInput, [identity(4).key])

    def test_connectDefaults(self) -> None:
        """
        A viewer needs a code alone.
        """
        options = parsed("connect", CODE).subOptions
        self.assertEqual(
            dict(options),
            {
                "home": None,
                "sink": "null",
                "tls-port": 443,
                "events": None,
                "record": None,
                "web": None,
                "duration": None,
                "no-udp": 0,
                "no-tcp": 0,
                "no-standby": 0,
                "pair": None,
            },
        )
        self.assertEqual(options.code, codeOf(identity(2), HOST, 9900))

    def test_connect(self) -> None:
        """
        Each option of ``connect`` is taken.
        """
        options = parsed(
            "connect",
            *("--home", "/h", "--sink", "film.mkv", "--no-udp"),
            *("--events", "/e", "--duration", "3", CODE),
        ).subOptions
        self.assertEqual((options["home"], options["sink"]), ("/h", "film.mkv"))
        self.assertEqual((options["no-udp"], options["no-tcp"]), (1, 0))
        self.assertEqual((options["events"], options["duration"]), ("/e", 3.0))
        for flag in ("no-tcp", "no-standby"):
            self.assertEqual(parsed("connect", f"--{flag}", CODE).subOptions[flag], 1)

    def test_pair(self) -> None:
        """
        Both programs can pair: a host with rights to give, a viewer with the phrase,
        which is judged before anybody is asked.
        """
        options = parsed("host", "--pair", "--pair-rights", "view,input").subOptions
        self.assertEqual((options["pair"], options["pair-rights"]), (1, INPUT))
        for rights, said in (("all", "not 'all'"), ("none", "for nothing")):
            self.assertRefused(said, "host", "--pair-rights", rights)
        phrase = "abandon ability able about above zoo"
        options = parsed("connect", CODE, "--pair", phrase.upper()).subOptions
        self.assertEqual(options["pair"], phrase)
        self.assertRefused("has 6 words, not 1", "connect", CODE, "--pair", "zoo")

    def test_byName(self) -> None:
        """
        A host may be given by its name in the peers file, where that says where it is.
        """
        home = Path(self.mktemp()).absolute()
        home.mkdir(mode=0o700)
        bare = formatCode(identity(3).key, None)
        (home / "peers").write_text(f"{CODE} rights=none desk\n{bare} laptop\n")
        options = parsed("connect", "--home", str(home), "desk").subOptions
        self.assertEqual(options.code, codeOf(identity(2), HOST, 9900))
        self.assertRefused(
            "does not say where 'laptop' is", "connect", "--home", str(home), "laptop"
        )
        self.assertRefused(
            "does not begin with a key", "connect", "--home", str(home), "nobody"
        )

    def test_demo(self) -> None:
        """
        The demo has a duration and an events file.
        """
        options = parsed("demo", "--duration", "5", "--events", "/e").subOptions
        self.assertEqual((options["events"], options["duration"]), ("/e", 5.0))
        self.assertEqual(options.script, ())

    def test_weather(self) -> None:
        """
        The demo's weather is a script; one that is wrong is refused with what is.
        """
        options = parsed("demo", "--weather", "5s: block udp").subOptions
        self.assertEqual(options.script, parseScript("5s: block udp"))
        self.assertRefused("no such weather: 'rain'", "demo", "--weather", "1s: rain")
        self.assertRefused("script is empty", "demo", "--weather", "")

    def test_input(self) -> None:
        """
        What becomes of input is one of three, and nothing unless it is said.
        """
        for program in ("host", "demo"):
            options = parsed(program).subOptions
            self.assertEqual(options["input"], "off")
            options = parsed(program, "--input", "uinput").subOptions
            self.assertEqual(options["input"], "uinput")
            self.assertRefused(
                "takes off, log, uinput, not 'on'", program, "--input", "on"
            )

    def test_badPorts(self) -> None:
        """
        What is no port is refused, with what would be one.
        """
        for port in ("-1", "65536", "http", "1.5", ""):
            self.assertRefused("a port number from 0 to 65535", "host", "--port", port)
            for program in (("host",), ("connect", CODE)):
                self.assertRefused(
                    "--tls-port takes a port number", *program, "--tls-port", port
                )
        self.assertEqual(parsed("host", "-p", "0").subOptions["port"], 0)

    def test_onePortForTwo(self) -> None:
        """
        TLS cannot have the port of UDP and TCP, unless each takes any free one.
        """
        self.assertRefused(
            "--tls-port needs a port of its own",
            *("host", "--port", "9000", "--tls-port", "9000"),
        )
        options = parsed("host", "--port", "0", "--tls-port", "0").subOptions
        self.assertEqual((options["port"], options["tls-port"]), (0, 0))

    def test_badDurations(self) -> None:
        """
        What is no time is refused.
        """
        for duration in ("0", "-1", "soon", "nan", "inf"):
            self.assertRefused("a number of seconds", "demo", "--duration", duration)

    def test_badCodes(self) -> None:
        """
        A code that cannot be used is refused with its own reason.
        """
        self.assertRefused("does not begin with a key", "connect", "nonsense")
        for option in ("--allow", "--allow-input"):
            self.assertRefused("does not begin with a key", "host", option, "nonsense")
        bare = formatCode(identity(2).key, None)
        self.assertRefused("a key without a host", "connect", bare)

    def test_noCode(self) -> None:
        """
        ``connect`` without a code, or with two, is refused.
        """
        self.assertRefused("takes one code, not 0", "connect")
        self.assertRefused("takes one code, not 2", "connect", CODE, CODE)

    def test_noTransport(self) -> None:
        """
        Both transports off is refused.
        """
        self.assertRefused(
            "--no-udp and --no-tcp leave no transport",
            *("connect", "--no-udp", "--no-tcp", CODE),
        )

    def test_unknown(self) -> None:
        """
        What is unknown is refused by its name.
        """
        self.assertRefused("frobnicate", "host", "--frobnicate")
        self.assertRefused("frobnicate", "connect", CODE, "--frobnicate")
        self.assertRefused("frobnicate", "frobnicate")
        self.assertRefused("say what to do: host, connect or demo")


class HomeTests(SynchronousTestCase):
    """
    Tests for `homeOf`.
    """

    def test_order(self) -> None:
        """
        What is given counts, then the environment, then the directory of the user.
        """
        self.patch(os, "environ", {"ROOTSTREAM_HOME": "/env", "HOME": "/user"})
        self.assertEqual(homeOf("/given"), Path("/given"))
        self.assertEqual(homeOf(None), Path("/env"))
        os.environ["ROOTSTREAM_HOME"] = ""
        self.assertEqual(homeOf(None), Path("/user/.config/rootstream"))
        self.assertEqual(homeOf("~/x"), Path("/user/x"))


class MakeTests(SynchronousTestCase):
    """
    Tests for `makeProgram` and `makeService`.
    """

    def make(self, *words: str) -> Any:
        return makeProgram(parsed(*words), VirtualReactor())

    def test_host(self) -> None:
        """
        The options of ``host`` arrive in its settings.
        """
        program = self.make(
            *("host", "--home", "/h", "--port", "1", "--interface", "::1"),
            *("--source", "s", "--allow", CODE, "--allow-any", "--duration", "2"),
            *("--tls-port", "2"),
        )
        self.assertIsInstance(program, HostProgram)
        settings = program._settings
        self.assertEqual((settings.home, settings.port), (Path("/h"), 1))
        self.assertEqual((settings.interface, settings.source), ("::1", "s"))
        self.assertEqual(settings.tlsPort, 2)
        self.assertEqual(
            (settings.allow, settings.allowAny), ((identity(2).key,), True)
        )
        self.assertEqual(program._duration, 2.0)

    def test_connect(self) -> None:
        """
        The options of ``connect`` arrive in its settings.
        """
        program = self.make(
            "connect", CODE, "--home", "/h", "--no-tcp", "--events", "/e"
        )
        self.assertIsInstance(program, ConnectProgram)
        settings = program._settings
        self.assertEqual((settings.home, settings.sink), (Path("/h"), "null"))
        self.assertEqual((settings.udp, settings.tcp), (True, False))
        self.assertEqual(settings.tlsPort, 443)
        self.assertEqual(settings.code, codeOf(identity(2), HOST, 9900))
        self.assertEqual(program._eventsPath, "/e")
        program = self.make("connect", CODE, "--tls-port", "0")
        self.assertIsNone(program._settings.tlsPort)

    def test_demo(self) -> None:
        """
        ``demo`` makes a demo.
        """
        program = self.make("demo", "--weather", "0s: block udp")
        self.assertIsInstance(program, DemoProgram)
        self.assertEqual(program._forecast.nextTimer(), 0.0)
        program = self.make("demo", "--input", "log")
        self.assertEqual(program._input, "log")

    def test_makeService(self) -> None:
        """
        The service for twistd lives on the reactor that is installed, whose clock is
        one that nobody sets (F24), and has started nothing yet.
        """
        reactor = VirtualReactor()
        told: list[object] = []
        installReactor(self, reactor)
        self.patch(rootstream.tap, "useBoottime", told.append)
        service = makeService(parsed("demo"))
        verifyObject(IService, service)
        self.assertEqual(told, [reactor])
        self.assertEqual(reactor.getDelayedCalls(), [])
        self.assertFalse(service.running)
