"""Two models compared: divergences against their formulas in float64, bytes against a plain sum, places by bytes."""

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
from core.evaluation.compare import Side, align, compare_text, counterpart, diverge, next_byte
from core.evaluation.values import ComparedText
from core.loading import catalog, tokenizers
from core.loading.choice import ModelChoice
from core.loading.models import Model, load_model
from core.progress import Progress
from core.sampling.distribution import Distribution
from core.sampling.sampler import Sampler
from core.tokenizers.tokenizer import END_OF_TEXT, Tokenizer

Small = Callable[..., Model]
INF = math.inf
TEXT = "I prefer oat milk in my coffee, 字 too: 1234567"


def toy(name: str, pieces: Sequence[bytes]) -> Tokenizer:
    """All bytes, then some longer pieces, then the end of text."""
    ranks = {bytes([value]): value for value in range(256)} | {piece: 256 + n for n, piece in enumerate(pieces)}
    special = {END_OF_TEXT: 256 + len(pieces)}
    return Tokenizer(name, tiktoken.Encoding(name, pat_str=r"(?s:.+)", mergeable_ranks=ranks, special_tokens=special))


BYTES = tokenizers.load_tokenizer("bytes")
PAIRS = toy("pairs", [b"oa", b"oat", b" m", b"il"])


