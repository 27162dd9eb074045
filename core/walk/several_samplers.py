"""Several samplers side by side at one position of a walk: what each may draw, and a text that each draws."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from core.errors import UserError
from core.generation.batch import Batch
from core.progress import Progress
from core.sampling.bounds import Bounded, total
from core.sampling.chart import chart
from core.sampling.sampler import Sampler
from core.walk.values import SamplerColumn, SeveralSamplers

if TYPE_CHECKING:
    from core.walk.session import Session

SHOWN = 30
"""Candidates in the chart of a column."""


def several_samplers(walk: "Session", samplers: Sequence[Sampler], count: int) -> Iterator[Progress | SeveralSamplers]:
    """Draw up to `count` tokens at the cursor with each sampler; the walk stays as it is.

    Samplers with one seed draw with the same numbers u. Progress comes first, the answer last; a sampler that leaves no
    token to draw ends its column with the reason.
    """
    tokens, prompt_length = walk.before_cursor()
    piece = walk.model.tokenizer.piece
    columns = list[SamplerColumn]()
    for number, sampler in enumerate(samplers):
        context = walk.reader.context(tokens, prompt_length, sampler, 0)
        shown = chart(walk.distribution(), sampler, SHOWN, piece, context=context)
        pieces, bits, problem = list[bytes](), list[Bounded](), shown.problem
        batch = walk.reader.batch(tokens, prompt_length, sampler, 1)
        for done in range(0 if problem else count):
            yield Progress(number * count + done, len(samplers) * count)
            try:
                drawn = _step(batch)
            except UserError as error:
                problem = str(error)
                break
            if drawn is None:
                break
            pieces.append(piece(drawn[0]))
            bits.append(drawn[1])
        columns.append(SamplerColumn(sampler, shown, tuple(pieces), total(bits), problem))
    yield SeveralSamplers(tuple(columns), walk.cursor)


def _step(batch: Batch) -> tuple[int, Bounded] | None:
    """The id that is drawn next and its surprisal in bits; None if the model has ended its text."""
    (drawn,) = batch.step()
    return (drawn.id, drawn.score.surprisal_bits) if drawn else None
