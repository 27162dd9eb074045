"""The static step equals the plain step: at each position, after a rewind, on branches. On CUDA it is captured."""

from pathlib import Path

import pytest
import torch
from devices_here import HERE
from reference_models import CASES, LENGTH, ids, reference
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from core.engine import graphs
from core.engine.cache import KVCache
from core.engine.config import ModelConfig
from core.engine.graphs import GraphTransformer
from core.engine.hooks import ForwardHooks
from core.engine.model import Transformer, random_model
from core.engine.prefix import Prefix
from core.loading import description, weights

TEXT = ids()[:1]


@pytest.fixture(scope="module", params=HERE, ids=str)
def device(request: pytest.FixtureRequest) -> torch.device:
    return request.param


@pytest.fixture
def static(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The position of each static step."""
    called, call = list[int](), graphs.StaticStep.__call__

    def count(self: graphs.StaticStep, ids: Tensor, cache: KVCache) -> tuple[Tensor, Tensor]:
        called.append(cache.length)
        return call(self, ids, cache)

    monkeypatch.setattr(graphs.StaticStep, "__call__", count)
    return called


def with_graph(model: Transformer) -> GraphTransformer:
    """The same model and weights, as a model on CUDA is."""
    other = object.__new__(GraphTransformer)
    other.__dict__ = {**model.__dict__}
    return other


def tokens(model: Transformer, text: Tensor) -> Tensor:
    """Logits at each position, [1, T, V]: five at once, then one at a time."""
    cache = model.cache(1)
    parts = [model(text[:, :5], cache)]
    return torch.cat([*parts, *(model.step(text[:, n : n + 1], cache)[1] for n in range(5, text.shape[1]))], 1)


@pytest.mark.parametrize("case", CASES)
@torch.inference_mode()
def test_tokens_of_every_family_equal_the_plain_step(
    case: str, device: torch.device, static: list[int], tmp_path: Path
) -> None:
    """Within 1e-5 of the largest logit. A router chooses on the host, so mixtures of experts are refused by name."""
    reference(case).save_pretrained(tmp_path)
    plain = weights.build_model(description.describe(tmp_path), torch.device("cpu"), torch.float32).to(device)
    plain.__class__ = Transformer
    model = with_graph(plain)
    assert bool(model.graph_problem) == (model.config.experts is not None)
    want = tokens(plain, TEXT.to(device))
    assert not static
    assert (tokens(model, TEXT.to(device)) - want).abs().max() <= 1e-5 * want.abs().max()
    assert len(static) == (0 if model.graph_problem else LENGTH - 5)


CONFIG = ModelConfig(
    vocab_size=83, embed_dim=32, context=300, blocks=2, heads=4, group=2, positions="rotary", norm="rms", pre_norm=True,
    feed_forward=True, gated=True, activation="silu", final_activation=False, biases=(),
)  # fmt: skip


@pytest.fixture
def both(device: torch.device) -> tuple[Transformer, GraphTransformer]:
    plain = random_model(CONFIG, 0).to(device)
    return plain, with_graph(plain)


def test_a_prefix_goes_on_over_many_capacities_rewinds_and_branches(
    both: tuple[Transformer, GraphTransformer], static: list[int]
) -> None:
    """Position by position: past 64 and 128 positions, back to 3, and two branches that take turns."""
    text = torch.randint(0, 83, (160,), generator=torch.Generator().manual_seed(1)).tolist()

    def logits(model: Transformer) -> list[Tensor]:
        prefix, found = Prefix(model), []
        for id in text:
            prefix.append([[id]])
            found.append(prefix.logits([prefix.length - 1]))
        prefix.rewind(3)
        branches = [prefix, prefix.repeat(1)]
        for n in range(20):
            for branch in branches:
                branch.append([[(7 * n) % 83]])
                found.append(branch.logits([branch.length - 1]))
        return found

    plain, graph = (torch.cat(logits(model)) for model in both)
    assert (plain - graph).abs().max() < 1e-5
    assert static == [*range(160), *(n for n in range(3, 23) for _ in range(2))]
    assert not both[1]._steps  # those of caches that are gone are gone too


@torch.inference_mode()
def test_memory_that_was_never_written_has_no_part(both: tuple[Transformer, GraphTransformer]) -> None:
    """A cache whose free positions are NaN gives finite numbers."""
    _plain, model = both
    cache = model.cache(1)
    model.hidden(TEXT.to(model.device), cache)
    for layer in cache.layers:
        layer.reserve(200)
        layer.keys[:, :, LENGTH:] = layer.values[:, :, LENGTH:] = torch.nan
    assert model.step(TEXT[:, :1].to(model.device), cache)[1].isfinite().all()


@torch.inference_mode()
def test_hooks_and_batches_take_the_plain_step(both: tuple[Transformer, GraphTransformer], static: list[int]) -> None:
    _, model = both
    seen: list[object] = []
    with ForwardHooks() as hooks:
        hooks.after(model.blocks[1], lambda module, inputs, output: seen.append(output))
        model.step(TEXT[:, :1].to(model.device), model.cache(1))
        assert "bypasses" in model.implementation
    model.step(TEXT[:, :1].expand(2, 1).to(model.device), model.cache(2))
    assert len(seen) == 1
    assert not static
    assert "graph" in model.implementation or model.device.type != "cuda"


def test_nothing_in_a_step_waits_for_the_device() -> None:
    """Fake tensors have no numbers: reading one on the host, or a shape that depends on one, is an error."""
    with FakeTensorMode(), torch.inference_mode():
        model = random_model(CONFIG, 0)
        model.__class__ = GraphTransformer
        cache = model.cache(1)
        for _ in range(3):
            state, logits = model.step(torch.zeros(1, 1, dtype=torch.long), cache)
        assert (state.shape, logits.shape, cache.length) == ((1, 1, 32), (1, 1, 83), 3)


def test_a_model_on_cuda_has_graphs() -> None:
    """Others, and one on several GPUs, have not."""
    assert graphs.transformer_class(torch.device("cuda:0")) is GraphTransformer
    assert graphs.transformer_class(torch.device("cuda:0"), "several") is Transformer
    assert graphs.transformer_class(torch.device("mps")) is graphs.transformer_class(torch.device("cpu")) is Transformer