def numbers(size: int, seed: int, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(size, generator=torch.Generator().manual_seed(seed))


def kl(a: list[float], b: list[float]) -> float:
    """The formula as it stands."""
    return math.fsum(p * math.log2(p / q) if q else INF for p, q in zip(a, b, strict=True) if p)


def js(a: list[float], b: list[float]) -> float:
    mixed = [(p + q) / 2 for p, q in zip(a, b, strict=True)]
    return (kl(a, mixed) + kl(b, mixed)) / 2


def softmax(logits: Tensor) -> list[float]:
    exact = torch.softmax(logits.double(), 0)
    return (exact / exact.sum()).tolist()


def by_hand(logits: Tensor, words: Tokenizer) -> list[float]:
    """The 257 outcomes, token by token."""
    found: list[list[float]] = [[] for _ in range(257)]
    for id, share in enumerate(softmax(logits)):
        special = id == words.end_of_text
        found[256 if special else words.piece(id)[0]].append(share)
    return [math.fsum(shares) for shares in found]


logits = st.builds(numbers, st.just(257), st.integers(0, 10**6), st.sampled_from([0.01, 1.0, 5.0, 40.0]))


# Divergence ----------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(logits, logits)
def test_divergences_over_tokens_are_the_formulas(one: Tensor, other: Tensor) -> None:
    found = diverge(Side(Distribution(one), BYTES), Side(Distribution(other), BYTES))
    a, b = softmax(one), softmax(other)
    assert found.by == "token"
    assert found.kl_ab == pytest.approx(kl(a, b), rel=1e-6, abs=1e-9)
    assert found.kl_ba == pytest.approx(kl(b, a), rel=1e-6, abs=1e-9)
    assert found.js == pytest.approx(js(a, b), rel=1e-6, abs=1e-9)
    assert 0 <= found.js <= 1 + 1e-12
    assert min(found.kl_ab, found.kl_ba) >= 0


@settings(max_examples=60, deadline=None)
@given(logits, st.integers(0, 10**6))
def test_divergences_over_bytes_are_the_formulas(one: Tensor, seed: int) -> None:
    other = numbers(PAIRS.vocab_size, seed)
    a, b = Side(Distribution(one), BYTES), Side(Distribution(other), PAIRS)
    found, shares_a, shares_b = diverge(a, b), by_hand(one, BYTES), by_hand(other, PAIRS)
    assert found.by == "byte"
    assert next_byte(a) == pytest.approx(shares_a, abs=1e-12)
    assert next_byte(b) == pytest.approx(shares_b, abs=1e-12)
    assert found.kl_ab == pytest.approx(kl(shares_a, shares_b), rel=1e-6, abs=1e-9)
    assert found.kl_ba == pytest.approx(kl(shares_b, shares_a), rel=1e-6, abs=1e-9)
    assert found.js == pytest.approx(js(shares_a, shares_b), rel=1e-6, abs=1e-9)


def test_a_byte_has_what_all_its_tokens_have() -> None:
    """`o` is 1/4, `oa` 1/4, `oat` 1/8, the end of text 1/8, ` m` 1/4: o 5/8, the space 1/4, no text 1/8."""
    shares = torch.full((PAIRS.vocab_size,), 0.0)
    for piece, share in ((b"o", 0.25), (b"oa", 0.25), (b"oat", 0.125), (b" m", 0.25)):
        shares[PAIRS.encoding.encode_single_token(piece)] = share
    shares[PAIRS.end_of_text] = 0.125
    found = next_byte(Side(Distribution(shares.log()), PAIRS))
    assert {at: p for at, p in enumerate(found) if p} == pytest.approx({ord("o"): 0.625, ord(" "): 0.25, 256: 0.125})


def test_the_same_is_0_apart_and_the_disjoint_as_far_as_can_be() -> None:
    one = Distribution(numbers(257, 1))
    found = diverge(Side(one, BYTES), Side(one, BYTES))
    assert (found.kl_ab, found.kl_ba, found.js) == pytest.approx((0, 0, 0), abs=1e-12)
    left, right = torch.full((257,), -INF), torch.full((257,), -INF)
    left[:100], right[100:] = 0.0, 0.0
    found = diverge(Side(Distribution(left), BYTES), Side(Distribution(right), BYTES))
    assert (found.kl_ab, found.kl_ba) == (INF, INF)
    assert found.js == pytest.approx(1)


def test_far_logits_are_not_lost() -> None:
    """One near-certain token against another, 2,000 nats apart: by shares the divergence would be ∞."""
    left, right = torch.zeros(257), torch.zeros(257)
    left[3], right[200] = 2000.0, 2000.0
    found = diverge(Side(Distribution(left), BYTES), Side(Distribution(right), BYTES))
    assert found.kl_ab == pytest.approx(2000 / math.log(2), rel=1e-9)
    assert diverge(Side(Distribution(left), BYTES), Side(Distribution(right), toy("same", []))).by == "token"
    apart = torch.zeros(PAIRS.vocab_size)
    apart[200] = 2000.0
    found = diverge(Side(Distribution(left), BYTES), Side(Distribution(apart), PAIRS))
    assert found.by == "byte"
    assert found.kl_ab == pytest.approx(2000 / math.log(2), rel=1e-6)


# Side by side --------------------------------------------------------------------------------------------------------


def test_favourites_and_their_ranks_over_tokens() -> None:
    one, other = Distribution(numbers(257, 2)), Distribution(numbers(257, 3))
    sampler = Sampler(top_k=5)
    found = compare.compare(Side(one, BYTES, sampler), Side(other, BYTES), 9)
    best_a, best_b = one.logits.argmax().item(), other.logits.argmax().item()
    assert found.agree == (best_a == best_b)
    assert found.rank_in_b == int((other.logits > other.logits[best_a]).sum())
    assert found.rank_in_a == int((one.logits > one.logits[best_b]).sum())
    assert [len(chart.candidates) for chart in (found.chart_a, found.chart_b)] == [9, 9]
    assert found.chart_a.stages[-1].kept == 5
    assert found.chart_b.stages[-1].kept == 257
    assert found.divergence == diverge(Side(one, BYTES), Side(other, BYTES))


def test_favourites_and_their_ranks_over_bytes() -> None:
    """By the text they stand for: ids differ, and a piece that the other does not have has no rank there."""
    one, other = numbers(257, 4), numbers(PAIRS.vocab_size, 5)
    one[ord("o")] = other[PAIRS.encoding.encode_single_token(b"oat")] = 100.0
    found = compare.compare(Side(Distribution(one), BYTES), Side(Distribution(other), PAIRS))
    assert (found.agree, found.rank_in_a) == (False, None)
    assert found.rank_in_b == int((other > other[ord("o")]).sum())
    other[ord("o")] = 200.0
    found = compare.compare(Side(Distribution(one), BYTES), Side(Distribution(other), PAIRS))
    assert (found.agree, found.rank_in_a, found.rank_in_b) == (True, 0, 0)


def test_what_comes_after_is_the_oracles(small: Small, after: Callable[..., Tensor]) -> None:
    model = small("model5")
    for ids in (list(b"oat"), list(b"oat milk in my coffee")):
        want = after(model.transformer, ids)
        assert (compare.after(model, ids).logits - want).abs().max() < 1e-5


# Places --------------------------------------------------------------------------------------------------------------


@st.composite
def cut_twice(pick: Callable[..., object]) -> tuple[list[bytes], list[bytes]]:
    """One text in two sequences of pieces, some of them empty."""
    text = pick(st.binary(max_size=30))
    sides = []
    for _ in range(2):
        cuts = sorted(pick(st.lists(st.integers(0, len(text)), max_size=12)))
        sides.append([text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)])
    return sides[0], sides[1]


