"""The panels of the walk: where they stand, which one has the focus, and how a frame is drawn."""

from typing import TypeVar, cast

from textual import events
from textual.app import ComposeResult
from textual.containers import Container
from textual.screen import Screen
from textual.widget import Widget

from core.language import N_, _
from tui import lenses
from tui.course.panel import LessonPanel
from tui.keys import FOOTER, LENS_FOOTER
from tui.lenses.base import KeyWords, Lens
from tui.lenses.chart import ChartLens
from tui.notices import Notices
from tui.panels.footer import KeyFooter
from tui.panels.generation import GenerationPanel
from tui.panels.prompt import PromptPanel
from tui.panels.status import StatusLine
from tui.panels.tabs import TabBar
from tui.panels.tokens import TokensPanel
from tui.runner import Frame
from tui.walk.lens_menu import LensMenu
from tui.walk.state import WalkState

AnyLens = TypeVar("AnyLens", bound=Lens)
WELCOME = N_("See a language model think, one token at a time.")
BESIDE = 100
"""Columns of a terminal from which a lesson stands beside the panels."""
LESSON_WIDTHS = ((200, 56), (140, 48), (120, 44), (0, 36))
"""How many columns a lesson has: from so many of the terminal on, so many."""
BROAD = 150
"""Columns from which a lens stands beside the chart; not beside a lesson."""
TABS = {"tokens": N_("token ids"), "slot": N_("next token"), "generation": N_("generation")}


