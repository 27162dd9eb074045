"""How a lesson stands in its panel: broken code, keys in words, and what is brought into view."""

from pathlib import Path

import pytest
from rich.text import Text

from tui.course.expressions import Expression
from tui.course.lint import lint
from tui.course.measuring import follows
from tui.course.parse import parse
from tui.course.prose import wrapped
from tui.drawing.code import broken


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
    parts = list(broken(line, width))
    assert "".join("".join(parts).replace("↪", "").split()) == "".join(line.split())
    assert all(len(part) <= max(width, 41) for part in parts)
    assert parts[0].rstrip() == line[: len(parts[0])].rstrip()
    assert all(part.lstrip().startswith("↪ ") for part in parts[1:])


def test_a_string_in_code_is_broken_only_where_it_has_no_room() -> None:
    line = 'effective(model="model1-trained", prompt="I prefer oat milk in") < 10'
    parts = [part.strip() for part in broken(line, 34, mark="")]
    assert parts == ['effective(model="model1-trained",', 'prompt="I prefer oat milk in")', "< 10"]
    parts = [part.strip() for part in broken('f("a long text of many words")', 20)]
    assert parts == ["f(", '↪ "a long text of', '↪ many words")']


@pytest.mark.parametrize("width", range(8, 40, 3))
def test_a_quoted_token_is_not_broken_at_its_own_spaces(width: int) -> None:
    text = 'the token " milk" after "oat " and “ my” or " " is likelier than "two words" here'
    lines = [line.plain for line in wrapped(Text(text), width)]
    assert " ".join("".join(line).strip() for line in lines).split() == text.split()
    assert all(any(token in line for line in lines) for token in ('" milk"', '"oat "', "“ my”", '" "'))


def mistakes(body: str) -> list[str]:
    lesson = parse(f"---\ntitle: T\n---\n## S\n{body}\n", Path("01-first.md"))
    return [each.text for each in lint([lesson])]


def test_a_key_in_the_words_of_a_directive_must_exist() -> None:
    task = "```{{task}}\nDo it.\ncheck: tokens > 2\nhint: Press {{key}}`{id}`.\nsolution: walk.step\n```"
    assert mistakes(task.format(id="walk.step")) == []
    assert "walk.stop" in mistakes(task.format(id="walk.stpo"))[0]


@pytest.mark.parametrize("body", ["```{set}\nkeys: o\n```", "```{task}\nDo.\ncheck: u < 1\nsolution: o*2 x\n```"])
def test_the_usual_key_of_an_action_is_refused_as_a_person_may_have_another(body: str) -> None:
    assert [text.partition(": ")[2] for text in mistakes(body)] == [
        "name its action, lens.turn, as a person may have another key for it"
    ]


def test_a_measurement_in_the_words_of_a_directive_is_refused() -> None:
    assert "prose" in mistakes("```{press} walk.step\nNow {{ tokens }}.\n```")[0]
    assert mistakes("Now {{ tokens }}.\n\n```{press} walk.step\n```") == []


@pytest.mark.parametrize(
    ("text", "follow"),
    [
        ("sampled_entropy_bits", True),
        ("generated + 1", True),
        ('logit(" my")', True),
        ('logit(" my", prompt="I like")', False),
        ('entropy_bits(model="model1-trained")', False),
        ('world_loss("model3-trained")', False),
        ("log(825)", False),
    ],
)
def test_a_value_of_the_walk_follows_it(text: str, follow: bool) -> None:
    assert follows(Expression(text, 1)) is follow
