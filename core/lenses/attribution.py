"""Direct logit attribution: what embedding, blocks, heads and neurons wrote towards one token and against another.

Each answer is one level of the model: its parts, which sum to what the level contributes. `part` says which level:
empty is the model, `3` is block 3, `3.attention` its heads, `3.attention.2` the tokens that head 2 reads, `3.mlp` the
neurons, and where a block has experts `3.mlp` these, `3.mlp.5` the neurons of expert 5, `3.mlp.shared` those of the
shared one. `heads` are the heads of all blocks.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.activations.trace import Step, Trace, trace_step
from core.causal.attribution import Directions, dot
from core.causal.question import CausalQuestion, Measured
from core.causal.table import Table
from core.engine.experts import MixtureOfExperts
from core.errors import UserError
from core.language import N_, _
from core.progress import Progress
from core.tokenizers.tokenizer import piece_text

SMALLEST = 5e-5
"""A difference between a whole and the sum of its parts that is listed as a part of its own."""
OTHER = "patches and rounding"


@dataclass(frozen=True, slots=True)
class Part:
    """What one part contributes to the measure."""

    name: str
    """Such as `block 3`, `head 2`, `neuron 711`; of a token its position."""
    value: float
    """Above zero towards the target, below zero against it; in nats."""
    path: str = ""
    """The level that this part is, for `part`; empty where it cannot be divided."""
    piece: bytes | None = None
    """The token, where the part is one."""
    merged: int = 0
    """How many other parts it is the sum of; 0 where it is one part."""
    inner: "tuple[Part, ...]" = ()
    """Of a block: its attention, its MLP and its norms' biases."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """The parts of one level."""

    asked: Measured
    """The question, and the measure of the model's own logits."""
    level: str
    """`model`, `block 3`, `block 3 attention`, `block 3 head 2` …"""
    path: str
    """The level as it was asked for."""
    value: float
    """What the level contributes: of the model, the measure itself."""
    parts: tuple[Part, ...]
    """In the order of the model; of neurons the strongest first, then the rest as one part."""
    total: float
    """The sum of the parts."""


@torch.inference_mode()
def attribution(
    step: Step, question: CausalQuestion = CausalQuestion(), part: str = "", count: int = 30
) -> Iterator[Progress | Attribution]:
    """The parts of a level, at most `count` neurons one by one.

    Raises `UserError` for a part that the model does not have, and for a model whose logits are no sum of parts.
    """
    trace = yield from trace_step(step)
    asked = question.measured(trace.logits, step.model.tokenizer.piece)
    levels = _Levels(step, trace, asked, count)
    yield (yield from levels.every_head()) if part == "heads" else levels.at(part)


def table(answer: Attribution) -> Table:
    """One row for each part, and for each part of a block."""
    rows = []
    for part in answer.parts:
        rows.append((answer.level, part.name, None if part.piece is None else piece_text(part.piece), part.value))
        rows += [(part.name, inner.name, None, inner.value) for inner in part.inner]
    return Table(("of", "part", "token", "value"), tuple(rows))


