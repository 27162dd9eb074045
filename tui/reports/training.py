"""`tokenwalk train` and `tokenwalk world floors`: the events of a training, and losses beside their lower bounds."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from core.language import _
from core.training.events import Begun, CheckpointSaved, Ended, Evaluated, Event, Stepped
from core.training.quality import Quality
from core.world.automaton import Floors
from tui.drawing.text import one_line
from tui.reports.json_values import candidate_json
from tui.wording import spell_without_keys


def event_json(event: Event) -> dict[str, Any]:
    """An event as one JSON object; losses are in nats per token."""
    match event:
        case Begun():
            return {"event": "begun"} | asdict(event)
        case Stepped():
            return {"event": "step"} | asdict(event)
        case Evaluated():
            return {
                "event": "measured",
                "step": event.step,
                "loss": event.loss,
                "sample": event.sample,
                "top": [candidate_json(each) for each in event.chart.candidates],
                "divergence_bits": event.chart.divergence_bits,
                **({"heads": asdict(event.heads)} if event.heads else {}),
            }
        case CheckpointSaved():
            return {"event": "saved", "step": event.step, "path": str(event.path)}
        case Ended():
            return {"event": "ended", "step": event.step, "problem": _spelled(event)}


def _spelled(ended: Ended) -> str:
    """Why a training ended early; empty where it did not."""
    return spell_without_keys(ended.problem) if ended.problem else ""


def event_lines(event: Event, last: Stepped | None) -> Iterator[str]:
    """An event as lines of a table; `last` is the step before it. Losses are in nats per token."""
    match event:
        case Begun():
            sizes = _("{parameters:,} parameters, V {vocab_size:,}, T {context}").format(
                parameters=event.parameters, vocab_size=event.vocab_size, context=event.context
            )
            yield one_line(
                _("training {title} on {corpus}: {sizes}").format(
                    title=_(event.title), corpus=event.corpus, sizes=sizes
                )
            )
            yield from floor_lines(event.floors, event.ln_v)
            yield _("losses of the batch and of the validation text, nats per token:")
            yield (
                f"{_('step'):>7} {_('batch'):>8} {_('validation'):>11} {_('tokens/s'):>9} {_('left'):>6}  "
                f"{_('continuation of the probe')}"
            )
        case Evaluated():
            batch, rate, left = (
                (f"{last.loss:.3f}", f"{last.tokens_per_second:,.0f}", clock(last.seconds_left))
                if last
                else ("", "", "")
            )
            yield f"{event.step:>7,} {batch:>8} {event.loss:>11.3f} {rate:>9} {left:>6}  {one_line(event.sample)[:60]}"
        case Ended(problem=None):
            yield _("finished {step:,} steps").format(step=event.step)


def floor_lines(floors: Floors | None, ln_v: float | None = None) -> Iterator[str]:
    """The losses to compare with: uniform guessing (ln V), and the lowest possible ones where the text has them."""
    losses = {_("a uniform guess, ln V"): ln_v} if ln_v else {}
    if floors:
        losses |= {
            _("lowest from token frequencies alone"): floors.unigram,
            _("lowest from the last token alone"): floors.last_token,
            _("lowest from the whole context"): floors.context,
        }
    yield from (f"{value:>10.4f} nats  {name}" for name, value in losses.items())


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def floors_json(floors: Floors, rungs: Sequence[Quality]) -> dict[str, Any]:
    """The lowest possible losses and each rung's losses, in nats per token."""
    return {
        "floors": asdict(floors),
        "rungs": [
            {
                "model": each.model,
                "loss": each.loss,
                "floor": each.floor,
                "above": each.excess,
                "long_range_accuracy": each.long_range_accuracy,
                "slots": [asdict(slot) for slot in each.slots],
            }
            for each in rungs
        ],
    }


def quality_lines(rungs: Sequence[Quality]) -> Iterator[str]:
    """One line per rung: loss, the lowest loss possible for its kind, their difference, accuracies."""
    names = [slot.label for slot in rungs[0].slots]
    width = max(len(each.model) for each in rungs)
    yield _("losses in nats per token; far: accuracy where a token far back decides; then accuracy by kind of slot:")
    yield f"{'':<{width}}  {'loss':>7} {'floor':>7} {'above':>7}  {'far':>5}  " + "  ".join(f"{n:>9}" for n in names)
    for each in rungs:
        shares = "  ".join(f"{slot.accuracy:>9.1%}" for slot in each.slots)
        numbers = f"{each.loss:>7.4f} {each.floor:>7.4f} {each.excess:>7.4f}"
        yield f"{one_line(each.model):<{width}}  {numbers}  {each.long_range_accuracy:>5.1%}  {shares}"
