"""Activation patching against TransformerLens and whole passes with hooks; what must hold for any model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from causal_models import CASES, CLEAN, CORRUPT
from prompt_pairs import causal, model_of, pair_on, slow_measure, whole_map
from reference_models import reference, wide
from steps import returned, wrapped
from torch import Tensor, nn

from core.activations.apply import patched
from core.activations.patch import Patch
from core.causal import patching
from core.causal.patching import MAPS, Cell, MapName, cells, coarse_to_fine, groups, patched_measures
from core.causal.prompt_pair import MAX_TOKENS, PromptPair
from core.causal.target import Target
from core.engine.hooks import ForwardHooks
from core.engine.model import random_model
from core.errors import UserError
from core.loading.model import Model

FIGURES = Path(__file__).with_name("transformer_lens")
FAMILIES = ["gemma2", "olmo2", "mixtral", "gpt-oss", "opt-norms-after", "falcon-7b", "bloom", "qwen2-window"]


def figures(case: str) -> dict[str, Any]:
    return json.loads((FIGURES / f"patching_{case}.json").read_text())


def close(found: list[list[float]], wanted: list[list[float]], within: float = 1e-4) -> bool:
    return bool((torch.tensor(found) - torch.tensor(wanted)).abs().max() < within)


@pytest.fixture(scope="module", params=CASES)
def both(request: Any, tmp_path_factory: Any) -> tuple[PromptPair, dict[str, Any]]:
    """The pair of a model, and the figures of TransformerLens for it."""
    return pair_on(causal(request.param, tmp_path_factory.mktemp("model"))), figures(request.param)


def test_both_measures_equal_those_of_transformer_lens(both: tuple[PromptPair, dict[str, Any]]) -> None:
    pair, figures = both
    assert pair.high == pytest.approx(figures["clean"], abs=1e-4)
    assert pair.low == pytest.approx(figures["corrupt"], abs=1e-4)


@pytest.mark.parametrize("name", MAPS)
def test_maps_equal_those_of_transformer_lens(both: tuple[PromptPair, dict[str, Any]], name: MapName) -> None:
    pair, figures = both
    assert close(whole_map(pair, name), figures[name], within=3e-4)


# Whole passes --------------------------------------------------------------------------------------------------------


def slow_value(model: Model, pair: PromptPair, cell: Cell) -> float:
    """One cell by two whole passes: the clean one is recorded by a hook, the corrupt one is changed by a hook."""
    transformer = model.transformer
    block = transformer.blocks[cell.layer]
    size, kept = transformer.config.head_dim, list[Tensor]()
    at: Any = cell.index
    module: nn.Module = block
    if cell.map == "attention":
        module = block.get_submodule("attention")
    elif cell.map == "mlp":
        module = block.get_submodule("feed_forward")
    elif cell.map == "heads":
        module = block.get_submodule("attention.out")
        at = slice(None), slice(cell.index * size, (cell.index + 1) * size)

    def put(x: Tensor) -> Tensor:
        x = x.clone()
        x[0][at] = kept[0][0][at]
        return x

    reads_input = cell.map in ("residual", "heads")
    hooks = ForwardHooks()
    if reads_input:
        hooks.before(module, lambda _, inputs: kept.append(inputs[0]))
    else:
        hooks.after(module, lambda _, inputs, output: kept.append(output))
    slow_measure(transformer, pair.target, CLEAN, hooks)
    if reads_input:
        hooks.before(module, lambda _, inputs: (put(inputs[0]), *inputs[1:]))
    else:
        hooks.after(module, lambda _, inputs, output: put(output))
    return pair.normalized(slow_measure(transformer, pair.target, CORRUPT, hooks))


@pytest.mark.parametrize("case", FAMILIES)
def test_cells_equal_whole_passes_in_every_family(case: str, tmp_path: Path) -> None:
    """Soft caps, norms after sublayers, experts, sinks, windows, post-norm and parallel blocks, ALiBi."""
    model = model_of(reference(case), tmp_path)
    pair = pair_on(model)
    for name in MAPS:
        values = whole_map(pair, name)
        for layer in range(len(values)):
            index = 1 if name == "heads" else (layer * 3 + 2) % pair.length
            slow = slow_value(model, pair, Cell(name, layer, index))
            assert values[layer][index] == pytest.approx(slow, abs=2e-4), (name, layer)


@pytest.mark.parametrize("packing", ["int8", "int4"])
def test_packed_weights(packing: str, tmp_path: Path) -> None:
    model = model_of(reference("qwen3", vocab_size=257, **wide("qwen3")), tmp_path, packing)
    pair = pair_on(model)
    for name in MAPS:
        cell = Cell(name, 1, 2)
        found = returned(patched_measures(pair, [cell]))[cell]
        assert found == pytest.approx(slow_value(model, pair, cell), abs=2e-2)


# What must hold ------------------------------------------------------------------------------------------------------


def test_nothing_changes_where_both_runs_are_equal(small: Any) -> None:
    """Before the first difference no cell is computed; those where the tokens alone are equal are 0 in layer 0."""
    pair = pair_on(small("model5"), (65, 66, 67, 68, 69), (65, 66, 99, 68, 69), Target(7, 20))
    assert {cell.index for cell in cells(pair, "residual", [0])} == {2, 3, 4}
    values = whole_map(pair, "residual")
    assert [abs(value) < 1e-5 for value in values[0]] == [True, True, False, True, True]
    assert values[0][2] == pytest.approx(1, abs=1e-4)  # the token itself is all that differs


def test_a_part_that_is_zero_changes_nothing(small: Any) -> None:
    model = small("model5")
    with patched(model, [Patch(part="mlp", layer=0), Patch(part="head", layer=1, index=2)]):
        pair = pair_on(model, (65, 66, 67), (99, 98, 67), Target(7, 20))
        assert max(map(abs, whole_map(pair, "mlp")[0])) < 1e-5
        assert abs(whole_map(pair, "heads")[1][2]) < 1e-5
        assert max(map(abs, whole_map(pair, "heads")[0])) > 1e-3


def test_the_last_position_after_the_last_block_decides(small: Any) -> None:
    """The clean residual stream of the last position in the last block: attention still reads corrupt ones."""
    pair = pair_on(small("model3"), (65, 66, 67), (65, 98, 97), Target(7, 20))
    values = whole_map(pair, "residual")
    slow = slow_last(small("model3"), pair)
    assert values[0][2] == pytest.approx(slow, abs=1e-5)


def slow_last(model: Model, pair: PromptPair) -> float:
    with torch.inference_mode():
        streams = pair.corrupt.streams[0].clone()
        streams[2] = pair.clean.streams[0][2]
        x = streams[None]
        for block in model.transformer.blocks:
            x = block(x, 0, None)
    return pair.normalized(pair.measures(x)[0])


def test_no_hook_is_on_the_model_at_any_pause(small: Any) -> None:
    model = small("model5")
    pair = pair_on(model, (65, 66, 67), (99, 98, 67), Target(7, 20))
    for name in MAPS:
        for _ in patched_measures(pair, cells(pair, name, range(2))):
            assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.transformer.modules())


def test_every_cell_is_in_one_group_of_limited_size(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = pair_on(small("model5"), (65, 66, 67, 68, 69, 70), (64, 66, 67, 68, 69, 70), Target(7, 20))
    for limit in (1, 7, 20, 1000):
        monkeypatch.setattr(patching, "TOKENS_AT_ONCE", limit)
        for name in MAPS:
            wanted = cells(pair, name, range(2))
            found = list(groups(pair, wanted))
            assert sorted(map(str, wanted)) == sorted(str(cell) for group in found for cell in group)
            for group in found:
                start = 0 if name == "heads" else min(cell.index for cell in group)
                assert len(group) == 1 or len(group) * (6 - start) <= limit


def test_layers_come_coarse_first_and_each_once() -> None:
    assert [list(layers) for layers in coarse_to_fine(12)] == [[0, 4, 8], [2, 6, 10], [1, 3, 5, 7, 9, 11]]
    for count in range(1, 50):
        passes = [list(layers) for layers in coarse_to_fine(count)]
        assert sorted(n for layers in passes for n in layers) == list(range(count))
        assert len(passes[0]) <= 12


# Refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rung", "clean", "corrupt", "words"),
    [
        ("model1", (65, 66), (65, 67), "has no blocks to patch"),
        ("model5", (65, 66), (65, 66, 67), "the corrupt prompt has 3 tokens, but the prompt has 2"),
        ("model5", (65, 66), (65, 66), "change one word"),
    ],
)
def test_prompts_that_cannot_be_compared_are_refused(
    rung: str, clean: tuple[int, ...], corrupt: tuple[int, ...], words: str, small: Any
) -> None:
    with pytest.raises(UserError, match=words) as caught:
        pair_on(small(rung), clean, corrupt, Target(7, 20))
    assert "\n" not in str(caught.value)


def test_equal_measures_are_refused(small: Any, rung_config: Any) -> None:
    """A model whose attention is zero sees only the last token."""
    model = small("model5")
    every = [Patch(part="attention", layer=layer) for layer in range(2)]
    with patched(model, every), pytest.raises(UserError, match=r"the measure is the same after both prompts \([+-]"):
        pair_on(model, (65, 66), (67, 66))


def test_prompts_longer_than_the_limit_are_refused(rung_config: Any) -> None:
    model = wrapped(random_model(rung_config("model5", 257, embed_dim=12, context=600, blocks=1, heads=2), 0))
    ids = [65] * (MAX_TOKENS + 1)
    with pytest.raises(UserError, match="at most 512"):
        pair_on(model, ids, [66, *ids[1:]])
