"""The training loop as an iterator of events. It can be stopped between two events and resumed later.

A step depends on the recipe, the step's number, the weights and the optimizer's moments, and on nothing else. So a
resumed training ends with exactly the weights of one that was never stopped. Under `torchrun` each process takes an
equal share of every batch, and the gradients are averaged (Li et al. 2020).
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from core.engine.model import Transformer, random_model
from core.errors import Option, UserError
from core.language import _
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
from core.training.events import Begun, Ended, Evaluated, HeadMoment, Stepped
from core.training.room import check_room
from core.world import truth

CANDIDATES = 12
"""Tokens in the chart after the probe."""
CONTINUATION = 16
"""Tokens of the greedy continuation of the probe."""
OBSERVED = 8
"""Sequences that the heads are measured on."""
BETAS = (0.9, 0.95)
"""Decay rates of AdamW's moments, as in GPT-3 (Brown et al. 2020, appendix B)."""
RECENT = 50
"""Number of steps that the speed is averaged over."""


Observe = Callable[[Transformer, Tensor], HeadMoment | None]
"""What is measured of the heads at an evaluation, on ids [B, T] of the batch after the last step."""


def corpus(recipe: Recipe) -> Iterator[Progress | Corpus]:
    """Yields progress in bytes while a text is read, then the corpus of a recipe.

    Raises `UserError` for a text that cannot be trained on.
    """
    if recipe.text:
        yield from text.read_text(recipe)
    else:
        yield World(recipe.seed)


