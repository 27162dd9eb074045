"""Reads a lesson: Markdown by markdown-it, directives by `directives`. All mistakes of a file are collected."""

import re
from collections.abc import Iterator
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from core.errors import UserError
from core.language import _
from tui import texts
from tui.course.directives import DIRECTIVES, NEEDS
from tui.course.expressions import BadExpression, Expression, tree_of
from tui.course.lesson import FIRST_VALUE, Block, Code, Lesson, Mistake, Prose, Step

NAME = re.compile(r"(\d{1,3})-[^/]+")
"""The name of a lesson's file, without its ending."""
MOST_VALUES = 1000
"""Values in the prose of one block."""
_VALUE = re.compile(r"\{\{(?P<value>.*?)\}\}|\{(?P<role>[a-z]*)\}`(?P<argument>[^`]*)`")
_RESERVED = re.compile("[\ue000-\uf8ff]")
_FORMAT = re.compile(r"(?P<text>(?:\"[^\"]*\"|'[^']*'|[^|])*)(?:\|\s*(?P<format>.*))?", re.DOTALL)
_DIRECTIVE = re.compile(r"\{(?P<name>[^}]*)\}\s*(?P<arguments>.*)")

_markdown = MarkdownIt("commonmark", {"html": False}).enable("table")


def read(file: Path) -> Lesson:
    """The lesson of a file. Raises `UserError` where the file cannot be read."""
    return parse(texts.read_text_file(str(file)), file)


def parse(text: str, file: Path) -> Lesson:
    """The lesson that a text describes. What is wrong in it becomes the lesson's `mistakes`."""
    return _Reader(text, file).lesson()


def tokens(text: str) -> list[Token]:
    """The tokens of Markdown prose."""
    return _markdown.parse(text)


