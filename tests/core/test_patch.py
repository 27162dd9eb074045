"""Patches against arithmetic on the weights, the same however tokens are read, and gone when they are removed."""

import math
from collections.abc import Callable
from dataclasses import asdict, replace

import pytest
import torch
from steps import RUNGS, last, some_ids, step_on, wrapped
from test_families import reference
from torch import Tensor

from core.activations import hooks as experiments
from core.activations.hooks import Installed, every, patched, sweep
from core.activations.patch import PATCH_KINDS, PATCH_PARTS, Patch
from core.engine.config import ModelConfig
from core.engine.model import Transformer
from core.engine.prefix import Prefix
from core.errors import UserError
from core.loading import description, weights
from core.loading.models import Model
from core.progress import Progress
from core.training.dataset import REFERENCE

Small = Callable[..., Model]
PLACES: dict[str, dict[str, int]] = {
    "head": {"layer": 1, "index": 1}, "mlp": {"layer": 1}, "attention": {"layer": 1}, "block": {"layer": 1},
    "position": {"index": 1}, "query": {"layer": 1},
}  # fmt: skip
ONE_OF_EACH = [Patch(kind=kind, part=part, **PLACES[part]) for kind in PATCH_KINDS for part in PATCH_PARTS]


def named(patch: Patch) -> str:
    return patch.words


def whole(model: Model, ids: list[int]) -> Tensor:
    with torch.inference_mode():
        return model.transformer(torch.tensor([ids]))[0]


@pytest.mark.parametrize("name", RUNGS)
def test_no_patches_change_nothing_bit_for_bit(name: str, small: Small) -> None:
    model, ids = small(name), some_ids(6)
    before = whole(model, ids)
    with patched(model, []):
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.transformer.modules())
        assert torch.equal(whole(model, ids), before)


@pytest.mark.parametrize("name", ["model5", "model6"])
@pytest.mark.parametrize("patch", ONE_OF_EACH, ids=named)
def test_removed_patches_leave_nothing(name: str, patch: Patch, small: Small) -> None:
    model, ids = small(name), some_ids(6)
    before = whole(model, ids)
    installed = Installed(model, [patch])
    during = whole(model, ids)
    installed.remove()
    assert (during - before).abs().max() > 1e-4
    assert torch.equal(whole(model, ids), before)


@pytest.mark.parametrize("name", ["model5", "model6"])
@pytest.mark.parametrize("patch", ONE_OF_EACH, ids=named)
def test_however_tokens_are_read_a_patch_gives_the_same(name: str, patch: Patch, small: Small) -> None:
    """In one pass, token by token through the cache, in pieces, two rows at once, and in windows beyond the context."""
    model, ids = small(name), some_ids(15)
    with patched(model, [patch, Patch(kind="scale", part="mlp", layer=0, factor=0.5)]):
        oracle = torch.stack([whole(model, ids[max(0, end - 6) : end])[-1] for end in range(1, 16)])
        walk = Prefix(model.transformer)
        for at, id in enumerate(ids):
            walk.append([[id]])
            assert (walk.logits([at])[0, 0] - oracle[at]).abs().max() < 1e-4
        pieces = Prefix(model.transformer, batch=2)
        for part in (ids[:4], ids[4:5], ids[5:]):
            pieces.append([part, part])
            pieces.logits([pieces.length - 1])
        assert (pieces.logits(range(15)) - oracle).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["model3", "model5", "model6"])
def test_a_zeroed_head_is_its_slice_of_the_output_projection_removed(name: str, small: Small) -> None:
    model, ids = small(name), some_ids(6)
    config = model.transformer.config
    weight = model.transformer.blocks[-1].attention.out.weight
    for head in range(config.heads):
        with patched(model, [Patch(part="head", layer=config.blocks - 1, index=head)]):
            got = whole(model, ids)
        kept = weight.clone()
        columns = slice(head * config.head_dim, (head + 1) * config.head_dim)
        weight[:, columns] = 0
        want = whole(model, ids)
        weight.copy_(kept)
        assert (got - want).abs().max() < 1e-5


