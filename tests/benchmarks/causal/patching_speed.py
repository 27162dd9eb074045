"""The time of one map of activation patching, here and in TransformerLens 4.3, on the same random Llama in float32.

    PYTHON_WITH_TRANSFORMER_LENS tests/benchmarks/causal/patching_speed.py [TOKENS] [EVERY]

The model has the shape of SmolLM2-135M. The map is layer × position of the residual stream; the prompts differ in their
first token. Of TransformerLens every EVERY-th cell is computed and the time multiplied. It needs
`transformer-lens==4.3`, and the packages of this project except those of the screen.
"""

import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
import transformers
from tokenizers import Tokenizer, models
from transformer_lens import TransformerBridge, patching

sys.path.insert(0, str(Path(__file__).parents[3]))
from core.activations.trace import Step
from core.causal.patching import cells, coarse_to_fine, groups, patched_measures
from core.causal.prompt_pair import PromptPair, read_pair
from core.causal.question import CausalQuestion
from core.loading import description, weights

SHAPE = {
    "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True, "max_position_embeddings": 512,
}  # fmt: skip
TARGET, AGAINST = 5, 9


class Loaded:
    """As much of a loaded model as patching asks for."""

    def __init__(self, folder: Path) -> None:
        self.transformer = weights.build_model(description.describe(folder), torch.device("cpu"), torch.float32, None)


def ours(folder: Path, clean: list[int], corrupt: list[int]) -> tuple[float, float, dict[tuple[int, int], float]]:
    """Seconds until the first cells are there, seconds of the whole map, and its values."""
    model, began, first, found = Loaded(folder), time.perf_counter(), 0.0, {}
    pair: PromptPair = last_of(
        read_pair(Step(model, tuple(clean)), CausalQuestion(TARGET, AGAINST, corrupt=tuple(corrupt)))
    )  # type: ignore[arg-type]
    for layers in coarse_to_fine(len(pair.transformer.blocks)):
        for group in groups(pair, cells(pair, "residual", layers)):
            for cell, value in last_of(patched_measures(pair, group)).items():
                found[cell.layer, cell.index] = value
            first = first or time.perf_counter() - began
    return first, time.perf_counter() - began, found


def last_of(generator):  # type: ignore[no-untyped-def]
    """What a generator returns."""
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


@torch.no_grad()
def theirs(model: transformers.PreTrainedModel, folder: Path, clean: list[int], corrupt: list[int], every: int):  # type: ignore[no-untyped-def]
    """Seconds of the whole map, as the sample says, and the values of the sample."""
    words = Tokenizer(models.WordLevel({str(n): n for n in range(99)}, unk_token="0"))
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, bos_token="0", eos_token="0").save_pretrained(folder)
    bridge = TransformerBridge.boot_transformers(str(folder), hf_model=model, device="cpu")

    def measure(logits: torch.Tensor) -> torch.Tensor:
        return logits[0, -1, TARGET] - logits[0, -1, AGAINST]

    logits, cache = bridge.run_with_cache(torch.tensor([clean]))
    corrupt_ids = torch.tensor([corrupt])
    high, low = measure(logits), measure(bridge(corrupt_ids))
    every_cell = [(layer, at) for layer in range(SHAPE["num_hidden_layers"]) for at in range(len(clean))]
    sample = every_cell[:: max(1, every)]
    began = time.perf_counter()
    values = patching.generic_activation_patch(
        bridge, corrupt_ids, cache, measure, patching.layer_pos_patch_setter, "resid_pre",
        index_df=pd.DataFrame(sample, columns=["layer", "pos"]),
    )  # fmt: skip
    spent = (time.perf_counter() - began) * len(every_cell) / len(sample)
    return spent, dict(zip(sample, ((values - low) / (high - low)).tolist(), strict=True))


def main(tokens: int = 30, every: int = 10) -> None:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(transformers.LlamaConfig(**SHAPE)).eval()
    clean = torch.randint(10, 90, (tokens,)).tolist()
    corrupt = [clean[0] + 1, *clean[1:]]
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        first, whole, found = ours(Path(folder), clean, corrupt)
        reference, sample = theirs(model, Path(folder), clean, corrupt, every)
    apart = max(abs(found[cell] - value) for cell, value in sample.items())
    print(
        f"{tokens} tokens, {torch.get_num_threads()} threads: {whole:.1f} s here, the first cells after {first:.2f} s"
    )
    print(f"TransformerLens {reference:.1f} s, {reference / whole:.1f} times as long; values differ by {apart:.1e}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
