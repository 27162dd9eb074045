"""The Jacobian lens: the figures of TransformerLens, brute force, and what holds for any model."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from causal_models import CASES, CLEAN, causal_model
from steps import last, returned, some_ids, step_on, wrapped
from torch import Tensor

from core.activations.apply import patched
from core.activations.patch import Patch
from core.activations.trace import logits_from_residual
from core.causal.affine import affine_map
from core.causal.jacobian import FitText, fit_text, sequence_jacobians, sequence_product, streams_of
from core.causal.lens_fit import LensFit, fingerprint
from core.engine.model import Transformer
from core.errors import UserError
from core.lenses.jacobian import JacobianLens, jacobian
from core.loading import description, weights
from core.loading.model import Model
from core.progress import Progress

Small = Callable[..., Model]
FIGURES = Path(__file__).parent / "transformer_lens"
"""Written by tests/benchmarks/causal/jacobian_lens.py."""


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Transformer]:
    """Small random models of transformers, as this project loads them."""
    kept: dict[tuple[str, str | None], Transformer] = {}

    def load(case: str, packing: str | None = None) -> Transformer:
        if (case, packing) not in kept:
            folder = tmp_path_factory.mktemp(case)
            causal_model(case).save_pretrained(folder)
            found = description.describe(folder)
            kept[case, packing] = weights.build_model(found, torch.device("cpu"), torch.float32, packing)
        return kept[case, packing]

    return load


def fitted(transformer: Transformer, text: FitText) -> LensFit:
    fit = LensFit(wrapped(transformer), text)
    list(fit.fit())
    return fit


@pytest.mark.parametrize("case", CASES)
def test_it_equals_transformer_lens(case: str, families: Callable[..., Transformer]) -> None:
    """Matrices and readouts; their layer l is the stream before our block l + 1."""
    transformer = families(case)
    recorded = json.loads((FIGURES / f"jacobian_{case}.json").read_text())
    text = FitText("random", tuple(map(tuple, recorded["sequences"])), recorded["skip"])
    matrices = fitted(transformer, text).matrices
    assert matrices is not None
    vector = torch.linspace(-1, 1, matrices.shape[-1])
    streams = returned(streams_of(transformer, (*CLEAN, 0)))
    for layer in recorded["columns"]:
        own = matrices[int(layer) + 1]
        scale = own.norm().item()
        assert (own @ vector).tolist() == pytest.approx(recorded["columns"][layer], abs=1e-5 * scale)
        assert (vector @ own).tolist() == pytest.approx(recorded["rows"][layer], abs=1e-5 * scale)
        logits = logits_from_residual(transformer, (own @ streams[int(layer) + 1][0, -1])[None])[0]
        assert logits.topk(5).indices.tolist() == recorded["top"][layer]
        assert logits.topk(5).values.tolist() == pytest.approx(recorded["logits"][layer], abs=1e-3)
    final = transformer(torch.tensor([CLEAN]))[0, -1]
    assert final.topk(5).values.tolist() == pytest.approx(
        recorded["logits"][str(len(transformer.blocks) - 1)], abs=1e-3
    )


@pytest.mark.parametrize("name", ["model3", "model5", "model6"])
def test_it_equals_brute_force(name: str, small: Small) -> None:
    """∂h_N / ∂h_n of all positions by torch, summed over later and averaged over earlier positions."""
    transformer, ids, skip = small(name).transformer, tuple(some_ids(6)), 2
    streams = returned(streams_of(transformer, ids))
    own = returned(sequence_jacobians(transformer, streams, skip))

    def last_stream(n: int) -> Callable[[Tensor], Tensor]:
        def run(x: Tensor) -> Tensor:
            for block in transformer.blocks[n:]:
                x = block(x, 0, None)
            return x

        return run

    for n in range(len(transformer.blocks)):
        whole = torch.autograd.functional.jacobian(last_stream(n), streams[n].clone())[0, :, :, 0]  # [T, d, T, d]
        expected = whole[skip:, :, skip:].sum(0).mean(1)
        assert torch.allclose(own[n], expected, atol=1e-5 * expected.norm().item())
    states = torch.randn(own.shape[:2], generator=torch.Generator().manual_seed(0))
    product = returned(sequence_product(transformer, streams, states, skip))
    assert torch.allclose(product, torch.einsum("nij,nj->ni", own, states), atol=1e-4 * product.abs().max().item())


@pytest.mark.parametrize("layout", ["parallel", "post_norm"])
def test_products_equal_the_matrices_in_other_layouts(
    layout: str, small: Small, stirred: Callable[..., Transformer]
) -> None:
    transformer = stirred(replace(small("model5").transformer.config, layout=layout))
    streams = returned(streams_of(transformer, tuple(some_ids(6))))
    states = torch.randn(2, 12, generator=torch.Generator().manual_seed(0))
    matrices = returned(sequence_jacobians(transformer, streams, 1))
    product = returned(sequence_product(transformer, streams, states, 1))
    assert torch.allclose(product, torch.einsum("nij,nj->ni", matrices, states), atol=1e-4)


@pytest.mark.parametrize("packing", ["int8", "int4"])
def test_packed_weights_are_fitted_dequantized(packing: str, families: Callable[..., Transformer]) -> None:
    """The matrices of a packed model are those of the same numbers in float32, and its modules stay packed."""
    transformer = families("llama", packing)
    plain = Transformer(transformer.config).eval()
    from core.engine.packed.linear import Packed, matrix

    values = {f"{n}.weight": matrix(m).clone() for n, m in transformer.named_modules() if isinstance(m, Packed)}
    plain.load_state_dict({**{k: v for k, v in transformer.state_dict().items() if k in plain.state_dict()}, **values})
    ids = tuple(n % 83 for n in some_ids(9))
    streams = returned(streams_of(plain, ids))
    before = [type(each) for each in transformer.modules()]
    own = returned(sequence_jacobians(transformer, streams, 2))
    assert [type(each) for each in transformer.modules()] == before
    expected = returned(sequence_jacobians(plain, streams, 2))
    assert torch.allclose(own, expected, atol=1e-4 * expected.norm().item())


def test_the_last_layer_is_the_output_in_all_three(small: Small) -> None:
    model, ids = small("model5"), some_ids(6)
    answer: JacobianLens = last(jacobian(step_on(model, ids), text="oat milk and honey"))
    output = answer.layers[-1]
    assert output.logit is output.jacobian is output.affine
    assert output.logit.kl_bits < 1e-6
    assert answer.final == output.logit.top[0]
    assert answer.asked.value == pytest.approx(output.logit.difference, abs=1e-5)
    assert all(lens is not None for layer in answer.layers for lens in (layer.jacobian, layer.affine))
    for first, locked in zip(answer.first, answer.locks_in, strict=True):
        assert first is not None and locked is not None
        assert 0 <= first <= locked < len(answer.layers)


def test_answers_get_better_with_each_sequence_and_fitting_changes_no_number(small: Small, tmp_path: Path) -> None:
    """Products of one position, fitted matrices, and saved ones read the same."""
    model, step = small("model5"), step_on(small("model5"), some_ids(6))
    text = "oat milk and honey, bread"
    answers = [each for each in jacobian(step, text=text, folder=tmp_path) if not isinstance(each, Progress)]
    assert [each.fit.sequences for each in answers[:2]] == [0, 0]
    assert [each.fit.sequences for each in answers[2:-1]] == list(range(1, answers[-1].fit.total + 1))
    assert not answers[-1].fit.matrices
    assert not [*tmp_path.iterdir()]
    whole = last(jacobian(step, text=text, folder=tmp_path, fit=True))
    (saved,) = tmp_path.iterdir()
    assert (whole.fit.matrices, whole.fit.path) == (True, str(saved))
    again = [each for each in jacobian(step, text=text, folder=tmp_path) if not isinstance(each, Progress)][-1]
    for first, second, third in zip(answers[-1].layers, whole.layers, again.layers, strict=True):
        readouts = [each.jacobian for each in (first, second, third)]
        assert len({tuple(token.id for token in each.top) for each in readouts}) == 1
        assert readouts[0].kl_bits == pytest.approx(readouts[1].kl_bits, abs=1e-4)
        assert readouts[1].kl_bits == pytest.approx(readouts[2].kl_bits, abs=1e-5)
    other = last(jacobian(step, text=text + " and tea", folder=tmp_path))
    assert not other.fit.matrices
    assert fingerprint(model, fit_text("a", [1] * 9, 6)) != fingerprint(small("model6"), fit_text("a", [1] * 9, 6))


def test_a_fit_goes_on_where_it_was_stopped(small: Small) -> None:
    text = fit_text("random", some_ids(18), 6)
    whole = fitted(small("model5").transformer, text)
    fit = LensFit(small("model5"), text)
    for progress in fit.fit():
        if progress.done == 3:
            break
    for progress in fit.fit():
        assert progress.done > 3
        break
    list(fit.fit())
    assert fit.done == fit.total == 3
    assert torch.equal(fit.matrices, whole.matrices)  # type: ignore[arg-type]


def test_a_damaged_or_foreign_file_is_refused_by_name(small: Small, tmp_path: Path) -> None:
    step, text = step_on(small("model5"), some_ids(6)), "oat milk and honey"
    last(jacobian(step, text=text, folder=tmp_path, fit=True))
    (saved,) = tmp_path.iterdir()
    saved.write_bytes(saved.read_bytes()[:-9])
    with pytest.raises(UserError, match="not a fitted lens"):
        list(jacobian(step, text=text, folder=tmp_path))
    other = last(jacobian(step_on(small("model6"), some_ids(6)), text=text, folder=tmp_path / "b", fit=True))
    saved.write_bytes(Path(other.fit.path).read_bytes())
    altered = replace(small("model5").transformer.config, blocks=1)
    with pytest.raises(UserError, match="fitted on another model"):
        LensFit(wrapped(Transformer(altered)), fit_text("a", some_ids(6), 6), saved)


def test_a_patched_model_is_read_with_its_patches_and_not_fitted(small: Small, tmp_path: Path) -> None:
    model, ids = small("model5"), some_ids(6)
    with patched(model, [Patch(kind="zero", part="block", layer=1)]):
        answer = last(jacobian(step_on(model, ids), text="oat milk and honey", folder=tmp_path))
        for before, after in zip(answer.layers[1:-1], answer.layers[2:], strict=True):  # the last block adds nothing
            assert before.jacobian.kl_bits == pytest.approx(after.jacobian.kl_bits, abs=1e-4)
        with pytest.raises(UserError, match="remove its patches"):
            list(jacobian(step_on(model, ids), text="oat milk and honey", folder=tmp_path, fit=True))


def test_what_cannot_be_fitted_is_said(small: Small) -> None:
    with pytest.raises(UserError, match="no blocks"):
        list(jacobian(step_on(small("model1"), some_ids(4))))
    with pytest.raises(UserError, match="the reference text has 0 tokens, too few"):
        list(jacobian(step_on(small("model5"), some_ids(4)), text=""))


@pytest.mark.parametrize("count", [12, 60])
def test_an_affine_map_of_affine_data_is_found(count: int) -> None:
    """With more positions than dimensions exactly; with fewer it predicts better than the identity and a shift."""
    numbers = torch.Generator().manual_seed(0)
    x = torch.randn(count + 40, 20, generator=numbers)
    y = x + x @ (0.3 * torch.randn(20, 20, generator=numbers)) + 5
    predicted = affine_map(x[:count], y[:count])(x[count:])
    missed = (predicted - y[count:]).square().mean()
    assert missed < (1e-4 if count > 20 else 0.9 * (x - y)[count:].var(0).mean())
