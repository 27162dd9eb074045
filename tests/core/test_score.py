"""Scores of a text against the reference implementation's loss, float64, the session, and the definition of windows."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from core.errors import UserError
from core.evaluation import score
from core.evaluation.values import ScoredText
from core.loading import description, models, tokenizers, weights
from core.loading.choice import ModelChoice
from core.loading.info import ModelInfo
from core.loading.model import LocalModel, Model
from core.progress import Progress
from core.walk.session import Session

Small = Callable[..., Model]
CONTEXT = 24
LONG = 131


def scored(model: Model, ids: Sequence[int]) -> ScoredText:
    *progress, result = score.score(model, ids)
    assert isinstance(result, ScoredText)
    done = [each.done for each in progress if isinstance(each, Progress)]
    assert len(done) == len(progress)
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, len(ids) - 1)
    return result


@pytest.fixture(scope="module")
def gpt2() -> transformers.GPT2LMHeadModel:
    config = transformers.GPT2Config(vocab_size=257, n_embd=36, n_layer=3, n_head=6, n_positions=CONTEXT)
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return model


@pytest.fixture(scope="module")
def ours(gpt2: transformers.GPT2LMHeadModel, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A tokenwalk model with the same weights, over bytes."""
    folder: Path = tmp_path_factory.mktemp("gpt2")
    gpt2.save_pretrained(folder)
    transformer = weights.build_model(description.describe(folder), torch.device("cpu"), torch.float32)
    tokenizer = tokenizers.load_tokenizer("bytes")
    info = ModelInfo("gpt2", "", 0, 257, CONTEXT, "cpu", "fp32", tokenizer.name, "")
    return LocalModel(ModelChoice(name="gpt2"), info, transformer, tokenizer)


def some_ids(count: int, seed: int = 1) -> list[int]:
    return torch.randint(0, 256, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.mark.parametrize("count", [2, 3, 17, CONTEXT])
def test_perplexity_equals_exp_of_the_reference_loss(
    gpt2: transformers.GPT2LMHeadModel, ours: Model, count: int
) -> None:
    """For a text within the context: exp(loss) of transformers, and 2^bits."""
    ids = torch.tensor([some_ids(count)])
    with torch.inference_mode():
        loss = gpt2(ids, labels=ids).loss.item()
    result = scored(ours, ids[0].tolist())
    assert result.perplexity == pytest.approx(math.exp(loss), rel=1e-4)
    assert result.bits_per_token == pytest.approx(loss / math.log(2), abs=1e-4)
    assert result.bits_per_byte == pytest.approx(result.bits_per_token)  # each token is one byte
    assert [token.context for token in result.tokens] == list(range(1, count))


def test_each_score_equals_the_reference_in_float64(gpt2: transformers.GPT2LMHeadModel, ours: Model) -> None:
    """ln p, rank and entropy of every token from the reference's logits."""
    ids = some_ids(CONTEXT)
    with torch.inference_mode():
        exact = torch.log_softmax(gpt2(torch.tensor([ids])).logits[0].double(), dim=-1)
    for token in scored(ours, ids).tokens:
        before = exact[token.position - 1]
        assert (token.id, token.piece) == (ids[token.position], bytes([token.id]))
        assert token.score.logprob == pytest.approx(before[token.id].item(), abs=1e-4)
        assert token.score.entropy_bits == pytest.approx(-(before.exp() * before).sum().item() / math.log(2), abs=1e-3)
        assert token.score.surprisal_bits == pytest.approx(-before[token.id].item() / math.log(2), abs=1e-3)
        near = (before - before[token.id]).abs() < 1e-4
        assert abs(token.score.rank - int((before > before[token.id]).sum())) <= int(near.sum())


def losses_by_windows(model: transformers.GPT2LMHeadModel, ids: list[int], stride: int) -> list[float]:
    """The loss of each token by the overlapping windows of Hugging Face's page, each window one token longer.

    There a window of T tokens predicts T - 1 tokens; here the last one predicts too.
    """
    losses: list[float] = []
    end_before = 1
    for begin in range(0, len(ids), stride):
        end = min(begin + CONTEXT + 1, len(ids))
        window = torch.tensor([ids[begin:end]])
        with torch.inference_mode():
            logits = model(window[:, :-1]).logits[0]
        each = torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="none").tolist()
        losses += each[len(each) - (end - end_before) :]
        end_before = end
        if end == len(ids):
            break
    return losses


