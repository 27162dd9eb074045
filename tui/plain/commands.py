"""What a key or a word does in plain lines. Most keys are those of the app, and are given to it."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from textual.actions import parse
from textual.binding import Binding
from textual.keys import KEY_ALIASES, Keys
from textual.screen import Screen

from core.errors import Action, UserError
from core.language import _
from tui import lenses
from tui.course.keys import event
from tui.drawing.spoken import spoken
from tui.following.screen import FollowScreen
from tui.keys import FOLLOW, GROUPS, WALK, key_name
from tui.plain import words
from tui.plain.lenses import keys_line
from tui.screens.help import described

if TYPE_CHECKING:
    from tui.plain.desk import Desk

PANELS = {
    "prompt": words.prompt_lines,
    "tokens": words.tokens_lines,
    "next": words.chart_lines,
    "text": words.text_lines,
    "status": words.status_lines,
}
"""What is read by F1 to F5, by its name, or one after the other by tab."""
READ, LESSON = "f6", "f7"
TABS = ("tab", "shift+tab")
"""Keys that go from panel to panel, and on another screen from one of its lists to the next."""
NAMES = {"escape": "escape", "pagedown": "page down", "pageup": "page up"}
"""Keys whose name is not their sign."""
ARROWS = ("enter", "up", "down", "left", "right", "home", "end", "tab")


class Commands:
    """Acts on one key or word after the other."""

    def __init__(self, desk: "Desk") -> None:
        self._desk, self._app = desk, desk.app
        self._bindings = FOLLOW if isinstance(self._app.walk, FollowScreen) else WALK
        remapped = self._app.settings.keys
        self._keys = {each.id: remapped.get(each.id or "", each.key).split(",") for each in self._bindings}
        self._panel = -1
        self._own: dict[str, Callable[[], None]] = {
            READ: self.read,
            "read": self.read,
            LESSON: self.lesson,
            "lesson": self.lesson,
            "tab": lambda: self.panel((self._panel + 1) % len(PANELS)),
            "shift+tab": lambda: self.panel((self._panel - 1) % len(PANELS)),
            **{f"f{number + 1}": lambda number=number: self.panel(number) for number in range(len(PANELS))},  # type: ignore[misc]
            **{name: lambda number=number: self.panel(number) for number, name in enumerate(PANELS)},  # type: ignore[misc]
        }

    async def take(self, name: str) -> None:
        """Act on a key, or on a word: a panel, a lens, or the id of a key. Raises `UserError` for another."""
        if name in ("ctrl+p", "colon"):
            if line := (await self._desk.ask(_("a command")) or "").strip():
                await self.take(line)
            else:
                self._desk.say(_("closed"))
        elif name in self._own and not (name in TABS and self._app.screen is not self._app.walk):
            self._own[name]()
        elif name in ("question_mark", "app.help") or self.id_of(name) == "app.help":
            self._desk.say_all(map(spoken, self.help()))
        elif self._app.screen is not self._app.walk:
            self._desk.press(self._key_of_screen(name))
        elif (lens := name.replace("-", "_")) in [kind.NAME for kind in lenses.found()]:
            if lens == self._app.walk.lens.NAME:
                self.read()
            else:
                self._app.turn_to(lens)
        elif key := self._key_of_lens(name):
            self._desk.reader.expect("lens.choose")
            self._desk.press(key)
        else:
            self._press(self.id_of(name) or name)

    def _press(self, id: str) -> None:
        """Press the key of an action of the walk."""
        binding = next((each for each in self._bindings if each.id == id), None)
        if binding is None:
            raise UserError(
                _("{name!r} does nothing here; {help} lists keys and commands"),
                name=id,
                help=said(self._keys["app.help"][0]),
            )
        if id.startswith("course.") and id != "course.open" and not self._app.walk.lessons.playing:
            raise self._no_lesson()
        if id in ("course.more", "course.less"):  # what was read has no pages
            lesson = self._app.walk.lesson
            lesson.scroll_to(y=lesson.max_scroll_y * (id == "course.more"), animate=False, immediate=True)
        if id == "app.quit":
            self._desk.end()
        else:
            self._desk.reader.expect(id)
            self._desk.press(self._keys[id][0])

    def _no_lesson(self) -> UserError:
        return UserError(_("no lesson is open; {course} opens the course"), course=Action("course.open"))

    def id_of(self, key: str) -> str | None:
        """The action of a key."""
        return next((id for id, keys in self._keys.items() if key in keys), None)

    def _key_of_lens(self, name: str) -> str | None:
        """A key of the lens that is shown, or where that has the keys, of none."""
        bindings = [each for each in type(self._app.walk.lens).BINDINGS if isinstance(each, Binding)]
        return next((name for each in bindings if name in each.key.split(",") and each.tooltip), None)

    def _key_of_screen(self, name: str) -> str:
        """A key of the uppermost screen, by its name or by the word for what it does."""
        for keys, words_ in screen_keys(self._app.screen):
            if name == words_:
                return keys[0]
        if event(name).is_printable or name in KEY_ALIASES or name in {key.value for key in Keys}:
            return name
        raise UserError(_("{name!r} does nothing here; {help} lists keys and commands"), name=name, help="?")

    # Reading ---------------------------------------------------------------------------------------------------------

    def panel(self, number: int) -> None:
        """Read a panel."""
        self._panel, (name, read) = number, list(PANELS.items())[number]
        self._desk.say_all(self._desk.reader.chart() if name == "next" else read(self._desk.reader.frame))
        if name == "status" and (remark := self._app.walk.remark()):
            self._desk.say(spoken(remark))

    def read(self) -> None:
        """Read the lens or the screen again, all of it."""
        self._desk.say_all(self._desk.reader.whole())

    def lesson(self) -> None:
        """Read the step of the lesson again."""
        if not self._app.walk.lessons.playing:
            raise self._no_lesson()
        self._desk.say_all(self._desk.reader.lesson())

    def help(self) -> Iterator[str]:
        """The keys that act, by group."""
        screen = self._app.screen
        if screen is not self._app.walk:
            for keys, name in screen_keys(screen):
                yield f"{_(' or ').join(map(said, keys))}: {name}"
            yield _("f6: read all again")
            return
        names = {binding.id: binding for binding in self._bindings}
        for group, ids in GROUPS.items():
            if shown := [id for id in ids if id in names]:
                yield f"{_(group)}:"
                yield from (f"{self._said(id)}: {described(names[id])}" for id in shown)
        yield _("Reading:")
        yield from filter(None, [keys_line(self._app.walk.lens)])
        yield _("f1 to f5, or tab: read a panel: {names}").format(names=", ".join(PANELS))
        yield _("f6: read the lens or the screen again; f7: the step of the lesson")
        yield _("ctrl+p: write a command: a panel, a lens or a key by its name")

    def _said(self, id: str) -> str:
        """The keys of an action as they are said; the nine keys that take a candidate are one line."""
        return _("1 to 9") if self._keys[id] == ["1"] else _(" or ").join(map(said, self._keys[id]))


def screen_keys(screen: Screen[Any]) -> Iterator[tuple[list[str], str]]:
    """The keys of a screen that act at present, and what each does in a word."""
    for binding in type(screen).BINDINGS:
        if isinstance(binding, Binding) and binding.description:
            _unused, action, parameters = parse(binding.action)
            if screen.check_action(action, parameters):
                yield binding.key.split(","), _(binding.description)


def said(key: str) -> str:
    """The name of a key as it is said, and written in a line."""
    if key == "space":
        return _("space")
    return NAMES.get(key) or (key if "+" in key or key in ARROWS else key_name(key))
