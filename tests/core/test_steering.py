"""Steering vectors: against hooks in transformers, and made, saved, resumed and replayed.

test_smollm2.py compares them with llama.cpp.
"""

import json
import math
from array import array
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from records import again, plain, text_of
from reference_models import ids, reference
from safetensors.torch import load_file
from torch import Tensor

from core.activations.apply import patched
from core.activations.patch import Patch
from core.activations.steering_vector import SteeringVector
from core.causal.prompts import prompts_of
from core.causal.steering import steering_vector
from core.causal.vector_files import read_vector, write_vector
from core.engine.cache import KVCache
from core.errors import UserError
from core.loading import description, weights
from core.loading.choice import Hyperparameters, ModelChoice
from core.loading.model import LocalModel, Model
from core.loading.models import load_model
from core.sampling.sampler import Sampler
from core.sessions.reader import parse_record
from core.sessions.record import record_of
from core.sessions.replay import replay
from core.sessions.resume import session as resumed
from core.walk.session import Session

BLOCKS = {"gpt2": "transformer.h", "llama": "model.layers", "pythia": "gpt_neox.layers"}
LOVE, HATE = ["I love oat", "oats are a joy"], ["I hate oat", "oat, a pity"]


def vector(rows: dict[int, Sequence[float]], name: str = "joy") -> SteeringVector:
    return SteeringVector(name, tuple((layer, array("f", row).tobytes()) for layer, row in rows.items()))


def steer(by: SteeringVector, strength: float) -> Patch:
    return Patch(kind="steer", part="stream", factor=strength, vector=by)


def random_rows(width: int, *layers: int) -> dict[int, list[float]]:
    numbers = torch.Generator().manual_seed(3)
    return {layer: torch.randn(width, generator=numbers).tolist() for layer in layers}


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(ModelChoice(name="model5-trained", device="cpu"))


def made(model: Model, **options: Any) -> SteeringVector:
    *_, answer = steering_vector(model, LOVE, HATE, "love", **options)
    assert isinstance(answer, SteeringVector)
    return answer


def logits(model: Model, patches: Sequence[Patch], text: str = "I prefer oat milk in") -> Tensor:
    with patched(model, patches), torch.inference_mode():
        return model.transformer(torch.tensor([model.tokenizer.encode(text)]))


# Against others ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["gpt2", "llama", "pythia"])
@torch.inference_mode()
def test_logits_equal_those_of_a_hook_in_transformers(case: str, tmp_path: Path, model: Model) -> None:
    """Within 1e-4 at every position, whole and token by token; two vectors act together."""
    theirs = reference(case)
    theirs.save_pretrained(tmp_path)
    ours = weights.build_model(description.describe(tmp_path), torch.device("cpu"), torch.float32)
    rows = random_rows(ours.config.embed_dim, 0, 1)
    for layer, row in rows.items():
        block = theirs.get_submodule(f"{BLOCKS[case.partition('-')[0]]}.{layer}")
        added = (2.5 if layer else -1.5) * torch.tensor(row)
        block.register_forward_hook(
            lambda module, inputs, output, added=added: (
                (output[0] + added, *output[1:]) if isinstance(output, tuple) else output + added
            )
        )
    want = theirs(ids()).logits
    loaded = LocalModel(model.choice, model.info, ours, model.tokenizer)
    cache = KVCache(ours.config, 2, torch.device("cpu"), torch.float32)
    first, second = (vector({layer: rows[layer]}) for layer in (0, 1))
    with patched(loaded, [steer(first, -1.5), steer(second, 2.5)]):
        assert (ours(ids()) - want).abs().max() < 1e-4
        steps = torch.cat([ours(part, cache) for part in ids().split(1, dim=1)], dim=1)
        assert (steps - want).abs().max() < 1e-4
    assert (ours(ids()) - want).abs().max() > 0.01


@torch.inference_mode()
def test_a_vector_is_the_difference_of_means_of_hidden_states() -> None:
    """Of transformers' own hidden states, at the last position and as a mean without the first."""
    model = load_model(ModelChoice(name="model5", tokenizer="bytes", device="cpu", changes=Hyperparameters(context=32)))
    streams: dict[str, list[Tensor]] = {}
    for text in (*LOVE, *HATE):
        x = model.transformer.embedded(torch.tensor([model.tokenizer.encode(text)]), 0)
        streams[text] = [x := block(x, 0, None) for block in model.transformer.blocks]
    for positions, pool in (("last", lambda x: x[0, -1]), ("mean", lambda x: x[0, 1:].mean(0))):
        found = made(model, positions=positions)
        assert found.layers == tuple(range(model.transformer.config.blocks))
        for layer in found.layers:
            plus, minus = (sum(pool(streams[text][layer]) for text in texts) / 2 for texts in (LOVE, HATE))
            assert torch.allclose(torch.tensor(found.numbers(layer)), plus - minus, atol=1e-6)


