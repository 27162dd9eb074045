"""`tokenwalk lens`: one look inside a step, without the app."""

import inspect
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from core.errors import UserError
from tui.commands.common import Json, exit_on_user_error, load_model, read_argument, say
from tui.options import ModelOptions, shared

EXAMPLE = "I prefer oat milk in"
"""The article's own (S12)."""


@shared
def lens(
    name: Annotated[
        str, typer.Argument(help="flow, attention, logit, context, last-token, ladder, weights, lab, device.")
    ],
    model: ModelOptions,
    prompt: Annotated[
        str, typer.Argument(help="The text to look at the end of; - reads it from standard input.")
    ] = EXAMPLE,
    target: Annotated[
        str | None, typer.Option(help="Text whose first token is taken for the one that came next.")
    ] = None,
    layer: Annotated[int | None, typer.Option(help="attention: the block, from 0.")] = None,
    head: Annotated[int | None, typer.Option(help="attention: the head, from 0.")] = None,
    shown: Annotated[int | None, typer.Option(help="attention: positions of the pattern.", min=1)] = None,
    count: Annotated[int | None, typer.Option("-k", help="logit, context, lab: candidates to list.", min=1)] = None,
    last: Annotated[int | None, typer.Option(help="context, last-token: how many tokens from the end.", min=1)] = None,
    how: Annotated[str | None, typer.Option(help="last-token: replace, mask or shuffle.")] = None,
    seed: Annotated[int | None, typer.Option(help="last-token: chooses what tokens are replaced by.")] = None,
    weight: Annotated[str | None, typer.Option(help="weights: the one to draw, such as blocks.0.norm1.weight.")] = None,
    switch: Annotated[str | None, typer.Option(help="lab: the activation to switch to.")] = None,
    as_json: Json = False,
) -> None:
    """One look inside the step after a prompt."""
    options = {
        "layer": layer, "head": head, "shown": shown, "count": count, "last": last, "how": how, "seed": seed,
        "weight": weight, "switch": switch,
    }  # fmt: skip
    with exit_on_user_error():
        from core.lenses import NAMES
        from tui.reports import general, lenses

        if name.replace("-", "_") not in NAMES:
            raise UserError(f"no lens {name!r}; choose one of {', '.join(each.replace('_', '-') for each in NAMES)}")
        text = read_argument(prompt)
        loaded, ids = load_model(model, text)
        answer = _look(name, loaded, ids, target, {key: value for key, value in options.items() if value is not None})
        if as_json:
            head_of = {"lens": name, "model": loaded.info.name, "prompt_ids": ids}
            say(general.line(head_of | lenses.plain(name, answer)))
        else:
            for each in lenses.lines(name, answer):
                say(each)


SPOKEN = {"weight": "name", "switch": "other"}
"""What options are called in core, where that is other than here."""


def _look(name: str, loaded: Any, ids: list[int], target: str | None, options: dict[str, Any]) -> Any:
    """The last answer of a lens."""
    from core import lenses
    from core.activations.trace import step_at
    from core.engine.prefix import Prefix

    function = lenses.lens(name.replace("-", "_"))
    known = inspect.signature(function).parameters
    given = {SPOKEN.get(key, key): value for key, value in options.items()}
    for key in options:
        if SPOKEN.get(key, key) not in known:
            raise UserError(f"the lens {name} takes no {'-k' if key == 'count' else f'--{key}'}; leave it out")
    came = loaded.tokenizer.encode(target) if target is not None else []
    if target is not None and not came:
        raise UserError("the target is empty; give the text of a token")
    prefix = Prefix(loaded.transformer)
    prefix.append([ids])
    return _last(function(step_at(loaded, ids, prefix, came[0] if came else None), **given))


def _last(answers: Iterator[Any]) -> Any:
    """The last answer; progress goes to a person's terminal meanwhile."""
    from core.progress import Progress

    answer, told = None, False
    for each in answers:
        if not isinstance(each, Progress):
            answer = each
        elif sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{each.done:,} of {each.total:,}")
            sys.stderr.flush()
            told = True
    if told:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
    return answer
