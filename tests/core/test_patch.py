"""Patches against arithmetic on the weights, the same for every division into passes, and sweeps against patches."""

import math
from collections.abc import Callable
from dataclasses import asdict, replace

import pytest
import torch
from reference_models import reference
from steps import RUNGS, last, some_ids, step_on, wrapped
from torch import Tensor

from core.activations import sweep as sweeps
from core.activations.apply import InstalledPatches, patched
from core.activations.patch import PATCH_KINDS, PATCH_PARTS, Patch
from core.activations.sweep import all_patches, sweep
from core.engine.config import ModelConfig
from core.engine.model import Transformer
from core.engine.prefix import Prefix
from core.errors import UserError
from core.loading import description, weights
from core.loading.model import Model
from core.progress import Progress
from core.training.dataset import REFERENCE

Small = Callable[..., Model]
LOCATIONS: dict[str, dict[str, int]] = {
    "head": {"layer": 1, "index": 1}, "mlp": {"layer": 1}, "attention": {"layer": 1}, "block": {"layer": 1},
    "position": {"index": 1}, "query": {"layer": 1},
}  # fmt: skip
ONE_OF_EACH = [Patch(kind=kind, part=part, **LOCATIONS[part]) for kind in PATCH_KINDS for part in PATCH_PARTS]


def label(patch: Patch) -> str:
    return patch.label


def logits_of(model: Model, ids: list[int]) -> Tensor:
    """Logits after each position by one forward pass without a cache, [T, V]."""
    with torch.inference_mode():
        return model.transformer(torch.tensor([ids]))[0]


@pytest.mark.parametrize("name", RUNGS)
def test_an_empty_list_of_patches_changes_no_bit(name: str, small: Small) -> None:
    model, ids = small(name), some_ids(6)
    before = logits_of(model, ids)
    with patched(model, []):
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.transformer.modules())
        assert torch.equal(logits_of(model, ids), before)


@pytest.mark.parametrize("name", ["model5", "model6"])
@pytest.mark.parametrize("patch", ONE_OF_EACH, ids=label)
def test_removed_patches_leave_no_change(name: str, patch: Patch, small: Small) -> None:
    model, ids = small(name), some_ids(6)
    before = logits_of(model, ids)
    installed = InstalledPatches(model, [patch])
    during = logits_of(model, ids)
    installed.remove()
    assert (during - before).abs().max() > 1e-4
    assert torch.equal(logits_of(model, ids), before)


@pytest.mark.parametrize("name", ["model5", "model6"])
@pytest.mark.parametrize("patch", ONE_OF_EACH, ids=label)
def test_a_patch_does_not_depend_on_the_division_into_passes(name: str, patch: Patch, small: Small) -> None:
    """One pass, token by token with a cache, in chunks, two rows in a batch, and windows beyond the context."""
    model, ids = small(name), some_ids(15)
    with patched(model, [patch, Patch(kind="scale", part="mlp", layer=0, factor=0.5)]):
        oracle = torch.stack([logits_of(model, ids[max(0, end - 6) : end])[-1] for end in range(1, 16)])
        walk = Prefix(model.transformer)
        for at, id in enumerate(ids):
            walk.append([[id]])
            assert (walk.logits([at])[0, 0] - oracle[at]).abs().max() < 1e-4
        chunks = Prefix(model.transformer, batch=2)
        for chunk in (ids[:4], ids[4:5], ids[5:]):
            chunks.append([chunk, chunk])
            chunks.logits([chunks.length - 1])
        assert (chunks.logits(range(15)) - oracle).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["model3", "model5", "model6"])
def test_a_zeroed_head_equals_zeros_in_its_columns_of_the_output_projection(name: str, small: Small) -> None:
    model, ids = small(name), some_ids(6)
    config = model.transformer.config
    weight = model.transformer.blocks[-1].attention.out.weight
    for head in range(config.heads):
        with patched(model, [Patch(part="head", layer=config.blocks - 1, index=head)]):
            patched_logits = logits_of(model, ids)
        original = weight.clone()
        columns = slice(head * config.head_dim, (head + 1) * config.head_dim)
        weight[:, columns] = 0
        expected = logits_of(model, ids)
        weight.copy_(original)
        assert (patched_logits - expected).abs().max() < 1e-5


def test_each_part_equals_a_change_of_the_weights(small: Small) -> None:
    """MLP, block and queries; a patched position changes no earlier position."""
    model, ids = small("model4"), some_ids(6)
    transformer = model.transformer
    down, qkv = transformer.blocks[1].feed_forward.down, transformer.blocks[0].attention.qkv

    def under(patch: Patch) -> Tensor:
        with patched(model, [patch]):
            return logits_of(model, ids)

    def after(change: Callable[[], None]) -> Tensor:
        original = {name: value.clone() for name, value in transformer.state_dict().items()}
        change()
        logits = logits_of(model, ids)
        transformer.load_state_dict(original)
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
    assert torch.equal(under(Patch(part="position", index=3))[:3], logits_of(model, ids)[:3])


