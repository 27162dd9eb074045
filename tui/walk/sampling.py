"""Actions that set the sampler."""

from collections.abc import Callable
from dataclasses import replace

from core.language import _
from core.sampling import constraint
from core.sampling.sampler import PRESETS, Sampler
from tui import knobs
from tui.dialogs.choose import ChooseScreen, Entry
from tui.dialogs.line import LineScreen
from tui.dialogs.number import NumberScreen
from tui.screens.samplers import SamplersScreen
from tui.walk.group import ActionGroup
from tui.walk.panels import PanelsScreen


class Sampling(ActionGroup):
    """Each acts from the next token on, also while tokens are generated. `ask` puts the question of the lens."""

    def __init__(self, screen: PanelsScreen, ask: Callable[[], None]) -> None:
        super().__init__(screen)
        self._ask = ask
        self._constraint = "regex [a-z ]+\\."
        """The line that was given last."""

    def temperature(self, by: int) -> None:
        """Raise or lower the temperature."""
        self._turn("temperature", by)

    def top_k(self, by: int) -> None:
        """Raise or lower top-k."""
        self._turn("top_k", by)

    def top_p(self, by: int) -> None:
        """Raise or lower top-p."""
        self._turn("top_p", by)

    def min_p(self, by: int) -> None:
        """Raise or lower min-p."""
        self._turn("min_p", by)

    def _turn(self, name: str, by: int) -> None:
        """Turn the first knob of a stage, or say why that changes nothing."""
        before, model = self.state.sampler, self.state.frame.model
        after = knobs.turned(before, name, by, model.vocab_size if model else None)
        if after != before:
            self.use(after)
        if idle := knobs.idle(before, after, name, by):
            self.notices.inform(idle)

    def constraint(self) -> None:
        """Ask what the text after the cursor must match; an empty line lifts the constraint."""
        words = _("What the text from here on must match: {forms}. An empty line lifts it.").format(
            forms=_(constraint.FORMS)
        )
        dialog = LineScreen(_("constraint"), words, self._constraint, check=constraint.parse)

        def use(line: str | None) -> None:
            if line is not None:
                self._constraint, snapshot = line, self.state.frame.snapshot
                start = max(0, snapshot.cursor - snapshot.prompt_length) if snapshot else 0
                self.use(constraint.constrained(self.state.sampler, constraint.parse(line, start)))

        self.open_dialog(dialog, use)

    def seed(self) -> None:
        """Ask for the seed."""
        text = _("The same seed at the same place draws the same token.")
        self.open_dialog(NumberScreen(_("seed"), text, self.state.sampler.seed), self._use_seed)

    def _use_seed(self, seed: int | None) -> None:
        if seed is not None:
            self.use(replace(self.state.sampler, seed=seed))
            if self.state.sampler.greedy:
                self.notices.inform(knobs.greedy(_("the seed")))

    def preset(self) -> None:
        """Choose a sampler by its name."""
        entries = [Entry(name, name, text) for name, text in PRESETS.items()]
        active = self.state.sampler.active  # a stage that changes nothing makes no difference
        present = next((name for name in PRESETS if Sampler.read(name).active == active), "")
        self.open_dialog(ChooseScreen(_("sampler"), entries, present), self._use_preset)

    def _use_preset(self, name: str | None) -> None:
        if name is not None:
            self.use(Sampler.read(name, self.state.sampler.seed))

    def side_by_side(self) -> None:
        """Compare five samplers; one of them may become that of the walk."""
        self.open_dialog(SamplersScreen(self.state.frame, self.state.sampler.seed), self._use_column)

    def _use_column(self, sampler: Sampler | None) -> None:
        if sampler is not None:
            self.use(sampler)
        self._ask()

    def use(self, sampler: Sampler) -> None:
        """Draw tokens by `sampler`."""
        self.state.sampler = sampler
        self.screen.show_status()
        self.submit(lambda session: setattr(session, "sampler", sampler), interrupts=False, instead_of="sampler")
