"""Builds files that no program writes: GGUF of chosen metadata, folders of chosen JSON."""

import json
import struct
from pathlib import Path

DEEP = "[" * 100_000
SMALL = {
    "model_type": "llama",
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def pair(key: str, type_number: int, payload: bytes) -> bytes:
    return text(key) + struct.pack("<I", type_number) + payload


ARCHITECTURE = pair("general.architecture", 8, text("llama"))


def gguf(*pairs: bytes, tensors: int = 0, count: int | None = None) -> bytes:
    """A file without tensors, or that says to have some."""
    head = struct.pack("<IQQ", 3, tensors, len(pairs) if count is None else count)
    return b"GGUF" + head + b"".join(pairs) + bytes(1000)


def array(type_number: int, count: int) -> bytes:
    return struct.pack("<IQ", type_number, count)


GGUF = {
    "alignment of 0": (gguf(ARCHITECTURE, pair("general.alignment", 4, struct.pack("<I", 0))), "general.alignment: 0"),
    "alignment of 3": (gguf(ARCHITECTURE, pair("general.alignment", 4, struct.pack("<I", 3))), "a power of 2"),
    "alignment of 2^63": (
        gguf(ARCHITECTURE, pair("general.alignment", 10, struct.pack("<Q", 2**63))),
        "general.alignment: 9223372036854775808",
    ),
    "arrays in arrays": (gguf(ARCHITECTURE, pair("x", 9, array(9, 1) * 100_000)), "corrupt"),
    "a long array": (gguf(ARCHITECTURE, pair("x", 9, array(8, 2**40))), "corrupt"),
    "a long array of numbers": (gguf(ARCHITECTURE, pair("x", 9, array(4, 2**61))), "corrupt"),
    "a long text": (gguf(pair("general.architecture", 8, struct.pack("<Q", 2**62))), "corrupt"),
    "a long key": (gguf(text("x" * 70_000) + struct.pack("<IB", 0, 0)), "corrupt"),
    "many pairs": (gguf(ARCHITECTURE, count=2**62), "the key '' occurs twice"),
    "a key twice": (gguf(ARCHITECTURE, pair("x", 0, b"\1"), pair("x", 0, b"\2")), "the key x occurs twice"),
    "another architecture": (gguf(pair("general.architecture", 8, text("no\x1b[31m"))), r"no\x1b[31m"),
    "an architecture that is a number": (gguf(pair("general.architecture", 4, bytes(4))), "general.architecture: 0"),
    "an adapter": (gguf(ARCHITECTURE, pair("general.type", 8, text("adapter"))), "general.type is 'adapter'"),
}
"""Files, and what the error says."""


def folder(path: Path, config: str = json.dumps(SMALL), header: str = "{}") -> None:
    """A model folder with this config.json, and this header of its weights."""
    path.mkdir()
    (path / "config.json").write_text(config)
    (path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header.encode())


def changed(**values: object) -> str:
    return json.dumps(SMALL | values)


ROPE = {"rope_type": "llama3", "factor": 0.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
FOLDERS = {
    "deep config": ({"config": DEEP}, "nested too deeply"),
    "deep objects": ({"config": '{"a":' * 100_000}, "nested too deeply"),
    "deep header": ({"header": '{"a":' + DEEP}, "corrupt"),
    "deep objects in the header": ({"header": '{"a":' * 100_000}, "corrupt"),
    "factor of 0": ({"config": changed(rope_parameters=ROPE)}, "factor: 0.0"),
    "a million blocks": (
        {"config": changed(num_hidden_layers=10**6, hidden_size=2, num_attention_heads=1)},
        "invalid value for num_hidden_layers: 1000000 (allowed: a whole number of at most 1,000)",
    ),
    "another family": ({"config": changed(model_type="no\x1b[31m")}, r"no\x1b[31m"),
    "a family that is a number": ({"config": changed(model_type=7)}, "model_type: 7"),
    "no object": ({"config": "[1]"}, "not an object"),
    "infinite": ({"config": '{"model_type": "llama", "num_attention_heads": 1e999}'}, "num_attention_heads: inf"),
    "100,000 digits": ({"config": '{"vocab_size": ' + "9" * 100_000 + "}"}, "cannot be read as JSON"),
}
"""Arguments of `folder`, and what the error says."""