@given(cut_twice())
def test_shared_places_are_where_both_have_read_the_same(sides: tuple[list[bytes], list[bytes]]) -> None:
    a, b = sides
    found = align(a, b)
    for place in found:
        assert b"".join(a[: place.a]) == b"".join(b[: place.b])
        assert len(b"".join(a[: place.a])) == place.end
    ends = [{len(b"".join(side[:n])) for n in range(len(side) + 1)} for side in sides]
    assert {place.end for place in found} == ends[0] & ends[1]
    assert [place.a for place in found] == sorted({place.a for place in found})
    for cursor in range(len(a) + 1):
        at = counterpart(found, cursor)
        assert at.a <= cursor or at == found[0]
        assert not [place for place in found if at.a < place.a <= cursor]


def test_places_by_hand() -> None:
    """A special token belongs to what is before it; after texts part there is no place."""
    a, b = [b"", b"I", b" oat", b" milk"], [b"I", b" o", b"at", b"", b" mi", b"lk"]
    assert [(place.end, place.a, place.b) for place in align(a, b)] == [(0, 1, 0), (1, 2, 1), (5, 3, 4), (10, 4, 6)]
    assert counterpart(align(b, a), 2).b == 2
    assert counterpart(align(b, a), 4).b == 3
    parted = align([b"ab", b"c", b"d"], [b"a", b"b", b"x", b"d"])
    assert [(place.end, place.a, place.b) for place in parted] == [(0, 0, 0), (2, 1, 2)]


# Along a text --------------------------------------------------------------------------------------------------------


def compared(a: Model, b: Model, text: str) -> ComparedText:
    *readings, answer = compare_text(a, b, text)
    assert isinstance(answer, ComparedText)
    done = [reading.done for reading in readings if isinstance(reading, Progress)]
    assert done == sorted(done)
    assert done[-1] == len(answer.places)
    return answer


