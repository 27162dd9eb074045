"""Comparing two models: divergences against their formulas in float64, bytes against a plain sum, boundaries."""

import math
from collections.abc import Callable, Sequence
from itertools import accumulate

import pytest
import tiktoken
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.errors import UserError
from core.evaluation import compare
from core.evaluation.compare import Side, align, compare_text, counterpart, diverge, next_byte_logprobs
from core.evaluation.values import ComparedText
from core.loading import catalog, tokenizers
from core.loading.choice import ModelChoice
from core.loading.model import Model
from core.loading.models import load_model
from core.progress import Progress
from core.sampling.distribution import Distribution
from core.sampling.sampler import Sampler
from core.tokenizers.tokenizer import END_OF_TEXT, Tokenizer

Small = Callable[..., Model]
INF = math.inf
TEXT = "I prefer oat milk in my coffee, 字 too: 1234567"


def toy(name: str, pieces: Sequence[bytes]) -> Tokenizer:
    """A tokenizer with all bytes, then some longer pieces, then the end of text."""
    ranks = {bytes([value]): value for value in range(256)} | {piece: 256 + n for n, piece in enumerate(pieces)}
    special = {END_OF_TEXT: 256 + len(pieces)}
    return Tokenizer(name, tiktoken.Encoding(name, pat_str=r"(?s:.+)", mergeable_ranks=ranks, special_tokens=special))


BYTES = tokenizers.load_tokenizer("bytes")
PAIRS = toy("pairs", [b"oa", b"oat", b" m", b"il"])


