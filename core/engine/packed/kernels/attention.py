"""Attention of one token: rotary positions, the KV cache, and what a head reads from it."""

import math

import numpy as np
from numba import carray

from core.engine.packed.kernels.elementwise import cap, exp
from core.engine.packed.kernels.emit import compiled, floats, pointer


@compiled
def rotate(stage, model):
    """Rotary positions of the first `count` components of each of the `vectors` heads, in place."""
    width, position = stage.count, model.position
    angles = carray(pointer(stage.table), (2, stage.length, width), np.float32)
    cos, sin = angles[0, position], angles[1, position]
    for head in range(stage.vectors):
        x = floats(stage.target + head * stage.target_apart, width)
        for n in range(width // 2):
            a, b = x[n], x[n + width // 2]
            x[n] = a * cos[n] + b * sin[n]
            x[n + width // 2] = b * cos[n + width // 2] + a * sin[n + width // 2]


@compiled
def cache(stage, model):
    """Write the token's keys, and the values that follow them, to its position in the cache."""
    width, heads = model.head_dim, model.kv_heads
    for address, first in ((stage.keys, 0), (stage.values, heads)):
        past = carray(pointer(address), (heads, model.capacity, width), np.float32)
        for head in range(heads):
            numbers = floats(stage.source + 4 * (first + head) * width, width)
            for n in range(width):
                past[head, model.position, n] = numbers[n]


@compiled
def attend(head, stage, model):
    """softmax(q kᵀ · factor) v for one head, over the cached positions of its window."""
    width, count = model.head_dim, model.position + 1
    start = max(0, count - stage.window) if stage.window else 0
    kv_head = head // (model.heads // model.kv_heads)
    query = floats(stage.source + 4 * head * width, width)
    output = floats(stage.target + 4 * head * width, width)
    keys = carray(pointer(stage.keys), (model.kv_heads, model.capacity, width), np.float32)[kv_head]
    values = carray(pointer(stage.values), (model.kv_heads, model.capacity, width), np.float32)[kv_head]
    scores = floats(stage.scores + 4 * head * model.capacity, count)
    scale = np.float32(stage.factor)
    for t in range(start, count):
        dot = np.float32(0)
        for n in range(width):
            dot += query[n] * keys[t, n]
        scores[t] = dot * scale
    if stage.cap:
        cap(scores[start:], np.float32(stage.cap))
    if stage.alibi:
        added = floats(stage.alibi + 4 * head * model.capacity, count)
        for t in range(start, count):
            scores[t] += added[t] - added[count - 1]
    sink = np.float32(-3e38)
    if stage.sinks:
        sink = floats(stage.sinks, model.heads)[head]
    maximum = sink
    for t in range(start, count):
        maximum = max(maximum, scores[t])
    total = np.float32(0)
    for t in range(start, count):
        scores[t] = exp(scores[t] - maximum)
        total += scores[t]
    if stage.sinks:
        total += np.float32(math.exp(sink - maximum))
    output[:] = 0
    for t in range(start, count):
        weight = scores[t] / total
        for n in range(width):
            output[n] += weight * values[t, n]
