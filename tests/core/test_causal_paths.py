"""Path patching against TransformerLens, and against passes in which one reader alone gets another residual stream."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from causal_models import CASES, CORRUPT
from prompt_pairs import causal, model_of, pair_on, slow_measure
from reference_models import reference
from steps import returned, step_on
from torch import Tensor

from core.causal.path_patching import Receiver, Sender, difference, path_measures, senders
from core.causal.prompt_pair import PromptPair
from core.causal.question import CausalQuestion
from core.causal.target import Target
from core.engine.hooks import ForwardHooks
from core.errors import UserError
from core.lenses.paths import paths, receiver_of, table
from core.loading.model import Model
from core.progress import Progress

FIGURES = Path(__file__).with_name("transformer_lens")


@pytest.mark.parametrize("case", CASES)
def test_paths_between_heads_equal_those_of_transformer_lens(case: str, tmp_path: Path) -> None:
    pair = pair_on(causal(case, tmp_path))
    heads, blocks = pair.transformer.config.heads, pair.transformer.config.blocks
    recorded = json.loads((FIGURES / f"patching_{case}.json").read_text())["paths"]
    assert {each["component"] for each in recorded} >= {"q"}
    by_sender = {(each["component"], each["head"]): each["values"] for each in recorded}
    for component in sorted({name for name, _ in by_sender}):
        for layer in range(1, blocks):
            for head in range(heads):
                receiver = Receiver(component, layer, head)
                found = returned(path_measures(pair, receiver, [Sender("head", 0, n) for n in range(heads)]))
                for sender, value in found.items():
                    wanted = by_sender[component, sender.head][layer - 1][head]
                    assert value == pytest.approx(wanted, abs=3e-4), (receiver, sender)


def slow_path(model: Model, pair: PromptPair, receiver: Receiver, sender: Sender) -> float:
    """A whole corrupt pass in which the matrix of the receiver reads the norm of another stream, written out."""
    transformer, config, reading = model.transformer, model.transformer.config, ForwardHooks()
    moved = torch.cat((torch.zeros(pair.first, config.embed_dim), difference(pair, sender)))
    block: Any = transformer.blocks[receiver.layer]
    if receiver.part == "mlp":
        norm = block.norm1 if config.layout == "parallel_one_norm" else block.norm2
        stream: list[Tensor] = []
        reading.before(norm, lambda _, inputs: stream.append(inputs[0]))
        reading.before(block.feed_forward, lambda _, inputs: (norm.forward(stream[0] + moved),))
    else:
        share, size = config.heads // config.kv_heads, config.head_dim
        first = {"q": 0, "k": config.heads, "v": config.heads + config.kv_heads}[receiver.part]
        row = first + (receiver.head if receiver.part == "q" else receiver.head // share)
        weight, bias = block.attention.qkv.weight, block.attention.qkv.bias
        stream = []
        reading.before(block.norm1, lambda _, inputs: stream.append(inputs[0]))

        def put(_: Any, inputs: tuple[Tensor], output: Tensor) -> Tensor:
            whole = torch.nn.functional.linear(block.norm1.forward(stream[0] + moved), weight, bias)
            output = output.clone()
            output[..., row * size : (row + 1) * size] = whole[..., row * size : (row + 1) * size]
            return output

        reading.after(block.attention.qkv, put)
    return pair.normalized(slow_measure(transformer, pair.target, CORRUPT, reading))


@pytest.mark.parametrize("case", ["qwen3", "gemma2", "falcon-7b", "falcon-40b", "mixtral", "granite"])
def test_paths_in_every_family(case: str, tmp_path: Path) -> None:
    """Grouped keys and values, norms after sublayers, one norm for both sublayers, experts, multipliers."""
    model = model_of(reference(case), tmp_path)
    pair = pair_on(model)
    for part in ("q", "k", "v", "mlp"):
        receiver = Receiver(part, 2, 1)
        found = returned(path_measures(pair, receiver, senders(pair, receiver)))
        assert len(found) == len(senders(pair, receiver))
        for sender in (Sender("embedding"), Sender("head", 1, 2), Sender("mlp", 0)):
            assert found[sender] == pytest.approx(slow_path(model, pair, receiver, sender), abs=3e-4), (part, sender)


def test_the_path_to_the_output_is_the_final_norm_of_the_moved_stream(small: Any) -> None:
    model = small("model6")
    pair = pair_on(model, (65, 66, 67), (99, 98, 67), Target(7, 20))
    receiver = Receiver("final")
    found = returned(path_measures(pair, receiver, senders(pair, receiver)))
    for sender, value in found.items():
        with torch.inference_mode():
            last = pair.corrupt.streams[-1][-1] + difference(pair, sender)[-1]
            logits = model.transformer.logits(model.transformer.final(last[None, None]))[0, 0]
        assert value == pytest.approx(pair.normalized(pair.target.measure(logits).item()), abs=1e-5)


def test_senders_add_up_to_the_difference_of_both_runs(small: Any) -> None:
    """What embedding, heads and MLPs write is the whole residual stream; biases are the same in both runs."""
    pair = pair_on(small("model6"), (65, 66, 67), (65, 98, 97), Target(7, 20))
    total = sum(difference(pair, sender) for sender in senders(pair, Receiver("final")))
    assert pair.first == 1
    assert (total - (pair.clean.streams[-1] - pair.corrupt.streams[-1])[1:]).abs().max() < 1e-4


def test_senders_are_what_writes_before_the_receiver(small: Any) -> None:
    pair = pair_on(small("model6"), (65, 66, 67), (65, 98, 97), Target(7, 20))
    heads = [Sender("head", 0, 0), Sender("head", 0, 1)]
    assert senders(pair, Receiver("q", 0, 0)) == [Sender("embedding")]
    assert senders(pair, Receiver("mlp", 0)) == [Sender("embedding"), *heads]
    assert senders(pair, Receiver("v", 1, 0)) == [Sender("embedding"), *heads, Sender("mlp", 0)]


@pytest.mark.parametrize(
    ("receiver", "words"),
    [
        (Receiver("q", 2, 0), "the receiver cannot be in layer 2; choose a layer from 0 to 1"),
        (Receiver("k", 1, 2), "the receiver cannot be head 2; choose a head from 0 to 1"),
    ],
)
def test_receivers_that_the_model_lacks_are_refused(receiver: Receiver, words: str, small: Any) -> None:
    pair = pair_on(small("model6"), (65, 66, 67), (65, 98, 97), Target(7, 20))
    with pytest.raises(UserError, match=words):
        returned(path_measures(pair, receiver, [Sender("embedding")]))


def test_post_norm_blocks_have_no_direct_path(tmp_path: Path) -> None:
    pair = pair_on(model_of(reference("opt-norms-after"), tmp_path))
    with pytest.raises(UserError, match="no path is direct"):
        returned(path_measures(pair, Receiver("q", 1, 0), [Sender("embedding")]))


# The lens ------------------------------------------------------------------------------------------------------------


def test_the_lens_has_every_sender(small: Any) -> None:
    step = step_on(small("model6"), (65, 66, 67))
    question = CausalQuestion(7, 20, corrupt=(65, 99, 67))
    pair = pair_on(small("model6"), (65, 66, 67), (65, 99, 67), Target(7, 20))
    for text, receiver in (("final", Receiver("final")), ("v 1.1", Receiver("v", 1, 1)), ("mlp 1", Receiver("mlp", 1))):
        answers = [answer for answer in paths(step, question, text) if not isinstance(answer, Progress)]
        found = returned(path_measures(pair, receiver, senders(pair, receiver)))
        answer = answers[-1]
        assert answers[0].embedding is None
        assert answer.embedding == pytest.approx(found[Sender("embedding")], abs=1e-5)
        heads = {(sender.layer, sender.head): value for sender, value in found.items() if sender.part == "head"}
        assert {(n, h): v for n, row in enumerate(answer.heads) for h, v in enumerate(row)} == pytest.approx(heads)
        mlps = [found.get(Sender("mlp", layer)) for layer in range(len(answer.heads))]
        assert answer.mlp == pytest.approx(mlps)
        assert len(table(answer).rows) == len(found)


@pytest.mark.parametrize("text", ["", "q", "q 1", "final 3", "mlp", "q 1.x", "z 1.2", "mlp -1", "q ².1", "attention"])
def test_words_that_name_no_receiver_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"is not a receiver; choose final"):
        receiver_of(text)
