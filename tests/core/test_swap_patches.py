"""Patches that swap an activation with that of another prompt: against activation patching, and in walks and files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from prompt_pairs import pair_on
from steps import returned

from core.activations.apply import patched
from core.activations.patch import Patch, PatchPart, toggled
from core.causal.patching import Cell, MapName, patched_measures
from core.causal.question import CausalQuestion
from core.causal.target import Target
from core.errors import UserError
from core.lenses import lens
from core.sessions import resume
from core.sessions.reader import read_record
from core.sessions.record import record_of
from core.sessions.writer import write_record
from core.walk.session import Session

CLEAN, CORRUPT, TARGET = (65, 66, 67, 68), (65, 99, 67, 70), Target(7, 20)
PARTS: dict[MapName, PatchPart] = {"residual": "position", "attention": "attention", "mlp": "mlp", "heads": "head"}


def measure(model: Any, ids: tuple[int, ...]) -> float:
    with torch.inference_mode():
        return TARGET.measure(model.transformer(torch.tensor([ids]))[0, -1]).item()


@pytest.mark.parametrize("name", PARTS)
def test_a_swap_is_the_cell_of_the_map(name: MapName, small: Any) -> None:
    """The clean activation in a pass over the corrupt prompt."""
    model = small("model6")
    pair = pair_on(model, CLEAN, CORRUPT, TARGET)
    for layer, index in ((0, 1), (1, 1)):
        cell = Cell(name, layer, index)
        with patched(model, [Patch(kind="swap", part=PARTS[name], layer=layer, index=index, ids=CLEAN)]):
            found = pair.normalized(measure(model, CORRUPT))
        assert found == pytest.approx(returned(patched_measures(pair, [cell]))[cell], abs=1e-5)


def test_swapping_a_part_of_the_same_prompt_changes_nothing(small: Any) -> None:
    model = small("model6")
    patches = [Patch(kind="swap", part=part, layer=1, index=1, ids=CLEAN) for part in PARTS.values()]
    before = measure(model, CLEAN)
    with patched(model, patches):
        assert measure(model, CLEAN) == pytest.approx(before, abs=1e-5)


def test_all_heads_and_mlps_of_the_clean_prompt_give_the_clean_measure(small: Any) -> None:
    """The last tokens are equal, so all that differs at the last position is what heads and MLPs wrote."""
    model, corrupt = small("model6"), (65, 99, 71, 68)
    every = [Patch(kind="swap", part="head", layer=n, index=head, ids=CLEAN) for n in range(2) for head in range(2)]
    every += [Patch(kind="swap", part="mlp", layer=n, index=at, ids=CLEAN) for n in range(2) for at in range(4)]
    with patched(model, every):
        assert measure(model, corrupt) == pytest.approx(measure(model, CLEAN), abs=1e-4)
    assert abs(measure(model, corrupt) - measure(model, CLEAN)) > 1e-2


@pytest.mark.parametrize("part", PARTS.values())
def test_a_walk_step_by_step_is_one_pass_over_the_whole(part: PatchPart, small: Any) -> None:
    """A swap depends on the position alone; beyond the other prompt it does nothing."""
    model, ids = small("model6"), [65, 66, 67, 68, 69, 70]
    with patched(model, [Patch(kind="swap", part=part, layer=1, index=1, ids=CORRUPT)]), torch.inference_mode():
        whole = model.transformer(torch.tensor([ids]))[0, -1]
        prefix = model.sequences()
        for id in ids:
            prefix.append([[id]])
            by_steps = prefix.distributions([prefix.length - 1])[0][0].logits
    assert torch.allclose(whole, by_steps, atol=1e-4)


def test_a_walk_with_a_swap_is_saved_and_resumed(small: Any, tmp_path: Path) -> None:
    model = small("model6")
    walk = Session(model)
    list(walk.prefill(list(CLEAN)))
    patch = Patch(kind="swap", part="attention", layer=1, index=3, ids=CORRUPT)
    before = walk.chart(3)
    list(walk.patch(toggled(walk.patches, patch)))
    assert walk.patches == (patch,)
    assert [each.unpatched for each in walk.chart(3).candidates] != [None] * 3
    write_record(tmp_path / "walk.json", record_of(walk))
    swapped = walk.distribution().logits
    list(walk.patch(toggled(walk.patches, patch)))
    assert walk.patches == ()
    assert walk.chart(3) == before
    opened = resume.session(read_record(tmp_path / "walk.json"), model)
    assert opened.patches == (patch,)
    assert (opened.distribution().logits - swapped).abs().max() < 1e-5
    list(opened.patch(()))


def test_ids_of_a_file_that_are_no_ids_are_refused(small: Any, tmp_path: Path) -> None:
    walk = Session(small("model6"))
    list(walk.prefill(list(CLEAN)))
    path = tmp_path / "walk.json"
    write_record(
        path, replace(record_of(walk), patches=(Patch(kind="swap", part="head", layer=0, index=0, ids=(5, 6)),))
    )
    path.write_text(path.read_text().replace("[5, 6]", '[5, "6"]').replace("[5,6]", '[5,"6"]'))
    with pytest.raises(UserError, match="ids"):
        read_record(path)


def test_the_contrast_of_a_swapped_walk_is_that_of_the_model_without_it(small: Any) -> None:
    walk = Session(small("model6"))
    list(walk.prefill(list(CLEAN)))
    question = CausalQuestion(7, 20, corrupt=CORRUPT)

    def answers() -> Any:
        return lens("contrast")(walk.current_step(), question)

    *_, before = walk.reader.without_swaps(answers)
    list(walk.patch([Patch(kind="swap", part="head", layer=0, index=0, ids=CORRUPT)]))
    try:
        *_, after = walk.reader.without_swaps(answers)
        hooks = [bool(each._forward_pre_hooks) for each in walk.model.transformer.modules()]
        assert any(hooks)
    finally:
        list(walk.patch([]))
    assert after == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ids": ()}, "the patch swap does not apply to the part head; swap one of head, mlp, attention, position"),
        ({"kind": "zero"}, "the patch zero does not apply to the part head"),
        ({"part": "query"}, "the patch swap does not apply to the part query"),
        ({"part": "mlp", "index": 4}, "the patch of a mlp needs a position from 0 to 3: 4 is given"),
        ({"part": "position", "index": 1, "layer": 2}, "the patch of a position needs a layer from 0 to 1: 2 is given"),
        ({"index": 2}, "the patch of a head needs a head from 0 to 1: 2 is given"),
        ({"ids": (1, 257)}, "does not fit this model"),
        ({"ids": (1,) * 7}, "reads up to 6 ids"),
    ],
)
def test_swaps_that_no_model_can_have_are_refused(changes: dict[str, Any], words: str, small: Any) -> None:
    values: dict[str, Any] = {"kind": "swap", "part": "head", "layer": 1, "index": 1, "ids": CORRUPT}
    with pytest.raises(UserError, match=words):
        Patch(**values | changes).check(small("model6").transformer.config)


def test_labels() -> None:
    labels = [Patch(kind="swap", part=part, layer=1, index=3, ids=CORRUPT).label for part in PARTS.values()]
    assert labels == ["swap residual 1 at 3", "swap attention 1 at 3", "swap mlp 1 at 3", "swap head 1.3"]
