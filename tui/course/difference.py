"""What changed between two models: configuration and source beside the distribution after the prompt."""

import ast
import difflib
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tui.course.lesson import Difference

if TYPE_CHECKING:
    from tui.course.measurements import Here

SHOWN = 5
"""Tokens of each side."""


@dataclass(frozen=True, slots=True)
class PartChange:
    """A part of the model whose code differs."""

    name: str
    equation: str
    """Of the second model; where it has no such part, of the first."""
    where: str
    """Module and name of the class or function."""
    lines: tuple[str, ...]
    """The lines of a diff, each with `+`, `-` or a space before it."""


@dataclass(frozen=True, slots=True)
class DifferenceView:
    """The difference of two models, A and B."""

    names: tuple[str, str]
    parameters: tuple[int, int]
    settings: tuple[tuple[str, str, str], ...]
    """Fields of the configuration that differ: name, value in A, value in B."""
    code: str
    """The line of code that makes the second model of the first; empty where these are no neighbours of the ladder."""
    parts: tuple[PartChange, ...]
    top: tuple[tuple[tuple[bytes, float], ...], tuple[tuple[bytes, float], ...]]
    """The likeliest tokens of each after the prompt, with their probabilities."""
    kl_bits: float
    """KL(A ‖ B)."""
    entropy_bits: tuple[float, float]


def difference(block: Difference, here: "Here") -> DifferenceView:
    """Compare two models after the tokens of the walk. Raises `UserError` where one cannot be loaded."""
    from core.evaluation.compare import Side, compare
    from core.lenses.ladder import differences

    names = (block.before, block.after)
    models = [here.model(name) for name in names]
    sides = [Side(here.distribution(name), model.tokenizer) for name, model in zip(names, models, strict=True)]
    found = compare(sides[0], sides[1], SHOWN)
    configs = [model.transformer.config for model in models]
    charts = (found.chart_a, found.chart_b)
    kl: Any = found.divergence.kl_ab_bits
    top_a, top_b = (tuple((each.piece, each.probability) for each in chart.candidates) for chart in charts)
    entropy_a, entropy_b = (float(chart.entropy_bits) for chart in charts)  # type: ignore[arg-type]  # models here
    return DifferenceView(
        names=names,
        parameters=(models[0].info.parameters, models[1].info.parameters),
        settings=tuple((each.name, each.before, each.after) for each in differences(*configs)),
        code=_code(*names),
        parts=_parts(here, *names),
        top=(top_a, top_b),
        kl_bits=kl,
        entropy_bits=(entropy_a, entropy_b),
    )


def _code(before: str, after: str) -> str:
    """The line of `core.loading.ladder.rungs` between two neighbouring rungs."""
    from core.loading import ladder
    from core.loading.checkpoints.folders import SUFFIX

    first, second = (name.removesuffix(SUFFIX) for name in (before, after))
    if (first, second) not in zip(ladder.NAMES, ladder.NAMES[1:], strict=False):
        return ""
    tree, code = ast.parse(inspect.getsource(ladder.rungs)), ""
    statements = tree.body[0].body if isinstance(tree.body[0], ast.FunctionDef) else []
    for statement in statements:
        if isinstance(statement, ast.Assign):
            code = ast.unparse(statement)
        elif any(isinstance(node, ast.Constant) and node.value == second for node in ast.walk(statement)):
            return code
    return ""


def _parts(here: "Here", before: str, after: str) -> tuple[PartChange, ...]:
    """The components whose source differs, in the order of the forward pass of the second model."""
    a, b = (_sources(here, name) for name in (before, after))
    changes = []
    for name in dict.fromkeys((*b, *a)):
        old, new = a.get(name), b.get(name)
        if old and new and old.code == new.code:
            continue
        lines = tuple(_diff(old.code if old else "", new.code if new else ""))
        shown = new or old
        assert shown is not None
        changes.append(PartChange(name, shown.equation, shown.where, lines))
    return tuple(changes)


def _sources(here: "Here", name: str) -> dict[str, Any]:
    """The source of each component of a model."""
    from core.lenses.flow import flow

    step = here.step(name)

    def compute() -> Any:
        answer: Any = None
        for answer in flow(step):  # noqa: B007  # the last one is complete
            pass
        return {source.component: source for source in answer.sources}

    found: dict[str, Any] = here.kept("sources", name, step.ids, compute)
    return found


def _diff(before: str, after: str) -> list[str]:
    """The lines of a unified diff without its head."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=2)
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]
