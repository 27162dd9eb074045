"""The data flow of one generation step: text → ids → embedding → blocks → logits → probabilities → token → text.

Each stage has its shape, first values and norm; each component its equation and its source code.
"""

import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from core.activations.trace import Step, Trace, residual_stream, trace_step
from core.engine.activation import ACTIVATIONS
from core.engine.attention import CausalAttention, causal_attention
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
    """The first numbers at the last position; of logits and probabilities the largest ones; of ids the last ones.

    Of attention scores and weights, those of head 0 with the last keys that the position sees.
    """
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
    transformer = step.model.transformer
    config, length = transformer.config, len(step.ids)
    stream_norms = {each.name: each.state.norm().item() for each in residual_stream(transformer, trace)}
    states: Axes = (("B", 1), ("T", length), ("d", config.embed_dim))
    yield from _embedding_stages(config, trace, states, stream_norms["embedding"])
    for n in range(config.blocks):
        yield from _attention_stages(step, trace, n, states, stream_norms.get(f"block {n} attention"))
        if config.feed_forward:
            after = stream_norms[f"block {n}" if config.parallel else f"block {n} mlp"]
            yield from _mlp_stages(config, trace, n, states, after)
    for name, component, there in (
        ("final norm", "norm", config.norm != "none" and config.final_norm),
        ("activation", "activation", config.final_activation),
        ("scale", "scale", config.divisor != 1),
        ("projection", "project_out", config.embed_size is not None),
    ):
        if there:
            vector = trace.last_output(component)
            yield _stage(name, component, vector, (*states[:2], (_width(config, vector), len(vector))))


def _stage(name: str, component: str, vector: Tensor, axes: Axes, level: int = 0, **more: Any) -> FlowStage:
    flat = vector.flatten().float()
    return FlowStage(name, component, level, axes, tuple(flat[:VALUES].tolist()), norm=flat.norm().item(), **more)


def _width(config: ModelConfig, vector: Tensor) -> str:
    """The name of the axis of a state: d, or e where the embedding has another width."""
    return "d" if len(vector) == config.embed_dim else "e"


def _embedding_stages(config: ModelConfig, trace: Trace, states: Axes, stream: float) -> Iterator[FlowStage]:
    """The embedding and what is done to it; the last of them is the residual stream, to which positions are added."""
    parts = [
        ("embedding", "embed", True),
        ("scale", "embed_scale", config.embed_scale != 1),
        ("projection", "project_in", config.embed_size is not None),
        ("embedding norm", "embed_norm", config.embed_norm),
    ]
    there = [(name, component) for name, component, present in parts if present]
    for number, (name, component) in enumerate(there, start=1):
        vector = trace.last_output(component)
        norm = vector.norm().item() if number == len(there) else None
        yield _stage(name, component, vector, (*states[:2], (_width(config, vector), len(vector))), stream=norm)
    if config.positions == "learned":
        yield _stage("position", "position", trace.outputs["position"][-1], states[1:], stream=stream)


def _attention_stages(step: Step, trace: Trace, n: int, states: Axes, stream: float | None) -> Iterator[FlowStage]:
    config = step.model.transformer.config
    path, norm = f"blocks.{n}.attention", f"blocks.{n}.norm1"
    yield _stage(f"block {n} attention", "attention", trace.last_output(path), states, stream=stream)
    if config.block_norms and config.layout != "post_norm":
        yield _stage("norm", "norm", trace.last_output(norm), states, 1)
    q, k, v = trace.inputs[f"{path}.attend"]
    width = (config.heads + 2 * config.kv_heads) * config.head_dim
    qkv = trace.last_output(f"{path}.qkv")
    yield _stage("queries, keys, values", "qkv", qkv, (*states[:2], ("(h+2k)·c", width)), 1)
    last_component = "rotary" if config.ropes[n] else "qkv"
    for part, tensor, axis, component in (
        ("queries", q, "h", last_component),
        ("keys", k, "k" if config.group > 1 else "h", last_component),
        ("values", v, "k" if config.group > 1 else "h", "qkv"),
    ):
        axes = (states[0], (axis, tensor.shape[1]), states[1], ("c", config.head_dim))
        yield _stage(part, component, tensor[0, :, -1], axes, 1)
    yield from _score_stages(step, f"{path}.attend", q, k, (states[0], ("h", config.heads), states[1], states[1]))
    heads = (states[0], ("h", config.heads), states[1], ("c", config.head_dim))
    yield _stage("heads", "attend", trace.outputs[f"{path}.attend"][0, :, -1], heads, 1)
    yield _stage("output projection", "out", trace.last_output(f"{path}.out"), states, 1)
    yield from _output_norm(config, trace, path, norm, states)


