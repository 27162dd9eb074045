"""What a trace notes is what the reference implementation says happened, and noting it changes nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from steps import RUNGS, returned, some_ids, step_on, wrapped
from test_families import CASES, reference

from core.activations.trace import Step, contributions, readout, recording, step_at, stream, trace_step
from core.engine.cache import KVCache
from core.engine.prefix import Prefix
from core.loading import description, weights
from core.loading.models import Model

Small = Callable[..., Model]


@pytest.mark.parametrize("case", [case for case in CASES if "linear" not in case])
@pytest.mark.parametrize("known", [True, False])
def test_states_are_the_references_hidden_states(case: str, known: bool, tmp_path: Path) -> None:
    """After the embedding and after each block; the reference norms the last one."""
    theirs = reference(case, vocab_size=257)
    theirs.save_pretrained(tmp_path)
    model = wrapped(weights.build_model(description.describe(tmp_path), torch.device("cpu"), torch.float32))
    ids = some_ids(17)
    with torch.inference_mode():
        want = theirs(torch.tensor([ids]), output_hidden_states=True)
    trace = returned(trace_step(step_on(model, ids, known=known)))
    halves = stream(model.transformer, trace)
    states = [halves[0].state, *(half.state for half in halves if half.name.endswith("mlp"))]
    for mine, other in zip(states, want.hidden_states[:-1], strict=False):
        assert (mine - other[0, -1]).abs().max() < 1e-4
    assert (trace.last("norm") - want.hidden_states[-1][0, -1]).abs().max() < 1e-4
    assert (trace.logits - want.logits[0, -1]).abs().max() < 1e-4


@pytest.mark.parametrize("name", RUNGS)
def test_contributions_add_up_to_the_final_state(name: str, small: Small) -> None:
    """Embedding, position, attention and feed-forward; and the lens at the end is the model."""
    model = small(name)
    step = step_on(model, some_ids(6))
    trace = returned(trace_step(step))
    total = torch.stack(list(contributions(model.transformer, trace).values())).sum(0)
    final = stream(model.transformer, trace)[-1].state
    assert (total - final).abs().max() < 1e-4
    assert (trace.entered("norm") - final).abs().max() == 0
    assert (readout(model.transformer, final[None])[0] - trace.logits).abs().max() < 1e-5


@pytest.mark.parametrize("name", RUNGS)
def test_tracing_leaves_nothing_behind(name: str, small: Small) -> None:
    """No hook, the past as long as before, the walk's own cache untouched, the same numbers bit for bit."""
    model, ids = small(name), some_ids(6)
    prefix = Prefix(model.transformer)
    prefix.append([ids])
    before = prefix.logits([5])
    step = step_at(model, ids, prefix)
    first = returned(trace_step(step)).logits
    assert step.past and step.past.length == 5
    assert (returned(trace_step(step)).logits == first).all()
    for module in model.transformer.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert (prefix.logits([5]) == before).all()
    assert (first - before[0, 0].float()).abs().max() < 1e-5


def test_a_past_is_independent(small: Small) -> None:
    """Writing to it, or to the walk it came from, does not show in the other."""
    model, ids = small("model5"), some_ids(6)
    prefix = Prefix(model.transformer)
    prefix.append([ids])
    want = prefix.logits([5])
    past = prefix.past(3)
    assert past.length == 3
    assert prefix.past(100).length == 6
    with torch.inference_mode():
        model.transformer(torch.tensor([some_ids(3, seed=1)]), past)
        prefix.rewind(4)
        prefix.append([ids[4:]])
        assert (prefix.logits([5]) - want).abs().max() < 1e-6
        again = prefix.past(5)
        assert (model.transformer(torch.tensor([ids[5:]]), again)[0, -1] - want[0, 0]).abs().max() < 1e-6


def test_beyond_the_context_a_step_is_its_window(small: Small) -> None:
    model, ids = small("model5"), some_ids(15)
    step = step_on(model, ids)
    assert step.ids == tuple(ids[-6:])
    with torch.inference_mode():
        want = model.transformer(torch.tensor([ids[-6:]]))[0, -1]
    assert (returned(trace_step(step)).logits - want).abs().max() < 1e-5


def test_reading_what_the_past_lacks_is_told(small: Small) -> None:
    model = small("model5")
    step = step_on(model, some_ids(6), known=False)
    assert step.past and step.past.length == 0
    seen = list(trace_step(step))
    assert [reading.done for reading in seen] == [0, 5]
    assert list(trace_step(step)) == []
    assert list(trace_step(Step(model, step.ids))) == seen


def test_recording_names_modules_and_gives_what_they_gave(small: Small) -> None:
    model = small("model4")
    ids = torch.tensor([some_ids(4)])
    with torch.inference_mode(), recording(model.transformer, ["blocks.0", "unembed"]) as trace:
        logits = model.transformer(ids, KVCache(model.transformer.config, 1, torch.device("cpu"), torch.float32))
    assert set(trace.gave) == {"blocks.0", "unembed"}
    assert (trace.gave["unembed"] == logits).all()
