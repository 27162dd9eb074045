"""A person's guess beside the argmax, and the summary of a walk: each number against float64."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from torch import Tensor

from core.errors import UserError
from core.evaluation.score import score
from core.evaluation.values import ScoredText
from core.loading.model import Model
from core.sampling.sampler import Sampler
from core.walk.session import Session

Small = Callable[..., Model]
After = Callable[[Any, Sequence[int]], Tensor]

NAMES = ["model1", "model3", "model5", "model6"]
PROMPT = list(b"oat")
LONG = list(b"I prefer oat milk in my coffee")


def started(model: Model, ids: Sequence[int] = PROMPT, sampler: Sampler = Sampler()) -> Session:
    walk = Session(model, sampler)
    list(walk.prefill(ids))
    return walk


def ids(walk: Session) -> list[int]:
    return [token.id for token in walk.tokens]


# Guesses ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["a", "Q", "zebra", "字", " x", "\n"])
@pytest.mark.parametrize("name", NAMES)
def test_a_guess_costs_its_surprisal(small: Small, name: str, text: str, after: After) -> None:
    """-log2 p of its first token, or of a space where that is likelier and it begins with none; in float64."""
    model = small(name)
    walk = started(model)
    p = after(model.transformer, PROMPT).double().softmax(-1)
    first = {text.encode()[0]} | (set() if text[0].isspace() else {ord(" ")})
    guess = walk.guesses.guess(text)
    assert guess.guessed.id == max(first, key=lambda id: p[id])
    assert guess.guessed.bits == pytest.approx(-math.log2(p[guess.guessed.id]), abs=1e-4)
    assert guess.likeliest.id == int(p.argmax())
    assert guess.likeliest.bits == pytest.approx(-math.log2(p.max()), abs=1e-4)
    assert guess.position == 3
    assert guess.hit == (guess.guessed.id == guess.came.id)


def test_a_guess_at_the_end_draws_a_token(small: Small) -> None:
    """It is the token that a step would draw, and can be taken back."""
    walk, other = started(small("model5")), started(small("model5"))
    guess = walk.guesses.guess("x")
    assert guess.came == other.step()
    assert ids(walk) == ids(other)
    walk.take_back()
    assert ids(walk) == PROMPT


def test_a_guess_before_the_end_shows_the_next_token(small: Small) -> None:
    """Nothing is drawn; the cursor moves by one, and at the end a guess draws again."""
    walk = started(small("model5"), LONG)
    walk.travel(1)
    for position in range(1, len(LONG)):
        guess = walk.guesses.guess(chr(LONG[position]))
        assert (guess.position, guess.came.id) == (position, LONG[position])
        assert guess.hit == (guess.guessed.id == LONG[position])
        assert guess.guessed.id in (LONG[position], ord(" "))
        assert walk.cursor == position + 1
        assert ids(walk) == LONG
    walk.guesses.guess("e")
    assert len(walk.tokens) == len(LONG) + 1
    assert [guess.position for guess in walk.guesses.made] == list(range(1, len(LONG) + 1))


def test_a_guess_takes_the_first_token_of_a_real_vocabulary() -> None:
    """cl100k: the first token of the guess counts, with the space that words have inside a text."""
    from core.loading.choice import ModelChoice
    from core.loading.models import load_model

    model = load_model(ModelChoice(device="cpu"))
    walk = started(model, model.tokenizer.encode("I prefer oat"))
    guess = walk.guesses.guess("milk")
    wanted = [model.tokenizer.encode(text)[0] for text in ("milk", " milk")]
    logits = walk.reader.distribution(guess.position).logits
    assert guess.guessed.id == max(wanted, key=lambda id: logits[id])


def test_an_empty_guess_is_a_user_error_and_changes_nothing(small: Small) -> None:
    walk = started(small())
    before = walk.snapshot()
    with pytest.raises(UserError) as error:
        walk.guesses.guess("")
    assert len(str(error.value).splitlines()) == 1
    assert walk.snapshot() == before
    assert walk.guesses.made == []


# The whole text -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [LONG[:2], LONG[:6], LONG[:7], LONG, [65, 256, 66]], ids=len)
@pytest.mark.parametrize("name", NAMES)
def test_perplexity_is_the_geometric_mean_of_one_over_p(small: Small, name: str, text: list[int], after: After) -> None:
    """Perplexity, bits per token and per byte, and the worst positions against whole-window forwards in float64."""
    model = small(name)
    walk = started(model, text)
    list(walk.score())
    bits = [
        -math.log2(after(model.transformer, text[:at]).double().softmax(-1)[text[at]]) for at in range(1, len(text))
    ]
    size = sum(len(model.tokenizer.piece(id)) for id in text[1:])
    found = walk.summary(3)
    assert (found.measured, found.tokens, found.byte_count) == (len(text) - 1, len(text) - 1, size)
    assert found.bits == pytest.approx(math.fsum(bits), rel=1e-5)
    assert found.bits_per_token == pytest.approx(math.fsum(bits) / len(bits), rel=1e-5)
    assert found.bits_per_byte == pytest.approx(math.fsum(bits) / size, rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(math.fsum(bits) * math.log(2) / len(bits)), rel=1e-4)
    worst = sorted(range(len(bits)), key=lambda at: -bits[at])[:3]
    assert [bits[at - 1] for at in found.worst] == pytest.approx([bits[at] for at in worst], abs=1e-4)


@pytest.mark.parametrize("length", [2, 5, 6])
@pytest.mark.parametrize("name", NAMES)
def test_within_the_context_it_is_the_score_of_the_command_line(small: Small, name: str, length: int) -> None:
    """Both predict each token from all tokens before it."""
    model, text = small(name), LONG[:length]
    walk = started(model, text)
    list(walk.score())
    *_, scored = score(model, text)
    assert isinstance(scored, ScoredText)
    found = walk.summary()
    assert found.bits == pytest.approx(scored.bits, abs=1e-5)
    assert found.perplexity == pytest.approx(scored.perplexity, rel=1e-5)
    assert found.bits_per_byte == pytest.approx(scored.bits_per_byte, rel=1e-5)
    assert found.worst == tuple(token.position for token in scored.worst(500))


def test_tokens_without_a_score_are_counted(small: Small) -> None:
    """A long text is scored from its end; the summary counts the tokens without a score."""
    walk = started(small("model5"), LONG)
    nothing = walk.summary()
    assert (nothing.measured, nothing.tokens, nothing.bits, nothing.worst) == (0, len(LONG) - 1, 0.0, ())
    scoring = walk.score()
    while walk.tokens[-1].score is None:
        next(scoring)
    part = walk.summary()
    assert 0 < part.measured < part.tokens or part.measured == part.tokens
    list(walk.generate(4))
    list(walk.score())
    whole = walk.summary()
    assert whole.measured == whole.tokens == len(LONG) + 3


def test_one_token_has_nothing_to_score(small: Small) -> None:
    found = started(small(), [65]).summary()
    assert (found.measured, found.tokens, found.worst) == (0, 0, ())


def test_a_huge_surprisal_gives_a_number_or_infinity() -> None:
    """If the perplexity exceeds a float, it is infinite and no error."""
    from core.walk.values import Summary

    assert Summary(1, 1, 2000.0, 1, (1,)).perplexity == math.inf
    assert Summary(2, 2, 2000.0, 1, (1,)).perplexity == pytest.approx(2.0**1000)
