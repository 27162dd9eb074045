"""How a lesson stands in its panel: broken code, keys in words, and what is brought into view."""

from pathlib import Path

import pytest

from tui.course.lint import lint
from tui.course.parse import parse
from tui.course.prose import _broken


@pytest.mark.parametrize("width", [16, 33, 60])
@pytest.mark.parametrize(
    "line",
    [
        "x = 1",
        "        probabilities = torch.softmax(logits[0, -1], dim=0)",
        "from core.loading.choice import ModelChoice",
        "a" * 100,
        " " * 40 + "deep(call, of=some.name)",
        "",
    ],
)
def test_broken_code_has_the_same_characters_and_fits(line: str, width: int) -> None:
    parts = list(_broken(line, width))
    assert "".join("".join(parts).split()) == "".join(line.split())
    assert all(len(part) <= max(width, 41) for part in parts)
    assert parts[0].rstrip() == line[: len(parts[0])].rstrip()


def mistakes(body: str) -> list[str]:
    lesson = parse(f"---\ntitle: T\n---\n## S\n{body}\n", Path("01-first.md"))
    return [each.text for each in lint([lesson])]


def test_a_key_in_the_words_of_a_directive_must_exist() -> None:
    task = "```{{task}}\nDo it.\ncheck: tokens > 2\nhint: Press {{key}}`{id}`.\nsolution: space\n```"
    assert mistakes(task.format(id="walk.step")) == []
    assert "walk.stop" in mistakes(task.format(id="walk.stpo"))[0]


def test_a_measurement_in_the_words_of_a_directive_is_refused() -> None:
    assert "prose" in mistakes("```{press} walk.step\nNow {{ tokens }}.\n```")[0]
    assert mistakes("Now {{ tokens }}.\n\n```{press} walk.step\n```") == []
