"""`tokenwalk tokens`: how a tokenizer splits a text."""

from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import Option, UserError
from core.language import _
from core.remote.address import is_address
from tui.commands.common import Json, exit_on_user_error, note, read_argument, say
from tui.options import SPECIAL_HELP, TOKENIZER_HELP

if TYPE_CHECKING:
    from core.tokenizers.tokenizer import Tokenizer


def tokens(
    text: Annotated[str, typer.Argument(help="The text; - reads it from standard input.")],
    tokenizer: Annotated[str | None, typer.Option(help=f"{TOKENIZER_HELP} Default: cl100k.")] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Instead, the tokenizer of a model: smollm2, a folder, a .gguf file, …"),
    ] = None,
    special: Annotated[bool, typer.Option("--special", help=SPECIAL_HELP)] = False,
    chat: Annotated[
        bool, typer.Option("--chat", help="Wrap the text as a user's message by the model's chat template.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Split a text into tokens and print their ids, texts and bytes."""
    with exit_on_user_error():
        from core.tokenizers.chat import encode, render
        from core.tokenizers.chat_template import Message
        from tui.reports.json_values import json_line
        from tui.reports.tokens import tokens_json, tokens_lines

        if model is not None and tokenizer is not None:
            raise UserError(
                _("{tokenizer} and {model} exclude each other; leave one out"),
                tokenizer=Option("tokenizer"),
                model=Option("model"),
            )
        content = read_argument(text)
        loaded = _load(tokenizer or "cl100k", model)
        if loaded.warning:
            note(loaded.warning)
        found = render(loaded, [Message("user", content)]) if chat else None
        ids = encode(loaded, content, special=special) if found is None else found.ids
        spans = found.spans if found else ()
        for line in [json_line(tokens_json(loaded, ids, spans))] if as_json else tokens_lines(loaded, ids, spans):
            say(line)


def _load(tokenizer: str, model: str | None) -> "Tokenizer":
    from core.loading import catalog, tokenizers
    from core.loading.choice import ModelChoice

    if model is None:
        return tokenizers.load_tokenizer(tokenizer)
    if is_address(model):
        from core.loading.served.connect import connect

        return connect(ModelChoice(name=model)).tokenizer
    if found := catalog.tokenizer_of(ModelChoice(name=model)):
        return found
    return tokenizers.load_model_tokenizer(catalog.fetch(model, None).path, model)