def test_the_mean_is_taken_over_the_reference_text(small: Small) -> None:
    model = small("model4")
    outputs: list[Tensor] = []
    hook = model.transformer.blocks[0].feed_forward.register_forward_hook(
        lambda *arguments: outputs.append(arguments[2])
    )
    logits_of(model, list(REFERENCE.encode()[:6]))
    with patched(model, [Patch(kind="mean", part="mlp", layer=0)]):
        logits_of(model, some_ids(3))
    hook.remove()
    patched_outputs: list[Tensor] = []
    with patched(model, [Patch(kind="mean", part="mlp", layer=0)]):
        hook = model.transformer.blocks[0].feed_forward.register_forward_hook(
            lambda *arguments: patched_outputs.append(arguments[2])
        )
        logits_of(model, some_ids(3))
        hook.remove()
    assert (patched_outputs[0] - outputs[0][0, 1:].mean(0)).abs().max() < 1e-6


def test_noise_has_the_norm_of_the_output_and_depends_on_the_seed(small: Small) -> None:
    model, ids = small("model5"), some_ids(6)
    block = model.transformer.blocks[0]

    def noise(seed: int) -> Tensor:
        outputs: list[Tensor] = []
        with patched(model, [Patch(kind="noise", part="mlp", layer=0, seed=seed)]):
            hook = block.feed_forward.register_forward_hook(lambda *arguments: outputs.append(arguments[2]))
            logits_of(model, ids)
            hook.remove()
        return outputs[0][0]

    original: list[Tensor] = []
    hook = block.feed_forward.register_forward_hook(lambda *arguments: original.append(arguments[2]))
    logits_of(model, ids)
    hook.remove()
    assert torch.allclose(noise(0).norm(dim=-1), original[0][0].norm(dim=-1), rtol=1e-5)
    assert torch.equal(noise(0), noise(0))
    assert (noise(0) - noise(1)).abs().max() > 0.1
    assert (noise(0)[0] / noise(0)[0].norm() - noise(0)[1] / noise(0)[1].norm()).abs().max() > 0.1


# Sweeps --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model1", "model3", "model5", "model6"])
@pytest.mark.parametrize("part", PATCH_PARTS)
@pytest.mark.parametrize("kind", PATCH_KINDS)
def test_a_sweep_measures_each_patch_alone(name: str, part: str, kind: str, small: Small) -> None:
    """Difference of logits and KL at the last position, while another patch is installed."""
    model, ids = small(name), some_ids(6)
    config = model.transformer.config
    patches = all_patches(config, part, kind)  # type: ignore[arg-type]
    if not patches or (part == "mlp" and not config.feed_forward):
        return
    installed = [Patch(kind="scale", part="position", index=2, factor=0.5)]
    with patched(model, installed):
        result = last(sweep(step_on(model, ids, target=7), patches, other=9))
        base = logits_of(model, ids)[-1].double()
        expected = {}
        for patch in patches:
            with patched(model, [patch]):
                row = logits_of(model, ids)[-1].double()
            before, after = base.log_softmax(-1), row.log_softmax(-1)
            kl = (before.exp() * (before - after)).sum().item() / math.log(2)
            expected[patch] = (row[7] - row[9] - base[7] + base[9]).item(), kl
    assert {effect.patch for effect in result.effects} == set(patches)
    assert (result.total, result.target, result.other, result.note) == (len(patches), 7, 9, "")
    for effect in result.effects:
        assert (effect.difference, effect.kl_bits) == pytest.approx(expected[effect.patch], abs=1e-4)
    sizes = [abs(effect.difference) for effect in result.effects]
    assert sizes == sorted(sizes, reverse=True)


def test_a_sweep_reports_progress_and_leaves_the_model_unpatched_at_each_pause(small: Small) -> None:
    model = small("model5")
    step = step_on(model, some_ids(6))
    patches = all_patches(model.transformer.config, "head")
    answers = list(sweep(step, patches, by="kl"))
    progress = [each.done for each in answers if isinstance(each, Progress)]
    assert progress == sorted(progress)
    assert progress[0] == 0
    assert {each.total for each in answers if isinstance(each, Progress)} == {progress[-1]}
    assert [len(each.effects) for each in answers if not isinstance(each, Progress)] == [3, 6]
    sizes = [effect.kl_bits for effect in answers[-1].effects]
    assert sizes == sorted(sizes, reverse=True)
    assert answers[-1].target != answers[-1].other
    for _ in sweep(step, patches):
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.transformer.modules())


