"""A measurement, against what is known of the model and the machine."""

from collections.abc import Callable

import pytest
import torch

from core.evaluation.bench import BenchResult, measure, sizes
from core.loading import models
from core.loading.choice import Hyperparameters, ModelChoice


def small(name: str, **changes: int) -> models.Model:
    sizes = {"embed_dim": 16, "context": 8, **changes}
    return models.load_model(ModelChoice(name=name, tokenizer="bytes", device="cpu", changes=Hyperparameters(**sizes)))


def test_bytes_per_token_leave_out_untied_tables(smollm2: Callable[[str], models.Model]) -> None:
    """A token reads one row of a table; a tied embedding is read whole."""
    untied = small("model1")
    parameters = untied.info.parameters
    assert sizes(untied) == (4 * parameters, 4 * (parameters - 257 * 16))
    tied = small("model5", blocks=2, heads=2)
    assert sizes(tied) == (4 * tied.info.parameters, 4 * (tied.info.parameters - 8 * 16))
    packed = smollm2("int4")
    total, per_token = sizes(packed)
    assert total == per_token
    assert total < 1.1 * 92.1 * 2**20  # the size of the file


def test_a_measurement_is_complete_and_consistent() -> None:
    model = small("model3")
    result = measure(model, [1, 2, 3], count=5, runs=2)
    assert (result.model, result.device, result.dtype, result.prompt_tokens) == ("model3", "cpu", "fp32", 3)
    assert result.threads == torch.get_num_threads()
    assert result.implementation == model.transformer.implementation == "torch"
    assert result.prompt_tokens_per_second == 3 / result.first_token_seconds
    assert 0 < result.tokens_per_second < 1e6
    assert 1e8 < result.bandwidth_bytes_per_second < 1e13
    assert result.peak_bytes is None or result.peak_bytes > result.weights_bytes
    bytes_per_second = result.tokens_per_second * result.bytes_per_token
    assert result.bandwidth_share == bytes_per_second / result.bandwidth_bytes_per_second


def test_the_share_of_the_bandwidth() -> None:
    """10 tokens a second of 1 GB each are half of 20 GB a second."""
    result = BenchResult(
        "a", "cpu", "fp32", threads=1, prompt_tokens=1, first_token_seconds=1.0, prompt_tokens_per_second=1.0,
        tokens_per_second=10.0, weights_bytes=1, bytes_per_token=10**9, bandwidth_bytes_per_second=20e9,
        peak_bytes=None,
    )  # fmt: skip
    assert result.bandwidth_share == 0.5


def test_a_problem_of_the_cache_of_compiled_code_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that cannot be written makes every start slow, so the measurements name it."""
    monkeypatch.setattr("core.evaluation.bench.problems", ["compiled code cannot be kept in /nowhere"])
    result = measure(small("model1"), [1, 2, 3], 2, 1)
    assert result.problems == ("compiled code cannot be kept in /nowhere",)
