"""`tokenwalk lens`: what a lens of the app shows, as text or JSON."""

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from core.errors import Option, UserError
from core.language import _
from tui.commands.common import Json, exit_on_user_error, finish, load_model, note, read_argument, say
from tui.options import ModelOptions, shared

ARTICLE_PROMPT = "I prefer oat milk in"
"""The prompt where none is given: the article's example of a search space that shrinks token by token."""
RENAMED = {"weight": "name", "switch": "other", "watermark": "settings", "on": "measured_on", "target_prompt": "prompt"}
"""Options whose parameter has another name in `core.lenses`."""
DEFAULTS: dict[str, dict[str, Any]] = {"logit": {"last": 32}}
"""By lens, options that have another value here than in `core.lenses`."""


@shared
def lens(
    name: Annotated[
        str,
        typer.Argument(
            help="flow, attention, heads, logit, context, last-token, ladder, weights, lab, device or watermark; "
            "or an experiment: attribution, circuit, contrast, gradients, jacobian, patchscope, paths."
        ),
    ],
    model: ModelOptions,
    prompt: Annotated[
        str, typer.Argument(help="The text whose last position is examined; - reads it from standard input.")
    ] = ARTICLE_PROMPT,
    target: Annotated[
        str | None,
        typer.Option(help="The next token to examine: the first token of this text; of an experiment its only token."),
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="experiments: the token the target is compared with; the likeliest other one.")
    ] = None,
    measure: Annotated[
        str | None,
        typer.Option(help="experiments: difference (of two logits), or logit or logprob of the target alone."),
    ] = None,
    corrupt: Annotated[
        str | None, typer.Option(help="experiments: the second prompt, which the prompt is compared with.")
    ] = None,
    align: Annotated[
        str | None, typer.Option(help="experiments: the end from which the tokens of both prompts are paired.")
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="jacobian: a text file that the lens is fitted on, instead of a short text here.")
    ] = None,
    fit: Annotated[
        bool, typer.Option("--fit", help="jacobian: fit the matrices for every position, and save them. Takes minutes.")
    ] = False,
    target_prompt: Annotated[
        str | None,
        typer.Option(help="patchscope: the prompt that each layer's stream is put into, at the token with a ?."),
    ] = None,
    into: Annotated[
        int | None,
        typer.Option(help="patchscope: after how many of its blocks, instead of as many as the stream comes from."),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(help="attribution: what to divide: 3 (a block), 3.attention, 3.attention.2, 3.mlp or heads."),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="gradients: what tokens are compared with: sink, mean, zero, end or corrupt.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="gradients: points of the path; by default as many as completeness takes.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="circuit: how edges are scored: eap-ig or eap.")] = None,
    layer: Annotated[int | None, typer.Option(help="attention, heads: which block, from 0.")] = None,
    head: Annotated[
        int | None, typer.Option(help="attention, heads: which head, from 0; of heads the one that reads.")
    ] = None,
    shown: Annotated[
        int | None, typer.Option(help="attention: how many of the last positions the pattern shows.", min=1)
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            "-k", help="logit, context, lab, attribution, circuit: how many of the likeliest tokens to list.", min=1
        ),
    ] = None,
    last: Annotated[
        int | None,
        typer.Option(help="context, last-token, logit's map: how many of the last tokens to examine.", min=1),
    ] = None,
    how: Annotated[
        str | None, typer.Option(help="last-token: how earlier tokens are changed: replace, mask or shuffle.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="last-token: seed of the replacements; heads: of the random tokens.")
    ] = None,
    measured_on: Annotated[
        str | None,
        typer.Option(
            "--on", help="heads: random (random tokens, repeated once) or prompt, where attention is measured."
        ),
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="heads: q, k or v, what the receiver reads from earlier heads for.")
    ] = None,
    checkpoints: Annotated[
        list[str] | None,
        typer.Option(
            help="heads: over all checkpoints of this training of yours, or this model, such as owner/name@step1000; "
            "may be given again."
        ),
    ] = None,
    receiver: Annotated[
        str | None, typer.Option(help="paths: what reads the paths: final, 'mlp 4', 'q 9.6', 'k 9.6' or 'v 9.6'.")
    ] = None,
    weight: Annotated[
        str | None, typer.Option(help="weights: whose histogram to draw, for example blocks.0.norm1.weight.")
    ] = None,
    switch: Annotated[
        str | None, typer.Option(help="lab: the activation function to try instead of the model's own.")
    ] = None,
    mark: Annotated[
        str | None,
        typer.Option("--watermark", help="watermark: γ, scheme, width and key, such as 0.25:lefthash:1:15485863."),
    ] = None,
    as_json: Json = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="experiments, heads: print the answer as a table in CSV.")
    ] = False,
    svg: Annotated[Path | None, typer.Option(help="experiments: write a picture of the panel to this file.")] = None,
) -> None:
    """Look inside the model at the last position of a prompt."""
    options = {
        "layer": layer, "head": head, "shown": shown, "count": count, "last": last, "how": how, "seed": seed,
        "on": measured_on, "kind": kind,
        "weight": weight, "switch": switch, "watermark": mark, "part": part, "text": text, "fit": fit or None,
        "baseline": baseline, "steps": steps, "method": method,
        "target_prompt": target_prompt, "into": into, "receiver": receiver,
    }  # fmt: skip
    question = {
        "target": target, "against": against, "measure": measure, "corrupt": corrupt, "align": align,
    }  # fmt: skip
    with exit_on_user_error():
        from core.atomic import check_replaceable, replacing
        from core.lenses import NAMES, table
        from tui.reports.json_values import json_line
        from tui.reports.lens_json import lens_json
        from tui.reports.lenses import lens_lines

        if name.replace("-", "_") not in NAMES:
            raise UserError(
                _("there is no lens {name!r}; choose one of {names}"),
                name=name,
                names=", ".join(each.replace("_", "-") for each in NAMES),
            )
        if as_csv and as_json:
            raise UserError(
                _("{csv} and {json} cannot both be printed; choose one"), csv=Option("csv"), json=Option("json")
            )
        if checkpoints:
            _check_alone(name, model, _given(options | question | {"svg": svg}))
            _print_checkpoints(checkpoints, model, as_json, as_csv)
            return
        if as_csv:
            table(name.replace("-", "_"))
        page = None
        if svg:
            from tui.commands.picture import page_of, picture

            check_replaceable(svg)
            page = page_of(name)
        text = read_argument(prompt)
        loaded, ids = load_model(model, text)
        answer = _answer(name, loaded, ids, _given(question), _given(options))
        if svg and page:
            with replacing(svg) as file:
                file.write(picture(page, answer).encode("utf-8", "backslashreplace"))
            note(_("written to {svg}").format(svg=svg))
        if as_csv:
            say(str(table(name.replace("-", "_"))(answer)))
        elif as_json:
            source = {"lens": name, "model": loaded.info.name, "prompt_ids": ids}
            say(json_line(source | lens_json(name, answer)))
        elif not svg:
            for line in lens_lines(name, answer):
                say(line)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given."""
    return {key: value for key, value in options.items() if value is not None}


def _check_alone(name: str, model: ModelOptions, given: dict[str, Any]) -> None:
    """Raises `UserError` for what checkpoints cannot be given with."""
    if name != "heads":
        raise UserError(
            _("the lens {name} has no option {checkpoints}; leave it out"), name=name, checkpoints=Option("checkpoints")
        )
    for option in (*(each for each in ("model", "steer") if getattr(model, each)), *given):
        flag = "-k" if option == "count" else Option(option)
        raise UserError(
            _("{flag} cannot be given with {checkpoints}; leave it out"), flag=flag, checkpoints=Option("checkpoints")
        )


def _print_checkpoints(names: list[str], model: ModelOptions, as_json: bool, as_csv: bool) -> None:
    """The scores of heads over checkpoints."""
    from core.causal.head_checkpoints import head_checkpoints, table
    from core.engine import threads
    from core.loading import catalog
    from tui.reports.head_checkpoints import head_checkpoints_json, head_checkpoints_lines
    from tui.reports.json_values import json_line

    choice = model.choice()
    threads.prepare(beside_screen=False, packed=catalog.packed(choice))
    answer = finish(head_checkpoints(names, choice))
    if as_csv:
        say(str(table(answer)))
    elif as_json:
        say(json_line(head_checkpoints_json(answer)))
    else:
        for line in head_checkpoints_lines(answer):
            say(line.rstrip())


def _answer(name: str, loaded: Any, ids: list[int], asked: dict[str, str], options: dict[str, Any]) -> Any:
    """The last answer of a lens. Raises `UserError` for an option that the lens does not have, or an empty target."""
    from core import lenses
    from core.activations.trace import step_at
    from core.causal.question import question_of
    from tui.drawing.text import one_line
    from tui.texts import read_text_file

    function = lenses.lens(name.replace("-", "_"))
    parameters = inspect.signature(function).parameters
    experiment = "question" in parameters
    for option in (*options, *(() if experiment else asked.keys() - {"target"})):
        if RENAMED.get(option, option) not in parameters:
            flag = "-k" if option == "count" else Option(option)
            raise UserError(_("the lens {name} has no option {flag}; leave it out"), name=name, flag=flag)
    given = {RENAMED.get(option, option): value for option, value in options.items()}
    if "text" in given:
        given |= {"text": read_text_file(given["text"]), "title": one_line(given["text"])}
    arguments = DEFAULTS.get(name, {}) | given
    prefix = loaded.sequences()
    prefix.append([ids])
    if experiment:
        arguments["question"] = question_of(loaded.tokenizer, **asked)
        return finish(function(step_at(loaded, ids, prefix), **arguments))
    target = asked.get("target")
    target_ids = loaded.tokenizer.continuation(target) if target is not None else []
    if target is not None and not target_ids:
        raise UserError(_("{target} is empty; give the text of a token"), target=Option("target"))
    return finish(function(step_at(loaded, ids, prefix, target_ids[0] if target_ids else None), **arguments))
