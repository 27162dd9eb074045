"""Names of models on the Hugging Face Hub with a revision: `owner/name@step1000`. Needs no torch.

A revision is a branch, a tag or a commit of the model's repository; Pythia has one for each training checkpoint.
"""

import re

from core.errors import Option, UserError
from core.language import _

ALIASES = {"smollm2": "HuggingFaceTB/SmolLM2-135M-Instruct", "gpt2": "openai-community/gpt2"}
"""Short names → ids of the Hub."""
HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
REVISION = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")
MAIN = "main"
"""The revision of a name without one."""


def split(name: str) -> tuple[str, str] | None:
    """The id and the revision that a name means; None where it is no name of the Hub.

    Raises `UserError` for a revision that cannot be one.
    """
    base, at, revision = name.partition("@")
    id = ALIASES.get(base, base)
    if not HUB_ID.fullmatch(id):
        return None
    if at and not REVISION.fullmatch(revision):
        raise UserError(
            _(
                "{name}: {revision!r} is not a revision (allowed: letters, digits and . - _ /); write one such as "
                "{base}@step1000"
            ),
            name=name,
            revision=revision,
            base=base,
        )
    return id, revision or MAIN


def joined(id: str, revision: str) -> str:
    """The name of an id at a revision."""
    return id if revision == MAIN else f"{id}@{revision}"


def with_revision(name: str, revision: str | None, option: str = "revision") -> str:
    """`name` at the revision that `option` gives.

    Raises `UserError` where the name has a revision already, or means no model of the Hub.
    """
    if revision is None:
        return name
    if "@" in name:
        raise UserError(_("{name} has a revision already; leave out {option}"), name=name, option=Option(option))
    if split(name) is None:
        raise UserError(
            _("{option} {revision}: {name} has no revisions; choose a model of the Hugging Face Hub (owner/name)"),
            option=Option(option),
            revision=revision,
            name=name,
        )
    found = split(f"{name}@{revision}")
    return name if found and found[1] == MAIN else f"{name}@{revision}"
