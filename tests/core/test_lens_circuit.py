"""Edges and circuits against patching each edge alone, and their identities."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from causal_models import AGAINST, CASES, CLEAN, CORRUPT, TARGET, causal_model
from reference_models import reference
from steps import last, returned, step_on, wrapped
from torch import Tensor

from core.activations.apply import patched
from core.activations.patch import Patch
from core.activations.trace import step_at
from core.causal.backward import last_logits
from core.causal.circuit import circuit_logits, connected, mask_of, strongest
from core.causal.edges import Graph, Run, differences, edge_scores, read
from core.causal.question import CausalQuestion
from core.causal.target import Target
from core.engine.hooks import ForwardHooks
from core.engine.model import Transformer
from core.errors import UserError
from core.lenses.circuit import METHODS, Circuit, circuit, curve_counts
from core.lenses.contrast import contrast
from core.loading import description, weights
from core.loading.choice import ModelChoice
from core.loading.model import Model
from core.loading.models import load_model

ASKED = Target(TARGET, AGAINST)
QUESTION = CausalQuestion(TARGET, AGAINST, corrupt=CORRUPT)


def ours(model: Any, folder: Path) -> Transformer:
    model.save_pretrained(folder)
    return weights.build_model(description.describe(folder), torch.device("cpu"), torch.float32)


class Pair:
    """A model and what it computes for both prompts."""

    def __init__(self, transformer: Transformer) -> None:
        self.transformer, self.graph = transformer, Graph(transformer.config)
        self.clean, self.corrupt = (self.run(ids) for ids in (CLEAN, CORRUPT))
        self.high, self.low = (self.measure(run) for run in (self.clean, self.corrupt))

    def run(self, ids: tuple[int, ...]) -> Run:
        return returned(read(self.transformer, torch.tensor([ids])))

    def measure(self, run: Run) -> float:
        return ASKED.measure(last_logits(self.transformer, run.streams[-1])).item()

    def of(self, kept: Tensor) -> float:
        """m with only these edges."""
        logits = returned(circuit_logits(self.transformer, self.graph, kept, self.clean, self.corrupt))
        return ASKED.measure(logits).item()

    def scores(self, steps: int = 1) -> Tensor:
        return returned(edge_scores(self.transformer, self.graph, self.clean, self.corrupt, ASKED.measure, steps))


FAMILIES = [
    *CASES, "gemma2", "olmo2", "qwen3", "mixtral", "gpt-oss", "bloom", "falcon-7b", "falcon-11b", "granite",
]  # fmt: skip


@pytest.fixture(scope="module", params=CASES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(ours(causal_model(request.param), tmp_path_factory.mktemp("model")))


# Identities ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_all_edges_are_the_clean_run_and_none_the_corrupt_one(family: str, tmp_path: Path) -> None:
    """Also with norms of outputs, one norm for both sublayers, shared keys, sinks and experts."""
    pair = Pair(ours(causal_model(family) if family in CASES else reference(family), tmp_path))
    size = max(abs(pair.high), abs(pair.low), 1)
    assert pair.of(pair.graph.exists) == pytest.approx(pair.high, abs=2e-4 * size)
    assert pair.of(torch.zeros_like(pair.graph.exists)) == pytest.approx(pair.low, abs=1e-5 * size)
    assert pair.high == pytest.approx(ASKED.measure(pair.transformer(torch.tensor([CLEAN]))[0, -1]).item(), abs=1e-4)


def test_what_the_senders_write_sums_to_the_difference_of_the_final_streams(pair: Pair) -> None:
    written = returned(differences(pair.transformer, pair.graph, pair.clean, pair.corrupt))
    final = (pair.clean.streams[-1] - pair.corrupt.streams[-1])[0]
    assert torch.allclose(written.sum(0), final, atol=1e-4)


def test_edges_off_every_path_change_nothing(pair: Pair) -> None:
    kept = mask_of(pair.graph, strongest(pair.graph, pair.scores(), 8))
    kept[0, -1] = True
    kept[2, pair.graph.attention_columns(2).start] = True  # a head to queries that lead nowhere
    useful = connected(pair.graph, kept)
    assert 0 < useful.sum() < kept.sum()
    assert pair.of(useful) == pytest.approx(pair.of(kept), abs=1e-4)
    last_edge = torch.zeros_like(kept)
    last_edge[3, -1] = True  # a head to the logits, which nothing leads to
    assert not connected(pair.graph, last_edge).any()


def test_a_head_without_weights_scores_zero(tmp_path: Path) -> None:
    """As a sender and as a receiver."""
    transformer = ours(causal_model("gpt2"), tmp_path)
    size = transformer.config.head_dim
    transformer.blocks[1].attention.out.weight.data[:, 2 * size : 3 * size] = 0
    pair = Pair(transformer)
    scores = pair.scores(3)
    names = [node.name for node in pair.graph.senders]
    assert not scores[names.index("1.h2")].any() and scores[names.index("1.h3")].any()
    columns = {node.name: column for column, node in enumerate(pair.graph.receivers)}
    assert not any(scores[:, columns[f"1.{part}2"]].any() for part in "qkv") and scores[:, columns["1.v3"]].any()


# Against patching each edge alone ------------------------------------------------------------------------------------


def each_alone(pair: Pair) -> Tensor:
    """How much m falls when one edge alone is corrupt, the exact value that a score estimates, [S, receivers]."""
    fall = torch.zeros(pair.graph.exists.shape)
    for sender, receiver in pair.graph.exists.nonzero().tolist():
        kept = pair.graph.exists.clone()
        kept[sender, receiver] = False
        fall[sender, receiver] = pair.high - pair.of(kept)
    return fall


def correlation(a: Tensor, b: Tensor) -> float:
    return torch.corrcoef(torch.stack((a, b)))[0, 1].item()


def read_from(transformer: Transformer, stream: Tensor) -> Run:
    """What a model computes from a stream before its first block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("core.causal.edges.embedded", lambda transformer, ids: stream)
        return returned(read(transformer, torch.tensor([CLEAN])))


