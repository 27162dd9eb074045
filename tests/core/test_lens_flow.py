"""The flow lens: stages against shapes and numbers of a pass without a cache, sources against the files."""

import inspect
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from reference_models import reference
from steps import RUNGS, last, some_ids, step_on, wrapped

import core
import core.engine.attention
import core.engine.model
from core.activations.trace import recording
from core.engine.activation import ACTIVATIONS
from core.engine.config import ModelConfig
from core.lenses.flow import NORMS, Flow, flow
from core.loading import description, weights
from core.loading.model import Model

Small = Callable[..., Model]


def modules_of(config: ModelConfig) -> dict[str, list[str]]:
    """The modules whose outputs the stages of each name are, in order."""
    modules: dict[str, list[str]] = {"embedding": ["embed"], "final norm": ["norm"], "logits": ["unembed"]}
    for n in range(config.blocks):
        path = f"blocks.{n}"
        modules[f"block {n} attention"] = [f"{path}.attention"]
        modules[f"block {n} mlp"] = [f"{path}.feed_forward"]
        for stage, module in (
            ("queries, keys, values", "attention.qkv"), ("heads", "attention.attend"),
            ("output projection", "attention.out"), ("up", "feed_forward.up"), ("down", "feed_forward.down"),
        ):  # fmt: skip
            if stage not in ("up", "down") or not config.has_experts(n):
                modules.setdefault(stage, []).append(f"{path}.{module}")
    return modules


@pytest.mark.parametrize("name", RUNGS)
def test_shapes_and_numbers_equal_a_pass_without_cache(name: str, small: Small) -> None:
    """The lens traces the last position alone; here all positions go through the model at once."""
    model, ids = small(name), some_ids(6)
    shown: Flow = last(flow(step_on(model, ids)))
    with torch.inference_mode(), recording(model.transformer) as trace:
        model.transformer(torch.tensor([ids]))
    modules = modules_of(model.transformer.config)
    checked = 0
    for stage in shown.stages:
        if stage.name in modules:
            output = trace.outputs[modules[stage.name].pop(0)]
            assert [size for _, size in stage.axes] == list(output.shape)
            vector = (output[0, :, -1] if output.ndim == 4 else output[0, -1]).flatten()
            assert stage.norm == pytest.approx(vector.norm().item(), rel=1e-4)
            if stage.name != "logits":
                assert stage.values == pytest.approx(vector[:8].tolist(), abs=1e-5)
            checked += 1
    assert checked >= 2 + 5 * model.transformer.config.blocks


@pytest.mark.parametrize("name", [name for name in RUNGS if "1" not in name and "2" not in name])
def test_scores_and_weights_equal_those_of_sdpa(name: str, small: Small) -> None:
    """Attention to the columns of an identity matrix gives the weights of head 0."""
    model, ids = small(name), some_ids(6)
    shown: Flow = last(flow(step_on(model, ids)))
    with torch.inference_mode(), recording(model.transformer) as trace:
        model.transformer(torch.tensor([ids]))
    of = {
        component: [each for each in shown.stages if each.component == component] for component in ("scores", "weights")
    }
    assert len(of["scores"]) == len(of["weights"]) == model.transformer.config.blocks
    for n, (scores, shares) in enumerate(zip(of["scores"], of["weights"], strict=True)):
        q, k, _v = trace.inputs[f"blocks.{n}.attention.attend"]
        one = torch.eye(len(ids)).expand(1, 1, -1, -1)
        expected = F.scaled_dot_product_attention(q[:, :1], k[:, :1], one, is_causal=True)[0, 0, -1]
        assert shares.values == pytest.approx(expected.tolist(), abs=1e-6)
        assert torch.tensor(scores.values).softmax(0).tolist() == pytest.approx(expected.tolist(), abs=1e-6)
        assert [size for _, size in shares.axes] == [1, q.shape[1], len(ids), len(ids)]
        assert shares.labels == tuple(bytes([id]) for id in ids)


OTHER_BLOCKS = (
    "pythia", "gptj", "falcon-40b", "falcon-rw", "opt", "opt-norms-after", "bloom", "phi-3-partial", "gemma2", "olmo2",
    "granite", "smollm3", "gemma3", "olmo3", "mixtral", "qwen2-moe-some", "qwen3-moe-some", "gpt-oss",
)  # fmt: skip


