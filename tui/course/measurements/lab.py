"""Measurements of small experiments: lookup and product, activation functions, training batches, one stage's numbers."""

import time
from collections.abc import Callable
from typing import Any

from core.errors import UserError
from core.language import _
from tui.course.measurements.here import Here, measurement


def _flow(here: Here, position: int | None, model: str | None, prompt: str | None) -> Any:
    """The stages of the flow lens after the tokens up to a position, from 0; without one, up to the present one."""
    from core.activations.trace import Step
    from core.lenses.flow import flow

    step = here.step(model, prompt)
    if position is not None:
        ids = here.ids(model, prompt) if prompt or model else tuple(token.id for token in here.session.tokens)
        if not isinstance(position, int) or not -len(ids) <= position < len(ids):
            raise UserError(_("there is no token {i}; there are {count}").format(i=position, count=len(ids)))
        before = ids[: position % len(ids) + 1]
        step = Step(step.model, before[-step.model.info.context :])

    def compute() -> Any:
        *_, answer = flow(step)
        return answer.stages

    return here.kept("flow", model, step.ids, compute)


@measurement
def value(
    here: Here, stage: str, i: int, *, position: int | None = None, model: str | None = None, prompt: str | None = None
) -> float:
    """The i-th number, from 0 to 7, of a stage of the flow lens at the position looked at, or at another one."""
    stages = {each.name: each.values for each in _flow(here, position, model, prompt) if each.values}
    if stage not in stages:
        raise UserError(_("there is no stage {name!r}; choose from {known}").format(name=stage, known=", ".join(stages)))
    values = stages[stage]
    if not isinstance(i, int) or not 0 <= i < len(values):
        raise UserError(_("numbers 0 to {last} of a stage can be measured, not {i!r}").format(last=len(values) - 1, i=i))
    return float(values[i])


@measurement
def gelu(here: Here, x: float) -> float:
    """GELU(x) as `torch.nn` computes it."""
    return _activation("GELU", x)


@measurement
def relu(here: Here, x: float) -> float:
    """ReLU(x) as `torch.nn` computes it."""
    return _activation("ReLU", x)


def _activation(name: str, x: float) -> float:
    import torch

    return float(getattr(torch.nn, name)()(torch.tensor(float(x), dtype=torch.float64)))


def _lab(here: Here, part: str) -> Any:
    """An experiment of the lab lens at the position looked at."""
    from core.lenses.lab import lab

    step = here.step()

    def compute() -> Any:
        *_, answer = lab(step)
        return answer

    return getattr(here.kept("lab", None, step.ids, compute), part)


@measurement
def lookup_difference(here: Here) -> float:
    """The largest difference between `nn.Embedding` and `nn.Linear` on one-hot vectors with the same table."""
    return float(_lab(here, "lookup").difference)


@measurement
def lookup_ratio(here: Here) -> float:
    """How many times as long the product with one-hot vectors takes as the lookup."""
    found = _lab(here, "lookup")
    return float(found.product_seconds / found.lookup_seconds)


@measurement
def lookup_rows(here: Here) -> int:
    """In how many rows of the embedding table the gradient of the last eight tokens is not zero."""
    return len(_lab(here, "lookup").lookup_rows)


@measurement
def activation_kl_bits(here: Here) -> float:
    """KL(model ‖ the same weights with the other activation function), of the next token."""
    return float(_lab(here, "switch").kl_bits)


@measurement
def batch_shape(here: Here) -> tuple[int, int]:
    """The shape of the training batch of the lab lens, (B, T)."""
    inputs = _lab(here, "batch").inputs
    return len(inputs), len(inputs[0])


@measurement
def batch_input(here: Here, row: int, i: int) -> int:
    """The id of token i in a sequence of the training batch, both from 0."""
    return _cell(_lab(here, "batch").inputs, row, i)


@measurement
def batch_target(here: Here, row: int, i: int) -> int:
    """The id that should follow token i in a sequence of the training batch, both from 0."""
    return _cell(_lab(here, "batch").targets, row, i)


def _cell(rows: Any, row: int, i: int) -> int:
    try:
        if row < 0 or i < 0:
            raise IndexError
        return int(rows[row][i])
    except (IndexError, TypeError):
        size = f"{len(rows)} × {len(rows[0])}"
        raise UserError(_("the batch has {size} tokens, from 0, 0; not {row}, {i}").format(size=size, row=row, i=i)) from None


@measurement
def batch_loss(here: Here) -> float:
    """The loss of the model on the training batch of the lab lens, nats a token."""
    return float(_lab(here, "batch").loss)


@measurement
def batch_ratio(here: Here, size: int) -> float:
    """How many times as long `size` single sequences take as one batch of them; the best of three of each."""
    import torch

    if not isinstance(size, int) or not 1 <= size <= 64:
        raise UserError(_("a batch has 1 to 64 rows"))
    transformer = here.model().transformer
    ids = here.ids()[-transformer.config.context :]

    def seconds(run: Callable[[], object]) -> float:
        times = []
        for _round in range(3):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        return min(times)

    def compute() -> float:
        rows = torch.tensor([list(ids)] * size, device=transformer.device)
        with torch.inference_mode():
            one_batch = seconds(lambda: transformer(rows))
            return seconds(lambda: [transformer(row[None]) for row in rows]) / one_batch

    found: float = here.kept(("batch ratio", size), None, ids, compute)
    return found
