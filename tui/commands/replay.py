"""`tokenwalk replay`: whether a saved walk comes out the same, here, now, or in another model, device or dtype."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.engine import threads
from core.errors import UserError
from tui.commands.common import Json, exit_on_user_error, say

if TYPE_CHECKING:
    from core.sessions.replay import Changes, Replayed

SavedFile = Annotated[Path, typer.Argument(help="A saved session.")]


def replay(
    file: SavedFile,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Another model with the same tokenizer.")] = None,
    device: Annotated[str | None, typer.Option(help="Another device.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Another dtype.")] = None,
    weights_seed: Annotated[int | None, typer.Option(help="Another seed of the random weights.")] = None,
    tolerance: Annotated[float, typer.Option(help="How far log-probabilities may be apart, nats.")] = 1e-4,
    as_json: Json = False,
) -> None:
    """Run a saved walk again and list what differs; exit code 0 where nothing does, 1 where something does."""
    with exit_on_user_error():
        from core.sessions import reader

        if not (math.isfinite(tolerance) and tolerance >= 0):
            raise UserError(f"the tolerance must be 0 or more, not {tolerance:g}")
        walk = reader.read_record(file)
        threads.prepare(beside_screen=False)
        from core.sessions.replay import Changes

        same = _run(walk, Changes(model, device, dtype, weights_seed), tolerance, as_json)
    if not same:
        raise typer.Exit(1)


def _run(walk: Any, changes: "Changes", tolerance: float, as_json: bool) -> bool:
    from core.sessions.replay import runs
    from tui.reports import general

    places, different, apart = 0, 0, 0.0
    for model, replayed in runs(walk, changes):
        threads.apply(model.info.parameters, beside_screen=False)
        for each in _begin(walk, model.info, tolerance, as_json):
            say(each)
        for place in replayed:
            places += 1
            apart = max(apart, place.difference or 0.0)
            if place.differs(tolerance):
                different += 1
                say(general.line(_difference(place)) if as_json else _line(place))
    if as_json:
        largest = apart if math.isfinite(apart) else None
        end = {"event": "done", "same": not different, "positions": places, "differences": different}
        say(general.line({**end, "largest": largest}))
    else:
        words = (
            f"{different:,} of {places:,} positions differ" if different else f"all {places:,} positions are the same"
        )
        say(f"{words}; log-probabilities are at most {apart:.2g} apart")
    return not different


def _begin(walk: Any, info: Any, tolerance: float, as_json: bool) -> list[str]:
    from tui.drawing.text import one_line
    from tui.reports import general

    def named(model: Any) -> dict[str, str]:
        return {"model": model.name, "device": model.device, "dtype": model.dtype}

    if as_json:
        said = {"event": "replay", **named(info), "saved": named(walk.model)}
        return [general.line({**said, "tokens": len(walk.path()), "tolerance": tolerance})]
    saved, now = (" ".join(named(each).values()) for each in (walk.model, info))
    return [
        one_line(f"{len(walk.path()):,} tokens of {saved}, again with {now}"),
        f"{'at':>8}  {'token':<24} {'id':>7} {'drawn':>7} {'ln p then':>11} {'now':>11}",
    ]


def _difference(place: "Replayed") -> dict[str, Any]:
    from tui.reports import general

    then = place.token.score.logprob if place.token.score else None
    return {
        "event": "difference",
        "position": place.position,
        **general.token(place.token.id, place.token.piece),
        "drawn": place.drawn,
        "u": place.token.u,
        "u_now": place.u,
        "logprob": _finite(then),
        "logprob_now": _finite(place.logprob),
    }


def _finite(value: float | None) -> float | None:
    """JSON has no ∞."""
    return value if value is not None and math.isfinite(value) else None


def _line(place: "Replayed") -> str:
    from tui.drawing.text import fit, label

    drawn = "–" if place.drawn is None else str(place.drawn)
    then = f"{place.token.score.logprob:.6f}" if place.token.score else "–"
    now = "–" if place.logprob is None else f"{place.logprob:.6f}"
    other = "" if place.drawn is None or place.u == place.token.u else "  its u is not what the seed gives"
    token = fit(label(place.token.piece), 24)
    return f"{place.position:>8,}  {token} {place.token.id:>7} {drawn:>7} {then:>11} {now:>11}{other}"
