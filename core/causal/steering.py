"""Makes steering vectors: the difference of what a model computes for two sets of prompts.

The direction of a layer is the mean of the residual stream after that block over the prompts of one set, minus that
over the other set. With one prompt in each set this is activation addition (Turner et al. 2023, section 3), with many
it is contrastive activation addition (Rimsky et al. 2024, section 3). It is not normalized.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import get_args

import torch
from torch import Tensor

from core.activations.steering_vector import SteeringVector
from core.activations.trace import recording, require_finite
from core.causal.prompts import Positions
from core.errors import UserError
from core.language import _
from core.loading.model import Model
from core.progress import Progress
from core.tokenizers import chat

MOST_PROMPTS = 10_000


@torch.inference_mode()
def steering_vector(
    model: Model,
    positive: Sequence[str],
    negative: Sequence[str],
    name: str = "vector",
    *,
    positions: Positions = "last",
    unpatched: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Iterator[Progress | SteeringVector]:
    """Progress in prompts, then the vector, which has a direction for every layer.

    `unpatched` gives a context in which no patch acts. Raises `UserError` for an empty
    set, a prompt without tokens or longer than the context, and a model without blocks.
    """
    if not model.transformer.config.blocks:
        raise UserError(_("{name} has no blocks to steer; choose model3 or a later model"), name=model.info.name)
    if positions not in get_args(Positions):
        raise UserError(
            _("the positions of a steering vector must be {choices}, not {positions!r}"),
            choices=" or ".join(get_args(Positions)),
            positions=positions,
        )
    sets = [_encoded(model, prompts, which) for prompts, which in ((positive, "positive"), (negative, "negative"))]
    done, total, means = 0, sum(map(len, sets)), []
    for prompts in sets:
        added: Tensor | None = None
        for ids in prompts:
            yield Progress(done, total)
            with unpatched():
                streams = _streams(model, ids, positions)
            added = streams if added is None else added + streams
            done += 1
        assert added is not None
        means.append(added / len(prompts))
    yield Progress(done, total)
    difference = (means[0] - means[1]).float().cpu()
    if not difference.any():
        raise UserError(
            _("the two sets of prompts give the same residual stream, so the vector is zero; change a prompt")
        )
    directions = tuple((layer, row.numpy().tobytes()) for layer, row in enumerate(difference))
    yield SteeringVector(name, directions, _origin(model, positive, negative, positions))


def _encoded(model: Model, prompts: Sequence[str], which: str) -> list[list[int]]:
    """The ids of each prompt. Raises `UserError` for one that cannot be read."""
    if not prompts:
        raise UserError(_("the {which} set is empty; write at least one prompt, one a line"), which=which)
    if len(prompts) > MOST_PROMPTS:
        raise UserError(
            _("the {which} set has {count:,} prompts; give at most {limit:,}"),
            which=which,
            count=len(prompts),
            limit=MOST_PROMPTS,
        )
    encoded = [chat.encode(model.tokenizer, prompt) for prompt in prompts]
    context = model.transformer.config.context
    for number, ids in enumerate(encoded, start=1):
        if not ids:
            raise UserError(
                _("prompt {number} of the {which} set has no tokens; write some text"), number=number, which=which
            )
        if len(ids) > context:
            raise UserError(
                _("prompt {number} of the {which} set has {count:,} tokens, but {name} sees {context:,}; shorten it"),
                number=number,
                which=which,
                count=len(ids),
                name=model.info.name,
                context=context,
            )
    return encoded


def _streams(model: Model, ids: list[int], positions: Positions) -> Tensor:
    """The residual stream after each block at the positions that count, [layers, d], float64."""
    transformer = model.transformer
    names = [f"blocks.{n}" for n in range(transformer.config.blocks)]
    with recording(transformer, names) as trace:
        transformer.hidden(torch.tensor([ids], device=transformer.device))
    for name in names:
        require_finite(name, trace.outputs[name])
    if positions == "last":
        rows = [trace.outputs[name][0, -1] for name in names]
    else:
        rows = [trace.outputs[name][0, min(1, len(ids) - 1) :].float().mean(0) for name in names]
    return torch.stack(rows).cpu().double()


def _origin(model: Model, positive: Sequence[str], negative: Sequence[str], positions: Positions) -> str:
    """How a vector was made, in one line."""

    def words(prompts: Sequence[str]) -> str:
        first = prompts[0] if len(prompts[0]) <= 40 else f"{prompts[0][:39]}…"
        return repr(first) if len(prompts) == 1 else f"{len(prompts):,} prompts ({first!r}, …)"

    where = "last position" if positions == "last" else "mean over positions"
    return f"{model.info.name}: {words(positive)} − {words(negative)}, {where}"
