"""Prints, as Markdown tables, how near we are to the reference implementation: `python tests/benchmarks/parity.py`.

The largest difference of any logit in fp32 for each family (small random models of odd sizes, 2 × 210 positions; in one
go, and through the cache in chunks and single tokens), and the KL divergence from fp32 of each format on SmolLM2, mean
over all positions of the texts that the tests use too.
"""

import math
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "core"))

from reference_models import CASES, LONG, long_context, long_ids, reference
from texts import TEXTS

from core.engine.cache import KVCache
from core.loading import description, weights
from core.loading.choice import ModelChoice
from core.loading.models import load_model


@torch.inference_mode()
def logits() -> None:
    print("| family, as transformers saves it | largest difference of a logit | through the cache |\n|---|---|---|")
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            model = reference(case, **long_context(case))
            model.save_pretrained(folder)
            ours = weights.build_model(description.describe(Path(folder)), torch.device("cpu"), torch.float32)
            want, cache = model(long_ids()).logits, KVCache(ours.config, 2, ours.device, ours.dtype)
            chunks = [ours(part, cache) for part in long_ids().split([97, *[1] * 33, LONG - 130], dim=1)]
            apart = [(got - want).abs().max().item() for got in (ours(long_ids()), torch.cat(chunks, dim=1))]
        print(f"| {case} | {apart[0]:.1e} | {apart[1]:.1e} |", flush=True)


@torch.inference_mode()
def formats() -> None:
    whole = load_model(ModelChoice(name="smollm2", device="cpu", dtype="fp32"))
    prompts = [torch.tensor([whole.tokenizer.encode(text)]) for text in TEXTS]
    want = torch.cat([whole.transformer(prompt)[0] for prompt in prompts]).log_softmax(-1)
    print(f"\n| SmolLM2, {len(want)} positions | KL from fp32, bits | same argmax |\n|---|---|---|")
    for dtype in ("bf16", "fp16", "int8", "int4"):
        few = load_model(ModelChoice(name="smollm2", device="cpu", dtype=dtype)).transformer
        got = torch.cat([few(prompt)[0] for prompt in prompts]).float().log_softmax(-1)
        kl = (want.exp() * (want - got)).sum(-1).mean().item() / math.log(2)
        print(f"| {dtype} | {kl:.5f} | {(want.argmax(-1) == got.argmax(-1)).float().mean().item():.0%} |")


if __name__ == "__main__":
    logits()
    formats()
