"""Gradients with respect to activations, against transformers, one graph of autograd, and float64 differences."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import base, save_adapter
from reference_models import ids, reference, wide
from steps import returned
from torch import Tensor

from core.activations.apply import patched
from core.activations.patch import Patch
from core.causal.backward import Gradients, Site, embedded, gradients, stream_of, token_embedding
from core.causal.target import Target
from core.engine.model import Transformer, random_model
from core.engine.packed.linear import PackedLinear, matrix
from core.loading import description, weights
from core.loading.adapters.attach import attach
from core.loading.model import Model

TARGET = Target(7, 20)
FAMILIES = [
    "gpt2", "llama", "pythia", "gemma2", "olmo2", "qwen3", "mixtral", "gpt-oss", "opt-norms-after", "bloom",
    "falcon-7b", "phi-3-partial", "granite",
]  # fmt: skip
SITES = [Site("attention"), Site("feed_forward"), *(Site("attention.attend", n) for n in range(3)), Site("norm1", 0)]


def ours(folder: Path, dtype: torch.dtype = torch.float32, packing: str | None = None) -> Transformer:
    return weights.build_model(description.describe(folder), torch.device("cpu"), dtype, packing)


def gradients_of(model: Transformer, sites: list[Site] = SITES, target: Target = TARGET) -> Gradients:
    return returned(gradients(model, embedded(model, ids()), target.measure, sites))


def close(found: Tensor, wanted: Tensor, within: float = 1e-3) -> bool:
    return bool((found - wanted).abs().max() <= within * wanted.abs().max())


# Against references --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", FAMILIES)
def test_gradients_of_every_residual_stream_equal_those_of_transformers(case: str, tmp_path: Path) -> None:
    """Norms before and after, parallel blocks, soft caps, windows, sinks, experts, ALiBi, partial rotary positions."""
    model = reference(case)
    model.save_pretrained(tmp_path)
    output = model(ids(), output_hidden_states=True)
    before = output.hidden_states[:-1]  # the last is after the final norm
    measure = TARGET.measure(output.logits[:, -1])
    wanted = torch.autograd.grad(measure.sum(), before)
    found = gradients_of(ours(tmp_path))
    assert (found.measure - measure).abs().max() < 1e-4
    for own, theirs in zip(found.stream_gradients, wanted, strict=False):
        assert close(own, theirs), case


def differences(measure: Callable[[Tensor], float], at: Tensor, step: float = 1e-6) -> Tensor:
    """Central differences of a measure with respect to each number of `at`, float64."""
    found = torch.zeros(at.numel(), dtype=at.dtype)
    for n, shift in enumerate(step * torch.eye(at.numel(), dtype=at.dtype)):
        found[n] = (measure(at + shift.view(at.shape)) - measure(at - shift.view(at.shape))) / (2 * step)
    return found.view(at.shape)


@pytest.mark.parametrize("site", [None, *SITES], ids=str)
@pytest.mark.parametrize("rung", ["model5", "model6"])
def test_gradients_equal_central_differences_in_float64(
    rung: str, site: Site | None, rung_config: Any, stirred: Any
) -> None:
    """For the stream and each kind of site, of every number of one block's activation; within 1e-6 of the largest."""
    changes = {"embed_dim": 8, "context": 4, "blocks": 2, "heads": 2}
    model = stirred(rung_config(rung, **changes)).double()
    text = torch.tensor([[5, 90, 33]])
    stream = embedded(model, text)
    found = returned(gradients(model, stream, TARGET.measure, [] if site is None else [site]))
    block, module = model.blocks[1], None if site is None else model.blocks[1].get_submodule(site.module)

    def measured(value: Tensor) -> float:
        def replace(*call: Any) -> Any:
            if site is None or site.input is None:
                return value
            return (*call[1][: site.input], value, *call[1][site.input + 1 :])

        if site is None:
            handle = block.register_forward_pre_hook(lambda _, inputs: (value, *inputs[1:]))
        elif site.input is None:
            handle = module.register_forward_hook(replace)
        else:
            handle = module.register_forward_pre_hook(replace)
        with torch.no_grad():
            result = TARGET.measure(model(text)[:, -1]).item()
        handle.remove()
        return result

    at, own = found.streams[1], found.stream_gradients[1]
    if site is not None:
        at, own = found.values[1, site], found.gradients[1, site]
    assert close(own, differences(measured, at), 1e-6)


# Whatever computes the model -----------------------------------------------------------------------------------------


