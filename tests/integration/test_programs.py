"""
The programs as a user runs them: separate processes on loopback, real media.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import numpy
from twisted.trial.unittest import SkipTest

from rootstream.identity import formatCode, loadOrCreateIdentity
from tests.integration.programs import (
    LOOPBACK,
    Program,
    ProgramTestCase,
    Relay,
    needCommands,
    waitUntil,
)

#: A picture small enough for a busy machine.
TEST = "test:320x240@25"

SCHEDULE = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0]


@functools.cache
def vanishedHost() -> Program:
    """
    A client whose host was killed and never comes back.

    It takes minutes to give up, so it begins with the first test and goes on
    beside all others.
    """
    directory = Path(tempfile.mkdtemp(prefix="rootstream-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    home = directory / "home"
    other = directory / "other"
    viewer = loadOrCreateIdentity(home)
    hosting = loadOrCreateIdentity(other)
    allowed = formatCode(viewer.key, None)
    host = Program(
        directory / "host",
        [
            *("host", "--home", str(other), "--interface", LOOPBACK, "--port", "0"),
            *("--source", TEST, "--allow", allowed),
        ],
    )
    port = host.waitFor("listening")["udp"]
    code = formatCode(hosting.key, LOOPBACK, port)
    client = Program(directory / "client", ["connect", code, "--home", str(home)])
    atexit.register(client.kill)
    client.waitFor("stats", lambda entry: entry["frames"] > 0)
    host.kill()
    return client


#: twistd as an administrator starts it.
DROPPING = """
import sys
sys.argv[1:1] = ["-n", "--pidfile=", "--uid={user}", "--gid={user}", "rootstream"]
from twisted.scripts.twistd import run
run()
"""


def cpuSeconds(pid: int) -> float:
    """
    What a process has used of a processor so far.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def isFree(port: int) -> bool:
    """
    Whether nobody listens on a TCP port of loopback.
    """
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class TestCase(ProgramTestCase):
    """
    A test with programs in it.
    """

    def setUp(self):
        super().setUp()
        vanishedHost()

    def encode(self, name, *options):
        """
        A film of three seconds by ffmpeg, black and silent in the first.
        """
        needCommands("ffmpeg", "ffprobe")
        path = self.directory / name
        self.run_(
            *("ffmpeg", "-v", "error"),
            *("-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=3"),
            *("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=3"),
            *("-vf", "drawbox=t=fill:color=black:enable='lt(t,1)'"),
            *("-af", "volume=0:enable='lt(t,1)'"),
            *("-c:v", "libx264", "-preset", "veryfast", "-g", "25"),
            *options,
            path,
        )
        return path

    def units(self, path):
        """
        The video of a file as NAL units, delimiters left out: MPEG-TS demands them.
        """
        stream = self.run_(
            *("ffmpeg", "-v", "error", "-i", path, "-map", "0:v", "-c", "copy"),
            *("-bsf:v", "h264_mp4toannexb", "-f", "h264", "-"),
        )
        # Zeros before a start code belong to it (H.264, annex B).
        units = [unit.rstrip(b"\0") for unit in stream.split(b"\0\0\1")]
        return [unit for unit in units if unit and unit[0] & 0x1F != 9]

    def offset(self, path):
        """
        Seconds from the picture's end of black to the sound's end of silence.
        """
        log = subprocess.run(
            [
                *("ffmpeg", "-nostats", "-i", path, "-vf", "blackdetect=d=0.3"),
                *("-af", "silencedetect=n=-30dB:d=0.3", "-f", "null", "-"),
            ],
            capture_output=True,
            timeout=60,
        ).stderr.decode()
        ends = [
            float(re.search(f"{what}_end: ?([0-9.]+)", log).group(1))
            for what in ("black", "silence")
        ]
        return ends[1] - ends[0]

    def assertPlays(self, path):
        """
        Every picture and sound of a file decodes, and ffmpeg has no complaint.
        """
        self.run_("ffmpeg", "-v", "warning", "-xerror", "-i", path, "-f", "null", "-")

    def assertSameStream(self, source, sink):
        """
        A sink holds the video of the source, byte by byte and in order, and sound
        at the same distance from it.
        """
        self.assertPlays(sink)
        sent, received = self.units(source), self.units(sink)
        self.assertEqual(len(sent), len(received))
        self.assertEqual(sent, received)
        self.assertLess(abs(self.offset(source) - self.offset(sink)), 0.02)

    def assertAddsUp(self, host, client, transport):
        """
        Both sides counted the same frames, over this transport.
        """
        sent = host.waitFor("summary")
        received = client.waitFor("summary")
        self.assertEqual(sent["frames_sent"], 75)
        self.assertEqual(received["frames_received"], 75)
        self.assertEqual(received["frames_lost"], 0)
        self.assertEqual(received["transport"], transport)
        self.assertEqual(
            {entry["transport"] for entry in client.events("path")}, {transport}
        )


