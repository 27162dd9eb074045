"""`tokenwalk compare`: two models after one prompt, or along it."""

from dataclasses import replace
from typing import Annotated

import typer

from core.errors import UserError
from tui.commands.common import Json, Prompt, exit_on_user_error, finish, load_model, read_argument, say
from tui.options import ModelOptions, shared


@shared
def compare(
    prompt: Prompt,
    model: ModelOptions,
    other: Annotated[str | None, typer.Option("--with", help="The other model; the same one where not given.")] = None,
    with_device: Annotated[str | None, typer.Option(help="Its device; the same where not given.")] = None,
    with_dtype: Annotated[str | None, typer.Option(help="Its dtype; the same where not given.")] = None,
    along: Annotated[bool, typer.Option("--along", help="Compare at every place of the prompt too.")] = False,
    count: Annotated[int, typer.Option("-k", help="Candidates to list.", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """What two models say comes next: divergence, agreement, and both charts."""
    with exit_on_user_error():
        if other is with_device is with_dtype is None:
            raise UserError("name the other side: --with MODEL, or --with-dtype or --with-device for the same model")
        text = read_argument(prompt)
        a, ids_a = load_model(model, text)
        b, ids_b = load_model(_other(model, other, with_device, with_dtype), text)
        from core.evaluation.compare import Side, compare_text, next_distribution
        from core.evaluation.compare import compare as measure
        from tui.reports import compare as report

        if along:
            compared = finish(compare_text(a, b, text, special=model.special), "places")
            for each in (report.along_json if as_json else report.along_lines)(compared):
                say(each)
        side_a = Side(next_distribution(a, ids_a), a.tokenizer)
        side_b = Side(next_distribution(b, ids_b), b.tokenizer)
        found = measure(side_a, side_b, count)
        if as_json:
            say(report.next_json((a.info, ids_a), (b.info, ids_b), found))
        else:
            for each in report.next_lines(a.info, b.info, found):
                say(each)


def _other(model: ModelOptions, name: str | None, device: str | None, dtype: str | None) -> ModelOptions:
    """The other side; sizes that were asked for are for a rung, and no other model has them."""
    from core.loading import catalog
    from core.loading.choice import ModelChoice

    other = replace(model, model=name or model.model, device=device or model.device, dtype=dtype or model.dtype)
    if other.model is None or catalog.is_rung(other.model):
        return other
    return replace(
        other, embed_dim=None, context=None, blocks=None, heads=None, activation=None, tokenizer=ModelChoice().tokenizer
    )
