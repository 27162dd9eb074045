"""The trained ladder that comes along: what it weighs, what it learned, and how near it is to the truth, by rung."""

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
from core.loading import catalog, ladder, models, tokenizers
from core.loading.checkpoints import checkpoint, folders
from core.loading.choice import ModelChoice
from core.progress import Progress
from core.training import quality, shipped
from core.training.quality import Quality
from core.walk.session import Session
from core.world import tiny
from core.world.machine import Machine

BLIND = ("model1-trained", "model2-trained")
"""Those that see the last token alone."""
SEEING = ("model3-trained", "model4-trained", "model5-trained", "model6-trained")
STACKED = SEEING[1:]
LABELS = ("agreement", "close", "copy", "pronoun")


def load(name: str) -> models.Model:
    return models.load_model(ModelChoice(name=name, device="cpu"))


@cache
def measured(name: str) -> Quality:
    """What a rung is worth on a long text, each measured once."""
    *readings, found = quality.quality(load(name), 2**14)
    assert isinstance(found, Quality)
    done = [each.done for each in readings if isinstance(each, Progress)]
    assert done == sorted(done)
    assert len(done) == len(readings)
    return found


# What comes along ----------------------------------------------------------------------------------------------------


def test_it_is_small() -> None:
    """All rungs together, in 16 bits, are less than 4 MB."""
    assert sum(folders.shipped(name).stat().st_size for name in folders.SHIPPED) <= 4_000_000


@pytest.mark.parametrize("name", folders.SHIPPED)
def test_each_is_what_its_card_says(name: str) -> None:
    """Trained by its recipe to the end, on the tiny world as it is written now; the weights have the card's hash."""
    found = checkpoint.read_checkpoint(folders.shipped(name))
    card, rung = found.card, name.removesuffix(folders.SUFFIX)
    assert (card.recipe, card.step) == (shipped.recipe(rung), shipped.recipe(rung).steps)
    assert (card.corpus, card.corpus_sha256, card.command) == ("the tiny world", tiny.sha256(), shipped.COMMAND)
    assert card.floors
    assert asdict(card.floors) == pytest.approx(asdict(tiny.machine().floors()), rel=1e-12)
    assert card.losses[-1] == (card.step, card.loss)
    assert [step for step, _ in card.losses] == [*range(0, card.step + 1, 250)]
    assert found.tokenizer is tokenizers.load_tokenizer("world")
    assert not found.moments
    assert {tensor.dtype for tensor in found.tensors.values()} == {torch.float16}
    order = [weight for weight, _ in load(name).transformer.named_parameters()]
    data = b"".join(found.tensors[checkpoint.WEIGHTS + weight].numpy().tobytes() for weight in order)
    assert hashlib.sha256(data).hexdigest() == card.weights_sha256


@pytest.mark.parametrize("name", folders.SHIPPED)
def test_each_is_offered_and_has_a_twin(name: str) -> None:
    """Under its name, without a problem; its twin is the rung it was before, in the same tokens."""
    (offer,) = (each for each in catalog.offers() if each.name == name)
    rung = name.removesuffix(folders.SUFFIX)
    assert offer.problem is None
    assert offer.family == ladder.rung(rung, 1).title
    assert "trained for" in offer.description
    plain = catalog.twin(ModelChoice(name=name))
    assert plain and (plain.name, plain.tokenizer) == (rung, "world")
    assert models.load_model(plain).transformer.config == load(name).transformer.config


# What it learned -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BLIND)
def test_without_attention_the_last_token_is_all(name: str) -> None:
    """Within 0.05 nats of the floor of the last token, and no lower than the text's own chance makes it."""
    found, floors = measured(name), tiny.machine().floors()
    assert found.floor == floors.last_token
    assert -0.01 < found.above < 0.05
    for slot in found.slots:
        chance = 4 / math.sqrt(slot.count)  # -ln p is about one nat from its mean there
        assert -chance < slot.loss - slot.last_token < 0.15, slot.label
        assert slot.loss > slot.context + 2, slot.label
    accuracy = {slot.label: slot.accuracy for slot in found.slots}
    assert accuracy["copy"] < 0.2
    assert accuracy["agreement"] < 0.6
    assert accuracy["pronoun"] < 0.7


@pytest.mark.parametrize("name", SEEING)
def test_with_attention_the_text_so_far_counts(name: str) -> None:
    """Far below the floor of the last token, everywhere where something far decides."""
    found, floors = measured(name), tiny.machine().floors()
    assert found.floor == floors.context
    assert -0.01 < found.above < 0.2
    assert found.loss < floors.last_token - 0.9
    assert tuple(slot.label for slot in found.slots) == LABELS
    for slot in found.slots:
        assert slot.count > 100
        assert slot.loss < slot.last_token - 1.2, slot.label
    accuracy = {slot.label: slot.accuracy for slot in found.slots}
    assert accuracy["close"] > 0.98
    assert accuracy["pronoun"] > 0.97
    assert accuracy["agreement"] > 0.8
    assert accuracy["copy"] > 0.4


@pytest.mark.parametrize("name", STACKED)
def test_stacked_blocks_come_near_the_truth(name: str) -> None:
    """Within 0.03 nats of all that can be known; what is certain is all but certain to them."""
    found = measured(name)
    assert found.above < 0.03
    assert found.long_range_accuracy > 0.92
    slots = {slot.label: slot for slot in found.slots}
    assert slots["copy"].accuracy > 0.9
    assert slots["copy"].loss < 0.25
    assert slots["agreement"].accuracy > 0.98
    assert slots["agreement"].loss < slots["agreement"].context + 0.1
    for label in ("close", "pronoun"):
        assert slots[label].accuracy > 0.99
        assert slots[label].loss < 0.02


