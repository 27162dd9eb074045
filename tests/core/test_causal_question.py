"""Questions of causal experiments: the two tokens, the corrupt prompt, and what is refused."""

import pytest
import torch

from core.causal.question import CausalQuestion, Measured, aligned, alignment, one_token, question_of
from core.causal.target import Target
from core.errors import UserError
from core.loading.tokenizers import load_tokenizer

LOGITS = torch.tensor([1.0, 5.0, 2.0, 4.0, -1.0])


def piece(id: int) -> bytes:
    return b"abcde"[id : id + 1]


def test_what_is_not_chosen_is_the_likeliest_at_the_position() -> None:
    assert CausalQuestion().target_at(LOGITS) == Target(1, 3)
    assert CausalQuestion(target=2).target_at(LOGITS) == Target(2, 1)
    assert CausalQuestion(against=1).target_at(LOGITS) == Target(3, 1)
    assert CausalQuestion(target=1).target_at(LOGITS) == Target(1, 3)
    assert CausalQuestion(target=4, against=0).target_at(LOGITS) == Target(4, 0)
    assert CausalQuestion(against=1, measure="logit").target_at(LOGITS) == Target(1)
    assert CausalQuestion(target=4, measure="logprob").target_at(LOGITS) == Target(4, scale="logprob")


def test_the_value_is_the_measure_of_the_logits() -> None:
    assert CausalQuestion().measured(LOGITS, piece) == Measured(Target(1, 3), b"b", b"d", 1.0, (0, 1))
    single = CausalQuestion(target=2, measure="logprob").measured(LOGITS, piece)
    assert (single.against, single.value) == (b"", pytest.approx(LOGITS.log_softmax(-1)[2].item()))
    assert single.ranks == (2,)


def test_tokens_of_the_walk_follow_both_prompts() -> None:
    asked = CausalQuestion(corrupt=(7, 8, 9))
    assert asked.continued(3, [1, 2, 3]).corrupt == (7, 8, 9)
    assert asked.continued(3, [1, 2, 3, 4, 5]).corrupt == (7, 8, 9, 4, 5)
    assert CausalQuestion().continued(3, [1, 2, 3, 4]).corrupt == ()


@pytest.mark.parametrize(("align", "kept"), [("left", (7, 8)), ("right", (7, 8, 9))])
def test_a_start_of_the_prompt_is_compared_with_as_much_of_the_corrupt_one(align: str, kept: tuple[int, ...]) -> None:
    asked = CausalQuestion(corrupt=(7, 8, 9, 10, 11), align=align)  # type: ignore[arg-type]
    assert asked.continued(4, [1, 2]).corrupt == kept


def test_positions_are_paired_from_either_end() -> None:
    assert alignment([1, 2, 3], [4, 5], "left") == ((0, 0), (1, 1), (2, None))
    assert alignment([1, 2], [4, 5, 6], "right") == ((None, 0), (0, 1), (1, 2))
    assert alignment([], [], "left") == ()


def test_what_an_experiment_cannot_compare_is_refused_in_one_line() -> None:
    for asked, clean, says in (
        (CausalQuestion(), [1, 2], "needs a second prompt"),
        (CausalQuestion(corrupt=(1, 2)), [1, 2], "the same tokens"),
        (CausalQuestion(corrupt=(3, 4)), [1, 2], "no token in the same place"),
        (CausalQuestion(corrupt=(2, 1)), [1, 2, 1], "no token in the same place"),
        (CausalQuestion(corrupt=(1, 2, 3)), [1, 2], "has 3 tokens, but the prompt has 2"),
    ):
        with pytest.raises(UserError, match=says) as error:
            asked.aligned_ids(clean)
        assert "\n" not in str(error.value)
    assert CausalQuestion(corrupt=(2, 1), align="right").corrupt_ids([1, 2, 1]) == (2, 1)
    aligned([1, 2], [3, 4])


def test_of_prompts_longer_than_the_context_the_last_tokens_are_compared() -> None:
    asked = CausalQuestion(corrupt=(1, 2, 9, 4, 5))
    assert asked.corrupt_ids((3, 4, 5), 3) == asked.aligned_ids((3, 4, 5), 3) == (9, 4, 5)
    with pytest.raises(UserError, match="the last 2 tokens, which the model sees, are the same"):
        asked.corrupt_ids((4, 5), 2)


def test_a_question_that_cannot_be_asked_is_refused() -> None:
    for make, says in (
        (lambda: CausalQuestion(3, 3), "must differ"),
        (lambda: CausalQuestion(measure="soul"), "'soul' is not a measure"),  # type: ignore[arg-type]
        (lambda: CausalQuestion(align="middle"), "left or the right"),  # type: ignore[arg-type]
        (lambda: CausalQuestion(target=5).target_at(LOGITS), "5 is not a token id"),
    ):
        with pytest.raises(UserError, match=says):
            make()


def test_the_text_of_a_target_is_one_token() -> None:
    tokenizer = load_tokenizer("cl100k")
    assert tokenizer.piece(one_token(tokenizer, " my", "target")) == b" my"
    with pytest.raises(UserError, match=r"option target must be one token; ' mystification' is \d: ' myst' \+ "):
        one_token(tokenizer, " mystification", "target")
    with pytest.raises(UserError, match="is empty"):
        one_token(tokenizer, "", "against")


def test_a_question_of_texts() -> None:
    tokenizer = load_tokenizer("bytes")
    asked = question_of(tokenizer, "a", "b", corrupt="oaf", align="right")
    assert asked == CausalQuestion(97, 98, corrupt=tuple(b"oaf"), align="right")
    assert question_of(tokenizer) == CausalQuestion()
    for texts, says in (
        ({"target": "ab"}, r"'ab' is 2: 'a' \+ 'b'"),
        ({"target": "a", "against": "a"}, "must differ"),
        ({"against": "a", "measure": "logit"}, "belongs to the measure difference"),
        ({"measure": "mood"}, "'mood' is not a measure"),
        ({"align": "middle"}, "left or the right"),
    ):
        with pytest.raises(UserError, match=says):
            question_of(tokenizer, **texts)