class PanelsScreen(Screen[None]):
    """The prompt, the tokens, a lens and the generated text, or some of them behind tabs in a small terminal.

    A change of focus happens at once, so that keys typed ahead reach the panel they were meant for.
    """

    AUTO_FOCUS = ""

    def __init__(self, state: WalkState, notices: Notices, text: str) -> None:
        super().__init__()
        self.state = state
        self.notices = notices
        self.prompt = PromptPanel(text)
        self.tokens = TokensPanel()
        self.generation = GenerationPanel()
        self.candidates = ChartLens()
        self.lens: Lens = self.candidates
        """The lens that was chosen last: the chart, or the one in the slot."""
        self.menu = LensMenu(self.lens_names)
        self.slot = Container(self.menu, id="slot")
        self._keyed: Lens = self.candidates
        """Which of the chart and the lens had the keys last."""
        self.status = StatusLine()
        self._words: dict[str, str] = {}
        """Of the footer, as they were drawn last."""
        self.footer = KeyFooter(self.footer_order, self.footer_words)
        self.tabs = TabBar({page: _(title) for page, title in TABS.items()})
        self.desk = Container(
            self.prompt, self.tabs, self.slot, self.candidates, self.tokens, self.generation, id="desk"
        )
        self.desk.add_class("-pair")
        self.lesson = LessonPanel()
        self._lenses: dict[type[Lens], Lens] = {ChartLens: self.candidates}

    def compose(self) -> ComposeResult:
        yield Container(self.desk, self.lesson, id="stage")
        yield self.status
        yield self.footer

    def on_mount(self) -> None:
        for page in self._pages():
            page.add_class("page")
        self._show_page(self.candidates)

    # The lesson ------------------------------------------------------------------------------------------------------

    def show_lesson(self, shown: bool) -> None:
        """Show the panel of the lesson beside the others, in a small terminal below them; or hide it."""
        self.set_class(shown, "-lesson")
        self.post_message(events.Resize(self.size, self.size))

    def on_resize(self, event: events.Resize) -> None:
        """Before Textual chooses the layout: the panels have what the lesson leaves them."""
        shown, (width, height) = self.has_class("-lesson"), event.size
        below = shown and width < BESIDE
        self.set_class(below, "-below")
        across = next(cells for least, cells in LESSON_WIDTHS if width >= least) if shown and not below else 0
        down = max(8, int(0.45 * height)) if below else 0
        self.lesson.styles.width, self.lesson.styles.height = across or "1fr", down or "1fr"
        layouts = self.app.HORIZONTAL_BREAKPOINTS or []
        heights = self.app.VERTICAL_BREAKPOINTS or []
        wide = [(least + across if 0 < least < BROAD else least, name) for least, name in layouts]
        never = 10 * width
        tall = [(least + down if least else 0, name) for least, name in heights]
        self.HORIZONTAL_BREAKPOINTS = [(never if shown and each[0] == BROAD else each[0], each[1]) for each in wide]
        self.VERTICAL_BREAKPOINTS = tall

    # Focus -----------------------------------------------------------------------------------------------------------

    @property
    def writing(self) -> bool:
        """Whether the prompt takes the keys."""
        return self.focused is self.prompt

    def focus_panel(self, panel: Widget) -> None:
        """Give the keys to a panel, and bring it forward where it is behind a tab."""
        self.set_focus(panel)
        self._follow_focus()

    def focus_neighbour(self, by: int) -> None:
        """Give the keys to the next panel, or to the one before."""
        panels = self.panels()
        at = panels.index(self.focused) if self.focused in panels else 0
        self.focus_panel(panels[(at + by) % len(panels)])

    def panels(self) -> list[Widget]:
        """Those that can have the keys, in order."""
        views = [self.candidates, self.lens] if self.beside else [self.lens]
        return [self.prompt, self.tokens, *views, self.generation]

    def _follow_focus(self) -> None:
        """Lay the panels out for the one that has the focus."""
        self.desk.set_class(self.writing, "-writing")
        focused = self.focused
        if focused is self.lens or focused is self.candidates:
            self._keyed = self.lens if focused is self.lens else self.candidates
            self._show_page(self.slot if self.lens is not self.candidates else self.candidates)
        elif focused in self._pages():
            self._show_page(focused)

    def _pages(self) -> tuple[Widget, ...]:
        return self.tokens, self.slot, self.candidates, self.generation

    def _show_page(self, page: Widget) -> None:
        """In a small terminal one page is seen at a time."""
        for each in self._pages():
            each.set_class(each is page, "-active")
        self.tabs.active = "slot" if page is self.candidates else page.id or ""

    def on_tab_bar_chosen(self, event: TabBar.Chosen) -> None:
        self.focus_panel({"tokens": self.tokens, "generation": self.generation}.get(event.page, self.lens))

    def on_descendant_focus(self) -> None:
        self._follow_focus()  # a click gives the focus too
        self.show_status()
        self.refresh_bindings()

    def on_chart_lens_hidden(self) -> None:
        if self.focused is self.candidates and self.lens is not self.candidates:
            self.focus_panel(self.lens)  # the terminal became too narrow for both

    # Lenses ----------------------------------------------------------------------------------------------------------

    @property
    def beside(self) -> bool:
        """Whether the lens stands beside the chart; in a smaller terminal it stands in its place."""
        return self.lens is not self.candidates and self.candidates.display

    @property
    def keyed(self) -> Lens:
        """The lens that keys change: the chart where it had the keys last and is still seen, else the chosen one."""
        if not self.beside or self.focused is self.lens:
            return self.lens
        return self.candidates if self.focused is self.candidates else self._keyed

    @property
    def picking(self) -> Lens:
        """The lens on which `↑ ↓`, `⏎` and digits act: the chart beside a lens without rows to choose."""
        return self.candidates if self.beside and not self.lens.PICKS else self.keyed

    def lens_names(self) -> dict[str, str]:
        """The keys that open a lens, by its name."""
        keys = {"branches": "lens.branches", "guess": "lens.guess", "continuations": "walk.continuations"}
        return {lens: self.notices.key_of(id) for lens, id in keys.items()}

    def forget(self, kind: type[Lens]) -> None:
        """Let a lens begin with its first view when it is shown again."""
        if kind is not ChartLens and (lens := self._lenses.pop(kind, None)):
            lens.remove()

    def turn_to(self, kind: type[AnyLens]) -> AnyLens:
        """Show a lens, and give it the keys."""
        lens = self._lenses.get(kind) or kind()
        kinds = lenses.found()
        lens.place = f"{kinds.index(kind) + 1}/{len(kinds)}" if kind in kinds[1:] else ""
        self.lens = lens
        for each in self.slot.children:
            each.display = each is lens or (each is self.menu and lens is self.candidates)
        if kind not in self._lenses:
            self._lenses[kind] = lens
            self.slot.mount(lens)
        self.desk.set_class(kind is not ChartLens, "-lens")
        self.desk.set_class(kind.BESIDE, "-pair")
        self.tabs.rename("slot", _(kind.TITLE))
        self.focus_panel(lens)
        return cast(AnyLens, lens)

    # Drawing ---------------------------------------------------------------------------------------------------------

    def show(self, frame: Frame) -> None:
        """Draw a frame."""
        self.candidates.show(frame)  # also where a lens hides it, so that a wider terminal shows it at once
        if self.lens is not self.candidates:
            self.lens.show(frame)
        self.show_walk(frame)
        self.show_status()

    def show_walk(self, frame: Frame) -> None:
        """Draw the tokens and the generated text, as far as the lens lets them be seen."""
        visible = self.lens.frame_for_panels(frame)
        self.tokens.show(visible)
        self.generation.show(visible)

    def show_status(self) -> None:
        """Draw the status line, with the sampler that was asked for last."""
        said = {"remark": self.remark(), "mode": self.mode()}
        self.status.show(self.state.frame, self.state.sampler, writing=self.writing, **said)
        self.generation.advise(*self._advice())
        if (words := self.footer_words()) != self._words:
            self._words = words
            self.footer.renew()

    def footer_order(self) -> tuple[str, ...]:
        """The ids of the keys in the footer: those of the chart, or of a lens."""
        return FOOTER if self.keyed is self.candidates else LENS_FOOTER

    def footer_words(self) -> dict[str, str]:
        """What some keys do now: in the lens that has them, and while tokens are generated."""
        needs = self.keyed.needs
        picking, keyed = (KeyWords() if each.needs else each.keys() for each in (self.picking, self.keyed))
        scroll = "" if self.picking.PICKS else _("scroll")
        lens = {
            "walk.pick_up": _(picking.move) or scroll,
            "walk.take": _(picking.choose),
            "lens.turn": _(keyed.view),
            "lens.up": _(keyed.down),
            "lens.left": _(keyed.across),
            "question.corrupt": _("corrupt prompt") if needs == "question.corrupt" else "",
        }
        run, pause = _("run"), _("pause")
        running = self.state.frame.activity == "generating"
        lens["walk.generate"] = (pause if running else run).ljust(max(len(run), len(pause)))  # keys keep their places
        return lens

    def remark(self) -> str:
        """A part of the status line: how many follow."""
        followers = self.state.followers
        return _("{count} follow").format(count=followers) if followers else ""

    def mode(self) -> str:
        """What the status line says in the place of WALK."""
        return ""

    def _advice(self) -> list[str]:
        """What the keys do in the present mode; on a first start with a welcome."""
        key = self.notices.key_of
        advice = [_(WELCOME)] if self.state.first_start else []
        if self.writing:
            return [
                *advice,
                _("{leave} begins the walk · {newline} new line").format(
                    leave=key("prompt.leave"), newline=key("prompt.newline")
                ),
            ]
        advice.append(_("{step} steps · {run} generates").format(step=key("walk.step"), run=key("walk.generate")))
        if self.state.first_start:
            names = {"course": "course.open", "index": "lens.index", "help": "app.help"}
            keys = {name: key(id) for name, id in names.items()}
            advice.append(_("{course} a course · {index} index of lenses · {help} every key").format(**keys))
        return advice