def one_graph(model: Transformer) -> Tensor:
    """The gradient of the stream before the first block by autograd through the whole model at once."""
    stream = embedded(model, ids()).requires_grad_()
    x = stream
    for block in model.blocks:
        model.position(torch.arange(x.shape[1]))
        x = block(x, 0, None)
    measure = TARGET.measure(model.logits(model.final(x))[:, -1])
    return torch.autograd.grad(measure.sum(), stream)[0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_in_16_bits_take_part_in_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    reference("llama").to(dtype).save_pretrained(tmp_path)
    low, high = ours(tmp_path, dtype), ours(tmp_path, torch.float32)
    found, wanted = gradients_of(low), gradients_of(high)
    assert torch.equal(found.stream_gradients[0], wanted.stream_gradients[0])
    assert low.dtype is dtype and low(ids()).dtype is dtype


@pytest.mark.parametrize("packing", ["int8", "int4"])
@pytest.mark.parametrize("case", ["llama", "gpt2"])
def test_packed_weights_have_the_gradients_of_the_dequantized_ones(case: str, packing: str, tmp_path: Path) -> None:
    """But for the rounding of activations, which a gradient takes no notice of: within 0.5 % of the largest."""
    reference(case, **wide(case)).save_pretrained(tmp_path)
    packed, plain = ours(tmp_path, packing=packing), ours(tmp_path)
    for name, module in packed.named_modules():
        if hasattr(module, "dequantize"):
            plain.get_submodule(name).weight.data = matrix(module)
    found, wanted = gradients_of(packed), gradients_of(plain)
    assert isinstance(packed.blocks[0].attention.qkv, PackedLinear)
    assert close(found.measure, wanted.measure, 0.005)
    assert close(found.stream_gradients[0], wanted.stream_gradients[0], 0.005)


def test_an_adapter_takes_part(tmp_path: Path) -> None:
    reference("llama").save_pretrained(tmp_path / "base")
    save_adapter(tmp_path / "adapter", reference("llama"), target_modules=["q_proj", "v_proj", "down_proj"])
    family, model = base(tmp_path / "base")
    without = gradients_of(model).stream_gradients[0]
    attach(tmp_path / "adapter", family, model, 1.0)
    found = gradients_of(model).stream_gradients[0]
    assert close(found, one_graph(model), 1e-5) and not close(found, without, 0.1)


def test_patches_take_part(small: Callable[..., Model]) -> None:
    """Each part; what replaces a part has a gradient too."""
    model = small("model5")
    text = torch.tensor([[5, 90, 33, 7, 99]])
    patches = [
        Patch(part="position", index=2, kind="scale", factor=3.0),
        Patch(part="mlp", layer=0),
        Patch(part="head", layer=1, index=2),
        Patch(part="query", layer=0, kind="scale"),
        Patch(part="block", layer=1, kind="noise"),
    ]
    stream = embedded(model.transformer, text)
    graph = stream.clone().requires_grad_()
    with patched(model, patches):
        found = returned(gradients(model.transformer, stream, TARGET.measure, SITES))
        x = graph
        for block in model.transformer.blocks:
            model.transformer.position(torch.arange(5))
            x = block(x, 0, None)
        measure = TARGET.measure(model.transformer.logits(model.transformer.final(x))[:, -1])
    assert close(found.stream_gradients[0], torch.autograd.grad(measure, graph)[0], 1e-5)
    assert found.measure.item() == pytest.approx(measure.item(), abs=1e-5)
    replaced = Site("feed_forward")
    assert not found.values[0, replaced].any() and found.gradients[0, replaced].abs().max() > 0


# The model afterwards ------------------------------------------------------------------------------------------------


@torch.inference_mode()
def test_the_model_is_unchanged_at_every_pause(tmp_path: Path) -> None:
    """No hook, no gradient, the same parameters and logits bit for bit; also within inference mode."""
    reference("llama", **wide("llama")).save_pretrained(tmp_path)
    for packing in (None, "int4"):
        model = ours(tmp_path, packing=packing)
        before = model(ids())
        parameters = dict(model.named_parameters())
        pauses = 0
        for _ in gradients(model, embedded(model, ids()), TARGET.measure, SITES):
            pauses += 1
            assert not any(each._forward_hooks or each._forward_pre_hooks for each in model.modules())
            assert all(model.get_parameter(name) is each for name, each in parameters.items())
        assert pauses == 2 * len(model.blocks)
        assert all(each.grad is None and not each.requires_grad for each in parameters.values())
        assert torch.equal(model(ids()), before)


def test_weights_made_in_inference_mode_can_take_part(rung_config: Any) -> None:
    config = rung_config("model6", embed_dim=8, context=30, blocks=2, heads=2)
    with torch.inference_mode():
        frozen = random_model(config, 0)
    found, wanted = gradients_of(frozen), gradients_of(random_model(config, 0))
    assert torch.equal(found.stream_gradients[0], wanted.stream_gradients[0])


@pytest.mark.parametrize("rung", ["model1", "model2", "model3"])
def test_models_without_blocks_or_mlps_have_gradients(rung: str, small: Callable[..., Model]) -> None:
    """A zero-layer model has that of its last token alone; a site that a model lacks has no value."""
    model = small(rung).transformer
    stream = embedded(model, torch.tensor([[5, 90, 33]]))
    found = returned(gradients(model, stream, TARGET.measure, [Site("feed_forward")]))
    assert not found.values and found.stream_gradients[0][0, -1].abs().max() > 0
    assert bool(found.stream_gradients[0][0, :-1].abs().max() > 0) is (rung == "model3")


@pytest.mark.parametrize("case", ["gpt2", "gemma2", "bloom", "opt-norms-after"])
def test_the_stream_follows_from_the_token_embedding(case: str, tmp_path: Path) -> None:
    """With the scale, the norm, the map and the positions that a family has; as the model itself computes it."""
    reference(case).save_pretrained(tmp_path)
    model = ours(tmp_path)
    embedding = token_embedding(model, ids())
    assert torch.allclose(stream_of(model, embedding), model.embedded(ids(), 0), atol=1e-6)
    assert stream_of(model, embedding.requires_grad_()).requires_grad
