"""Prompts for chat models: renders the model's chat template and encodes the result."""

import json
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from core.errors import Option, UserError
from core.formats.text import well_formed
from core.tokenizers.chat_template import ChatTemplate
from core.tokenizers.tokenizer import Tokenizer

TIME_LIMIT = 5.0
"""Seconds that rendering may take."""
EXTRA_CHARACTERS = 1_000_000
"""Limit of the rendered text, beyond four times the prompt."""


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


def render(template: ChatTemplate, name: str, text: str) -> str:
    """The chat template rendered with `text` as the user's message, up to the beginning of the answer."""
    text = well_formed(text)
    values = {"messages": [{"role": "user", "content": text}], "add_generation_prompt": True, **template.tokens}
    return _run(
        json.dumps({"template": template.source, "values": values, "longest": 4 * len(text) + EXTRA_CHARACTERS}), name
    )


@lru_cache(maxsize=8)
def _run(request: str, name: str) -> str:
    command = [sys.executable, "-I", str(Path(__file__).with_name("template_process.py"))]
    source = f"the chat template of {name}"
    advice = ("; leave out ", Option("chat"), "; or choose another model")
    try:
        finished = subprocess.run(command, input=request.encode(), capture_output=True, timeout=TIME_LIMIT, check=True)
        answer = json.loads(finished.stdout)
    except subprocess.TimeoutExpired:
        raise UserError(f"{source} did not end within {TIME_LIMIT:g} seconds", *advice) from None
    except (subprocess.CalledProcessError, OSError, ValueError) as error:
        raise UserError(f"{source} ended its process", *advice) from error
    if "text" not in answer:
        raise UserError(f"{source} fails ({answer['problem']})", *advice)
    return answer["text"]
