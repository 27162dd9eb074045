"""What is fitted on a text for the Jacobian and the affine readout: kept from step to step, saved, loaded again."""

import hashlib
import math
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from pathlib import Path

import platformdirs
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from core.atomic import make_folder, replacing
from core.causal.affine import AffineMap, affine_map
from core.causal.jacobian import (
    FitText,
    parts_of_jacobians,
    parts_of_product,
    sequence_jacobians,
    sequence_product,
    streams_of,
)
from core.errors import UserError
from core.language import _
from core.loading.model import Model
from core.progress import Progress

PRODUCTS, REGRESSED = 4, 16
"""Sequences that the product of one position, and the affine fit, take at most: the first ones of the text."""
SAMPLED = 256
"""Numbers of each weight that tell models apart."""


def default_folder() -> Path:
    """Where fitted lenses are saved."""
    return platformdirs.user_data_path("tokenwalk") / "lenses"


def fingerprint(model: Model, text: FitText) -> str:
    """16 hex digits that differ between models (some numbers of each weight, the adapter) and between texts."""
    seen = hashlib.sha256(repr((model.transformer.config, model.info.adapter, text.sequences, text.skip)).encode())
    for name, weight in sorted(model.transformer.state_dict().items()):
        flat = weight.detach().flatten()
        sample = flat[:: max(1, len(flat) // SAMPLED)].cpu()
        seen.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        seen.update(sample.contiguous().view(torch.uint8).numpy().tobytes())
    return seen.hexdigest()[:16]


def is_patched(model: Model) -> bool:
    """Whether hooks other than those of the model's adapter act on it."""
    with model.adapter.suspended() if model.adapter else nullcontext():
        return any(each._forward_hooks or each._forward_pre_hooks for each in model.transformer.modules())


class LensFit:
    """The fit of one model on one text, as far as it has come.

    The matrices are the mean over the sequences that are done; `fit` goes on where it was stopped.
    """

    def __init__(self, model: Model, text: FitText, path: Path | None = None) -> None:
        self.text = text
        self.path = path
        """Where the matrices are saved after each sequence; None saves nothing."""
        self.done = 0
        """Sequences that the matrices are the mean of."""
        self._model = model
        self._streams: dict[int, list[Tensor]] = {}
        self._sum: Tensor | None = None
        self._work: Iterator[Progress] | None = None
        self._product = Tensor(), 0, Tensor()
        """The states that were asked for last, the sequences done for them, and the sum of their products."""
        self._affine: list[AffineMap] = []
        if path is not None and path.exists():
            self._load(path)

    @property
    def total(self) -> int:
        """Sequences of the text."""
        return len(self.text.sequences)

    @property
    def matrices(self) -> Tensor | None:
        """J before each block, [N, d, d] float32 on the CPU; None until one sequence is done."""
        return None if self._sum is None else self._sum / self.done

    # For the states of one position ----------------------------------------------------------------------------------

    def jacobian_states(self, states: Tensor) -> Iterator[Progress | tuple[int, Tensor]]:
        """J_n h_n for states h [N, d] float32: the sequences it is the mean of, and [N, d]. Better and better ones.

        Without matrices it is computed for these states, over `PRODUCTS` sequences at most.
        """
        if (matrices := self.matrices) is not None:
            yield self.done, torch.einsum("nij,nj->ni", matrices.to(states.device), states)
            return
        numbers = range(min(PRODUCTS, self.total))
        parts = [parts_of_product(len(states), len(self.text.sequences[number]) - 1) for number in numbers]
        if not torch.equal(self._product[0], states):
            self._product = states, 0, torch.zeros_like(states)
        _unused, done, total = self._product
        if done:
            yield done, total / done
        while done < len(numbers):
            streams = yield from self._streams_of(done)
            product = sequence_product(self._model.transformer, streams, states, self.text.skip)
            total = total + (yield from _counted(product, sum(parts[:done]), sum(parts)))
            done += 1
            self._product = states, done, total
            yield done, total / done

    def affine_states(self, states: Tensor) -> Generator[Progress, None, Tensor]:
        """The affine map of each layer applied to its state, [N, d] float32 → [N, d]."""
        if not self._affine:
            sequences = []
            for number in range(min(REGRESSED, self.total)):
                streams = yield from self._streams_of(number)
                sequences.append([stream[0, self.text.skip :] for stream in streams])
            for n in range(len(states)):
                layer, final = (torch.cat([streams[at] for streams in sequences]) for at in (n, -1))
                self._affine.append(affine_map(layer, final))
                yield Progress(n + 1, len(states))
        return torch.stack([affine(state) for affine, state in zip(self._affine, states, strict=True)])

    def _streams_of(self, number: int) -> Generator[Progress, None, list[Tensor]]:
        if number in self._streams:
            return self._streams[number]
        streams = yield from streams_of(self._model.transformer, self.text.sequences[number])
        if number < PRODUCTS:
            self._streams[number] = streams
        return streams

    # The matrices ----------------------------------------------------------------------------------------------------

    def fit(self) -> Iterator[Progress]:
        """Compute the matrices; after each sequence `matrices` is a mean over one more, and saved.

        Raises `UserError` for a patched model. Closing the iterator stops; another one goes on from there.
        """
        if is_patched(self._model):
            raise UserError(_("the matrices are fitted on the unpatched model; remove its patches first"))
        if self._work is None:
            self._work = self._sequences()
        while (progress := next(self._work, None)) is not None:
            yield progress

    def _sequences(self) -> Iterator[Progress]:
        transformer = self._model.transformer
        width = transformer.config.embed_dim
        parts = [parts_of_jacobians(len(transformer.blocks), len(ids) - 1, width) for ids in self.text.sequences]
        while self.done < self.total:
            streams = yield from self._streams_of(self.done)
            work = sequence_jacobians(transformer, streams, self.text.skip)
            found = yield from _counted(work, sum(parts[: self.done]), sum(parts))
            self._sum = found if self._sum is None else self._sum + found
            self.done += 1
            if self.path is not None:
                self._save(self.path)
            yield Progress(sum(parts[: self.done]), sum(parts))

    def _save(self, path: Path) -> None:
        make_folder(path.parent)
        assert self.matrices is not None
        about = {"format": "tokenwalk jacobian lens 1", "model": self._model.info.label, "text": self.text.title}
        about |= {"sequences": str(self.done), "of": str(self.total), "skip": str(self.text.skip)}
        data = safetensors.torch.save({"jacobians": self.matrices.contiguous()}, about)
        with replacing(path) as file:
            file.write(data)

    def _load(self, path: Path) -> None:
        """Take the matrices of a file; one that is damaged is refused by name."""
        config = self._model.transformer.config
        shape = (config.blocks, config.embed_dim, config.embed_dim)
        try:
            with safe_open(path, "pt") as file:
                about = file.metadata() or {}
                matrices = file.get_tensor("jacobians")
            done = int(about.get("sequences", ""))
        except (SafetensorError, OSError, ValueError) as error:
            raise UserError(
                _("{path} is not a fitted lens ({error}); remove it to fit again"), path=path, error=error
            ) from error
        if tuple(matrices.shape) != shape or not 0 < done <= self.total or not math.isfinite(matrices.sum().item()):
            raise UserError(_("{path} was fitted on another model or text; remove it to fit again"), path=path)
        self.done, self._sum = done, matrices.float() * done


def _counted(work: Generator[None, None, Tensor], done: int, total: int) -> Generator[Progress, None, Tensor]:
    """The pauses of a computation as progress, counted from `done` on; returns what it returns."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            found: Tensor = end.value
            return found
        done += 1
        yield Progress(done, total)