@pytest.mark.parametrize("count", [CONTEXT + 1, CONTEXT + 2, 2 * CONTEXT, LONG])
def test_a_long_text_is_read_in_overlapping_windows(
    gpt2: transformers.GPT2LMHeadModel, ours: Model, count: int
) -> None:
    ids = some_ids(count)
    result, expected = scored(ours, ids), losses_by_windows(gpt2, ids, CONTEXT // 2)
    assert [-token.score.logprob for token in result.tokens] == pytest.approx(expected, abs=1e-4)
    assert result.perplexity == pytest.approx(math.exp(math.fsum(expected) / len(expected)), rel=1e-4)
    assert result.min_context == (CONTEXT if count == CONTEXT + 1 else CONTEXT // 2 + 1)
    for token in result.tokens:
        assert min(token.position, result.min_context) <= token.context <= min(token.position, CONTEXT)


@given(st.integers(1, 3000), st.integers(1, 300))
def test_windows_predict_each_token_once(length: int, context: int) -> None:
    """From at most T tokens, and from at least `min_context` tokens."""
    predicted: list[int] = []
    least = score.min_context(length, context)
    for start, end, first in score.windows(length, context):
        assert end - start <= context
        assert start <= first < end
        for position in range(first, end):
            predicted.append(position)
            assert position - start + 1 >= min(position + 1, least)
    assert predicted == list(range(length))


@pytest.mark.parametrize("name", ["model1", "model2", "model3", "model4", "model5", "model6"])
def test_scores_within_the_context_equal_those_of_a_session(small: Small, name: str) -> None:
    """Up to the token after the last one that fits."""
    model = small(name)
    ids = list(b"oat mil"[: model.info.context + 1])
    walk = Session(model)
    list(walk.prefill(ids))
    list(walk.score())
    for token, walked in zip(scored(model, ids).tokens, walk.tokens[1:], strict=True):
        assert walked.score is not None
        assert token.score.rank == walked.score.rank
        assert token.score.logprob == pytest.approx(walked.score.logprob, abs=1e-5)
        assert token.score.entropy_bits == pytest.approx(walked.score.entropy_bits, abs=1e-5)


def test_without_attention_windows_change_no_score(small: Small) -> None:
    """Only the last token has an effect, so a long text has the scores of a session."""
    model, ids = small("model1"), some_ids(40)
    walk = Session(model)
    list(walk.prefill(ids))
    list(walk.score())
    expected = [token.score.logprob for token in walk.tokens[1:] if token.score]
    assert [token.score.logprob for token in scored(model, ids).tokens] == pytest.approx(expected, abs=1e-5)


def test_the_first_token_is_in_no_sum(small: Small) -> None:
    result = scored(small("model5"), list(b"oat"))
    assert (result.first_id, result.first_piece) == (ord("o"), b"o")
    assert (len(result.tokens), result.byte_count) == (2, 2)
    assert result.bits == pytest.approx(sum(token.score.surprisal_bits for token in result.tokens))


def test_all_bytes_of_longer_tokens_count() -> None:
    model = models.load_model(ModelChoice(device="cpu"))
    text = "I prefer oat milk, 字 too"
    result = scored(model, model.tokenizer.encode(text))
    assert result.first_piece + b"".join(token.piece for token in result.tokens) == text.encode()
    assert result.byte_count == len(text.encode()) - 1
    assert result.bits_per_byte == pytest.approx(result.bits / result.byte_count)


def test_the_worst_tokens_are_the_least_likely(small: Small) -> None:
    result = scored(small("model6"), some_ids(30))
    expected = sorted(result.tokens, key=lambda token: token.score.logprob)
    assert result.worst(7) == tuple(expected[:7])
    assert result.worst(1000) == tuple(expected)


@pytest.mark.parametrize("ids", [[], [7]])
def test_a_text_of_one_token_is_a_user_error(small: Small, ids: list[int]) -> None:
    with pytest.raises(UserError, match="at least 2 tokens"):
        score.score(small("model1"), ids)


def test_an_id_outside_the_vocabulary_is_a_user_error_at_once(small: Small) -> None:
    with pytest.raises(UserError, match="257"):
        score.score(small("model1"), [1, 257])


def test_at_most_logit_rows_are_computed_at_once(ours: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the text is."""
    row_counts: list[int] = []
    unembed = ours.transformer.unembed.forward

    def counted(states: Tensor) -> Tensor:
        row_counts.append(states.shape[0] * states.shape[1])
        return unembed(states)

    monkeypatch.setattr(ours.transformer.unembed, "forward", counted)
    scored(ours, some_ids(700))
    assert max(row_counts) <= score.LOGIT_ROWS
    assert sum(row_counts) == 699


def test_a_token_of_probability_0_has_infinite_surprisal(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small("model1")
    unembed = model.transformer.unembed.forward

    def forbidding(states: Tensor) -> Tensor:
        logits = unembed(states)
        logits[..., ord("a")] = -math.inf
        return logits

    monkeypatch.setattr(model.transformer.unembed, "forward", forbidding)
    result = scored(model, list(b"oat"))
    assert result.perplexity == math.inf
    assert result.worst(1)[0].piece == b"a"