def test_scores_equal_the_exact_effect_of_each_edge_where_the_change_is_small(tmp_path: Path) -> None:
    """To first order: the corrupt prompt differs by a small step of the embedding; every edge patched alone in turn."""
    pair = Pair(ours(reference("llama-one-kv-head-tied", num_hidden_layers=2), tmp_path).double())
    pair.corrupt = read_from(pair.transformer, torch.lerp(pair.clean.streams[0], pair.corrupt.streams[0], 1e-4))
    pair.low = pair.measure(pair.corrupt)
    exact, exists = each_alone(pair), pair.graph.exists
    found = pair.scores()
    assert (found - exact)[exists].abs().max() < 0.02 * exact[exists].abs().max()
    assert correlation(found[exists], exact[exists].to(found)) > 0.999


def test_the_path_makes_scores_agree_better_with_the_exact_effects(tmp_path: Path) -> None:
    """EAP-IG against EAP, over all edges of a GPT-2 whose prompts differ in three tokens."""
    pair = Pair(ours(reference("gpt2-untied-relu"), tmp_path))
    exact, exists = each_alone(pair), pair.graph.exists
    by_gradient, by_path = (correlation(pair.scores(steps)[exists], exact[exists]) for steps in (1, 20))
    assert by_path > by_gradient
    assert by_path > 0.5


def test_hooks_on_queries_keys_and_values_change_the_way_and_not_the_scores(pair: Pair) -> None:
    """Where an adapter or a patch hooks them, they are pulled back through the module."""
    hooks = ForwardHooks()
    for block in pair.transformer.blocks:
        hooks.after(block.attention.qkv, lambda module, inputs, output: output)
    with hooks:
        hooked = pair.scores(3)
    assert torch.allclose(hooked, pair.scores(3), rtol=1e-3, atol=1e-5)


# The lens ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> Circuit:
    model = wrapped(ours(causal_model("llama"), tmp_path_factory.mktemp("model")))
    return last(circuit(step_on(model, CLEAN), QUESTION, count=40))


def test_the_curve_begins_at_few_edges_and_ends_at_one(answer: Circuit) -> None:
    assert [point.edges for point in answer.curve] == curve_counts(answer.total)
    assert answer.curve[-1].share == pytest.approx(1, abs=1e-3)
    assert answer.curve[-1].connected == answer.total
    best = answer.curve[-1].likely[0]
    assert best.probability == pytest.approx(best.clean, rel=1e-3)
    assert len(answer.edges) == 40
    sizes = [abs(edge.score) for edge in answer.edges]
    assert sizes == sorted(sizes, reverse=True)


def test_what_has_no_circuit_is_refused_in_one_line(small: Callable[..., Model], tmp_path: Path) -> None:
    model = small("model5")
    steps = step_on(model, [5, 90, 33])
    asked = CausalQuestion(7, 8, corrupt=(5, 91, 33))
    with pytest.raises(UserError, match="second prompt"):
        last(circuit(steps))
    with pytest.raises(UserError, match="eap-ig, eap"):
        last(circuit(steps, asked, method="all"))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no blocks"):
        last(circuit(step_on(small("model2"), [5, 90, 33]), asked))
    with pytest.raises(UserError, match="remove it"), patched(model, [Patch(part="block", layer=0)]):
        last(circuit(steps, asked))
    with pytest.raises(UserError, match="normalizes the residual stream after"):
        last(circuit(step_on(wrapped(ours(reference("opt-norms-after"), tmp_path)), CLEAN), QUESTION))


def test_patched_heads_are_part_of_the_circuit_of_a_patched_model(small: Callable[..., Model]) -> None:
    model = small("model5")
    with patched(model, [Patch(part="head", layer=1, index=0)]):
        answer = last(circuit(step_on(model, [5, 90, 33]), CausalQuestion(7, 8, corrupt=(5, 91, 33))))
    scores = [edge.score for edge in answer.edges if edge.sender == "1.h0"]
    assert scores and not any(scores)
    assert answer.curve[-1].share == pytest.approx(1, abs=1e-3)


def test_the_heads_that_copy_the_name_are_found_in_the_tiny_world() -> None:
    """Both methods find the heads of the last block that the contrast lens finds; 30 of 343 edges carry the answer."""
    model = load_model(ModelChoice(name="model6-trained", device="cpu"))
    clean, other = (model.tokenizer.encode(f"{name} gave Ben a book. Ben thanked") for name in ("Anna", "Emma"))
    anna, emma = (model.tokenizer.encode(f"Ben thanked {name}")[-1] for name in ("Anna", "Emma"))
    asked = CausalQuestion(anna, emma, corrupt=tuple(other))
    step = step_at(model, clean, model.sequences())
    heads = last(contrast(step, asked)).heads
    strongest = sorted(
        (-value, f"{layer}.h{head}") for layer, row in enumerate(heads) for head, value in enumerate(row)
    )
    for method in METHODS:
        answer = last(circuit(step, asked, method))
        writers = [edge.sender for edge in answer.edges if edge.sender.startswith("3.h")]
        assert set(writers[:2]) == {name for _, name in strongest[:2]}
        assert next(point for point in answer.curve if point.edges == 30).share == pytest.approx(1, abs=0.05)
