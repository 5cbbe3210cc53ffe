"""
The first inputs of each target: ``python -m tests.fuzz.seeds`` writes the corpora.

They are what well-behaved programs say, and what stands at a boundary.  Inputs that a
fuzzer found worth keeping lie beside them, under other names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from random import Random
from struct import pack

from rootstream.identity import formatCode
from rootstream.protocol import frames
from rootstream.protocol.constants import (
    MAX_FRAMES,
    MAX_PACKET,
    MIN_RECORD,
    VIDEO_HEADER,
)
from rootstream.protocol.events import (
    AudioFrame,
    Command,
    Control,
    InputEvent,
    VideoFrame,
)
from rootstream.protocol.frames import FrameType
from rootstream.protocol.handshake import InitPayload, RespPayload
from rootstream.protocol.pairing import HostPairing, ViewerPairing
from rootstream.protocol.video import chunk
from tests.fuzz.targets import BINDING, HOST, SECRET, VIEWER, join
from tests.wire import EPOCH, Wire

__all__ = ["CORPUS", "seeds"]

CORPUS = Path(__file__).resolve().parent / "corpus"

ZEROS = bytes(16)


def _framed() -> dict[str, bytes]:
    """
    Packets with one frame of each type.
    """
    video = VideoFrame(b"\0\0\0\1\x65" + bytes(90), 1_000, keyFrame=True)
    rest = ZEROS[:8]
    bodies: dict[str, tuple[FrameType, bytes]] = {
        "audio": (FrameType.AUDIO, frames.encodeAudio(AudioFrame(b"opus", 7))),
        "input": (
            FrameType.INPUT,
            frames.encodeNumbered(0, frames.encodeInput([InputEvent(1, 30, 1)])),
        ),
        "control": (
            FrameType.CONTROL,
            frames.encodeNumbered(0, frames.encodeControl(Control(Command.PAUSE))),
        ),
        "fps": (
            FrameType.CONTROL,
            frames.encodeNumbered(
                0, frames.encodeControl(Control(Command.SET_FPS, 240))
            ),
        ),
        "ping": (FrameType.PING, frames.encodePing(5)),
        "pong": (FrameType.PONG, frames.encodePong(999_990_000, 6)),
        "challenge": (FrameType.PATH_CHALLENGE, rest),
        "response": (FrameType.PATH_RESPONSE, rest),
        "drop": (FrameType.PATH_DROP, rest),
        "use": (FrameType.PATH_USE, frames.encodePathUse(1)),
        "confirm": (FrameType.CONFIRM, b""),
        "ack": (FrameType.ACK, frames.encodeAck(frames.Ack(9, 0, 0, 0b1011))),
        "close": (FrameType.CLOSE, frames.encodeClose(0, "bye")),
    }
    packets = {name: frames.packFrames([one])[0] for name, one in bodies.items()}
    packets["video"] = b"".join(chunk(0, video)[:1])
    packets["pairing"] = frames.encodePairing(b"\1" * 80)
    packets["padded"] = frames.packFrames([bodies["ping"], bodies["ack"]], 64)[0]
    packets["later"] = b"\xff\3\0abc\x0c"
    packets["cut"] = b"\x83\xff\xff"
    packets["full"] = bytes(MAX_FRAMES)
    # Without the last byte of the body, or with one too many.
    for name in ("audio", "input", "control", "ping", "pong", "challenge", "use"):
        packets[f"{name}-short"] = packets[name][:-1]
    for name in ("confirm", "ack", "ping", "pong"):
        packets[f"{name}-long"] = packets[name] + b"\0"
    fps = packets["fps"]
    packets["fps-high"] = fps[:-4] + pack("<I", 241)
    packets["no-command"] = fps[:-5] + b"\xff" + fps[-4:]
    packets["unknown"] = b"\x0f"
    packets["crowd"] = b"\x80\0\0" * 65
    packets["video-empty"] = packets["video"][: 1 + VIDEO_HEADER]
    packets["video-outside"] = packets["video"][:5] + b"\xff\xff" + packets["video"][7:]
    return packets


def _pictures() -> dict[str, bytes]:
    """
    Pictures of several chunks, in packets of their own.
    """
    large = VideoFrame(bytes(600), 2_000)
    chunks = {number: chunk(number, large, 200) for number in range(70)}
    return {
        "large": join(*chunks[1]),
        "backwards": join(*reversed(chunks[1])),
        "twice": join(*chunks[1], *chunks[1]),
        "mixed": join(
            *(
                part
                for pair in zip(chunks[3], chunks[1], chunks[2], strict=True)
                for part in pair
            )
        ),
        "partial": join(*(chunks[number][0] for number in range(64))),
        "contradicts": join(chunks[1][0], chunk(1, large, 300)[1], *chunks[2]),
        "far": join(*chunks[1], *chunk(0x80000001, large, 200), *chunks[2]),
    }


def seeds() -> Mapping[str, Mapping[str, bytes]]:
    """
    The inputs by target and name.
    """
    # Of another seed than the targets have: its RESP is for somebody else's INIT.
    wire = Wire(1)
    wire.connect()
    called, answered = wire.a.sent[0][2], wire.b.sent[0][2]
    header = called[:8]
    payload = InitPayload(EPOCH, ZEROS, 4711).encode()
    respPayload = RespPayload(9, 2, 2, MAX_PACKET, 0, 1, EPOCH + 1_000_000).encode()
    framed = _framed()
    good = ("video", "audio", "input", "control", "ping", "pong", "challenge", "ack")
    many = join(*(framed[name] for name in (*good, "use", "drop", "padded", "later")))
    code = formatCode(VIEWER.key, "host.example", 4000).encode()
    key = formatCode(HOST.key, None).encode()
    record = pack(">H", len(called)) + called
    # Both of one random source, in this order, as the target has it.
    chance = Random(1).randbytes
    viewer = ViewerPairing(SECRET, VIEWER.key, "laptop", HOST.key, BINDING, chance)
    host = HostPairing(SECRET, HOST.key, VIEWER.key.x25519, BINDING, chance)
    offer = viewer.message or b""
    answer = host.receive(offer) or b""
    viewer.receive(answer)
    proof = viewer.message or b""
    host.receive(proof)
    welcome = host.welcome(HOST.name)
    asked = [
        {"command": "control", "action": "fps", "value": 30, "peer": None},
        {"command": "control", "action": "keyframe", "peer": "aaaa-bbbb-cccc-dddd"},
        {"command": "control", "action": "bitrate", "value": 1e999},
        {"command": "drill", "seconds": 5, "peer": None},
        {"command": "weather", "text": "cut 5s"},
        {"command": "weather", "text": "5s: loss 5%; 6s: delay 100ms"},
        {"command": "nothing"},
    ]
    lines = [json.dumps(each).encode() + b"\n" for each in asked]
    said = [
        {"type": "input", "events": [[1, 30, 1], [1, 30, 0]]},
        {"type": "input", "events": []},
        {"type": "keyframe"},
        {"type": "shown", "fps": 30, "latency_ms": 9, "dropped": 0},
        {"type": "input", "events": [[1, 30, 1 << 31]]},
        {"type": "input", "events": [[True, 0, 0]]},
    ]
    texts = [json.dumps(each).encode() for each in said]
    frame = bytes.fromhex("818537fa213d7f9f4d5158")
    return {
        "init": {
            "empty": b"",
            "raw": b"\0" + called,
            "short": b"\0" + called[:-1],
            "mac1": b"\1" + called,
            "busy": b"\x41" + called,
            "open": b"\2" + header + payload,
            "open-busy": b"\x42" + header + payload,
            "version": b"\2" + header[:1] + b"\3\3" + header[3:] + payload,
            "index": b"\2" + header[:4] + bytes(4) + payload,
            "newest": b"\2" + header + b"\xff" * 40,
        },
        "resp": {
            "empty": b"",
            "raw": b"\0" + answered,
            "index": b"\1" + answered[8:],
            "mac1": b"\2" + answered[8:],
            "open": b"\3" + respPayload,
            "no-index": b"\3" + bytes(4) + respPayload[4:],
            "version": b"\3" + respPayload[:4] + b"\3\3" + respPayload[6:],
            "newest": b"\3" + b"\xff" * 32,
        },
        "retry": {
            "empty": b"",
            "index": b"\1" + bytes(48),
            "short": b"\1" + bytes(47),
            "zeros": b"\2",
            "cookie": b"\2" + bytes(range(80)),
        },
        "frames": {
            "empty": b"\0" + join(b""),
            **{name: b"\0" + join(plain) for name, plain in framed.items()},
            **{f"pictures-{name}": b"\4" + all_ for name, all_ in _pictures().items()},
            "many": b"\2" + many,
            "restricted": b"\1" + many,
            "pair": b"\1" + join(framed["pairing"], framed["audio"]),
        },
        "data": {
            "raw": b"\0" + join(b"\0" + wire.a.sent[-1][2], b"\4\x24", b"\0"),
            "header": b"\0" + join(b"\1" + bytes(40), b"\5" + bytes(9)),
            "forged": b"\0"
            + join(*(b"\2" + framed[name] for name in ("video", "input", "ping"))),
            "replayed": b"\0" + join(b"\3" + framed["input"], b"\x0b" + framed["ack"]),
            "roams": b"\0"
            + join(b"\x06" + framed["audio"], b"\x0e" + framed["challenge"]),
            "restricted": b"\1" + join(b"\2" + framed["pairing"], b"\2\x03"),
            "close": b"\0" + join(b"\2" + framed["close"]),
            "empty": b"\0" + join(b"\2"),
        },
        "tcp": {
            "whole": b"\0" + 2 * record,
            "pieces": b"\7" + 2 * record,
            "least": b"\1" + pack(">H", MIN_RECORD) + bytes(MIN_RECORD),
            "most": b"\xff" + pack(">H", MAX_PACKET) + bytes(MAX_PACKET),
            "below": b"\0" + pack(">H", MIN_RECORD - 1) + bytes(MIN_RECORD),
            "above": b"\0" + record + pack(">H", MAX_PACKET + 1),
        },
        "code": {
            "whole": code,
            "bare": key,
            "ipv4": key + b"@192.0.2.1",
            "ipv6": key + b"@[2001:db8::1%eth0]:9876",
            "last-digit": key[:-2] + b"B=@host",
            "port": key + b"@host:65536",
            "numeric": key + b"@0x7f.1",
            "long": key + b"@" + b"a" * 253,
            "weak": b"A" * 43 + b"=@host",
            "bytes": key + b"@\xff\x1b[2J\xe2\x80\xae",
        },
        "peers": {
            "empty": b"",
            "two": code + b" rights=view,input den\n" + key + b" # a note\n",
            "marked": b"\xef\xbb\xbf# none\n\n" + key + b" rights=none gone\n",
            "twice": key + b"\n" + key + b"\n",
            "rights": key + b" rights=all\n",
            "latin": key + b" caf\xe9\n",
            "hidden": key + b" a\xe2\x80\xa8" + code + b"\x0c" + code + b"\n",
        },
        "control": {
            "all": b"\0" + b"".join(lines),
            **{f"line-{n}": b"\5" + line for n, line in enumerate(lines)},
            "deep": b"\0" + b"[" * 4000 + b"\n",
            "number": b"\0" + b'{"command":"drill","seconds":' + b"9" * 500 + b"}\n",
            "long": b"\0" + b"x" * 4097,
            "bytes": b"\0\xff\xfe{\0}\0\n\n",
        },
        "websocket": {
            **{f"stream-{n}": b"\x08" + join(text) for n, text in enumerate(texts)},
            "events": b"\0" + join(texts[2]),
            "bytes": b"\x0b" + join(b"{}"),
            "deep": b"\x08" + join(b"[" * 5000),
            "hello": b"\x0c" + join(frame),
            "pieces": b"\x0c" + join(frame[:3], frame[3:]),
            "reserved": b"\x0c" + join(b"\xf1" + frame[1:]),
            "close": b"\x04" + join(b"\x88\x82\0\0\0\0\3\xf0"),
            "order": b"\x05" + b'{"action": "pause", "peer": null}',
            "request": b"\x06GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
        },
        "pairing": {
            "offer": b"\4" + join(offer, offer),
            "proof": b"\6" + join(proof, proof),
            "elsewhere": b"\2" + join(proof),
            "second": b"\6" + join(offer[:-1] + b"!"),
            "answer": b"\1" + join(answer),
            "welcome": b"\7" + join(welcome, welcome),
            "out-of-order": b"\0" + join(welcome),
            "neutral": b"\4" + join(b"\1\1" + bytes(31) + offer[33:]),
            "long-name": b"\7" + join(welcome[:1] + b"x" * 65),
            "empty": b"\0" + join(b""),
        },
    }


def main() -> None:
    """
    Write them.
    """
    for target, inputs in seeds().items():
        directory = CORPUS / target
        directory.mkdir(parents=True, exist_ok=True)
        for name, data in inputs.items():
            (directory / name).write_bytes(data)


if __name__ == "__main__":
    main()
