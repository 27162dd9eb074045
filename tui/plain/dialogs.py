"""Dialogs and forms in words: what they ask is read from their widgets, and a line that is written fills them in."""

import re
from collections.abc import Iterator
from typing import Any

from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Checkbox, Input, Label, OptionList, Static, TextArea
from textual.widgets.option_list import Option

from core.errors import UserError
from core.language import _
from tui import lenses
from tui.course.keys import event
from tui.dialogs.models import ModelsScreen
from tui.dialogs.notebook import NotebookScreen
from tui.drawing.cursor_list import MARK
from tui.drawing.spoken import spoken
from tui.drawing.text import bytes_text, one_line, printed
from tui.plain.spoken_app import Spoken
from tui.screens.help import HelpScreen
from tui.screens.patch import PatchScreen
from tui.screens.recipe_fields import ValueSelector
from tui.screens.steering import SteeringScreen

KEYED = (NotebookScreen, HelpScreen, PatchScreen, SteeringScreen)
"""Screens with widgets for text or choices, on which single keys act all the same."""
FIELDS = (Input, TextArea, Checkbox, ValueSelector)
EMPTY = '""'
"""What is written for an empty text; an empty line takes what is there."""


class Question:
    """What a screen asks for in a line of text."""

    several = False
    """Whether the text may have several lines."""

    def __init__(self, app: Spoken, screen: Screen[Any]) -> None:
        self.app, self.screen = app, screen

    def lines(self) -> Iterator[str]:
        """The question."""
        raise NotImplementedError

    def problems(self) -> Iterator[str]:
        """What is said when it is asked again, since the text before did not answer it."""
        yield from self.lines()

    async def take(self, text: str | None) -> None:
        """Answer it; None leaves it. Raises `UserError` for a text that is no answer."""
        if text is None or text in ("escape", "\x1b"):
            self.press("escape")
        else:
            await self.answer(text)

    async def answer(self, text: str) -> None:
        raise NotImplementedError

    def press(self, key: str) -> None:
        """Let a key of the app act."""
        self.app.post_message(event(key))


class Prompt(Question):
    """The prompt of the walk, or a message of a conversation."""

    several = True

    def lines(self) -> Iterator[str]:
        prompt = self.app.walk.prompt
        name = spoken(str(prompt.border_title or ""))
        yield from printed(prompt.text).split("\n") if prompt.text else ()
        yield (
            _("{name}; a line that ends with \\ goes on in the next one; an empty line keeps what is there:")
            if prompt.text
            else _("{name}; a line that ends with \\ goes on in the next one:")
        ).format(name=name)

    async def answer(self, text: str) -> None:
        if text:
            self.app.walk.prompt.follow("" if text == EMPTY else text)
            await self.app.delivered()
        self.press("enter")


class OneLine(Question):
    """A dialog with one field; where it has a list too, the number of an entry chooses that."""

    def __init__(self, app: Spoken, screen: Screen[Any], field: Input) -> None:
        super().__init__(app, screen)
        self._field, self._list = field, next(iter(screen.query(OptionList)), None)

    def lines(self) -> Iterator[str]:
        yield title_of(self.screen)
        yield from texts_of(self.screen)
        yield from self.entries()
        yield self._ask()

    def problems(self) -> Iterator[str]:
        yield from texts_of(self.screen, ".problem")
        yield from self.entries()
        yield self._ask()

    def entries(self) -> Iterator[str]:
        """The entries of its list."""
        yield from entries_of(self._list)

    def _ask(self) -> str:
        if self._list is not None:
            return _("a number, or what to look for; escape leaves:")
        if self._field.value:
            return _('now {value}; an empty line keeps it, "" is an empty text, escape leaves:').format(
                value=self._field.value
            )
        return _("a line; escape leaves:")

    async def answer(self, text: str) -> None:
        if self._list is not None and text.isdecimal():
            choose(self._list, text)
            return
        if text:
            _fill(self._field, "" if text == EMPTY else text)
            await self.app.delivered()
        self.press("enter")


class Model(OneLine):
    """The choice of a model, whose list has no room for all words of a model."""

    screen: ModelsScreen

    def entries(self) -> Iterator[str]:
        for number, row in enumerate(self.screen.rows, start=1):
            offer = row.offer
            parts = [
                offer.name,
                offer.family,
                "" if offer.size_bytes is None else bytes_text(offer.size_bytes),
                _("at present") if offer.name == self.screen.present else "",
                offer.problem or "",
            ]
            yield f"{number}  " + ", ".join(spoken(one_line(str(part))) for part in parts if part)