def test_the_ladder_is_a_story() -> None:
    """Attention brings most, stacking nearly all of what is left, heads no less; positions alone bring nothing."""
    loss = {name: measured(name).loss for name in folders.SHIPPED}
    far = {name: measured(name).long_range_accuracy for name in folders.SHIPPED}
    one, two, three, four, five, six = folders.SHIPPED
    assert abs(loss[one] - loss[two]) < 0.03
    assert loss[three] < min(loss[one], loss[two]) - 0.9
    assert loss[four] < loss[three] - 0.05
    assert loss[five] < loss[four] + 0.01
    assert max(far[one], far[two]) + 0.25 < far[three] < min(far[four], far[five], far[six]) - 0.2


def test_the_card_tells_the_same_loss() -> None:
    """On another text, with its own chance, and before its weights had 16 bits."""
    for name in folders.SHIPPED:
        assert checkpoint.read_checkpoint(folders.shipped(name)).card.loss == pytest.approx(
            measured(name).loss, abs=0.01
        )


def test_the_articles_sentence_goes_on_as_it_truly_does() -> None:
    """After "I prefer oat milk in" comes "my", for who attends; the chart knows how far off a rung is."""
    words = tokenizers.load_tokenizer("world")
    shares = tiny.TrueDistribution().after(words.encode("I prefer oat milk in"))
    assert shares == {words.encode(" my")[0]: 1.0}
    for name in folders.SHIPPED:
        session = Session(load(name))
        list(session.prefill(words.encode("I prefer oat milk in")))
        chart = session.chart(words.vocab_size)
        assert chart.divergence_bits is not None
        mine = next(each for each in chart.candidates if each.piece == b" my")
        assert [each.true for each in chart.candidates] == [float(each is mine) for each in chart.candidates]
        assert chart.divergence_bits == pytest.approx(-math.log2(mine.probability), abs=1e-4)
        assert (chart.divergence_bits < 0.1) is (name in SEEING)


# How it is measured --------------------------------------------------------------------------------------------------


def slowly(name: str, tokens: int, machine: Machine) -> dict[str, Any]:
    """A rung's numbers by the obvious loop: a token at a time, float64, the truth by following the ids.

    What a rung without attention is measured against is what is true after the last token alone.
    """
    model = load(name).transformer.double()
    run = list(islice(machine.run(quality.SEED), tokens))
    ids = [edge.token for edge in run]
    length = min(model.config.context, 2 * tiny.LONGEST)
    truth, excess = tiny.TrueDistribution(), list[float]()
    floors = machine.floors()
    floor = floors.last_token if name in BLIND else floors.context
    right, losses = defaultdict[str, list[bool]](list), defaultdict[str, list[float]](list)
    groups = {label: machine.said_at(label) for label in LABELS}
    first = 0
    while first + length < tokens:
        for at in range(first + length // 2 + 1, first + length + 1):
            logprobs = model(torch.tensor([ids[first:at]]))[0, -1].log_softmax(-1)
            shares = truth.after(ids[:at])
            assert shares
            best = {id: machine.pairs[ids[at - 1], id] for id in shares} if name in BLIND else shares
            excess.append(sum(p * (math.log(best[id]) - logprobs[id].item()) for id, p in shares.items()))
            if label := run[at].label:
                right[label].append(max(groups[label], key=lambda id: logprobs[id].item()) == ids[at])
                losses[label].append(-logprobs[ids[at]].item())
        first += length - length // 2
    return {
        "loss": floor + math.fsum(excess) / len(excess),
        "count": {label: len(each) for label, each in right.items()},
        "accuracy": {label: sum(each) / len(each) for label, each in right.items()},
        "slot": {label: math.fsum(each) / len(each) for label, each in losses.items()},
    }


@pytest.mark.parametrize("name", ["model1-trained", "model3-trained", "model6-trained"])
@torch.inference_mode()
def test_quality_is_what_the_obvious_loop_says(name: str) -> None:
    """Loss, places, accuracies and losses at them, on a short text."""
    tokens, machine = 230, tiny.machine()
    *_, found = quality.quality(load(name), tokens)
    assert isinstance(found, Quality)
    slow = slowly(name, tokens, machine)
    assert found.loss == pytest.approx(slow["loss"], abs=1e-5)
    assert {slot.label: slot.count for slot in found.slots} == slow["count"]
    assert {slot.label: slot.accuracy for slot in found.slots} == slow["accuracy"]
    assert {slot.label: slot.loss for slot in found.slots} == pytest.approx(slow["slot"], abs=1e-5)
    shares = [(slot.count, slot.accuracy) for slot in found.slots]
    assert found.long_range_accuracy == pytest.approx(
        sum(count * share for count, share in shares) / sum(count for count, _ in shares)
    )


def test_who_speaks_in_other_tokens_is_told() -> None:
    with pytest.raises(UserError, match="does not speak in the tokens of the tiny world"):
        list(quality.quality(models.load_model(ModelChoice(name="model1", tokenizer="bytes", device="cpu"))))


def test_an_untrained_twin_knows_nothing() -> None:
    """Which is what the measurement says of it: no better than guessing among all tokens."""
    plain = catalog.twin(ModelChoice(name="model5-trained", device="cpu"))
    assert plain
    *_, found = quality.quality(models.load_model(plain), 2000)
    assert isinstance(found, Quality)
    assert found.loss == pytest.approx(math.log(825), abs=0.5)
    assert found.long_range_accuracy < 0.4
