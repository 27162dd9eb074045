"""What has changed between two frames, in words: a line for each token, and for each other change."""

from collections.abc import Iterator

from core.generation.token import Token
from core.language import _, ngettext
from core.training.status import TrainingStatus
from core.walk.values import Snapshot
from tui.drawing.text import one_line
from tui.plain import words
from tui.runner import Frame


def announcements(before: Frame, now: Frame) -> Iterator[str]:
    """What is new in a frame."""
    if now.activity == "loading" != before.activity:
        yield _("loading")
    if now.model != before.model and now.model:
        yield words.model_line(now.model)
    if now.snapshot:
        yield from _settings(before.snapshot, now.snapshot)
        yield from _walk_changes(before.snapshot, now.snapshot, now)
    if now.training is not None and now.training is not before.training:
        yield from _training(before.training, now.training)


def _settings(before: Snapshot | None, now: Snapshot) -> Iterator[str]:
    """The sampler, the patches and the question, where a person has changed them."""
    if before is None:
        return
    if now.sampler != before.sampler:
        yield words.sampler_line(now.sampler)
    if now.patches != before.patches:
        yield words.patches_line(now.patches)
    if now.question != before.question:
        yield words.question_line(now)
    if bool(now.spans) != bool(before.spans):
        yield _("chat template on") if now.spans else _("chat template off")


def _walk_changes(before: Snapshot | None, now: Snapshot, frame: Frame) -> Iterator[str]:
    tokens, known = now.tokens, before.tokens if before else ()
    same = next((n for n, pair in enumerate(zip(known, tokens, strict=False)) if not _alike(*pair)), None)
    same = min(len(known), len(tokens)) if same is None else same
    written = before is None or now.prompt != before.prompt or same < now.prompt_length
    if written and (now.chart or not tokens):
        if tokens:
            yield ngettext("prompt of {count:,} token", "prompt of {count:,} tokens", now.prompt_length).format(
                count=now.prompt_length
            )
        same = now.prompt_length
    elif same < len(known) and not (len(tokens) == len(known) == same + 1):
        yield ngettext("{count:,} token taken back", "{count:,} tokens taken back", len(known) - same).format(
            count=len(known) - same
        )
    for position in range(same, len(tokens)):
        after = tokens[position + 1].score if position + 1 < len(tokens) else None
        chart = now.chart.entropy_bits if now.chart and position + 1 == now.cursor else None
        yield words.token_line(position, tokens[position], after.entropy_bits if after else chart)
    moved = before is not None and now.cursor != before.cursor and len(tokens) == len(known) == same
    if moved:
        yield words.place_line(now)
    if now.chart and (written or moved or same == len(tokens) < len(known)) and frame.activity != "generating":
        yield words.entropy_line(frame)
        yield from map(words.candidate_line, now.chart.candidates[:1])
    if now.stopped and (before is None or now.stopped != before.stopped):
        yield one_line(now.stopped)


def _alike(one: Token, other: Token) -> bool:
    return (one.id, one.origin, one.redraw) == (other.id, other.origin, other.redraw)


def _training(before: TrainingStatus | None, now: TrainingStatus) -> Iterator[str]:
    """Each evaluation, and each change of the state."""
    known = {each.step for each in before.evaluations} if before and before.name == now.name else set()
    yield from (words.evaluation_line(each) for each in now.evaluations if each.step not in known)
    if before is None or (now.name, now.state, now.problem) != (before.name, before.state, before.problem):
        yield words.training_line(now)
