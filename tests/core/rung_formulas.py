"""The formulas of the six rungs in plain operations on float64 weights, one function per rung."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from core.engine.config import ModelConfig


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def relu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.zeros_like(x))


def layer_norm(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def attention(x: Tensor, w: dict[str, Tensor], name: str, heads: int) -> Tensor:
    """One row, one head, one query at a time; a query sees the keys up to its own position."""
    d = x.shape[-1]
    q, k, v = linear(x, w, f"{name}.qkv").split(d, dim=-1)
    out = torch.zeros_like(x)
    for row in range(x.shape[0]):
        for head in range(heads):
            part = slice(head * d // heads, (head + 1) * d // heads)
            for at in range(x.shape[1]):
                seen = k[row, : at + 1, part]
                weights = torch.softmax(seen @ q[row, at, part] / math.sqrt(d // heads), dim=0)
                out[row, at, part] = weights @ v[row, : at + 1, part]
    return linear(out, w, f"{name}.out")


def model1(w: dict[str, Tensor], x: Tensor, config: ModelConfig, act: Callable[[Tensor], Tensor]) -> Tensor:
    return linear(act(w["embed.weight"][x]), w, "unembed")


def embedded(w: dict[str, Tensor], x: Tensor) -> Tensor:
    return w["embed.weight"][x] + w["position.weight"][: x.shape[1]]


def model2(w: dict[str, Tensor], x: Tensor, config: ModelConfig, act: Callable[[Tensor], Tensor]) -> Tensor:
    stream = act(layer_norm(embedded(w, x), w, "norm"))
    return stream @ w["embed.weight"].T / math.sqrt(config.embed_dim)


def model3(w: dict[str, Tensor], x: Tensor, config: ModelConfig, act: Callable[[Tensor], Tensor]) -> Tensor:
    stream = embedded(w, x)
    stream = stream + attention(stream, w, "blocks.0.attention", heads=1)
    return act(layer_norm(stream, w, "norm")) @ w["embed.weight"].T / math.sqrt(config.embed_dim)


def model4(w: dict[str, Tensor], x: Tensor, config: ModelConfig, act: Callable[[Tensor], Tensor]) -> Tensor:
    stream = embedded(w, x)
    for n in range(config.blocks):
        stream = stream + attention(
            layer_norm(stream, w, f"blocks.{n}.norm1"), w, f"blocks.{n}.attention", config.heads
        )
        middle = act(linear(layer_norm(stream, w, f"blocks.{n}.norm2"), w, f"blocks.{n}.feed_forward.up"))
        stream = stream + linear(middle, w, f"blocks.{n}.feed_forward.down")
    return layer_norm(stream, w, "norm") @ w["embed.weight"].T


def rms_norm(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-5) * w[f"{name}.weight"]


def rotated(x: Tensor, position: int) -> Tensor:
    """Pair (i, i + c/2) of a head as a complex number, times e^(i · position · 10000^(-2i/c))."""
    half = x.shape[-1] // 2
    angles = torch.tensor([position * 10_000 ** (-i / half) for i in range(half)], dtype=torch.float64)
    pairs = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat((pairs.real, pairs.imag), dim=-1)


def grouped_attention(x: Tensor, w: dict[str, Tensor], name: str, config: ModelConfig) -> Tensor:
    """One row, one query head, one query at a time; query head h reads the keys of head h // group."""
    c, width = config.head_dim, config.heads * config.head_dim
    q, k, v = (x @ w[f"{name}.qkv.weight"].T).split((width, config.kv_heads * c, config.kv_heads * c), dim=-1)
    out = torch.zeros_like(q)
    for row in range(x.shape[0]):
        for head in range(config.heads):
            part, shared = slice(head * c, (head + 1) * c), head // config.group
            keys = k[row, :, shared * c : (shared + 1) * c]
            values = v[row, :, shared * c : (shared + 1) * c]
            for at in range(x.shape[1]):
                seen = torch.stack([rotated(keys[j], j) for j in range(at + 1)])
                weights = torch.softmax(seen @ rotated(q[row, at, part], at) / math.sqrt(c), dim=0)
                out[row, at, part] = weights @ values[: at + 1]
    return out @ w[f"{name}.out.weight"].T


def model6(w: dict[str, Tensor], x: Tensor, config: ModelConfig, act: Callable[[Tensor], Tensor]) -> Tensor:
    stream = w["embed.weight"][x]
    for n in range(config.blocks):
        at = f"blocks.{n}"
        stream = stream + grouped_attention(rms_norm(stream, w, f"{at}.norm1"), w, f"{at}.attention", config)
        both = rms_norm(stream, w, f"{at}.norm2") @ w[f"{at}.feed_forward.up.weight"].T
        gate, value = both[..., : config.mlp_dim], both[..., config.mlp_dim :]
        stream = stream + (act(gate) * value) @ w[f"{at}.feed_forward.down.weight"].T
    return rms_norm(stream, w, "norm") @ w["embed.weight"].T


REFERENCE = {
    "model1": model1,
    "model2": model2,
    "model3": model3,
    "model4": model4,
    "model5": model4,
    "model6": model6,
}


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))