class FileTests(TestCase):
    """
    A film made by ffmpeg, from one process to another.
    """

    def streamed(self, source, sink, transport, *arguments):
        """
        Stream a film to a file, until its end.
        """
        host, port = self.startHost(str(source))
        path = self.directory / sink
        client = self.startViewer(port, "--sink", str(path), *arguments)
        self.assertEqual(client.exitStatus(), 0, client.complaints())
        self.assertEqual(host.exitStatus(), 0, host.complaints())
        self.assertEqual(host.complaints() + client.complaints(), "")
        self.assertAddsUp(host, client, transport)
        return path

    def test_mp4OverUDP(self):
        """
        H.264 with B frames and AAC in .mp4 reaches a .mkv over UDP, with every
        access unit as it was.
        """
        film = self.encode("film.mp4", "-bf", "2", "-c:a", "aac")
        self.assertSameStream(film, self.streamed(film, "sink.mkv", "udp"))

    def test_mp4OverTCP(self):
        """
        H.264 with B frames and AAC in .mp4 reaches a .mp4 over TCP, with every
        access unit as it was.
        """
        film = self.encode("film.mp4", "-bf", "2", "-c:a", "aac")
        self.assertSameStream(film, self.streamed(film, "sink.mp4", "tcp", "--no-udp"))

    def test_mkvOverUDP(self):
        """
        H.264 and Opus in .mkv reach a .mp4 over UDP, with every access unit as it
        was.
        """
        film = self.encode("film.mkv", "-bf", "0", "-c:a", "libopus")
        self.assertSameStream(film, self.streamed(film, "sink.mp4", "udp", "--no-tcp"))

    def test_mkvOverTCP(self):
        """
        H.264 with B frames and Opus in .mkv reach a .ts over TCP, with every access
        unit as it was.
        """
        film = self.encode("film.mkv", "-bf", "2", "-c:a", "libopus")
        self.assertSameStream(film, self.streamed(film, "sink.ts", "tcp", "--no-udp"))

    def test_throughPipes(self):
        """
        A stream from a pipe goes to a pipe: what comes out is MPEG-TS and nothing
        else, with every access unit as it was.
        """
        film = self.encode("film.ts", "-bf", "2", "-c:a", "aac")
        cat = subprocess.Popen(["cat", film], stdout=subprocess.PIPE)
        self.addCleanup(cat.wait)
        self.addCleanup(cat.stdout.close)
        host, port = self.startHost("-", stdin=cat.stdout)
        client = self.startViewer(port, "--sink", "-")
        self.assertEqual(client.exitStatus(), 0, client.complaints())
        self.assertEqual(host.exitStatus(), 0, host.complaints())
        sink = client.outPath
        self.assertTransportStream(sink.read_bytes())
        self.assertSameStream(film, sink)

    def assertTransportStream(self, stream):
        """
        A byte stream is whole packets of MPEG-TS.
        """
        self.assertEqual(len(stream) % 188, 0)
        self.assertEqual(set(stream[::188]), {0x47})

    def test_playerReadsThePipe(self):
        """
        A reader of standard output sees the picture while the stream goes on, also
        from under twistd, whose log does not get in between.
        """
        needCommands("ffprobe")
        _, port = self.startHost(TEST, twistd=True)
        client = self.startViewer(
            port, "--sink", "-", twistd=True, stdout=subprocess.PIPE
        )
        shown = self.run_(
            *("ffprobe", "-v", "error", "-f", "mpegts", "-read_intervals", "%+2"),
            *("-show_entries", "frame=width,height", "-select_streams", "v"),
            *("-of", "csv=p=0", "-"),
            stdin=client.process.stdout,
        )
        self.assertEqual(set(shown.replace(b",\n", b"\n").split()), {b"320,240"})
        self.assertIn("starting up", client.complaints())

    def test_killedWhileRecording(self):
        """
        Of a client killed in the middle, a file in any container plays to its last
        whole frame (F84).
        """
        needCommands("ffmpeg")
        _, port = self.startHost(TEST)
        sinks = [self.directory / f"sink.{form}" for form in ("mkv", "mp4", "ts")]
        for sink in sinks:
            client = self.startViewer(port, "--sink", str(sink))
            client.waitFor("stats", lambda entry: entry["frames"] > 25)
            client.kill()
        for sink in sinks:
            self.assertPlays(sink)


