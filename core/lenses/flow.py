"""Owns the way of one step through the model, from text through states and logits to text (S1, S6, S14).

Each stage has its shape, first values and length; each component its equation and its own source (S18).
"""

import inspect
import math
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from core.activations.trace import Step, Trace, stream, trace_step
from core.engine.activation import ACTIVATIONS
from core.engine.config import ModelConfig
from core.engine.model import causal_attention
from core.progress import Progress
from core.sampling import draw
from core.sampling.distribution import Distribution
from core.tokenizers.tokenizer import Decoder, piece_text

VALUES = 8
"""Numbers of a stage that are told."""
TEXT = 32
"""Tokens whose text is told."""
Axes = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class FlowStage:
    """One stage of a step."""

    name: str
    """`text`, `ids`, `embedding`, `block 0 attention`, `queries` …"""
    component: str
    """Which of the sources computes it."""
    level: int
    """0 on the way through the model, 1 for a part of the stage above it."""
    axes: Axes
    """The shape as the whole window goes through, each axis with its name."""
    values: tuple[float, ...]
    """The first numbers at the last position; of logits and probabilities the largest ones; ids are whole."""
    labels: tuple[bytes, ...] = ()
    """The tokens that the values belong to; empty where they belong to none."""
    norm: float | None = None
    """Euclidean length of the vector at the last position; of queries and the like, of all heads together."""
    stream: float | None = None
    """Length of the residual stream once this part was added to it; None where nothing is added."""
    text: str = ""
    """Text that goes in or comes out, as it is."""


@dataclass(frozen=True, slots=True)
class Source:
    """What computes a stage."""

    component: str
    equation: str
    where: str
    """The name of the class or function with its module."""
    code: str


@dataclass(frozen=True, slots=True)
class Flow:
    """A step from text to text."""

    stages: tuple[FlowStage, ...]
    sources: tuple[Source, ...]
    """One for each component, in the order of the stages."""


@torch.inference_mode()
def flow(step: Step) -> Iterator[Progress | Flow]:
    """Every stage of the step, in order."""
    trace = yield from trace_step(step)
    stages = [*_before(step), *_inside(step, trace), *_after(step, trace)]
    components = dict.fromkeys(stage.component for stage in stages)
    yield Flow(tuple(stages), tuple(_source(step, component) for component in components))


# Stages --------------------------------------------------------------------------------------------------------------


def _before(step: Step) -> Iterator[FlowStage]:
    ids = step.ids[-VALUES:]
    text = step.model.tokenizer.text(step.ids[-TEXT:])
    yield FlowStage("text", "encode", 0, (("characters", len(step.model.tokenizer.text(step.ids))),), (), text=text)
    yield FlowStage("ids", "encode", 0, (("B", 1), ("T", len(step.ids))), ids, step.pieces[-VALUES:])


def _inside(step: Step, trace: Trace) -> Iterator[FlowStage]:
    config, length = step.model.transformer.config, len(step.ids)
    after = {half.name: half.state.norm().item() for half in stream(step.model.transformer, trace)}
    states: Axes = (("B", 1), ("T", length), ("d", config.embed_dim))

    def stage(name: str, component: str, vector: Tensor, level: int = 0, axes: Axes = states, **more: Any) -> FlowStage:
        flat = vector.flatten().float()
        return FlowStage(name, component, level, axes, tuple(flat[:VALUES].tolist()), norm=flat.norm().item(), **more)

    embedded = trace.last("embed")
    yield stage("embedding", "embed", embedded, stream=embedded.norm().item())
    if config.positions == "learned":
        yield stage(
            "position", "position", trace.gave["position"][-1], axes=states[1:], stream=after["embedding"]
        )  # fmt: skip
    for n in range(config.blocks):
        name, path = f"block {n} attention", f"blocks.{n}"
        yield stage(name, "attention", trace.last(f"{path}.attention"), stream=after[name])
        if config.pre_norm:
            yield stage("norm", "norm", trace.last(f"{path}.norm1"), 1)
        q, k, v = trace.took[f"{path}.attention.attend"]
        wide = sum((config.heads, config.kv_heads, config.kv_heads)) * config.head_dim
        qkv = trace.last(f"{path}.attention.qkv")
        yield stage("queries, keys, values", "qkv", qkv, 1, (*states[:2], ("(h+2k)·c", wide)))
        turns = "rotary" if config.positions == "rotary" else "qkv"
        for part, tensor, axis, component in (
            ("queries", q, "h", turns),
            ("keys", k, "k" if config.group > 1 else "h", turns),
            ("values", v, "k" if config.group > 1 else "h", "qkv"),
        ):
            axes = (("B", 1), (axis, tensor.shape[1]), ("T", length), ("c", config.head_dim))
            yield stage(part, component, tensor[0, :, -1], 1, axes)
        heads = (("B", 1), ("h", config.heads), ("T", length), ("c", config.head_dim))
        yield stage("heads", "attend", trace.gave[f"{path}.attention.attend"][0, :, -1], 1, heads)
        yield stage("output projection", "out", trace.last(f"{path}.attention.out"), 1)
        if config.feed_forward:
            yield from _mlp(config, trace, n, stage, states, after)
    if config.norm != "none":
        yield stage("final norm", "norm", trace.last("norm"))
    if config.final_activation:
        yield stage("activation", "activation", trace.last("activation"))
    if config.logit_scale:
        yield stage("scale", "scale", trace.last("scale"))


