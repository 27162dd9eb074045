"""`tokenwalk replay`: which positions of a saved walk come out differently."""

from typing import TYPE_CHECKING, Any, Protocol

from core.language import _
from tui.drawing.text import fit, label, one_line
from tui.reports.json_values import finite, number_json, token_json

if TYPE_CHECKING:
    from core.sessions.replay import Replayed


class NamedModel(Protocol):
    """What a replay says of a model."""

    @property
    def name(self) -> str: ...

    @property
    def device(self) -> str: ...

    @property
    def dtype(self) -> str: ...


def _model_json(model: NamedModel) -> dict[str, str]:
    return {"model": model.name, "device": model.device, "dtype": model.dtype}


def replay_json(model: NamedModel, saved: NamedModel, tokens: int, tolerance: float) -> dict[str, Any]:
    """The first line: the model that runs now, the one that ran when the walk was saved, and the tokens."""
    return {
        "event": "replay",
        **_model_json(model),
        "saved": _model_json(saved),
        "tokens": tokens,
        "tolerance": tolerance,
    }


def replay_lines(model: NamedModel, saved: NamedModel, tokens: int) -> list[str]:
    """The first line and the head of the table of differences."""
    before, now = (" ".join(_model_json(each).values()) for each in (saved, model))
    return [
        one_line(
            _("{tokens:,} tokens, saved with {before}, replayed with {now}").format(
                tokens=tokens, before=before, now=now
            )
        ),
        f"{_('at'):>8}  {_('token'):<24} {'id':>7} {_('drawn'):>7} {_('ln p then'):>11} {_('now'):>11}",
    ]


def difference_json(found: "Replayed") -> dict[str, Any]:
    """One position that differs; `logprob` is a natural logarithm."""
    return {
        "event": "difference",
        "position": found.position,
        **token_json(found.token.id, found.token.piece),
        "drawn": found.drawn,
        "u": found.token.u,
        "u_now": found.u,
        "logprob": number_json(found.token.score.logprob if found.token.score else None),
        "logprob_now": number_json(found.logprob),
    }


def difference_line(found: "Replayed") -> str:
    """One position that differs, as a row of the table."""
    drawn = "–" if found.drawn is None else str(found.drawn)
    then = f"{found.token.score.logprob:.6f}" if found.token.score else "–"
    now = "–" if found.logprob is None else f"{found.logprob:.6f}"
    other_u = (
        "" if found.drawn is None or found.u == found.token.u else _("  its u differs from the one that the seed gives")
    )
    token = fit(label(found.token.piece), 24)
    return f"{found.position:>8,}  {token} {found.token.id:>7} {drawn:>7} {then:>11} {now:>11}{other_u}"


def end_json(positions: int, differences: int, largest: float) -> dict[str, Any]:
    """The last line; `largest` is the largest difference of two log-probabilities, in nats."""
    return {
        "event": "done",
        "same": not differences,
        "positions": positions,
        "differences": differences,
        "largest": finite(largest),
    }


def end_line(positions: int, differences: int, largest: float) -> str:
    """How many positions differ, and the largest difference of two log-probabilities."""
    found = (
        _("{differences:,} of {positions:,} positions differ").format(differences=differences, positions=positions)
        if differences
        else _("all {positions:,} positions are the same").format(positions=positions)
    )
    return _("{found}; log-probabilities (ln p) differ by at most {largest:.2g}").format(found=found, largest=largest)