def random_logits(size: int, seed: int, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(size, generator=torch.Generator().manual_seed(seed))


def kl(a: list[float], b: list[float]) -> float:
    """KL in bits by its formula."""
    return math.fsum(p * math.log2(p / q) if q else INF for p, q in zip(a, b, strict=True) if p)


def js(a: list[float], b: list[float]) -> float:
    mean = [(p + q) / 2 for p, q in zip(a, b, strict=True)]
    return (kl(a, mean) + kl(b, mean)) / 2


def softmax(logits: Tensor) -> list[float]:
    exact = torch.softmax(logits.double(), 0)
    return (exact / exact.sum()).tolist()


def next_byte_by_sums(logits: Tensor, tokenizer: Tokenizer) -> list[float]:
    """The probabilities of the 257 outcomes, summed token by token."""
    outcomes: list[list[float]] = [[] for _ in range(257)]
    for id, probability in enumerate(softmax(logits)):
        special = id == tokenizer.end_of_text
        outcomes[256 if special else tokenizer.piece(id)[0]].append(probability)
    return [math.fsum(each) for each in outcomes]


logits = st.builds(random_logits, st.just(257), st.integers(0, 10**6), st.sampled_from([0.01, 1.0, 5.0, 40.0]))


# Divergence ----------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(logits, logits)
def test_divergences_over_tokens_equal_the_formulas(one: Tensor, other: Tensor) -> None:
    found = diverge(Side(Distribution(one), BYTES), Side(Distribution(other), BYTES))
    a, b = softmax(one), softmax(other)
    assert found.over == "token"
    assert found.kl_ab_bits == pytest.approx(kl(a, b), rel=1e-6, abs=1e-9)
    assert found.kl_ba_bits == pytest.approx(kl(b, a), rel=1e-6, abs=1e-9)
    assert found.js_bits == pytest.approx(js(a, b), rel=1e-6, abs=1e-9)
    assert 0 <= found.js_bits <= 1 + 1e-12
    assert min(found.kl_ab_bits, found.kl_ba_bits) >= 0


@settings(max_examples=60, deadline=None)
@given(logits, st.integers(0, 10**6))
def test_divergences_over_bytes_equal_the_formulas(one: Tensor, seed: int) -> None:
    other = random_logits(PAIRS.vocab_size, seed)
    a, b = Side(Distribution(one), BYTES), Side(Distribution(other), PAIRS)
    found, bytes_a, bytes_b = diverge(a, b), next_byte_by_sums(one, BYTES), next_byte_by_sums(other, PAIRS)
    assert found.over == "byte"
    assert next_byte_logprobs(a).exp().tolist() == pytest.approx(bytes_a, abs=1e-12)
    assert next_byte_logprobs(b).exp().tolist() == pytest.approx(bytes_b, abs=1e-12)
    assert found.kl_ab_bits == pytest.approx(kl(bytes_a, bytes_b), rel=1e-6, abs=1e-9)
    assert found.kl_ba_bits == pytest.approx(kl(bytes_b, bytes_a), rel=1e-6, abs=1e-9)
    assert found.js_bits == pytest.approx(js(bytes_a, bytes_b), rel=1e-6, abs=1e-9)


def test_the_probability_of_a_byte_is_the_sum_over_its_tokens() -> None:
    """`o` is 1/4, `oa` 1/4, `oat` 1/8, the end of text 1/8, ` m` 1/4: o 5/8, the space 1/4, no text 1/8."""
    probabilities = torch.full((PAIRS.vocab_size,), 0.0)
    for piece, probability in ((b"o", 0.25), (b"oa", 0.25), (b"oat", 0.125), (b" m", 0.25)):
        probabilities[PAIRS.encoding.encode_single_token(piece)] = probability
    probabilities[PAIRS.end_of_text] = 0.125
    outcomes = next_byte_logprobs(Side(Distribution(probabilities.log()), PAIRS)).exp().tolist()
    assert {outcome: p for outcome, p in enumerate(outcomes) if p} == pytest.approx(
        {ord("o"): 0.625, ord(" "): 0.25, 256: 0.125}
    )


def test_equal_distributions_have_divergence_0_and_disjoint_ones_the_largest() -> None:
    one = Distribution(random_logits(257, 1))
    found = diverge(Side(one, BYTES), Side(one, BYTES))
    assert (found.kl_ab_bits, found.kl_ba_bits, found.js_bits) == pytest.approx((0, 0, 0), abs=1e-12)
    left, right = torch.full((257,), -INF), torch.full((257,), -INF)
    left[:100], right[100:] = 0.0, 0.0
    found = diverge(Side(Distribution(left), BYTES), Side(Distribution(right), BYTES))
    assert (found.kl_ab_bits, found.kl_ba_bits) == (INF, INF)
    assert found.js_bits == pytest.approx(1)


def test_a_divergence_of_2000_nats_is_finite() -> None:
    """Probabilities of exp(-2000) underflow to 0, so a computation from probabilities would give ∞."""
    left, right = torch.zeros(257), torch.zeros(257)
    left[3], right[200] = 2000.0, 2000.0
    found = diverge(Side(Distribution(left), BYTES), Side(Distribution(right), BYTES))
    assert found.kl_ab_bits == pytest.approx(2000 / math.log(2), rel=1e-9)
    assert diverge(Side(Distribution(left), BYTES), Side(Distribution(right), toy("same", []))).over == "token"
    over_pairs = torch.zeros(PAIRS.vocab_size)
    over_pairs[200] = 2000.0
    found = diverge(Side(Distribution(left), BYTES), Side(Distribution(over_pairs), PAIRS))
    assert found.over == "byte"
    assert found.kl_ab_bits == pytest.approx(2000 / math.log(2), rel=1e-6)


# Side by side --------------------------------------------------------------------------------------------------------


def test_likeliest_tokens_and_their_ranks_over_tokens() -> None:
    one, other = Distribution(random_logits(257, 2)), Distribution(random_logits(257, 3))
    sampler = Sampler.of(top_k=5)
    found = compare.compare(Side(one, BYTES, sampler), Side(other, BYTES), 9)
    best_a, best_b = one.logits.argmax().item(), other.logits.argmax().item()
    assert found.agree == (best_a == best_b)
    assert found.rank_in_b == int((other.logits > other.logits[best_a]).sum())
    assert found.rank_in_a == int((one.logits > one.logits[best_b]).sum())
    assert [len(chart.candidates) for chart in (found.chart_a, found.chart_b)] == [9, 9]
    assert found.chart_a.kept == 5
    assert found.chart_b.kept == 257
    assert found.divergence == diverge(Side(one, BYTES), Side(other, BYTES))


def test_likeliest_tokens_and_their_ranks_over_bytes() -> None:
    """Tokens correspond by their bytes; a piece that the other tokenizer does not have has no rank there."""
    one, other = random_logits(257, 4), random_logits(PAIRS.vocab_size, 5)
    one[ord("o")] = other[PAIRS.encoding.encode_single_token(b"oat")] = 100.0
    found = compare.compare(Side(Distribution(one), BYTES), Side(Distribution(other), PAIRS))
    assert (found.agree, found.rank_in_a) == (False, None)
    assert found.rank_in_b == int((other > other[ord("o")]).sum())
    other[ord("o")] = 200.0
    found = compare.compare(Side(Distribution(one), BYTES), Side(Distribution(other), PAIRS))
    assert (found.agree, found.rank_in_a, found.rank_in_b) == (True, 0, 0)


def test_the_next_distribution_equals_a_pass_without_cache(small: Small, after: Callable[..., Tensor]) -> None:
    model = small("model5")
    for ids in (list(b"oat"), list(b"oat milk in my coffee")):
        expected = after(model.transformer, ids)
        assert (compare.next_distribution(model, ids).logits - expected).abs().max() < 1e-5


# Boundaries ----------------------------------------------------------------------------------------------------------


@st.composite
def cut_twice(pick: Callable[..., object]) -> tuple[list[bytes], list[bytes]]:
    """One text cut into two sequences of pieces, some of them empty."""
    text = pick(st.binary(max_size=30))
    sides = []
    for _ in range(2):
        cuts = sorted(pick(st.lists(st.integers(0, len(text)), max_size=12)))
        sides.append([text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)])
    return sides[0], sides[1]


