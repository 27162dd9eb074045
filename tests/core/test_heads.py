"""Scores of heads against TransformerLens 4.3, against whole matrices, and on models whose heads are known."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from causal_models import CASES, causal_model
from reference_models import reference, wide
from safetensors.torch import load_file
from steps import last, some_ids, step_on, wrapped
from torch import Tensor

from core import language
from core.activations.apply import patched
from core.activations.patch import Patch
from core.causal import head_weights
from core.causal.head_weights import composition, copying, head_matrices, receives, token_map, writes
from core.causal.heads import (
    PATTERNS,
    attention_patterns,
    head_moment,
    head_scores,
    pattern_scores,
    repeated_tokens,
    targets,
)
from core.engine.config import ModelConfig
from core.engine.model import Transformer, random_model
from core.errors import UserError
from core.lenses import lens, table
from core.loading import description, weights
from core.loading.checkpoints.checkpoint import read_checkpoint
from core.loading.checkpoints.recipe import Recipe
from core.loading.choice import Hyperparameters, ModelChoice
from core.loading.model import Model
from core.loading.models import load_model
from core.training.events import Evaluated
from core.training.training import Training

Small = Callable[..., Model]
FIGURES = Path(__file__).with_name("transformer_lens")
"""Written by tests/benchmarks/causal/head_scores.py."""


@pytest.fixture(scope="module", params=CASES)
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Transformer, dict[str, Any]]:
    """A model and what TransformerLens says of it."""
    folder = tmp_path_factory.mktemp("model")
    causal_model(request.param).save_pretrained(folder)
    ours = weights.build_model(description.describe(folder), torch.device("cpu"), torch.float32)
    return ours, json.loads((FIGURES / f"heads_{request.param}.json").read_text())


def scored(transformer: Transformer, ids: list[int]) -> dict[str, Tensor]:
    found = list(head_scores(transformer, ids))[-1]
    return {kind: torch.tensor(getattr(found, kind)) for kind in PATTERNS}


def tokens_of(transformer: Transformer) -> Tensor:
    *_, found = token_map(transformer)
    assert isinstance(found, Tensor)
    return found


# Against TransformerLens ---------------------------------------------------------------------------------------------


def test_attention_scores_are_those_of_detect_head(both: tuple[Transformer, dict[str, Any]]) -> None:
    """Its scores are the mean over all T queries, ours over those that have such a key."""
    ours, want = both
    *_, found = head_scores(ours, want["ids"])
    assert found.queries == (21, 11, 11)
    for kind, queries in zip(PATTERNS, found.queries, strict=True):
        share = torch.tensor(getattr(found, kind)) * queries / found.positions
        assert torch.allclose(share, torch.tensor(want[kind]), atol=2e-6)


@pytest.mark.parametrize("kind", ["q", "k", "v"])
def test_composition_is_that_of_all_composition_scores(kind: Any, both: tuple[Transformer, dict[str, Any]]) -> None:
    ours, want = both
    theirs = torch.tensor(want[kind])  # [layer, head, layer, head]
    matrices = [head_matrices(ours, layer) for layer in range(ours.config.blocks)]
    for later in range(1, ours.config.blocks):
        for earlier in range(later):
            found = composition(writes(matrices[earlier]), receives(matrices[later], kind))
            assert torch.allclose(found, theirs[earlier, :, later], atol=2e-5)


def test_copying_is_that_of_the_eigenvalues_of_transformer_lens(both: tuple[Transformer, dict[str, Any]]) -> None:
    ours, want = both
    found = [copying(head_matrices(ours, layer), tokens_of(ours)) for layer in range(ours.config.blocks)]
    assert torch.allclose(torch.tensor(found), torch.tensor(want["copying"]), atol=2e-4)


# By definition -------------------------------------------------------------------------------------------------------


def test_the_factors_have_the_norms_of_whole_matrices(stirred: Any, rung_config: Any) -> None:
    """Against W_OV and W_QK [d, d] multiplied out, and all V eigenvalues of the full copying circuit."""
    model = stirred(rung_config("model6", embed_dim=16, heads=4, blocks=2))
    first, second = head_matrices(model, 0), head_matrices(model, 1)
    ov, qk = first.v @ first.o, second.q @ second.k.mT
    for kind, right in (("q", qk), ("k", qk.mT), ("v", second.v @ second.o)):
        whole = (ov[:, None] @ right).flatten(2).norm(dim=2)
        whole = whole / (ov.flatten(1).norm(dim=1)[:, None] * right.flatten(1).norm(dim=1))
        assert torch.allclose(composition(writes(first), receives(second, kind)), whole, atol=1e-6)  # type: ignore[arg-type]
    unembed = model.norm.weight[:, None] * model.unembed.weight.T
    values = torch.linalg.eigvals((model.embed.weight @ ov @ unembed).double())  # [h, V]
    assert torch.allclose(
        torch.tensor(copying(first, tokens_of(model))).double(), values.real.sum(-1) / values.abs().sum(-1), atol=1e-6
    )


def test_a_head_that_copies_and_its_negative(stirred: Any, rung_config: Any) -> None:
    """W_OV = 1 copies wholly, -1 wholly forbids."""
    model = stirred(rung_config("model4", embed_dim=8, blocks=1))
    heads = head_matrices(model, 0)
    for sign in (1, -1):
        exact = head_weights.HeadMatrices(heads.q, heads.k, torch.eye(8)[None], sign * torch.eye(8)[None])
        symmetric = tokens_of(model) @ tokens_of(model).T
        assert copying(exact, symmetric) == pytest.approx([sign])


def test_targets_of_a_text_with_repeats() -> None:
    previous, duplicate, induction = targets([7, 8, 7, 7, 8])
    assert previous.nonzero().tolist() == [[1, 0], [2, 1], [3, 2], [4, 3]]
    assert duplicate.nonzero().tolist() == [[2, 0], [3, 0], [3, 2], [4, 1]]
    assert induction.nonzero().tolist() == [[2, 1], [3, 1], [3, 3], [4, 2]]


def test_random_tokens_are_repeated_once() -> None:
    for vocab_size, context, count in ((97, 9, 4), (50_000, 2048, 32), (5, 64, 5)):
        ids = repeated_tokens(vocab_size, context, seed=3)
        assert len(ids) == 2 * count
        assert ids[:count] == ids[count:]
        assert len(set(ids)) == count
        assert ids == repeated_tokens(vocab_size, context, seed=3)
    assert not {0, 2} & set(repeated_tokens(5, 64, without=frozenset((0, 2))))
    for vocab_size, context in ((97, 3), (1, 64)):
        with pytest.raises(UserError, match="too short for a repeated sequence"):
            repeated_tokens(vocab_size, context)


def test_an_induction_head_by_hand() -> None:
    """Layer 0 writes the token before each position, layer 1 looks for its own token there: both score 1."""
    vocab, at = 12, 24
    width = 2 * vocab + at
    config = ModelConfig(
        vocab_size=vocab, embed_dim=width, context=at, blocks=2, positions="learned", final_norm=False,
        final_activation=False, biases=(), attention_scale=1.0,
    )  # fmt: skip
    model = Transformer(config).requires_grad_(False)
    for parameter in model.parameters():
        parameter.zero_()
    token, place, before = slice(0, vocab), slice(vocab, vocab + at), slice(vocab + at, width)
    model.embed.weight[:, token] = torch.eye(vocab)
    model.position.weight[:, place] = torch.eye(at)
    first, second = (block.attention for block in model.blocks)
    q, k, v = (slice(n * width, (n + 1) * width) for n in range(3))
    first.qkv.weight[q][place, place] = 60 * torch.eye(at)
    first.qkv.weight[k][place, place] = torch.eye(at).roll(1, 0)
    first.qkv.weight[v][token, token] = torch.eye(vocab)
    first.out.weight[before, token] = torch.eye(vocab)
    second.qkv.weight[q][token, token] = 60 * torch.eye(vocab)
    second.qkv.weight[k][token, before] = torch.eye(vocab)
    second.qkv.weight[v][token, token] = torch.eye(vocab)
    second.out.weight[token, token] = torch.eye(vocab)
    model.unembed.weight[:, token] = torch.eye(vocab)
    found = scored(model.eval(), repeated_tokens(vocab, at))
    assert found["previous"][0, 0] > 0.95
    assert found["induction"][1, 0] > 0.95
    assert found["induction"][0, 0] < 0.05
    assert found["duplicate"].max() < 0.2
    matrices = [head_matrices(model, layer) for layer in (0, 1)]
    reads = {kind: composition(writes(matrices[0]), receives(matrices[1], kind)).item() for kind in ("q", "k", "v")}  # type: ignore[arg-type]
    assert reads["k"] > 0.28
    assert reads["q"] == reads["v"] == 0
    assert copying(matrices[1], tokens_of(model)) == pytest.approx([1])


# The lens ------------------------------------------------------------------------------------------------------------


def test_the_note_of_the_lens_is_in_one_language(small: Small) -> None:
    language.speak("vi")
    try:
        view = last(lens("heads")(step_on(small("model5"), some_ids(6))))
    finally:
        language.speak("en")
    assert view.note == "sao chép và kết hợp không tính vị trí, độ chệch"


def test_the_lens_shows_all_scores_with_the_strongest_induction_head_as_receiver(small: Small) -> None:
    view = last(lens("heads")(step_on(small("model5"), some_ids(6))))
    config = small("model5").transformer.config
    assert (view.measured_on, view.positions, view.queries) == ("random", 6, (5, 3, 3))
    assert view.layer == 1
    assert view.induction[1][view.head] == max(view.induction[1])
    assert [len(row) for row in view.composition] == [config.heads]
    for grid in (view.previous, view.duplicate, view.induction, view.copying):
        assert len(grid) == config.blocks
        assert all(value is not None for row in grid for value in row)
    assert view.note == "copying and composition leave out positions, biases"
    rows = table("heads")(view)
    assert rows.columns[-1] == f"k_composition_with_1.{view.head}"
    assert [row[:3] for row in rows.rows] == [
        (layer, head, view.induction[layer][head]) for layer in range(config.blocks) for head in range(config.heads)
    ]
    assert [row[-1] for row in rows.rows if row[0] == 0] == list(view.composition[0])


def test_parts_of_the_lens_and_its_options(small: Small) -> None:
    model, ids = small("model6"), some_ids(6)
    view = last(lens("heads")(step_on(model, [5, 6, 5, 6, 5]), measured_on="prompt", only="attention"))
    assert (view.positions, view.queries) == (5, (4, 3, 3))
    assert view.copying[0][0] is None
    chosen = last(lens("heads")(step_on(model, ids), only="composition", layer=1, head=0, kind="v"))
    first, second = (head_matrices(model.transformer, layer) for layer in (0, 1))
    want = composition(writes(first), receives(second, "v"))[:, 0].tolist()
    assert (chosen.layer, chosen.head, chosen.composition) == (1, 0, (pytest.approx(tuple(want)),))
    assert chosen.positions == 0
    for options, problem in (
        ({"layer": 2}, "no layer 2; "),
        ({"head": 9}, "no head 9; "),
        ({"layer": 0}, "no head is earlier"),
        ({"measured_on": "poem"}, "not 'poem'"),
        ({"kind": "x"}, "not 'x'"),
    ):
        with pytest.raises(UserError, match=problem):
            list(lens("heads")(step_on(model, ids), **options))
    with pytest.raises(UserError, match="has no attention heads"):
        list(lens("heads")(step_on(small("model1"), ids)))


def test_scores_are_of_the_patched_model_and_equal_in_every_weight_format(tmp_path: Path, small: Small) -> None:
    model = small("model5")
    ids = repeated_tokens(257, 6)
    with patched(model, [Patch(part="query", layer=0)]):
        found = scored(model.transformer, ids)
    assert found["previous"][0, 0] == pytest.approx(sum(1 / n for n in range(2, 7)) / 5), "equal weights"
    reference("qwen3", vocab_size=257, **wide("qwen3")).save_pretrained(tmp_path)
    whole, packed = (
        wrapped(weights.build_model(description.describe(tmp_path), torch.device("cpu"), torch.float32, packing))
        for packing in (None, "int8")
    )
    a, b = (
        torch.tensor(last(lens("heads")(step_on(each, some_ids(9)), only="copying")).copying)
        for each in (whole, packed)
    )
    assert (a - b).abs().max() < 0.1


def test_windows_and_sinks_count(tmp_path: Path) -> None:
    """Weights that go to a sink, or that a window forbids, are not attention to a key."""
    reference("mistral-window").save_pretrained(tmp_path)
    ours = weights.build_model(description.describe(tmp_path), torch.device("cpu"), torch.float32)
    found = scored(ours, repeated_tokens(83, 64))
    assert not found["induction"].any(), "32 positions back is beyond a window of 5"
    assert found["previous"].all()


def test_in_the_tiny_world_the_heads_that_copy_the_name_are_found() -> None:
    """After "Emma gave Leo a book. Leo thanked" only " Emma" is right. Two heads attend to it, and carry the answer."""
    model = load_model(ModelChoice(name="model6-trained", device="cpu"))
    names = ["Anna", "Maria", "Ben", "Leo", "Paul", "Emma"]
    texts = [
        (model.tokenizer.encode(f"{giver} gave {taker} a book. {taker} thanked"), giver, taker)
        for giver, taker in zip(names, names[1:] + names[:1], strict=True)
    ]
    scores = torch.zeros(model.transformer.config.blocks, model.transformer.config.heads)
    for ids, _, _ in texts:
        copied = torch.zeros(1, len(ids), len(ids), dtype=torch.bool)
        copied[0, -1, 0] = True
        scores += torch.cat(list(pattern_scores(model.transformer, ids, copied))) / len(texts)
    assert set(scores.flatten().topk(2).indices.tolist()) == {12, 13}, "heads 3.0 and 3.1"
    assert scores[3, :2].min() > 0.8

    def preference(patches: list[Patch]) -> float:
        """Mean logit difference of the giver's name and the taker's."""
        with patched(model, patches), torch.inference_mode():
            logits = [model.transformer(torch.tensor([ids]))[0, -1] for ids, _, _ in texts]
        ids = [[model.tokenizer.encode(f" {name}")[0] for name in each] for _, *each in texts]
        return sum((row[a] - row[b]).item() for row, (a, b) in zip(logits, ids, strict=True)) / len(texts)

    whole = preference([])
    for layer, head in ((layer, head) for layer in range(4) for head in range(4)):
        left = preference([Patch(kind="mean", part="head", layer=layer, index=head)]) / whole
        assert left < 0.7 if (layer, head) in ((3, 0), (3, 1)) else left > 0.85


def test_the_heads_of_a_model_in_training_are_measured_without_changing_a_bit(tmp_path: Path, recipe: Recipe) -> None:
    """The scores of each evaluation are those of its checkpoint; model1 has no heads."""
    recipe = replace(recipe, rung="model5", changes=Hyperparameters(context=16, blocks=2, heads=2), steps=4, every=2)
    runs = [
        list(Training(recipe, tmp_path / name, torch.device("cpu"), observe=observe).run())
        for name, observe in (("with", head_moment), ("without", lambda model, ids: None))
    ]
    evaluations = [[event for event in run if isinstance(event, Evaluated)] for run in runs]
    assert [replace(event, heads=None) for event in evaluations[0]] == evaluations[1]
    weights_of = [load_file(tmp_path / name / "latest.safetensors") for name in ("with", "without")]
    assert all(torch.equal(weights_of[0][key], weights_of[1][key]) for key in weights_of[0])
    moment = evaluations[0][-1].heads
    assert moment is not None
    model = read_checkpoint(tmp_path / "with" / "step-0000004.safetensors")
    transformer = random_model(model.config, 0)
    model.fill(transformer)
    found = scored(transformer, repeated_tokens(model.config.vocab_size, 16))
    for kind in ("previous", "induction"):
        assert torch.allclose(torch.tensor(getattr(moment, kind)), found[kind], atol=1e-6)
    assert torch.tensor(moment.copied).shape == (2, 2)
    assert head_moment(random_model(ModelConfig(vocab_size=9), 0), torch.zeros(1, 4, dtype=torch.long)) is None


def test_copied_is_attention_to_earlier_copies_of_the_next_token(small: Small) -> None:
    model, row = small("model5").transformer, [5, 6, 7, 5, 6, 7]
    moment = head_moment(model, torch.tensor([row]))
    assert moment is not None
    want = []
    for pattern in attention_patterns(model, row):  # what follows queries 2, 3 and 4 stands two positions before them
        want.append(sum(pattern[:, query, query - 2] for query in (2, 3, 4)) / 3)
    assert torch.allclose(torch.tensor(moment.copied), torch.stack(want), atol=1e-6)
