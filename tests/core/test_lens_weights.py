"""The weights lens: counts against tensors and published totals, histograms against torch on all numbers at once."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from reference_models import CASES, reference
from steps import RUNGS, last, some_ids, step_on, wrapped
from torch import nn

from core.engine.config import ModelConfig
from core.engine.model import Transformer
from core.engine.packed.linear import matrix
from core.errors import UserError
from core.lenses import weights as lens
from core.lenses.weights import Weights, count, weights
from core.loading import description
from core.loading import weights as files
from core.loading.model import Model

Small = Callable[..., Model]


@pytest.mark.parametrize("name", RUNGS)
def test_counts_equal_the_tensors(name: str, small: Small) -> None:
    """Weights and biases separately; every parameter is in exactly one part."""
    model = small(name)
    answer: Weights = last(weights(step_on(model, some_ids(3))))
    parameters = dict(model.transformer.named_parameters())
    assert sum(each.weights for each in answer.counts) == sum(
        p.numel() for n, p in parameters.items() if "bias" not in n
    )
    assert sum(each.biases for each in answer.counts) == sum(p.numel() for n, p in parameters.items() if "bias" in n)
    assert sum(each.size_bytes for each in answer.counts) == sum(p.nbytes for p in parameters.values())
    assert answer.total == answer.expected == model.transformer.parameter_count()
    assert {each.name: each.shape for each in answer.names} == {n: tuple(p.shape) for n, p in parameters.items()}


def test_gpt2_has_124_439_808_parameters() -> None:
    """The smallest GPT-2, by part, on tensors without storage."""
    config = ModelConfig(
        vocab_size=50257, embed_dim=768, context=1024, blocks=12, heads=12, positions="learned", norm="layer",
        pre_norm=True, feed_forward=True, activation="gelu_tanh", final_activation=False, tied=True,
        biases=("qkv", "out", "mlp"),
    )  # fmt: skip
    with torch.device("meta"):
        counts = {each.part: each for each in count(Transformer(config))}
    assert sum(each.parameters for each in counts.values()) == 124_439_808
    assert counts["embedding"].weights == 50257 * 768
    assert counts["position"].weights == 1024 * 768
    assert counts["attention"].weights == 12 * 4 * 768 * 768
    assert counts["attention"].biases == 12 * 4 * 768
    assert counts["mlp"].weights == 12 * 8 * 768 * 768
    assert counts["mlp"].biases == 12 * 5 * 768
    assert (counts["norm"].weights, counts["norm"].biases) == (25 * 768, 25 * 768)


@pytest.mark.parametrize("packing", ["int8", "int4"])
@pytest.mark.parametrize("case", CASES)
def test_packed_models_have_the_counts_of_the_unpacked_model(
    case: str, packing: str, family_folder: Callable[[str], Path]
) -> None:
    """The same counts and names, and the same numbers within one quantization step."""
    described = description.describe(family_folder(case))
    whole = files.build_model(described, torch.device("cpu"), torch.float32)
    packed = files.build_model(described, torch.device("cpu"), torch.float32, packing)
    for part, expected in zip(count(packed), count(whole), strict=True):
        assert (part.part, part.weights, part.biases) == (expected.part, expected.weights, expected.biases)
    step = step_on(wrapped(packed), [1, 2])
    names = last(weights(step)).names
    assert {each.name: each.shape for each in names} == {n: tuple(p.shape) for n, p in whole.named_parameters()}
    norm = "norm.weight" if described.config.final_norm else "blocks.1.norm2.weight"
    down = next(name for name, _ in whole.named_parameters() if name.startswith("blocks.1.") and "down.weight" in name)
    for name in ("embed.weight", "blocks.0.attention.qkv.weight", down, norm):
        histogram = last(weights(step, name)).histogram
        numbers = whole.get_parameter(name)
        assert histogram.mean == pytest.approx(numbers.mean().item(), abs=0.01)
        assert histogram.std == pytest.approx(numbers.std(correction=0).item(), abs=0.02)


def test_a_packed_matrix_equals_the_outputs_for_unit_vectors(tmp_path: Path) -> None:
    reference("llama", hidden_size=64, intermediate_size=96).save_pretrained(tmp_path)
    described = description.describe(tmp_path)
    for packing in ("int8", "int4"):
        packed = files.build_model(described, torch.device("cpu"), torch.float32, packing)
        for name in ("blocks.0.attention.qkv", "blocks.0.feed_forward.down", "unembed"):
            module: nn.Module = packed.get_submodule(name)
            width = matrix(module).shape[1]
            rows = module(torch.eye(width)).T
            assert (matrix(module) - rows).abs().max() < 0.01 * rows.abs().max()
            assert torch.equal(matrix(module, 3, 7), matrix(module)[3:7])


@pytest.mark.parametrize("at_once", [1, 100, 4_000_000])
@pytest.mark.parametrize("name", ["embed.weight", "blocks.1.feed_forward.down.bias", "norm.weight"])
def test_a_histogram_equals_that_of_all_numbers_at_once(
    name: str, at_once: int, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lens, "NUMBERS_AT_ONCE", at_once)
    model = small("model5")
    answer = last(weights(step_on(model, some_ids(3)), name)).histogram
    numbers = model.transformer.get_parameter(name).double()
    assert answer.shape == tuple(numbers.shape)
    assert (answer.mean, answer.std) == pytest.approx(
        (numbers.mean().item(), numbers.std(correction=0).item()), abs=1e-9
    )
    assert (answer.low, answer.high) == (numbers.min().item(), numbers.max().item())
    assert list(answer.counts) == torch.histc(numbers.float(), 40).tolist()
    assert sum(answer.counts) == numbers.numel()


def test_counts_are_answered_before_the_histogram(small: Small) -> None:
    answers = [each for each in weights(step_on(small("model1"), some_ids(3))) if isinstance(each, Weights)]
    assert [each.histogram is None for each in answers] == [True, False]


def test_an_unknown_weight_is_a_user_error(small: Small) -> None:
    step = step_on(small("model1"), some_ids(3))
    with pytest.raises(UserError, match=r"no weight 'wte'; its weights are embed.weight, unembed.weight, unembed.bias"):
        next(weights(step, "wte"))


def test_a_constant_weight_has_a_histogram() -> None:
    config = replace(ModelConfig(vocab_size=257), norm="layer")
    answer = last(weights(step_on(wrapped(Transformer(config)), [1]), "norm.weight")).histogram
    assert (answer.mean, answer.std, sum(answer.counts)) == (1.0, 0.0, 64)