@given(cut_twice())
def test_boundaries_are_where_both_tokenizations_have_spelled_the_same(sides: tuple[list[bytes], list[bytes]]) -> None:
    a, b = sides
    found = align(a, b)
    for each in found:
        assert b"".join(a[: each.tokens_a]) == b"".join(b[: each.tokens_b])
        assert len(b"".join(a[: each.tokens_a])) == each.byte_offset
    ends = [{len(b"".join(side[:n])) for n in range(len(side) + 1)} for side in sides]
    assert {each.byte_offset for each in found} == ends[0] & ends[1]
    assert [each.tokens_a for each in found] == sorted({each.tokens_a for each in found})
    for cursor in range(len(a) + 1):
        last = counterpart(found, cursor)
        assert last.tokens_a <= cursor or last == found[0]
        assert not [each for each in found if last.tokens_a < each.tokens_a <= cursor]


def test_boundaries_of_an_example() -> None:
    """A special token belongs to the text before it; after the first difference there is no boundary."""

    def boundaries(a: list[bytes], b: list[bytes]) -> list[tuple[int, int, int]]:
        return [(each.byte_offset, each.tokens_a, each.tokens_b) for each in align(a, b)]

    a, b = [b"", b"I", b" oat", b" milk"], [b"I", b" o", b"at", b"", b" mi", b"lk"]
    assert boundaries(a, b) == [(0, 1, 0), (1, 2, 1), (5, 3, 4), (10, 4, 6)]
    assert counterpart(align(b, a), 2).tokens_b == 2
    assert counterpart(align(b, a), 4).tokens_b == 3
    assert boundaries([b"ab", b"c", b"d"], [b"a", b"b", b"x", b"d"]) == [(0, 0, 0), (2, 1, 2)]


# Along a text --------------------------------------------------------------------------------------------------------


def compared(a: Model, b: Model, text: str) -> ComparedText:
    *progress, result = compare_text(a, b, text)
    assert isinstance(result, ComparedText)
    done = [each.done for each in progress if isinstance(each, Progress)]
    assert done == sorted(done)
    assert done[-1] == len(result.positions)
    return result


