"""Ids of a prompt for a chat model: the rendered chat template, encoded."""

from core.errors import Option, UserError
from core.tokenizers.chat_template import render
from core.tokenizers.tokenizer import Tokenizer


def encode(tokenizer: Tokenizer, text: str, *, special: bool = False, chat: bool = False) -> list[int]:
    """Ids of a prompt. With `chat`: ids of the rendered chat template, in which special tokens are tokens.

    Raises `UserError` where there is no template, or where it fails or exceeds the limits of time, memory or length.
    """
    if not chat:
        return tokenizer.encode(text, special=special)
    if tokenizer.template is None:
        raise UserError(
            f"{tokenizer.name} has no chat template; leave out ",
            Option("chat"),
            ", or choose a model made for chat, such as smollm2",
        )
    return tokenizer.encode(render(tokenizer.template, tokenizer.name, text), special=True)
