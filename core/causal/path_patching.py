"""Path patching: one receiver reads what a sender writes in the clean run, all others what it writes in the corrupt.

Wang et al. 2022, "Interpretability in the Wild", §3.1; Goldowsky-Dill et al. 2023, "Localizing Model Behavior with Path
Patching". The receiver reads the corrupt residual stream plus the sender's clean minus its corrupt output; what follows
the receiver is computed again. The direct path goes through the residual stream and the receiver's norm alone.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from core.causal.prompt_pair import PromptPair, SharedPast
from core.engine.hooks import ForwardHooks
from core.errors import UserError
from core.language import _

SenderPart = Literal["embedding", "head", "attention", "mlp"]
ReceiverPart = Literal["q", "k", "v", "mlp", "final"]
RECEIVERS: tuple[ReceiverPart, ...] = get_args(ReceiverPart)


@dataclass(frozen=True, slots=True)
class Sender:
    """What writes to the residual stream: the embedding, a head, or the attention or MLP of a block."""

    part: SenderPart
    layer: int = 0
    head: int = 0


@dataclass(frozen=True, slots=True)
class Receiver:
    """What reads the residual stream: the queries, keys or values of a head, an MLP, or the final norm.

    Where query heads share keys and values, `k` and `v` are those of all heads of the group.
    """

    part: ReceiverPart
    layer: int = 0
    head: int = 0

    @property
    def label(self) -> str:
        """In one short phrase: `q of head 3.5`, `MLP 4`, `the output`."""
        if self.part == "final":
            return _("the output")
        if self.part == "mlp":
            return f"MLP {self.layer}"
        return _("{part} of head {layer}.{head}").format(part=self.part, layer=self.layer, head=self.head)


def check(pair: PromptPair, receiver: Receiver) -> None:
    """Raise `UserError` for a receiver that the model lacks, and where blocks do more than add to the stream."""
    config = pair.transformer.config
    if config.layout == "post_norm":
        raise UserError(
            _("this model normalizes the residual stream after each sum, so no path is direct; use activation patching")
        )
    if receiver.part == "mlp" and not config.feed_forward:
        raise UserError(_("this model has no feed-forward layers; choose q, k, v or final as the receiver"))
    if receiver.part != "final" and not 0 <= receiver.layer < config.blocks:
        raise UserError(
            _("the receiver cannot be in layer {layer}; choose a layer from 0 to {last}"),
            layer=receiver.layer,
            last=config.blocks - 1,
        )
    if receiver.part in ("q", "k", "v") and not 0 <= receiver.head < config.heads:
        raise UserError(
            _("the receiver cannot be head {head}; choose a head from 0 to {last}"),
            head=receiver.head,
            last=config.heads - 1,
        )


def senders(pair: PromptPair, receiver: Receiver) -> list[Sender]:
    """All that writes to the residual stream before the receiver reads it: the embedding, heads and MLPs."""
    config = pair.transformer.config
    before = config.blocks if receiver.part == "final" else receiver.layer
    found = [Sender("embedding")]
    for layer in range(before + (receiver.part == "mlp" and not config.parallel)):
        found += [Sender("head", layer, head) for head in range(config.heads)]
        if config.feed_forward and layer < before:
            found.append(Sender("mlp", layer))
    return found


@torch.inference_mode()
def difference(pair: PromptPair, sender: Sender) -> Tensor:
    """What a sender writes in the clean run minus what it writes in the corrupt one, [T - first, d]."""
    clean, corrupt, layer, first = pair.clean, pair.corrupt, sender.layer, pair.first
    match sender.part:
        case "embedding":
            return clean.streams[0][first:] - corrupt.streams[0][first:]
        case "attention":
            return clean.attention[layer][first:] - corrupt.attention[layer][first:]
        case "mlp":
            return clean.mlp[layer][first:] - corrupt.mlp[layer][first:]
    attention: Any = pair.transformer.get_submodule(f"blocks.{layer}.attention")
    size = pair.transformer.config.head_dim
    head = slice(sender.head * size, (sender.head + 1) * size)
    heads = corrupt.heads[layer][first:].clone()
    heads[:, head] = clean.heads[layer][first:, head]
    both = attention.scale(attention.norm(attention.out(torch.stack((heads, corrupt.heads[layer][first:])))))
    return (both[0] - both[1]).to(heads.device)


@torch.inference_mode()
def path_measures(
    pair: PromptPair, receiver: Receiver, group: Sequence[Sender]
) -> Generator[None, None, dict[Sender, float]]:
    """The normalized measure with the direct path from each sender to the receiver; yields after each block.

    Raises `UserError` where the model has no such path.
    """
    check(pair, receiver)
    transformer, start = pair.transformer, pair.first
    moved = torch.stack([difference(pair, sender) for sender in group])
    if receiver.part == "final":
        x = pair.corrupt.streams[-1][start:] + moved
        return dict(zip(group, map(pair.normalized, pair.measures(x)), strict=True))
    positions = torch.arange(start, pair.length, device=transformer.device)
    x = pair.corrupt.streams[receiver.layer][start:].expand(len(group), -1, -1)
    for layer in range(receiver.layer, len(transformer.blocks)):
        with ForwardHooks() as hooks:
            if layer == receiver.layer:
                _receive(hooks, pair, receiver, moved)
            transformer.position(positions)  # hooks of installed patches keep the positions
            x = transformer.blocks[layer](x, start, SharedPast(pair.corrupt.cache.layers[layer], start)).to(x.device)
        yield
    return dict(zip(group, map(pair.normalized, pair.measures(x)), strict=True))


def _receive(hooks: ForwardHooks, pair: PromptPair, receiver: Receiver, moved: Tensor) -> None:
    """Let the receiver read `moved` more, [n, t, d], in the pass that comes next."""
    block: Any = pair.transformer.blocks[receiver.layer]
    config = pair.transformer.config
    one_norm = config.layout == "parallel_one_norm"
    norm = block.norm1 if receiver.part != "mlp" or one_norm else block.norm2
    read: list[Tensor] = []
    hooks.before(norm, lambda _, inputs: read.append(inputs[0]))
    if receiver.part == "mlp":
        hooks.before(block.feed_forward, lambda module, inputs: (norm.forward(read[0] + moved.to(read[0].device)),))
        return
    share = config.heads // config.kv_heads
    row = {"q": receiver.head, "k": config.heads + receiver.head // share}.get(
        receiver.part, config.heads + config.kv_heads + receiver.head // share
    )
    part = slice(row * config.head_dim, (row + 1) * config.head_dim)

    def replace(module: Any, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        output = output.clone()
        output[..., part] = module.forward(norm.forward(read[0] + moved.to(read[0].device)))[..., part]
        return output

    hooks.after(block.attention.qkv, replace)
