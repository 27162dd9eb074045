"""The memory that a training takes, at least; asked before any of it is allocated."""

import torch

from core.engine.config import ModelConfig
from core.errors import Option, filled
from core.language import _
from core.loading import room

BYTES = 4
"""Of a number: training is in float32."""


def needed(config: ModelConfig, batch: int) -> int:
    """Bytes that a step needs at least: weights, their gradients and two moments, and what the backward pass reads.

    That is per token the logits with their gradients, and per block its inputs, queries, keys, values and inner MLP.
    """
    weights = 4 * config.parameter_count()
    block = 6 * config.embed_dim + config.mlp_dim * config.feed_forward
    return BYTES * (weights + batch * config.context * (2 * config.vocab_size + config.blocks * block))


def check_room(name: str, config: ModelConfig, batch: int, device: torch.device) -> None:
    """Raise `UserError` where a training does not fit into memory."""
    options = {"context": Option("context"), "batch": Option("batch"), "embed_dim": Option("embed-dim")}
    smaller = filled(_("choose a smaller {context}, {batch} or {embed_dim}"), options)
    room.check_room(_("training {name} in these sizes").format(name=name), needed(config, batch), device, smaller)
