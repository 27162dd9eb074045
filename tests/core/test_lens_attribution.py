"""Direct logit attribution: parts that sum, on every family; each part against TransformerLens and ablation."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import save_adapter
from causal_models import AGAINST, CASES, CLEAN, TARGET, causal_model
from reference_models import reference, wide
from steps import last, step_on, wrapped

from core.activations.apply import patched
from core.activations.patch import Patch
from core.activations.trace import step_at
from core.causal.question import CausalQuestion, question_of
from core.errors import UserError
from core.lenses.attribution import OTHER, Attribution, attribution, table
from core.loading import description, weights
from core.loading.adapters.attach import attach
from core.loading.choice import ModelChoice
from core.loading.families import FAMILIES
from core.loading.model import Model
from core.loading.models import load_model

PAIR = CausalQuestion(TARGET, AGAINST)


def built(folder: Path, packing: str | None = None) -> Model:
    return wrapped(weights.build_model(description.describe(folder), torch.device("cpu"), torch.float32, packing))


def ask(model: Model, part: str = "", question: CausalQuestion = PAIR, count: int = 10_000) -> Attribution:
    return last(attribution(step_on(model, CLEAN), question, part, count))


@pytest.fixture(scope="module", params=CASES)
def known(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Model, dict[str, Any]]:
    folder = tmp_path_factory.mktemp(request.param)
    causal_model(request.param).save_pretrained(folder)
    figures = Path(__file__).parent / "transformer_lens" / f"attribution_{request.param}.json"
    return request.param, built(folder), json.loads(figures.read_text(encoding="utf-8"))


def test_parts_equal_those_of_transformer_lens(known: tuple[str, Model, dict[str, Any]]) -> None:
    _, model, figures = known
    answer = ask(model)
    values = {part.name: part.value for part in answer.parts}
    assert answer.asked.value == pytest.approx(figures["difference"], abs=1e-4)
    embedding = values["token embedding"] + values.get("position embedding", 0.0)
    reference = figures["parts"]
    assert embedding == pytest.approx(reference["embed"] + reference.get("pos_embed", 0.0), abs=1e-4)
    for part in answer.parts:
        for inner in part.inner:
            name = f"{part.name.removeprefix('block ')}_{'attn' if inner.name == 'attention' else 'mlp'}_out"
            assert inner.value == pytest.approx(reference[name], abs=1e-4)


def test_heads_and_neurons_equal_those_of_transformer_lens(known: tuple[str, Model, dict[str, Any]]) -> None:
    _, model, figures = known
    for n, (heads, neurons) in enumerate(zip(figures["heads"], figures["neurons"], strict=True)):
        found = [part.value for part in ask(model, f"{n}.attention").parts if part.name.startswith("head")]
        assert found == pytest.approx(heads, abs=1e-4)
        parts = {part.name: part.value for part in ask(model, f"{n}.mlp").parts}
        assert [parts[f"neuron {m}"] for m in range(len(neurons))] == pytest.approx(neurons, abs=1e-4)


# Sums ----------------------------------------------------------------------------------------------------------------

FAMILY_CASES = (
    "gpt2-untied-relu", "llama-biases", "mistral-window", "qwen3", "gemma", "gemma2", "gemma3", "olmo2", "smollm3",
    "granite", "mixtral", "qwen2-moe-some", "gpt-oss", "opt", "opt-norms-after", "bloom", "neox-sequential-tied",
    "gptj", "falcon-7b", "falcon-11b", "phi-2", "phi-3-partial",
)  # fmt: skip
"""Parallel blocks, norms after a sum and of outputs, caps, experts, shared keys, multipliers, sinks, narrow tables."""


def levels(model: Model, question: CausalQuestion = PAIR) -> Iterator[Attribution]:
    """The model, and every level below it."""
    waiting = [""]
    while waiting:
        answer = ask(model, waiting.pop(), question)
        yield answer
        waiting += [part.path for part in answer.parts if part.path]


def assert_sums(answers: Iterator[Attribution], *, exactly: bool = True) -> None:
    """The parts of each level sum to it, without a part for what is left."""
    for answer in answers:
        assert answer.total == pytest.approx(answer.value, abs=1e-4), answer.level
        assert not exactly or OTHER not in [part.name for part in answer.parts], answer.level


@pytest.mark.parametrize("case", FAMILY_CASES)
def test_the_parts_of_every_level_sum_in_every_family(case: str, tmp_path: Path) -> None:
    reference_model = reference(case)
    reference_model.save_pretrained(tmp_path)
    with torch.no_grad():
        logits = reference_model(torch.tensor([CLEAN])).logits[0, -1]
    model = built(tmp_path)
    assert ask(model).asked.value == pytest.approx((logits[TARGET] - logits[AGAINST]).item(), abs=2e-3)
    assert_sums(levels(model))


@pytest.mark.parametrize("measure", ["logit", "logprob"])
def test_a_logit_and_a_log_probability_are_sums_too(measure: Any, tmp_path: Path) -> None:
    reference("gemma2").save_pretrained(tmp_path)
    model = built(tmp_path)
    assert_sums(levels(model, CausalQuestion(TARGET, measure=measure)))
    names = [part.name for part in ask(model, "", CausalQuestion(TARGET, measure=measure)).parts]
    after = ["minus log Σ exp of all logits"] if measure == "logprob" else []
    assert names[names.index("soft cap") :] == ["soft cap", *after]


@pytest.mark.parametrize("packing", ["int8", "int4"])
def test_quantized_weights_are_divided_too(packing: str, tmp_path: Path) -> None:
    """What rounding of activations leaves is a part of its own, and small."""
    reference("llama", **wide("llama")).save_pretrained(tmp_path)
    for answer in levels(built(tmp_path, packing)):
        assert answer.total == pytest.approx(answer.value, abs=1e-4)
        left = sum(part.value for part in answer.parts if part.name == OTHER)
        assert abs(left) < 0.02 * max(1.0, sum(abs(part.value) for part in answer.parts))


@pytest.mark.parametrize("settings", [{}, {"use_dora": True}], ids=["lora", "dora"])
def test_an_adapter_takes_part(settings: dict[str, Any], tmp_path: Path) -> None:
    original = reference("llama")
    original.save_pretrained(tmp_path / "model")
    names = ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"]
    adapted = save_adapter(tmp_path / "adapter", original, target_modules=names, **settings)
    with torch.no_grad():
        logits = adapted(torch.tensor([CLEAN])).logits[0, -1]
    model = built(tmp_path / "model")
    family = next(family for family in FAMILIES.values() if family.title == "Llama")
    adapter, _ = attach(tmp_path / "adapter", family, model.transformer, 1.0)
    model = replace(model, adapter=adapter)
    assert ask(model).asked.value == pytest.approx((logits[TARGET] - logits[AGAINST]).item(), abs=1e-3)
    assert_sums(levels(model))


# Patches -------------------------------------------------------------------------------------------------------------


def value(model: Model, part: str, name: str) -> float:
    return next(each.value for each in ask(model, part).parts if each.name == name)


def test_a_part_that_is_zero_contributes_zero(known: tuple[str, Model, dict[str, Any]]) -> None:
    _, model, _ = known
    for patch, level, name in (
        (Patch(part="head", layer=1, index=2), "1.attention", "head 2"),
        (Patch(part="mlp", layer=2), "2", "mlp"),
        (Patch(part="attention", layer=0), "0", "attention"),
    ):
        with patched(model, [patch]):
            assert value(model, level, name) == 0
            assert_sums(levels(model), exactly=False)
        assert value(model, level, name) != 0


@pytest.mark.parametrize("part", ["head", "mlp", "attention", "block", "position", "query"])
@pytest.mark.parametrize("kind", ["mean", "noise", "scale"])
def test_parts_of_a_patched_model_sum(part: Any, kind: Any, small: Callable[..., Model]) -> None:
    model = small("model5")
    at = {"index": 5} if part == "position" else {"layer": 1, "index": 1}
    with patched(model, [Patch(kind=kind, part=part, **at)]):
        step = step_on(model, list(b"an oat"))
        for level in ("", "1", "1.attention", "1.attention.1", "1.mlp"):
            answer = last(attribution(step, CausalQuestion(97, 98), level))
            assert answer.total == pytest.approx(answer.value, abs=1e-4)
            if not level and part not in ("block", "position"):
                assert OTHER not in [each.name for each in answer.parts]


# Answers -------------------------------------------------------------------------------------------------------------


def test_the_strongest_neurons_come_first_and_the_rest_is_one_part(known: tuple[str, Model, dict[str, Any]]) -> None:
    _, model, _ = known
    every, few = ask(model, "1.mlp"), ask(model, "1.mlp", count=3)
    neurons = [part for part in every.parts if part.name.startswith("neuron")]
    assert [abs(part.value) for part in neurons] == sorted((abs(part.value) for part in neurons), reverse=True)
    assert few.parts[:3] == every.parts[:3]
    assert few.parts[3].name == f"{len(neurons) - 3} other neurons"
    assert few.parts[3].value == pytest.approx(sum(part.value for part in neurons[3:]), abs=1e-6)


def test_the_heads_of_all_blocks_stand_beside_each_other(known: tuple[str, Model, dict[str, Any]]) -> None:
    _, model, figures = known
    answer = ask(model, "heads")
    *heads, rest = answer.parts
    values = [value for block in figures["heads"] for value in block]
    assert [part.value for part in heads] == pytest.approx(values, abs=1e-4)
    assert heads[-1].path == f"2.attention.{len(figures['heads'][0]) - 1}"
    assert rest.value == pytest.approx(figures["difference"] - sum(values), abs=1e-4)
    assert answer.total == pytest.approx(answer.value, abs=1e-6)


def test_the_tokens_that_a_head_reads_are_those_of_the_prompt(known: tuple[str, Model, dict[str, Any]]) -> None:
    _, model, _ = known
    head = ask(model, "2.attention.1")
    assert [part.piece for part in head.parts] == [bytes([id]) for id in CLEAN]
    assert [part.name for part in head.parts] == [str(n) for n in range(len(CLEAN))]
    assert head.value == pytest.approx(value(model, "2.attention", "head 1"), abs=1e-9)
    rows = table(head).rows
    assert rows[3] == ("block 2 head 1", "3", "\x08", head.parts[3].value)


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ("9", "no block '9' in the part '9'; wrapped has 3 of them, counted from 0"),
        ("x", "no block 'x'"),
        ("0.attention.9", "no head '9'"),
        ("0.soul", "no part '0.soul' to divide; choose one such as 0, 0.attention"),
        ("0.mlp.1", "no part '0.mlp.1'"),
        ("0.attention.1.2", "no part"),
    ],
)
def test_a_part_that_is_not_there_is_refused(part: str, says: str, known: tuple[str, Model, dict[str, Any]]) -> None:
    with pytest.raises(UserError, match=says):
        ask(known[1], part)


def test_an_expert_that_was_not_chosen_is_refused(tmp_path: Path) -> None:
    reference("mixtral").save_pretrained(tmp_path)
    model = built(tmp_path)
    chosen = {part.name for part in ask(model, "1.mlp").parts}
    missing = next(n for n in range(9) if f"expert {n}" not in chosen)
    with pytest.raises(UserError, match=f"expert '{missing}' of block 1 was not chosen"):
        ask(model, f"1.mlp.{missing}")


def test_in_the_tiny_world_the_heads_that_copy_the_name_write_it() -> None:
    """After "Emma gave Leo a book. Leo thanked" only " Emma" is right; heads 3.0 and 3.1 read it and write it."""
    model = load_model(ModelChoice(name="model6-trained", device="cpu"))
    names, written = ["Anna", "Maria", "Ben", "Leo", "Paul", "Emma"], dict[str, float]()
    for giver, taker in zip(names, names[1:] + names[:1], strict=True):
        step = step_at(
            model, model.tokenizer.encode(f"{giver} gave {taker} a book. {taker} thanked"), model.sequences()
        )
        asked = question_of(model.tokenizer, f" {giver}", f" {taker}")
        for part in last(attribution(step, asked, "heads")).parts:
            written[part.name] = written.get(part.name, 0.0) + part.value
        for head in (0, 1):
            read = last(attribution(step, asked, f"3.attention.{head}")).parts
            assert max(read, key=lambda part: part.value).piece == giver.encode()
    *others, second, first = sorted(value for name, value in written.items() if name.startswith("head"))
    assert {first, second} == {written["head 3.0"], written["head 3.1"]}
    assert second > 20 * others[-1]
