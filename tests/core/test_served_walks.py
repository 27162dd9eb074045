"""A walk in a model that an engine elsewhere serves is the walk in that model."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from engines import ADDRESS, served
from walks import PROMPT, ids, started

from core.errors import UserError
from core.evaluation.compare import compare_text
from core.evaluation.score import score
from core.generation.token import Token
from core.lenses import lens
from core.loading.choice import ModelChoice
from core.loading.model import Model
from core.loading.models import load_model
from core.loading.served.connect import connect
from core.progress import Progress
from core.sampling.bounds import exact, high, low
from core.sampling.next_distribution import NeedsMore
from core.sampling.sampler import Sampler
from core.search.settings import BeamSettings, BestSettings, Plan
from core.sessions import reader, record, replay, resume, writer
from core.walk.session import Session

Small = Callable[..., Model]
TOLD: list[dict[str, Any]] = [{"full": True}, {"top_k": None}, {"top_k": 20, "prompt_scores": True}]


@pytest.fixture(scope="module", name="trained")
def trained_model() -> Model:
    return load_model(ModelChoice(name="model5-trained", device="cpu"))


def last(values: Any) -> Any:
    *_, answer = values
    return answer


@pytest.mark.parametrize("told", TOLD[:2])
@pytest.mark.parametrize("stages", ["temp=1", "top_k=10,temp=1.3", "temp=0.7,min_p=0.05", "greedy"])
def test_the_same_tokens_are_drawn_with_the_same_numbers(trained: Model, told: dict[str, Any], stages: str) -> None:
    sampler = Sampler.read(stages, seed=3)
    prompt = trained.tokenizer.encode("The baker")
    here, there = started(trained, prompt, sampler), started(served(trained, **told)[1], prompt, sampler)
    for _ in range(30):
        mine, other = here.step(), there.step()
        assert (mine.id, mine.u) == (other.id, other.u)
        assert mine.score and other.score
        assert mine.score.probability == pytest.approx(other.score.probability, abs=1e-6)
    assert (
        low(there.chart().entropy_bits) - 1e-5 <= here.chart().entropy_bits <= high(there.chart().entropy_bits) + 1e-5
    )


def test_a_draw_beyond_what_is_known_asks_for_more(small: Small) -> None:
    model = small()
    engine, elsewhere = served(model, top_k=None)
    here, there = started(model), started(elsewhere)
    list(here.generate(40)), list(there.generate(40))
    assert ids(here) == ids(there)
    assert {count for _, count in engine.asked} > {50}


def test_where_no_more_can_be_known_a_draw_says_so_and_the_walk_stays(small: Small) -> None:
    _, elsewhere = served(small(), top_k=3)
    walk = started(elsewhere)
    with pytest.raises(NeedsMore, match="3 known tokens"):
        for _ in range(40):
            before = ids(walk)
            walk.step()
    assert ids(walk) == before
    walk.sampler = Sampler.read("top_k=2", seed=0)
    list(walk.generate(5))
    assert len(walk.tokens) == len(before) + 5


def test_going_back_asks_for_nothing_that_is_known(small: Small) -> None:
    engine, elsewhere = served(small(), full=True)
    walk = started(elsewhere)
    list(walk.generate(3))
    asked = len(engine.asked)
    walk.take_back()
    walk.take_back()
    walk.redo()
    walk.travel(1)
    for at in range(len(PROMPT), len(walk.tokens) + 1):
        walk.travel(at)
        assert walk.ready
        walk.distribution()
    assert len(engine.asked) == asked


def test_answers_are_kept_within_a_bound(small: Small) -> None:
    engine, elsewhere = served(small(), memory=1, full=True)
    walk = started(elsewhere)
    list(walk.generate(40))
    walk.travel(len(PROMPT))
    asked = len(engine.asked)
    walk.distribution()
    assert len(engine.asked) == asked + 1


def test_a_position_beyond_the_context_sends_the_last_ids_only(small: Small) -> None:
    model = small()
    engine, elsewhere = served(model, full=True)
    here, there = started(model), started(elsewhere)
    list(here.generate(20)), list(there.generate(20))
    assert ids(here) == ids(there)
    assert max(len(sent) for sent, _ in engine.asked) == model.info.context


def test_reading_pauses_while_an_answer_is_awaited_and_a_newer_prompt_cancels_it(small: Small) -> None:
    engine, elsewhere = served(small(), full=True)
    walk = Session(elsewhere)
    engine.held = []
    reading = walk.prefill(list(b"oat"))
    assert next(reading) == Progress(0, 1)
    assert next(reading) == Progress(0, 1)
    assert not walk.ready
    assert walk.snapshot().chart is None
    del reading
    newer = walk.prefill(list(b"oats"))
    next(newer), next(newer)
    assert [future.cancelled() for future, _ in engine.held] == [True, False]
    engine.release()
    list(newer)
    assert walk.ready
    assert walk.snapshot().chart


def test_a_failed_request_leaves_the_walk_and_the_next_step_asks_again(small: Small) -> None:
    model = small()
    engine, elsewhere = served(model, full=True)
    here, there = started(model), started(elsewhere)
    for _ in range(50):
        here.step()
        there.distribution()
        engine.failures.append(UserError("the engine is gone"))
        there.step()  # what it asks for ahead fails
        before = ids(there)
        engine.failures.append(UserError("the engine is gone"))
        with pytest.raises(UserError, match="gone"):
            there.step()
        assert ids(there) == before
    assert ids(here) == ids(there)


@pytest.mark.parametrize("told", TOLD)
def test_a_prompt_gets_the_scores_of_the_model(small: Small, told: dict[str, Any]) -> None:
    model = small()
    engine, elsewhere = served(model, **told)
    here, there = started(model, list(b"oat m")), started(elsewhere, list(b"oat m"))
    list(here.score()), list(there.score())
    for mine, other in zip(here.tokens[1:], there.tokens[1:], strict=True):
        assert mine.score and other.score
        assert other.score.logprob == pytest.approx(mine.score.logprob, abs=1e-5)
        assert other.score.rank == mine.score.rank
        assert low(other.score.entropy_bits) <= mine.score.entropy_bits + 1e-5
        assert high(other.score.entropy_bits) >= mine.score.entropy_bits - 1e-5
    assert bool(engine.scored) == ("prompt_scores" in told)


def test_continuations_are_those_of_the_model(small: Small) -> None:
    model = small()
    here, there = started(model), started(served(model, full=True)[1])
    for walk in (here, there):
        list(walk.continuations.sample(4, 6))
    mine, other = here.continuations.tree(), there.continuations.tree()
    assert [each.pieces for each in mine.continuations] == [each.pieces for each in other.continuations]


@pytest.mark.parametrize("settings", [BeamSettings(3, 4), BestSettings(3, 2), BestSettings(3, 3, nodes=300)])
def test_a_search_finds_what_it_finds_in_the_model(small: Small, settings: Any) -> None:
    model = small()
    here, there = started(model), started(served(model, top_k=None)[1])
    found = []
    for walk in (here, there):
        list(walk.searches.search(Plan(settings)))
        assert walk.searches.status
        state = walk.searches.status.state
        found.append(([answer.ids for answer in state.answers], state.reason))
    assert found[0] == found[1]


def test_a_text_has_the_same_perplexity(trained: Model) -> None:
    ids = trained.tokenizer.encode("The baker in the village reads. The farmers sleep.")
    here = last(score(trained, ids))
    for told in TOLD:
        there = last(score(served(trained, **told)[1], ids))
        assert there.perplexity == pytest.approx(here.perplexity, rel=1e-5)


def test_a_comparison_with_the_model_itself_is_0_or_bounds_that_hold_it(trained: Model) -> None:
    text = "The baker in the village"
    whole = last(compare_text(trained, served(trained, full=True)[1], text))
    assert whole.kl_ab_bits == pytest.approx(0, abs=1e-6)
    partly = last(compare_text(trained, served(trained, top_k=20)[1], text))
    assert low(partly.js_bits) <= 1e-6 <= high(partly.js_bits) < 0.05
    assert not exact(partly.kl_ab_bits)
    assert partly.agreement == 1


def test_a_saved_walk_replays_in_the_served_model(trained: Model, tmp_path: Any) -> None:
    walk = started(trained, trained.tokenizer.encode("The baker"), Sampler.read("top_k=10", seed=1))
    list(walk.generate(20)), list(walk.score())
    saved = reader.parse_record("".join(writer.lines(record.record_of(walk))), "walk.json")
    engine, elsewhere = served(trained, top_k=20)
    replayed = list(replay.replay(saved, elsewhere))
    assert len(replayed) > 20
    assert not any(each.differs(1e-4) for each in replayed)
    assert len(engine.asked) <= len(walk.tokens) + 1


def test_what_looks_inside_the_model_says_what_it_needs(small: Small) -> None:
    walk = started(served(small(), full=True)[1])
    with pytest.raises(UserError, match=f"needs the weights on this machine, but this model runs at {ADDRESS}"):
        walk.model.transformer.named_modules()
    with pytest.raises(UserError, match="needs the weights"):
        walk.scale_adapter(0.5)


@pytest.mark.parametrize("name", ["context", "last_token"])
@pytest.mark.parametrize("how", ["replace", "shuffle"])
def test_lenses_of_distributions_show_what_they_show_in_the_model(trained: Model, name: str, how: str) -> None:
    prompt = trained.tokenizer.encode("The baker in the village")
    options = {"how": how} if name == "last_token" else {}
    shown = [
        last(lens(name)(started(model, prompt).current_step(), **options))
        for model in (trained, served(trained, full=True)[1])
    ]
    for mine, other in zip(*(getattr(each, "rows", None) or each.changes for each in shown), strict=True):
        assert mine.piece == other.piece
        if name == "context":
            assert [each.id for each in mine.top] == [each.id for each in other.top]
            assert other.entropy_bits == pytest.approx(mine.entropy_bits, abs=1e-4)
        else:
            assert (mine.position, mine.by) == (other.position, other.by)
            assert other.kl_bits == pytest.approx(mine.kl_bits, abs=1e-4)


def test_a_lens_of_a_partly_known_distribution_shows_bounds_or_says_so(trained: Model) -> None:
    walk = started(served(trained, top_k=20)[1], trained.tokenizer.encode("The baker in the village"))
    table = last(lens("context")(walk.current_step()))
    assert not exact(table.rows[0].entropy_bits)
    effects = last(lens("last_token")(walk.current_step()))
    assert "at least: the engine tells the 20 likeliest tokens" in effects.note
    with pytest.raises(UserError, match="masking a token needs the weights"):
        last(lens("last_token")(walk.current_step(), how="mask"))


def test_a_saved_walk_names_the_address_and_is_shown_without_the_engine(trained: Model) -> None:
    _, elsewhere = served(trained, top_k=20)
    walk = started(elsewhere, trained.tokenizer.encode("The baker"), Sampler.read("top_k=10", seed=1))
    list(walk.generate(5))
    saved = replace(record.record_of(walk), model=replace(elsewhere.info, parameters=0))
    again = reader.parse_record("".join(writer.lines(saved)), "walk.json")
    assert again.model.choice and again.model.choice.name == ADDRESS
    assert [token.score and token.score.known for token in again.path()[-5:]] == [20] * 5
    with pytest.raises(UserError, match="cannot be reached") as caught:
        resume.model(replace(again.model, choice=ModelChoice(name="http://127.0.0.1:9")))
    shown = resume.session_without_model(again, caught.value)
    assert ids(shown) == ids(walk)
    assert shown.snapshot().chart is None


def test_the_key_of_the_environment_is_not_sent_to_a_host_that_a_file_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENWALK_API_KEY", "secret")
    asked: list[Any] = []
    monkeypatch.setattr("core.loading.served.connect.RemoteEngine", lambda place, *_: asked.append(place) or 1 / 0)
    for named_by_file in (True, False):
        with pytest.raises(ZeroDivisionError):
            connect(ModelChoice(name=ADDRESS), named_by_file=named_by_file)
    assert [bool(place.headers) for place in asked] == [False, True]


def test_a_run_says_when_each_distribution_is_there(small: Small) -> None:
    engine, elsewhere = served(small(), full=True)
    walk = started(elsewhere)
    engine.held = []
    run = walk.generating(2)
    assert isinstance(next(run), Token)
    assert next(run) == Progress(0, 1) and not walk.ready
    engine.release()
    assert Progress(1, 1) in [event for event in run if isinstance(event, Progress) and walk.ready]


def test_two_that_ask_for_the_same_distribution_to_another_depth_wait_for_their_own_answer(small: Small) -> None:
    engine, model = served(small(), top_k=None)
    requests, wanted = model.requests, {b"key": lambda: [1, 2, 3]}
    engine.held = []
    few, many = requests.ask(wanted, 5), requests.ask(wanted, 40)
    assert next(few) == next(many) == 0
    first, answer = engine.held.pop(0)
    first.set_result(answer())
    assert list(few) == []
    assert requests.known(b"key").known == 5
    assert next(many) == 0
    engine.release()
    assert list(many) == []
    assert requests.known(b"key").known == 40
