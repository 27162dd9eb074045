"""The stages of a step against the shapes and numbers of a whole pass, and sources against the files."""

import inspect
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from steps import RUNGS, last, some_ids, step_on

import core
import core.engine.model
from core.activations.trace import recording
from core.engine.activation import ACTIVATIONS
from core.engine.config import ModelConfig
from core.lenses.flow import NORMS, Flow, flow
from core.loading.models import Model

Small = Callable[..., Model]


def modules_of(config: ModelConfig) -> dict[str, list[str]]:
    """The module whose output each named stage is, in order."""
    found: dict[str, list[str]] = {"embedding": ["embed"], "final norm": ["norm"], "logits": ["unembed"]}
    for n in range(config.blocks):
        path = f"blocks.{n}"
        found[f"block {n} attention"] = [f"{path}.attention"]
        found[f"block {n} mlp"] = [f"{path}.feed_forward"]
        for stage, module in (
            ("queries, keys, values", "attention.qkv"), ("heads", "attention.attend"),
            ("output projection", "attention.out"), ("up", "feed_forward.up"), ("down", "feed_forward.down"),
        ):  # fmt: skip
            found.setdefault(stage, []).append(f"{path}.{module}")
    return found


@pytest.mark.parametrize("name", RUNGS)
def test_shapes_and_numbers_are_those_of_a_whole_pass(name: str, small: Small) -> None:
    """The trace reads one position; what it tells is the last one of all of them at once."""
    model, ids = small(name), some_ids(6)
    shown: Flow = last(flow(step_on(model, ids)))
    with torch.inference_mode(), recording(model.transformer) as trace:
        model.transformer(torch.tensor([ids]))
    places = modules_of(model.transformer.config)
    checked = 0
    for stage in shown.stages:
        if stage.name in places:
            gave = trace.outputs[places[stage.name].pop(0)]
            assert [size for _, size in stage.axes] == list(gave.shape)
            vector = (gave[0, :, -1] if gave.ndim == 4 else gave[0, -1]).flatten()
            assert stage.norm == pytest.approx(vector.norm().item(), rel=1e-4)
            if stage.name != "logits":
                assert stage.values == pytest.approx(vector[:8].tolist(), abs=1e-5)
            checked += 1
    assert checked >= 2 + 5 * model.transformer.config.blocks


@pytest.mark.parametrize("name", RUNGS)
def test_a_step_goes_from_text_to_text(name: str, small: Small) -> None:
    ids = list(b"oat mi")
    shown = last(flow(step_on(small(name), ids, target=108)))
    first, second, *_, shares, token, text = shown.stages
    assert (first.text, first.axes) == ("oat mi", (("characters", 6),))
    assert (second.values, second.labels) == (tuple(ids), (b"o", b"a", b"t", b" ", b"m", b"i"))
    assert list(shares.values) == sorted(shares.values, reverse=True)
    assert (token.values, token.labels, text.text) == ((108,), (b"l",), "l")
    assert {stage.component for stage in shown.stages} == {source.component for source in shown.sources}
    json.dumps([asdict(source) for source in shown.sources])


@pytest.mark.parametrize("name", RUNGS)
def test_sources_are_what_runs(name: str, small: Small) -> None:
    """Our own are in our files as they stand; every component has an equation."""
    model = small(name)
    files = "".join(path.read_text() for path in Path(core.__file__).parent.rglob("*.py"))
    sources = {source.component: source for source in last(flow(step_on(model, some_ids(4)))).sources}
    for source in sources.values():
        assert source.equation
        assert source.code
        if source.where.startswith("core."):
            assert inspect.cleandoc(source.code).splitlines()[0] in files
    config = model.transformer.config
    assert sources["embed"].where == "torch.nn.modules.sparse.Embedding.forward"
    if config.blocks:
        assert sources["attend"].code == inspect.getsource(core.engine.model.causal_attention)
        assert sources["attention"].code == inspect.getsource(core.engine.model.Attention)
    if config.norm != "none":
        assert sources["norm"].equation == NORMS[config.norm]


def test_equations_are_the_functions() -> None:
    """The words for activations and norms, worked out by hand, against torch."""
    x = torch.linspace(-3, 3, 25, dtype=torch.float64)
    phi = torch.distributions.Normal(0.0, 1.0).cdf(x)
    by_hand = {
        "gelu": x * phi,
        "gelu_tanh": x / 2 * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))),
        "relu": x.clamp_min(0),
        "silu": x * torch.sigmoid(x),
    }
    assert set(by_hand) == set(ACTIVATIONS)
    for name, want in by_hand.items():
        config = ModelConfig(vocab_size=2, activation=name)  # type: ignore[arg-type]
        assert (core.engine.model.activation(config)(x) - want).abs().max() < 1e-7