@pytest.mark.parametrize("packing", ["int8", "int4"])
@pytest.mark.parametrize("patch", ONE_OF_EACH, ids=label)
def test_patches_act_on_packed_models(packing: str, patch: Patch, packed: Callable[[str], Model]) -> None:
    """A sweep measures the same as the patch alone; token by token equals one pass."""
    model, ids = packed(packing), some_ids(9)
    (effect,) = last(sweep(step_on(model, ids, target=7), [patch], other=9)).effects
    base = logits_of(model, ids)[-1].float()
    with patched(model, [patch]):
        row = logits_of(model, ids)[-1].float()
        walk = Prefix(model.transformer)
        for id in ids:
            walk.append([[id]])
            walk.logits([walk.length - 1])
        assert (walk.logits([8])[0, 0].float() - row).abs().max() < 0.01 * row.abs().max()
    expected = (row[7] - row[9] - base[7] + base[9]).item()
    assert effect.difference == pytest.approx(expected, abs=0.01 * row.abs().max().item())


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Model]:
    """A small Llama whose matrices are packed in 8 or 4 bits."""
    folder = tmp_path_factory.mktemp("model")
    reference("llama", hidden_size=64, intermediate_size=96, vocab_size=257).save_pretrained(folder)
    described = description.describe(folder)
    by_packing = {
        packing: wrapped(weights.build_model(described, torch.device("cpu"), torch.float32, packing))
        for packing in ("int8", "int4")
    }
    return by_packing.__getitem__


def test_a_sweep_of_a_long_text_reads_its_end(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the tokens before it, and the answer says so."""
    monkeypatch.setattr(sweeps, "MAX_TOKENS", 4)
    model, ids = small("model5"), some_ids(6)
    patch = Patch(part="mlp", layer=0)
    cut = last(sweep(step_on(model, ids), [patch]))
    short = last(sweep(step_on(model, ids[-4:]), [patch]))
    assert cut.note == "only the last 4 tokens are read"
    assert cut.effects[0].kl_bits == pytest.approx(short.effects[0].kl_bits, abs=1e-6)


# Errors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"part": "head", "layer": 2, "index": 0}, "layer from 0 to 1"),
        ({"part": "head", "layer": 0, "index": 3}, "head from 0 to 2"),
        ({"part": "head", "layer": 0}, "none is given"),
        ({"part": "mlp"}, "none is given"),
        ({"part": "position", "index": 6}, "position from 0 to 5"),
        ({"part": "position", "index": -1}, "-1 is given"),
        ({"part": "tail"}, "tail"),
        ({"part": "mlp", "layer": 0, "kind": "bend"}, "bend"),
        ({"part": "mlp", "layer": 0, "kind": "scale", "factor": math.inf}, "inf"),
    ],
)
def test_a_part_that_does_not_exist_is_a_user_error_of_one_line(
    values: dict[str, object], says: str, small: Small
) -> None:
    with pytest.raises(UserError, match=says) as error:
        InstalledPatches(small("model5"), [Patch(**values)])  # type: ignore[arg-type]
    assert len(str(error.value).splitlines()) == 1


def test_the_error_names_the_first_rung_that_has_the_part(small: Small) -> None:
    with pytest.raises(UserError, match="model3"):
        InstalledPatches(small("model1"), [Patch(part="attention", layer=0)])
    with pytest.raises(UserError, match="model4"):
        InstalledPatches(small("model3"), [Patch(part="mlp", layer=0)])


def test_a_sweep_over_no_patches_is_a_user_error(small: Small) -> None:
    """A model without heads has no patch of a head."""
    model = small("model1")
    with pytest.raises(UserError, match="model1 has no part of that kind"):
        next(sweep(step_on(model, some_ids(3)), all_patches(model.transformer.config, "head")))


def test_a_patch_is_rebuilt_from_its_fields() -> None:
    """A session can save it and load an equal one."""
    for patch in ONE_OF_EACH:
        assert Patch(**asdict(patch)) == patch
        assert patch.label


def test_with_grouped_heads_a_head_is_a_query_head(stirred: Callable[[ModelConfig], Transformer]) -> None:
    """With fewer key heads than query heads, patches count and change the query heads."""
    config = ModelConfig(
        vocab_size=257, embed_dim=16, context=6, blocks=1, heads=4, group=2, positions="rotary", norm="rms",
        pre_norm=True, feed_forward=True, gated=True, biases=(), final_activation=False,
    )  # fmt: skip
    model = wrapped(stirred(config))
    assert len(all_patches(config, "head")) == 4
    with patched(model, [Patch(part="query", layer=0)]):
        inputs: list[tuple[Tensor, ...]] = []
        hook = model.transformer.blocks[0].attention.attend.register_forward_hook(
            lambda *arguments: inputs.append(arguments[1])
        )
        logits_of(model, some_ids(4))
        hook.remove()
    q, k, _ = inputs[0]
    assert not q.any()
    assert k.any()
