"""Speculative decoding writes texts with the target's own probabilities, whatever the draft proposes."""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, reduce

import numpy as np
import pytest
import torch
from searches import every_answer, tiny

from core.engine.model import Transformer
from core.engine.prefix import Prefix
from core.errors import UserError
from core.generation import speculative
from core.generation.rounds import Round, Timing
from core.generation.speculative import Speculation, check_draft
from core.generation.token import Token
from core.loading.choice import ModelChoice
from core.loading.draft import load_draft
from core.loading.model import Model
from core.loading.models import load_model
from core.sampling.distribution import Distribution
from core.sampling.sampler import Sampler
from core.walk.session import Session

PROMPT = [1, 0, 2]
CRITICAL = {24: 51.18}
"""χ² that is exceeded with probability 0.001, by degrees of freedom."""


@pytest.fixture(scope="module")
def models() -> tuple[Model, Model]:
    """A target and a draft of five ids that disagree."""
    return tiny(5, 0, 2.0), tiny(5, 7, 2.0)


def speculation(models: tuple[Model, Model], sampler: Sampler = Sampler(), count: int = 3) -> Speculation:
    target, draft = models
    tokens = [Token(id, target.tokenizer.piece(id)) for id in PROMPT]
    return Speculation(target, draft, tokens, len(PROMPT), sampler, count)


def written(
    models: tuple[Model, Model], sampler: Sampler, length: int, count: int = 3
) -> tuple[list[int], list[Round]]:
    """The first `length` ids, and the rounds; the last round may write more than is wanted."""
    text, rounds = speculation(models, sampler, count), list[Round]()
    while len(text.tokens) < len(PROMPT) + length:
        rounds.append(text.round(count + 1))
    return [token.id for token in text.tokens[len(PROMPT) : len(PROMPT) + length]], rounds