def test_a_text_over_tokens(small: Small, after: Callable[..., Tensor]) -> None:
    """Each position equals passes without a cache; the values of the whole text are means."""
    a, b, text = small("model5"), small("model6"), "oat mi"
    found = compared(a, b, text)
    assert (found.over, found.text_bytes, found.shared_bytes) == ("token", 6, 6)
    boundaries = [position.boundary for position in found.positions]
    assert [(each.byte_offset, each.tokens_a, each.tokens_b) for each in boundaries] == [(n, n, n) for n in range(1, 7)]
    for position in found.positions:
        ids = list(text.encode()[: position.boundary.byte_offset])
        each = [softmax(after(model.transformer, ids)) for model in (a, b)]
        assert position.divergence.kl_ab_bits == pytest.approx(kl(*each), abs=1e-4)
        assert position.divergence.kl_ba_bits == pytest.approx(kl(each[1], each[0]), abs=1e-4)
        assert position.divergence.js_bits == pytest.approx(js(*each), abs=1e-5)
        best = [max(range(257), key=side.__getitem__) for side in each]
        assert position.agree == (best[0] == best[1])
        assert (position.best_a, position.best_b) == (a.tokenizer.piece(best[0]), b.tokenizer.piece(best[1]))
    count = len(found.positions)
    assert found.kl_ab_bits == pytest.approx(
        sum(position.divergence.kl_ab_bits for position in found.positions) / count
    )
    assert found.kl_ba_bits == pytest.approx(
        sum(position.divergence.kl_ba_bits for position in found.positions) / count
    )
    assert found.js_bits == pytest.approx(sum(position.divergence.js_bits for position in found.positions) / count)
    assert found.agreement == sum(position.agree for position in found.positions) / count


def test_a_text_over_bytes() -> None:
    """GPT-4's tokens against bytes: a boundary at the end of each GPT-4 token; the text is longer than the context."""
    a = load_model(ModelChoice(name="model5", device="cpu"))
    b = load_model(ModelChoice(name="model5", tokenizer="bytes", device="cpu"))
    found = compared(a, b, TEXT)
    pieces = map(a.tokenizer.piece, a.tokenizer.encode(TEXT))
    assert found.over == "byte"
    assert [position.boundary.byte_offset for position in found.positions] == list(accumulate(map(len, pieces)))
    assert found.positions[-1].boundary.byte_offset == found.text_bytes == found.shared_bytes == len(TEXT.encode())
    for position in found.positions:
        assert position.boundary.tokens_b == position.boundary.byte_offset
        assert position.boundary.tokens_a <= position.boundary.tokens_b
    assert len(found.positions) == len(a.tokenizer.encode(TEXT))
    assert found.min_context_b < b.info.context < len(TEXT)


def test_a_model_agrees_with_itself(small: Small) -> None:
    model = small("model5")
    found = compared(model, model, TEXT)
    assert (found.agreement, found.kl_ab_bits, found.kl_ba_bits, found.js_bits) == pytest.approx((1, 0, 0, 0), abs=1e-9)


def test_a_text_without_a_boundary_is_a_user_error(small: Small) -> None:
    with pytest.raises(UserError, match="longer"):
        compare_text(small("model5"), small("model6"), "")


def test_at_most_logit_rows_of_each_model_are_computed_at_once(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the text is."""
    row_counts: list[int] = []
    a, b = small("model5"), small("model6")
    for model in (a, b):
        unembed = model.transformer.unembed.forward

        def counted(states: Tensor, unembed: Callable[[Tensor], Tensor] = unembed) -> Tensor:
            row_counts.append(states.shape[1])
            return unembed(states)

        monkeypatch.setattr(model.transformer.unembed, "forward", counted)
    compared(a, b, TEXT * 20)
    assert max(row_counts) <= compare.LOGIT_ROWS
    assert sum(row_counts) == 2 * len(TEXT.encode()) * 20


# Tokens that stand for text ------------------------------------------------------------------------------------------


def test_special_and_unused_ids_spell_nothing() -> None:
    tokenizer = tokenizers.load_tokenizer("cl100k")
    assert tokenizer.spelled(tokenizer.end_of_text) == b""
    unused = next(id for id in range(tokenizer.vocab_size) if tokenizer.piece(id).startswith(b"<|unused"))
    assert tokenizer.spelled(unused) == b""
    ids = tokenizer.encode(TEXT)
    assert b"".join(map(tokenizer.spelled, ids)) == TEXT.encode()


def test_special_tokens_of_a_real_model_spell_nothing() -> None:
    location = catalog.find("smollm2")
    assert location
    tokenizer = tokenizers.load_model_tokenizer(location.path, "smollm2")
    named = [tokenizer.encode(name, special=True) for name in ("<|im_start|>", "<|im_end|>", END_OF_TEXT)]
    assert [tokenizer.spelled(id) for (id,) in named] == [b""] * 3
    assert b"".join(map(tokenizer.spelled, tokenizer.encode(TEXT))) == TEXT.encode()