class _Reader:
    def __init__(self, text: str, file: Path) -> None:
        self._lines = _RESERVED.sub("\ufffd", text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")).split(
            "\n"
        )
        self._file = file
        self._mistakes: list[Mistake] = []

    def lesson(self) -> Lesson:
        head, start = self._head()
        steps = tuple(self._steps(start))
        number = NAME.fullmatch(self._file.stem)
        if number is None:
            self._mistake(1, _("the name of a lesson begins with its number, such as 03-embedding.md"))
        if not head.get("title"):
            self._mistake(1, _("there is no title; begin with ---, title: …, ---"))
        if not steps:
            self._mistake(start + 1, _("there is no step; a line such as ## Look begins one"))
        minutes = head.get("minutes", "")
        if minutes and not minutes.isdecimal():
            self._mistake(1, _("minutes must be a whole number, not {value!r}").format(value=minutes))
        return Lesson(
            self._file,
            int(number[1]) if number else 0,
            head.get("title") or self._file.stem,
            steps,
            head.get("source", ""),
            int(minutes) if minutes.isdecimal() and len(minutes) < 5 else None,
            tuple(sorted(self._mistakes, key=lambda each: each.line)),
        )

    def _mistake(self, line: int, text: str) -> None:
        self._mistakes.append(Mistake(self._file, line, text))

    def _head(self) -> tuple[dict[str, str], int]:
        """The values between the first lines `---`, and the number of the line after them, from 0."""
        if self._lines[0].strip() != "---":
            return {}, 0
        end = next((at for at, line in enumerate(self._lines[1:], 1) if line.strip() == "---"), None)
        if end is None:
            self._mistake(1, _("the head has no closing ---"))
            return {}, 1
        values = {}
        for at, line in enumerate(self._lines[1:end], 2):
            name, colon, value = line.partition(":")
            if line.strip() and (not colon or name.strip() not in ("title", "source", "minutes")):
                self._mistake(at, _("{line!r}: the head has title, source and minutes").format(line=line.strip()))
            values[name.strip()] = value.strip()
        return values, end + 1

    # Steps -----------------------------------------------------------------------------------------------------------

    def _steps(self, start: int) -> Iterator[Step]:
        """The parts of the file from line `start` on; what stands before the first heading is a mistake."""
        text = "\n" * start + "\n".join(self._lines[start:])
        found = [token for token in tokens(text) if token.map]
        title, line, blocks = "", 0, list[Block]()
        top = [token for token in found if token.level == 0]
        self._refuse_nested(found)
        inline = {token.map[0]: token.content for token in found if token.type == "inline" and token.map}
        prose: list[Token] = []
        for token in top:
            assert token.map is not None
            if token.type != "fence" and not (token.type == "heading_open" and token.tag in ("h1", "h2")):
                prose.append(token)
                continue
            blocks += self._prose(prose)
            prose = []
            if token.type == "fence":
                blocks += self._fence(token, blocks)
                continue
            if line:
                yield Step(title, line, tuple(blocks))
            elif blocks:
                self._before_first(blocks)
            title, line, blocks = inline.get(token.map[0], "").strip(), token.map[0] + 1, []
            if token.tag == "h1":
                self._mistake(line, _("a step begins with ##, and the title of the lesson stands in the head"))
        blocks += self._prose(prose)
        if line:
            yield Step(title, line, tuple(blocks))
        elif blocks:
            self._before_first(blocks)

    def _before_first(self, blocks: list[Block]) -> None:
        self._mistake(blocks[0].line, _("this stands before the first step; a line such as ## Look begins one"))

    def _refuse_nested(self, found: list[Token]) -> None:
        for token in found:
            if token.type == "fence" and token.level and token.info.startswith("{") and token.map:
                self._mistake(
                    token.map[0] + 1, _("a directive stands at the beginning of a line, not in a list or quote")
                )

    def _prose(self, parts: list[Token]) -> list[Block]:
        """The block of consecutive parts of prose; none where there are none."""
        if not parts:
            return []
        first, last = (parts[0].map or [0, 0])[0], (parts[-1].map or [0, 0])[1]
        lines, values = [], list[Expression | str]()
        for at in range(first, last):
            lines.append(_VALUE.sub(lambda match: self._value(match, at + 1, values), self._lines[at]))  # noqa: B023
        return [Prose(first + 1, "\n".join(lines), tuple(values))]

    def _value(self, match: re.Match[str], line: int, values: list[Expression | str]) -> str:
        """The character that stands for a measurement or a key in prose."""
        if len(values) >= MOST_VALUES:
            return ""
        if match["value"] is not None:
            expression = self._expression(match["value"], line)
            if expression is None:
                return "?"
            values.append(expression)
        elif match["role"] == "key":
            values.append(match["argument"].strip())
        else:
            self._mistake(
                line, _("there is no role {role!r}; {{key}}`walk.step` shows a key").format(role=match["role"])
            )
            return match["argument"]
        return chr(FIRST_VALUE + len(values) - 1)

    def _expression(self, text: str, line: int) -> Expression | None:
        match = _FORMAT.fullmatch(text.strip())
        assert match is not None
        return self.expression(match["text"].strip(), line, (match["format"] or "").strip())

    # What directives use ---------------------------------------------------------------------------------------------

    def expression(self, text: str, line: int, spec: str = "") -> Expression | None:
        """An expression; None where it is wrong, which becomes a mistake."""
        try:
            tree_of(text)
        except BadExpression as error:
            self._mistake(line, str(error))
            return None
        return Expression(text, line, spec)

    def mistake(self, line: int, text: str) -> None:
        """Note what is wrong in a line."""
        self._mistake(line, text)

    def _fence(self, token: Token, before: list[Block]) -> list[Block]:
        assert token.map is not None
        line, info = token.map[0] + 1, token.info.strip()
        closed = token.map[1] <= len(self._lines) and self._lines[token.map[1] - 1].strip().startswith(token.markup)
        if not closed or token.map[1] - token.map[0] < 2:
            self._mistake(line, _("this block has no closing {fence}").format(fence=token.markup))
        if match := _DIRECTIVE.fullmatch(info):
            name = match["name"]
            if name not in DIRECTIVES:
                names = ", ".join(DIRECTIVES)
                self._mistake(
                    line, _("there is no directive {name!r}; choose from {names}").format(name=name, names=names)
                )
                return []
            if not match["arguments"] and name in NEEDS:
                self._mistake(line, _("{{{name}}} needs {what}").format(name=name, what=_(NEEDS[name])))
                return []
            body = [(line + 1 + at, each) for at, each in enumerate(token.content.split("\n")) if each.strip()]
            block = DIRECTIVES[name](line, match["arguments"].split(), body, self)
            return [block] if block else []
        if info == "python":
            return [Code(line, token.content)]
        if info == "output":
            if before and isinstance(last := before[-1], Code) and last.output is None:
                before[-1] = Code(last.line, last.source, token.content, line)
            else:
                self._mistake(line, _("an output stands after the python block that prints it"))
            return []
        text = _RESERVED.sub("\ufffd", "\n".join(self._lines[token.map[0] : token.map[1]]))
        return [Prose(line, text)]


def listed(folder: Path) -> list[Path]:
    """The files of lessons in a folder, in order. Raises `UserError` where the folder cannot be read."""
    try:
        files = sorted(each for each in folder.iterdir() if each.suffix == ".md" and each.stem[:1].isdigit())
    except OSError as error:
        raise UserError(_("{folder} cannot be read: {reason}").format(folder=folder, reason=error.strerror)) from error
    return files[:MOST_VALUES]
