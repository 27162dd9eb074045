"""Tiny models to search in, and every answer they can give."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers

from core.engine.config import ModelConfig
from core.engine.model import random_model
from core.loading import description, models, tokenizers, weights
from core.loading.choice import ModelChoice
from core.loading.model import LocalModel, Model

Ids = tuple[int, ...]


def wrap(transformer: Any) -> Model:
    """A transformer of at most 257 ids as a `Model`, with one token a byte."""
    template = models.load_model(ModelChoice(tokenizer="bytes", device="cpu"))
    config = transformer.config
    info = replace(template.info, name="tiny", vocab_size=config.vocab_size, context=config.context)
    return LocalModel(template.choice, info, transformer, tokenizers.load_tokenizer("bytes"))


def tiny(vocab_size: int = 6, seed: int = 0, sharpness: float = 1.0) -> Model:
    """A random model of so few ids that all its answers can be counted."""
    config = ModelConfig(
        vocab_size=vocab_size, embed_dim=16, context=32, blocks=2, heads=2, positions="rotary", norm="rms",
        pre_norm=True, feed_forward=True, biases=(),
    )  # fmt: skip
    model = random_model(config, seed)
    numbers = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=numbers))
        model.unembed.weight.mul_(sharpness)
    return wrap(model)


def pair(folder: Path, seed: int, vocab_size: int = 61) -> tuple[Any, Model]:
    """A random model of transformers, and ours from the files that it wrote."""
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=vocab_size, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=64, initializer_range=0.6, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    theirs = transformers.LlamaForCausalLM(config).eval()
    theirs.save_pretrained(folder)
    ours = weights.build_model(description.describe(folder), torch.device("cpu"), torch.float32)
    return theirs, wrap(ours)


@torch.inference_mode()
def every_answer(model: Model, prompt: Sequence[int], length: int, stops: Collection[int]) -> dict[Ids, float]:
    """The log-probability of every continuation of `length` ids, or that ends at a stop id, in float64."""
    ended: dict[Ids, float] = {}
    running: dict[Ids, float] = {(): 0.0}
    for _ in range(length):
        logits = model.transformer(torch.tensor([[*prompt, *ids] for ids in running]))[:, -1].double()
        longer = {
            (*ids, id): logprob + more
            for (ids, logprob), row in zip(running.items(), logits.log_softmax(-1).tolist(), strict=True)
            for id, more in enumerate(row)
        }
        ended |= {ids: logprob for ids, logprob in longer.items() if ids[-1] in stops}
        running = {ids: logprob for ids, logprob in longer.items() if ids[-1] not in stops}
    return ended | running