class Choice(Question):
    """A list, of which one entry is chosen by its number or its name."""

    def __init__(self, app: Spoken, screen: Screen[Any], found: OptionList) -> None:
        super().__init__(app, screen)
        self._list = found

    def lines(self) -> Iterator[str]:
        yield title_of(self.screen)
        yield from texts_of(self.screen)
        yield from entries_of(self._list)
        yield _("a number or a name; escape leaves:")

    async def answer(self, text: str) -> None:
        if text:
            choose(self._list, text)
        else:
            self.press("enter")


class Form(Question):
    """Several fields: `name=value` changes one, an empty line accepts all."""

    def lines(self) -> Iterator[str]:
        yield title_of(self.screen)
        yield from (f"{number}  {self._field(field)}" for number, field in enumerate(self.fields(), start=1))
        yield from texts_of(self.screen)
        yield _("name=value or number=value changes a field, an empty line accepts, escape leaves:")

    def problems(self) -> Iterator[str]:
        yield from texts_of(self.screen)

    def fields(self) -> list[Widget]:
        """Those that can be changed, in order."""
        return [each for each in self.screen.query("*") if isinstance(each, FIELDS) and not each.disabled]

    def _field(self, field: Widget) -> str:
        value = value_of(field)
        hints = [str(each.content) for each in _labels(field)[1:]]
        values = _("; between two lines") if isinstance(field, TextArea) else ""
        if isinstance(field, ValueSelector):
            values = _("one of {values}").format(values=", ".join(field.values))
        return ", ".join(filter(None, (f"{name_of(field)}: {value or _('empty')}", values, *map(spoken, hints))))

    async def answer(self, text: str) -> None:
        if not text:
            await self._accept()
            return
        name, equals, value = text.partition("=")
        field = self._named(name.strip())
        if not equals or field is None:
            raise UserError(_("{text!r} changes no field; write name=value, such as 1={value}"), text=text, value="...")
        _fill(field, "" if value.strip() == EMPTY else value.strip())
        await self.app.delivered()
        self.app.say(self._field(field))

    def _named(self, name: str) -> Widget | None:
        fields = self.fields()
        if name.isdecimal() and 1 <= int(name) <= len(fields):
            return fields[int(name) - 1]
        names = [name_of(field).lower() for field in fields]
        exact = next((n for n, each in enumerate(names) if each == name.lower()), None)
        at = exact if exact is not None else next((n for n, e in enumerate(names) if e.startswith(name.lower())), None)
        return None if at is None else fields[at]

    async def _accept(self) -> None:
        """Enter in the last field of text, which every form takes as its end."""
        last = next(field for field in reversed(self.fields()) if isinstance(field, Input))
        last.focus()
        await self.app.delivered()
        self.press("enter")


def question(app: Spoken) -> Question | None:
    """What the uppermost screen asks for; None where single keys act."""
    screen = app.screen
    if screen is app.walk:
        return Prompt(app, screen) if app.walk.writing else None
    fields = [each for each in screen.query("*") if isinstance(each, FIELDS) and each.display]
    lists = list(screen.query(OptionList))
    if isinstance(screen, KEYED) or not (fields or lists):
        return None
    if len(fields) == 1 and isinstance(fields[0], Input):
        return (Model if isinstance(screen, ModelsScreen) else OneLine)(app, screen, fields[0])
    return Form(app, screen) if fields else Choice(app, screen, lists[0])


# Widgets in words ----------------------------------------------------------------------------------------------------


def title_of(screen: Screen[Any]) -> str:
    """What stands in the border of a dialog."""
    dialog = next(iter(screen.query(".dialog")), None)
    return spoken(str(dialog.border_title or "")) if dialog else ""


def keys_of(screen: Screen[Any]) -> str:
    """The keys that the lower border of a dialog names, without those that scroll what is read at once."""
    dialog = next(iter(screen.query(".dialog")), None)
    keys = str(dialog.border_subtitle or "").split(" · ") if dialog else []
    scrolled = () if screen.query(OptionList) else ("↑↓",)
    return re.sub(r"\besc\b", "escape", spoken(" · ".join(key for key in keys if not key.startswith(scrolled))))


