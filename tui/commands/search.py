"""`tokenwalk search`: likely continuations, by beam search or the N likeliest with a proof."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import Option, UserError
from core.language import _
from core.search.settings import BeamSettings, BestSettings, Plan
from core.search.values import EarlyStopping
from tui.commands.common import (
    Json,
    Prompt,
    check_new_walk,
    exit_on_user_error,
    finish,
    load_model,
    read_argument,
    say,
    stoppable,
)
from tui.options import ModelOptions, shared

if TYPE_CHECKING:
    from core.progress import Progress
    from core.search.values import State
    from core.walk.session import Session

INTERVAL = 0.1
"""Seconds between two lines of progress."""
EARLY: tuple[EarlyStopping, ...] = ("no", "yes", "never")


@shared
def search(
    prompt: Prompt,
    model: ModelOptions,
    beam: Annotated[int | None, typer.Option(help="Beam search with so many hypotheses. Default: 4.")] = None,
    best: Annotated[int | None, typer.Option(help="Find the N likeliest answers, and prove it.")] = None,
    count: Annotated[int, typer.Option("-n", help="Tokens that an answer has at most.")] = 10,
    stop: Annotated[
        list[str] | None,
        typer.Option(help="A text of one token that ends an answer, besides the model's own. May be given again."),
    ] = None,
    length_penalty: Annotated[
        float | None, typer.Option(help="beam: a score is the log-probability / length^penalty. Default: 1.")
    ] = None,
    early_stopping: Annotated[
        str | None,
        typer.Option(help="beam: no, yes (as soon as enough are complete) or never (only when proved). Default: no."),
    ] = None,
    nodes: Annotated[
        int | None, typer.Option(help="best: how many distributions may be computed. Default: 5000.")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Save the tree to this file, for walk --resume.")] = None,
    as_json: Json = False,
) -> None:
    """Search for likely continuations of a prompt."""
    with exit_on_user_error():
        plan = _plan(beam, best, count, stop or [], length_penalty, early_stopping, nodes)
        check_new_walk(save)
        text = read_argument(prompt)
        loaded, ids = load_model(model, text)
        from core.walk.session import Session

        walk = Session(loaded)
        for _step in walk.prefill(ids, text):
            pass
        stopped = _search(walk, plan, ids, as_json)
        if save:
            from core.sessions import record, writer

            writer.write_record(save, replace(record.record_of(walk), patches=model.patches()))
        if stopped:
            raise typer.Exit(130)


def _plan(
    beam: int | None,
    best: int | None,
    count: int,
    stop: list[str],
    length_penalty: float | None,
    early: str | None,
    nodes: int | None,
) -> Plan:
    """The plan of the options. Raises `UserError` for options that do not go together."""
    if beam is not None and best is not None:
        raise UserError(
            _("{beam} and {best} are two kinds of search; leave one out"), beam=Option("beam"), best=Option("best")
        )
    if best is not None:
        if length_penalty is not None or early is not None:
            wrong = Option("length-penalty" if length_penalty is not None else "early-stopping")
            raise UserError(
                _("{wrong} belongs to a beam search; leave it or {best} out"), wrong=wrong, best=Option("best")
            )
        return Plan(BestSettings(count=best, length=count, nodes=5000 if nodes is None else nodes), tuple(stop))
    if nodes is not None:
        raise UserError(_("{nodes} belongs to {best}; leave it out"), nodes=Option("nodes"), best=Option("best"))
    chosen = next((each for each in EARLY if each == (early or "no")), None)
    if chosen is None:
        raise UserError(
            _("{early_stopping} must be {early}, not {value!r}"),
            early_stopping=Option("early-stopping"),
            early=", ".join(EARLY),
            value=early,
        )
    penalty = 1.0 if length_penalty is None else length_penalty
    return Plan(BeamSettings(4 if beam is None else beam, count, penalty, chosen), tuple(stop))


def _search(walk: "Session", plan: Plan, ids: list[int], as_json: bool) -> bool:
    """Run a search and print it; whether it was interrupted."""
    from tui.reports.json_values import json_line
    from tui.reports.search import answer_json, done_json, prefill_json, progress_json, search_lines

    piece, began = walk.model.tokenizer.piece, time.perf_counter()
    with stoppable() as stop:
        if not as_json:
            unit = _("steps") if isinstance(plan.settings, BeamSettings) else _("distributions")
            finish(_steps(walk, plan, stop), unit)
        else:
            say(json_line(prefill_json(walk.info, ids, str(plan))))
            for _step in _steps(walk, plan, stop):
                say(json_line(progress_json(_state(walk), piece)))
    state = _state(walk)
    if as_json:
        for rank, answer in enumerate(state.answers, start=1):
            say(json_line(answer_json(rank, answer, state, piece)))
        say(json_line(done_json(state, time.perf_counter() - began)))
    else:
        for line in search_lines(state, piece):
            say(line)
    return stop.is_set()


def _state(walk: "Session") -> "State":
    assert walk.searches.status is not None
    return walk.searches.status.state


def _steps(walk: "Session", plan: Plan, stop: threading.Event) -> "Iterator[Progress]":
    """The progress of each step of a beam search, and at intervals that of a search for the likeliest answers."""
    from core.progress import Progress

    shown, steps = 0.0, walk.searches.search(plan)
    for step in steps:
        if stop.is_set():
            steps.close()
            return
        if time.perf_counter() - shown >= INTERVAL or isinstance(plan.settings, BeamSettings):
            shown = time.perf_counter()
            yield Progress(step.done, step.total)
