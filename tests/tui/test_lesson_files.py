"""Lessons as files: what a parsed lesson holds, what the linter says, and what an expression may not do."""

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len

from core.language import languages
from tui.course import library, lint, parse
from tui.course.expressions import BadExpression, Expression, check, evaluate, tree_of
from tui.course.lesson import Claim, Code, Difference, Lesson, Press, Prose, Question, Set, Task
from tui.course.measurements import MEASUREMENTS, signatures

HEAD = "---\ntitle: A first look\nminutes: 2\n---\n\n"
WHOLE = """## Look

H is {{ entropy_bits | .2f }}; press {key}`walk.step`.

```{set}
model: model5-trained
prompt: I prefer oat milk in
```

```{press} walk.step 2
```

```{claim}
It is nearly sure:
entropy_bits < 1
rank(top(1)) == 1
```

```{task}
Draw.
check: generated >= 3
hint: a key
that is long
solution: walk.step*2 "a b" space
```

## Ask

```{question}
Which?
- [ ] this
- [x] that
why: so
```

```{difference} model2-trained model3-trained
```

```python
print(1)
```

```output
1
```
"""


@pytest.fixture
def lesson() -> Callable[[str], Lesson]:
    return lambda body: parse.parse(HEAD + body, Path("01-first.md"))


def mistakes(lesson: Lesson) -> list[str]:
    return [f"{each.line}: {each.text}" for each in lint.lint([lesson])]


def test_a_lesson_has_the_blocks_of_its_steps_in_order(lesson: Callable[[str], Lesson]) -> None:
    found = lesson(WHOLE)
    assert mistakes(found) == []
    assert (found.number, found.title, found.minutes) == (1, "A first look", 2)
    look, ask = found.steps
    assert [type(block) for block in look.blocks] == [Prose, Set, Press, Claim, Task]
    assert [type(block) for block in ask.blocks] == [Question, Difference, Code]
    prose, setting, press, claim, task = look.blocks
    assert prose.values == (Expression("entropy_bits", 8, ".2f"), "walk.step")
    assert dict(setting.values) == {"model": "model5-trained", "prompt": "I prefer oat milk in"}
    assert (press.action, press.count) == ("walk.step", 2)
    assert (claim.text, [each.text for each in claim.conditions]) == (
        "It is nearly sure:",
        ["entropy_bits < 1", "rank(top(1)) == 1"],
    )
    assert task.hints == ("a key that is long",)
    assert task.solution == ("walk.step*2", '"a b"', "space")
    question, difference, code = ask.blocks
    assert (question.answers, question.right, question.why) == (("this", "that"), {1}, "so")
    assert (difference.before, difference.after) == ("model2-trained", "model3-trained")
    assert (code.source, code.output) == ("print(1)\n", "1\n")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("Text first.\n", "before the first step"),
        ("## A\n```{clam}\nx\n```\n", "there is no directive 'clam'"),
        ("## A\n```{claim}\nentropy_bits <\n```\n", "is no expression"),
        ("## A\n```{claim}\nentropy < 1\n```\n", "there is no measurement 'entropy'"),
        ("## A\n```{claim}\nprobability() < 1\n```\n", "missing a required argument: 'token'"),
        ("## A\n```{set}\nmodel: gpt9\n```\n", "there is no model 'gpt9'"),
        ("## A\n```{set}\nmodel: http://10.0.0.1/\n```\n", "there is no model"),
        ("## A\n```{set}\nlens: nothing\n```\n", "there is no lens 'nothing'"),
        ("## A\n```{set}\nsampler: top_k=many\n```\n", "not a whole number"),
        ("## A\n```{set}\ncolour: red\n```\n", "'colour' cannot be set"),
        ("## A\n```{press} walk.hop\n```\n", "there is no action 'walk.hop'"),
        ("## A\n```{press}\n```\n", "needs the id of an action"),
        ("## A\n```{task}\nDo.\ncheck: u < 1\n```\n", "the task has no solution"),
        ("## A\n```{task}\nDo.\ncheck: u < 1\nsolution: spase\n```\n", "no key or action 'spase'"),
        ("## A\n```{question}\nWhich?\n- [ ] a\n- [ ] b\n```\n", "[x] for a right one"),
        ("## A\n```{difference} model1\n```\n", "names two models"),
        ("## A\n```python\nif\n```\n", "this is no Python"),
        ("## A\n```output\n1\n```\n", "after the python block"),
        ("## A\n{{ 1 + }}\n", "is no expression"),
        ("## A\n{file}`x`\n", "there is no role 'file'"),
        ("## A\n- a\n\n  ```{press} walk.step\n  ```\n", "not in a list"),
        ("## A\n```{claim}\nu < 1\n", "has no closing ```"),
        ("", "there is no step"),
    ],
)
def test_the_linter_names_what_is_wrong(lesson: Callable[[str], Lesson], body: str, said: str) -> None:
    found = mistakes(lesson(body))
    assert any(said in each for each in found), found