class HostLossTests(TestCase):
    """
    What a client does when its host goes.
    """

    def restart(self, *arguments):
        """
        Kill a host that has a client, start it anew, and see its client return.
        """
        host, port = self.startHost(TEST)
        client = self.startViewer(port, *arguments)
        client.waitFor("stats", lambda entry: entry["frames"] > 10)
        host.kill()
        again, _ = self.startHost(TEST, port=port)
        heard = again.waitFor("state", to="CONNECTED")
        listening = again.waitFor("listening")
        # 1.5 s of silence, most of it gone before it listened, and a redial a second.
        self.assertLess(heard["mono"] - listening["mono"], 2.5)
        before = client.events("stats")[-1]["frames"]
        client.waitFor("stats", lambda entry: entry["frames"] > before + 25)
        self.assertIs(client.process.poll(), None)

    def test_restarted(self):
        """
        A host killed and started anew streams again to the client it had, which
        notices the silence and needs no restart (F27).
        """
        self.restart()

    def test_restartedOverTCP(self):
        """
        So it is when there is only TCP (F27).
        """
        self.restart("--no-udp")

    def test_goneForGood(self):
        """
        A client whose host never comes back makes ten attempts after exactly the
        scheduled waits, says that it failed, and ends with status 3.
        """
        client = vanishedHost()
        self.assertEqual(client.exitStatus(240), 3, client.complaints())
        attempts = client.events("attempt")
        self.assertEqual([entry["wait_s"] for entry in attempts], SCHEDULE)
        self.assertEqual([entry["n"] for entry in attempts], list(range(1, 11)))
        self.assertEqual({entry["of"] for entry in attempts}, {10})
        for entry in attempts:
            begun = client.waitFor(
                "state", to="CONNECTING", cause=f"attempt {entry['n']} of 10"
            )
            waited = begun["mono"] - entry["mono"]
            self.assertTrue(-0.005 <= waited - entry["wait_s"] < 0.5, (waited, entry))
        lost = client.waitFor("state", **{"from": "CONNECTED"})
        self.assertEqual(lost["to"], "DISCONNECTED")
        self.assertIn("nothing heard for 30 s", lost["cause"])
        self.assertEqual(client.states()[-1], "FAILED")
        self.assertOneLine(client.complaints(), "gave up after 10 attempts")
        self.assertEqual(len(client.events("error")), 1)
        self.assertEqual(len(client.events("summary")), 1)

    def test_privilegesDropped(self):
        """
        As root, twistd binds a port that only root may have and then drops that right;
        the home and the stream are another user's.
        """
        if os.geteuid():
            raise SkipTest("needs root: only root has privileges to drop")
        nobody = 65534
        self.directory.chmod(0o755)
        for path in (self.directory / "hosting", *self.directory.glob("hosting/*")):
            os.chown(path, nobody, nobody)
        tlsPort = next(port for port in range(600, 1024) if isFree(port))
        script = DROPPING.format(user=nobody)
        host, port = self.startHost(
            TEST,
            *("--tls-port", str(tlsPort)),
            script=script,
            prepare=lambda: os.chown(".", nobody, nobody),
        )
        self.assertEqual(host.events("listening")[0]["tls"], tlsPort)
        status = Path(f"/proc/{host.process.pid}/status").read_text()
        self.assertIn(f"Uid:\t{nobody}\t{nobody}\t{nobody}", status)
        client = self.startViewer(port)
        client.waitFor("stats", lambda entry: entry["frames"] > 0)

    def test_hangUp(self):
        """
        A host that is told to read its list again keeps the old one when the new one
        is bad, and streams on (F87).
        """
        host, port = self.startHost(TEST)
        client = self.startViewer(port)
        client.waitFor("stats", lambda entry: entry["frames"] > 0)
        (self.directory / "hosting" / "peers").write_text("no code at all\n")
        host.process.send_signal(signal.SIGHUP)
        waitUntil(lambda: "was not read again" in host.complaints(), "a complaint")
        frames = client.events("stats")[-1]["frames"]
        client.waitFor("stats", lambda entry: entry["frames"] > frames)
        self.assertIs(host.process.poll(), None)

    def test_filesRunOut(self):
        """
        Strangers who take all the files that a host may open end no stream, and make
        it work no more than it did; once they are gone it lets viewers in (F76).
        """
        host, port = self.startHost(
            TEST,
            prepare=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
        )
        client = self.startViewer(port)
        client.waitFor("stats", lambda entry: entry["frames"] > 0)
        strangers = []
        # No more than 4 of an address would be let in.
        for number in range(2, 26):
            for _ in range(4):
                one = socket.socket()
                self.addCleanup(one.close)
                one.bind((f"127.0.0.{number}", 0))
                one.connect((LOOPBACK, port))
                strangers.append(one)
        files = Path(f"/proc/{host.process.pid}/fd")
        # One is kept in reserve, to turn away who comes then.
        waitUntil(lambda: len(list(files.iterdir())) >= 63, "all files in use")
        frames = client.events("stats")[-1]["frames"]
        before = cpuSeconds(host.process.pid)
        began = time.monotonic()
        client.waitFor("stats", lambda entry: entry["frames"] > frames + 40)
        spent = cpuSeconds(host.process.pid) - before
        self.assertLess(spent / (time.monotonic() - began), 0.7)
        for one in strangers:
            one.close()
        client.kill()
        self.startViewer(port, "--no-udp").waitFor("state", to="CONNECTED")

    def test_hostTerminated(self):
        """
        A host told to stop says goodbye on either transport and ends within two
        seconds; its client knows why, and ends well (F86).
        """
        for only in ("--no-tcp", "--no-udp"):
            host, port = self.startHost(TEST)
            client = self.startViewer(port, only)
            client.waitFor("stats", lambda entry: entry["frames"] > 0)
            host.process.terminate()
            self.assertEqual(host.exitStatus(2.0), 0, host.complaints())
            self.assertEqual(client.exitStatus(2.0), 0, client.complaints())
            last = client.events("state")[-1]
            self.assertEqual(last["to"], "DISCONNECTED")
            self.assertEqual(last["cause"], "the peer closed: the host was stopped")
            self.assertEqual(client.events("attempt"), [])

    def test_clientTerminated(self):
        """
        A client told to stop says goodbye on either transport and ends within two
        seconds; its host knows why, and goes on (F86).
        """
        for only, signalNumber in (
            ("--no-tcp", signal.SIGTERM),
            ("--no-udp", signal.SIGINT),
        ):
            host, port = self.startHost(TEST)
            client = self.startViewer(port, only)
            client.waitFor("stats", lambda entry: entry["frames"] > 0)
            client.process.send_signal(signalNumber)
            self.assertEqual(client.exitStatus(2.0), 0, client.complaints())
            gone = "the peer closed: the viewer was stopped"
            host.waitFor("state", to="DISCONNECTED", cause=gone, seconds=2.0)
            self.assertIs(host.process.poll(), None)
            host.kill()

    def test_terminatedTwice(self):
        """
        Who is told twice to stop ends at once, whatever is left to be done, and
        without a word (F86).
        """
        host, port = self.startHost("test:640x360@60")
        client = self.startViewer(port, "--sink", "-", stdout=subprocess.PIPE)
        # Nobody reads: it waits for the pipe for a second at its end.
        client.waitFor("stats", lambda entry: entry["bytes"] > 400_000)
        client.process.terminate()
        host.waitFor("state", to="DISCONNECTED")
        client.process.terminate()
        self.assertEqual(client.exitStatus(0.5), -signal.SIGTERM)
        self.assertNotIn("Traceback", client.complaints())


