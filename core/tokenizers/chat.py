"""Owns chat: what a model's own template makes of a prompt, and the ids of that. Needs no torch."""

import json
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from core.errors import Option, UserError
from core.tokenizers.template import Template
from core.tokenizers.tokenizer import Tokenizer, well_formed

PATIENCE = 5.0
"""Seconds a template may take."""
ROOM = 1_000_000
"""Characters a template may add to four times its prompt."""


def encode(words: Tokenizer, text: str, *, special: bool = False, chat: bool = False) -> list[int]:
    """Ids of a prompt, or, for `chat`, of what the model's template makes of it, in which special tokens are tokens.

    Raises `UserError` where there is no template, or where it fails, never ends or makes too much.
    """
    if not chat:
        return words.encode(text, special=special)
    if words.template is None:
        raise UserError(
            f"{words.name} has no chat template; leave out ",
            Option("chat"),
            ", or choose a model made for chat, such as smollm2",
        )
    return words.encode(render(words.template, words.name, text), special=True)


def render(template: Template, name: str, text: str) -> str:
    """A message of the user as the model was trained to read it, up to where its answer begins."""
    text = well_formed(text)
    values = {"messages": [{"role": "user", "content": text}], "add_generation_prompt": True, **template.tokens}
    return _run(json.dumps({"template": template.source, "values": values, "longest": 4 * len(text) + ROOM}), name)


@lru_cache(maxsize=8)
def _run(request: str, name: str) -> str:
    command = [sys.executable, "-I", str(Path(__file__).with_name("templating.py"))]
    blame = f"the chat template of {name}"
    advice = ("; leave out ", Option("chat"), ", or get the model from its makers")
    try:
        done = subprocess.run(command, input=request.encode(), capture_output=True, timeout=PATIENCE, check=True)
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise UserError(f"{blame} did not end within {PATIENCE:g} seconds", *advice) from None
    except (subprocess.CalledProcessError, OSError, ValueError) as error:
        raise UserError(f"{blame} took its process down", *advice) from error
    if "text" not in answer:
        raise UserError(f"{blame} fails ({answer['problem']})", *advice)
    return answer["text"]
