"""The trained ladder that comes with tokenwalk: its files, and how close each rung is to the true distribution."""

import hashlib
import math
from collections import defaultdict
from dataclasses import asdict
from functools import cache
from itertools import islice
from typing import Any

import pytest
import torch

from core.errors import UserError
from core.loading import catalog, ladder, listing, models, tokenizers
from core.loading.checkpoints import checkpoint, folders
from core.loading.choice import ModelChoice
from core.progress import Progress
from core.training import quality, shipped
from core.training.quality import Quality
from core.walk.session import Session
from core.world import tiny
from core.world.automaton import Automaton

LAST_TOKEN_ONLY = ("model1-trained", "model2-trained")
"""Rungs without attention."""
WITH_ATTENTION = ("model3-trained", "model4-trained", "model5-trained", "model6-trained")
STACKED = WITH_ATTENTION[1:]
LABELS = ("agreement", "close", "copy", "pronoun")


def load(name: str) -> models.Model:
    return models.load_model(ModelChoice(name=name, device="cpu"))


@cache
def measured(name: str) -> Quality:
    """The quality of a rung on 16,384 tokens, measured once per rung."""
    *steps, result = quality.quality(load(name), 2**14)
    assert isinstance(result, Quality)
    done = [step.done for step in steps if isinstance(step, Progress)]
    assert done == sorted(done)
    assert len(done) == len(steps)
    return result


# Files ---------------------------------------------------------------------------------------------------------------


def test_all_files_together_are_at_most_4_mb() -> None:
    assert sum(folders.shipped(name).stat().st_size for name in folders.SHIPPED) <= 4_000_000


@pytest.mark.parametrize("name", folders.SHIPPED)
def test_each_file_agrees_with_its_card(name: str) -> None:
    """Trained with its recipe to the end on the present grammar; the weights have the hash in the card."""
    saved = checkpoint.read_checkpoint(folders.shipped(name))
    card, rung = saved.card, name.removesuffix(folders.SUFFIX)
    assert (card.recipe, card.step) == (shipped.recipe(rung), shipped.recipe(rung).steps)
    assert (card.corpus, card.corpus_sha256, card.command) == ("the tiny world", tiny.sha256(), shipped.COMMAND)
    assert card.floors
    assert asdict(card.floors) == pytest.approx(asdict(tiny.automaton().floors()), rel=1e-12)
    assert card.losses[-1] == (card.step, card.loss)
    assert [step for step, _ in card.losses] == [*range(0, card.step + 1, 250)]
    assert saved.tokenizer is tokenizers.load_tokenizer("world")
    assert not saved.moments
    assert {tensor.dtype for tensor in saved.tensors.values()} == {torch.float16}
    order = [weight for weight, _ in load(name).transformer.named_parameters()]
    data = b"".join(saved.tensors[checkpoint.WEIGHTS + weight].numpy().tobytes() for weight in order)
    assert hashlib.sha256(data).hexdigest() == card.weights_sha256


@pytest.mark.parametrize("name", folders.SHIPPED)
def test_each_is_in_the_catalog_and_has_a_twin(name: str) -> None:
    """Its twin is the same rung before the training, with the same tokenizer."""
    (offer,) = (each for each in listing.offers() if each.name == name)
    rung = name.removesuffix(folders.SUFFIX)
    assert offer.problem is None
    assert offer.family == ladder.rung(rung, 1).title
    assert "trained for" in offer.description
    plain = catalog.twin(ModelChoice(name=name))
    assert plain and (plain.name, plain.tokenizer) == (rung, "world")
    assert models.load_model(plain).transformer.config == load(name).transformer.config


