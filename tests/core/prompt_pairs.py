"""Two prompts on a model, for tests of patching: the pair, its maps in one call, and a slow pass to compare with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from causal_models import AGAINST, CLEAN, CORRUPT, TARGET, causal_model
from steps import returned, wrapped

from core.activations.trace import Step
from core.causal.patching import MapName, cells, groups, patched_measures
from core.causal.prompt_pair import PromptPair, read_pair
from core.causal.question import CausalQuestion
from core.causal.target import Target
from core.engine.hooks import ForwardHooks
from core.engine.model import Transformer
from core.loading import description, weights
from core.loading.model import Model


def model_of(reference: Any, folder: Path, packing: str | None = None) -> Model:
    """A model of transformers, loaded here."""
    reference.save_pretrained(folder)
    return wrapped(weights.build_model(description.describe(folder), torch.device("cpu"), torch.float32, packing))


def causal(case: str, folder: Path) -> Model:
    """A model of `causal_models`, loaded here."""
    return model_of(causal_model(case), folder)


def pair_on(
    model: Model,
    clean: Sequence[int] = CLEAN,
    corrupt: Sequence[int] = CORRUPT,
    target: Target = Target(TARGET, AGAINST),
) -> PromptPair:
    question = CausalQuestion(target.id, target.against, corrupt=tuple(corrupt))
    return returned(read_pair(Step(model, tuple(clean)), question))


def whole_map(pair: PromptPair, name: MapName) -> list[list[float]]:
    """A map with all its cells; those of positions at which both runs are equal are 0."""
    layers, config = range(pair.transformer.config.blocks), pair.transformer.config
    values = [[0.0] * (config.heads if name == "heads" else pair.length) for _ in layers]
    for group in groups(pair, cells(pair, name, layers)):
        for cell, value in returned(patched_measures(pair, group)).items():
            values[cell.layer][cell.index] = value
    return values


@torch.inference_mode()
def slow_measure(transformer: Transformer, target: Target, ids: Sequence[int], hooks: ForwardHooks) -> float:
    """m after a whole pass without a cache, under hooks that are removed at the end."""
    with hooks:
        return target.measure(transformer(torch.tensor([list(ids)]))[0, -1].float()).item()
