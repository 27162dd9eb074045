"""What a measurement says, against what is known of the model and the machine."""

import torch

from core.evaluation.bench import BenchResult, measure, sizes
from core.loading import models
from core.loading.choice import Hyperparameters, ModelChoice


def small(name: str, **changes: int) -> models.Model:
    sizes = {"embed_dim": 16, "context": 8, **changes}
    return models.load_model(ModelChoice(name=name, tokenizer="bytes", device="cpu", changes=Hyperparameters(**sizes)))


def test_what_each_token_reads() -> None:
    """All weights but the tables, of which it reads a row; a tied table is read whole."""
    apart = small("model1")
    parameters = apart.info.parameters
    assert sizes(apart) == (4 * parameters, 4 * (parameters - 257 * 16))
    tied = small("model5", blocks=2, heads=2)
    assert sizes(tied) == (4 * tied.info.parameters, 4 * (tied.info.parameters - 8 * 16))
    packed = models.load_model(ModelChoice(name="smollm2", device="cpu", dtype="int4"))
    whole, read = sizes(packed)
    assert whole == read
    assert whole < 1.1 * 92.1 * 2**20  # what the file has


def test_a_measurement() -> None:
    """Every number is there, above zero, and they agree with each other."""
    model = small("model3")
    found = measure(model, [1, 2, 3], count=5, runs=2)
    assert (found.model, found.device, found.dtype, found.prompt_tokens) == ("model3", "cpu", "fp32", 3)
    assert found.threads == torch.get_num_threads()
    assert found.prompt_rate == 3 / found.first_token
    assert 0 < found.rate < 1e6
    assert 1e8 < found.bandwidth < 1e13
    assert found.peak is None or found.peak > found.weights
    assert found.share == found.rate * found.read / found.bandwidth


def test_the_share_of_the_memory() -> None:
    """10 tokens a second of 1 GB each from a memory of 20 GB a second are a half."""
    given = {"threads": 1, "prompt_tokens": 1, "first_token": 1.0, "prompt_rate": 1.0, "weights": 1, "peak": None}
    found = BenchResult("a", "cpu", "fp32", rate=10.0, read=10**9, bandwidth=20e9, **given)
    assert found.share == 0.5
