"""Loading a model: its info, and what is refused before anything is allocated."""

import time
from typing import Any

import pytest
import torch

from core.engine import device, model, threads
from core.engine.info import DeviceInfo
from core.engine.model import Block, Transformer
from core.engine.packed.decode import CompiledTransformer
from core.errors import UserError
from core.loading import ladder, models
from core.loading.choice import Hyperparameters, ModelChoice

SMALL = Hyperparameters(embed_dim=8, context=4)


def refusal(choice: ModelChoice) -> str:
    with pytest.raises(UserError) as caught:
        models.load_model(choice)
    text = str(caught.value)
    assert text
    assert len(text.splitlines()) == 1
    return text


@pytest.mark.parametrize("name", ladder.NAMES)
def test_a_large_rung_is_computed_by_compiled_code(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt and token by token as the modules of torch compute it, with the same weights; a small one is torch's."""
    choice = ModelChoice(name=name, tokenizer="bytes", device="cpu", changes=Hyperparameters(embed_dim=24, context=16))
    small = models.load_model(choice).transformer
    monkeypatch.setattr(threads, "SMALL", 0)
    large = models.load_model(choice).transformer
    assert not isinstance(small, CompiledTransformer)
    assert isinstance(large, CompiledTransformer)
    assert large.fast
    ids, cache = torch.randint(0, 257, (1, 12), generator=torch.Generator().manual_seed(5)), large.cache(1)
    with torch.inference_mode():
        expected = small(ids)[0]
        tokens = torch.cat([large.step(ids[:, n : n + 1], cache)[1][0] for n in range(12)])
        for each in (large(ids)[0], tokens):
            assert (each - expected).abs().max() < 1e-5 * expected.abs().max().clamp_min(1)


@pytest.mark.parametrize("name", ladder.NAMES)
def test_the_info_of_a_loaded_model_is_true_to_its_weights(name: str) -> None:
    """Name, sizes, device, number format, tokenizer and origin of the weights."""
    choice = ModelChoice(name=name, tokenizer="bytes", weights_seed=4, device="cpu", dtype="bf16", changes=SMALL)
    loaded = models.load_model(choice)
    info, transformer = loaded.info, loaded.transformer
    assert loaded.choice == choice
    assert (info.name, info.vocab_size, info.context, info.tokenizer) == (name, 257, 4, "bytes")
    assert (info.device, info.dtype) == ("cpu", "bf16")
    assert info.parameters == sum({p.data_ptr(): p.numel() for p in transformer.parameters()}.values())
    assert "random" in info.weights
    assert "4" in info.weights
    assert all(p.dtype == torch.bfloat16 and p.device.type == "cpu" for p in transformer.parameters())
    assert not transformer.training
    assert loaded.tokenizer.vocab_size == transformer.config.vocab_size


def test_the_default_is_model_1_of_the_article() -> None:
    """The zero-layer transformer over GPT-4's vocabulary, in float32 (article: Model 1)."""
    loaded = models.load_model(ModelChoice(device="cpu"))
    assert (loaded.info.name, loaded.info.vocab_size, loaded.info.context) == ("model1", 100_277, 8)
    assert loaded.info.parameters == 100_277 * 64 + 100_277 * 64 + 100_277
    assert loaded.info.dtype == "fp32"
    assert {"random", "seed", "0"} <= set(loaded.info.weights.replace(",", "").split())
    assert loaded.transformer(torch.zeros(5, 8, dtype=torch.long)).shape == (5, 8, 100_277)


def test_16_bit_weights_are_rounded_32_bit_weights() -> None:
    """fp16 weights equal fp32 weights rounded."""
    one, other = (
        models.load_model(ModelChoice(tokenizer="bytes", dtype=dtype, device="cpu")) for dtype in ("fp32", "fp16")
    )
    for exact, rounded in zip(one.transformer.parameters(), other.transformer.parameters(), strict=True):
        assert torch.equal(exact.half(), rounded)


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        (ModelChoice(name="model9"), "model9"),
        (ModelChoice(name="", tokenizer="bytes"), "model1"),
        (ModelChoice(tokenizer="klingon"), "klingon"),
        (ModelChoice(device="abacus"), "abacus"),
        (ModelChoice(dtype="fp1"), "fp1"),
        (ModelChoice(weights_seed=-1, tokenizer="bytes"), "-1"),
        (ModelChoice(weights_seed=2**63, tokenizer="bytes"), str(2**63)),
        (ModelChoice(name="model5", tokenizer="bytes", changes=Hyperparameters(heads=7)), "7"),
        (ModelChoice(tokenizer="bytes", changes=Hyperparameters(context=0)), "context"),
    ],
)
def test_impossible_choices_are_refused(choice: ModelChoice, says: str) -> None:
    """An unknown model, tokenizer, device or format, a seed or size out of range: the error names it."""
    assert says in refusal(choice)