class AuthorisationTests(TestCase):
    """
    Who gets a stream, and who does not.
    """

    def test_threeAndAStranger(self):
        """
        Three clients watch one host at once; a fourth that nobody authorised gets
        not one byte, on UDP or TCP, and is told what that may mean (F13).
        """
        others = [self.identity(home) for home in ("second", "third")]
        self.identity("stranger")
        allowed = [("--allow", formatCode(other.key, None)) for other in others]
        host, port = self.startHost(TEST, *itertools.chain(*allowed))
        relay = Relay(port)
        self.addCleanup(relay.close)
        clients = [
            self.startViewer(port, home=home) for home in ("viewer", "second", "third")
        ]
        stranger = self.startViewer(relay.port, home="stranger")
        for client in clients:
            client.waitFor("stats", lambda entry: entry["frames"] > 50)
        refused = stranger.waitFor("state", to="DISCONNECTED")
        self.assertIn("no answer, or not authorised there", refused["cause"])
        self.assertIn("no answer, or not authorised there", stranger.said())
        stranger.waitFor("attempt", n=2)
        self.assertGreater(relay.overUDP, 0)
        self.assertGreater(relay.overTCP, 0)
        self.assertEqual(relay.fromHost, 0)
        fingerprints = {entry["peer"] for entry in host.events("stats")}
        expected = {one.key.fingerprint for one in (self.viewer, *others)}
        self.assertEqual(fingerprints, expected)
        self.assertIn("Refused a peer that is not listed", host.complaints())

    def test_relayCounts(self):
        """
        The relay that shows a stranger gets nothing does count what others get.
        """
        _, port = self.startHost(TEST)
        relay = Relay(port)
        self.addCleanup(relay.close)
        for only in ("--no-udp", "--no-tcp"):
            before = relay.fromHost
            client = self.startViewer(relay.port, only)
            client.waitFor("stats", lambda entry: entry["frames"] > 0)
            client.kill()
            self.assertGreater(relay.fromHost, before + 1000)

    def test_wrongKey(self):
        """
        A host that is not whom the code names stays silent, and the schedule runs
        (F12).
        """
        _, port = self.startHost(TEST)
        other = self.identity("other")
        home = str(self.directory / "viewer")
        code = formatCode(other.key, LOOPBACK, port)
        client = self.start("connect", code, "--home", home, "--no-tcp")
        client.waitFor("attempt", n=1, wait_s=0.1)
        self.assertIn("no answer, or not authorised there", client.said())

    def test_peersFile(self):
        """
        A peer written into the peers file of a running host is let in.
        """
        late = self.identity("late")
        host, port = self.startHost(TEST)
        client = self.startViewer(port, home="late")
        waitUntil(lambda: "Refused" in host.complaints(), "a refusal")
        peers = self.directory / "hosting" / "peers"
        peers.write_text(f"# mine\n{formatCode(late.key, None)} the late one\n")
        client.waitFor("stats", lambda entry: entry["frames"] > 0)
        self.assertIn("the late one is connected", host.said())

    def test_allowAny(self):
        """
        With --allow-any a stranger is let in, and the host warns of it.
        """
        self.identity("stranger")
        host, port = self.startHost(TEST, "--allow-any")
        client = self.startViewer(port, home="stranger")
        client.waitFor("stats", lambda entry: entry["frames"] > 0)
        self.assertIn("WARNING", host.said())


