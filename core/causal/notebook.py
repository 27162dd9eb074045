"""The lines of Python that compute an answer of a lens again, in a notebook or a script."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from core.activations.patch import Patch
from core.causal.question import CausalQuestion
from core.loading.choice import ModelChoice
from core.tokenizers.tokenizer import Tokenizer

LONGEST = 110
"""Characters of a line at most; a list of ids is wrapped."""


def notebook(
    choice: ModelChoice,
    tokenizer: Tokenizer,
    ids: Sequence[int],
    question: CausalQuestion | None,
    lens: str,
    options: Mapping[str, Any],
    patches: Sequence[Patch] = (),
) -> str:
    """Lines that load the model, ask the lens about the position after `ids`, and print the answer as a table.

    `options` are the keyword arguments of the lens; `question` is None for a lens that takes none. The prompt is its
    text where that has these ids, else the ids.
    """
    imports = {"core.activations.trace": {"step_at"}, "core.lenses": {"lens", "table"}}
    imports["core.loading.models"] = {"load_model"}
    if patches:
        imports["core.activations.apply"] = {"patched"}
    for kind in _classes((choice, question, *patches, *options.values())):
        imports.setdefault(kind.__module__, set()).add(kind.__name__)
    arguments = ", question" if question else ""
    arguments += "".join(f", {name}={code(value)}" for name, value in options.items())
    asking = f'*_, answer = lens("{lens}")(step_at(model, ids, model.sequences()){arguments})'
    within = [f"with patched(model, {code(list(patches))}):", f"    {asking}"] if patches else [asking]
    lines = (
        *(f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(imports.items())),
        "",
        f"model = load_model({code(choice)})",
        *_prompt(tokenizer, ids),
        *(_wrapped(f"question = {code(question)}") if question else ()),
        *within,
        f'print(table("{lens}")(answer))',
    )
    return "".join(f"{line}\n" for line in lines)


def code(value: Any) -> str:
    """A value as Python; of a dataclass only the fields that differ from their defaults."""
    if isinstance(value, list):
        return f"[{', '.join(map(code, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(code, value))}{',' if len(value) == 1 else ''})"
    if is_dataclass(value) and not isinstance(value, type):
        return f"{type(value).__name__}({', '.join(f'{name}={code(own)}' for name, own in _given(value))})"
    plain = isinstance(value, str) and value.isprintable() and not set(value) & set("\"'\\")
    return f'"{value}"' if plain else repr(value)


def _given(value: Any) -> list[tuple[str, Any]]:
    """The fields of a dataclass that differ from their defaults."""
    named = [(field, getattr(value, field.name)) for field in fields(value)]
    return [(field.name, own) for field, own in named if field.default is MISSING or own != field.default]


def _classes(value: Any) -> set[type]:
    """The dataclasses that `code` names."""
    if isinstance(value, list | tuple):
        return set().union(*map(_classes, value))
    if is_dataclass(value) and not isinstance(value, type):
        return {type(value)}.union(*(_classes(own) for _, own in _given(value)))
    return set()


def _prompt(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    text = tokenizer.written(ids)
    if tokenizer.encode(text) == list(ids):
        return [f"ids = model.tokenizer.encode({code(text)})"]
    return _wrapped(f"ids = {list(ids)}")


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, LONGEST, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
