"""Actions that set the sampler."""

from dataclasses import replace

from core.sampling.sampler import Sampler
from tui import knobs
from tui.dialogs.number import NumberScreen
from tui.walk.group import ActionGroup


class Sampling(ActionGroup):
    """Each acts from the next token on, also while tokens are generated."""

    def temperature(self, by: int) -> None:
        """Raise or lower the temperature."""
        self.use(knobs.temperature(self.state.sampler, by))

    def top_k(self, by: int) -> None:
        """Raise or lower top-k."""
        self.use(knobs.top_k(self.state.sampler, by))

    def top_p(self, by: int) -> None:
        """Raise or lower top-p."""
        self.use(knobs.top_p(self.state.sampler, by))

    def min_p(self, by: int) -> None:
        """Raise or lower min-p."""
        self.use(knobs.min_p(self.state.sampler, by))

    def seed(self) -> None:
        """Ask for the seed."""
        text = "The same seed at the same place draws the same token."
        self.open_dialog(NumberScreen("seed", text, self.state.sampler.seed), self._use_seed)

    def _use_seed(self, seed: int | None) -> None:
        if seed is not None:
            self.use(replace(self.state.sampler, seed=seed))

    def use(self, sampler: Sampler) -> None:
        """Draw tokens by `sampler`."""
        self.state.sampler = sampler
        self.screen.show_status()
        self.submit(lambda session: setattr(session, "sampler", sampler), interrupts=False, instead_of="sampler")
