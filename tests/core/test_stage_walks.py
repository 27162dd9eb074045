"""Stages in a walk: what depends on earlier draws is the same after undo, in a branch, in a batch and on a replay."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from records import again, text_of
from tiny_models import write_chat_model
from walks import PROMPT, Small, ids, started

from core.errors import UserError
from core.generation.batch import Batch
from core.generation.guides import Guides
from core.loading.choice import ModelChoice
from core.loading.model import Model
from core.loading.models import load_model
from core.sampling.draw import chance
from core.sampling.sampler import Sampler
from core.sampling.stages.mirostat import Mirostat
from core.sessions import reader, record, replay, resume
from core.walk.session import Session
from core.walk.several_samplers import several_samplers
from core.walk.values import SeveralSamplers

STATEFUL = [
    "mirostat=3:0.3",
    "temp=0.9,mirostat=1.5:0.5",
    "penalty=1.4,presence=0.3,frequency=0.2,temp=0.8",
    "dry=1.5:2:1,no_repeat=3,xtc=0.5:0.01",
    "xtc=0.6:0.001,min_p=0.0001",
    "cfg=1.7:'milk',temp=0.9",
    "bias='oa'+2;97-1,ban=98;'tt',top_k=50",
]


def generated(model: Model, sampler: Sampler, count: int = 20) -> Session:
    walk = started(model, PROMPT, sampler)
    list(walk.generate(count))
    return walk


@pytest.fixture(params=STATEFUL)
def sampler(request: pytest.FixtureRequest) -> Sampler:
    return Sampler.read(request.param, seed=5)


def test_going_back_and_on_draws_the_same(small: Small, sampler: Sampler) -> None:
    """Redo, travelling, a branch in between and a fresh draw give the tokens of the first time."""
    walk = generated(small("model3"), sampler)
    first = list(walk.tokens)
    for _ in range(8):
        walk.take_back()
    walk.take(120)
    list(walk.generate(3))
    for _ in range(4):
        walk.take_back()
    list(walk.generate(8))
    assert ids(walk) == [token.id for token in first]
    assert [token.sampled_probability for token in walk.tokens] == [token.sampled_probability for token in first]
    walk.travel(9)
    assert walk.explain().drawn is not None
    assert walk.explain().drawn.id == first[9].id
    assert walk.chart(257).taken.sampled_probability == first[9].sampled_probability


def test_each_row_of_a_batch_equals_its_walk(small: Small, sampler: Sampler) -> None:
    model = small("model3")
    batch = Batch(model, PROMPT, sampler, samples=3)
    rows = [batch.step() for _ in range(12)]
    for number in range(3):
        alone = generated(model, replace(sampler, seed=sampler.seed + number), 12)
        assert [row[number].id for row in rows] == ids(alone)[len(PROMPT) :]
    walk = generated(model, sampler, 4)
    list(walk.continuations.sample(1, 6))
    (text,) = walk.continuations.tree().continuations
    assert b"".join(text.pieces) == bytes(ids(generated(model, sampler, 10))[len(PROMPT) + 4 :])


def test_a_saved_walk_replays_exactly(small: Small, sampler: Sampler) -> None:
    """Ids, numbers u and log-probabilities, with the stages as they were written."""
    model = small("model3")
    walk = generated(model, sampler, 12)
    walk.take(100)
    list(walk.generate(6))
    walk.redraw()
    saved = again(record.record_of(walk))
    assert saved.sampler == sampler
    found = list(replay.replay(saved, model))
    assert len(found) >= 19
    assert not any(each.differs(0) for each in found)
    opened = resume.session(saved, model)
    assert opened.explain() == walk.explain()
    before = opened.step()
    assert before == walk.step()


def test_mu_follows_the_surprisals_of_drawn_tokens(small: Small) -> None:
    """As an accumulator along the walk has it: chosen tokens and those of other samplers do not move it."""
    stage = Mirostat(tau=2.0, eta=0.25)
    walk = started(small("model3"), PROMPT, Sampler(stages=(stage,), seed=3))
    mu = 4.0
    for _ in range(10):
        shares = torch.softmax(walk.distribution().logits.double(), 0)
        kept = max(1, int((-shares.log2() <= mu).sum()))
        assert walk.chart().kept == kept
        share = walk.step().sampled_probability
        mu -= 0.25 * (-np.log2(share) - 2.0)
    kept_here = walk.chart().kept
    walk.take(100)
    walk.sampler = Sampler()
    walk.step()
    walk.sampler = Sampler(stages=(stage,), seed=3)
    shares = torch.softmax(walk.distribution().logits.double(), 0)
    assert walk.chart().kept == max(1, int((-shares.log2() <= mu).sum()))
    walk.take_back()
    walk.take_back()
    assert walk.chart().kept == kept_here


def test_mirostat_holds_the_surprisal_near_tau(small: Small) -> None:
    walk = generated(small("model5"), Sampler.read("mirostat=3:0.2", seed=1), 200)
    bits = [-np.log2(token.sampled_probability) for token in walk.tokens[-150:]]
    assert np.mean(bits) == pytest.approx(3, abs=0.3)


def test_the_chance_depends_on_seed_position_and_redraw_and_not_on_u() -> None:
    pairs = {chance(seed, position, redraw) for seed in (0, 1) for position in (0, 1) for redraw in (0, 1)}
    assert len(pairs) == 8
    assert chance(0, 0) == 0.8117263312776078


# Sampling that cannot go on ------------------------------------------------------------------------------------------


def test_a_mask_that_removes_all_is_one_line_and_the_walk_lives(small: Small) -> None:
    model = small("model3")
    everything = ";".join(str(id) for id in range(model.tokenizer.vocab_size))
    walk = started(model, PROMPT, Sampler.read(f"ban={everything},temp=0.5"))
    for act in (walk.step, lambda: list(walk.continuations.sample(2, 3)), lambda: list(walk.generate(3))):
        with pytest.raises(UserError, match="ban leaves no token to draw; change this stage or switch it off"):
            act()
    shot = walk.snapshot()
    assert shot.chart is not None
    assert shot.chart.problem.startswith("ban leaves no token")
    assert (shot.chart.kept, {c.sampled_probability for c in shot.chart.candidates}) == (0, {0.0})
    lens = walk.explain()
    assert (lens.drawn, lens.kept, lens.problem) == (None, 0, shot.chart.problem)
    assert [effect.kept for effect in lens.stages] == [0, 0]
    walk.sampler = Sampler()
    assert walk.step()


@pytest.mark.parametrize(
    ("stages", "says"),
    [
        ("ban=257", "ban: 257 is not a token id"),
        ("bias=9999+1", "logit bias: 9999 is not a token id"),
        ("contrast=0.5:0.1:nowhere", "contrastive: there is no model 'nowhere'"),
        ("contrast=0.5:0.1:model1-trained", "contrastive: model1-trained has the tokens of"),
    ],
)
def test_a_stage_that_cannot_be_computed_is_one_line(small: Small, stages: str, says: str) -> None:
    walk = started(small("model3"), PROMPT, Sampler.read(stages))
    with pytest.raises(UserError, match=says):
        walk.step()
    assert walk.snapshot().chart.problem.startswith(says.split(":", maxsplit=1)[0])


# Other distributions ------------------------------------------------------------------------------------------------


def test_guidance_reads_the_generated_tokens_after_the_negative_prompt(small: Small, after: Any) -> None:
    """γ (log p - log p⁻) + log p⁻ along a walk, with p⁻ from whole forwards."""
    model = small("model3")
    walk = generated(model, Sampler.read("cfg=1.5:'milk'", seed=2), 6)
    for at in range(len(PROMPT), len(walk.tokens)):
        known = ids(walk)[:at]
        own = torch.log_softmax(after(model.transformer, known).double(), 0)
        other = torch.log_softmax(after(model.transformer, list(b"milk") + known[len(PROMPT) :]).double(), 0)
        want = torch.softmax(other + 1.5 * (own - other), 0)
        assert walk.tokens[at].sampled_probability == pytest.approx(want[ids(walk)[at]].item(), abs=1e-6)


def test_contrast_reads_the_walk_in_the_smaller_model(small: Small, after: Any) -> None:
    large, smaller = small("model4"), small("model3")
    guides = Guides(large, {"model3": smaller})
    for length in (4, 6, 5, 9):  # on, back and on again
        text = list(b"oat milk in my tea")[:length]
        got = torch.from_numpy(guides.logits("model", "model3", text, 3))
        assert (got - after(smaller.transformer, text)).abs().max() < 1e-5


def test_contrast_takes_a_model_of_other_files_with_the_same_tokens(tmp_path: Path) -> None:
    """Each folder has a tokenizer of its own."""
    large, smaller = (str(write_chat_model(tmp_path / name)) for name in ("large", "smaller"))
    walk = Session(load_model(ModelChoice(name=large)), Sampler.read(f"contrast=0.5:0.1:{smaller}"))
    list(walk.prefill(walk.model.tokenizer.encode("oat milk")))
    assert walk.step().origin == "sampled"


# Several samplers ------------------------------------------------------------------------------------------------


def test_each_column_draws_what_a_walk_with_its_sampler_draws(small: Small) -> None:
    model = small("model3")
    walk = generated(model, Sampler(seed=4), 3)
    before = list(walk.tokens)
    texts = ["temp=0", "top_k=5", "top_p=0.5", "temp=1", "mirostat=2", "ban='x'"]
    samplers = [Sampler.read(text, seed=9) for text in texts]
    *progress, answer = several_samplers(walk, samplers, 7)
    assert isinstance(answer, SeveralSamplers)
    assert len(progress) == 6 * 7
    assert walk.tokens == before
    for sampler, column in zip(samplers, answer.columns, strict=True):
        walk.sampler = sampler
        assert column.chart == walk.chart(30)
        drawn = list(walk.generate(7))
        assert column.pieces == tuple(token.piece for token in drawn)
        assert column.surprisal_bits == pytest.approx(sum(token.score.surprisal_bits for token in drawn), rel=1e-4)
        for _ in drawn:
            walk.take_back()


def test_a_column_that_cannot_draw_says_why(small: Small) -> None:
    everything = ";".join(str(id) for id in range(257))
    *_, answer = several_samplers(
        started(small("model3")), [Sampler(), Sampler.read(f"ban={everything}"), Sampler.read("no_repeat=1")], 400
    )
    assert [column.problem.split(" leaves")[0] for column in answer.columns] == ["", "ban", "no-repeat n-gram"]
    assert [len(column.pieces) for column in answer.columns] == [400, 0, 257 - 3]


# Older sessions ------------------------------------------------------------------------------------------------


def short_form(walk: Session, settings: dict[str, Any], write: Callable[[Any], str]) -> Any:
    """The walk as version 1 of the format has it."""
    values = json.loads(write(record.record_of(walk)))
    values["version"] = 1
    values["samplers"] = [settings]
    values["sampler"] = settings
    return reader.parse_record(json.dumps(values), "old.json")


OLD = [
    {"temperature": 0.7, "top_k": 40, "top_p": 0.9, "min_p": 0.05, "order": "temperature last", "seed": 6},
    {"temperature": 1.3, "top_k": 0, "top_p": 0.95, "seed": 1},
    {"temperature": 0.0},
    {},
]


@pytest.mark.parametrize("settings", OLD, ids=str)
def test_a_session_of_version_1_opens_and_replays(small: Small, settings: dict[str, Any]) -> None:

    model = small("model5")
    walk = generated(model, Sampler.of(**settings), 15)
    old = short_form(walk, settings, text_of)
    assert old.sampler == Sampler.of(**settings)
    assert not any(each.differs(0) for each in replay.replay(old, model))
