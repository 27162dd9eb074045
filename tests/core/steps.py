"""Helpers of the tests of lenses: steps on small models, and the last answer of a lens."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch

from core.activations.trace import Step, step_at
from core.causal.question import CausalQuestion
from core.engine.model import Transformer
from core.engine.prefix import Prefix
from core.lenses import experiments, lens
from core.loading import models, tokenizers
from core.loading.choice import ModelChoice
from core.loading.model import LocalModel, Model
from core.progress import Progress

RUNGS = ["model1", "model2", "model3", "model4", "model5", "model6"]


def wrapped(transformer: Transformer) -> Model:
    """A transformer with 257 ids as a `Model` with the tokenizer of one token a byte."""
    template = models.load_model(ModelChoice(tokenizer="bytes", device="cpu"))
    config = transformer.config
    info = replace(
        template.info, name="wrapped", vocab_size=config.vocab_size, context=config.context,
        parameters=config.parameter_count(),
    )  # fmt: skip
    return LocalModel(template.choice, info, transformer, tokenizers.load_tokenizer("bytes"))


def some_ids(count: int, seed: int = 0, vocab_size: int = 257) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, vocab_size, (count,), generator=generator).tolist()


def step_on(model: Model, ids: Sequence[int], target: int | None = None, *, known: bool = True) -> Step:
    """The step after `ids`, with a filled KV cache, or with an empty one where not `known`."""
    prefix = Prefix(model.transformer)
    prefix.append([list(ids)])
    if known:
        prefix.logits([len(ids) - 1])
    return step_at(model, ids, prefix, target)


def answers_on(name: str, step: Step) -> list[Any]:
    """All that a lens yields on a step; the corrupt prompt of an experiment differs in the third id from the end."""
    if name not in experiments():
        return list(lens(name)(step))
    changed = len(step.ids) - 3
    corrupt = (*step.ids[:changed], (step.ids[changed] + 1) % 83, *step.ids[changed + 1 :])
    return list(lens(name)(step, CausalQuestion(corrupt=corrupt)))


def last(answers: Iterable[Any]) -> Any:
    """The last answer of a lens or sweep, which is complete."""
    *_, answer = answers
    assert not isinstance(answer, Progress)
    return answer


def returned(generator: Any) -> Any:
    """The return value of a generator."""
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value
