"""Beam search gives the sequences and scores of transformers, and the best of all where it is as wide as the tree."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from searches import every_answer, pair, tiny

from core.errors import UserError
from core.loading.model import Model
from core.search import beam
from core.search.continuations import Reader
from core.search.settings import BeamSettings
from core.search.values import Answer, EarlyStopping

PROMPT = [5, 17, 3, 42]
THEIRS: dict[EarlyStopping, Any] = {"no": False, "yes": True, "never": "never"}


@pytest.fixture(scope="module", params=[0, 1, 2])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Model]:
    return pair(tmp_path_factory.mktemp("model"), request.param)


def found(model: Model, prompt: list[int], settings: BeamSettings, stops: list[int]) -> tuple[Answer, ...]:
    *_, state = beam.search(Reader(model, prompt, settings.width), settings, stops)
    assert state.reason == "finished"
    return state.answers


@pytest.mark.parametrize("stops", [[], [7], [7, 11, 30]], ids=len)
@pytest.mark.parametrize("early", ["no", "yes", "never"])
@pytest.mark.parametrize(("width", "penalty"), [(1, 1.0), (2, 1.0), (4, 1.0), (5, 0.0), (3, 2.0), (6, -0.5)])
def test_sequences_and_scores_equal_those_of_transformers(
    both: tuple[Any, Model], width: int, penalty: float, early: EarlyStopping, stops: list[int]
) -> None:
    """Every returned hypothesis, in order, for each way to stop early and with no, one and three stop tokens."""
    theirs, model = both
    if width == 1:
        want = theirs.generate(
            torch.tensor([PROMPT]), max_new_tokens=9, do_sample=False, eos_token_id=stops or None, pad_token_id=60
        )
        got = found(model, PROMPT, BeamSettings(1, 9, penalty, "yes"), stops)
        assert list(got[0].ids) == want[0, len(PROMPT) :].tolist()
        return
    output = theirs.generate(
        torch.tensor([PROMPT]), num_beams=width, num_return_sequences=width, max_new_tokens=9, do_sample=False,
        length_penalty=penalty, early_stopping=THEIRS[early], eos_token_id=stops or None, pad_token_id=60,
        return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    got = found(model, PROMPT, BeamSettings(width, 9, penalty, early), stops)
    want_scores = output.sequences_scores.tolist()
    assert [answer.score for answer in got] == pytest.approx(want_scores, abs=1e-4)
    for answer, row in zip(got, output.sequences[:, len(PROMPT) :].tolist(), strict=True):
        assert list(answer.ids) == row[: len(answer.ids)]
        assert all(id == 60 for id in row[len(answer.ids) :])
        assert answer.ended == (answer.ids[-1] in stops)
        assert answer.logprob == pytest.approx(sum(score.logprob for score in answer.scores), abs=1e-9)


@pytest.mark.parametrize("stops", [[], [2]], ids=len)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_beam_as_wide_as_the_tree_finds_the_best_of_all(seed: int, stops: list[int]) -> None:
    """Against every answer of a model of three ids, by log-probability."""
    model, prompt = tiny(3, seed), [1, 0, 2]
    want = every_answer(model, prompt, 3, stops)
    got = found(model, prompt, BeamSettings(27, 3, 0.0, "never"), stops)
    best = sorted(want.items(), key=lambda each: -each[1])[: len(got)]
    assert [answer.ids for answer in got] == [ids for ids, _ in best]
    assert [answer.logprob for answer in got] == pytest.approx([logprob for _, logprob in best], abs=1e-5)


def test_each_state_holds_the_likeliest_continuations_of_the_hypotheses_before() -> None:
    """Step by step against a plain search over all continuations of the running hypotheses."""
    model, prompt, width = tiny(5, 3), [4, 1], 3
    states = list(beam.search(Reader(model, prompt, width), BeamSettings(width, 6, 0.0), ()))
    running = [()]
    for state in states[:-1]:
        every = every_answer(model, prompt, len(running[0]) + 1, ())
        options = {(*ids, id): every[*ids, id] for ids, id in itertools.product(running, range(5))}
        running = sorted(options, key=options.__getitem__, reverse=True)[:width]
        assert [each.ids for each in state.running] == running
        assert not state.reason
    assert states[-1].reason == "finished"
    assert states[-1].expanded == 1 + 5 * width


def test_a_search_beyond_the_context_reads_windows() -> None:
    """A prompt of 30 ids in a context of 32: scores equal those of single walks."""
    model = tiny(6, 1)
    prompt = [id % 6 for id in range(31)]
    got = found(model, prompt, BeamSettings(3, 5, 0.0), ())
    for answer in got:
        total = 0.0
        for at, id in enumerate(answer.ids):
            window = torch.tensor([[*prompt, *answer.ids[:at]][-32:]])
            total += model.transformer(window)[0, -1].log_softmax(-1)[id].item()
        assert answer.logprob == pytest.approx(total, abs=1e-4)


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"width": 0}, "0"), ({"width": 65}, "65"), ({"length": 0}, "0"), ({"length_penalty": float("nan")}, "nan")],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        BeamSettings(**settings)


def test_the_model_files_are_in_a_folder_of_their_own(tmp_path: Path) -> None:
    """The two models of a pair have the same logits, so that what is compared above is the search."""
    theirs, model = pair(tmp_path, 9)
    ids = torch.tensor([PROMPT])
    assert torch.allclose(theirs(ids).logits, model.transformer(ids), atol=1e-4)