class Trainer:
    """Trains a rung on a device.

    Raises `UserError` where a batch of the recipe cannot be divided among the processes, or the rung's sizes are wrong.
    """

    def __init__(
        self, recipe: Recipe, corpus: Corpus, device: torch.device, observe: Observe = lambda model, ids: None
    ) -> None:
        self.recipe, self.corpus, self.device, self._observe = recipe, corpus, device, observe
        self.config = recipe.config(corpus.tokenizer.vocab_size)
        check_room(recipe.rung, self.config, recipe.batch, device)
        self.model: Transformer = random_model(self.config, recipe.seed).requires_grad_(True).to(device)
        self.step = 0
        """Steps done."""
        self.evaluated_step, self.loss = -1, math.nan
        """The step of the last evaluation (-1 before the first), and the held-out loss there, nats per token."""
        self.probe = corpus.tokenizer.encode(recipe.probe)[-self.config.context :] or [corpus.tokenizer.end_of_text]
        self._truth = truth.known_truth(corpus.tokenizer)
        self.optimizer = self._optimizer()
        in_group = distributed.is_available() and distributed.is_initialized()
        self.rank, self.ranks = (distributed.get_rank(), distributed.get_world_size()) if in_group else (0, 1)
        if recipe.batch % self.ranks:
            raise UserError(
                _(
                    "a batch of {batch} cannot be divided among {ranks} processes; choose a multiple of {ranks} for "
                    "{option}"
                ),
                batch=recipe.batch,
                ranks=self.ranks,
                option=Option("batch"),
            )
        self._forward: nn.Module = DistributedDataParallel(self.model) if self.ranks > 1 else self.model

    def _optimizer(self) -> torch.optim.AdamW:
        """AdamW with weight decay for matrices only (Loshchilov & Hutter 2019)."""
        matrices = [weight for weight in self.model.parameters() if weight.dim() > 1]
        vectors = [weight for weight in self.model.parameters() if weight.dim() <= 1]
        return torch.optim.AdamW(
            [{"params": matrices, "weight_decay": self.recipe.decay}, {"params": vectors, "weight_decay": 0.0}],
            lr=self.recipe.peak,
            betas=BETAS,
            fused=self.device.type != "mps",
        )

    def run(self) -> Iterator[Begun | Stepped | Evaluated | Ended]:
        """Train from the present step to the recipe's last. Close the iterator between two events to stop."""
        yield self._begun()
        recent = deque([(time.perf_counter(), self.step)], RECENT)
        while True:
            evaluation_due = self.step % self.recipe.every == 0 or self.step == self.recipe.steps
            if self.step > self.evaluated_step and evaluation_due:
                evaluation = self.evaluate()
                if not math.isfinite(evaluation.loss):
                    yield Ended(self.step, self._diverged(evaluation.loss, 0.0))
                    return
                yield evaluation
                recent = deque([(time.perf_counter(), self.step)], RECENT)  # so that evaluations are not in the speed
            if self.step >= self.recipe.steps:
                yield Ended(self.step)
                return
            lr = self.recipe.lr_at(self.step)
            loss, grad_norm = self._step(lr)
            if not (math.isfinite(loss) and math.isfinite(grad_norm)):
                yield Ended(self.step, self._diverged(loss, grad_norm))
                return
            recent.append((time.perf_counter(), self.step))
            seconds, steps = recent[-1][0] - recent[0][0], recent[-1][1] - recent[0][1]
            rate = steps * self.recipe.batch * self.config.context / seconds
            yield Stepped(self.step, loss, lr, grad_norm, rate, (self.recipe.steps - self.step) * seconds / steps)

    def moments(self) -> dict[str, Tensor]:
        """AdamW's two moments of each weight, by their names in a checkpoint; empty before the first step."""
        return {
            prefix + name: self.optimizer.state[weight][key].cpu().contiguous()
            for name, weight in self.model.named_parameters()
            for prefix, key in zip(MOMENTS, ("exp_avg", "exp_avg_sq"), strict=True)
            if self.optimizer.state[weight]
        }

    def restore(self, step: int, evaluated_step: int, loss: float, moments: Mapping[str, Tensor]) -> None:
        """Continue after `step` steps, with the moments of a checkpoint. The weights are loaded separately."""
        self.step, self.evaluated_step, self.loss = step, evaluated_step, loss
        for name, weight in self.model.named_parameters() if step else ():
            first, second = (moments[prefix + name].to(self.device).clone() for prefix in MOMENTS)
            count = torch.tensor(float(step), device=self.device)
            self.optimizer.state[weight] = {"step": count, "exp_avg": first, "exp_avg_sq": second}

    def _begun(self) -> Begun:
        described = rung(self.recipe.rung, 1, self.recipe.changes)
        return Begun(
            title=f"{described.name} · {described.title}",
            corpus=self.corpus.name,
            parameters=self.config.parameter_count(),
            vocab_size=self.config.vocab_size,
            context=self.config.context,
            steps=self.recipe.steps,
            ln_v=math.log(self.config.vocab_size),
            floors=self.corpus.floors,
            step=self.step,
        )

    def _step(self, lr: float) -> tuple[float, float]:
        """Forward, loss, backward, gradient clipping, update. Returns loss and gradient norm over all processes.

        The weights stay as they are where one of the two is not finite.
        """
        recipe = self.recipe
        ids = self.corpus.batch(self.step, recipe.batch, self.config.context)  # [B, T + 1]
        ids = ids[self.rank :: self.ranks].to(self.device)  # [B / ranks, T + 1]
        logits: Tensor = self._forward(ids[:, :-1])  # [B / ranks, T, V]
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        self.optimizer.zero_grad()
        loss.backward()
        grad_norm = nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        mean_loss = loss.detach()
        if self.ranks > 1:
            distributed.all_reduce(mean_loss)
            mean_loss = mean_loss / self.ranks
        if math.isfinite(value := mean_loss.item()) and bool(grad_norm.isfinite()):
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            self.optimizer.step()
            self.step += 1
        return value, grad_norm.item()

    def _diverged(self, loss: float, grad_norm: float) -> UserError:
        """The error for a non-finite loss or gradient norm."""
        norm, value = _("the gradient norm is {norm}"), _("the loss is {loss}")
        what = norm.format(norm=grad_norm) if math.isfinite(loss) else value.format(loss=loss)
        return UserError(
            _(
                "{what} at step {step}: the training diverged, most likely because the learning rate of {peak:g} is "
                "too high; the last checkpoint is kept; try a lower {lr}, a longer {warmup} or a smaller {clip}"
            ),
            what=what,
            step=self.step + 1,
            peak=self.recipe.peak,
            lr=Option("lr"),
            warmup=Option("warmup"),
            clip=Option("clip"),
        )

    @torch.no_grad()
    def evaluate(self) -> Evaluated:
        """Held-out loss, and the distribution after the probe and its greedy continuation."""
        self.evaluated_step, self.loss = self.step, self.corpus.loss(self.model)
        ids = list(self.probe)
        if not math.isfinite(self.loss):
            empty = Distribution(torch.zeros(1))
            return Evaluated(self.step, self.loss, chart(empty, Sampler(), 1, self._piece), "")
        probe_chart = self._chart(ids)
        for _unused in range(CONTINUATION):
            ids.append(self._chart(ids, 1).candidates[0].id)
        continuation = "".join(piece_text(self._piece(id)) for id in ids[len(self.probe) :])
        unseen = self.corpus.batch(self.recipe.steps, OBSERVED, self.config.context)[:, :-1].to(self.device)
        return Evaluated(self.step, self.loss, probe_chart, continuation, self._observe(self.model, unseen))

    def _chart(self, ids: list[int], count: int = CANDIDATES) -> Chart:
        """The `count` likeliest tokens after `ids`; several are shown with their true probabilities."""
        window = torch.tensor([ids[-self.config.context :]], device=self.device)
        distribution = Distribution(self.model(window)[0, -1])
        plain = chart(distribution, Sampler(), count, self._piece)
        return self._truth.annotate(plain, distribution, ids) if self._truth and count > 1 else plain

    def _piece(self, id: int) -> bytes:
        return self.corpus.tokenizer.piece(id)