def texts_of(screen: Screen[Any], selector: str = "*") -> Iterator[str]:
    """The lines of text of a dialog that are seen, without those that scroll, which are pictures."""
    for each in screen.query(selector):
        if not isinstance(each, Static) or isinstance(each, Label) or isinstance(each.parent, VerticalScroll):
            continue
        if each.display and "section" not in each.classes:
            yield from filter(None, map(spoken, plain_text(each.content).split("\n")))


def plain_text(content: object) -> str:
    """What a widget of text shows."""
    return content.plain if isinstance(content, Content) else str(getattr(content, "plain", content) or "")


def entries_of(found: OptionList | None) -> Iterator[str]:
    """The entries of a list, numbered; one that cannot be chosen has no number."""
    number = 0
    for option in found.options if found else ():
        number += not option.disabled
        text, start = entry_of(option), f"{number}  "
        yield text if option.disabled or text.startswith(start) else start + text  # lessons have their number


def entry_of(option: Option) -> str:
    """An entry of a list; the one that is chosen at present says so. A lens has its whole description."""
    if kind := next((kind for kind in lenses.found() if option.id == kind.NAME), None):
        return f"{_(kind.TITLE)}: {spoken(_(kind.DESCRIPTION))}"
    lines = plain_text(option.prompt).split("\n")
    text = " ".join(filter(None, (spoken(line.replace("●", "").replace("✓", "")) for line in lines)))
    marks = {"●": _("at present"), "✓": _("done")}
    return ", ".join([text, *(words for mark, words in marks.items() if lines[0].lstrip(f"{MARK} ").startswith(mark))])


def choose(found: OptionList, text: str) -> None:
    """Choose an entry by its number or its name. Raises `UserError` where there is none."""
    choices = [at for at, option in enumerate(found.options) if not option.disabled]
    if text.isdecimal() and 1 <= int(text) <= len(choices):
        at: int | None = choices[int(text) - 1]
    else:
        wanted, said = text.lower(), [entry_of(option).lower() for option in found.options]
        names = [(option.id or "").lower() for option in found.options]
        likeness = [
            (name == wanted, words.startswith(wanted), wanted in words) for name, words in zip(names, said, strict=True)
        ]
        best = max(likeness, default=(False, False, False))
        at = likeness.index(best) if any(best) else None
    if at is None or found.options[at].disabled:
        raise UserError(_("there is no entry {text!r} to choose; write its number"), text=text)
    found.highlighted = at
    found.action_select()


def _labels(field: Widget) -> list[Label]:
    """The labels beside a field: its name, then hints."""
    parent = field.parent
    return [each for each in parent.children if isinstance(each, Label)] if isinstance(parent, Widget) else []


def name_of(field: Widget) -> str:
    """The name of a field: its label, else what stands over it or in it."""
    if labels := _labels(field):
        return plain_text(labels[0].content)
    if isinstance(field, Checkbox):
        return plain_text(field.label)
    siblings = list(field.parent.children) if isinstance(field.parent, Widget) else []
    above = siblings[siblings.index(field) - 1] if siblings.index(field) else None
    return plain_text(above.content) if isinstance(above, Static) else ""


def value_of(field: Widget) -> str:
    """The value of a field."""
    if isinstance(field, TextArea):
        return "; ".join(field.text.split("\n"))
    if isinstance(field, Checkbox):
        return _("on") if field.value else _("off")
    value = getattr(field, "value", "")
    return str(value or getattr(field, "placeholder", ""))


def _fill(field: Widget, value: str) -> None:
    """Give a field another value. Raises `UserError` where it cannot have that."""
    if isinstance(field, ValueSelector):
        if value not in field.values:
            raise UserError(_("{value!r} is none of {values}"), value=value, values=", ".join(field.values))
        field.action_select(field.values.index(value) - field.values.index(field.value))
    elif isinstance(field, Checkbox):
        field.value = value.lower() in ("1", "on", "yes", "true", _("on"), _("yes"))
    elif isinstance(field, TextArea):
        field.text = "\n".join(part.strip() for part in value.split(";"))
    elif isinstance(field, Input):
        if field.restrict and not re.fullmatch(field.restrict, value):
            raise UserError(_("{value!r} is not the number that is asked for"), value=value)
        field.value = value
