"""The data flow of one generation step: text → ids → embedding → blocks → logits → probabilities → token → text.

Each stage has its shape, first values and norm; each component its equation and its source code.
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

from core.activations.trace import Step, Trace, residual_stream, trace_step
from core.engine.activation import ACTIVATIONS
from core.engine.attention import causal_attention
from core.engine.config import ModelConfig
from core.progress import Progress
from core.sampling import draw
from core.sampling.distribution import Distribution
from core.tokenizers.tokenizer import Decoder, piece_text

VALUES = 8
"""Numbers of a stage that are in the answer."""
TEXT_TOKENS = 32
"""Tokens whose text is in the answer, the last ones."""
Axes = tuple[tuple[str, int], ...]
"""A shape: each axis with its name and size."""


@dataclass(frozen=True, slots=True)
class FlowStage:
    """One stage of a step: a tensor, or the text at either end."""

    name: str
    """`text`, `ids`, `embedding`, `block 0 attention`, `queries` …"""
    component: str
    """The name of the `ComponentSource` that computes it."""
    level: int
    """0 for a stage of the model, 1 for a part of the stage above it."""
    axes: Axes
    """The shape when the whole window goes through the model at once."""
    values: tuple[float, ...]
    """The first numbers at the last position; of logits and probabilities the largest ones; of ids the last ones."""
    labels: tuple[bytes, ...] = ()
    """The token of each value; empty where values belong to no tokens."""
    norm: float | None = None
    """Euclidean norm of the vector at the last position; of queries, keys and values, over all heads."""
    stream: float | None = None
    """Euclidean norm of the residual stream after this stage is added to it; None where nothing is added."""
    text: str = ""
    """The text at the start or the end of the step."""


@dataclass(frozen=True, slots=True)
class ComponentSource:
    """The code that computes a stage."""

    component: str
    equation: str
    where: str
    """Module and name of the class or function."""
    code: str
    """Its source code."""


@dataclass(frozen=True, slots=True)
class Flow:
    """All stages of a step, and the code of their components."""

    stages: tuple[FlowStage, ...]
    sources: tuple[ComponentSource, ...]
    """One for each component, in the order of the stages."""


@torch.inference_mode()
def flow(step: Step) -> Iterator[Progress | Flow]:
    """All stages of the step, in order."""
    trace = yield from trace_step(step)
    stages = [*_input_stages(step), *_model_stages(step, trace), *_output_stages(step, trace)]
    components = dict.fromkeys(stage.component for stage in stages)
    yield Flow(tuple(stages), tuple(_source(step, component) for component in components))


# Stages --------------------------------------------------------------------------------------------------------------


def _input_stages(step: Step) -> Iterator[FlowStage]:
    ids = step.ids[-VALUES:]
    text = step.model.tokenizer.text(step.ids[-TEXT_TOKENS:])
    yield FlowStage("text", "encode", 0, (("characters", len(step.model.tokenizer.text(step.ids))),), (), text=text)
    yield FlowStage("ids", "encode", 0, (("B", 1), ("T", len(step.ids))), ids, step.pieces[-VALUES:])


def _model_stages(step: Step, trace: Trace) -> Iterator[FlowStage]:
    config, length = step.model.transformer.config, len(step.ids)
    stream_norms = {each.name: each.state.norm().item() for each in residual_stream(step.model.transformer, trace)}
    states: Axes = (("B", 1), ("T", length), ("d", config.embed_dim))

    def stage(name: str, component: str, vector: Tensor, level: int = 0, axes: Axes = states, **more: Any) -> FlowStage:
        flat = vector.flatten().float()
        return FlowStage(name, component, level, axes, tuple(flat[:VALUES].tolist()), norm=flat.norm().item(), **more)

    embedded = trace.last_output("embed")
    yield stage("embedding", "embed", embedded, stream=embedded.norm().item())
    if config.positions == "learned":
        yield stage(
            "position", "position", trace.outputs["position"][-1], axes=states[1:], stream=stream_norms["embedding"]
        )  # fmt: skip
    for n in range(config.blocks):
        name, path = f"block {n} attention", f"blocks.{n}"
        yield stage(name, "attention", trace.last_output(f"{path}.attention"), stream=stream_norms[name])
        if config.pre_norm:
            yield stage("norm", "norm", trace.last_output(f"{path}.norm1"), 1)
        q, k, v = trace.inputs[f"{path}.attention.attend"]
        width = (config.heads + 2 * config.kv_heads) * config.head_dim
        qkv = trace.last_output(f"{path}.attention.qkv")
        yield stage("queries, keys, values", "qkv", qkv, 1, (*states[:2], ("(h+2k)·c", width)))
        last_component = "rotary" if config.positions == "rotary" else "qkv"
        for part, tensor, axis, component in (
            ("queries", q, "h", last_component),
            ("keys", k, "k" if config.group > 1 else "h", last_component),
            ("values", v, "k" if config.group > 1 else "h", "qkv"),
        ):
            axes = (("B", 1), (axis, tensor.shape[1]), ("T", length), ("c", config.head_dim))
            yield stage(part, component, tensor[0, :, -1], 1, axes)
        heads = (("B", 1), ("h", config.heads), ("T", length), ("c", config.head_dim))
        yield stage("heads", "attend", trace.outputs[f"{path}.attention.attend"][0, :, -1], 1, heads)
        yield stage("output projection", "out", trace.last_output(f"{path}.attention.out"), 1)
        if config.feed_forward:
            yield from _mlp_stages(config, trace, n, stage, states, stream_norms[f"block {n} mlp"])
    if config.norm != "none":
        yield stage("final norm", "norm", trace.last_output("norm"))
    if config.final_activation:
        yield stage("activation", "activation", trace.last_output("activation"))
    if config.logit_scale:
        yield stage("scale", "scale", trace.last_output("scale"))


def _mlp_stages(
    config: ModelConfig, trace: Trace, n: int, stage: Callable[..., FlowStage], states: Axes, stream_norm: float
) -> Iterator[FlowStage]:
    path = f"blocks.{n}.feed_forward"
    inner = (*states[:2], ("m", config.mlp_dim))
    up = (*states[:2], ("2m", 2 * config.mlp_dim)) if config.gated else inner
    yield stage(f"block {n} mlp", "mlp", trace.last_output(path), stream=stream_norm)
    if config.pre_norm:
        yield stage("norm", "norm", trace.last_output(f"blocks.{n}.norm2"), 1)
    yield stage("up", "up", trace.last_output(f"{path}.up"), 1, up)
    gate = "gated" if config.gated else "activation"
    yield stage("activation", gate, trace.last_output(f"{path}.activation"), 1, inner)
    yield stage("down", "down", trace.last_output(f"{path}.down"), 1)


def _output_stages(step: Step, trace: Trace) -> Iterator[FlowStage]:
    tokenizer, length = step.model.tokenizer, len(step.ids)
    distribution = Distribution(trace.logits)
    vocabulary = ("V", len(distribution.logits))
    ids = distribution.head(VALUES)
    labels = tuple(tokenizer.piece(id) for id in ids.tolist())
    logits, probabilities = distribution.logits[ids].tolist(), distribution.probabilities[ids].tolist()
    norm = distribution.logits.norm().item()
    yield FlowStage("logits", "unembed", 0, (("B", 1), ("T", length), vocabulary), tuple(logits), labels, norm)
    yield FlowStage("probabilities", "softmax", 0, (("B", 1), vocabulary), tuple(probabilities), labels)
    id = int(ids[0]) if step.target is None else step.target
    yield FlowStage("token", "draw", 0, (("B", 1), ("T", 1)), (id,), (tokenizer.piece(id),))
    yield FlowStage(
        "text", "decode", 0, (("characters", len(piece_text(tokenizer.piece(id)))),), (), text=tokenizer.text([id])
    )


# Sources -------------------------------------------------------------------------------------------------------------

NORMS = {  # layer norm: Ba et al. 2016, eq. 4; RMSNorm: Zhang and Sennrich 2019, eq. 4
    "none": "x",
    "layer": "LN(x) = (x - mean x) / √(var x + ε) ⊙ γ + β",
    "rms": "RMSNorm(x) = x / √(mean x² + ε) ⊙ γ",
}


def _source(step: Step, component: str) -> ComponentSource:
    equation, computed_by = _components(step.model.transformer.config)[component]
    if component == "encode":
        computed_by = type(step.model.tokenizer).encode
    elif isinstance(computed_by, str):
        computed_by = type(step.model.transformer.get_submodule(computed_by))
    return ComponentSource(component, equation, *_code(computed_by))


def _components(config: ModelConfig) -> dict[str, tuple[str, Any]]:
    """The equation of each component, and what computes it: a class, a function, or the path of a module."""
    act, attention, mlp = config.activation.partition("_")[0], "blocks.0.attention", "blocks.0.feed_forward"
    qkv, out, head = (" + b" if bias in config.biases else "" for bias in ("qkv", "out", "head"))
    b1, b2 = (" + b₁", " + b₂") if "mlp" in config.biases else ("", "")
    gated = f"{act}(W_g x) ⊙ W_u x"
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
        "mlp": (f"x ← x + W₂ ({gated}){b2}" if config.gated else f"x ← x + W₂ {act}(W₁ x{b1}){b2}", mlp),
        "up": ("W_g x, W_u x" if config.gated else f"W₁ x{b1}", f"{mlp}.up"),
        "gated": (f"{gated}; {ACTIVATIONS[config.activation].formula}", f"{mlp}.activation"),
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
def _code(computed_by: Any) -> tuple[str, str]:
    """The qualified name of a class or function, and its source; of a class of torch, its `forward` alone."""
    if computed_by.__module__.startswith("torch."):
        computed_by = computed_by.forward
    name = f"{computed_by.__module__}.{computed_by.__qualname__}"
    return name, textwrap.dedent(inspect.getsource(computed_by))