def test_the_smallest_and_largest_seed_are_allowed() -> None:
    """They give different weights."""
    ends = [
        models.load_model(ModelChoice(tokenizer="bytes", weights_seed=seed, changes=SMALL)).transformer.embed.weight
        for seed in (0, 2**63 - 1)
    ]
    assert not torch.equal(*ends)


@pytest.fixture
def nothing_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails a test that creates weights, or more blocks than a check needs."""
    count = [0]
    build = Block.__init__

    def counted(self: Block, *args: Any) -> None:
        count[0] += 1
        assert count[0] < 1000, "blocks are built one by one before their number is refused"
        build(self, *args)

    def refused(*_: object) -> Transformer:
        raise AssertionError("weights were made")

    monkeypatch.setattr(model.Block, "__init__", counted)
    monkeypatch.setattr(models, "random_model", refused)


@pytest.mark.parametrize("size", [10**7, 10**9, 10**12, 10**18, 10**30])
@pytest.mark.parametrize("what", ["embed_dim", "context", "blocks"])
@pytest.mark.usefixtures("nothing_allocated")
def test_sizes_beyond_memory_are_refused_before_allocation(
    what: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and no number overflows."""
    monkeypatch.setattr(device, "_cpu_memory", lambda: 2**30)
    for name in ("model4", "model5"):
        start = time.perf_counter()
        changes = Hyperparameters(**{what: size})
        text = refusal(ModelChoice(name=name, tokenizer="bytes", device="cpu", changes=changes))
        assert ("the number of blocks must be from 0 to 1000" if what == "blocks" else name) in text
        assert time.perf_counter() - start < 5


@pytest.mark.parametrize(("share", "fits"), [(0.7, True), (0.9, False)])
def test_memory_is_checked_before_weights_are_created(
    share: float, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of 0.9 of the memory are refused; weights of 0.7 load."""
    choice = ModelChoice(name="model2", tokenizer="bytes", changes=SMALL, device="cpu")
    needed = 4 * models.load_model(choice).info.parameters
    monkeypatch.setattr(device, "devices", lambda: [DeviceInfo("cpu", "small", int(needed / share))])
    if fits:
        assert models.load_model(choice).info.parameters * 4 == needed
    else:
        assert "GB" in refusal(choice)


def test_an_unknown_memory_size_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a system that does not report it."""
    monkeypatch.setattr(device, "devices", lambda: [DeviceInfo("cpu", "unknown", None)])
    assert models.load_model(ModelChoice(tokenizer="bytes", changes=SMALL)).info.device == "cpu"


def test_models_with_one_tokenizer_share_the_object() -> None:
    """So a walk can continue in another model."""
    choices = [ModelChoice(name=name, tokenizer="bytes", changes=SMALL) for name in ("model1", "model5")]
    one, other = map(models.load_model, choices)
    assert one.tokenizer is other.tokenizer
