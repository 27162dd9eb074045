"""Each family computes what the reference implementation computes, from the files that it writes itself."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from reference_models import CASES, LONG, ids, long_context, long_ids, reference
from torch import Tensor

from core.engine.cache import KVCache
from core.engine.config import ModelConfig
from core.engine.model import Transformer, random_model
from core.loading import description, weights


@pytest.fixture(scope="module", params=CASES)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Transformer, Tensor]:
    """Our model from the files that transformers wrote, and the logits of transformers at every position."""
    model, folder = reference(request.param, **long_context(request.param)), tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    with torch.inference_mode():
        want = model(long_ids()).logits
    return weights.build_model(description.describe(folder), torch.device("cpu"), torch.float32), want


@torch.inference_mode()
@pytest.mark.parametrize("sizes", [None, [LONG], [97, 1, 9, *[1] * 11, LONG - 118]], ids=["whole", "prefill", "chunks"])
def test_logits_equal_those_of_transformers(both: tuple[Transformer, Tensor], sizes: list[int] | None) -> None:
    """Within 1e-4 at each of 210 positions: in one go, and in chunks and single tokens through the cache."""
    model, want = both
    cache = KVCache(model.config, 2, torch.device("cpu"), torch.float32) if sizes else None
    parts = long_ids().split(sizes or [LONG], dim=1)
    assert (torch.cat([model(part, cache) for part in parts], dim=1) - want).abs().max() < 1e-4


def test_the_config_counts_the_parameters_without_building_the_model(both: tuple[Transformer, Tensor]) -> None:
    """For every option; a tied matrix counts once."""
    model, _ = both
    assert model.config.parameter_count() == model.parameter_count()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_models_have_nearly_the_distribution_of_transformers(dtype: torch.dtype, tmp_path: Path) -> None:
    """float32 files computed in 16 bits: KL divergence below 0.05 nats."""
    model = reference("llama")
    model.save_pretrained(tmp_path)
    ours = weights.build_model(description.describe(tmp_path), torch.device("cpu"), dtype)
    assert ours.dtype is dtype
    with torch.inference_mode():
        want, got = model(ids()).logits.log_softmax(-1), ours(ids()).float().log_softmax(-1)
    assert (want.exp() * (want - got)).sum(-1).mean() < 0.05


def test_configs_from_before_transformers_5_are_read_alike(tmp_path: Path) -> None:
    """They have `rope_theta` and `rope_scaling` instead of `rope_parameters`."""
    reference("llama-scaled").save_pretrained(tmp_path)
    new = description.describe(tmp_path).config
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    rope = values.pop("rope_parameters")
    values["rope_theta"] = rope.pop("rope_theta")
    values["rope_scaling"] = rope
    path.write_text(json.dumps(values))
    assert description.describe(tmp_path).config == new
    values["rope_scaling"] = {**rope, "type": rope["rope_type"], "rope_type": None}
    path.write_text(json.dumps(values))
    assert description.describe(tmp_path).config == new


def test_training_may_follow_walking(rung_config: Callable[..., ModelConfig]) -> None:
    """The cached table of rotary angles does not prevent gradients."""
    model = random_model(rung_config("model6"), seed=0)
    with torch.inference_mode():
        model(torch.zeros(1, 8, dtype=torch.long))
    model.requires_grad_()
    model(torch.zeros(1, 8, dtype=torch.long)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_rotary_products_depend_only_on_the_distance(rung_config: Callable[..., ModelConfig]) -> None:
    """The product of a query and a key is the same at equal distances (Su et al. 2021, eq. 16)."""
    turn = random_model(rung_config("model6"), seed=0).blocks[0].attention.rotary
    q, k = torch.randn(2, 1, 1, 1, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    near, far, other = ((turn(q, at) * turn(k, before)).sum().item() for at, before in ((7, 3), (47, 43), (7, 4)))
    assert near == pytest.approx(far, abs=1e-9)
    assert near != pytest.approx(other, abs=1e-2)
