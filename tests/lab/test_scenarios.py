"""
The four scenarios that a stream with a TCP fallback and reconnection is judged by: an
open network, a blocked UDP port, a network that is gone for 5 s, a peer that is gone
for good.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

from rootstream.identity import formatCode
from rootstream.transport.clock import boottime
from tests.integration.programs import ROOT
from tests.lab.judging import FROM_VIEWER, TCP_DATA, UDP, WAITS, LabTests
from tests.lab.programs import FPS, PORT

#: Seconds of the open network: at 30 frames/s the slowest of a hundred counts.
LONG_LOOK = 15.0

#: An application that connects, is left alone, and tells what it holds: file
#: descriptors and objects, before it dials and when it was given the last error.
LEFT_ALONE = """
import gc, json, os, sys, time
from twisted.internet import reactor
from twisted.logger import globalLogBeginner
from rootstream import Identity, PeerReceiver, connect
from rootstream.peer import Peer
from rootstream.protocol.link import Link
from rootstream.transport.clock import boottime, useBoottime

kept = []

class Receiver(PeerReceiver):
    def stateChanged(self, old, new, cause):
        tell(event="state", to=new, cause=cause)
        if new == "FAILED":
            # Not from within the call: whoever calls still holds on to things.
            reactor.callLater(1.0, end)

    def attemptScheduled(self, attempt, of, wait):
        tell(event="attempt", n=attempt, of=of, wait_s=wait)

    def videoReceived(self, frame):
        tell(event="frame")

def tell(**fields):
    print(json.dumps({"mono": boottime(), **fields}), flush=True)

def held():
    gc.collect()
    objects = sum(isinstance(each, (Peer, Link)) for each in gc.get_objects())
    return {"fds": len(os.listdir("/proc/self/fd")), "objects": objects,
            "timers": len(reactor.getDelayedCalls())}

def begin():
    tell(event="held", **held())
    identity = Identity.fromSeed(bytes.fromhex(sys.argv[2]), "viewer")
    connect(reactor, sys.argv[1], Receiver(), identity=identity).addErrback(kept.append)

def end():
    kept.clear()
    tell(event="held", **held())
    reactor.stop()

# Until somebody takes them, Twisted keeps events, and with them whose they are.
globalLogBeginner.beginLoggingTo([lambda event: None], redirectStandardIO=False)
useBoottime(reactor)
reactor.callWhenRunning(begin)
reactor.run()
"""


class ScenarioTests(LabTests):
    """
    The scenarios, by name.
    """

    def test_openNetwork(self) -> None:
        """
        On an open network the stream runs over UDP, whole, and what this program adds
        between capture and receipt is a few milliseconds.
        """
        self.stream()
        self.watch(LONG_LOOK)
        self.stayedConnected()
        self.assertEqual(self.transports(self.watcher), ["udp"])
        summary = self.stopWatching()
        self.assertEqual(summary["frames_lost"], 0)
        self.assertGreater(summary["frames_received"], LONG_LOOK * FPS * 0.8)
        median, slow = summary["latency_p50_ms"], summary["latency_p99_ms"]
        self.within("capture to receipt, p50", median / 1000, 0.005, 0.02)
        self.within("capture to receipt, p99", slow / 1000, 0.005, 0.1)

    def test_blockedPort(self) -> None:
        """
        Where the UDP port is blocked, TCP takes over, and the log has the handshake.
        """
        self.router.rule(f"{UDP} th dport {PORT} drop")
        first = self.stream()
        self.within("first picture over TCP", first - self.dialledAt, 0.6, 2.0)
        self.wasWhole("tcp")
        [path] = self.watcher.events("path")
        self.assertEqual(path["cause"], "handshake confirmed")
        connected = self.watcher.waitFor("state", to="CONNECTED")
        self.assertEqual(connected["cause"], "handshake confirmed over tcp")
        [sent] = self.watcher.events("state", to="HANDSHAKE_SENT")
        self.assertIn("INIT sent over udp", sent["cause"])

    def test_disconnected(self) -> None:
        """
        A network that is gone for 5 s is told from a blocked UDP; when it is back, so
        is the stream, in the same session, without any attempt of the schedule.
        """
        self.countSessions()
        self.stream()
        self.watch()
        self.router.dropAll()
        time.sleep(5.0)
        self.router.restore()
        self.resumes("pictures after the return", boottime(), 0.3, 1.5)
        self.stayedConnected()
        self.assertEqual(self.sessions(), 1)
        for program in (self.watcher, self.host):
            self.assertEqual(self.transports(program), ["udp"])
            self.assertEqual(program.events("attempt"), [])
        [impaired] = self.watcher.events("impaired")
        self.assertIn("UDP and TCP are silent", impaired["cause"])
        [recovered] = self.watcher.events("recovered")
        self.assertIn("heard again after 5.", recovered["cause"])

    def test_offline(self) -> None:
        """
        A peer that is gone for good is tried ten times, after 0.1 to 30 s, and then
        given up: no packet follows, and no memory, timer or socket is left.
        """
        self.startLabHost("--allow", formatCode(self.viewer.key, None))
        code = formatCode(self.hosting.key, self.network.a.address, PORT)
        seed = self.viewer.seed.hex()
        application = self.network.b.popen(
            [sys.executable, "-c", LEFT_ALONE, code, seed],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        self.addCleanup(application.wait)
        self.addCleanup(application.kill)
        assert application.stdout is not None
        self.addCleanup(application.stdout.close)
        told = map(json.loads, application.stdout)
        before = next(told)
        for event in told:
            if event["event"] == "frame":
                break
        self.host.kill()
        self.countBytes("viewerUDP", f"{FROM_VIEWER} {UDP}")
        self.countBytes("viewerTCP", f"{FROM_VIEWER} {TCP_DATA}")
        events = [event for event in told if event["event"] != "frame"]
        after = events.pop()
        self.assertEqual(events[-1]["to"], "FAILED")
        attempts = [event for event in events if event["event"] == "attempt"]
        self.assertEqual([event["wait_s"] for event in attempts], WAITS)
        self.assertEqual([event["n"] for event in attempts], [*range(1, 11)])
        dials = [event for event in events if event.get("to") == "CONNECTING"]
        for attempt, dial in zip(attempts, dials, strict=True):
            late = dial["mono"] - attempt["mono"] - attempt["wait_s"]
            self.assertTrue(-0.01 < late < 0.5, f"{attempt}: {late} s late")
        sys.stdout.write(f"\n    held before: {before}\n    held after: {after}\n")
        for what in ("fds", "objects"):
            self.assertEqual(after[what], before[what])
        # An INIT is sent four times a second, a PING once.
        self.assertLess(self.bytesOf("viewerUDP"), 200_000)
        self.assertEqual(self.bytesOf("viewerTCP"), 0)
