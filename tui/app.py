"""The app: settings, theme, runner, autosave and the command palette. `tui.walk` has the screen and the keys."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.text import Text
from textual import events
from textual.app import App
from textual.binding import Binding
from textual.events import AppBlur
from textual.filter import LineFilter
from textual.message import Message
from textual.screen import Screen
from textual.scrollbar import ScrollBar

from core.activations.patch import Patch
from core.errors import UserError, out_of_memory
from core.language import _, languages
from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from core.sessions import storage
from core.walk.values import PromptForm
from tui import lenses, terminal, themes
from tui.autosave import Autosave
from tui.dialogs.choose import Entry
from tui.drawing.scroll_bar import ThinScrollBar
from tui.driver import driver_class
from tui.input_order import InputOrder
from tui.keys import WALK, action, key_names
from tui.lenses.base import Lens
from tui.notices import Notices
from tui.runner import Frame, Operation, Runner
from tui.screens.palette import ALSO, Command, Palette
from tui.settings import Settings
from tui.sharing.server import Server
from tui.stylesheet import KeptStylesheet
from tui.walk.choosing import device_entries, model_entries
from tui.walk.course import CourseSource
from tui.walk.screen import WalkScreen
from tui.walk.showing import INTERVAL, Showing
from tui.walk.state import WalkState

HASTE = 0.0005
"""Seconds after which a thread must hand over the interpreter while the app ends."""
INTERRUPT_SECONDS = 2.0
"""Within which a second ctrl+c quits."""
CLOSING_SECONDS = 0.05
"""How long the screen waits for a step that is running when the app ends."""
LATE_FRAME = 0.03
"""Seconds until the next try, where a frame is not drawn yet."""
LATEST_FRAME = 0.2
"""Seconds by which the answers to keys delay a frame at most."""


class FrameReady(Message):
    """The runner has a frame to draw."""


class TokenwalkApp(App[None]):
    """The playground. Lenses and screens reach it as the `LensHost` of `tui.lenses.base`."""

    TITLE = "tokenwalk"
    CSS_PATH = Path(__file__).with_name("app.tcss")
    ENABLE_COMMAND_PALETTE = True
    BINDINGS = [
        Binding(
            "ctrl+z",
            "suspend_process",
            "suspend",
            tooltip="Suspend; fg in the shell goes on",
            show=False,
            priority=True,
        )
    ]
    HORIZONTAL_BREAKPOINTS = [(0, "-tabs"), (72, "-narrow"), (110, "-wide"), (150, "-broad"), (200, "-vast")]
    VERTICAL_BREAKPOINTS = [(0, "-short"), (20, "-tall")]

    def __init__(
        self,
        choice: ModelChoice = ModelChoice(),
        sampler: Sampler = Sampler(),
        text: str = "",
        *,
        settings: Settings = Settings(),
        count: int = 30,
        form: PromptForm = PromptForm(),
        patches: tuple[Patch, ...] = (),
        problems: Iterable[UserError | str] = (),
        resume: Path | None = None,
        sessions: Path | None = None,
        server: Server | None = None,
        course: CourseSource = CourseSource(),
        runner: Callable[[Callable[[], None], float], Runner] = Runner,
    ) -> None:
        super().__init__(driver_class=driver_class())
        self.settings = settings
        self._early_problems = list(problems)
        self._set_theme(settings.theme)
        self.stylesheet = KeptStylesheet(variables=self.get_css_variables())
        self._resume, self._patches = resume, patches
        self._undimmed = themes.Undimmed()
        self._interrupted_at = -INTERRUPT_SECONDS
        self.input_order = InputOrder(self, super().on_event)
        self.announce_input = self.input_order.announce
        """Called by the thread that reads, before it sends a key."""
        self._frame_waits_since: float | None = None
        """When the next frame was ready; None where none waits."""
        self.notices = Notices(self, settings.keys)
        self.runner = runner(self._announce, settings.fps)
        # without a folder, walks are written only when a person asks for it
        self.autosave = Autosave(
            sessions or storage.default_folder(), self._report_write, automatic=sessions is not None
        )
        self.runner.autosave, self.runner.screen_answers = self.autosave, lambda: self.input_order.answering
        ScrollBar.renderer = ThinScrollBar
        self.state = WalkState(self.runner, self.autosave, choice, sampler, count, form)
        self.state.first_start = sessions is not None and not sessions.exists()
        self._opens_course = course.at_start
        self.walk = self.new_screen(text, course)
        self.when_restored: Callable[[], None] = lambda: None
        """Called when the terminal is restored; Textual's own end comes after."""
        self._server = server
        """Where others follow the walk, if it is shared."""
        self._showing: Showing | None = None

    def new_screen(self, text: str, course: CourseSource) -> WalkScreen:
        """The screen of the walk."""
        return WalkScreen(self.state, self.notices, text, course)

    def get_default_screen(self) -> Screen[Any]:
        return self.walk

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return themes.HEAT

    def _set_theme(self, name: str) -> None:
        """Set the theme before the stylesheet is parsed, which is parsed again for another theme."""
        for theme in (themes.DARK, themes.LIGHT, themes.PROJECTOR):
            self.register_theme(theme)
        known = name in self.available_themes
        self.theme = name if known else themes.DARK.name
        if not known:
            self._early_problems.append(
                _(
                    "no theme {theme!r}; choose tokenwalk-dark, tokenwalk-light, tokenwalk-projector or one that "
                    "ctrl+p lists"
                ).format(theme=name)
            )

    def get_line_filters(self) -> Sequence[LineFilter]:
        filters = super().get_line_filters()
        return [self._undimmed, *filters] if themes.projected(self.theme) else filters

    def on_mount(self) -> None:
        self.app_resume_signal.subscribe(self, self._redraw)
        self.set_keymap(self.settings.keys)
        self.walk.set_focus(self.walk.candidates if self.walk.prompt.text or self._resume else self.walk.prompt)
        for problem in self._early_problems:
            self.notices.warn(problem)
        self.call_after_refresh(self._begin)

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.InputEvent | events.Paste) and not event.is_forwarded:
            await self.input_order.take(event)
        else:
            await super().on_event(event)

    def _begin(self) -> None:
        """The first frame is on the screen: start the runner, and act on the keys that were typed before."""
        self._start()
        self.input_order.release()

    def _start(self) -> None:
        """Start the runner."""
        if self._resume:
            self.runner.open(self._resume)
        else:
            self.state.load(self.state.choice, self.walk.prompt.text)
            if self._patches:
                self.runner.submit(lambda session: session.patch(self._patches))
        self.runner.start()
        if self._server:
            self._share(self._server)
        if self._opens_course:
            self.walk.lessons.start()
        self.run_worker(self.walk.writing_actions.load_tokenizer, thread=True, exclusive=True, group="tokenizer")

    def action_help_quit(self) -> None:
        """ctrl+c, where nothing is selected that it could copy: a second one within two seconds quits."""
        now = time.monotonic()
        if now - self._interrupted_at < INTERRUPT_SECONDS:
            self.exit()
        else:
            self._interrupted_at = now
            self.notices.inform(_("ctrl+c again quits"))

    def on_app_blur(self, event: AppBlur) -> None:
        """A page in a browser begins without focus, by Textual, and would lose the footer with it."""
        if self.is_web:
            event.prevent_default()

    def exit(self, *arguments: Any, **options: Any) -> None:
        """End the app; a model that is being loaded lets it have the interpreter more often from now on."""
        if not self.is_headless:
            sys.setswitchinterval(HASTE)
        super().exit(*arguments, **options)

    def _redraw(self, _: object) -> None:
        """The app goes on after ctrl+z; the terminal has lost its picture."""
        self.refresh(layout=True)

    def _handle_exception(self, error: Exception) -> None:
        """An error that nothing has handled. Where memory or threads are missing it becomes one line."""
        if message := out_of_memory(error):
            self.exit(
                return_code=2, message=Text(_("tokenwalk: {message}; a smaller model may fit").format(message=message))
            )
        else:
            super()._handle_exception(error)

    def _share(self, server: Server) -> None:
        """Let others follow the walk."""
        try:
            server.start()
        except UserError as error:
            self.notices.warn(error)
            return
        self._showing = Showing(server, self.walk)
        self.set_interval(INTERVAL, self._showing.look)
        self.notices.inform(
            _("this walk is shared on this machine: tokenwalk follow {address}").format(address=server.address)
        )

    @property
    def says_more(self) -> bool:
        """Whether a line is printed after the terminal is restored, such as a problem that ended the app."""
        return bool(self._exit_renderables)

    def on_unmount(self) -> None:
        self.walk.lessons.close()
        self.runner.close(0 if self.runner.empty else CLOSING_SECONDS)
        if self._server:
            self._server.close()

    # From other threads ----------------------------------------------------------------------------------------------

    def _announce(self) -> None:
        """The runner has a frame."""
        self.post_message(FrameReady())

    def _report_write(self, text: UserError | str, problem: bool) -> None:
        """Autosave has written a file, or failed."""
        self.call_later(self.notices.warn if problem else self.notices.inform, text)

    def on_frame_ready(self) -> None:
        if self._comes_later():
            self.set_timer(LATE_FRAME, self.on_frame_ready)
            return
        self._frame_waits_since = None
        frame, problems = self.runner.take()
        self.show_frame(frame)
        for problem in problems:
            self.notices.warn(problem)
        if self._showing:
            self.call_after_refresh(self._showing.look)

    def _comes_later(self) -> bool:
        """Whether the answer to a key is drawn before the next frame: the terminal takes it, or the screen makes it."""
        if terminal.is_behind(self):
            return True
        now = time.monotonic()
        self._frame_waits_since = self._frame_waits_since or now
        waits = self.state.frame.activity == "generating" and self.input_order.answering
        return waits and now < self._frame_waits_since + LATEST_FRAME

    def show_frame(self, frame: Frame) -> None:
        """Draw a frame."""
        with self.batch_update():
            self.walk.show(frame)

    # What lenses and screens may ask for -----------------------------------------------------------------------------

    def act(self, operation: Operation, *, instead_of: str | None = None) -> None:
        """Queue an operation on the walk."""
        self.runner.submit(operation, instead_of=instead_of)

    def do(self, action: str, *arguments: object) -> None:
        """Run the action of a key of the walk."""
        self.walk.action_do(action, arguments)

    def ask(self) -> None:
        """Put the question of the lens, or of the screen over it, to the runner."""
        self.walk.ask()

    def redraw(self) -> None:
        """Draw the tokens and the generated text again, as far as the lens lets them be seen."""
        self.walk.show_walk(self.state.frame)

    def turn_to(self, name: str) -> Lens:
        """Show the lens with a name."""
        return self.walk.lens_keys.turn_to(lenses.named(name))

    @property
    def sampler(self) -> Sampler:
        """The sampler as it was asked for last."""
        return self.state.sampler

    def sample_with(self, sampler: Sampler) -> None:
        """Draw tokens by `sampler` from the next one on."""
        self.walk.sampling.use(sampler)

    def model_entries(self) -> list[Entry]:
        """Every model that can be loaded."""
        return model_entries()

    def device_entries(self, choice: ModelChoice) -> list[Entry]:
        """Every device and dtype for a model."""
        return device_entries(choice, self.state.frame.devices)

    def spell(self, problem: UserError | str) -> str:
        """A problem in one line, with the keys that are bound at present."""
        return self.notices.spell(problem)

    def inform(self, text: UserError | str) -> None:
        """Show a line over the panels."""
        self.notices.inform(text)

    # Command palette -------------------------------------------------------------------------------------------------

    def commands(self) -> Iterator[Command]:
        """Every action and every lens by name."""
        for binding in WALK:
            if not (binding.id or "").startswith("walk.take_") or binding.id == "walk.take_back":
                yield self._command(binding, _(ALSO.get(binding.id or "", "")))
        keys = self.walk.lens_names()
        for lens in lenses.found()[1:]:
            title, run = f"{_(lens.TITLE)} · {_(lens.DESCRIPTION)}", action(f"lens.look({lens.NAME!r})")
            also = " · ".join((_("lens"), _(lens.ALSO)))
            yield Command(title, partial(self._run_later, run), keys.get(lens.NAME, ""), also)
        yield self._theme_command()
        told = _("--lang {names} at the start; language in config.toml keeps it").format(names="|".join(languages()))
        inform = self.notices.inform
        yield Command(f"{_('Language')} · English · Tiếng Việt", partial(inform, told), also=told)
        told = _("--share at the start; tokenwalk follow ADDRESS looks on, tokenwalk serve shows it in a browser")
        yield Command(_("Share the walk"), partial(inform, told), also=told)
        yield Command(_("Save a picture"), self.walk.sessions.picture, also=_("Write the screen as an SVG file"))

    def _command(self, binding: Binding, also: str = "") -> Command:
        run = partial(self._run_later, binding.action)
        return Command(_(binding.tooltip), run, key_names(binding, self.settings.keys), also)

    def _theme_command(self) -> Command:
        return Command(_("Theme"), self.action_change_theme, also=_("Choose the colors"))

    def action_command_palette(self) -> None:
        self._choose(_("commands"), tuple(self.commands()), _("Search for commands…"))

    def search_themes(self) -> None:
        names = sorted(self.available_themes, key=lambda name: (not name.startswith("tokenwalk"), name))
        themes = [Command(name, partial(setattr, self, "theme", name)) for name in names]
        self._choose(_("themes"), themes, _("Search for themes…"), present=str(names.index(self.theme)))

    def _choose(self, title: str, commands: Sequence[Command], placeholder: str, present: str = "") -> None:
        def run(number: str | None) -> None:
            if number is not None:
                commands[int(number)].run()

        if not isinstance(self.screen, Palette):
            self.push_screen(Palette(title, commands, placeholder, present), run)

    def _run_later(self, action: str) -> None:
        """Act on the walk screen after the palette has closed, also where its key does not act now."""
        self.call_later(self.walk.run_command, action)
