"""A trace equals the hidden states of the reference implementation, and tracing changes nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from reference_models import CASES, reference
from steps import RUNGS, returned, some_ids, step_on, wrapped
from torch import Tensor

from core.activations.trace import (
    Step,
    Trace,
    logits_from_residual,
    recording,
    residual_stream,
    step_at,
    trace_step,
)
from core.engine.cache import KVCache
from core.engine.prefix import Prefix
from core.loading import description, weights
from core.loading.model import Model

Small = Callable[..., Model]


@pytest.mark.parametrize("case", [case for case in CASES if "linear" not in case])
@pytest.mark.parametrize("known", [True, False])
def test_residual_stream_equals_the_hidden_states_of_the_reference(case: str, known: bool, tmp_path: Path) -> None:
    """After the embedding and after each block; the reference applies its final norm to the last one."""
    expected_model = reference(case, vocab_size=257)
    expected_model.save_pretrained(tmp_path)
    model = wrapped(weights.build_model(description.describe(tmp_path), torch.device("cpu"), torch.float32))
    ids = some_ids(17)
    with torch.inference_mode():
        expected = expected_model(torch.tensor([ids]), output_hidden_states=True)
    trace = returned(trace_step(step_on(model, ids, known=known)))
    embedding, *sublayers = residual_stream(model.transformer, trace)
    states = [embedding.state, *(each.state for each in sublayers if not each.name.endswith("attention"))]
    for state, hidden in zip(states, expected.hidden_states[:-1], strict=False):
        assert (state - hidden[0, -1]).abs().max() < 1e-4
    final = trace.last_input("unembed") * model.transformer.config.logit_divisor
    assert (final - expected.hidden_states[-1][0, -1]).abs().max() < 1e-4
    assert (trace.logits - expected.logits[0, -1]).abs().max() < 1e-4


def contributions(model: Model, trace: Trace) -> list[Tensor]:
    """The vectors that embedding, position and each sublayer add to the residual stream at the last position, [d]."""
    config = model.transformer.config
    names = ["embed"] + ["position"] * (config.positions == "learned")  # the output of `position` has no batch axis
    for n in range(config.blocks):
        names += [f"blocks.{n}.attention"] + [f"blocks.{n}.feed_forward"] * config.feed_forward
    return [trace.outputs[name].flatten(0, -2)[-1].float() for name in names]


@pytest.mark.parametrize("name", RUNGS)
def test_contributions_add_up_to_the_final_state(name: str, small: Small) -> None:
    """And the logits of the last state are the model's own."""
    model = small(name)
    step = step_on(model, some_ids(6))
    trace = returned(trace_step(step))
    total = torch.stack(contributions(model, trace)).sum(0)
    final = residual_stream(model.transformer, trace)[-1].state
    assert (total - final).abs().max() < 1e-4
    assert (trace.last_input("norm") - final).abs().max() == 0
    assert (logits_from_residual(model.transformer, final[None])[0] - trace.logits).abs().max() < 1e-5


@pytest.mark.parametrize("name", RUNGS)
def test_tracing_leaves_no_hook_and_changes_no_number(name: str, small: Small) -> None:
    """The step's cache is as long as before, the walk's own cache unchanged, the logits are equal bit for bit."""
    model, ids = small(name), some_ids(6)
    prefix = Prefix(model.transformer)
    prefix.append([ids])
    before = prefix.logits([5])
    step = step_at(model, ids, prefix)
    first = returned(trace_step(step)).logits
    assert step.cache and step.cache.length == 5
    assert (returned(trace_step(step)).logits == first).all()
    for module in model.transformer.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert (prefix.logits([5]) == before).all()
    assert (first - before[0, 0].float()).abs().max() < 1e-5


def test_a_copied_cache_is_independent(small: Small) -> None:
    """Writing to it does not change the prefix it was copied from, and the other way round."""
    model, ids = small("model5"), some_ids(6)
    prefix = Prefix(model.transformer)
    prefix.append([ids])
    expected = prefix.logits([5])
    cache = prefix.past(3)
    assert cache.length == 3
    assert prefix.past(100).length == 6
    with torch.inference_mode():
        model.transformer(torch.tensor([some_ids(3, seed=1)]), cache)
        prefix.rewind(4)
        prefix.append([ids[4:]])
        assert (prefix.logits([5]) - expected).abs().max() < 1e-6
        longer = prefix.past(5)
        assert (model.transformer(torch.tensor([ids[5:]]), longer)[0, -1] - expected[0, 0]).abs().max() < 1e-6


def test_a_step_beyond_the_context_has_the_last_tokens_only(small: Small) -> None:
    model, ids = small("model5"), some_ids(15)
    step = step_on(model, ids)
    assert step.ids == tuple(ids[-6:])
    with torch.inference_mode():
        expected = model.transformer(torch.tensor([ids[-6:]]))[0, -1]
    assert (returned(trace_step(step)).logits - expected).abs().max() < 1e-5


def test_progress_is_reported_while_the_cache_is_filled(small: Small) -> None:
    model = small("model5")
    step = step_on(model, some_ids(6), known=False)
    assert step.cache and step.cache.length == 0
    progress = list(trace_step(step))
    assert [each.done for each in progress] == [0, 5]
    assert list(trace_step(step)) == []
    assert list(trace_step(Step(model, step.ids))) == progress


def test_recording_keeps_the_outputs_of_named_modules(small: Small) -> None:
    model = small("model4")
    ids = torch.tensor([some_ids(4)])
    with torch.inference_mode(), recording(model.transformer, ["blocks.0", "unembed"]) as trace:
        logits = model.transformer(ids, KVCache(model.transformer.config, 1, torch.device("cpu"), torch.float32))
    assert set(trace.outputs) == {"blocks.0", "unembed"}
    assert (trace.outputs["unembed"] == logits).all()
