"""Measurements of small experiments: lookup and product, activation functions, training batches."""

import time
from collections.abc import Callable
from typing import Any

from core.errors import UserError
from core.language import _
from tui.course.measurements.here import Here, measurement


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
        *_progress, answer = lab(step)
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
        raise UserError(
            _("the batch has {size} tokens, from 0, 0; not {row}, {i}").format(size=size, row=row, i=i)
        ) from None


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
