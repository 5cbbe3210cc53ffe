"""
Questions to the kernel about the network, and its word that something has changed.

Netlink (netlink(7), rtnetlink(7)) without a library: few messages are needed, and
their format is as fixed as any system call's.  What the messages mean is left to
`rootstream.transport.network`.

The kernel puts the first part of an answer into the socket before it returns from
the request, and each further part when the one before was read.  So an answer is
read without waiting, and one that is not there is an error.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = [
    "GET_ADDRESS",
    "GET_LINK",
    "GET_NEIGHBOUR",
    "GET_ROUTE",
    "NEW_ADDRESS",
    "NEW_LINK",
    "NEW_NEIGHBOUR",
    "NEW_ROUTE",
    "Message",
    "ask",
    "attribute",
    "attributes",
    "messages",
    "subscribe",
]

# Message types (linux/rtnetlink.h).
NEW_LINK, GET_LINK = 16, 18
NEW_ADDRESS, GET_ADDRESS = 20, 22
NEW_ROUTE, GET_ROUTE = 24, 26
NEW_NEIGHBOUR, GET_NEIGHBOUR = 28, 30

# The types and flags of netlink itself (linux/netlink.h).
_ERROR, _DONE = 2, 3
_FLAG_REQUEST = 0x1
_FLAG_MULTI = 0x2
_FLAG_DUMP = 0x300

#: Numbers are in the machine's byte order, without padding but what is spelt out.
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ERROR_CODE = struct.Struct("=i")
#: NLA_TYPE_MASK: above it two flags, of which the kernel sets one now and then.
_ATTRIBUTE_TYPE = 0x3FFF

#: The kernel's parts of an answer are at most 32 KiB.
_PART = 64 << 10
#: Of one answer; a machine with more links or addresses is shown in part.
_MAX_PARTS = 64

#: Links, addresses and routes, of IPv4 and IPv6 (RTMGRP_*).
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400


@dataclass(frozen=True, slots=True)
class Message:
    """
    One message without its header.
    """

    kind: int
    body: bytes


def messages(data: bytes) -> Iterator[tuple[Message, int]]:
    """
    The messages in what a socket gave, each with its flags.  Whatever is behind a
    malformed one is left out.
    """
    while len(data) >= _HEADER.size:
        length, kind, flags, _, _ = _HEADER.unpack_from(data)
        if not _HEADER.size <= length <= len(data):
            return
        yield Message(kind, data[_HEADER.size : length]), flags
        data = data[_aligned(length) :]


def attributes(data: bytes) -> dict[int, bytes]:
    """
    The attributes behind a message's fixed part, by type; of one that is there
    twice, the last.
    """
    found: dict[int, bytes] = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if not _ATTRIBUTE.size <= length <= len(data):
            break
        found[kind & _ATTRIBUTE_TYPE] = data[_ATTRIBUTE.size : length]
        data = data[_aligned(length) :]
    return found


def attribute(kind: int, value: bytes) -> bytes:
    """
    One attribute, as it goes into a request.
    """
    length = _ATTRIBUTE.size + len(value)
    padding = bytes(_aligned(length) - length)
    return _ATTRIBUTE.pack(length, kind) + value + padding


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def ask(kind: int, body: bytes, *, every: bool = False) -> list[Message]:
    """
    The kernel's answer to a request: one message, or with ``every``, one for each
    link, address or whatever it is that there is.

    :raises OSError: if the kernel refuses, does not know, or has no netlink.
    """
    flags = _FLAG_REQUEST | (_FLAG_DUMP if every else 0)
    request = _HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body
    with _open() as skt:
        skt.send(request)
        return _answer(skt)


def _answer(skt: socket.socket) -> list[Message]:
    found: list[Message] = []
    for _ in range(_MAX_PARTS):
        for message, flags in messages(skt.recv(_PART)):
            if message.kind == _DONE:
                return found
            if message.kind == _ERROR:
                _raise(message.body)
            found.append(message)
            if not flags & _FLAG_MULTI:
                return found
    return found


def _raise(body: bytes) -> None:
    code = errno.EBADMSG
    if len(body) >= _ERROR_CODE.size:
        code = -_ERROR_CODE.unpack_from(body)[0]
    raise OSError(code, os.strerror(code))


def subscribe() -> socket.socket:
    """
    A socket that becomes readable when links, addresses or routes change.

    :raises OSError: if there is no netlink, or it is forbidden.
    """
    skt = _open()
    try:
        skt.bind((0, _GROUPS))
    except OSError:
        skt.close()
        raise
    return skt


def _open() -> socket.socket:
    if not hasattr(socket, "AF_NETLINK"):
        raise OSError(errno.EAFNOSUPPORT, "no netlink on this system")
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    return socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
