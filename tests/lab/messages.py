"""
Applications of the library on the machines of a laboratory network, that send each
other numbered INPUT and CONTROL for as long as a test lasts: the programs send neither
by themselves.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

from rootstream.identity import Identity, formatCode
from tests.integration.programs import PATIENCE, ROOT
from tests.lab.judging import LabTests
from tests.lab.namespace import Host

__all__ = ["Application", "Messages"]

#: Of the host of these; the programs of a test may have the usual one.
PORT = 9877

#: What both have.  Each goes on until its standard input ends.
APPLICATION = """
import json, sys
from twisted.internet import protocol, reactor, stdio, task
from rootstream import (AuthorizedPeers, Command, Control, Host, Identity, InputEvent,
    PeerReceiver, connect)
from rootstream.identity import parseCode
from rootstream.transport.clock import useBoottime

FIRST = 500_000

class Both(PeerReceiver):
    # Sends numbers, and takes the other's.
    def __init__(self, peer=None):
        super().__init__(peer)
        self.sent = 0
        self.input, self.control = [], []
        self.giving = task.LoopingCall(self.give)

    def begin(self, peer):
        self.peer = peer
        self.giving.start(0.03)

    def give(self):
        self.peer.sendInput([InputEvent(2, 0, self.sent)])
        self.peer.sendControl(Control(Command.SET_BITRATE, FIRST + self.sent))
        self.sent += 1

    def inputReceived(self, events):
        self.input += [event.value for event in events]

    def controlReceived(self, control):
        self.control.append(control.value - FIRST)

    def pathChanged(self, transport, address, cause):
        tell(transport=transport, cause=cause)

    def end(self):
        # The other side's last ones are on their way as well.
        self.giving.stop()
        self.peer.whenDrained().addCallback(
            lambda _: reactor.callLater(1.0, self.report))

    def report(self):
        tell(sent=self.sent, input=self.input, control=self.control)
        reactor.stop()

def tell(**fields):
    print(json.dumps(fields), flush=True)

def onEnd(call):
    class Orders(protocol.Protocol):
        def connectionLost(self, reason):
            call()
    stdio.StandardIO(Orders())

useBoottime(reactor)
identity = Identity.fromSeed(bytes.fromhex(sys.argv[1]), "application")
"""
HOST = """
came = []

def receiverFor(peer):
    both = Both(peer)
    came.append(both)
    peer.whenConnected().addCallback(both.begin)
    return both

allowed = AuthorizedPeers(None, [parseCode(sys.argv[2], False).key], False)
Host(reactor, identity, allowed, receiverFor, port=int(sys.argv[3])).listen()
onEnd(lambda: came[0].end())
tell(ready=True)
reactor.run()
"""
VIEWER = """
both = Both()
connect(reactor, sys.argv[2], both, identity=identity).addCallback(both.begin)
onEnd(both.end)
reactor.run()
"""


class Application:
    """
    One of them, running.
    """

    def __init__(self, machine: Host, script: str, *arguments: str) -> None:
        self._process = machine.popen(
            [sys.executable, "-c", APPLICATION + script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        self._told: list[dict[str, Any]] = []
        self._came = threading.Condition()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._came:
                self._told.append(json.loads(line))
                self._came.notify_all()

    def waitFor(self, what: str, value: object = None) -> dict[str, Any]:
        """
        The next thing told that has ``what`` in it, with this value if one is given.
        What was told before that is not looked at again.

        :raise AssertionError: if nothing comes.
        """

        def found() -> bool:
            return any(self._matches(each, what, value) for each in self._told)

        with self._came:
            if not self._came.wait_for(found, PATIENCE):
                raise AssertionError(f"no {what} {value}; told: {self._told}")
            while not self._matches(told := self._told.pop(0), what, value):
                pass
            return told

    def _matches(self, told: dict[str, Any], what: str, value: object) -> bool:
        return what in told and (value is None or told[what] == value)

    def finish(self) -> None:
        """
        Tell it to end.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()

    def kill(self) -> None:
        """
        End it, however it is.
        """
        self._process.kill()
        self._process.wait()
        self._thread.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


class Messages:
    """
    A host on machine ``a`` and a viewer on ``b`` that send each other numbers.

    :ivar viewer: its application, which tells each way that its session takes.
    """

    def __init__(self, case: LabTests) -> None:
        self._case = case
        host, viewer = Identity.generate("host"), Identity.generate("viewer")
        a, b = case.network.a, case.network.b
        self.host = Application(
            a, HOST, host.seed.hex(), formatCode(viewer.key, None), str(PORT)
        )
        case.addCleanup(self.host.kill)
        self.host.waitFor("ready")
        code = formatCode(host.key, a.outside, PORT)
        self.viewer = Application(b, VIEWER, viewer.seed.hex(), code)
        case.addCleanup(self.viewer.kill)
        self.viewer.waitFor("transport", "udp")

    def judge(self, least: int) -> None:
        """
        End both.  Each took all that the other had sent, which was no fewer than
        ``least``, once and in order.
        """
        self.viewer.finish()
        self.host.finish()
        ends = [each.waitFor("sent") for each in (self.host, self.viewer)]
        for sender, taker in (ends, ends[::-1]):
            sent = sender["sent"]
            sys.stdout.write(f"\n    {sent} of each kind were sent\n")
            self._case.assertGreater(sent, least)
            self._case.assertEqual(taker["input"], [*range(sent)])
            self._case.assertEqual(taker["control"], [*range(sent)])
