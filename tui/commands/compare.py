"""`tokenwalk compare`: two models after one prompt, or at every position of it."""

from dataclasses import replace
from typing import Annotated

import typer

from core.errors import Option, UserError
from core.language import _
from tui.commands.common import Json, Prompt, exit_on_user_error, finish, load_model, read_argument, say
from tui.options import ModelOptions, shared


@shared
def compare(
    prompt: Prompt,
    model: ModelOptions,
    other: Annotated[str | None, typer.Option("--with", help="Model B; without it the same model as A.")] = None,
    with_revision: Annotated[
        str | None, typer.Option(help="Revision of B; of the same model where --with names none.")
    ] = None,
    with_lora: Annotated[
        str | None,
        typer.Option(metavar="PATH[=SCALE]", help="LoRA adapter of B; without it none where --with names B."),
    ] = None,
    with_device: Annotated[str | None, typer.Option(help="Device of B; without it that of A.")] = None,
    with_dtype: Annotated[str | None, typer.Option(help="Number format of B; without it that of A.")] = None,
    along: Annotated[
        bool, typer.Option("--along", help="Compare at every position of the prompt, not only at its end.")
    ] = False,
    count: Annotated[int, typer.Option("-k", help="How many of the likeliest tokens to list.", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """Compare the next-token distributions of two models, A and B: divergences in bits, agreement, both charts."""
    with exit_on_user_error():
        if other is with_revision is with_device is with_dtype is with_lora is None:
            raise UserError(
                _(
                    "there is no model B; give {other} MODEL, or {dtype}, {device}, {revision} or {lora} to compare a "
                    "model with itself"
                ),
                other=Option("with"),
                dtype=Option("with-dtype"),
                device=Option("with-device"),
                revision=Option("with-revision"),
                lora=Option("with-lora"),
            )
        text = read_argument(prompt)
        a, ids_a = load_model(model, text)
        b, ids_b = load_model(_options_of_b(model, other, with_revision, with_lora, with_device, with_dtype), text)
        from core.evaluation.compare import Side, compare_text, next_distribution
        from core.evaluation.compare import compare as measure
        from tui.reports.compare import along_json, along_lines, comparison_json, comparison_lines

        if along:
            compared = finish(compare_text(a, b, text, special=model.special), "positions")
            for line in (along_json if as_json else along_lines)(compared):
                say(line)
        side_a = Side(next_distribution(a, ids_a), a.tokenizer)
        side_b = Side(next_distribution(b, ids_b), b.tokenizer)
        found = measure(side_a, side_b, count)
        if as_json:
            say(comparison_json((a.info, ids_a), (b.info, ids_b), found))
        else:
            for line in comparison_lines(a.info, b.info, found):
                say(line)


def _options_of_b(
    model: ModelOptions,
    name: str | None,
    revision: str | None,
    lora: str | None,
    device: str | None,
    dtype: str | None,
) -> ModelOptions:
    """The options of A with the changes for B. Sizes and tokenizer are dropped where B is no untrained rung.

    A model that is named has no adapter but its own and no steering vector, so that a model with one can be compared
    with itself without it.
    """
    from core.loading import catalog
    from core.loading.choice import ModelChoice

    other = replace(
        model,
        model=name or _without_revision(model.model, revision),
        revision=revision if name or revision else model.revision,
        lora=lora if name or lora else model.lora,
        steer=None if name else model.steer,
        device=device or model.device,
        dtype=dtype or model.dtype,
    )
    if other.model is None or catalog.is_rung(other.model):
        return other
    if catalog.is_served(other.model):  # the device and number format of A are not those of an engine
        other = replace(other, device=device or "auto", dtype=dtype or "auto")
    elif name and catalog.is_served(model.model or ""):
        other = replace(other, engine="auto", served_model="")
    return replace(
        other, embed_dim=None, context=None, blocks=None, heads=None, activation=None, tokenizer=ModelChoice().tokenizer
    )


def _without_revision(name: str | None, revision: str | None) -> str | None:
    """A name without its own revision where another one is given."""
    return name.partition("@")[0] if name and revision else name