@pytest.mark.parametrize("case", OTHER_BLOCKS)
def test_stages_of_other_blocks_are_what_their_modules_compute(case: str, tmp_path: Path) -> None:
    """Parallel blocks, norms in other places, a narrow embedding: each stage, and the stream where something is added.

    The norms of the residual stream are those of the hidden states of transformers.
    """
    expected_model = reference(case, vocab_size=257)
    expected_model.save_pretrained(tmp_path)
    model = wrapped(weights.build_model(description.describe(tmp_path), torch.device("cpu"), torch.float32))
    config, ids = model.transformer.config, some_ids(9)
    shown: Flow = last(flow(step_on(model, ids)))
    with torch.inference_mode(), recording(model.transformer) as trace:
        model.transformer(torch.tensor([ids]))
        hidden = expected_model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        expected_model.set_attn_implementation("eager")
        attentions = expected_model(torch.tensor([ids]), output_attentions=True).attentions
    if case.startswith("falcon"):  # whose eager attention is not that of its hidden states
        one = torch.eye(len(ids)).expand(1, config.kv_heads, -1, -1)
        paths = [f"blocks.{n}.attention.attend" for n in range(config.blocks)]
        attentions = [model.transformer.get_submodule(path)(*trace.inputs[path][:2], one) for path in paths]
    names = [stage.name for stage in shown.stages]
    assert names.count("norm") == config.block_norms * config.blocks * (2 if case == "gptj" else 1)
    assert names.count("output norm") == 2 * config.blocks * config.output_norms
    assert ("embedding norm" in names, "final norm" in names) == (config.embed_norm, config.final_norm)
    assert names.count("projection") == 2 * (config.embed_size is not None)
    modules = modules_of(config) | {"embedding norm": ["embed_norm"], "logits": ["cap"]}
    for stage in shown.stages:
        if modules.get(stage.name):
            output = trace.outputs[modules[stage.name].pop(0)]
            assert [size for _, size in stage.axes] == list(output.shape)
            vector = (output[0, :, -1] if output.ndim == 4 else output[0, -1]).flatten()
            assert stage.norm == pytest.approx(vector.norm().item(), rel=1e-4)
    after = [stage.stream for stage in shown.stages if stage.name.endswith("mlp")]
    assert after[:-1] == pytest.approx([state[0, -1].norm().item() for state in hidden[1:-1]], rel=1e-4)
    added = [stage.stream for stage in shown.stages if stage.name.endswith("attention")]
    assert all((stream is None) is config.parallel for stream in added)
    equations = {source.component: source.equation for source in shown.sources}
    assert ("x + a + " in equations.get("mlp", "")) is config.parallel
    routed = [stage for stage in shown.stages if stage.component in ("router", "choice")]
    assert len(routed) == 2 * sum(config.has_experts(n) for n in range(config.blocks))
    assert ("mᵢ" in equations["attend"]) is (config.positions == "alibi")
    assert all(source.code for source in shown.sources)
    read = [stage.values for stage in shown.stages if stage.component == "weights"]
    assert len(read) == len(attentions) == config.blocks
    for values, expected in zip(read, attentions, strict=True):
        assert values == pytest.approx(expected[0, 0, -1, -len(values) :].tolist(), abs=1e-5)


@pytest.mark.parametrize("name", RUNGS)
def test_the_stages_begin_and_end_with_text(name: str, small: Small) -> None:
    ids = list(b"oat mi")
    shown = last(flow(step_on(small(name), ids, target=108)))
    first, second, *_, probabilities, token, text = shown.stages
    assert (first.text, first.axes) == ("oat mi", (("characters", 6),))
    assert (second.values, second.labels) == (tuple(ids), (b"o", b"a", b"t", b" ", b"m", b"i"))
    assert list(probabilities.values) == sorted(probabilities.values, reverse=True)
    assert (token.values, token.labels, text.text) == ((108,), (b"l",), "l")
    assert {stage.component for stage in shown.stages} == {source.component for source in shown.sources}
    json.dumps([asdict(source) for source in shown.sources])


@pytest.mark.parametrize("name", RUNGS)
def test_sources_are_the_code_that_runs(name: str, small: Small) -> None:
    """Source code of the project is found in its files; every component has an equation."""
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
        assert sources["attend"].code == inspect.getsource(core.engine.attention.causal_attention)
        assert sources["attention"].code == inspect.getsource(core.engine.attention.Attention)
    if config.norm != "none":
        assert sources["norm"].equation == NORMS[config.norm]


def test_activation_formulas_equal_the_torch_modules() -> None:
    """Each formula of the table, computed in float64."""
    x = torch.linspace(-3, 3, 25, dtype=torch.float64)
    phi = torch.distributions.Normal(0.0, 1.0).cdf(x)
    expected = {
        "gelu": x * phi,
        "gelu_tanh": x / 2 * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))),
        "relu": x.clamp_min(0),
        "silu": x * torch.sigmoid(x),
    }
    assert set(expected) == set(ACTIVATIONS)
    for name, values in expected.items():
        config = ModelConfig(vocab_size=2, activation=name)  # type: ignore[arg-type]
        assert (core.engine.model.activation(config)(x) - values).abs().max() < 1e-7
