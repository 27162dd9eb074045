"""Why a token is drawn, in lines: u, the stages of the sampler, and what each makes of the likeliest tokens."""

from collections.abc import Iterator

from core.language import _
from core.sampling.bounds import high
from core.sampling.explanation import Pick, SamplerLens, SamplerRow
from core.sampling.stages.stage import Stage
from tui.drawing.sampler import stage_text, value_text
from tui.drawing.text import decimals_for, label, one_line, percent


def sampler_lines(answer: SamplerLens, rows: int = 10) -> Iterator[str]:
    """All of the draw, with so many of the likeliest tokens."""
    yield drawn_words(answer)
    yield _("greedy {pick}").format(pick=pick_words(answer.greedy)) + (
        _(" · with equal odds this u would draw ") + pick_words(answer.uniform) if answer.uniform else ""
    )
    yield from stage_lines(answer)
    listed = list(answer.rows[:rows])
    listed += [row for row in answer.rows[rows:] if answer.drawn and row.id == answer.drawn.id]
    yield from (_row(answer, row) for row in listed)
    others = answer.tail.count + len(answer.rows) - len(listed)
    yield _("{count:,} others · {kept:,} of all can be drawn").format(count=others, kept=answer.kept)


def drawn_words(answer: SamplerLens) -> str:
    """Which token u selects, or why none."""
    if answer.drawn is None:
        return one_line(answer.problem or answer.undecided)
    if answer.sampler.greedy:
        return _("greedy: one token is left; no u is drawn")
    start, end = answer.drawn.interval
    return _("u {u:.4f} draws {token} [{start:.4f}, {end:.4f})").format(
        u=answer.u, token=label(answer.drawn.piece), start=start, end=end
    )


def pick_words(pick: Pick) -> str:
    """A token, and its probability in the model."""
    return f"{label(pick.piece)} {percent(pick.probability, min(4, decimals_for(pick.probability)))}"


def stage_lines(answer: SamplerLens) -> Iterator[str]:
    """What each stage leaves, removes and moves."""
    for number, effect in enumerate(answer.stages):
        parts = [
            f"{number + 1} {_(effect.stage.TITLE)}: {stage_text(effect.stage)}",
            _("{kept:,} kept").format(kept=effect.kept),
            _("{share} removed").format(share=percent(effect.removed_mass, 2)) if high(effect.removed) else "",
            _("{share} moved").format(share=percent(effect.moved, 2)) if high(effect.moved) > 0 else "",
            _("H {bits:.2f} bits").format(bits=answer.entropies[number + 1]),
            caution(answer, number),
        ]
        yield " · ".join(filter(None, parts))


def knob_words(stage: Stage) -> list[str]:
    """The knobs of a stage with their values."""
    return [f"{_(knob.label)} {value_text(knob, getattr(stage, knob.name)) or '–'}" for knob in stage.knobs()]


def caution(answer: SamplerLens, number: int) -> str:
    """What makes a stage of no use, or of another use than in other programs; empty where nothing does."""
    stages = answer.stages
    if number >= len(stages) or not stages[number].stage.active or answer.problem:
        return ""
    if number and stages[number - 1].kept == 1:
        return _("no effect: only one token is left before it")
    if stages[number].stage.NAME == "mirostat" and any(each.stage.active for each in stages[number + 1 :]):
        return _("S measured after later stages")
    return ""


def _row(answer: SamplerLens, row: SamplerRow) -> str:
    """A token before and after the sampler."""
    decimals = min(4, decimals_for(row.shares[0]))
    final = row.shares[-1] if not answer.problem else 0.0
    cut = "" if row.cut_by is None else _("cut by {stage}").format(stage=answer.stages[row.cut_by].stage.SHORT)
    drawn = _("drawn") if answer.drawn and row.id == answer.drawn.id else ""
    before, after = percent(row.shares[0], decimals), percent(final, decimals)
    moved = _("{share} in the draw").format(share=after) if final and after != before else ""
    parts = (f"{row.rank + 1} {label(row.piece)}", before, moved, cut, drawn)
    return " · ".join(filter(None, parts))
