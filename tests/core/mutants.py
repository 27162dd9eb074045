"""Damages files by a seed: bytes, numbers of a table, values of JSON."""

import json
import random
import struct
from copy import deepcopy
from typing import Any

NUMBERS = (0, 1, 2, 3, 7, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1)
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 0.0, 0.5, -1.5, 1e-30, 1e30, 10**6, 2**31, 2**63, 10**30, "", "x", "\ud800",
    "a" * 1000, "\x1b[31m\n", [], {}, [[]], {"": 0}, [1, 2, 3], ["a"] * 5, [None], {"a": {"b": []}},
)  # fmt: skip
"""Values that are put in place of others."""


def damaged_bytes(data: bytes, numbers: random.Random, reach: int) -> bytes:
    """`data` with one to three changes in its first `reach` bytes: a bit, a byte, a number, a piece cut or repeated."""
    changed = bytearray(data)
    for _ in range(numbers.randint(1, 3)):
        at = numbers.randrange(max(1, min(reach, len(changed) - 8)))
        kind = numbers.randrange(6)
        if kind == 0:
            changed[at] ^= 1 << numbers.randrange(8)
        elif kind == 1:
            changed[at] = numbers.randrange(256)
        elif kind == 2:
            struct.pack_into("<Q", changed, at, numbers.choice(NUMBERS))
        elif kind == 3:
            struct.pack_into("<I", changed, at, numbers.choice(NUMBERS) % 2**32)
        elif kind == 4:
            del changed[at : at + numbers.choice((1, 4, 8, 100))]
        else:
            changed[at:at] = changed[at : at + numbers.choice((1, 4, 8, 100))]
    if numbers.random() < 0.1:
        del changed[numbers.randrange(len(changed)) :]
    return bytes(changed)


def damaged_json(text: str, numbers: random.Random) -> bytes:
    """JSON with one to three values replaced, removed or added, or with damaged bytes."""
    if numbers.random() < 0.15:
        return damaged_bytes(text.encode("utf-8", "surrogatepass"), numbers, len(text))
    value = json.loads(text)
    for _ in range(numbers.randint(1, 3)):
        places = list(_places(value))
        if not places:
            break
        holder, key = numbers.choice(places)
        kind = numbers.randrange(8)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[numbers.choice((key + "x", "", "type", "a.b"))] = deepcopy(holder[key])
        elif kind == 1:
            holder.append(deepcopy(holder[key]))
        else:
            holder[key] = deepcopy(numbers.choice(VALUES))
    return json.dumps(value).encode("utf-8", "surrogatepass")


def _places(value: Any) -> Any:
    """Every list or object inside a value with each of its keys; of long ones a few."""
    if isinstance(value, dict | list):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        for key in keys[:12] + keys[-3:] if len(keys) > 15 else keys:
            yield value, key
            yield from _places(value[key])