@pytest.fixture
def read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each model reads each text once, whole: thousands of speculations ask for the same few."""

    @cache
    @torch.inference_mode()
    def distribution(transformer: Transformer, ids: tuple[int, ...]) -> Distribution:
        return Distribution(transformer(torch.tensor([ids]))[0, -1])

    def distributions(side: speculative._Side, ids: Sequence[int], count: int) -> list[Distribution]:
        ends = range(len(ids) - count + 1, len(ids) + 1)
        return [distribution(side.model.transformer, tuple(ids[:end])) for end in ends]

    monkeypatch.setattr(speculative._Side, "distributions", distributions)
    monkeypatch.setattr(Speculation, "_step_seconds", lambda _: 1.0)


@pytest.mark.usefixtures("read_once")
@pytest.mark.parametrize(("stages", "size"), [("temp=1", 1000), ("temp=0.7,top_k=4", 400), ("penalty=1.6", 400)])
def test_texts_have_the_probabilities_of_the_target(models: tuple[Model, Model], stages: str, size: int) -> None:
    """χ² of `size` texts of two tokens against the target's probabilities after the stages, by brute force.

    That what is read token by token has the same probabilities is tested with the proposals below.
    """
    sampler = Sampler.read(stages)
    target = models[0]
    session = Session(target, sampler)
    expected = dict[tuple[int, ...], float]()
    for first in range(5):
        list(session.prefill(PROMPT))
        own = {each.id: each.sampled_probability for each in session.chart(5).candidates}
        session.take(first)
        for each in session.chart(5).candidates:
            expected[first, each.id] = own[first] * each.sampled_probability
    counts = Counter(tuple(written(models, replace(sampler, seed=seed), 2, 2)[0]) for seed in range(size))
    assert all(expected[text] > 0 for text in counts)
    likely = {text: size * p for text, p in expected.items() if size * p >= 5}
    rest = size - sum(likely.values())
    chi = sum((counts[text] - mean) ** 2 / mean for text, mean in likely.items())
    if rest >= 5:
        chi += (size - sum(counts[text] for text in likely) - rest) ** 2 / rest
    assert len(likely) <= 25
    assert chi < CRITICAL[24]


def test_without_stages_the_probabilities_are_those_of_the_model(models: tuple[Model, Model]) -> None:
    """The brute force above agrees with float64 forward passes."""
    want = every_answer(models[0], PROMPT, 1, ())
    session = Session(models[0])
    list(session.prefill(PROMPT))
    for each in session.chart(5).candidates:
        assert np.log(each.sampled_probability) == pytest.approx(want[each.id,], abs=1e-5)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_each_proposal_has_p_and_q_of_its_place(models: tuple[Model, Model], count: int) -> None:
    """Against whole forward passes of both models; the judgment follows from them."""
    for seed in range(10):
        _, rounds = written(models, Sampler(seed=seed), 8, count)
        text = list(PROMPT)
        for found in rounds:
            before = list(text)
            for proposal in found.proposals:
                ids = torch.tensor([before])
                with torch.inference_mode():
                    p, q = (each.transformer(ids)[0, -1].softmax(-1)[proposal.id].item() for each in models)
                assert proposal.q == pytest.approx(q, abs=1e-6)
                if proposal.accepted is not None:
                    assert proposal.p == pytest.approx(p, abs=1e-6)
                if p >= q + 1e-6:
                    assert proposal.accepted is not False
                before.append(proposal.id)
            judged = [proposal.accepted for proposal in found.proposals]
            assert judged == sorted(judged, key=[True, False, None].index)
            assert judged.count(False) <= 1
            assert found.how == ("accepted",) * found.accepted + (("resampled",) if False in judged else ("bonus",))
            assert [token.id for token in found.tokens[: found.accepted]] == [
                each.id for each in found.proposals[: found.accepted]
            ]
            for token in found.tokens:
                with torch.inference_mode():
                    own = models[0].transformer(torch.tensor([text]))[0, -1].log_softmax(-1)
                assert token.score
                assert token.score.logprob == pytest.approx(own[token.id].item(), abs=1e-5)
                text.append(token.id)


def test_a_draft_that_is_the_target_is_always_accepted(models: tuple[Model, Model]) -> None:
    for seed in range(5):
        _, rounds = written((models[0], models[0]), Sampler(seed=seed), 12, 4)
        assert all(found.accepted == 4 for found in rounds)


@pytest.mark.parametrize("stages", ["temp=0", "temp=0,penalty=1.3", "top_k=1"])
def test_greedy_texts_equal_the_targets_greedy_text(models: tuple[Model, Model], stages: str) -> None:
    """One token has all mass: accepted if the draft agrees, else resampled to it."""
    session = Session(models[0], Sampler.read(stages))
    list(session.prefill(PROMPT))
    want = [token.id for token in session.generate(15)]
    for count in (1, 3, 6):
        assert written(models, Sampler.read(stages), 15, count)[0] == want


def test_a_text_ends_with_the_models_stop_or_a_constraint() -> None:
    """With trained rungs: no token comes after the one that ends the text; what is written matches."""
    target = load_model(ModelChoice(name="model5-trained", device="cpu"))
    draft = load_draft(target, "model2-trained")
    ids = target.tokenizer.encode("I prefer oat milk in")
    sampler = Sampler.read("choice=' my tea.';' my coffee, too'")
    for seed in range(4):
        tokens = [Token(id, target.tokenizer.piece(id)) for id in ids]
        text = Speculation(target, draft, tokens, len(ids), replace(sampler, seed=seed), 4)
        while not text.ended:
            text.round(50)
        piece = b"".join(token.piece for token in text.tokens[len(ids) : -1])
        assert piece in (b" my tea.", b" my coffee, too")


def test_a_round_writes_no_more_than_is_wanted(models: tuple[Model, Model]) -> None:
    for most, seed in itertools.product((1, 2, 3), range(5)):
        text = speculation(models, Sampler(seed=seed), 6)
        assert 1 <= len(text.round(most).tokens) <= most


def test_a_draft_with_other_tokens_is_refused(small: Callable[..., Model]) -> None:
    """Another tokenizer, another V, a count out of range, a draft that is not here: one line each."""
    target = load_model(ModelChoice(name="model5-trained", device="cpu"))
    with pytest.raises(UserError, match="other tokens"):
        check_draft(target, small("model5"))
    with pytest.raises(UserError, match="V = 6"):
        check_draft(tiny(5), tiny(6))
    check_draft(tiny(5), tiny(5, 3))
    for count in (0, 33):
        with pytest.raises(UserError, match=str(count)):
            speculation((tiny(5), tiny(5)), count=count)
    with pytest.raises(UserError, match="not on this machine"):
        load_draft(target, "nobody/nothing")


def test_a_walk_goes_on_with_the_tokens_of_a_draft() -> None:
    """Greedy: the text of the walk alone, as chosen tokens with their scores; one step back takes one token back."""
    model = load_model(ModelChoice(name="model5-trained", device="cpu"))
    walks = [Session(model, Sampler.read("temp=0")) for _ in range(2)]
    for walk in walks:
        list(walk.prefill(model.tokenizer.encode("I prefer oat milk in")))
    drafted, plain = walks
    written = list(drafted.drafts.generate("model2-trained", 4, 12))
    want = list(plain.generate(12))
    assert [token.id for token in drafted.tokens] == [token.id for token in plain.tokens]
    for token, other in zip(written, want, strict=True):
        assert token.origin == "chosen"
        assert token.score
        assert other.score
        assert token.score.logprob == pytest.approx(other.score.logprob, abs=1e-5)
    view = drafted.drafts.view
    assert (view.tokens, view.count, view.accepted) == (12, len(view.rounds), sum(r.accepted for r in view.rounds))
    drafted.take_back()
    assert len(drafted.tokens) == 5 + 11
    with pytest.raises(UserError, match="other tokens"):
        next(drafted.drafts.generate("model1", 4, 3))


def test_the_speedup_is_that_of_a_clock_on_which_only_forward_passes_take_time(
    models: tuple[Model, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 s a pass of the target, 1 s of the draft: rounds after the first against steps of the target."""
    now = [0.0]
    seconds = {models[0].transformer: 16.0, models[1].transformer: 1.0}
    read_chunk = Prefix._read_chunk

    def timed(prefix: Prefix, start: int, end: int) -> None:
        now[0] += seconds[prefix.model]
        read_chunk(prefix, start, end)

    monkeypatch.setattr(Prefix, "_read_chunk", timed)
    monkeypatch.setattr(speculative.time, "perf_counter", lambda: now[0])
    _, rounds = written(models, Sampler(seed=3), 18)
    assert [each.step_seconds for each in rounds[:5]] == [None, 16.0, 16.0, None, 16.0]
    assert rounds[0].seconds is None
    assert all(each.seconds == 16.0 + len(each.proposals) for each in rounds[1:])
    timing = reduce(Timing.with_round, rounds, Timing())
    tokens = sum(len(each.tokens) for each in rounds[1:])
    assert timing.speedup == pytest.approx(16.0 * tokens / sum(16.0 + len(each.proposals) for each in rounds[1:]))
    assert reduce(Timing.with_round, rounds[:1], Timing()).speedup is None


def test_timing_a_step_leaves_the_text_as_it_is(models: tuple[Model, Model], monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = Sampler.read("penalty=1.2,temp=0.9", seed=5)
    timed, _ = written(models, sampler, 18)
    monkeypatch.setattr(Speculation, "_step_seconds", lambda _: 1.0)
    assert written(models, sampler, 18)[0] == timed