def test_along_a_text_over_tokens(small: Small, after: Callable[..., Tensor]) -> None:
    """Each place as the two oracles' distributions after it have it; the sums are means."""
    a, b, text = small("model5"), small("model6"), "oat mi"
    found = compared(a, b, text)
    assert (found.by, found.text_bytes, found.shared_bytes) == ("token", 6, 6)
    assert [(place.at.end, place.at.a, place.at.b) for place in found.places] == [(n, n, n) for n in range(1, 7)]
    for place in found.places:
        ids = list(text.encode()[: place.at.end])
        each = [softmax(after(model.transformer, ids)) for model in (a, b)]
        assert place.divergence.kl_ab == pytest.approx(kl(*each), abs=1e-4)
        assert place.divergence.kl_ba == pytest.approx(kl(each[1], each[0]), abs=1e-4)
        assert place.divergence.js == pytest.approx(js(*each), abs=1e-5)
        best = [max(range(257), key=side.__getitem__) for side in each]
        assert place.agree == (best[0] == best[1])
        assert (place.best_a, place.best_b) == (a.tokenizer.piece(best[0]), b.tokenizer.piece(best[1]))
    count = len(found.places)
    assert found.kl_ab == pytest.approx(sum(place.divergence.kl_ab for place in found.places) / count)
    assert found.kl_ba == pytest.approx(sum(place.divergence.kl_ba for place in found.places) / count)
    assert found.js == pytest.approx(sum(place.divergence.js for place in found.places) / count)
    assert found.agreement == sum(place.agree for place in found.places) / count


def test_along_a_text_over_bytes() -> None:
    """GPT-4's tokens against bytes: at each end of one of its tokens, in windows where the text is longer."""
    a = load_model(ModelChoice(name="model5", device="cpu"))
    b = load_model(ModelChoice(name="model5", tokenizer="bytes", device="cpu"))
    found = compared(a, b, TEXT)
    pieces = map(a.tokenizer.piece, a.tokenizer.encode(TEXT))
    assert found.by == "byte"
    assert [place.at.end for place in found.places] == list(accumulate(map(len, pieces)))
    assert found.places[-1].at.end == found.text_bytes == found.shared_bytes == len(TEXT.encode())
    for place in found.places:
        assert place.at.b == place.at.end
        assert place.at.a <= place.at.b
    assert len(found.places) == len(a.tokenizer.encode(TEXT))
    assert found.context_at_least_b < b.info.context < len(TEXT)


def test_a_model_agrees_with_itself(small: Small) -> None:
    model = small("model5")
    found = compared(model, model, TEXT)
    assert (found.agreement, found.kl_ab, found.kl_ba, found.js) == pytest.approx((1, 0, 0, 0), abs=1e-9)


def test_a_text_without_a_place_is_a_mistake(small: Small) -> None:
    with pytest.raises(UserError, match="longer"):
        compare_text(small("model5"), small("model6"), "")


def test_few_logits_are_held_at_once(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of either model, however long the text."""
    held: list[int] = []
    a, b = small("model5"), small("model6")
    for model in (a, b):
        unembed = model.transformer.unembed.forward

        def counted(states: Tensor, unembed: Callable[[Tensor], Tensor] = unembed) -> Tensor:
            held.append(states.shape[1])
            return unembed(states)

        monkeypatch.setattr(model.transformer.unembed, "forward", counted)
    compared(a, b, TEXT * 20)
    assert max(held) <= compare.AT_ONCE
    assert sum(held) == 2 * len(TEXT.encode()) * 20


# Tokens that stand for text ------------------------------------------------------------------------------------------


def test_special_and_unused_ids_spell_nothing() -> None:
    words = tokenizers.load_tokenizer("cl100k")
    assert words.spelled(words.end_of_text) == b""
    unused = next(id for id in range(words.vocab_size) if words.piece(id).startswith(b"<|unused"))
    assert words.spelled(unused) == b""
    ids = words.encode(TEXT)
    assert b"".join(map(words.spelled, ids)) == TEXT.encode()


def test_special_tokens_of_a_real_model_spell_nothing() -> None:
    place = catalog.find("smollm2")
    assert place
    words = tokenizers.load_model_tokenizer(place.path, "smollm2")
    named = [words.encode(name, special=True) for name in ("<|im_start|>", "<|im_end|>", END_OF_TEXT)]
    assert [words.spelled(id) for (id,) in named] == [b""] * 3
    assert b"".join(map(words.spelled, words.encode(TEXT))) == TEXT.encode()