def test_parts_are_what_they_say(small: Small) -> None:
    """An MLP's output projection zeroed, a block left out, queries scaled by their matrix, a position of other ids."""
    model, ids = small("model4"), some_ids(6)
    transformer = model.transformer
    down, qkv = transformer.blocks[1].feed_forward.down, transformer.blocks[0].attention.qkv

    def under(patch: Patch) -> Tensor:
        with patched(model, [patch]):
            return whole(model, ids)

    def after(change: Callable[[], None]) -> Tensor:
        kept = {name: value.clone() for name, value in transformer.state_dict().items()}
        change()
        logits = whole(model, ids)
        transformer.load_state_dict(kept)
        return logits

    def no_mlp() -> None:
        down.weight.zero_()
        down.bias.zero_()

    def larger_queries() -> None:
        qkv.weight[:12] *= 3
        qkv.bias[:12] *= 3

    def no_queries() -> None:
        qkv.weight[:12] = 0
        qkv.bias[:12] = 0

    assert (under(Patch(part="mlp", layer=1)) - after(no_mlp)).abs().max() < 1e-5
    scaled = Patch(kind="scale", part="query", layer=0, factor=3.0)
    assert (under(scaled) - after(larger_queries)).abs().max() < 1e-4
    assert (under(Patch(part="query", layer=0)) - after(no_queries)).abs().max() < 1e-5
    shorter = Transformer(replace(transformer.config, blocks=1))
    shorter.load_state_dict({k: v for k, v in transformer.state_dict().items() if "blocks.1" not in k})
    with torch.inference_mode():
        assert (under(Patch(part="block", layer=1)) - shorter(torch.tensor([ids]))[0]).abs().max() < 1e-5
    assert torch.equal(under(Patch(part="position", index=3))[:3], whole(model, ids)[:3])


def test_a_mean_is_that_of_the_reference_text(small: Small) -> None:
    model = small("model4")
    seen: list[Tensor] = []
    hook = model.transformer.blocks[0].feed_forward.register_forward_hook(lambda *given: seen.append(given[2]))
    whole(model, list(REFERENCE.encode()[:6]))
    with patched(model, [Patch(kind="mean", part="mlp", layer=0)]):
        whole(model, some_ids(3))
    hook.remove()
    changed: list[Tensor] = []
    with patched(model, [Patch(kind="mean", part="mlp", layer=0)]):
        hook = model.transformer.blocks[0].feed_forward.register_forward_hook(lambda *given: changed.append(given[2]))
        whole(model, some_ids(3))
        hook.remove()
    assert (changed[0] - seen[0][0, 1:].mean(0)).abs().max() < 1e-6


def test_noise_has_the_length_of_what_it_replaces_and_comes_from_the_seed(small: Small) -> None:
    model, ids = small("model5"), some_ids(6)
    block = model.transformer.blocks[0]

    def given(seed: int) -> Tensor:
        seen: list[Tensor] = []
        with patched(model, [Patch(kind="noise", part="mlp", layer=0, seed=seed)]):
            hook = block.feed_forward.register_forward_hook(lambda *given: seen.append(given[2]))
            whole(model, ids)
            hook.remove()
        return seen[0][0]

    original: list[Tensor] = []
    hook = block.feed_forward.register_forward_hook(lambda *given: original.append(given[2]))
    whole(model, ids)
    hook.remove()
    assert torch.allclose(given(0).norm(dim=-1), original[0][0].norm(dim=-1), rtol=1e-5)
    assert torch.equal(given(0), given(0))
    assert (given(0) - given(1)).abs().max() > 0.1
    assert (given(0)[0] / given(0)[0].norm() - given(0)[1] / given(0)[1].norm()).abs().max() > 0.1


# Sweeps --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model1", "model3", "model5", "model6"])
@pytest.mark.parametrize("part", PATCH_PARTS)
@pytest.mark.parametrize("kind", PATCH_KINDS)
def test_a_sweep_finds_what_each_patch_alone_does(name: str, part: str, kind: str, small: Small) -> None:
    """Δlogit and KL at the last position, with another patch installed all the while."""
    model, ids = small(name), some_ids(6)
    config = model.transformer.config
    patches = every(config, part, kind)  # type: ignore[arg-type]
    if not patches or (part == "mlp" and not config.feed_forward):
        return
    on = [Patch(kind="scale", part="position", index=2, factor=0.5)]
    with patched(model, on):
        found = last(sweep(step_on(model, ids, target=7), patches, other=9))
        base = whole(model, ids)[-1].double()
        want = {}
        for patch in patches:
            with patched(model, [patch]):
                row = whole(model, ids)[-1].double()
            before, after = base.log_softmax(-1), row.log_softmax(-1)
            kl = (before.exp() * (before - after)).sum().item() / math.log(2)
            want[patch] = (row[7] - row[9] - base[7] + base[9]).item(), kl
    assert {effect.patch for effect in found.effects} == set(patches)
    assert (found.total, found.target, found.other, found.note) == (len(patches), 7, 9, "")
    for effect in found.effects:
        assert (effect.difference, effect.kl_bits) == pytest.approx(want[effect.patch], abs=1e-4)
    sizes = [abs(effect.difference) for effect in found.effects]
    assert sizes == sorted(sizes, reverse=True)


