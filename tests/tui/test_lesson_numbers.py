"""The measurements of lessons about training, patches, layers and weights, against other computations."""

import math

import pytest
import torch

from core.activations.patch import Patch
from core.causal.question import CausalQuestion
from core.errors import UserError
from core.lenses import lens
from core.loading.checkpoints.recipe import Recipe
from core.loading.choice import ModelChoice
from core.loading.models import load_model
from core.training.status import TrainingStatus
from core.walk.session import Session
from tui.course.measurements import Here, Seen, value_of

PROMPT = "The train to Paris was full, so Ben walked to"
CORRUPT = "The train to Rome was full, so Ben walked to"


@pytest.fixture
def here() -> Here:
    return at("model5-trained", PROMPT)


def at(name: str, prompt: str) -> Here:
    session = Session(load_model(ModelChoice(name=name)))
    list(session.prefill(session.model.tokenizer.encode(prompt)))
    return Here(session)


def kl(p: torch.Tensor, q: torch.Tensor) -> float:
    p, q = p.double().log_softmax(-1), q.double().log_softmax(-1)
    return ((p.exp() * (p - q)).sum() / math.log(2)).item()


def test_the_loss_in_the_tiny_world_is_that_of_its_text(here: Here) -> None:
    from core.training.quality import SEED
    from core.world import tiny

    texts, losses = [], []
    for edge in tiny.automaton().sample(SEED):
        texts.append(edge.token)
        if len(texts) == 2048:
            break
    net = here.model().transformer
    for start in range(0, 2048 - 64, 32):  # the second half of each window
        logits = net(torch.tensor([texts[start : start + 64]]))[0, 31:-1]
        losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(texts[start + 32 : start + 64])).item())
    assert value_of('world_loss("model5-trained")', here) == pytest.approx(sum(losses) / len(losses), abs=0.06)
    assert value_of('floor("context") < world_loss("model5-trained") < floor("last token") < floor("unigram")', here)
    assert value_of('world_accuracy("copy", "model5-trained") > world_accuracy("copy", "model3-trained")', here)


def test_a_tried_patch_has_the_effect_of_one_that_acts(here: Here) -> None:
    tried = value_of('patch_kl_bits("zero", "head", 1, 0)', here)
    net, ids = here.model().transformer, torch.tensor([here.ids()])
    whole = net(ids)[0, -1]
    part = net.blocks[1].attention.out.weight
    kept = part.clone()
    part[:, :16] = 0  # what head 0 writes
    assert tried == pytest.approx(kl(whole, net(ids)[0, -1]), rel=1e-4)
    part.copy_(kept)

    assert value_of("patched_kl_bits == 0 and patches == 0", here)
    list(here.session.patch((Patch(kind="zero", part="head", layer=1, index=0),)))
    assert value_of("patched_kl_bits", here) == pytest.approx(tried, rel=1e-4)
    assert value_of('patch_kl_bits("zero", "head", 1, 0)', here) == tried  # it is measured on the unpatched model
    assert value_of("patches", here) == 1


def test_a_model_without_a_part() -> None:
    here = at("model2-trained", "I prefer oat milk in")
    net, ids = here.model().transformer, torch.tensor([here.ids()])
    logits = net(ids)[0, -1]
    assert value_of('without_kl_bits("scale")', here) == pytest.approx(kl(logits, 8 * logits), rel=1e-4)
    x = net.embed(ids)[0, -1]
    normed = torch.nn.functional.layer_norm(x, x.shape, net.norm.weight, net.norm.bias)
    plain = torch.nn.functional.gelu(normed) @ net.embed.weight.T / 8
    assert value_of('without_kl_bits("position")', here) == pytest.approx(kl(logits, plain), rel=1e-3)
    assert value_of('without_entropy_bits("scale") < entropy_bits', here)
    assert torch.equal(net(ids)[0, -1], logits)
    with pytest.raises(UserError, match="no part 'block'"):
        value_of('without_kl_bits("block")', here)