def _score_stages(step: Step, path: str, q: Tensor, k: Tensor, axes: Axes) -> Iterator[FlowStage]:
    """The scores of the last query with every key it sees, and their softmax; the values are those of head 0."""
    attend = step.model.transformer.get_submodule(path)
    assert isinstance(attend, CausalAttention)
    scores = attend.scores(q[:, :, -1:], k)
    weights = attend.normalized(scores)
    seen = scores[0, 0, 0].isfinite().nonzero().flatten().tolist()[-VALUES:]
    pieces = tuple(step.pieces[at] for at in seen)
    for name, component, numbers in (("scores", "scores", scores), ("weights", "weights", weights)):
        yield FlowStage(name, component, 1, axes, tuple(numbers[0, 0, 0, seen].tolist()), pieces)


def _mlp_stages(config: ModelConfig, trace: Trace, n: int, states: Axes, stream: float) -> Iterator[FlowStage]:
    path, norm = f"blocks.{n}.feed_forward", f"blocks.{n}.norm2"
    inner = (*states[:2], ("m", config.mlp_dim))
    up = (*states[:2], ("2m", 2 * config.mlp_dim)) if config.gated else inner
    component = "mixture" if config.has_experts(n) else "mlp"
    yield _stage(f"block {n} mlp", component, trace.last_output(path), states, stream=stream)
    if config.block_norms and config.layout != "post_norm":
        read = f"blocks.{n}.norm1" if config.layout == "parallel_one_norm" else norm
        yield _stage("norm", "norm", trace.last_output(read), states, 1)
    if config.has_experts(n):
        yield from _expert_stages(trace, path, states)
        return
    yield _stage("up", "up", trace.last_output(f"{path}.up"), up, 1)
    gate = "gated" if config.gated else "activation"
    yield _stage("activation", gate, trace.last_output(f"{path}.activation"), inner, 1)
    yield _stage("down", "down", trace.last_output(f"{path}.down"), states, 1)
    yield from _output_norm(config, trace, path, norm, states)


def _expert_stages(trace: Trace, path: str, states: Axes) -> Iterator[FlowStage]:
    """The scores of a block's experts, the chosen ones with their weights, and the output of a shared one."""
    scores = trace.outputs[f"{path}.router"][-1]
    weights, chosen = (each[-1] for each in trace.outputs[f"{path}.choice"])
    yield _stage("router", "router", scores, (*states[:2], ("E", len(scores))), 1)
    names = ", ".join(map(str, chosen.tolist()))
    yield _stage(f"weights of experts {names}", "choice", weights, (*states[:2], ("u", len(weights))), 1)
    if f"{path}.shared.expert" in trace.outputs:
        yield _stage("shared expert", "shared", trace.last_output(f"{path}.shared"), states, 1)


