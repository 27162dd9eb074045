"""The ladder of the article: six models, each the one before with one thing added or replaced."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from core.engine.config import ModelConfig
from core.errors import UserError
from core.language import N_, _
from core.loading.choice import Hyperparameters


@dataclass(frozen=True, slots=True)
class Rung:
    """One model of the ladder."""

    name: str
    title: str
    adds: str
    """What it adds to the rung before, in a sentence."""
    config: ModelConfig


def rungs(vocab_size: int) -> Iterator[Rung]:
    """The ladder from the zero-layer transformer to the architectures of GPT-2 and Llama, over `vocab_size` ids."""
    config = ModelConfig(vocab_size=vocab_size)
    yield Rung("model1", N_("zero-layer transformer"), N_("Token embedding, GELU, linear unembedding."), config)

    config = replace(config, positions="learned", norm="layer", tied=True, logit_scale=True)
    yield Rung(
        "model2",
        N_("positions and a norm"),
        N_(
            "Adds position embedding, layer norm, an unembedding tied to the embedding (so without bias), "
            "logits over √d."
        ),
        config,
    )

    config = replace(config, blocks=1)
    yield Rung(
        "model3", N_("one attention head"), N_("Adds one causal attention head with a residual connection."), config
    )

    config = replace(
        config, blocks=4, pre_norm=True, feed_forward=True, final_activation=False, logit_scale=False, init_std=0.02
    )
    yield Rung(
        "model4",
        N_("stacked blocks"),
        N_(
            "Adds a 4× feed-forward layer and pre-norm residual blocks, stacked; the norm becomes the final norm; "
            "the last GELU and the logit scale go."
        ),
        config,
    )

    config = replace(config, heads=4)
    yield Rung("model5", "GPT-2", N_("Splits attention into heads: the same weights, reshaped. This is GPT-2."), config)

    config = replace(config, norm="rms", positions="rotary", activation="silu", gated=True, group=2, biases=())
    yield Rung(
        "model6",
        "Llama",
        N_(
            "RMSNorm for layer norm, rotary positions for learned ones, SwiGLU for GELU; pairs of heads share keys and "
            "values; no biases. This is Llama."
        ),
        config,
    )


NAMES = tuple(rung.name for rung in rungs(vocab_size=1))


def rung(name: str, vocab_size: int, changes: Hyperparameters = Hyperparameters()) -> Rung:
    """The rung called `name` with changed hyperparameters. Raises `UserError` where impossible."""
    for found in rungs(vocab_size):
        if found.name == name:
            return replace(found, config=_change(found, changes))
    raise UserError(_("there is no model {name!r}; choose one of {choices}"), name=name, choices=", ".join(NAMES))


def applicable(name: str, changes: Hyperparameters) -> Hyperparameters:
    """`changes` without the hyperparameters that the rung called `name` does not have."""
    found = rung(name, vocab_size=1)
    return changes if found.config.blocks else replace(changes, blocks=None, heads=None)


def _change(found: Rung, changes: Hyperparameters) -> ModelConfig:
    config = found.config
    if changes.blocks is not None and not config.blocks:
        raise UserError(_("{name} has no blocks; choose model3 or a later one"), name=found.name)
    if changes.blocks == 0:
        raise UserError(
            _("{name} needs at least 1 block; choose model1 or model2 for a model without blocks"), name=found.name
        )
    if changes.heads is not None and changes.heads != 1 and not config.blocks:
        raise UserError(_("{name} has no attention heads; choose model3 or a later one"), name=found.name)
    given: dict[str, Any] = {name: value for name, value in asdict(changes).items() if value is not None}
    return replace(config, group=math.gcd(config.group, changes.heads or config.heads), **given)
