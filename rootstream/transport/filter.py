"""
A filter in the kernel for what strangers send to a UDP socket.

A datagram that cannot be a packet, by its first byte and its length, is dropped before
it takes room in the receive buffer or wakes us (socket(7), SO_ATTACH_FILTER).  It says
nothing about those that can be: they are judged as ever.  Where the kernel takes no
filter there is none, and the same is found out here, for more.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from typing import Final

from rootstream.protocol.constants import (
    INIT_SIZE,
    MIN_RECORD,
    RESP_SIZE,
    RETRY_SIZE,
    TYPE_DATA,
    TYPE_INIT,
    TYPE_RESP,
    TYPE_RETRY,
)

__all__ = ["attachFilter", "packetFilter"]

_SO_ATTACH_FILTER: Final = 26

# linux/filter.h, linux/bpf_common.h: load the length, a byte or what was stored, store,
# compare, return.
_LENGTH: Final = 0x80
_BYTE: Final = 0x30
_STORED: Final = 0x60
_STORE: Final = 0x02
_IS: Final = 0x15
_AT_LEAST: Final = 0x35
_RETURN: Final = 0x06

#: A filter sees the UDP header as well.
_HEADER: Final = 8
_ALL: Final = 0xFFFFFFFF

#: What a datagram begins with, how long it is, and whether it may be longer.
_KINDS: Final = (
    (TYPE_DATA, MIN_RECORD, True),
    (TYPE_INIT, INIT_SIZE, False),
    (TYPE_RESP, RESP_SIZE, False),
    (TYPE_RETRY, RETRY_SIZE, False),
)

#: An instruction: operation, how many to skip when a comparison holds and when it does
#: not, operand.
Instruction = tuple[int, int, int, int]


def packetFilter(trains: bool) -> tuple[Instruction, ...]:
    """
    The program.  With ``trains`` the socket gets several datagrams of one source as
    one (UDP_GRO), so what is longer than one may be several.
    """
    kinds = len(_KINDS)
    drop = 3 + kinds
    accept = drop + 1 + 3 * kinds
    program: list[Instruction] = [
        (_LENGTH, 0, 0, 0),
        (_STORE, 0, 0, 0),
        # Where there is no such byte the kernel drops the datagram.
        (_BYTE, 0, 0, _HEADER),
    ]
    for number, (kind, _, _) in enumerate(_KINDS):
        there = drop + 1 + 3 * number
        program.append((_IS, there - len(program) - 1, 0, kind))
    program.append((_RETURN, 0, 0, 0))
    for _, size, longer in _KINDS:
        compare = _AT_LEAST if longer or trains else _IS
        program += [
            (_STORED, 0, 0, 0),
            (compare, accept - len(program) - 2, 0, _HEADER + size),
            (_RETURN, 0, 0, 0),
        ]
    program.append((_RETURN, 0, 0, _ALL))
    return tuple(program)


def attachFilter(skt: socket.socket, trains: bool) -> bool:
    """
    Let the kernel drop what cannot be a packet; returns whether it does.
    """
    program = packetFilter(trains)
    code = ctypes.create_string_buffer(
        b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    )
    try:
        skt.setsockopt(
            socket.SOL_SOCKET,
            _SO_ATTACH_FILTER,
            struct.pack("HP", len(program), ctypes.addressof(code)),
        )
    except OSError:
        return False
    return True