def test_all_mistakes_are_found_at_once_with_their_lines(lesson: Callable[[str], Lesson]) -> None:
    found = mistakes(lesson("## A\n\n```{press} walk.hop\n```\n\n```{claim}\nfoo < 1\nu <\n```\n"))
    assert [int(each.partition(":")[0]) for each in found] == [8, 12, 13]


@pytest.mark.parametrize(
    "text",
    [
        "(1).real",
        "[1][0]",
        "[x for x in (1, 2)]",
        "lambda: 1",
        "f'{u}'",
        "u if u else 1",
        "probability(*(1,))",
        "probability(**u)",
        "b'x' == 1",
        "(u := 1)",
        "u\nu",
        "1" * 500,
    ],
)
def test_an_expression_has_no_other_parts_of_python(text: str) -> None:
    with pytest.raises(BadExpression):
        tree_of(text)


def test_a_name_means_a_measurement_and_nothing_else() -> None:
    with pytest.raises(BadExpression, match="no measurement '__import__'"):
        check("__import__('os')", signatures())


@pytest.mark.parametrize("text", ["9 ** 9 ** 9", "'a' * 9", "1 / 0", "2.0 ** 2000", "(1, 2) + (3,)", "-'a'", "1 < 'a'"])
def test_an_expression_that_cannot_be_computed_says_so(text: str) -> None:
    with pytest.raises(BadExpression):
        evaluate(text, lambda name, arguments, named: 1)


def test_expressions_are_those_of_python() -> None:
    known = {"u": 0.25, "n": 3}
    for text in (
        "1 + 2 * 3 == 7",
        "0 < u < 1 and not n == 4",
        "abs(-n) ** 2 == 9",
        "n in (1, 3)",
        "u > 1 or n == 3",
    ):
        assert evaluate(text, lambda name, arguments, named: known[name]) is eval(text, {}, known)


def test_every_measurement_has_words_and_arguments() -> None:
    assert all(function.__doc__ for function in MEASUREMENTS.values())
    assert str(signatures()["probability"]) == "(token, *, model=None, prompt=None)"


def test_a_translation_may_differ_in_words_alone(lesson: Callable[[str], Lesson]) -> None:
    original = lesson(WHOLE)
    words = WHOLE.replace("It is nearly sure", "Gần như chắc").replace("Which?", "Cái nào?").replace("a key", "phím")
    assert list(lint.compare(lesson(words), original)) == []
    for old, new in (
        ("entropy_bits < 1", "entropy_bits < 2"),
        ("walk.step 2", "walk.step 3"),
        ("- [x] that", "- [x] that\n- [ ] more"),
        ("print(1)", "print(2)"),
        ("entropy_bits | .2f", "effective | .2f"),
        ("hint: a key\nthat is long\n", ""),
    ):
        assert len(list(lint.compare(lesson(WHOLE.replace(old, new)), original))) == 1, old


def test_a_course_falls_back_to_english(tmp_path: Path) -> None:
    for folder, names in (("en", ("01-a.md", "02-b.md")), ("vi", ("02-b.md",))):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_text(f"---\ntitle: {folder}\n---\n## S\ntext\n")
    assert [lesson.title for lesson in library.course(tmp_path, "vi").lessons] == ["en", "vi"]
    assert library.mistakes(tmp_path) == []
    (tmp_path / "vi" / "03-c.md").write_text("---\ntitle: x\n---\n## S\n")
    assert "no English lesson" in str(library.mistakes(tmp_path)[0])


@pytest.mark.parametrize("language", ["en", "vi"])
def test_the_lessons_that_come_along_are_well_formed(language: str) -> None:
    course = library.course(None, language)
    assert course.mistakes == ()
    assert [lesson.number for lesson in course.lessons] == list(range(1, 24))


@pytest.mark.parametrize("spoken", languages())
def test_the_titles_of_our_lessons_are_whole_in_a_terminal_of_140_columns(spoken: str) -> None:
    """The panel has 48 cells there, 6 of them beside the title."""
    titles = [lesson.title for lesson in library.course(None, spoken).lessons]
    assert [title for title in titles if cell_len(title) > 42] == []