def _mlp(
    config: ModelConfig, trace: Trace, n: int, stage: Callable[..., FlowStage], states: Axes, after: dict[str, float]
) -> Iterator[FlowStage]:
    name, path = f"block {n} mlp", f"blocks.{n}.feed_forward"
    inner = (*states[:2], ("m", config.mlp_dim))
    up = (*states[:2], ("2m", 2 * config.mlp_dim)) if config.gated else inner
    yield stage(name, "mlp", trace.last(path), stream=after[name])
    if config.pre_norm:
        yield stage("norm", "norm", trace.last(f"blocks.{n}.norm2"), 1)
    yield stage("up", "up", trace.last(f"{path}.up"), 1, up)
    gate = "gated" if config.gated else "activation"
    yield stage("activation", gate, trace.last(f"{path}.activation"), 1, inner)
    yield stage("down", "down", trace.last(f"{path}.down"), 1)


def _after(step: Step, trace: Trace) -> Iterator[FlowStage]:
    words, length = step.model.tokenizer, len(step.ids)
    distribution = Distribution(trace.logits)
    vocabulary = ("V", len(distribution.logits))
    ids = distribution.head(VALUES)
    labels = tuple(words.piece(id) for id in ids.tolist())
    logits, shares = distribution.logits[ids].tolist(), distribution.probabilities[ids].tolist()
    norm = distribution.logits.norm().item()
    yield FlowStage("logits", "unembed", 0, (("B", 1), ("T", length), vocabulary), tuple(logits), labels, norm)
    yield FlowStage("probabilities", "softmax", 0, (("B", 1), vocabulary), tuple(shares), labels)
    id = int(ids[0]) if step.target is None else step.target
    yield FlowStage("token", "draw", 0, (("B", 1), ("T", 1)), (id,), (words.piece(id),))
    yield FlowStage("text", "decode", 0, (("characters", len(piece_text(words.piece(id)))),), (), text=words.text([id]))


# Sources -------------------------------------------------------------------------------------------------------------

NORMS = {
    "none": "x",
    "layer": "LN(x) = (x - mean x) / √(var x + ε) ⊙ γ + β",
    "rms": "RMSNorm(x) = x / √(mean x² + ε) ⊙ γ",
}


def _source(step: Step, component: str) -> Source:
    equation, thing = _known(step.model.transformer.config)[component]
    if component == "encode":
        thing = type(step.model.tokenizer).encode
    elif isinstance(thing, str):
        thing = type(step.model.transformer.get_submodule(thing))
    return Source(component, equation, *_code(thing))


def _known(config: ModelConfig) -> dict[str, tuple[str, Any]]:
    """The equation of each component, and the class or function, or the path of the module, that computes it."""
    act, attention, mlp = config.activation.partition("_")[0], "blocks.0.attention", "blocks.0.feed_forward"
    qkv, out, one, head = (" + b" if kind in config.biases else "" for kind in ("qkv", "out", "mlp", "head"))
    b1, b2 = (" + b₁", " + b₂") if one else ("", "")
    mixed = f"{act}(W_g x) ⊙ W_u x"
    return {
        "encode": ("text → i₁ … i_T by byte-pair encoding", None),
        "embed": ("x = E[i]", "embed"),
        "position": ("x ← x + P[t]", "position"),
        "attention": (f"x ← x + W_o concat(head₁ … head_h){out}", attention),
        "norm": (NORMS[config.norm], "norm"),
        "qkv": (f"q, k, v = x W_qkvᵀ{qkv}", f"{attention}.qkv"),
        "rotary": ("pair i of position t turns by t · θ^(-2i/c)", f"{attention}.rotary"),
        "attend": ("head = softmax(q kᵀ / √c + mask) v", causal_attention),
        "out": (f"y = heads W_oᵀ{out}", f"{attention}.out"),
        "mlp": (f"x ← x + W₂ ({mixed}){b2}" if config.gated else f"x ← x + W₂ {act}(W₁ x{b1}){b2}", mlp),
        "up": ("W_g x, W_u x" if config.gated else f"W₁ x{b1}", f"{mlp}.up"),
        "gated": (f"{mixed}; {ACTIVATIONS[config.activation].formula}", f"{mlp}.activation"),
        "activation": (
            ACTIVATIONS[config.activation].formula,
            "activation" if config.final_activation else f"{mlp}.activation",
        ),
        "down": (f"W₂ y{b2}", f"{mlp}.down"),
        "scale": (f"x / √d = x / {math.sqrt(config.embed_dim):g}", "scale"),
        "unembed": ("z = x Eᵀ" if config.tied else f"z = x Wᵀ{head}", "unembed"),
        "softmax": ("pᵢ = exp zᵢ / Σⱼ exp zⱼ", Distribution),
        "draw": ("the first token whose summed probability passes u", draw.draw),
        "decode": ("i → bytes → UTF-8", Decoder),
    }


@cache
def _code(thing: Any) -> tuple[str, str]:
    """Where a class or function is and its source; of a class of torch's only `forward`, which is what computes."""
    if thing.__module__.startswith("torch."):
        thing = thing.forward
    return f"{thing.__module__}.{thing.__qualname__}", textwrap.dedent(inspect.getsource(thing))
