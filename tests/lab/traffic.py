"""
Packets of known numbers, sizes and times through a laboratory network, and what
becomes of them: for tests of the laboratory itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

from twisted.trial.unittest import SynchronousTestCase

from tests.lab.namespace import Host

__all__ = ["PORT", "Arrival", "ask", "carry", "startEcho"]

PORT = 9876

#: Echoes datagrams and TCP connections for IPv4 and IPv6 until it is killed.
ECHO = """
import selectors, socket, sys
ready = selectors.DefaultSelector()
for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
    one = socket.socket(socket.AF_INET6, kind)
    one.bind(("::", int(sys.argv[1])))
    if kind == socket.SOCK_STREAM:
        one.listen()
    ready.register(one, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in ready.select():
        if key.fileobj.type == socket.SOCK_DGRAM:
            data, address = key.fileobj.recvfrom(2000)
            key.fileobj.sendto(data, address)
        else:
            connection, _ = key.fileobj.accept()
            connection.sendall(connection.recv(2000))
            connection.close()
"""

#: Says what became of one word sent to the echo.
ASK = """
import socket, sys
kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
kind = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}[kind]
family = socket.AF_INET6 if ":" in host else socket.AF_INET
with socket.socket(family, kind) as one:
    one.settimeout(0.5)
    try:
        one.connect((host, port))
        one.sendall(b"word")
        print("echo" if one.recv(2000) == b"word" else "wrong")
    except TimeoutError:
        print("silence")
    except ConnectionError:
        print("refused")
    except OSError as error:
        print(error)
"""

#: Receives datagrams until nothing came for half a second since it was told to end, and
#: says what each said of itself, when it came, and whether it was whole.
RECEIVE = """
import json, select, socket, struct, sys, time
SO_RCVBUFFORCE, HEAD = 33, struct.Struct(">Id")
one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
one.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
one.bind(("::", int(sys.argv[1])))
print("ready", flush=True)
arrivals, watched, wait = [], [one, sys.stdin], None
while ready := select.select(watched, [], [], wait)[0]:
    if sys.stdin in ready:
        watched, wait = [one], 0.5
    if one in ready:
        data = one.recv(2000)
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        number, sent = HEAD.unpack_from(data)
        whole = not any(data[HEAD.size:])
        arrivals.append((number, sent, now, len(data) + 28, whole))
print(json.dumps(arrivals))
"""

#: Sends so many datagrams at an even pace; the size is that of the IPv4 packet.
SEND = """
import socket, struct, sys, time
host, port = sys.argv[1], int(sys.argv[2])
count, gap, size = int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
boottime = lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    # Fragments are not what is counted here.
    IP_MTU_DISCOVER, PROBE = 10, 3
    one.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PROBE)
    start = boottime()
    for number in range(count):
        # Shorter waits would take longer than they should.
        if (early := start + number * gap - boottime()) > 0.0005:
            time.sleep(early)
        head = struct.pack(">Id", number, boottime())
        one.sendto(head.ljust(size - 28, b"\\0"), (host, port))
"""


@dataclass(frozen=True, slots=True)
class Arrival:
    """
    A packet that came.

    :ivar number: its own, from 0 on.
    :ivar sentAt: seconds since boot.
    :ivar cameAt: seconds since boot.
    :ivar size: bytes of the IPv4 packet.
    :ivar whole: whether its payload is the one that was sent.
    """

    number: int
    sentAt: float
    cameAt: float
    size: int
    whole: bool

    @property
    def taken(self) -> float:
        """
        Seconds on the way.
        """
        return self.cameAt - self.sentAt


def startEcho(case: SynchronousTestCase, host: Host) -> None:
    """
    Start an echo for one test, and wait until it listens.
    """
    script = [sys.executable, "-c", ECHO, str(PORT)]
    echo = host.popen(script, stdout=subprocess.PIPE)
    case.addCleanup(echo.wait)
    case.addCleanup(echo.kill)
    assert echo.stdout is not None
    case.addCleanup(echo.stdout.close)
    case.assertEqual(echo.stdout.readline(), "ready\n")


def ask(host: Host, kind: str, address: str) -> str:
    """
    What a host hears from an echo: ``echo``, ``silence``, ``refused`` or an error.

    :param kind: ``udp`` or ``tcp``.
    """
    script = [sys.executable, "-c", ASK, kind, address, str(PORT)]
    done = host.run(script, capture_output=True, timeout=20)
    return done.stdout.strip() + done.stderr


def carry(
    sender: Host,
    receiver: Host,
    count: int,
    gap: float = 0.001,
    size: int = 100,
    port: int = PORT,
) -> list[Arrival]:
    """
    Send datagrams from one host to the other; returns those that arrived, in the
    order in which they did.
    """
    script = [sys.executable, "-c", RECEIVE, str(port)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with receiver.popen(script, **pipes) as receiving:
        assert receiving.stdout is not None
        assert receiving.stdout.readline() == "ready\n"
        numbers = [str(count), str(gap), str(size)]
        script = [sys.executable, "-c", SEND, receiver.outside, str(port), *numbers]
        sender.run(script, check=True, timeout=60)
        text, _ = receiving.communicate(timeout=60)
    return [Arrival(*entry) for entry in json.loads(text)]