class Canvas:
    """
    A client of an X server that draws on its root window (X11 protocol, 1).
    """

    def __init__(self, display):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(f"/tmp/.X11-unix/X{display}")
        self._socket.sendall(struct.pack("<cxHHHHxx", b"l", 11, 0, 0, 0))
        success, length = struct.unpack("<BxHHH", self._read(8))[0::3]
        assert success == 1
        setup = self._read(4 * length)
        self._context, vendor, formats = struct.unpack("<4xI8xHxxxB", setup[:22])
        screen = 32 + (vendor + 3 & ~3) + 8 * formats
        (self._root,) = struct.unpack_from("<I", setup, screen)
        self._request(55, struct.pack("<III", self._context, self._root, 0))

    def _read(self, size):
        data = b""
        while len(data) < size:
            data += self._socket.recv(size - len(data))
        return data

    def _request(self, opcode, body):
        size = 1 + len(body) // 4
        self._socket.sendall(struct.pack("<BxH", opcode, size) + body)

    def fill(self, x, y, width, height, colour):
        """
        Draw a rectangle; the colour is 0xRRGGBB.
        """
        self._request(56, struct.pack("<III", self._context, 4, colour))
        shape = struct.pack("<hhHH", x, y, width, height)
        self._request(70, struct.pack("<II", self._root, self._context) + shape)

    def sync(self):
        """
        Wait until all of it is drawn.
        """
        self._request(43, b"")
        self._read(32)

    def close(self):
        """
        Leave the server.
        """
        self._socket.close()


