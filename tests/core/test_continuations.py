"""Several continuations of one prefix, run as one batch: each equals the walk that it would be alone."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from core.errors import UserError
from core.generation.batch import Batch
from core.loading.model import Model
from core.sampling.chart import chart
from core.sampling.distribution import Distribution
from core.sampling.sampler import Sampler
from core.walk.session import Session

NAMES = ["model1", "model2", "model3", "model4", "model5", "model6"]
PROMPTS = [list(b"o"), list(b"oat"), list(b"oatmea"), list(b"I prefer oat milk in")]
Small = Callable[..., Model]


def alone(model: Model, prompt: list[int], sampler: Sampler) -> Session:
    walk = Session(model, sampler)
    list(walk.prefill(prompt))
    return walk


@pytest.mark.parametrize(
    "sampler",
    [Sampler(), Sampler.of(temperature=0.7, top_k=20, top_p=0.9, seed=11), Sampler.of(temperature=0)],
    ids=str,
)
@pytest.mark.parametrize("prompt", PROMPTS, ids=len)
@pytest.mark.parametrize("name", NAMES)
def test_continuation_i_equals_the_walk_with_seed_plus_i(
    small: Small, name: str, prompt: list[int], sampler: Sampler
) -> None:
    """Five rows of 12 tokens, below, at and beyond the context: ids, u, probabilities and scores."""
    model = small(name)
    batch = Batch(model, prompt, sampler, samples=5)
    rows = [batch.step() for _ in range(12)]
    for sample in range(5):
        each = replace(sampler, seed=sampler.seed + sample)
        for token, drawn in zip(alone(model, prompt, each).generate(12), (row[sample] for row in rows), strict=True):
            assert (drawn.id, drawn.u) == (token.id, token.u)
            assert drawn.sampled_probability == pytest.approx(token.sampled_probability, abs=1e-5)
            assert token.score is not None
            assert drawn.score.logprob == pytest.approx(token.score.logprob, abs=1e-5)


def test_continuations_differ(small: Small) -> None:
    """One prefix, five runs, five different texts; greedy has only one."""
    for temperature, texts in ((1.0, 5), (0.0, 1)):
        batch = Batch(small(), PROMPTS[1], Sampler.of(temperature=temperature), samples=5)
        rows = [batch.step() for _ in range(10)]
        assert len({tuple(row[sample].id for row in rows) for sample in range(5)}) == texts


def test_top_gives_the_candidates_of_the_last_draw(small: Small) -> None:
    """`top` is the head of the chart that the row's last token was drawn from."""
    model, sampler = small(), Sampler.of(top_k=7, seed=3)
    batch = Batch(model, PROMPTS[1], sampler, samples=2)
    walks = [alone(model, PROMPTS[1], Sampler.of(top_k=7, seed=3 + sample)) for sample in range(2)]
    for _ in range(9):
        batch.step()
        for sample, walk in enumerate(walks):
            want = chart(Distribution(walk.distribution().logits), sampler, 20, model.tokenizer.piece).candidates
            got = batch.top(sample, 20)
            assert [one.id for one in got] == [one.id for one in want]
            shares = [one.sampled_probability for one in want]
            assert [one.sampled_probability for one in got] == pytest.approx(shares, abs=1e-5)
            walk.step()


def test_an_empty_prompt_continues_the_end_of_text(small: Small) -> None:
    """As in a walk, an empty prompt starts from `<|endoftext|>`."""
    batch = Batch(small(), [], Sampler(), samples=2)
    walk = alone(small(), [], Sampler())
    assert [batch.step()[0].id for _ in range(8)] == [token.id for token in walk.generate(8)]


@pytest.mark.parametrize("bad", [257, -1])
def test_an_id_outside_the_vocabulary_is_a_user_error(small: Small, bad: int) -> None:
    """One line, as in a walk."""
    with pytest.raises(UserError):
        Batch(small(), [1, bad], Sampler(), samples=2).step()