class _Levels:
    """The levels of a model at one traced position."""

    def __init__(self, step: Step, trace: Trace, asked: Measured, count: int) -> None:
        self._step, self._trace, self._asked, self._count = step, trace, asked, max(1, count)
        self._transformer = step.model.transformer
        self._config = step.model.transformer.config
        self._directions = Directions(step.model, trace, asked.target)

    def at(self, path: str) -> Attribution:
        """The level that a path names. Raises `UserError` where there is none."""
        names = path.split(".") if path else []
        if not names:
            return self._model()
        block = self._number(path, N_("block"), names[0], self._config.blocks)
        match names[1:]:
            case []:
                return self._level(f"block {block}", path, self._block(block).value, self._block(block).inner)
            case ["attention"]:
                return self._attention(block, path)
            case ["attention", head]:
                return self._head(block, self._number(path, N_("head"), head, self._config.heads), path)
            case ["mlp"] if self._config.feed_forward:
                return self._mlp(block, path)
            case ["mlp", expert] if self._config.has_experts(block):
                return self._expert(block, expert, path)
        raise UserError(
            _("there is no part {path!r} to divide; choose one such as 0, 0.attention, 0.attention.0, 0.mlp or heads"),
            path=path,
        )

    def _number(self, path: str, what: str, text: str, count: int) -> int:
        number = int(text) if text.isdecimal() and len(text) < 6 else count
        if number >= count:
            raise UserError(
                _("there is no {what} {text!r} in the part {path!r}; {name} has {count} of them, counted from 0"),
                what=_(what),
                text=text,
                path=path,
                name=self._step.model.info.name,
                count=count,
            )
        return number

    def _level(self, name: str, path: str, value: float, parts: tuple[Part, ...]) -> Attribution:
        """A level; what its parts leave is a part of its own."""
        left = value - sum(part.value for part in parts)
        if abs(left) > SMALLEST:
            parts = (*parts, Part(OTHER, left))
        return Attribution(self._asked, name, path, value, parts, sum(part.value for part in parts))

    # The model and its blocks ----------------------------------------------------------------------------------------

    def _model(self) -> Attribution:
        directions, trace = self._directions, self._trace
        parts = [Part("token embedding", directions.of_stream("embed_norm", directions.embedding))]
        if self._config.positions == "learned":
            parts.append(Part("position embedding", directions.of_stream("position", directions.embedding)))
        parts += [self._block(n) for n in range(self._config.blocks)]
        if directions.final_norm_bias:
            parts.append(Part("final norm bias", directions.final_norm_bias))
        if directions.unembedding_bias:
            parts.append(Part("unembedding bias", directions.unembedding_bias))
        target = self._asked.target
        uncapped = trace.last_output("unembed").cpu().double()
        capped = trace.logits.cpu().double()
        if self._config.logit_cap:
            parts.append(Part("soft cap", (_logit(capped, target) - _logit(uncapped, target)).item()))
        if target.against is None and target.scale == "logprob":
            parts.append(Part("minus log Σ exp of all logits", -capped.logsumexp(-1).item()))
        return self._level("model", "", self._asked.value, tuple(parts))

    def _block(self, n: int) -> Part:
        inner = [self._sublayer(n, "attention", "attention")]
        if self._config.feed_forward:
            inner.append(self._sublayer(n, "feed_forward", "mlp"))
        if bias := self._directions.stream_norm_biases.get(n):
            inner.append(Part("norm biases", bias))
        return Part(f"block {n}", sum(part.value for part in inner), str(n), inner=tuple(inner))

    def _sublayer(self, n: int, module: str, name: str) -> Part:
        direction = self._directions.sublayers[n, module]
        return Part(name, self._directions.of_stream(f"blocks.{n}.{module}", direction), f"{n}.{name}")

    def every_head(self) -> Generator[Progress, None, Attribution]:
        """The heads of all blocks, and as one part whatever is none."""
        parts: list[Part] = []
        for n in range(self._config.blocks):
            yield Progress(n, self._config.blocks)
            heads, direction, _unused = self._heads(n)
            values = (heads * direction).sum(-1).tolist()
            parts += [Part(f"head {n}.{h}", value, f"{n}.attention.{h}") for h, value in enumerate(values)]
        rest = self._asked.value - sum(part.value for part in parts)
        parts.append(Part("all that is no head", rest, merged=self._config.blocks))
        return self._level("all heads", "heads", self._asked.value, tuple(parts))

    # Attention -------------------------------------------------------------------------------------------------------

    def _heads(self, n: int) -> tuple[Tensor, Tensor, float]:
        """What the heads of a block gave and its direction, [h, c] each, and what the biases contribute."""
        name = f"blocks.{n}.attention"
        direction, norm_bias = self._directions.before_output(name, self._directions.sublayers[n, "attention"])
        out = self._directions.through(f"{name}.out", direction)
        shape = self._config.heads, self._config.head_dim
        heads = self._trace.inputs[f"{name}.out"][0][0, -1].cpu().double().view(shape)
        return heads, out.direction.view(shape), out.bias + norm_bias

    def _attention(self, n: int, path: str) -> Attribution:
        heads, direction, bias = self._heads(n)
        values = (heads * direction).sum(-1).tolist()
        parts = [Part(f"head {h}", value, f"{path}.{h}") for h, value in enumerate(values)]
        if bias:
            parts.append(Part("bias", bias))
        value = self._sublayer(n, "attention", "attention").value
        return self._level(f"block {n} attention", path, value, tuple(parts))

    def _head(self, n: int, head: int, path: str) -> Attribution:
        """The tokens that a head reads: attention weight times value, towards the measure."""
        heads, direction, _unused = self._heads(n)
        name = f"blocks.{n}.attention.attend"
        q, k, v = self._trace.inputs[name]
        attend: Any = self._transformer.get_submodule(name)
        weights = attend.weights(q[:, :, -1:], k)[0, head, 0].cpu().double()  # [T]
        values = v[0, head // self._config.group].cpu().double()  # [T, c]
        each = (weights * (values @ direction[head])).tolist()
        pieces = self._step.pieces[-len(each) :]
        first = len(self._step.ids) - len(each)
        parts = tuple(
            Part(f"{first + at}", value, piece=piece)
            for at, (piece, value) in enumerate(zip(pieces, each, strict=True))
        )
        return self._level(f"block {n} head {head}", path, dot(heads[head], direction[head]), parts)

    # MLP -------------------------------------------------------------------------------------------------------------

    def _mlp(self, n: int, path: str) -> Attribution:
        whole = self._sublayer(n, "feed_forward", "mlp").value
        if isinstance(self._transformer.blocks[n].feed_forward, MixtureOfExperts):
            return self._level(f"block {n} mlp", path, whole, tuple(self._experts(n, path)))
        direction = self._directions.sublayers[n, "feed_forward"]
        return self._level(f"block {n} mlp", path, whole, self._neurons(f"blocks.{n}.feed_forward", direction))

    def _experts(self, n: int, path: str) -> Iterator[Part]:
        """The chosen experts in the order of their weights, then the shared one."""
        direction = self._directions.sublayers[n, "feed_forward"]
        name = f"blocks.{n}.feed_forward"
        for expert, weight in self._chosen(n).items():
            output = self._trace.outputs[f"{name}.experts.{expert}"].flatten(0, -2)[-1]
            yield Part(f"expert {expert}", dot(weight * output.cpu().double(), direction), f"{path}.{expert}")
        if isinstance(shared := self._trace.outputs[f"{name}.shared"], Tensor):
            yield Part("shared expert", dot(shared.flatten(0, -2)[-1], direction), f"{path}.shared")

    def _chosen(self, n: int) -> dict[int, float]:
        """The weights of the chosen experts at the last position."""
        weights, chosen = self._trace.outputs[f"blocks.{n}.feed_forward.choice"]
        return dict(zip(chosen[-1].tolist(), weights[-1].tolist(), strict=True))

    def _expert(self, n: int, expert: str, path: str) -> Attribution:
        direction, name = self._directions.sublayers[n, "feed_forward"], f"blocks.{n}.feed_forward"
        whole = {part.path: part.value for part in self._experts(n, f"{n}.mlp")}
        if path not in whole:
            raise UserError(
                _("expert {expert!r} of block {n} was not chosen at this position; choose one of {choices}"),
                expert=expert,
                n=n,
                choices=", ".join(known.rpartition(".")[2] for known in whole),
            )
        if expert == "shared":
            weight = self._trace.outputs[f"{name}.shared.router"].sigmoid().flatten()[-1].item()
            parts = self._neurons(f"{name}.shared.expert", direction * weight)
        else:
            parts = self._neurons(f"{name}.experts.{expert}", direction * self._chosen(n)[int(expert)])
        return self._level(f"block {n} {'shared expert' if expert == 'shared' else f'expert {expert}'}", path,
                           whole[path], parts)  # fmt: skip

    def _neurons(self, name: str, direction: Tensor) -> tuple[Part, ...]:
        """The strongest neurons of an MLP, the sum of the others, and the biases."""
        direction, norm_bias = self._directions.before_output(name, direction)
        down = self._directions.through(f"{name}.down", direction)
        states = self._trace.inputs[f"{name}.down"][0].flatten(0, -2)[-1].cpu().double()
        values = states * down.direction  # [m]
        strongest = values.abs().topk(min(self._count, len(values))).indices.tolist()
        parts = [Part(f"neuron {neuron}", values[neuron].item()) for neuron in strongest]
        if others := len(values) - len(strongest):
            left = values.sum().item() - sum(part.value for part in parts)
            parts.append(Part(f"{others:,} other neurons", left, merged=others))
        if bias := down.bias + norm_bias:
            parts.append(Part("bias", bias))
        return tuple(parts)


def _logit(logits: Tensor, target: Any) -> Tensor:
    """The target's logit, less that of the token it is compared with."""
    return logits[target.id] - (0.0 if target.against is None else logits[target.against])
