"""
A name server in the router, which knows the names that a test gives it.

It speaks DNS (RFC 1035) over UDP and TCP, as much as a resolver needs: addresses, names
that are not there, answers too long for a datagram, and silence.

`NameServer` runs it as a process, which ends with its standard input, so with us.
"""

from __future__ import annotations

import ipaddress
import json
import selectors
import socket
import struct
import sys
from collections.abc import Mapping, Sequence

from tests.lab.attendant import Attendant
from tests.lab.namespace import Namespace

PORT = 53
#: A longer answer does not fit in a datagram (RFC 1035, section 4.2.1).
MAX_DATAGRAM = 512
MAX_MESSAGE = 65535
HEADER = struct.Struct(">6H")
#: A response, and more is available by TCP; recursion was desired and is available.
RESPONSE = 0x8180
TRUNCATED = 0x0200
NO_SUCH_NAME = 3
INTERNET = 1
#: Of a record, by the version of its address.
TYPES = {4: 1, 6: 28}
#: The name of a record: where that of the question is.
SAME_NAME = b"\xc0\x0c"

#: The addresses of each name; None never answers.
Names = Mapping[str, Sequence[str] | None]


class NameServer(Attendant):
    """
    The process, at every address of a machine.
    """

    title = "name server"

    def __init__(self, machine: Namespace, names: Names) -> None:
        """
        :raise LabUnavailable: if it does not start.
        """
        super().__init__(machine, "tests.lab.nameserver", [json.dumps(names)])


def answer(query: bytes, names: Names, limit: int) -> bytes | None:
    """
    The message that answers a query with one question, in so many bytes at most; None
    for silence.
    """
    labels = []
    at = HEADER.size
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode())
        at += 1 + length
    question = query[HEADER.size : at + 5]
    [kind] = struct.unpack_from(">H", query, at + 1)
    name = ".".join(labels).lower()
    addresses = names.get(name, ())
    if addresses is None:
        return None
    records = [
        SAME_NAME
        + struct.pack(">HHIH", kind, INTERNET, 0, len(address.packed))
        + address.packed
        for address in map(ipaddress.ip_address, addresses)
        if TYPES[address.version] == kind
    ]
    flags = RESPONSE if name in names else RESPONSE | NO_SUCH_NAME
    if HEADER.size + len(question) + sum(map(len, records)) > limit:
        # Nobody has to look at a part of the records.
        flags |= TRUNCATED
        records = []
    number = int.from_bytes(query[:2], "big")
    header = HEADER.pack(number, flags, 1, len(records), 0, 0)
    return header + question + b"".join(records)


def run(names: Names) -> None:
    """
    Answer until the standard input ends.
    """
    ready = selectors.DefaultSelector()
    datagrams = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    datagrams.bind(("::", PORT))
    listener = socket.create_server(
        ("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True
    )
    for one in (datagrams, listener, sys.stdin):
        ready.register(one, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in ready.select():
            if key.fileobj is sys.stdin:
                return
            if key.fileobj is datagrams:
                query, address = datagrams.recvfrom(MAX_DATAGRAM)
                if message := answer(query, names, MAX_DATAGRAM):
                    datagrams.sendto(message, address)
                continue
            stream, _ = listener.accept()
            # Two queries may come by one connection, and the end comes soon.
            with stream, stream.makefile("rwb") as both:
                while size := both.read(2):
                    query = both.read(int.from_bytes(size, "big"))
                    if message := answer(query, names, MAX_MESSAGE):
                        both.write(len(message).to_bytes(2, "big") + message)
                        both.flush()


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