def test_a_sweep_tells_how_far_it_is_and_may_be_broken_off(small: Small) -> None:
    model = small("model5")
    step = step_on(model, some_ids(6))
    patches = every(model.transformer.config, "head")
    seen = list(sweep(step, patches, by="kl"))
    readings = [each.done for each in seen if isinstance(each, Progress)]
    assert readings == sorted(readings)
    assert readings[0] == 0
    assert {each.total for each in seen if isinstance(each, Progress)} == {readings[-1]}
    assert [len(each.effects) for each in seen if not isinstance(each, Progress)] == [3, 6]
    sizes = [effect.kl_bits for effect in seen[-1].effects]
    assert sizes == sorted(sizes, reverse=True)
    assert seen[-1].target != seen[-1].other
    for _ in sweep(step, patches):  # at each pause the model is its own
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.transformer.modules())


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("patch", ONE_OF_EACH, ids=named)
def test_packed_models_take_the_same_patches(bits: int, patch: Patch, packed: Callable[[int], Model]) -> None:
    """A sweep finds what the patch alone does; token by token as in one pass."""
    model, ids = packed(bits), some_ids(9)
    (effect,) = last(sweep(step_on(model, ids, target=7), [patch], other=9)).effects
    base = whole(model, ids)[-1].float()
    with patched(model, [patch]):
        row = whole(model, ids)[-1].float()
        walk = Prefix(model.transformer)
        for id in ids:
            walk.append([[id]])
            walk.logits([walk.length - 1])
        assert (walk.logits([8])[0, 0].float() - row).abs().max() < 0.01 * row.abs().max()
    want = (row[7] - row[9] - base[7] + base[9]).item()
    assert effect.difference == pytest.approx(want, abs=0.01 * row.abs().max().item())


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Model]:
    """A small Llama whose matrices are packed."""
    folder = tmp_path_factory.mktemp("model")
    reference("llama", hidden_size=64, intermediate_size=96, vocab_size=257).save_pretrained(folder)
    described = description.describe(folder)
    made = {bits: wrapped(weights.build_model(described, torch.device("cpu"), torch.float32, bits)) for bits in (8, 4)}
    return made.__getitem__


def test_of_a_long_text_the_end_is_swept(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read by itself, and the answer says so."""
    monkeypatch.setattr(experiments, "SWEPT", 4)
    model, ids = small("model5"), some_ids(6)
    patch = Patch(part="mlp", layer=0)
    found = last(sweep(step_on(model, ids), [patch]))
    short = last(sweep(step_on(model, ids[-4:]), [patch]))
    assert found.note == "read by the last 4 tokens alone"
    assert found.effects[0].kl_bits == pytest.approx(short.effects[0].kl_bits, abs=1e-6)


# Mistakes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"part": "head", "layer": 2, "index": 0}, "layer from 0 to 1"),
        ({"part": "head", "layer": 0, "index": 3}, "head from 0 to 2"),
        ({"part": "head", "layer": 0}, "missing"),
        ({"part": "mlp"}, "missing"),
        ({"part": "position", "index": 6}, "position from 0 to 5"),
        ({"part": "position", "index": -1}, "not -1"),
        ({"part": "tail"}, "tail"),
        ({"part": "mlp", "layer": 0, "kind": "bend"}, "bend"),
        ({"part": "mlp", "layer": 0, "kind": "scale", "factor": math.inf}, "inf"),
    ],
)
def test_a_part_the_model_lacks_is_a_mistake(values: dict[str, object], says: str, small: Small) -> None:
    with pytest.raises(UserError, match=says) as mistake:
        Installed(small("model5"), [Patch(**values)])  # type: ignore[arg-type]
    assert len(str(mistake.value).splitlines()) == 1


def test_rungs_without_a_part_say_where_it_begins(small: Small) -> None:
    with pytest.raises(UserError, match="model3"):
        Installed(small("model1"), [Patch(part="attention", layer=0)])
    with pytest.raises(UserError, match="model4"):
        Installed(small("model3"), [Patch(part="mlp", layer=0)])


def test_no_patches_are_no_sweep(small: Small) -> None:
    """What the model has none of gives nothing to try."""
    model = small("model1")
    with pytest.raises(UserError, match="model1 has nothing of that kind"):
        next(sweep(step_on(model, some_ids(3)), every(model.transformer.config, "head")))


def test_a_patch_is_plain_data() -> None:
    """It can be saved with a walk and comes back the same."""
    for patch in ONE_OF_EACH:
        assert Patch(**asdict(patch)) == patch
        assert patch.words


def test_grouped_heads_are_queries_not_keys(stirred: Callable[[ModelConfig], Transformer]) -> None:
    """With fewer key heads than query heads, a head is still one of the query heads."""
    config = ModelConfig(
        vocab_size=257, embed_dim=16, context=6, blocks=1, heads=4, group=2, positions="rotary", norm="rms",
        pre_norm=True, feed_forward=True, gated=True, biases=(), final_activation=False,
    )  # fmt: skip
    model = wrapped(stirred(config))
    assert len(every(config, "head")) == 4
    with patched(model, [Patch(part="query", layer=0)]):
        seen: list[tuple[Tensor, ...]] = []
        hook = model.transformer.blocks[0].attention.attend.register_forward_hook(lambda *given: seen.append(given[1]))
        whole(model, some_ids(4))
        hook.remove()
    q, k, _ = seen[0]
    assert not q.any()
    assert k.any()
