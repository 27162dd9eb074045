"""The lines of a step: its prose with measured values, and the state of claims, waits, tasks and questions."""

import itertools
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from rich.cells import cell_len
from rich.text import Text

from core.errors import UserError
from core.language import _, ngettext
from tui.course.difference import DifferenceView
from tui.course.expressions import Expression, value_text
from tui.course.keys import shown as shown_key
from tui.course.lesson import FIRST_VALUE, KEY, Block, Claim, Code, Difference, Press, Prose, Question, Task
from tui.course.measuring import Reading
from tui.course.player import Player
from tui.course.prose import GLUE, Markdown, Styles, wrapped
from tui.drawing.code import broken
from tui.drawing.text import fit, label, one_line, percent, prose

DIFF_LINES = 24
"""Lines of the diff of a part that are shown at most."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the panel."""

    text: Text
    answer: int | None = None
    """The answer that a click on it gives, from 0."""
    block: int | None = None
    """The number of its block in the step; None for the title."""


class Page:
    """Draws the step that a player shows. `key_of` gives the key of an action, `spell` the words of a problem."""

    def __init__(
        self, player: Player, styles: Styles, key_of: Callable[[str], str], spell: Callable[[UserError], str]
    ) -> None:
        self._player, self._style, self._key_of, self._spell = player, styles, key_of, spell
        self._problems = ""
        """The problems that the lines have told so far: each is told once."""

    def lines(self, width: int, problem: str = "", heading: str = "") -> Iterator[Line]:
        """The lines in `width` cells, with a `heading` over the title; an empty one between two blocks."""
        if heading:
            yield from map(Line, wrapped(Text(one_line(heading), self._style("muted")), width))
        title = Markdown(self._style).line(self._player.step.title)
        title.stylize(self._style("title"))
        yield from map(Line, wrapped(title, width))
        self._problems = problem
        if problem:
            yield Line(Text())
            yield from map(Line, wrapped(Text(f"! {one_line(problem)}", self._style("wrong")), width, rest="  "))
        for number, block in enumerate(self._player.step.blocks):
            lines = [replace(line, block=number) for line in self._block(number, block, width)]
            if lines:
                yield Line(Text())
            yield from lines

    def _block(self, number: int, block: Block, width: int) -> Iterator[Line]:
        match block:
            case Prose():
                values = [self._value(each) for each in block.values]
                yield from map(Line, Markdown(self._style, values).lines(self._told(number, block), width))
            case Code():
                yield from map(Line, self._code(block, width))
            case Press():
                yield from map(Line, self._press(number, block, width))
            case Claim():
                yield from map(Line, self._claim(number, block, width))
            case Task():
                yield from map(Line, self._task(number, block, width))
            case Question():
                yield from self._question(number, block, width)
            case Difference():
                yield from map(Line, self._difference(block, width))

    def _told(self, number: int, block: Prose) -> str:
        """The paragraphs of a text; behind an open gate without those whose values are not measured yet."""
        gate = self._player.gate()
        if gate is None or number < gate:
            return block.text
        found = self._player.state.found
        missing = {
            chr(FIRST_VALUE + at)
            for at, value in enumerate(block.values)
            if isinstance(value, Expression) and value not in found
        }
        parts = block.text.split("\n\n")
        return "\n\n".join(part for part in parts if not missing.intersection(part))

    def _value(self, value: Expression | str) -> Text:
        if isinstance(value, str):
            return Text(self._key_of(value), self._style("key"))
        found = self._player.state.found.get(value)
        if isinstance(found, Reading) and not found.problem:
            return Text(prose(found.shown), self._style("value"))
        return Text("…" if found is None else "?", self._style("muted"))

    def _marked(self, mark: str, style: str, words: Text, width: int) -> Iterator[Text]:
        """Words after a mark."""
        yield from (
            Text.assemble((f"{mark} ", self._style(style)), line) if at == 0 else Text.assemble("  ", line)
            for at, line in enumerate(wrapped(words, width - 2))
        )

    def _words(self, text: str) -> Text:
        keys = [self._value(match["action"].strip()) for match in KEY.finditer(text)]
        places = map(chr, itertools.count(FIRST_VALUE))
        return Markdown(self._style, keys).line(KEY.sub(lambda _match: next(places), text))

    def _code(self, block: Code, width: int) -> Iterator[Text]:
        markdown = Markdown(self._style)
        yield from markdown.code(block.source, width)
        if block.output is not None:
            for line in markdown.code(block.output, width - 2):
                yield Text.assemble(("│ ", self._style("muted")), Text(line.plain.rstrip(), self._style("muted")))

    def _press(self, number: int, block: Press, width: int) -> Iterator[Text]:
        done, count = self._player.done(number), self._player.state.counted[number]
        words = Text()
        if block.text:
            words.append_text(self._words(block.text)).append(" ")
        else:
            words.append(_("press ") if block.count > 0 else "")
        words.append(f"{GLUE}{self._key_of(block.action)}{GLUE}", self._style("key"))
        if block.count > 1:
            words.append(f"  {min(count, block.count)}/{block.count}", self._style("muted"))
        yield from self._marked(*(("✓", "done") if done else ("○", self._gate_style(number))), words, width)

    def _gate_style(self, number: int) -> str:
        return "open" if self._player.gate() == number else "muted"

    def _claim(self, number: int, block: Claim, width: int) -> Iterator[Text]:
        if block.text:
            yield from wrapped(self._words(block.text), width)
        fails = False
        for condition in block.conditions:
            found = self._player.state.found.get(condition)
            reading = found if isinstance(found, Reading) else None
            fails |= reading is not None and not reading.holds and not reading.problem
            yield from self._condition(condition, reading, width)
        if fails:
            ways = [self._key_of(name) for name in ("course.back", "course.onward")]
            first, then = ways if self._player.at else reversed(ways)
            words = _("if you changed something: {first}, then {then} begins it anew").format(first=first, then=then)
            yield from self._marked(" ", "muted", Text(words, self._style("muted")), width)

    def _condition(self, condition: Expression, reading: Reading | None, width: int) -> Iterator[Text]:
        if reading is None:
            yield from self._written("·", "muted", condition, "muted", width)
            return
        if reading.problem:
            yield from self._written("!", "wrong", condition, "condition", width)
            yield from self._problem(reading.problem, "wrong", width)
            return
        mark, style = ("✓", "done") if reading.holds else ("✗", "wrong")
        value, words = prose(reading.shown), prose(condition.text)
        room = width - 2 - cell_len(value) - 2
        if cell_len(words) <= room:
            yield Text.assemble(
                (f"{mark} ", self._style(style)),
                (fit(words, room + 2), self._style("condition")),
                (value, self._style("value")),
            )
            return
        *lines, last = self._written(mark, style, condition, "condition", width)
        yield from lines
        if last.cell_len + 2 + cell_len(value) <= width:
            yield Text.assemble(last, (" " * (width - last.cell_len - cell_len(value)) + value, self._style("value")))
            return
        yield last
        for line in textwrap.wrap(value, max(8, width - 4)) or [""]:
            yield Text(line.rjust(width), self._style("value"))

    def _problem(self, problem: UserError, style: str, width: int) -> Iterator[Text]:
        """Why something was not measured; nothing where the page tells that already."""
        words = self._spell(problem)
        if words not in self._problems:
            self._problems += f"\n{words}"
            yield from self._marked(" ", "muted", Text(words, self._style(style)), width)

    def _written(self, mark: str, style: str, condition: Expression, words: str, width: int) -> Iterator[Text]:
        """A condition after a mark, broken as code is."""
        for number, part in enumerate(broken(prose(condition.text), max(8, width - 2), mark="")):
            lead = (f"{mark} ", self._style(style)) if number == 0 else "  "
            yield Text.assemble(lead, (part, self._style(words)))

    def _task(self, number: int, block: Task, width: int) -> Iterator[Text]:
        done = self._player.done(number)
        words = self._words(block.text)
        yield from self._marked(*(("✓", "done") if done else ("▸", self._gate_style(number))), words, width)
        shown = self._player.state.hints[number]
        for check in block.checks:
            found = self._player.state.found.get(check)
            if isinstance(found, Reading) and found.problem and not done:
                yield from self._problem(found.problem, "muted", width)
            elif isinstance(found, Reading) and found.shown:
                lines = list(self._written(" ", "muted", check, "muted", width))
                value = Text(f"  {prose(found.shown)}", self._style("value"))
                if lines[-1].cell_len + value.cell_len <= width:
                    lines[-1].append_text(value)
                else:
                    lines += wrapped(value, width, "  ", "  ")
                yield from lines
        for hint in block.hints[:shown]:
            yield from self._marked("↳", "muted", self._words(hint), width)
        if shown > len(block.hints):
            keys = "  ".join(shown_key(word, self._key_of) for word in block.solution)
            text = Text.assemble((_("solution "), self._style("muted")), (prose(keys), self._style("condition")))
            yield from self._marked("↳", "muted", text, width)

    def _question(self, number: int, block: Question, width: int) -> Iterator[Line]:
        given, done = self._player.state.answered.get(number, []), self._player.done(number)
        takes = self._player.question() == number
        mark = ("✓", "done") if done else ("?", self._gate_style(number))
        yield from map(Line, self._marked(*mark, self._words(block.text), width))
        for at, answer in enumerate(block.answers):
            right = at in block.right
            chosen = at in given
            style = "done" if chosen and right else "wrong" if chosen else "key" if takes else "muted"
            sign = "✓" if chosen and right else "✗" if chosen else f"{at + 1}"
            words = self._words(answer)
            if chosen and not right:
                words.stylize(self._style("muted"))
            for line_number, line in enumerate(wrapped(words, width - 6)):
                lead = (f" {sign} ", self._style(style)) if line_number == 0 else "   "
                yield Line(Text.assemble("  ", lead, " ", line), None if done else at)
            if chosen and not right:
                yield Line(Text(f"      {_('not this one')}", self._style("muted")))
        if done and block.why:
            yield from map(Line, self._marked(" ", "muted", self._words(block.why), width))

    # Differences -----------------------------------------------------------------------------------------------------

    def _difference(self, block: Difference, width: int) -> Iterator[Text]:
        yield Text(one_line(f"{block.before} → {block.after}"), self._style("strong"))
        found = self._player.state.found.get(block)
        if isinstance(found, Reading) and found.problem:
            yield from self._marked("!", "wrong", Text(self._spell(found.problem), self._style("wrong")), width)
        if isinstance(found, DifferenceView):
            if found.code:
                yield from Markdown(self._style).code(found.code, width)
                yield Text()
            yield from self._settings(found, width)
            yield Text()
            yield from self._distributions(found, width)
            yield from self._parts(found, width)
        elif found is None:
            yield Text("·", self._style("muted"))

    def _settings(self, view: DifferenceView, width: int) -> Iterator[Text]:
        before, after = view.parameters
        rows = [*view.settings, (_("parameters"), f"{before:,}", f"{after:,}")]
        name_width = min(max(cell_len(row[0]) for row in rows), width // 2)
        for name, old, new in rows:
            words = Text.assemble(
                (prose(old), self._style("removed")), (" → ", self._style("muted")), (prose(new), self._style("added"))
            )
            lead = Text(fit(name, name_width + 2), self._style("muted"))
            for number, line in enumerate(wrapped(words, width - name_width - 2)):
                yield Text.assemble(lead if number == 0 else " " * (name_width + 2), line)

    def _distributions(self, view: DifferenceView, width: int) -> Iterator[Text]:
        half = (width - 2) // 2
        heads = [Text(fit(one_line(name), half), self._style("muted")) for name in view.names]
        yield Text.assemble(heads[0], "  ", heads[1])
        for row in zip(*view.top, strict=False):
            cells = [
                Text.assemble(fit(label(piece), half - 8), (percent(share, 1).rjust(7), self._style("value")), " ")
                for piece, share in row
            ]
            yield Text.assemble(cells[0], "  ", cells[1])
        entropies = [fit(f"H {value:.2f} bits", half) for value in view.entropy_bits]
        yield Text("  ".join(entropies), self._style("muted"))
        value = (value_text(view.kl_bits), self._style("value"))
        yield Text.assemble(("KL(A‖B) ", self._style("muted")), value, (" bits", self._style("muted")))

    def _parts(self, view: DifferenceView, width: int) -> Iterator[Text]:
        for part in view.parts:
            yield Text()
            yield from wrapped(Text.assemble(
                (part.name, self._style("strong")), (f"  {part.equation}", self._style("muted"))
            ), width, rest="  ")  # fmt: skip
            for line in part.lines[:DIFF_LINES]:
                style = {"+": "added", "-": "removed"}.get(line[:1], "muted")
                for at in range(0, max(1, len(line)), width):
                    yield Text(prose(line[at : at + width]), self._style(style))
            if len(part.lines) > DIFF_LINES:
                rest = len(part.lines) - DIFF_LINES
                words = ngettext("… {count} more line of {where}", "… {count} more lines of {where}", rest)
                yield from wrapped(Text(words.format(count=rest, where=part.where), self._style("muted")), width)
