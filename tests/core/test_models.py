"""From a name to a model with weights: what is told of it, and what is refused before anything is allocated."""

import time
from typing import Any

import pytest
import torch

from core.engine import device, model
from core.engine.info import DeviceInfo
from core.engine.model import Block, Transformer
from core.errors import UserError
from core.loading import ladder, models
from core.loading.choice import Hyperparameters, ModelChoice

SMALL = Hyperparameters(embed_dim=8, context=4)


def refusal(choice: ModelChoice) -> str:
    with pytest.raises(UserError) as mistake:
        models.load_model(choice)
    text = str(mistake.value)
    assert text
    assert len(text.splitlines()) == 1
    return text


@pytest.mark.parametrize("name", ladder.NAMES)
def test_a_loaded_model_tells_what_it_is(name: str) -> None:
    """Name, sizes, device, format, tokenizer and where the weights come from, true to the weights themselves."""
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


def test_the_default_is_the_articles_model_1() -> None:
    """No choice at all: the zero-layer transformer over GPT-4's vocabulary in float32 (S2, S3)."""
    loaded = models.load_model(ModelChoice(device="cpu"))
    assert (loaded.info.name, loaded.info.vocab_size, loaded.info.context) == ("model1", 100_277, 8)
    assert loaded.info.parameters == 100_277 * 64 + 100_277 * 64 + 100_277
    assert loaded.info.dtype == "fp32"
    assert {"random", "seed", "0"} <= set(loaded.info.weights.replace(",", "").split())
    assert loaded.transformer(torch.zeros(5, 8, dtype=torch.long)).shape == (5, 8, 100_277)


def test_16_bit_weights_are_the_rounded_32_bit_ones() -> None:
    """Another format is the same model, rounded."""
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
def test_what_does_not_exist_is_a_mistake(choice: ModelChoice, says: str) -> None:
    """An unknown model, tokenizer, device or format, a seed or size that cannot be: one line that names it."""
    assert says in refusal(choice)


def test_the_largest_seed_is_a_seed() -> None:
    """The ends of the range of seeds load, and give different weights."""
    ends = [
        models.load_model(ModelChoice(tokenizer="bytes", weights_seed=seed, changes=SMALL)).transformer.embed.weight
        for seed in (0, 2**63 - 1)
    ]
    assert not torch.equal(*ends)


@pytest.fixture
def nothing_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails where weights are made, or where more blocks are put together than any check needs."""
    made = [0]
    build = Block.__init__

    def counted(self: Block, *args: Any) -> None:
        made[0] += 1
        assert made[0] < 1000, "blocks are built one by one before their number is refused"
        build(self, *args)

    def refused(*_: object) -> Transformer:
        raise AssertionError("weights were made")

    monkeypatch.setattr(model.Block, "__init__", counted)
    monkeypatch.setattr(models, "random_model", refused)


@pytest.mark.parametrize("size", [10**7, 10**9, 10**12, 10**18, 10**30])
@pytest.mark.parametrize("what", ["embed_dim", "context", "blocks"])
@pytest.mark.usefixtures("nothing_allocated")
def test_sizes_no_machine_holds_are_refused(what: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number with zeros too many gives one line at once: nothing is allocated and no number overflows (S3)."""
    monkeypatch.setattr(device, "_cpu_memory", lambda: 2**30)
    for name in ("model4", "model5"):
        start = time.perf_counter()
        changes = Hyperparameters(**{what: size})
        assert name in refusal(ModelChoice(name=name, tokenizer="bytes", device="cpu", changes=changes))
        assert time.perf_counter() - start < 5


@pytest.mark.parametrize(("kept", "fits"), [(0.7, True), (0.9, False)])
def test_memory_is_asked_before_weights_are_made(kept: float, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Float32 weights that would take more than a fair part of the memory are refused; others load."""
    choice = ModelChoice(name="model2", tokenizer="bytes", changes=SMALL, device="cpu")
    needed = 4 * models.load_model(choice).info.parameters
    monkeypatch.setattr(device, "devices", lambda: [DeviceInfo("cpu", "small", int(needed / kept))])
    if fits:
        assert models.load_model(choice).info.parameters * 4 == needed
    else:
        assert "GB" in refusal(choice)


def test_a_machine_that_does_not_tell_its_memory_may_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figure, no refusal."""
    monkeypatch.setattr(device, "devices", lambda: [DeviceInfo("cpu", "unknown", None)])
    assert models.load_model(ModelChoice(tokenizer="bytes", changes=SMALL)).info.device == "cpu"


def test_loading_leaves_the_tokenizer_shared() -> None:
    """Two models over one vocabulary have one tokenizer, so a walk can move between them."""
    choices = [ModelChoice(name=name, tokenizer="bytes", changes=SMALL) for name in ("model1", "model5")]
    one, other = map(models.load_model, choices)
    assert one.tokenizer is other.tokenizer
