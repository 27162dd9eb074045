"""Owns the app: which panels there are, and what each key asks of the runner. It draws nothing and computes nothing."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from textual.actions import parse
from textual.app import App, ComposeResult, SystemCommand
from textual.binding import BindingType
from textual.containers import Container
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import TextArea

from core.activations.patch import Patch
from core.errors import UserError
from core.generation import stop_conditions
from core.generation.stop_conditions import FORMS
from core.generation.token import Token
from core.loading import catalog
from core.loading.checkpoints import folders
from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from core.sessions import storage
from core.sessions.export import FORMATS, generated
from core.tokenizers.chat import encode
from core.tokenizers.tokenizer import Tokenizer
from tui import knobs, lenses, texts, themes
from tui.dialogs.choose import ChooseScreen, Entry
from tui.dialogs.line import LineScreen
from tui.dialogs.number import NumberScreen
from tui.drawing.text import one_line
from tui.keeper import Keeper
from tui.keys import LEAVE, SINGLE_KEYS, WALK, key_name
from tui.lenses.base import Lens
from tui.lenses.chart import ChartLens
from tui.lenses.continuations import ContinuationsLens
from tui.panels.footer import KeyFooter
from tui.panels.generation import GenerationPanel
from tui.panels.prompt import PromptPanel
from tui.panels.status import StatusLine
from tui.panels.tabs import TabBar
from tui.panels.tokens import TokensPanel
from tui.reports.choices import model_description
from tui.reports.sessions import session_description
from tui.runner import Frame, Operation, Runner
from tui.screens.compare import CompareScreen
from tui.screens.help import HelpScreen
from tui.screens.hyperparameters import HyperparametersScreen
from tui.screens.patch import PatchScreen
from tui.screens.train import TrainScreen
from tui.settings import Settings

if TYPE_CHECKING:
    from core.walk.session import Session

Looked = TypeVar("Looked", bound=Lens)
UNTIL_LIMIT = 500
"""Tokens after which a generation that waits for something ends all the same."""
PREVIEWED = 20_000
"""Characters of a prompt that are tokenized at each key, before the model reads them."""
TABS = {"tokens": "token ids", "slot": "next token", "generation": "generation"}


class FrameReady(Message):
    """The runner has a frame to draw."""


class TokenwalkApp(App[None]):
    """The playground."""

    TITLE = "tokenwalk"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [(0, "-tabs"), (72, "-narrow"), (110, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-short"), (20, "-tall")]
    BINDINGS = list[BindingType]((*WALK, LEAVE))

    def __init__(
        self,
        choice: ModelChoice = ModelChoice(),
        sampler: Sampler = Sampler(),
        text: str = "",
        *,
        settings: Settings = Settings(),
        count: int = 30,
        special: bool = False,
        chat: bool = False,
        problems: Iterable[str] = (),
        resume: Path | None = None,
        sessions: Path | None = None,
        runner: Callable[[Callable[[], None], float], Runner] = Runner,
    ) -> None:
        super().__init__()
        self.choice = choice
        self.sampler = sampler
        self.settings = settings
        self.count = count
        self.reading = {"special": special, "chat": chat}
        """How a prompt becomes ids."""
        self.runner = runner(self._announce, settings.fps)
        self.keeper = Keeper(sessions or storage.default_folder(), self._heard, by_itself=sessions is not None)
        """Keeps the walk by itself where it is given a folder."""
        self.runner.keeper = self.keeper
        self._resume = resume
        self._opened = 0
        self.frame = Frame()
        self._early_problems = list(problems)
        self._words: Tokenizer | None = None
        self._twins: tuple[ModelChoice | None, ModelChoice | None] = None, None
        """Where the other twin was asked for, and which that is."""
        self._until = "entropy > 4; text '.'"
        self.prompt = PromptPanel(text)
        self.tokens = TokensPanel()
        self.candidates = ChartLens()
        self.lens: Lens = self.candidates
        """The one in the slot."""
        self.slot = Container(self.candidates, id="slot")
        self._lenses: dict[type[Lens], Lens] = {ChartLens: self.candidates}
        self._known = self.prompt.text
        """What is in the prompt, as far as its changes were noticed."""
        self._unread = bool(text)
        """Whether the walk still has to take it up."""
        self._typed = 0
        """How often a person changed it."""
        self.generation = GenerationPanel()
        self.status = StatusLine()
        self.tabs = TabBar(TABS)

    # Composition -----------------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        with Container(id="desk"):
            yield self.prompt
            yield self.tabs
            yield self.slot
            yield self.tokens
            yield self.generation
        yield self.status
        yield KeyFooter()

    def on_mount(self) -> None:
        self.register_theme(themes.DARK)
        self.register_theme(themes.LIGHT)
        known = self.settings.theme in self.available_themes
        self.theme = self.settings.theme if known else themes.DARK.name
        if not known:
            self._early_problems.append(
                f"no theme {self.settings.theme!r}; choose tokenwalk-dark, tokenwalk-light or one that ctrl+p lists"
            )
        self.set_keymap(self.settings.keys)
        for page in self._pages():
            page.add_class("page")
        self._show_page(self.slot)
        (self.candidates if self.prompt.text or self._resume else self.prompt).focus()
        for problem in self._early_problems:
            self.tell(problem)
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        """Start what is heavy, once the first frame is on the screen."""
        if self._resume:
            self.runner.open(self._resume)
        else:
            self.runner.load(self.choice, self.prompt.text, self.sampler, **self.reading)
        self.runner.start()
        self.run_worker(self._load_words, thread=True, exclusive=True, group="words")

    def on_unmount(self) -> None:
        self.runner.close()

    def _pages(self) -> tuple[Widget, Widget, Widget]:
        return self.tokens, self.slot, self.generation

    def _show_page(self, page: Widget) -> None:
        """In a small terminal one panel is seen at a time."""
        for each in self._pages():
            each.set_class(each is page, "-active")
        self.tabs.active = page.id or ""

    def on_tab_bar_chosen(self, event: TabBar.Chosen) -> None:
        self._focus_panel({"tokens": self.tokens, "generation": self.generation}.get(event.page, self.lens))

    def action_focus_next(self) -> None:
        if len(self.screen_stack) > 1:
            self.screen.focus_next()
        else:
            self._focus_panel(self._neighbour(1))

    def action_focus_previous(self) -> None:
        if len(self.screen_stack) > 1:
            self.screen.focus_previous()
        else:
            self._focus_panel(self._neighbour(-1))

    def _neighbour(self, by: int) -> Widget:
        panels: list[Widget] = [self.prompt, self.tokens, self.lens, self.generation]
        at = panels.index(self.focused) if self.focused in panels else 0
        return panels[(at + by) % len(panels)]

    def _focus_panel(self, panel: Widget) -> None:
        if panel is not self.prompt:
            self._show_page(self.slot if panel is self.lens else panel)
        self.screen.set_focus(panel)
        if self.focused is not panel:  # it was behind a tab until now
            self.call_after_refresh(panel.focus)

    # From the runner to the screen -----------------------------------------------------------------------------------

    def _announce(self) -> None:
        self.post_message(FrameReady())

    def on_frame_ready(self) -> None:
        if self._link_is_busy():
            self.set_timer(0.03, self.on_frame_ready)
            return
        self.frame, problems = self.runner.take()
        if self.frame.choice:
            self.choice = self.frame.choice
        if self.frame.opened != self._opened and self.frame.snapshot:
            self._opened, self._unread = self.frame.opened, False
            self.sampler = self.frame.snapshot.sampler
            self._follow(self.frame.snapshot.prompt)
            if self.writing:
                self.action_leave()
        with self.batch_update():
            self.lens.show(self.frame)
            if over := self._over():
                over.show(self.frame)
            self._show_walk()
            self._show_status()
            self._follow_prompt()
        for problem in problems:
            self.tell(problem)

    def _over(self) -> CompareScreen | PatchScreen | TrainScreen | None:
        """The screen over the panels that has questions of its own."""
        kinds = CompareScreen | PatchScreen | TrainScreen
        return next((screen for screen in reversed(self.screen_stack) if isinstance(screen, kinds)), None)

    def _show_walk(self) -> None:
        veiled = self.lens.frame_for_panels(self.frame)
        for panel in (self.tokens, self.generation):
            panel.show(veiled)

    def _follow_prompt(self) -> None:
        """The walk may have gone to a branch with another prompt."""
        snapshot = self.frame.snapshot
        if snapshot is None:
            return
        if snapshot.prompt == self._known or snapshot.typed == self._typed > 0:
            self._unread = False
        if not self._unread and self.prompt.text == self._known != snapshot.prompt:
            self._follow(snapshot.prompt)

    def _follow(self, prompt: str) -> None:
        """Show a prompt that nobody typed now."""
        self.prompt.follow(prompt)
        self._known = self.prompt.text

    def _link_is_busy(self) -> bool:
        """Whether the terminal has not taken the last frames yet: a slow link must not delay the answer to a key."""
        writer = getattr(self._driver, "_writer_thread", None)
        queue = getattr(writer, "_queue", None)
        return queue is not None and queue.qsize() > 1

    def _show_status(self) -> None:
        self.status.show(self.frame, self.sampler, writing=self.writing)

    def tell(self, problem: str) -> None:
        """One line that says what went wrong, and how to mend it."""
        self.notify(one_line(problem), severity="warning", markup=False, timeout=8)

    @property
    def writing(self) -> bool:
        """Whether the prompt takes the keys."""
        return bool(self.screen_stack) and self.focused is self.prompt

    def on_descendant_focus(self) -> None:
        if self.screen_stack:  # the message may arrive after the last screen went
            self.query_one("#desk").set_class(self.writing, "-writing")
            if not self.writing:
                self.prompt.styles.clear_rule("display")
            self._show_status()
            self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While the prompt is written, or something is open over the panels, no single key acts."""
        if action == "leave":
            return self.writing
        return action not in SINGLE_KEYS or not (self.writing or len(self.screen_stack) > 1)

    # Writing ---------------------------------------------------------------------------------------------------------

    def _load_words(self) -> None:
        with suppress(UserError):  # the runner will tell
            self._words = catalog.tokenizer_of(self.choice)

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        text, reading = event.text_area.text, self.reading
        if text == self._known:
            return
        self._known, self._unread, self._typed = text, True, self._typed + 1
        number = self._typed

        def take_up(session: "Session") -> object:
            session.typed = number
            return session.prefill(encode(session.model.tokenizer, text, **reading), text)

        self._preview(text)
        self.runner.submit(take_up, instead_of="prompt")

    def _preview(self, text: str) -> None:
        words = self.frame.words or self._words
        if words and len(text) <= PREVIEWED and not self.reading["chat"]:  # a template takes its time
            ids = encode(words, text, **self.reading) or [words.end_of_text]
            self.tokens.preview(tuple(Token(id, words.piece(id)) for id in ids))

    def action_leave(self) -> None:
        self._focus_panel(self.lens)

    def on_prompt_panel_refused(self, event: PromptPanel.Refused) -> None:
        self.tell(f"that paste has {event.length:,} characters, more than a prompt may have; paste a part of it")

    def action_write(self) -> None:
        self.prompt.display = True  # a lens may have its place
        self.screen.set_focus(self.prompt)

    # Walking ---------------------------------------------------------------------------------------------------------

    def action_step(self) -> None:
        if self.frame.activity == "generating":
            self.runner.pause()
        else:
            self.runner.submit(lambda session: session.step())

    def action_generate(self) -> None:
        if self.frame.activity == "generating":
            self.runner.pause()
        else:
            count = self.count
            self.frame = replace(self.frame, activity="generating")  # so that the next g pauses, however soon it comes
            self.runner.submit(lambda session: session.generate(count))

    def action_until(self) -> None:
        words = f"Generate until one of these holds, separated by ; : {FORMS}."
        check = lambda line: stop_conditions.parse(stop_conditions.parts(line))  # noqa: E731
        self.push_screen(LineScreen("run until", words, self._until, check=check), self._generate_until)

    def _generate_until(self, line: str | None) -> None:
        if line is not None:
            self._until, conditions = line, stop_conditions.parse(stop_conditions.parts(line))
            count = conditions.limit or UNTIL_LIMIT
            self.frame = replace(self.frame, activity="generating")
            self.runner.submit(lambda session: session.generate(count, conditions))

    def action_continuations(self) -> None:
        """Look through their lens and sample them."""
        lens = self.look_through(ContinuationsLens)
        samples, count = lens.samples, self.count
        self.runner.submit(lambda session: session.continuations(samples, count))

    def action_pick(self, by: int) -> None:
        self.lens.move(by)

    def action_take(self) -> None:
        self.lens.choose()

    def action_take_rank(self, place: int) -> None:
        self.lens.choose(place)

    def action_vary(self, down: int, across: int) -> None:
        self.lens.adjust(down, across)

    def action_turn(self) -> None:
        self.lens.switch_view()

    def action_travel(self, by: int) -> None:
        self.runner.submit(lambda session: session.travel(session.cursor + by))

    def action_travel_home(self) -> None:
        self.runner.submit(lambda session: session.travel(1))

    def action_travel_end(self) -> None:
        self.runner.submit(lambda session: session.travel(len(session.tokens)))

    def action_take_back(self) -> None:
        self.runner.submit(lambda session: session.take_back())

    def action_redo(self) -> None:
        self.runner.submit(lambda session: session.redo())

    def action_redraw(self) -> None:
        self.runner.submit(lambda session: session.redraw())

    # What a lens wants ------------------------------------------------------------------------------------------------

    def act(self, operation: Operation, *, instead_of: str | None = None) -> None:
        """Let something be done to the walk."""
        self.runner.submit(operation, instead_of=instead_of)

    def ask(self) -> None:
        """Let be answered what the lens asks now, or the screen over it."""
        self.runner.ask((self._over() or self.lens).question())

    # Lenses ----------------------------------------------------------------------------------------------------------

    def action_lens(self, by: int) -> None:
        round = lenses.found()
        self.look_through(round[(round.index(type(self.lens)) + by) % len(round)])

    def action_look(self, name: str) -> None:
        """Turn to a lens, or from it back to the next token."""
        kind = next(lens for lens in lenses.found() if name == lens.NAME)
        self.look_through(ChartLens if isinstance(self.lens, kind) else kind)

    def look_through(self, kind: type[Looked]) -> Looked:
        """Let a lens take the slot, and the keys."""
        before = self.lens
        self.screen.set_focus(None)  # what goes behind a tab would hand the focus on, perhaps to the prompt
        self.lens = self._lenses.get(kind) or kind()
        before.display = False
        self.lens.display = True
        if kind not in self._lenses:
            self._lenses[kind] = self.lens
            self.slot.mount(self.lens)
        self.query_one("#desk").set_class(kind is not ChartLens, "-lens")
        self.tabs.rename("slot", kind.TITLE)
        self._show_page(self.slot)
        self.call_after_refresh(self._focus_lens)
        self.ask()
        self.lens.show(self.frame)
        self._show_walk()
        return cast(Looked, self.lens)

    def _focus_lens(self) -> None:
        """Give the lens the keys, as soon as it can have them."""
        self._focus_panel(self.lens)
        if self.focused is None and len(self.screen_stack) == 1:
            self.set_timer(0.01, self._focus_lens)

    def action_compare(self) -> None:
        """Open the two sides; the lens goes on where it was when they are closed."""
        self.push_screen(CompareScreen(self.frame, self.choice, self.sampler), lambda _: self.ask())

    def action_train(self) -> None:
        """Watch a rung learn; it learns on when that is closed."""
        self.push_screen(TrainScreen(self.frame, self.runner), self._take_checkpoint)
        self.call_after_refresh(self.ask)

    def _take_checkpoint(self, path: Path | None) -> None:
        self.ask()
        if path is not None:
            self._load(catalog.applicable(self.choice, folders.name(path)))

    def action_text(self) -> None:
        words = "The name of a text file; its text becomes the prompt, and every token of it is scored."
        self.push_screen(LineScreen("open a text", words, check=texts.read_text_file), self._take_text)

    def _take_text(self, name: str | None) -> None:
        if name is not None:
            self.prompt.follow(texts.read_text_file(name))
            self.look_through(next(lens for lens in lenses.found() if lens.NAME == "score"))

    # Experiments -----------------------------------------------------------------------------------------------------

    def action_experiments(self) -> None:
        self.push_screen(PatchScreen(self._patch, self.ask), lambda _: self.ask())

    def _patch(self, patches: tuple[Patch, ...]) -> None:
        self.runner.submit(lambda session: session.patch(patches))

    # Sampler ---------------------------------------------------------------------------------------------------------

    def action_temperature(self, by: int) -> None:
        self.sample_with(knobs.temperature(self.sampler, by))

    def action_top_k(self, by: int) -> None:
        self.sample_with(knobs.top_k(self.sampler, by))

    def action_top_p(self, by: int) -> None:
        self.sample_with(knobs.top_p(self.sampler, by))

    def action_min_p(self, by: int) -> None:
        self.sample_with(knobs.min_p(self.sampler, by))

    def action_seed(self) -> None:
        words = "The same seed at the same place draws the same token."
        self.push_screen(NumberScreen("seed", words, self.sampler.seed), self._take_seed)

    def _take_seed(self, seed: int | None) -> None:
        if seed is not None:
            self.sample_with(replace(self.sampler, seed=seed))

    def sample_with(self, sampler: Sampler) -> None:
        """Let tokens be drawn otherwise, from the next one on."""
        self.sampler = sampler
        self._show_status()
        self.runner.submit(lambda session: setattr(session, "sampler", sampler), interrupts=False, instead_of="sampler")

    # Model and device ------------------------------------------------------------------------------------------------

    def model_entries(self) -> list[Entry]:
        """Every model, to choose one."""
        return [
            Entry(offer.name, offer.name, model_description(offer), not offer.problem) for offer in catalog.offers()
        ]

    def action_model(self) -> None:
        self.push_screen(ChooseScreen("model", self.model_entries(), self.choice.name), self._take_model)

    def _take_model(self, name: str | None) -> None:
        if name is not None and name != self.choice.name:
            self._load(catalog.applicable(self.choice, name))

    def action_twin(self) -> None:
        """Go to the same rung before it learned, or after, and from there back."""
        before, here = self._twins
        try:
            other = before if before and here == self.choice else catalog.twin(self.choice)
        except UserError as mistake:
            self.tell(str(mistake))
            return
        if other is None:
            self.tell(f"{self.choice.name} has no twin that learned less or more; m chooses a model")
        else:
            self._twins = self.choice, other
            self._load(other)

    def action_device(self) -> None:
        model = self.frame.model
        present = f"{model.device} {model.dtype}" if model else ""
        self.push_screen(ChooseScreen("device and dtype", self.device_entries(self.choice), present), self._take_device)

    def device_entries(self, choice: ModelChoice) -> list[Entry]:
        """Every place and number format for a model, to choose one."""
        entries = []
        for info in self.frame.devices:
            memory = f"{info.memory_bytes / 2**30:.0f} GiB" if info.memory_bytes else ""
            for dtype in catalog.dtypes(choice.name, info.name) if not info.problem else ("",):
                words = info.problem or f"{info.label} · {memory}"
                entries.append(Entry(f"{info.name} {dtype}", f"{info.name} {dtype}", words, not info.problem))
        return entries

    def _take_device(self, chosen: str | None) -> None:
        if chosen is not None:
            device, dtype = chosen.split()
            self._load(replace(self.choice, device=device, dtype=dtype))

    def action_hyperparameters(self) -> None:
        if catalog.is_rung(self.choice.name):
            self.push_screen(HyperparametersScreen(self.choice, self.frame.words), self._take_hyperparameters)
        else:
            self.tell(f"{self.choice.name} has the sizes of its files; rungs can be changed: m chooses one")

    def _take_hyperparameters(self, choice: ModelChoice | None) -> None:
        if choice is not None and choice != self.choice:
            self._load(choice)

    def _load(self, choice: ModelChoice) -> None:
        self.runner.load(choice, self.prompt.text, self.sampler, **self.reading)

    # Sessions --------------------------------------------------------------------------------------------------------

    def _heard(self, words: str, problem: bool) -> None:
        """The keeper says something, on its own thread."""
        self.call_later(self.tell if problem else self._say, words)

    def _say(self, words: str) -> None:
        self.notify(one_line(words), markup=False)

    def action_save(self) -> None:
        entries = [
            Entry("save", "save", "The whole tree as a session, to go on with it later"),
            *(Entry(key, name, "The tokens of this path, with their numbers") for key, (name, *_) in FORMATS.items()),
            Entry("picture", "picture", "The screen as an SVG file"),
            Entry("copy", "copy", "The generated text, to the clipboard"),
        ]
        self.push_screen(ChooseScreen("save or export", entries, ""), self._take_save)

    def _take_save(self, chosen: str | None) -> None:
        if chosen == "picture":
            self.call_after_refresh(self.action_picture)  # without the picker
        elif chosen == "copy":
            self.action_copy_text()
        elif chosen == "save":
            self.runner.submit(self.keeper.save, interrupts=False)
        elif chosen is not None:
            self.runner.submit(lambda session: self.keeper.export(session, chosen, Path.cwd()), interrupts=False)

    def action_copy_text(self) -> None:
        text = generated(self.frame.snapshot.tokens) if self.frame.snapshot else ""
        if text:
            self.copy_to_clipboard(text)
            self._say(f"copied {len(text):,} characters")
        else:
            self.tell("nothing is generated yet; space takes a step")

    def action_open(self) -> None:
        self.run_worker(self._list_sessions, thread=True, exclusive=True, group="sessions")

    def _list_sessions(self) -> None:
        self.call_from_thread(self._offer_sessions, storage.saved_sessions(self.keeper.folder))

    def _offer_sessions(self, found: Sequence[storage.SavedSession]) -> None:
        if not found:
            self.tell(f"there is no saved session in {self.keeper.folder}; w saves one")
            return
        entries = [Entry(str(each.path), *session_description(each), not each.problem) for each in found]
        self.push_screen(ChooseScreen("sessions", entries, str(self.keeper.path)), self._take_session)

    def _take_session(self, chosen: str | None) -> None:
        if chosen is not None:
            self.runner.open(Path(chosen))

    async def action_close(self) -> None:
        """Quit by a single key, which ctrl+q does in any mood."""
        await self.action_quit()

    # Help ------------------------------------------------------------------------------------------------------------

    def action_help(self) -> None:
        keys: dict[str, list[str]] = {}
        for active in self.screen.active_bindings.values():
            keys.setdefault(active.binding.id or "", []).append(key_name(active.binding.key))
        keys["walk.take_1"] = ["1", "…", "9"]
        self.push_screen(HelpScreen(keys))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        for binding in WALK:
            if not (binding.id or "").startswith("walk.take_") or binding.id == "walk.take_back":
                action = binding.action
                yield SystemCommand(
                    binding.tooltip, f"key {self.get_key_display(binding)}", lambda action=action: self._run(action)
                )
        for lens in lenses.found()[1:]:
            yield SystemCommand(
                lens.DESCRIPTION, f"lens {lens.TITLE}", partial(self.call_later, self.action_look, lens.NAME)
            )
        yield SystemCommand("Theme", "Choose the colours", self.action_change_theme)
        yield SystemCommand("Save a picture", "Write the screen as an SVG file", self.action_picture)

    def _run(self, action: str) -> None:
        """Act, whatever the mood is."""
        _, name, parameters = parse(action)
        self.call_later(getattr(self, f"action_{name}"), *parameters)

    def action_picture(self) -> None:
        try:
            where = self.save_screenshot(path=str(Path.cwd()))
        except OSError as error:
            self.tell(f"the picture cannot be written here: {error.strerror}")
        else:
            self.notify(one_line(f"written to {where}"), markup=False)
