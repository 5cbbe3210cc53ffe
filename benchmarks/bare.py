"""
What Python could do at best: the cipher between two sockets and nothing else, the
cipher alone, a datagram and its answer without us.

``python -m benchmarks.bare``, a process each, as `benchmarks.ends`.
"""

from __future__ import annotations

import argparse
import os
import socket
import struct
import time
from collections.abc import Sequence

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from benchmarks.ends import FRAME, WARM_UP, WINDOW, cpuSeconds, say
from rootstream.protocol.constants import (
    DATA_HEADER,
    MAX_CHUNK,
    MAX_FRAMES,
    MAX_PACKET,
    PADDING,
)
from rootstream.transport.batch import MAX_TRAIN_BYTES
from rootstream.transport.sockets import SOCKET_BUFFER

__all__ = ["main"]

#: Between two looks at the clock.
STRETCH = 1000
#: Of a packet with one input event.
SMALL = PADDING
PORT = 9877
#: Seconds of silence after which the other end has gone.
GONE = 1.0

#: Packets in a train, and as many trains under way as a stream of ours has frames.
TRAIN = MAX_TRAIN_BYTES // MAX_PACKET
UNDER_WAY = WINDOW * FRAME // (TRAIN * MAX_CHUNK)
#: Trains that one answer tells of.
TOLD_AT_ONCE = 4
#: What an answer says: how many packets have come in all.
COUNT = struct.Struct("<Q")

# Not in the socket module; the numbers are Linux's (linux/udp.h,
# asm-generic/socket.h).
_UDP_SEGMENT = 103
_UDP_GRO = 104
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33


def port(address: str = "") -> socket.socket:
    """
    A UDP socket with the buffers that ours have, bound to an address if there is one.
    """
    skt = socket.socket(type=socket.SOCK_DGRAM)
    for buffer in (_SO_SNDBUFFORCE, _SO_RCVBUFFORCE):
        skt.setsockopt(socket.SOL_SOCKET, buffer, SOCKET_BUFFER)
    if address:
        skt.bind((address, PORT))
    return skt


def pour(address: str, seconds: float) -> None:
    """
    Encrypt chunks of video and send them in trains, as many at once as may be under
    way, and nothing else: all that is waited for is a count of what has come.
    """
    encrypt = ChaCha20Poly1305(bytes(32)).encrypt
    plain = os.urandom(MAX_FRAMES)
    trained = [(socket.SOL_UDP, _UDP_SEGMENT, struct.pack("=H", MAX_PACKET))]
    with port() as skt:
        skt.connect((address, PORT))
        skt.settimeout(GONE)
        count = arrived = first = 0
        warm = cpu = 0.0
        began = time.perf_counter()
        while (now := time.perf_counter()) < began + WARM_UP + seconds:
            if not warm and now >= began + WARM_UP:
                warm, cpu, first = now, cpuSeconds(), count
            while count - arrived >= UNDER_WAY * TRAIN:
                (arrived,) = COUNT.unpack(skt.recv(COUNT.size))
            train: list[bytes] = []
            for counter in range(count, count + TRAIN):
                header = counter.to_bytes(DATA_HEADER, "big")
                train += header, encrypt(header[-12:], plain, header)
            skt.sendmsg(train, trained)
            count += TRAIN
        size = (count - first) * MAX_CHUNK
        say(seconds=now - warm, cpu=cpuSeconds() - cpu, bytes=size, packets=count)


def drain(address: str) -> None:
    """
    Decrypt what `pour` sends, and say now and then how much has come.
    """
    decrypt = ChaCha20Poly1305(bytes(32)).decrypt
    with port(address) as skt:
        skt.setsockopt(socket.SOL_UDP, _UDP_GRO, 1)
        say(ready=True)
        # However long it takes to begin, it does not pause.
        skt.settimeout(None)
        began = warm = cpu = 0.0
        count = first = told = 0
        buffer = memoryview(bytearray(65_535))
        ancillary = socket.CMSG_SPACE(4)
        while True:
            try:
                size, _, _, source = skt.recvmsg_into([buffer], ancillary)
            except TimeoutError:
                break
            now = time.perf_counter()
            if not began:
                began = now
                skt.settimeout(GONE)
            if not warm and now >= began + WARM_UP:
                warm, cpu, first = now, cpuSeconds(), count
            data = bytes(buffer[:size])
            for at in range(0, size, MAX_PACKET):
                header = data[at : at + DATA_HEADER]
                decrypt(header[-12:], data[at + DATA_HEADER : at + MAX_PACKET], header)
            count += -(-size // MAX_PACKET)
            if count - told >= TOLD_AT_ONCE * TRAIN:
                told = count
                skt.sendto(COUNT.pack(count), source)
        say(
            seconds=now - warm,
            cpu=cpuSeconds() - cpu,
            bytes=(count - first) * MAX_CHUNK,
            packets=count,
        )


def cipher(seconds: float) -> None:
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
    add("what", choices=("pour", "drain", "cipher", "answer", "ask"))
    add("--address", default="127.0.0.1")
    add("--seconds", type=float, default=1.0, help="to measure (%(default)s)")
    options = parser.parse_args(arguments)
    match options.what:
        case "pour":
            pour(options.address, options.seconds)
        case "drain":
            drain(options.address)
        case "cipher":
            cipher(options.seconds)
        case "answer":
            answer(options.address)
        case "ask":
            ask(options.address, options.seconds)


if __name__ == "__main__":
    main()
