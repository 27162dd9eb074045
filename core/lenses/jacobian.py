"""The Jacobian lens beside the logit lens: what a layer's stream does to the output on average, read as tokens.

Logit lens: W_U norm(h). Jacobian lens: W_U norm(J h), J the mean Jacobian of the last stream with respect to this one
(Gurnee et al. 2026). Affine: W_U norm(A h + b), by ridge regression (after Belrose et al. 2023).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from core.activations.trace import Step, logits_from_residual, require_finite, residual_streams
from core.causal.jacobian import fit_text
from core.causal.lens_fit import LensFit, default_folder, fingerprint, is_patched
from core.causal.question import CausalQuestion, Measured
from core.causal.table import Cell, Table
from core.errors import UserError
from core.language import _
from core.lenses.logit import MapCell, Outputs, TokenShare, read_cell
from core.progress import Progress
from core.sampling.distribution import Distribution
from core.tokenizers.tokenizer import piece_text
from core.training.dataset import REFERENCE

REFERENCE_TITLE = _("the reference text")
LENSES = ("logit", "jacobian", "affine")


@dataclass(frozen=True, slots=True)
class LayerReadouts:
    """The residual stream after one block, read as a distribution of the next token in three ways."""

    name: str
    """`embedding`, `block 0` …; at the last block all three are the model's own output."""
    logit: MapCell
    jacobian: MapCell | None
    """None until it is computed, as the next one."""
    affine: MapCell | None


@dataclass(frozen=True, slots=True)
class FitState:
    """What the Jacobian and the affine readout are fitted on, and how far that is."""

    text: str
    sequences: int
    """Sequences that the Jacobian is the mean of."""
    total: int
    """Sequences of the text."""
    positions: int
    """Positions of the text that a complete fit averages."""
    matrices: bool
    """Whether the matrices are fitted, which serve every position; otherwise J h is computed for this one alone."""
    path: str
    """Where the matrices are saved; empty where they are not."""


@dataclass(frozen=True, slots=True)
class JacobianLens:
    """The readouts from the embedding to the last block."""

    asked: Measured
    final: TokenShare
    """The model's likeliest token."""
    layers: tuple[LayerReadouts, ...]
    first: tuple[int | None, int | None, int | None]
    """By lens (logit, jacobian, affine): the first layer whose likeliest token is `final`; None if it is not known."""
    locks_in: tuple[int | None, int | None, int | None]
    """From which layer on it is."""
    fit: FitState


def jacobian(
    step: Step,
    question: CausalQuestion = CausalQuestion(),
    text: str = REFERENCE,
    title: str = REFERENCE_TITLE,
    fit: bool = False,
    folder: Path | None = None,
    fits: dict[str, LensFit] | None = None,
) -> Iterator[Progress | JacobianLens]:
    """The logit lens at once, then the other two, better with each sequence of `text`, which `title` names.

    With `fit` the matrices are computed, which takes long, and saved in `folder`; they are read from there later.
    `fits` keeps what was computed from one call to the next. Raises `UserError` for a model without blocks, for a text
    that is too short, and for a damaged file.
    """
    model = step.model
    if not model.transformer.config.blocks:
        raise UserError(
            _("{name} has no blocks, so it has no layers to compare; choose model3 or a later model"),
            name=model.info.name,
        )
    streams = yield from residual_streams(step, 1)
    reader = _Reader(step, streams[:, 0], question)
    fitted = _fit_for(step, text, title, folder or default_folder(), {} if fits is None else fits)
    answer = reader.answer(fitted)
    yield answer
    states = streams[:-1, 0].float()
    affine = yield from fitted.affine_states(states)
    yield (answer := reader.answer(fitted, affine=affine))
    for product in fitted.jacobian_states(states):
        if isinstance(product, Progress):
            yield product
        else:
            yield (answer := reader.answer(fitted, product[1], affine, product[0]))
    done = fitted.done
    if fit:
        for progress in fitted.fit():
            yield progress
            if fitted.done > done:
                done = fitted.done
                for product in fitted.jacobian_states(states):
                    if not isinstance(product, Progress):
                        yield (answer := reader.answer(fitted, product[1], affine, product[0]))
    yield answer