# What it does --------------------------------------------------------------------------------------------------------


def test_a_strength_of_0_changes_no_bit_and_registers_no_hook(model: Model) -> None:
    before = logits(model, [])
    with patched(model, [steer(made(model), 0.0)]):
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.transformer.modules())
    assert torch.equal(logits(model, [steer(made(model), 0.0)]), before)
    assert not torch.equal(logits(model, [steer(made(model), 1.0)]), before)
    assert torch.equal(logits(model, []), before)


def test_a_vector_of_several_layers_is_one_vector_for_each(model: Model) -> None:
    whole = made(model)
    parts = [steer(whole.at(layer), 1.5) for layer in whole.layers]
    assert torch.equal(logits(model, [steer(whole, 1.5)]), logits(model, parts))
    assert whole.at(1).at(0).directions == ((0, whole.directions[1][1]),), "a single direction acts at any layer"


def test_a_vector_is_made_of_the_unpatched_model(model: Model) -> None:
    """The walk's patches are suspended while a prompt is read, and act again between two prompts."""
    session = Session(model)
    list(session.prefill(model.tokenizer.encode("I prefer")))
    session.patch([Patch(part="mlp", layer=0)])
    try:
        for _ in steering_vector(model, LOVE, HATE, "love", unpatched=session.reader.unpatched):
            assert any(module._forward_hooks for module in model.transformer.modules())
        beside = made(model, unpatched=session.reader.unpatched)
    finally:
        session.patch([])
    assert beside == made(model)


def test_a_steered_walk_is_saved_resumed_and_replayed_exactly(model: Model) -> None:
    """The file holds the vector itself; the unpatched probability stays beside each candidate."""
    walk = Session(model, Sampler(seed=4))
    list(walk.prefill(model.tokenizer.encode("I prefer oat milk in")))
    plain_chart = walk.chart(5)
    list(walk.patch([steer(made(model).at(1), 3.0)]))
    assert {each.id: each.unpatched for each in walk.chart(2000).candidates}.items() >= {
        each.id: each.probability for each in plain_chart.candidates
    }.items()
    list(walk.generate(6))
    list(walk.score())
    saved, tokens = again(record_of(walk)), list(walk.tokens)
    assert saved.patches == walk.patches
    walk.patch([])
    assert not any(each.differs(0.0) for each in replay(saved, model))
    assert any(each.differs(0.1) for each in replay(replace(saved, patches=()), model))
    assert not any(module._forward_hooks for module in model.transformer.modules())
    opened = resumed(saved, model)
    assert (opened.patches, opened.tokens) == (saved.patches, tokens)
    opened.patch([])


# Files ---------------------------------------------------------------------------------------------------------------


def test_files_are_those_of_safetensors_and_gguf_py(tmp_path: Path) -> None:
    origin = replace(vector(random_rows(5, 1, 3, 4), "joy ☺"), origin="model5: 'a' − 'b'")
    for suffix in (".safetensors", ".gguf"):
        write_vector(tmp_path / f"joy{suffix}", origin)
        assert read_vector(tmp_path / f"joy{suffix}") == origin
    tensors = load_file(tmp_path / "joy.safetensors")
    reader = gguf.GGUFReader(tmp_path / "joy.gguf")
    assert reader.fields["general.architecture"].contents() == "controlvector"
    assert reader.fields["controlvector.layer_count"].contents() == 3
    for tensor in reader.tensors:
        assert tensor.data.tolist() == tensors[tensor.name].tolist() == origin.numbers(int(tensor.name[10:]))


def test_layer_0_is_no_layer_of_llama_cpp(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"llama.cpp cannot have a direction for layer 0"):
        write_vector(tmp_path / "joy.gguf", vector(random_rows(5, 0)))
    with pytest.raises(UserError, match=r"must end in|format to save in"):
        write_vector(tmp_path / "joy.bin", vector(random_rows(5, 0)))


