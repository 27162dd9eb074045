"""A model's chat template, rendered in a process of its own, within limits of time, memory and length."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from core.errors import Option, UserError
from core.formats.text import well_formed

TIME_LIMIT = 5.0
"""Seconds that rendering may take."""
EXTRA_CHARACTERS = 1_000_000
"""Limit of the rendered text, beyond four times the prompt."""


@dataclass(frozen=True)
class ChatTemplate:
    """The program that turns messages into the text a model was trained on, as its files hold it."""

    source: str
    """Jinja2."""
    tokens: Mapping[str, str]
    """Texts of special tokens by the names that the template uses, such as `bos_token`."""


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
