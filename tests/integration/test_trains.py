"""
The whole product where the kernel, or its user, has no trains of datagrams.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys

from twisted.trial.unittest import SkipTest, SynchronousTestCase

#: Numbers of the system call setsockopt, by machine.
SETSOCKOPT = {"x86_64": 54, "aarch64": 208}

#: Whether a socket takes trains, and then a stream to oneself.
PROGRAM = """
import socket
from rootstream.cli import main
from rootstream.transport.batch import takesTrains
with socket.socket(type=socket.SOCK_DGRAM) as skt:
    print("trains:", takesTrains(skt), flush=True)
raise SystemExit(main(["demo", "--duration", "2"]))
"""

#: Lets the kernel refuse UDP_GRO, as one before 5.0 does (seccomp: linux/filter.h,
#: linux/seccomp.h, linux/prctl.h).  Of a system call this looks at the number, and at
#: the second and the third argument.
FILTER = """
import ctypes, errno, struct
def step(code, operand, yes=0, no=0):
    return struct.pack("=HBBI", code, yes, no, operand)
LOAD, EQUAL, RETURN, ALLOW, REFUSE = 0x20, 0x15, 0x06, 0x7FFF0000, 0x00050000
steps = (
    step(LOAD, 0), step(EQUAL, {number}, 0, 5),
    step(LOAD, 24), step(EQUAL, 17, 0, 3),
    step(LOAD, 32), step(EQUAL, 104, 0, 1),
    step(RETURN, REFUSE | errno.ENOPROTOOPT), step(RETURN, ALLOW),
)
text = ctypes.create_string_buffer(b"".join(steps))
program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(text))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
if libc.prctl(22, 2, ctypes.create_string_buffer(program)) != 0:
    raise SystemExit("no filter: " + errno.errorcode[ctypes.get_errno()])
"""


class WithoutTrainsTests(SynchronousTestCase):
    """
    A stream of two seconds.
    """

    def stream(self, before: str = "", **environment: str) -> str:
        """
        What the program says, once it has ended well.
        """
        done = subprocess.run(
            [sys.executable, "-c", before + PROGRAM],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.stderr.startswith("no filter: "):
            raise SkipTest(done.stderr)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def assertStreamed(self, said: str) -> None:
        """
        Nothing was sent in trains, and all of it arrived, encrypted, over UDP.
        """
        self.assertIn("trains: False", said)
        self.assertIn("CONNECTED udp", said)
        self.assertIn(" 0 lost", said)

    def test_switchedOff(self) -> None:
        """
        Without trains, by request, the stream is the same.
        """
        self.assertStreamed(self.stream(ROOTSTREAM_TRAINS="off"))

    def test_refusedByTheKernel(self) -> None:
        """
        A kernel that has none is found out, and the stream is the same.
        """
        number = SETSOCKOPT.get(platform.machine())
        if number is None:
            raise SkipTest("needs x86_64 or aarch64")
        self.assertStreamed(self.stream(FILTER.replace("{number}", str(number))))
