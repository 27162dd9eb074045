"""Owns the training of a rung (S19): the obvious loop as an iterator of events, which may be left and gone on with.

What a step does depends on the recipe, the step's number and what was learned, and on nothing else; so a training that
was stopped and taken up again is bit for bit the one that never was. Under `torchrun` each process takes its share of
every batch, and the gradients are averaged (Li et al. 2020).
"""

import math
import time
from collections import deque
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from core.engine.model import Transformer, random_model
from core.errors import UserError
from core.loading.checkpoints.checkpoint import MOMENTS
from core.loading.checkpoints.recipe import Recipe
from core.loading.ladder import rung
from core.progress import Progress
from core.sampling.chart import chart
from core.sampling.distribution import Distribution
from core.sampling.sampler import Sampler
from core.sampling.values import Chart
from core.tokenizers.tokenizer import piece_text
from core.training import text
from core.training.corpus import Corpus, World
from core.training.events import Begun, Ended, Evaluated, Stepped
from core.world import truth

CANDIDATES = 12
"""Of the probe, that are shown."""
SAMPLED = 16
"""Tokens the probe is gone on with."""
BETAS = (0.9, 0.95)
"""Of AdamW, as in GPT-3 (Brown et al. 2020, appendix B)."""
RECENT = 50
"""Steps that a rate is measured over."""


def corpus(recipe: Recipe) -> Iterator[Progress | Corpus]:
    """What a recipe trains on, last; readings before where it takes long. Raises `UserError` for a text that is none."""
    if recipe.text:
        yield from text.read_text(recipe)
    else:
        yield World(recipe.seed)


