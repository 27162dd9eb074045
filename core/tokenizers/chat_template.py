"""A model's chat template, rendered in a process of its own, within limits of time, memory and length."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.errors import Option, UserError, filled
from core.formats.text import well_formed
from core.language import N_, _

TIME_LIMIT = 5.0
"""Seconds that rendering may take."""
EXTRA_CHARACTERS = 1_000_000
"""Limit of the rendered text, beyond four times the messages."""
LIMITS = {
    "memory": N_("it needs too much memory"),
    "length": N_("its text has more than {longest:,} characters"),
}
"""The limits that `template_process` names, in words: that process does not know the language."""
_CONTINUED = "\ue002continued\ue003"
"""Stands at the end of a message that is to be continued; the rendered text ends there."""


@dataclass(frozen=True)
class ChatTemplate:
    """The program that turns messages into the text a model was trained on, as its files hold it."""

    source: str
    """Jinja2."""
    tokens: Mapping[str, str]
    """Texts of special tokens by the names that the template uses, such as `bos_token`."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    """`system`, `user`, `assistant` or `tool`; a template may refuse some."""
    content: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered conversation."""

    text: str
    skeleton: str | None
    """The same with `placeholder(i)` for the content of message i; None where the template does not render that."""


def placeholder(number: int) -> str:
    """What stands for the content of a message in a skeleton."""
    return f"\ue000{number}\ue001"


def render(
    template: ChatTemplate,
    name: str,
    messages: Sequence[Message],
    *,
    add_generation_prompt: bool = True,
    continue_final: bool = False,
) -> Rendered:
    """The chat template of the model `name` rendered with `messages`, as transformers does.

    `add_generation_prompt` adds the beginning of an answer. `continue_final` ends the text within the last message.
    Raises `UserError` where the template fails or exceeds the limits of time, memory or length.
    """
    turns = [Message(each.role, well_formed(each.content)) for each in messages]
    if continue_final:
        turns[-1] = Message(turns[-1].role, turns[-1].content + _CONTINUED)
    hollow = [Message(each.role, placeholder(number)) for number, each in enumerate(turns)]
    common = {"tools": None, "documents": None, "add_generation_prompt": add_generation_prompt and not continue_final}
    request = {
        "template": template.source,
        "values": {
            key: {**template.tokens, **common, "messages": [asdict(each) for each in turns_of]}
            for key, turns_of in (("text", turns), ("skeleton", hollow))
        },
        "longest": 4 * sum(len(each.content) for each in turns) + EXTRA_CHARACTERS,
    }
    answer = _run(json.dumps(request), name)
    text, skeleton = answer["text"], answer.get("skeleton")
    if continue_final:
        if _CONTINUED not in text:
            raise UserError(
                _(
                    "the chat template of {name} leaves out the message that is to be continued; start a new "
                    "conversation"
                ),
                name=name,
            )
        text = text[: text.rindex(_CONTINUED)]
        last = placeholder(len(turns) - 1)
        skeleton = skeleton[: skeleton.rindex(last) + len(last)] if skeleton and last in skeleton else None
    return Rendered(text, skeleton)


@lru_cache(maxsize=8)
def _run(request: str, name: str) -> dict[str, Any]:
    command = [sys.executable, "-I", str(Path(__file__).with_name("template_process.py"))]
    source = _("the chat template of {name}").format(name=name)
    advice = filled(_("leave out {chat}, or choose another model"), {"chat": Option("chat")})
    try:
        finished = subprocess.run(command, input=request.encode(), capture_output=True, timeout=TIME_LIMIT, check=True)
        answer = json.loads(finished.stdout)
    except subprocess.TimeoutExpired:
        raise UserError(
            _("{source} did not end within {time_limit:g} seconds; {advice}"),
            source=source,
            time_limit=TIME_LIMIT,
            advice=advice,
        ) from None
    except (subprocess.CalledProcessError, OSError, ValueError) as error:
        raise UserError(
            _("{source} made the process that runs it end; {advice}"), source=source, advice=advice
        ) from error
    if "text" not in answer:
        problem = answer.get("problem") or _(LIMITS[answer["limit"]]).format(longest=json.loads(request)["longest"])
        raise UserError(_("{source} fails ({problem}); {advice}"), source=source, problem=problem, advice=advice)
    return answer