def test_one_restored_activation_is_a_cell_of_the_contrast_lens(here: Here) -> None:
    tokens = here.model().tokenizer
    question = CausalQuestion(
        target=tokens.continuation(" Paris")[0],
        against=tokens.continuation(" Rome")[0],
        corrupt=tuple(tokens.encode(CORRUPT)),
    )
    *_, maps = lens("contrast")(here.step(), question)
    for name, block, index in (("heads", 1, 0), ("residual", 1, 3), ("mlp", 0, 3), ("attention", 1, 10)):
        found = value_of(
            f'restored("{name}", {block}, {index}, corrupt="{CORRUPT}", target=" Paris", against=" Rome")', here
        )
        assert found == pytest.approx(getattr(maps, name)[block][index], abs=1e-4)
    assert value_of(f'restored("residual", 1, 0, corrupt="{CORRUPT}", target=" Paris", against=" Rome")', here) == 0


def test_layers(here: Here) -> None:
    assert value_of('layer_rank(3, " Paris") == rank(" Paris")', here)
    assert value_of('layer_probability(3, " Paris") / probability(" Paris")', here) == pytest.approx(1, rel=1e-4)
    net, ids = here.model().transformer, torch.tensor([here.ids()])
    early = net.logits(net.final(net.blocks[0](net.embedded(ids, 0), 0, None)))[0, -1].softmax(-1)
    paris = here.id(" Paris")
    assert value_of('layer_probability(0, " Paris")', here) == pytest.approx(early[paris].item(), rel=1e-4)
    parts = " + ".join(f'contribution("{name}", " Paris", " Rome")' for name in (
        "token embedding", "position embedding", "block 0", "block 1", "block 2", "block 3"
    ))  # fmt: skip
    difference = value_of('logit(" Paris") - logit(" Rome")', here)
    assert value_of(parts, here) == pytest.approx(difference, abs=0.2)  # but for the bias of the final norm
    with pytest.raises(UserError, match="no block 4"):
        value_of('layer_rank(4, " Paris")', here)


def test_what_experiments_are_asked(here: Here) -> None:
    assert value_of('asked == "" and asked_against == "" and corrupt_prompt == ""', here)
    corrupt = tuple(here.model().tokenizer.encode(CORRUPT))
    here.session.ask(CausalQuestion(target=here.id(" Paris"), against=here.id(" Rome"), corrupt=corrupt))
    assert value_of(f'asked == " Paris" and asked_against == " Rome" and corrupt_prompt == "{CORRUPT}"', here)


def test_the_numbers_of_a_weight(here: Here) -> None:
    weight = here.model().transformer.get_parameter("blocks.3.feed_forward.down.weight").double()
    name = '"blocks.3.feed_forward.down.weight"'
    assert value_of(f"weight_mean({name})", here) == pytest.approx(weight.mean().item(), abs=1e-6)
    assert value_of(f"weight_std({name})", here) == pytest.approx(weight.std(correction=0).item(), rel=1e-5)
    assert value_of(f"weight_largest({name})", here) == pytest.approx(weight.abs().max().item(), rel=1e-6)
    scaled = (weight - weight.mean()) / weight.std(correction=0)
    assert value_of(f"weight_kurtosis({name})", here) == pytest.approx((scaled**4).mean().item(), rel=1e-6)
    gpt2 = 'rung_parameters("model5", vocab_size=50257, embed_dim=768, context=1024, blocks=12, heads=12)'
    assert value_of(gpt2, here) == 124_439_808


def test_the_truth_of_the_tiny_world() -> None:
    here = at("model5-trained", "I prefer oat milk in my")
    assert value_of('true_probability(" coffee")', here) == pytest.approx(0.6)
    assert value_of("true_kl_bits", here) == pytest.approx(here.session.chart(1).divergence_bits, rel=1e-4)
    with pytest.raises(UserError, match="no such text"):
        value_of('true_probability(" coffee", prompt="coffee coffee")', here)


def test_what_the_app_shows(here: Here) -> None:
    shown = {"block": 1, "head": 3, "weight": "embed.weight"}
    training = TrainingStatus(Recipe(), "a", state="paused", earlier_losses=((0, 6.7), (50, 3.1)))
    other = Here(here.session, Seen(lens="attention", looked_at=shown, training=training))
    assert value_of('shown_block == 1 and shown_head == 3 and shown_weight == "embed.weight"', other)
    assert value_of('training_state == "paused" and training_loss == 3.1', other)
    for text in ("shown_head", "training_loss"):
        with pytest.raises(UserError, match=r"shows no head|nothing was trained"):
            value_of(text, here)