def _fit_for(step: Step, text: str, title: str, folder: Path, fits: dict[str, LensFit]) -> LensFit:
    """The fit of a model on a text, as it was left, or as it was saved. A patched model has one of its own."""
    model = step.model
    ids = model.tokenizer.encode(text)
    wanted = fit_text(title, ids, model.transformer.config.context)
    if is_patched(model):
        return LensFit(model, wanted)
    key = fingerprint(model, wanted)
    if key not in fits:
        fits.clear()  # the fit of another model would keep that model in memory
        fits[key] = LensFit(model, wanted, folder / f"jacobian-{key}.safetensors")
    return fits[key]


def table(answer: JacobianLens) -> Table:
    """A row for each layer: the likeliest token, its divergence from the output, and the target, by each lens."""
    columns = [
        f"{lens} {name}" for lens in LENSES for name in ("token", "KL bits", "target probability", "target rank")
    ]
    rows = []
    for layer in answer.layers:
        cells: list[Cell] = [layer.name]
        for cell in (layer.logit, layer.jacobian, layer.affine):
            if cell is None:
                cells += [None] * 4
            else:
                token = piece_text(cell.top[0].piece)
                cells += [token, cell.kl_bits, cell.target_probability, cell.target_rank + 1]
        rows.append(tuple(cells))
    return Table(("after", *columns), tuple(rows))


class _Reader:
    """Reads the states of one position in several ways."""

    def __init__(self, step: Step, states: Tensor, question: CausalQuestion) -> None:
        self._transformer = step.model.transformer
        self._piece = step.model.tokenizer.piece
        self._names = ("embedding", *(f"block {n}" for n in range(len(states) - 1)))
        logits = self._logits(states)
        self._outputs = Outputs(logits[-1:])
        self.asked = question.measured(logits[-1], self._piece)
        other = replace(question, target=self.asked.target.id, measure="difference")
        self._target = other.target_at(logits[-1])
        self._logit = self._cells(logits)
        self.final = self._logit[-1].top[0]

    @torch.inference_mode()
    def _logits(self, states: Tensor) -> Tensor:
        logits = logits_from_residual(self._transformer, states).cpu()
        require_finite(_("the readout of a layer"), logits)
        return logits

    def _cells(self, logits: Tensor) -> list[MapCell]:
        distributions = [Distribution(row) for row in logits]
        divergences = self._outputs.kl_bits(logits, distributions)
        return [read_cell(*each, self._target, self._piece) for each in zip(distributions, divergences, strict=True)]

    def answer(
        self, fitted: LensFit, jacobian: Tensor | None = None, affine: Tensor | None = None, sequences: int = 0
    ) -> JacobianLens:
        """The answer with the states as the two lenses map them, [N, d] each; the last layer is the output itself."""
        cells: list[list[MapCell | None]] = [[*self._logit]]
        for states in (jacobian, affine):
            if states is None:
                cells.append([None] * len(self._names))
            else:
                cells.append([*self._cells(self._logits(states)), self._logit[-1]])
        layers = tuple(
            LayerReadouts(name, logit, second, third)
            for name, logit, second, third in zip(self._names, self._logit, *cells[1:], strict=True)
        )
        matrices = fitted.matrices is not None
        saved = matrices and fitted.path is not None
        state = FitState(
            fitted.text.title,
            sequences,
            fitted.total,
            fitted.text.positions,
            matrices,
            str(fitted.path) if saved else "",
        )
        first, locked = zip(*(self._agreement(column) for column in cells), strict=True)
        return JacobianLens(self.asked, self.final, layers, first, locked, state)

    def _agreement(self, cells: list[MapCell | None]) -> tuple[int | None, int | None]:
        """The first layer whose likeliest token is the final one, and the one from which on it is."""
        agree = [cell is not None and cell.top[0].id == self.final.id for cell in cells]
        if cells[0] is None:
            return None, None
        disagree = [n for n, same in enumerate(agree) if not same]
        return agree.index(True), (disagree[-1] + 1 if disagree else 0)
