"""A model on several devices: where blocks, keys and values are, and that hooks, traces and patches find them there.

There are no two GPUs where this is tested. Numbers are compared with hooks of accelerate that all lead to the CPU.
Devices are checked with torch's fake tensors on two of them: they have no numbers, and refuse to be mixed as real ones.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import accelerate
import pytest
import torch
from model_folders import CPU
from reference_models import ids
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from core.activations.apply import PatchHooks
from core.activations.patch import Patch
from core.activations.trace import recording
from core.engine import placement
from core.engine.config import ModelConfig
from core.engine.info import DeviceInfo
from core.engine.model import Transformer, random_model
from core.engine.prefix import Prefix
from core.errors import UserError
from core.loading import room

FIRST, SECOND = torch.device("cuda:0"), torch.device("cuda:1")
HALVES = {"blocks.0": 0, "blocks.1": 0, "blocks.2": 1, "blocks.3": 1}
CONFIG = ModelConfig(
    vocab_size=97, embed_dim=32, context=64, blocks=4, heads=4, group=2, positions="rotary", norm="rms", pre_norm=True,
    feed_forward=True, gated=True, activation="silu", final_activation=False, tied=True, biases=(),
)  # fmt: skip
BLOCK = sum(each.numel() for each in random_model(CONFIG, 0).blocks[0].parameters())


def rooms(first: float, second: float) -> dict[torch.device, float]:
    """Room for what is in no block and `first` blocks, and for `second` blocks, in 16 bits."""
    return {FIRST: 2 * (97 * 32 + 32 + first * BLOCK), SECOND: 2 * second * BLOCK}


def meta() -> Transformer:
    with torch.device("meta"):
        return Transformer(CONFIG)


def in_halves(model: Transformer, first: torch.device, second: torch.device) -> dict[str, torch.device]:
    names = {name: first for name, _ in model.named_children() if name != "blocks"}
    return names | {name: (first, second)[half] for name, half in HALVES.items()}


def test_blocks_fill_one_card_after_the_other() -> None:
    """accelerate keeps room for one more block on the first card; everything outside of blocks is there."""
    model = meta()
    found = placement.place(model, rooms(3.1, 2.1), 16)
    assert found == in_halves(model, FIRST, SECOND)
    assert all(placement.device_of(found, name) for name, _ in model.named_parameters())
    quarter = {card: size / 4 for card, size in rooms(3.1, 2.1).items()}
    assert placement.place(model, quarter, 4) == found


def test_blocks_that_do_not_fit_are_a_user_error() -> None:
    with pytest.raises(UserError, match="2 GPUs"):
        placement.place(meta(), rooms(2.1, 1.5), 16)


def test_a_spread_model_computes_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through hooks that move states: in one go, through the cache, token by token, and patched."""
    monkeypatch.setattr(accelerate, "dispatch_model", partial(accelerate.dispatch_model, force_hooks=True))
    plain, model, text = random_model(CONFIG, 0), random_model(CONFIG, 0), ids()
    spread = placement.spread(model, in_halves(model, CPU, CPU))
    assert all(hasattr(block, "_hf_hook") for block in spread.blocks)
    with torch.inference_mode():
        assert torch.equal(spread(text), plain(text))
        one, other = plain.cache(2), spread.cache(2)
        assert torch.equal(spread.hidden(text[:, :9], other), plain.hidden(text[:, :9], one))
        for n in range(9, 12):
            assert torch.equal(spread.step(text[:, n : n + 1], other)[1], plain.step(text[:, n : n + 1], one)[1])
        for each in (plain, spread):
            PatchHooks(each).add(Patch(kind="zero", part="block", layer=2), lambda x, positions, _: torch.zeros_like(x))
        assert torch.equal(spread(text), plain(text))


# Devices --------------------------------------------------------------------------------------------------------------

ONE, TWO = torch.device("cpu"), torch.device("cpu", 1)


@pytest.fixture
def spread() -> Iterator[Transformer]:
    """A model of fake tensors whose last two blocks are on another device."""
    with FakeTensorMode(), torch.inference_mode():
        model = Transformer(replace(CONFIG, tied=False))
        places = in_halves(model, ONE, TWO)
        for name, each in [*model.named_parameters()]:
            owner, _, field = name.rpartition(".")
            on = torch.empty(each.shape, device=placement.device_of(places, name))
            setattr(model.get_submodule(owner), field, nn.Parameter(on, requires_grad=False))
        yield placement.spread(model.eval(), places)


