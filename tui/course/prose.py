"""Lays Markdown out as lines of a panel. Text of lessons is hostile: it is escaped, and never markup."""

import re
from collections.abc import Callable, Iterator, Sequence

from markdown_it.token import Token
from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from tui.course import parse
from tui.course.lesson import FIRST_VALUE
from tui.drawing.code import CONTINUED, broken
from tui.drawing.text import prose as inert

Styles = Callable[[str], Style]
"""The style of a part, such as `strong`."""
_console = Console(width=1000, color_system=None, legacy_windows=False)
_QUOTED = re.compile(r'"[^"\n]*"|“[^“”\n]*”')
GLUE = "\ue0ff"
"""Stands for a space that no line is broken at. Text of a lesson never has it: `parse` replaces such characters."""
INLINE = {"strong_open": "strong", "em_open": "emphasis", "s_open": "muted", "link_open": "link"}


def wrapped(text: Text, width: int, first: str = "", rest: str = "") -> Iterator[Text]:
    """The lines of a text in `width` cells; `first` and `rest` stand before them.

    A quoted token such as `" milk"` is not broken at the space that it begins or ends with.
    """
    whole = text.copy()
    whole.plain = _QUOTED.sub(_glued, text.plain)
    for number, line in enumerate(whole.wrap(_console, max(8, width - cell_len(rest)))):
        line.plain = line.plain.replace(GLUE, " ")
        yield Text.assemble(first if number == 0 else rest, line)


def _glued(match: re.Match[str]) -> str:
    """A quoted text whose first and last space are none to break at."""
    inner = match[0][1:-1]
    core = inner.strip(" ")
    at = inner.index(core) if core else len(inner)
    return f"{match[0][0]}{GLUE * at}{core}{GLUE * (len(inner) - at - len(core))}{match[0][-1]}"


class Markdown:
    """Makes lines of Markdown. `values` are shown in the place of the characters that stand for them."""

    def __init__(self, styles: Styles, values: Sequence[Text] = ()) -> None:
        self._style, self._values = styles, values

    def lines(self, text: str, width: int) -> Iterator[Text]:
        """The lines of a text with paragraphs, lists, tables and code; an empty one between two parts."""
        yield from self._parts(parse.tokens(text), width)

    def line(self, text: str) -> Text:
        """Text of one paragraph, without wrapping."""
        found = Text()
        for token in parse.tokens(text):
            if token.type == "inline":
                found.append_text(self._inline(token))
        return found

    def _parts(self, tokens: Sequence[Token], width: int) -> Iterator[Text]:
        at, first = 0, True
        while at < len(tokens):
            end = _end(tokens, at)
            part = list(self._part(tokens[at : end + 1], width))
            if part and not first:
                yield Text()
            yield from part
            first, at = first and not part, end + 1

    def _part(self, tokens: Sequence[Token], width: int) -> Iterator[Text]:
        head = tokens[0]
        match head.type:
            case "paragraph_open":
                yield from wrapped(self._inline(tokens[1]), width)
            case "heading_open":
                line = self._inline(tokens[1])
                line.stylize(self._style("strong"))
                yield from wrapped(line, width)
            case "fence" | "code_block":
                yield from self.code(head.content, width)
            case "bullet_list_open" | "ordered_list_open":
                yield from self._list(tokens, width)
            case "blockquote_open":
                for line in self._parts(tokens[1:-1], width - 2):
                    yield Text.assemble(("│ ", self._style("muted")), line)
            case "table_open":
                yield from self._table(tokens, width)
            case "hr":
                yield Text("─" * width, self._style("muted"))

    def code(self, source: str, width: int) -> Iterator[Text]:
        """Lines of code, which are broken where they are too wide."""
        style = self._style("code")
        for line in inert(source.rstrip("\n")).split("\n"):
            for number, part in enumerate(broken(line, max(16, width - 1))):
                text = Text(f" {part}".ljust(width), style)
                if number:
                    text.highlight_words([CONTINUED.strip()], self._style("muted"))
                yield text

    def _list(self, tokens: Sequence[Token], width: int) -> Iterator[Text]:
        number, at = int(tokens[0].attrGet("start") or 1), 1
        tight = all(token.hidden for token in tokens if token.type == "paragraph_open" and token.level == 2)
        first = True
        while at < len(tokens) - 1:
            end = _end(tokens, at)
            mark = "• " if tokens[0].type == "bullet_list_open" else f"{number}. "
            if not first and not tight:
                yield Text()
            inner = tokens[at + 1 : end]
            for line_number, line in enumerate(self._item(inner, width - len(mark))):
                lead = (mark, self._style("muted")) if line_number == 0 else " " * len(mark)
                yield Text.assemble(lead, line)
            number, at, first = number + 1, end + 1, False

    def _item(self, tokens: Sequence[Token], width: int) -> Iterator[Text]:
        at = 0
        while at < len(tokens):
            end = _end(tokens, at)
            yield from self._part(tokens[at : end + 1], width)
            at = end + 1

    def _table(self, tokens: Sequence[Token], width: int) -> Iterator[Text]:
        rows: list[list[Text]] = []
        alignments: list[str] = []
        for token in tokens:
            if token.type == "tr_open":
                rows.append([])
            elif token.type == "th_open":
                alignments.append("right" if "right" in str(token.attrGet("style")) else "left")
            elif token.type == "inline":
                rows[-1].append(self._inline(token))
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=any(cell.plain for cell in rows[0]))
        for cell, justify in zip(rows[0], alignments, strict=False):
            cell.stylize(self._style("muted"))
            table.add_column(cell, justify="right" if justify == "right" else "left")
        for row in rows[1:]:
            table.add_row(*row)
        for line in _console.render_lines(table, _console.options.update(width=width), pad=False):
            yield Text.assemble(*((segment.text, segment.style or "") for segment in line))

    def _inline(self, token: Token) -> Text:
        found, open_styles = Text(), list[str]()
        for child in token.children or ():
            if child.type in INLINE:
                open_styles.append(INLINE[child.type])
            elif child.type.endswith("_close") and open_styles:
                open_styles.pop()
            elif child.type in ("softbreak", "hardbreak"):
                found.append(" " if child.type == "softbreak" else "\n")
            elif child.type in ("text", "code_inline"):
                styles = [*open_styles, *(["code"] if child.type == "code_inline" else [])]
                style = Style.combine([Style.null(), *map(self._style, styles)])
                found.append_text(self._with_values(child.content, style))
            elif child.type == "image":
                found.append(inert(child.content), self._style("muted"))
        return found

    def _with_values(self, text: str, style: Style) -> Text:
        """Text in which each value stands in its place."""
        found = Text()
        start = 0
        for at, character in enumerate(text):
            number = ord(character) - FIRST_VALUE
            if 0 <= number < len(self._values):
                found.append(inert(text[start:at]), style)
                found.append_text(self._values[number])
                start = at + 1
        found.append(inert(text[start:]), style)
        return found


def _end(tokens: Sequence[Token], at: int) -> int:
    """The index of the token that closes the one at an index; the same for one that needs no closing."""
    depth = 0
    for number in range(at, len(tokens)):
        depth += tokens[number].nesting
        if depth == 0:
            return number
    return len(tokens) - 1
