"""
One end of a stream of aioquic's datagrams: ``python -m benchmarks.quicends``.

It imports nothing of ours, since aioquic may live in an environment of its own.  The
viewer is the server; it says how much came, and after each `REPORT` datagrams tells the
sender, who keeps no more than `WINDOW` under way.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import resource
import ssl
import sys
import tempfile
from pathlib import Path
from typing import Any

from aioquic.asyncio import connect, serve
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, DatagramFrameReceived
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ALPN = ["stream"]
#: What aioquic sends in one packet of its usual size.
SIZE = 1100
WINDOW = 256
REPORT = 32
#: Seconds without a report, after which what was under way counts as lost.
LOST_AFTER = 0.2


def cpuSeconds() -> float:
    """
    What this process has used so far, in the kernel too.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def say(**values: object) -> None:
    """
    Tell whoever started us.
    """
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


class Viewer(QuicConnectionProtocol):
    """
    Counts what comes.
    """

    count = 0
    began = last = cpu = 0.0
    ended: asyncio.Event

    def quic_event_received(self, event: Any) -> None:
        if isinstance(event, DatagramFrameReceived):
            now = asyncio.get_running_loop().time()
            if not self.count:
                self.began, self.cpu = now, cpuSeconds()
            self.last = now
            self.count += 1
            if self.count % REPORT == 0:
                self._quic.send_datagram_frame(self.count.to_bytes(8, "big"))
                self.transmit()
        elif isinstance(event, ConnectionTerminated):
            say(
                seconds=self.last - self.began,
                bytes=self.count * SIZE,
                cpu=cpuSeconds() - self.cpu,
            )
            self.ended.set()


class Sender(QuicConnectionProtocol):
    """
    Learns what has arrived.
    """

    arrived = 0

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.reported = asyncio.Event()

    def push(self, data: bytes) -> None:
        """
        Send a datagram, with the next `transmit`.
        """
        self._quic.send_datagram_frame(data)

    def quic_event_received(self, event: Any) -> None:
        if isinstance(event, DatagramFrameReceived):
            self.arrived = int.from_bytes(event.data, "big")
            self.reported.set()


def makeCertificate(directory: Path) -> tuple[Path, Path]:
    """
    A key and a certificate that nobody checks.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "viewer")])
    now = datetime.datetime.now(datetime.timezone.utc)  # noqa: UP017  # any Python
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    files = directory / "certificate", directory / "key"
    files[0].write_bytes(certificate.public_bytes(pem))
    files[1].write_bytes(
        key.private_bytes(
            pem,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


async def view(address: str, port: int) -> None:
    """
    Wait for a sender, and say what came.
    """
    configuration = QuicConfiguration(
        is_client=False, alpn_protocols=ALPN, max_datagram_frame_size=65_536
    )
    with tempfile.TemporaryDirectory() as directory:
        configuration.load_cert_chain(*makeCertificate(Path(directory)))
    ended = Viewer.ended = asyncio.Event()
    await serve(address, port, configuration=configuration, create_protocol=Viewer)
    say(ready=True)
    await ended.wait()


async def send(address: str, port: int, seconds: float) -> None:
    """
    Send for a while, and say what it took.
    """
    configuration = QuicConfiguration(
        is_client=True,
        alpn_protocols=ALPN,
        max_datagram_frame_size=65_536,
        verify_mode=ssl.CERT_NONE,
    )
    data = os.urandom(SIZE)
    async with connect(
        address, port, configuration=configuration, create_protocol=Sender
    ) as protocol:
        assert isinstance(protocol, Sender)
        loop = asyncio.get_running_loop()
        began, cpu, total, writtenOff = loop.time(), cpuSeconds(), 0, 0
        while loop.time() < began + seconds:
            while total - writtenOff - protocol.arrived < WINDOW:
                protocol.push(data)
                total += 1
            protocol.transmit()
            protocol.reported.clear()
            try:
                await asyncio.wait_for(protocol.reported.wait(), LOST_AFTER)
            except TimeoutError:
                writtenOff = total - protocol.arrived
        say(bytes=total * SIZE, cpu=cpuSeconds() - cpu)


if __name__ == "__main__":
    role, host, number = sys.argv[1:4]
    if role == "view":
        asyncio.run(view(host, int(number)))
    else:
        asyncio.run(send(host, int(number), float(sys.argv[4])))