# Losses and accuracies -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAST_TOKEN_ONLY)
def test_rungs_without_attention_reach_the_floor_of_the_last_token(name: str) -> None:
    """Within 0.05 nats per token above it, and not below it by more than the sampling error of the text."""
    result, floors = measured(name), tiny.automaton().floors()
    assert result.floor == floors.last_token
    assert -0.01 < result.excess < 0.05
    for slot in result.slots:
        error = 4 / math.sqrt(slot.count)  # four standard errors: -ln p has a standard deviation of about 1 nat
        assert -error < slot.loss - slot.last_token < 0.15, slot.label
        assert slot.loss > slot.context + 2, slot.label
    accuracy = {slot.label: slot.accuracy for slot in result.slots}
    assert accuracy["copy"] < 0.2
    assert accuracy["agreement"] < 0.6
    assert accuracy["pronoun"] < 0.7


@pytest.mark.parametrize("name", WITH_ATTENTION)
def test_rungs_with_attention_are_far_below_the_floor_of_the_last_token(name: str) -> None:
    """Over all tokens and for each label of tokens that earlier text decides."""
    result, floors = measured(name), tiny.automaton().floors()
    assert result.floor == floors.context
    assert -0.01 < result.excess < 0.2
    assert result.loss < floors.last_token - 0.9
    assert tuple(slot.label for slot in result.slots) == LABELS
    for slot in result.slots:
        assert slot.count > 100
        assert slot.loss < slot.last_token - 1.2, slot.label
    accuracy = {slot.label: slot.accuracy for slot in result.slots}
    assert accuracy["close"] > 0.98
    assert accuracy["pronoun"] > 0.97
    assert accuracy["agreement"] > 0.8
    assert accuracy["copy"] > 0.4


@pytest.mark.parametrize("name", STACKED)
def test_rungs_of_several_blocks_come_close_to_the_truth(name: str) -> None:
    """Within 0.03 nats per token of the floor; tokens that the text decides get a probability close to 1."""
    result = measured(name)
    assert result.excess < 0.03
    assert result.long_range_accuracy > 0.92
    slots = {slot.label: slot for slot in result.slots}
    assert slots["copy"].accuracy > 0.9
    assert slots["copy"].loss < 0.25
    assert slots["agreement"].accuracy > 0.98
    assert slots["agreement"].loss < slots["agreement"].context + 0.1
    for label in ("close", "pronoun"):
        assert slots[label].accuracy > 0.99
        assert slots[label].loss < 0.02


def test_the_loss_falls_from_rung_to_rung_as_parts_are_added() -> None:
    """Attention has the largest effect, then several blocks; positions without attention have none."""
    loss = {name: measured(name).loss for name in folders.SHIPPED}
    far = {name: measured(name).long_range_accuracy for name in folders.SHIPPED}
    one, two, three, four, five, six = folders.SHIPPED
    assert abs(loss[one] - loss[two]) < 0.03
    assert loss[three] < min(loss[one], loss[two]) - 0.9
    assert loss[four] < loss[three] - 0.05
    assert loss[five] < loss[four] + 0.01
    assert max(far[one], far[two]) + 0.25 < far[three] < min(far[four], far[five], far[six]) - 0.2


def test_the_loss_in_a_card_equals_the_measured_one() -> None:
    """Within 0.01 nats: the card's is of another text, and of the weights before they were rounded to 16 bits."""
    for name in folders.SHIPPED:
        assert checkpoint.read_checkpoint(folders.shipped(name)).card.loss == pytest.approx(
            measured(name).loss, abs=0.01
        )


def test_the_articles_sentence_is_continued_as_the_grammar_does() -> None:
    """After "I prefer oat milk in" comes "my" for rungs with attention; the chart has KL(true ‖ model) in bits."""
    tokenizer = tokenizers.load_tokenizer("world")
    true = tiny.TrueDistribution().after(tokenizer.encode("I prefer oat milk in"))
    assert true == {tokenizer.encode(" my")[0]: 1.0}
    for name in folders.SHIPPED:
        session = Session(load(name))
        list(session.prefill(tokenizer.encode("I prefer oat milk in")))
        chart = session.chart(tokenizer.vocab_size)
        assert chart.divergence_bits is not None
        mine = next(each for each in chart.candidates if each.piece == b" my")
        assert [each.true for each in chart.candidates] == [float(each is mine) for each in chart.candidates]
        assert chart.divergence_bits == pytest.approx(-math.log2(mine.probability), abs=1e-4)
        assert (chart.divergence_bits < 0.1) is (name in WITH_ATTENTION)