class Trainer:
    """A rung that learns on a device. Raises `UserError` where it does not fit the recipe's batch and the processes."""

    def __init__(self, recipe: Recipe, corpus: Corpus, device: torch.device) -> None:
        self.recipe, self.corpus, self.device = recipe, corpus, device
        self.config = recipe.config(corpus.tokenizer.vocab_size)
        self.model: Transformer = random_model(self.config, recipe.seed).requires_grad_(True).to(device)
        self.step = 0
        """Steps taken."""
        self.measured, self.loss = -1, math.nan
        """The step of the last measurement, and the validation loss there."""
        self.probe = corpus.tokenizer.encode(recipe.probe)[-self.config.context :] or [corpus.tokenizer.end_of_text]
        self._truth = truth.known(corpus.tokenizer)
        matrices = [weight for weight in self.model.parameters() if weight.dim() > 1]
        others = [weight for weight in self.model.parameters() if weight.dim() <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": recipe.decay}, {"params": others, "weight_decay": 0.0}],
            lr=recipe.peak,
            betas=BETAS,
            fused=device.type != "mps",
        )
        together = distributed.is_available() and distributed.is_initialized()
        self.rank, self.ranks = (distributed.get_rank(), distributed.get_world_size()) if together else (0, 1)
        if recipe.batch % self.ranks:
            raise UserError(f"a batch of {recipe.batch} cannot be shared among {self.ranks} processes; take a multiple")
        self._forward: nn.Module = DistributedDataParallel(self.model) if self.ranks > 1 else self.model

    def run(self) -> Iterator[Begun | Stepped | Evaluated | Ended]:
        """Train on to the recipe's last step; leave it between two events to stop."""
        yield self._begun()
        recent = deque([(time.perf_counter(), self.step)], RECENT)
        while True:
            if self.step > self.measured and (self.step % self.recipe.every == 0 or self.step == self.recipe.steps):
                measured = self.measure()
                if not math.isfinite(measured.loss):
                    yield Ended(self.step, self._diverged(measured.loss, 0.0))
                    return
                yield measured
                recent = deque([(time.perf_counter(), self.step)], RECENT)  # the pause is no training
            if self.step >= self.recipe.steps:
                yield Ended(self.step)
                return
            lr = self.recipe.lr_at(self.step)
            loss, norm = self._step(lr)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                yield Ended(self.step, self._diverged(loss, norm))
                return
            recent.append((time.perf_counter(), self.step))
            seconds, steps = recent[-1][0] - recent[0][0], recent[-1][1] - recent[0][1]
            rate = steps * self.recipe.batch * self.config.context / seconds
            yield Stepped(self.step, loss, lr, norm, rate, (self.recipe.steps - self.step) * seconds / steps)

    def moments(self) -> dict[str, Tensor]:
        """What the optimizer remembers of each weight, by the names of a checkpoint; empty before the first step."""
        return {
            prefix + name: self.optimizer.state[weight][key].cpu().contiguous()
            for name, weight in self.model.named_parameters()
            for prefix, key in zip(MOMENTS, ("exp_avg", "exp_avg_sq"), strict=True)
            if self.optimizer.state[weight]
        }

    def remember(self, step: int, measured: int, loss: float, moments: Mapping[str, Tensor]) -> None:
        """Be where a training was left after `step` steps; the weights come by themselves."""
        self.step, self.measured, self.loss = step, measured, loss
        for name, weight in self.model.named_parameters() if step else ():
            first, second = (moments[prefix + name].to(self.device).clone() for prefix in MOMENTS)
            count = torch.tensor(float(step), device=self.device)
            self.optimizer.state[weight] = {"step": count, "exp_avg": first, "exp_avg_sq": second}

    def _begun(self) -> Begun:
        found = rung(self.recipe.rung, 1, self.recipe.changes)
        return Begun(
            title=f"{found.name} · {found.title}",
            corpus=self.corpus.words,
            parameters=self.config.parameter_count(),
            vocab_size=self.config.vocab_size,
            context=self.config.context,
            steps=self.recipe.steps,
            ln_v=math.log(self.config.vocab_size),
            floors=self.corpus.floors,
            step=self.step,
        )

    def _step(self, lr: float) -> tuple[float, float]:
        """Forward, loss, backward, clip, update; the loss and the length of the gradient, over all processes."""
        recipe = self.recipe
        ids = self.corpus.batch(self.step, recipe.batch, self.config.context)[self.rank :: self.ranks].to(self.device)
        logits: Tensor = self._forward(ids[:, :-1])  # [B, T, V]
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        shown = loss.detach()
        if self.ranks > 1:
            distributed.all_reduce(shown)
            shown = shown / self.ranks
        if math.isfinite(value := shown.item()) and bool(norm.isfinite()):
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            self.optimizer.step()
            self.step += 1
        return value, norm.item()

    def _diverged(self, loss: float, norm: float) -> str:
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's length is {norm}"
        return (
            f"{what} at step {self.step + 1}: it diverged, most likely by a learning rate of {self.recipe.peak:g} that "
            "is too high; the last checkpoint is kept; try a lower --lr, a longer --warmup or a smaller --clip"
        )

    @torch.no_grad()
    def measure(self) -> Evaluated:
        """What the rung is worth now."""
        self.measured, self.loss = self.step, self.corpus.loss(self.model)
        ids = list(self.probe)
        if not math.isfinite(self.loss):
            empty = Distribution(torch.zeros(1))
            return Evaluated(self.step, self.loss, chart(empty, Sampler(), 1, self._piece), "")
        seen = self._chart(ids)
        for _ in range(SAMPLED):
            ids.append(self._chart(ids, 1).candidates[0].id)
        told = "".join(piece_text(self._piece(id)) for id in ids[len(self.probe) :])
        return Evaluated(self.step, self.loss, seen, told)

    def _chart(self, ids: list[int], count: int = CANDIDATES) -> Chart:
        window = torch.tensor([ids[-self.config.context :]], device=self.device)
        said = Distribution(self.model(window)[0, -1])
        found = chart(said, Sampler(), count, self._piece)
        return self._truth.beside(found, said, ids) if self._truth and count > 1 else found

    def _piece(self, id: int) -> bytes:
        return self.corpus.tokenizer.piece(id)
