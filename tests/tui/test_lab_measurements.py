"""What lessons measure of small experiments, against formulas and the weights themselves."""

import math

import pytest
import torch

from core.errors import UserError
from core.loading.choice import ModelChoice
from core.loading.models import load_model
from core.sampling.sampler import Sampler
from core.training.dataset import REFERENCE
from core.walk.session import Session
from tui.course.measurements import Here, value_of

PROMPT = "oat milk"


@pytest.fixture(scope="module")
def here() -> Here:
    session = Session(load_model(ModelChoice(name="model1", tokenizer="bytes")), Sampler.of(temperature=0.5))
    list(session.prefill(session.model.tokenizer.encode(PROMPT)))
    return Here(session)


def test_a_value_of_the_embedding_is_that_of_the_table(here: Here) -> None:
    table = here.session.model.transformer.embed.weight
    for position, letter in enumerate(PROMPT):
        for i in (0, 7):
            measured = value_of(f'value("embedding", {i}, position={position})', here)
            assert measured == table[ord(letter), i].item()
    assert value_of('value("embedding", 3)', here) == table[ord("k"), 3].item()
    assert value_of('value("embedding", 3, prompt="o")', here) == table[ord("o"), 3].item()


def test_activation_functions_are_those_of_their_papers(here: Here) -> None:
    for x in (-3.0, -0.75, 0.0, 0.5, 4.0):
        gelu = x * (1 + math.erf(x / math.sqrt(2))) / 2
        assert value_of(f"gelu({x})", here) == pytest.approx(gelu, abs=1e-12)
        assert value_of(f"relu({x})", here) == max(0.0, x)


def test_the_entropy_of_what_is_drawn_from_is_that_after_the_temperature(here: Here) -> None:
    with torch.inference_mode():
        logits = here.session.model.transformer(torch.tensor([list(PROMPT.encode())]))[0, -1].double()
    p = torch.softmax(logits / 0.5, dim=0)
    assert value_of("sampled_entropy_bits", here) == pytest.approx(-(p * p.log2()).sum().item(), abs=1e-5)
    assert value_of("sampled_entropy_bits < entropy_bits", here)


def test_the_batch_is_the_reference_text_and_its_targets_are_shifted_by_one(here: Here) -> None:
    text = REFERENCE.encode()
    rows, length = value_of("batch_shape", here)
    for row in range(rows):
        for i in range(length):
            assert value_of(f"batch_input({row}, {i})", here) == text[row + i]
            assert value_of(f"batch_target({row}, {i})", here) == text[row + i + 1]


def test_lookup_equals_the_product_and_touches_one_row_for_each_letter(here: Here) -> None:
    assert value_of("lookup_difference", here) == 0
    assert value_of("lookup_rows", here) == len(set(PROMPT))
    assert value_of("lookup_ratio > 0 and batch_ratio(2) > 0", here)
    assert value_of("activation_kl_bits > 0 and batch_loss > 0", here)


@pytest.mark.parametrize(
    "text", ['value("nothing", 0)', 'value("embedding", 8)', 'value("embedding", 0, position=99)', "batch_input(9, 0)"]
)
def test_what_there_is_not_is_said_in_a_line(here: Here, text: str) -> None:
    with pytest.raises(UserError) as error:
        value_of(text, here)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "count", "repeated"), [("abcab", 2, True), ("abcab", 3, False), ("aaa", 2, True), ("ab", 3, False)]
)
def test_the_last_tokens_stand_in_the_text_before(here: Here, text: str, count: int, repeated: bool) -> None:
    session = Session(here.session.model)
    list(session.prefill(list(text.encode())))
    assert value_of(f"repeated({count})", Here(session)) is repeated