# The measurement itself ----------------------------------------------------------------------------------------------


def measured_slowly(name: str, tokens: int, automaton: Automaton) -> dict[str, Any]:
    """The quality of a rung by a plain loop: one token at a time, in float64, the truth by following the ids.

    For a rung without attention the best distribution is the true one given the last token alone.
    """
    model = load(name).transformer.double()
    edges = list(islice(automaton.sample(quality.SEED), tokens))
    ids = [edge.token for edge in edges]
    length = min(model.config.context, 2 * tiny.MAX_LENGTH)
    truth, excess = tiny.TrueDistribution(), list[float]()
    floors = automaton.floors()
    floor = floors.last_token if name in LAST_TOKEN_ONLY else floors.context
    hits, losses = defaultdict[str, list[bool]](list), defaultdict[str, list[float]](list)
    groups = {label: automaton.tokens_at(label) for label in LABELS}
    first = 0
    while first + length < tokens:
        for at in range(first + length // 2 + 1, first + length + 1):
            logprobs = model(torch.tensor([ids[first:at]]))[0, -1].log_softmax(-1)
            true = truth.after(ids[:at])
            assert true
            best = {id: automaton.bigrams[ids[at - 1], id] for id in true} if name in LAST_TOKEN_ONLY else true
            excess.append(sum(p * (math.log(best[id]) - logprobs[id].item()) for id, p in true.items()))
            if label := edges[at].label:
                hits[label].append(max(groups[label], key=lambda id: logprobs[id].item()) == ids[at])
                losses[label].append(-logprobs[ids[at]].item())
        first += length - length // 2
    return {
        "loss": floor + math.fsum(excess) / len(excess),
        "count": {label: len(each) for label, each in hits.items()},
        "accuracy": {label: sum(each) / len(each) for label, each in hits.items()},
        "slot": {label: math.fsum(each) / len(each) for label, each in losses.items()},
    }


@pytest.mark.parametrize("name", ["model1-trained", "model3-trained", "model6-trained"])
@torch.inference_mode()
def test_quality_equals_that_of_a_plain_loop(name: str) -> None:
    """Loss, and count, accuracy and loss per label, on a text of 230 tokens."""
    tokens = 230
    *_, result = quality.quality(load(name), tokens)
    assert isinstance(result, Quality)
    slow = measured_slowly(name, tokens, tiny.automaton())
    assert result.loss == pytest.approx(slow["loss"], abs=1e-5)
    assert {slot.label: slot.count for slot in result.slots} == slow["count"]
    assert {slot.label: slot.accuracy for slot in result.slots} == slow["accuracy"]
    assert {slot.label: slot.loss for slot in result.slots} == pytest.approx(slow["slot"], abs=1e-5)
    accuracies = [(slot.count, slot.accuracy) for slot in result.slots]
    assert result.long_range_accuracy == pytest.approx(
        sum(count * accuracy for count, accuracy in accuracies) / sum(count for count, _ in accuracies)
    )


def test_a_model_with_another_tokenizer_cannot_be_measured() -> None:
    with pytest.raises(UserError, match="does not use the tokenizer of the tiny world"):
        list(quality.quality(models.load_model(ModelChoice(name="model1", tokenizer="bytes", device="cpu"))))


def test_an_untrained_twin_has_a_loss_of_about_ln_v() -> None:
    """Random weights of standard deviation 0.02 add about 0.04 nats to ln V; the accuracy is that of guessing."""
    plain = catalog.twin(ModelChoice(name="model5-trained", device="cpu"))
    assert plain
    *_, result = quality.quality(models.load_model(plain), 2000)
    assert isinstance(result, Quality)
    assert result.loss == pytest.approx(math.log(825), abs=0.06)
    assert result.long_range_accuracy < 0.15
