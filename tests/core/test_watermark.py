"""Watermarks add to the scores that transformers adds to, and its detector finds what ours finds."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from steps import last, some_ids, step_on
from transformers import WatermarkDetector, WatermarkingConfig, WatermarkLogitsProcessor

from core import lenses
from core.errors import UserError
from core.loading.model import Model
from core.sampling.apply import apply_stages
from core.sampling.context import DrawContext
from core.sampling.distribution import Distribution
from core.sampling.greenlist import Greenlists
from core.sampling.sampler import Sampler
from core.sampling.stages.watermark import Watermark
from core.walk.session import Session

SETTINGS = [(0.25, "lefthash", 1), (0.5, "lefthash", 2), (0.25, "selfhash", 4), (0.1, "selfhash", 1)]
Small = Callable[..., Model]


@pytest.fixture(params=SETTINGS, ids=str)
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    ratio, scheme, width = request.param
    return {"ratio": ratio, "scheme": scheme, "width": width, "key": 15485863}


def theirs(settings: dict[str, Any], bias: float = 2.5) -> dict[str, Any]:
    return {
        "greenlist_ratio": settings["ratio"], "bias": bias, "seeding_scheme": settings["scheme"],
        "context_width": settings["width"], "hashing_key": settings["key"],
    }  # fmt: skip


def test_scores_equal_those_of_transformers(small: Small, settings: dict[str, Any]) -> None:
    """After several texts; a text shorter than the hash needs stays as it is."""
    model, size = small("model5"), 257
    processor = WatermarkLogitsProcessor(vocab_size=size, device="cpu", **theirs(settings))
    for seed in range(6):
        ids = some_ids(9, seed)
        logits = torch.randn(size, generator=torch.Generator().manual_seed(seed))
        want = processor(torch.tensor([ids]), logits[None])[0].numpy()
        stage = Watermark(bias=2.5, **settings)
        context = DrawContext(ids=ids, prompt_length=2, tokens=model.tokenizer)
        got = apply_stages(Distribution(logits), Sampler(stages=(stage,)), context).selection
        assert np.abs(got.scores - want).max() < 1e-5
    few = apply_stages(
        Distribution(logits),
        Sampler(stages=(stage,)),
        DrawContext(ids=ids[: settings["width"] - 1], tokens=model.tokenizer),
    )
    assert len(few.selection) == size


def test_the_z_score_equals_that_of_transformers(settings: dict[str, Any]) -> None:
    """On random texts and on texts of few ids, whose pairs repeat."""
    size = 97
    config = SimpleNamespace(vocab_size=size, bos_token_id=-1, is_encoder_decoder=False)
    detector = WatermarkDetector(config, "cpu", WatermarkingConfig(**theirs(settings)))  # type: ignore[arg-type]
    lists = Greenlists(size, **settings)
    for seed, high in ((0, size), (1, size), (2, 5)):
        ids = some_ids(60, seed, high)
        want = detector(torch.tensor([ids]), return_dict=True)
        got = lists.score(ids)
        assert got.scored == want.num_tokens_scored[0]
        assert got.hits == want.num_green_tokens[0]
        assert got.z == pytest.approx(want.z_score[0])
        assert got.p_value == pytest.approx(want.p_value[0])
        assert len(got.green) == len(ids)


@pytest.mark.parametrize("scheme", ["lefthash", "selfhash"])
def test_a_watermarked_walk_is_found_and_a_free_one_is_not(small: Small, scheme: str) -> None:
    """120 tokens with δ = 6 have a z of 5 or more; the same walk without it less than 3."""
    stage = Watermark(bias=6.0, scheme=scheme)
    for sampler, found in ((Sampler(), False), (Sampler().with_stage(stage), True)):
        walk = Session(small("model5"), sampler)
        list(walk.prefill(list(b"oat")))
        list(walk.generate(120))
        score = stage.lists(257).score([token.id for token in walk.tokens[3:]])
        assert (score.z >= 5) if found else (score.z < 3)


def test_the_lens_scores_the_text_of_a_step(small: Small) -> None:
    """Each token with its mark; the settings come from a line."""
    model, ids = small("model5"), some_ids(5)
    report = last(lenses.lens("watermark")(step_on(model, ids), settings="0.5:lefthash:1:7"))
    want = Greenlists(257, 0.5, "lefthash", 1, 7).score(ids)
    assert tuple(token.green for token in report.tokens) == want.green
    assert (report.scored, report.green, report.z) == (4, want.hits, want.z)
    for line in ("2", "0.5:nohash", "a", "0.5:lefthash:0", "0.25:lefthash:1:2:3"):
        with pytest.raises(UserError):
            last(lenses.lens("watermark")(step_on(model, ids), settings=line))


def test_too_short_a_text_has_no_score() -> None:
    score = Greenlists(97, 0.25, "lefthash", 3, 7).score([1, 2])
    assert (score.scored, score.z, score.green) == (0, 0.0, (None, None))
