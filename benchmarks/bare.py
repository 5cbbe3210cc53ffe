"""
What Python could do at best: the cipher alone, a datagram and its answer without us.

``python -m benchmarks.bare``, a process each, as `benchmarks.ends`.
"""

from __future__ import annotations

import argparse
import os
import socket
import time
from collections.abc import Sequence

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from benchmarks.ends import WARM_UP, cpuSeconds, say
from rootstream.protocol.constants import DATA_HEADER, MAX_CHUNK, PADDING

__all__ = ["main"]

#: Between two looks at the clock.
STRETCH = 1000
#: Of a packet with one input event.
SMALL = PADDING
PORT = 9877


def ceiling(seconds: float) -> None:
    """
    Encrypt chunks of video for a while, each under a nonce of its own, and nothing
    else.
    """
    encrypt = ChaCha20Poly1305(os.urandom(32)).encrypt
    chunk = os.urandom(MAX_CHUNK)
    header = bytes(DATA_HEADER)
    began, cpu, count = time.perf_counter(), cpuSeconds(), 0
    while (now := time.perf_counter()) < began + seconds:
        for counter in range(count, count + STRETCH):
            encrypt(counter.to_bytes(12, "little"), chunk, header)
        count += STRETCH
    say(seconds=now - began, cpu=cpuSeconds() - cpu, bytes=count * MAX_CHUNK)


def answer(address: str) -> None:
    """
    Open and seal again what comes, for as long as somebody lets us.
    """
    cipher = ChaCha20Poly1305(bytes(32))
    with socket.socket(type=socket.SOCK_DGRAM) as port:
        port.bind((address, PORT))
        say(ready=True)
        while True:
            packet, source = port.recvfrom(2048)
            header, sealed = packet[:DATA_HEADER], packet[DATA_HEADER:]
            nonce = header[-12:]
            plain = cipher.decrypt(nonce, sealed, header)
            port.sendto(header + cipher.encrypt(nonce, plain, header), source)


def ask(address: str, seconds: float) -> None:
    """
    Send a small packet and wait for its answer, again and again.
    """
    cipher = ChaCha20Poly1305(bytes(32))
    times = []
    with socket.socket(type=socket.SOCK_DGRAM) as port:
        port.settimeout(1.0)
        began = time.perf_counter()
        counter = 0
        while (sent := time.perf_counter()) < began + WARM_UP + seconds:
            header = counter.to_bytes(DATA_HEADER, "big")
            nonce = header[-12:]
            sealed = cipher.encrypt(nonce, bytes(SMALL), header)
            port.sendto(header + sealed, (address, PORT))
            packet = port.recv(2048)
            cipher.decrypt(nonce, packet[DATA_HEADER:], header)
            if sent >= began + WARM_UP:
                times.append(time.perf_counter() - sent)
            counter += 1
    say(delays=times)


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Run one of them.
    """
    parser = argparse.ArgumentParser("python -m benchmarks.bare")
    add = parser.add_argument
    add("what", choices=("ceiling", "answer", "ask"))
    add("--address", default="127.0.0.1")
    add("--seconds", type=float, default=1.0, help="to measure (%(default)s)")
    options = parser.parse_args(arguments)
    match options.what:
        case "ceiling":
            ceiling(options.seconds)
        case "answer":
            answer(options.address)
        case "ask":
            ask(options.address, options.seconds)


if __name__ == "__main__":
    main()