class ScreenTests(TestCase):
    """
    A screen under Xvfb.
    """

    def startScreen(self):
        """
        Start an X server with a picture on it; returns its display and its memory.
        """
        needCommands("Xvfb", "ffmpeg")
        memory = self.directory / "screen"
        memory.mkdir()
        told, telling = os.pipe()
        server = subprocess.Popen(
            [
                *("Xvfb", "-displayfd", str(telling), "-screen", "0", "320x240x24"),
                *("-fbdir", str(memory), "-nolisten", "tcp", "-noreset", "-ac"),
            ],
            pass_fds=[telling],
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        os.close(telling)
        with os.fdopen(told) as line:
            display = line.readline().strip()
        canvas = Canvas(display)
        self.addCleanup(canvas.close)
        for number in range(48):
            x, y = 40 * (number % 8), 40 * (number // 8)
            canvas.fill(x, y, 40, 40, number * 0x35A1C7 % 0x1000000)
        canvas.sync()
        return display, memory / "Xvfb_screen0"

    def picture(self, *options):
        """
        A picture that ffmpeg reads, as rows of RGB.
        """
        data = self.run_(
            *("ffmpeg", "-v", "error", *options),
            *("-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"),
        )
        rows = numpy.frombuffer(data, numpy.uint8).reshape(240, 320, 3)
        return rows.astype(int)

    def test_screen(self):
        """
        What a screen shows is what the file of a client shows.
        """
        display, memory = self.startScreen()
        sink = self.directory / "sink.mkv"
        _, port = self.startHost(f"screen::{display}")
        client = self.startViewer(port, "--sink", str(sink))
        client.waitFor("stats", lambda entry: entry["frames"] > 30)
        client.process.terminate()
        self.assertEqual(client.exitStatus(), 0, client.complaints())
        self.assertPlays(sink)
        shown = self.picture("-f", "image2", "-c:v", "xwd", "-i", memory)
        received = self.picture("-sseof", "-0.5", "-i", sink)
        self.assertGreater(shown.std(), 40)
        # Inside the rectangles; at their edges 4:2:0 mixes colours.  The pointer is
        # in the middle of the screen and drawn over the one there.
        apart = [
            abs(shown[y : y + 24, x : x + 24] - received[y : y + 24, x : x + 24]).mean()
            for x in range(8, 320, 40)
            for y in range(8, 240, 40)
        ]
        self.assertLess(sorted(apart)[-5], 8, apart)
        self.assertLess(abs(shown - received).mean(), 12)


class CommandTests(TestCase):
    """
    The command, and twistd.
    """

    def test_demo(self):
        """
        The demo shows a line a second and a summary, under twistd as by itself.
        """
        for twistd in (False, True):
            demo = self.start("demo", "--duration", "3", twistd=twistd)
            self.assertEqual(demo.exitStatus(), 0, demo.complaints())
            said = demo.said()
            self.assertRegex(said, r"CONNECTED udp 1280x720 \d+ fps .* latency \d")
            self.assertRegex(said, r"In 3\.\d s: \d+ frames sent, \d+ received")
            summary = demo.waitFor("summary")
            self.assertGreater(summary["frames_received"], 30)
            self.assertEqual(summary["transport"], "udp")

    def test_underTwistd(self):
        """
        Host and client are services of twistd: they stream, and end when told.
        """
        host, port = self.startHost(TEST, twistd=True)
        client = self.startViewer(port, "--sink", "null", twistd=True)
        client.waitFor("stats", lambda entry: entry["frames"] > 0)
        host.process.terminate()
        # Having stopped its services, twistd dies of the signal that it was sent.
        self.assertEqual(host.exitStatus(2.0), -signal.SIGTERM, host.complaints())
        self.assertEqual(client.exitStatus(2.0), 0, client.complaints())
        self.assertEqual(client.states()[-1], "DISCONNECTED")
        self.assertEqual(len(host.events("summary")), 1)

    def test_identity(self):
        """
        ``identity`` makes an identity once and shows its code from then on, as QR
        code too.
        """
        home = self.directory / "new"
        first = self.start("identity", "--home", str(home))
        self.assertEqual(first.exitStatus(), 0, first.complaints())
        identity = loadOrCreateIdentity(home)
        self.assertIn(formatCode(identity.key, None), first.said())
        self.assertIn(identity.key.fingerprint, first.said())
        self.assertEqual((home / "identity.key").stat().st_mode & 0o777, 0o600)
        second = self.start("identity", "--qr", "--home", str(home))
        self.assertEqual(second.exitStatus(), 0, second.complaints())
        self.assertIn(formatCode(identity.key, None), second.said())
        self.assertGreater(second.said().count("█"), 50)

    def test_homeFromEnvironment(self):
        """
        Without --home the home is ~/.config/rootstream.
        """
        program = self.start("identity")
        self.assertEqual(program.exitStatus(), 0, program.complaints())
        made = program.outPath.parent / ".config" / "rootstream" / "identity.key"
        self.assertTrue(made.exists())

    def test_events(self):
        """
        Every line of the events files is what docs/events.rst says.
        """
        fields = {
            "listening": {"udp", "tcp"},
            "state": {"peer", "from", "to", "cause"},
            "path": {"peer", "transport", "address", "cause"},
            "stats": {"peer", "transport", "rtt_ms", "jitter_ms", "loss", "fps"}
            | {"frames", "bytes"},
            "summary": {"frames_sent", "frames_received", "frames_lost", "bytes"}
            | {"seconds", "transport"},
        }
        host, port = self.startHost(TEST, "--duration", "4")
        client = self.startViewer(port, "--duration", "2")
        self.assertEqual(client.exitStatus(), 0, client.complaints())
        self.assertEqual(host.exitStatus(), 0, host.complaints())
        seen = set()
        for program in (host, client):
            before = 0.0
            for entry in program.events():
                self.assertRegex(
                    entry["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"
                )
                self.assertGreaterEqual(entry["mono"], before)
                before = entry["mono"]
                self.assertLessEqual(fields[entry["event"]], set(entry))
                seen.add(entry["event"])
        self.assertEqual(seen, set(fields))
        self.assertEqual(
            client.states(),
            ["CONNECTING", "HANDSHAKE_SENT", "CONNECTED", "DISCONNECTED"],
        )
        self.assertEqual(
            {entry["peer"] for entry in client.events("state")},
            {self.hosting.key.fingerprint},
        )
        self.assertEqual(
            host.states(), ["HANDSHAKE_RECEIVED", "CONNECTED", "DISCONNECTED"]
        )
        for program, seconds in ((client, 2), (host, 4)):
            ran = program.waitFor("summary")["seconds"]
            self.assertTrue(seconds <= ran < seconds + 1, ran)


class BadInputTests(TestCase):
    """
    One clear line that says what is wrong and what to do, and exit status 1.
    """

    def refused(self, *arguments, phrases, **options):
        """
        A program refuses its arguments.
        """
        program = self.start(*arguments, **options)
        self.assertEqual(program.exitStatus(), 1, program.complaints())
        self.assertOneLine(program.complaints(), *phrases)
        return program

    def refusedSource(self, source, *phrases, **options):
        """
        A host refuses its source.
        """
        home = str(self.directory / "hosting")
        ports = ("--interface", LOOPBACK, "--port", "0")
        arguments = ("host", "--home", home, *ports, "--source", str(source))
        return self.refused(*arguments, phrases=phrases, **options)

    def refusedCode(self, code, *phrases):
        """
        A client refuses its code.
        """
        home = str(self.directory / "viewer")
        return self.refused("connect", code, "--home", home, phrases=phrases)

    def code(self, host=LOOPBACK, port=9):
        """
        The code of a host, wherever.
        """
        return formatCode(self.hosting.key, host, port)

    def test_malformedCode(self):
        """
        What is no code.
        """
        self.refusedCode("hello", "'hello' does not begin with a key")
        self.refusedCode(self.code()[3:], "does not begin with a key")
        self.refusedCode(self.code() + "0000", "port")
        self.refusedCode("A" * 43 + "=@127.0.0.1", "key")

    def test_codeWithoutHost(self):
        """
        A code that does not say where the host is.
        """
        self.refusedCode(formatCode(self.hosting.key, None), "@")

    def test_ownCode(self):
        """
        One's own code.
        """
        self.refusedCode(formatCode(self.viewer.key, LOOPBACK, 9), "other machine")

    def test_unresolvable(self):
        """
        A name that does not exist (F65).
        """
        self.refusedCode(self.code("nobody.invalid"), "cannot resolve nobody.invalid")

    def test_refusedAddress(self):
        """
        Addresses that are nobody's (F65).
        """
        for address in ("0.0.0.0", "224.0.0.1", "255.255.255.255"):
            self.refusedCode(self.code(address), address, "can never be a peer")

    def test_noTransport(self):
        """
        Both transports forbidden.
        """
        self.refused(
            *("connect", self.code(), "--no-udp", "--no-tcp"),
            phrases=["--no-udp and --no-tcp leave no transport"],
        )

    def test_unknownWords(self):
        """
        Options, programs and numbers that do not exist, or none at all.
        """
        self.refused("host", "--colour", phrases=["colour", "rootstream --help"])
        self.refused("dance", phrases=["dance"])
        self.refused("host", "--port", "70000", phrases=["port number"])
        self.refused("demo", "--duration", "soon", phrases=["seconds"])
        self.refused("connect", phrases=["--help"])

    def test_portInUse(self):
        """
        A port that another process has, on UDP or TCP.
        """
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with socket.socket(type=kind) as other:
                other.bind((LOOPBACK, 0))
                if kind == socket.SOCK_STREAM:
                    other.listen()
                port = str(other.getsockname()[1])
                self.refused(
                    *("host", "--home", str(self.directory / "hosting")),
                    *("--interface", LOOPBACK, "--port", port),
                    phrases=[port, "in use by another process", "choose another port"],
                )

    def test_interface(self):
        """
        An address that this machine does not have, or that is none.
        """
        for address in ("192.0.2.77", "eth0"):
            self.refused(
                *("host", "--home", str(self.directory / "hosting")),
                *("--interface", address, "--port", "0"),
                phrases=[address],
            )

    def test_badSource(self):
        """
        Sources that are missing, no media, a directory, or no source at all.
        """
        text = self.directory / "text.mp4"
        text.write_text("There is no film in here.\n" * 100)
        self.refusedSource(self.directory / "no.mp4", "no.mp4", "there is no file")
        self.refusedSource(text, "cannot read", "text.mp4")
        self.refusedSource(self.directory, "is a directory")
        self.refusedSource("test:1x1", "test picture")
        self.refusedSource("screen::77", "cannot grab the screen :77")

    def test_noVideo(self):
        """
        A source with sound alone.
        """
        needCommands("ffmpeg")
        path = self.directory / "song.mkv"
        self.run_(
            *("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=duration=1"),
            *("-c:a", "libopus", path),
        )
        self.refusedSource(path, "has no video")

    def test_noInput(self):
        """
        A standard input that is closed, or empty.
        """
        self.refusedSource("-", "standard input is closed", prepare=closeInput)
        self.refusedSource("-", "standard input")

    def test_badSink(self):
        """
        Sinks that cannot be written, exist already, or are no container.
        """
        there = self.directory / "there.mkv"
        there.write_text("precious")
        for sink, phrase in (
            (self.directory / "nowhere" / "sink.mkv", "cannot create"),
            (there, "exists; remove it or choose another name"),
            (self.directory / "sink.avi", "cannot tell a container"),
        ):
            home = str(self.directory / "viewer")
            arguments = ("connect", self.code(), "--home", home, "--sink", str(sink))
            self.refused(*arguments, phrases=[sink.name, phrase])
        self.assertEqual(there.read_text(), "precious")

    def test_fullSink(self):
        """
        A sink with no room left: the program ends, and what was recorded plays
        (F83).
        """
        needCommands("ffmpeg")
        _, port = self.startHost(TEST)
        for form in ("mkv", "mp4", "ts"):
            sink = self.directory / f"sink.{form}"
            client = self.startViewer(port, "--sink", str(sink), prepare=limitFiles)
            self.assertEqual(client.exitStatus(), 1, client.complaints())
            self.assertOneLine(client.complaints(), sink.name, "it is playable up to")
            self.assertLess(sink.stat().st_size, FILE_LIMIT)
            self.assertGreater(sink.stat().st_size, FILE_LIMIT // 2)
            self.assertPlays(sink)

    def test_readerGone(self):
        """
        A player that goes away ends the client.
        """
        _, port = self.startHost(TEST)
        client = self.startViewer(port, "--sink", "-", stdout=subprocess.PIPE)
        client.process.stdout.read(1880)
        client.process.stdout.close()
        self.assertEqual(client.exitStatus(), 1, client.complaints())
        # What a viewer says besides goes to standard error too, here.
        last = client.complaints().splitlines()[-1]
        self.assertOneLine(last, "standard output", "its reader is gone")

    def test_badEvents(self):
        """
        An events file that cannot be written.
        """
        home = str(self.directory / "viewer")
        events = self.directory / "nowhere" / "events"
        self.refused(
            *("connect", self.code(), "--home", home, "--events", str(events)),
            phrases=["events file"],
        )

    def test_badHome(self):
        """
        A home that is no directory.
        """
        home = self.directory / "file"
        home.write_text("")
        for arguments in (("host", "--port", "0"), ("connect", self.code())):
            self.refused(
                *arguments, "--home", str(home), phrases=["is not a directory"]
            )
        self.refused("identity", "--home", str(home), phrases=["is not a directory"])

    def test_openKey(self):
        """
        A secret key that others may read (F79).
        """
        home = self.directory / "hosting"
        (home / "identity.key").chmod(0o644)
        arguments = ("host", "--home", str(home), "--port", "0")
        self.refused(*arguments, phrases=["chmod 600"])

    def test_secondHost(self):
        """
        A second host with the same home (F85).
        """
        first, _ = self.startHost(TEST)
        pid = str(first.process.pid)
        self.refusedSource(TEST, "another rootstream runs with this home", pid)

    def test_badPeersFile(self):
        """
        A peers file with a line that is no peer.
        """
        peers = self.directory / "hosting" / "peers"
        peers.write_text("# friends\nnobody\n")
        self.refusedSource(TEST, f"{peers}, line 2")

    def test_underTwistd(self):
        """
        twistd says what is wrong with its options too.
        """
        program = self.start("connect", "hello", twistd=True)
        self.assertEqual(program.exitStatus(), 1)
        said = program.said() + program.complaints()
        self.assertIn("'hello' does not begin with a key", said)
        self.assertNotIn("Traceback", said)


#: Bytes that `limitFiles` lets a process write into one file.
FILE_LIMIT = 200_000


def limitFiles():
    """
    In a new process: files end where a small disk would.
    """
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, FILE_LIMIT))


def closeInput():
    """
    In a new process: there is no standard input.
    """
    os.close(0)
