"""The logit lens: its last layer equals the model's output, each other one a model cut off there."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from steps import RUNGS, last, some_ids, step_on, wrapped

from core.engine.model import Transformer
from core.lenses.logit import LogitLens, locked_in, logit
from core.loading.model import Model

Small = Callable[..., Model]


@pytest.mark.parametrize("name", RUNGS)
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_last_layer_equals_the_output(name: str, dtype: str, small: Small) -> None:
    """And so does the residual stream after the last sublayer."""
    model, ids = small(name, dtype), some_ids(6)
    with torch.inference_mode():
        probabilities = model.transformer(torch.tensor([ids]))[0, -1].float().softmax(-1)
    lens: LogitLens = last(logit(step_on(model, ids, target=5), count=3))
    assert lens.layers[-1].name == "output"
    within = 1e-5 if dtype == "fp32" else 0.05
    for layer in lens.layers[-2:]:
        assert layer.target.id == 5
        assert layer.target.probability == pytest.approx(probabilities[5].item(), rel=within)
        assert [each.probability for each in layer.top] == pytest.approx(
            probabilities.topk(3).values.tolist(), rel=within
        )


@pytest.mark.parametrize("name", ["model4", "model5", "model6"])
def test_each_sublayer_equals_a_model_cut_off_there(name: str, small: Small) -> None:
    """Fewer blocks, and a last feed-forward layer of zeros; the same final norm and unembedding."""
    model, ids = small(name), some_ids(6)
    transformer = model.transformer
    lens = last(logit(step_on(model, ids), count=257))
    assert [layer.name for layer in lens.layers] == [
        "embedding", "block 0 attention", "block 0 mlp", "block 1 attention", "block 1 mlp", "output",
    ]  # fmt: skip

    def cut(blocks: int, *, mlp: bool) -> list[float]:
        shorter = Transformer(replace(transformer.config, blocks=blocks))
        shorter.load_state_dict(
            {k: v for k, v in transformer.state_dict().items() if not any(f"blocks.{n}." in k for n in (0, 1)[blocks:])}
        )
        if not mlp:
            for parameter in shorter.blocks[-1].feed_forward.down.parameters():
                torch.nn.init.zeros_(parameter)
        with torch.inference_mode():
            probabilities = shorter(torch.tensor([ids]))[0, -1].softmax(-1)
        return probabilities.tolist()

    predictions = [cut(0, mlp=True), cut(1, mlp=False), cut(1, mlp=True), cut(2, mlp=False), cut(2, mlp=True)]
    for layer, expected in zip(lens.layers, predictions, strict=False):
        assert {each.id: each.probability for each in layer.top} == pytest.approx(dict(enumerate(expected)), abs=1e-6)
        assert layer.target.rank == sum(each > expected[layer.target.id] for each in expected)


def test_entropies_equal_float64(small: Small) -> None:
    lens = last(logit(step_on(small("model5"), some_ids(6)), count=257))
    for layer in lens.layers:
        logits = torch.tensor([each.logit for each in layer.top], dtype=torch.float64)
        probabilities = logits.softmax(-1)
        assert layer.entropy_bits == pytest.approx(-(probabilities * probabilities.log2()).sum().item(), abs=1e-5)


def test_without_a_next_token_the_argmax_is_the_target(small: Small) -> None:
    lens = last(logit(step_on(small("model5"), some_ids(6))))
    assert not lens.target_came
    assert lens.layers[-1].target.rank == 0
    assert {layer.target.id for layer in lens.layers} == {lens.layers[-1].top[0].id}
    assert last(logit(step_on(small("model5"), some_ids(6), target=3))).target_came


def test_the_argmax_locks_in_after_its_last_change(small: Small) -> None:
    layers = last(logit(step_on(small("model5"), some_ids(6)))).layers
    shuffled = [replace(layers[0], top=(replace(layers[0].top[0], id=id),)) for id in (4, 7, 4, 4, 7, 7)]
    assert locked_in(shuffled) == 4
    assert locked_in(shuffled[:4]) == 2
    assert locked_in(shuffled[:1]) == 0


def test_deep_models_answer_sixteen_layers_at_a_time(small: Small) -> None:
    deep = replace(small("model4").transformer.config, blocks=20)
    answers = list(logit(step_on(wrapped(Transformer(deep).eval()), some_ids(4))))
    assert [len(each.layers) for each in answers] == [16, 32, 41, 42]
    assert [each.locks_in is None for each in answers] == [True, True, True, False]
