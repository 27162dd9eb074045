"""What commands print of a distribution that is known for 50 of 1,000 tokens."""

import json
import math

import pytest
import torch

from core.loading.info import ModelInfo
from core.sampling.bounds import Bounds
from core.sampling.chart import chart
from core.sampling.distribution import Distribution
from core.sampling.draw import draw
from core.sampling.partial import next_distribution
from core.sampling.sampler import Sampler
from core.sampling.values import Candidate
from tui.drawing.text import count_in, fixed_in, percent, percent_in
from tui.reports.generation import step_json
from tui.reports.json_values import candidate_json, json_line
from tui.reports.next_token import next_json, next_lines

V, KNOWN = 1_000, 50
LOGITS = 8.0 - 1.5 * torch.arange(1, V + 1).log()
PARTIAL = next_distribution(range(KNOWN), LOGITS.double().log_softmax(-1)[:KNOWN].tolist(), V)
INFO = ModelInfo("http://a:8000", "served", 0, V, 512, "vllm", "bf16", "bytes", "served")


def piece(id: int) -> bytes:
    return b"%d" % id


def test_next_says_how_many_tokens_are_known_and_has_both_ends() -> None:
    shown, whole = chart(PARTIAL, Sampler(), 5, piece), Distribution(LOGITS)
    found = json.loads(json_line(next_json(INFO, [1, 2], shown, PARTIAL.mass_count(0.97))))
    assert found["known"] == KNOWN
    least, most = found["entropy_bits"]
    assert least < whole.entropy_bits < most
    assert found["effective"] == [pytest.approx(2**least), pytest.approx(2**most)]
    assert found["mass90"][0] <= whole.mass_count(0.97) <= found["mass90"][1]
    assert found["others"] == {"count": V - 5, "probability": pytest.approx(1 - float(whole.shares[:5].sum()))}
    lines = next_lines(shown, PARTIAL.mass_count(0.97))
    assert lines[0].endswith("ln p")
    assert f"entropy {least:.3f}–{most:.3f} bits" in lines[-2]
    assert lines[-1].strip() == "known: the 50 likeliest of 1,000 tokens"


def test_a_step_has_both_ends_of_what_is_not_known() -> None:
    drawn = draw(PARTIAL, Sampler.of(temperature=1.2), 0.05)
    found = json.loads(json_line(step_json(0, 7, drawn, b"0", chart(PARTIAL, Sampler(), 3, piece).candidates, 0.1)))
    assert found["known"] == KNOWN
    assert found["probability"] == pytest.approx(float(Distribution(LOGITS).shares[0]))
    assert found["sampled_probability"][0] < found["sampled_probability"][1]
    assert len(found["entropy_bits"]) == 2
    assert found["rank"] == 1
    whole = draw(Distribution(LOGITS), Sampler(), 0.05)
    assert "known" not in step_json(0, 7, whole, b"0", (), 0.1)


def test_a_candidate_that_is_not_known_is_bounds() -> None:
    found = candidate_json(Candidate(77, b"x", 50, -9.0, math.exp(-9.0), Bounds(0.0, 0.01), known=False))
    assert found["probability"] == [0.0, math.exp(-9.0)]
    assert found["logit"] == [None, -9.0]
    assert found["sampled_probability"] == [0.0, 0.01]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (percent(0.123456, 2), "12.35%"),
        (percent(Bounds(0.1, 0.2), 1), "10.0–20.0%"),
        (percent(Bounds(0.0, 0.0003), 2), "≤ 0.03%"),
        (percent_in(Bounds(0.1, 0.2), 2, 12), "10.00–20.00%"),
        (percent_in(Bounds(0.1, 0.2), 2, 8), "≥ 10.00%"),
        (percent_in(Bounds(0.1, 0.2), 2, 7), "≥10.00%"),
        (percent_in(Bounds(0.1, 0.100001), 2, 7), "10.00%"),
        (fixed_in(Bounds(2.314, 2.482), 2, 9), "2.31–2.48"),
        (fixed_in(Bounds(2.314, 12.482), 2, 9), "2.3–12.5"),
        (count_in(Bounds(40, 49_152), 7), "≤49,152"),
        (count_in(49_152, 3), "49,152"),
    ],
)
def test_bounds_fit_into_columns(words: str, wanted: str) -> None:
    assert words == wanted