def test_keys_and_values_are_on_the_device_of_their_block(spread: Transformer) -> None:
    """Also after they grew, and in copies of a cache; ids go in at the first device."""
    assert spread.devices == [ONE, TWO]
    prefix = Prefix(spread)
    prefix.append([[1, 2, 3]])
    assert prefix.logits([2]).device == ONE
    prefix.append([[4]])
    assert prefix.logits([3]).device == ONE
    branches = prefix.repeat(2)
    branches.append([[5], [6]])
    branches.logits([4])
    branches.rearrange([1, 0], 4)
    for cache in (prefix._cache, prefix.past(2), branches._cache):
        assert [layer.keys.device for layer in cache.layers] == [ONE, ONE, TWO, TWO]
    assert spread.blocks[0].attention.rotary is spread.blocks[1].attention.rotary
    assert spread.blocks[1].attention.rotary is not spread.blocks[2].attention.rotary


def test_traces_are_on_the_first_device(spread: Transformer) -> None:
    with recording(spread) as trace:
        spread(torch.zeros(1, 3, dtype=torch.long, device=ONE))
    tensors = [each for each in trace.outputs.values() if isinstance(each, torch.Tensor)]
    tensors += [each for inputs in trace.inputs.values() for each in inputs if isinstance(each, torch.Tensor)]
    assert len(tensors) > 100
    assert {each.device for each in tensors} == {ONE}


@pytest.mark.parametrize("part", ["attention", "mlp", "block", "head", "query"])
def test_patches_act_on_the_device_of_their_part(part: Any, spread: Transformer) -> None:
    """In the first block of the second device, whose input comes from the first."""
    hooks = PatchHooks(spread)
    seen: list[torch.Tensor] = []

    def twice(x: torch.Tensor, positions: torch.Tensor, _: torch.Tensor | None) -> torch.Tensor:
        seen.append(x + positions[:, None])
        return 2 * x

    hooks.add(Patch(kind="scale", part=part, layer=2, index={"head": 1}.get(part)), twice)
    assert spread(torch.zeros(1, 3, dtype=torch.long, device=ONE)).device == ONE
    assert [each.device for each in seen] == [TWO]


# Room -----------------------------------------------------------------------------------------------------------------

GB = 10**9


@pytest.fixture
def two_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs of 10 GB, of which 9 and 6 GB are free."""
    cards = [DeviceInfo("cpu", "a processor", GB), *(DeviceInfo(f"cuda:{n}", "a GPU", 10 * GB) for n in range(2))]
    monkeypatch.setattr(room.devices, "devices", lambda: cards)
    monkeypatch.setattr(room, "_left", {"cpu": GB, "cuda:0": 9 * GB, "cuda:1": 6 * GB}.get)


@pytest.mark.parametrize(
    ("asked", "size", "cards"),
    [("cuda", 7, 0), ("auto", 8, 0), ("cuda", 9, 2), ("auto", 14, 2), ("cuda:0", 8, 0)],
)
def test_a_model_larger_than_one_card_gets_all(asked: str, size: float, cards: int, two_cards: None) -> None:
    """Weights take four fifths of a card at most, and what is free; the CPU's memory is not asked."""
    found = room.cards_for("a model", size * GB, FIRST, asked, ("choose another",))
    assert found == ({FIRST: 8 * GB, SECOND: 6 * GB} if cards else {})


@pytest.mark.parametrize(("asked", "size", "words"), [("cuda", 15, "2 GPUs have 14.0 GB"), ("cuda:0", 9, "cuda:0")])
def test_a_model_larger_than_that_is_a_user_error(asked: str, size: float, words: str, two_cards: None) -> None:
    """A card that was asked for by its number is the only one."""
    with pytest.raises(UserError, match=words) as error:
        room.cards_for("a model", size * GB, FIRST, asked, ("choose another",))
    assert str(error.value).endswith("choose another")


def test_without_accelerate_the_extra_is_named(two_cards: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"tokenwalk\[gpu\]"):
        room.cards_for("a model", 9 * GB, FIRST, "cuda", ())