@pytest.mark.parametrize(
    ("architecture", "tensors", "problem"),
    [
        ("llama", {"direction.1": np.zeros(4, np.float32)}, "general.architecture is 'llama'"),
        ("controlvector", {}, "holds no direction"),
        ("controlvector", {"output.weight": np.zeros(4, np.float32)}, "'output.weight'"),
        ("controlvector", {"direction.0": np.zeros(4, np.float32)}, "direction.0, which llama.cpp refuses"),
        ("controlvector", {"direction.1": np.zeros(4, np.float16)}, "F16 of shape"),
        ("controlvector", {"direction.1": np.zeros((2, 4), np.float32)}, "of one dimension"),
        ("controlvector", {"direction.1": np.full(4, np.nan, np.float32)}, "non-finite"),
        (
            "controlvector",
            {"direction.1": np.zeros(4, np.float32), "direction.2": np.zeros(5, np.float32)},
            "differ in width",
        ),
    ],
)
def test_a_file_that_is_no_vector_is_one_line(
    architecture: str, tensors: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    writer = gguf.GGUFWriter(path := tmp_path / "file.gguf", architecture)
    for name, numbers in tensors.items():
        writer.add_tensor(name, numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UserError) as caught:
        read_vector(path)
    assert problem in str(caught.value)
    assert str(caught.value).startswith("file.gguf: ")
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_is_refused_by_its_name_and_its_kind(tmp_path: Path) -> None:
    write_vector(tmp_path / "joy.safetensors", vector(random_rows(5, 0)))
    (tmp_path / "joy.gguf").write_bytes((tmp_path / "joy.safetensors").read_bytes())
    for name, problem in (("joy.gguf", "is a safetensors file"), ("joy.txt", "must end in"), ("no.gguf", "No such")):
        with pytest.raises(UserError, match=problem):
            read_vector(tmp_path / name)


# Bad input -----------------------------------------------------------------------------------------------------------


def test_a_vector_of_another_model_is_refused(model: Model) -> None:
    width = model.transformer.config.embed_dim
    for rows, problem in (
        (random_rows(width + 1, 0), f"is {width + 1} wide, but the residual stream of this model is {width} wide"),
        (random_rows(width, 0, 77), "a direction for layer 77, but this model has layers 0 to"),
    ):
        with pytest.raises(UserError, match=problem):
            Session(model).patch([steer(vector(rows), 1)])
    with pytest.raises(UserError, match="has no blocks"):
        Session(load_model(ModelChoice(name="model1"))).patch([steer(vector(random_rows(64, 0)), 1)])
    with pytest.raises(UserError, match="no direction for layer 2, only for layers 0, 4"):
        vector(random_rows(5, 0, 4)).at(2)


@pytest.mark.parametrize(
    ("positive", "negative", "problem"),
    [
        ([], ["a"], "the positive set is empty"),
        (["a"], [], "the negative set is empty"),
        (["a", ""], ["b"], "prompt 2 of the positive set has no tokens"),
        (["a"], ["a"], "so the vector is zero"),
        (["a"], ["b " * 5000], r"prompt 1 of the negative set has [\d,]+ tokens, but .* sees"),
    ],
)
def test_prompts_without_a_vector_are_refused(
    positive: list[str], negative: list[str], problem: str, model: Model
) -> None:
    with pytest.raises(UserError, match=problem):
        list(steering_vector(model, positive, negative))


def test_impossible_patches_are_refused() -> None:
    joy = vector({0: [1.0]})
    for options in ({"kind": "zero"}, {"part": "mlp"}, {"vector": None}, {"factor": math.inf}):
        with pytest.raises(UserError):
            Patch(**({"kind": "steer", "part": "stream", "vector": joy} | options))
    for rows in ({}, {1: [math.nan]}, {0: [1.0], 1: []}):
        with pytest.raises(UserError):
            vector(rows)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"directions": {}}, "has no direction"),
        ({"directions": {"x": "AACAPw=="}}, "not the number of a layer"),
        ({"directions": {"1": "?"}}, "bytes in Base64"),
        ({"directions": {"1": "AACA"}}, "float32"),
        ({"directions": {"1": "AADAfw=="}}, "non-finite"),
    ],
)
def test_damaged_vectors_of_a_session_are_refused(change: dict[str, Any], problem: str) -> None:
    values = json.loads(text_of(plain(patches=(steer(vector({1: [1.0]}), 2),))))
    values["patches"][0]["vector"] |= change
    with pytest.raises(UserError, match=problem) as caught:
        parse_record(json.dumps(values), "walk.json")
    assert str(caught.value).startswith("walk.json: patch 1")


def test_the_lines_of_a_text_are_its_prompts() -> None:
    assert prompts_of("one\n\n two \r\n  \nthree") == ["one", " two ", "three"]