def _output_norm(config: ModelConfig, trace: Trace, path: str, stream: str, states: Axes) -> Iterator[FlowStage]:
    """The norm after a sublayer, where there is one: of its output, or of the residual stream after the sum."""
    if config.output_norms:
        yield _stage("output norm", "norm", trace.last_output(f"{path}.norm"), states, 1)
    if config.layout == "post_norm":
        yield _stage("norm", "norm", trace.last_output(stream), states, 1)


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
    act, attention = config.activation.partition("_")[0], "blocks.0.attention"
    dense, mixed = (
        next((n for n in range(config.blocks) if config.has_experts(n) is kind), 0) for kind in (False, True)
    )
    mlp, mixture = f"blocks.{dense}.feed_forward", f"blocks.{mixed}.feed_forward"
    qkv, out, head = (" + b" if bias in config.biases else "" for bias in ("qkv", "out", "head"))
    b1, b2 = (" + b₁", " + b₂") if "mlp" in config.biases else ("", "")
    gated = f"{act}(W_g x) ⊙ W_u x"
    z, cap = "x Eᵀ" if config.tied else f"x Wᵀ{head}", f"{config.logit_cap:g}"
    rotated = next((n for n, rope in enumerate(config.ropes) if rope), 0)
    heads = f"W_o concat(head₁ … head_h){out}"
    hidden = f"W₂ ({gated}){b2}" if config.gated else f"W₂ {act}(W₁ x{b1}){b2}"
    return {
        "encode": ("text → i₁ … i_T by byte-pair encoding", None),
        "embed": ("x = E[i]", "embed"),
        "embed_scale": (f"x ← {config.embed_scale:g} x", "embed_scale"),
        "project_in": ("x ← W_in x", "project_in"),
        "embed_norm": (f"x ← {NORMS[config.norm]}", "embed_norm"),
        "position": ("x ← x + P[t]", "position"),
        "attention": (_sum(config, heads, first=True), attention),
        "norm": (NORMS[config.norm], "norm" if config.final_norm else "blocks.0.norm1"),
        "qkv": (f"q, k, v = x W_qkvᵀ{qkv}", f"{attention}.qkv"),
        "rotary": (_rotation(config), f"blocks.{rotated}.attention.rotary"),
        "scores": (f"s = {_scores(config)} + mask: 0 for a key at t or before, -∞ after it", CausalAttention.scores),
        "weights": ("a = softmax(s) over the keys: the weights of each query sum to 1", CausalAttention.weights),
        "attend": _attend(config, f"{attention}.attend"),
        "out": (f"y = heads W_oᵀ{out}", f"{attention}.out"),
        "mlp": (_sum(config, hidden, first=False), mlp),
        "mixture": (_sum(config, "Σ wₑ expertₑ(x)", first=False), mixture),
        "router": ("zₑ = W_r x", f"{mixture}.router"),
        "choice": ("the u experts with the largest softmax(z)ₑ, which are their weights", f"{mixture}.choice"),
        "shared": ("σ(w x) expert(x)", f"{mixture}.shared"),
        "up": ("W_g x, W_u x" if config.gated else f"W₁ x{b1}", f"{mlp}.up"),
        "gated": (f"{gated}; {ACTIVATIONS[config.activation].formula}", f"{mlp}.activation"),
        "activation": (
            ACTIVATIONS[config.activation].formula,
            "activation" if config.final_activation else f"{mlp}.activation",
        ),
        "down": (f"W₂ y{b2}", f"{mlp}.down"),
        "scale": (f"x / {config.divisor:g}", "scale"),
        "project_out": ("x ← W_out x", "project_out"),
        "unembed": (f"z = {cap} tanh({z} / {cap})" if config.logit_cap else f"z = {z}", "unembed"),
        "softmax": ("pᵢ = exp zᵢ / Σⱼ exp zⱼ", Distribution),
        "draw": ("the first token whose summed probability passes u", draw.draw),
        "decode": ("i → bytes → UTF-8", Decoder),
    }


def _sum(config: ModelConfig, output: str, *, first: bool) -> str:
    """How the output of a sublayer gets into the residual stream; attention is the first one of a block."""
    norm = {"layer": "LN", "rms": "RMSNorm", "none": ""}[config.norm]
    if config.output_norms:
        output = f"{norm}({output})"
    if config.residual_scale != 1:
        output = f"{config.residual_scale:g} ({output})"
    if config.parallel:
        return f"a = {output}" if first else f"x ← x + a + {output}"
    return f"x ← {norm}(x + {output})" if config.layout == "post_norm" else f"x ← x + {output}"


def _rotation(config: ModelConfig) -> str:
    rope = next(filter(None, config.ropes), config.rope)
    if rope.size in (None, config.head_dim):
        return "pair i of position t turns by t · θ^(-2i/c)"
    return (
        f"pair i of position t turns by t · θ^(-2i/r) in the first r = {rope.size} of c = {config.head_dim} components"
    )


def _scores(config: ModelConfig) -> str:
    """The equation of the product of queries and keys."""
    scores = "q kᵀ / √c" if config.attention_scale is None else f"{config.attention_scale:.4g} q kᵀ"
    return f"{config.attention_cap:g} tanh({scores} / {config.attention_cap:g})" if config.attention_cap else scores


def _attend(config: ModelConfig, path: str) -> tuple[str, Any]:
    """The equation of attention, and what computes it."""
    scores = _scores(config)
    if config.positions == "alibi":
        return f"headᵢ = softmax({scores} - mᵢ (t - s) + mask) v for query t and key s", path
    if config.sinks:
        return f"head = softmax of {scores} + mask and of the head's sink, without the sink, times v", path
    return f"head = softmax({scores} + mask) v", path if config.attention_cap else causal_attention


@cache
def _code(computed_by: Any) -> tuple[str, str]:
    """The qualified name of a class or function, and its source; of a class of torch, its `forward` alone."""
    if computed_by.__module__.startswith("torch."):
        computed_by = computed_by.forward
    name = f"{computed_by.__module__}.{computed_by.__qualname__}"
    return name, textwrap.dedent(inspect.getsource(computed_by))
