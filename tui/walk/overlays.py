"""Actions that open a screen over the panels."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from core.activations.patch import Patch
from core.language import _
from core.loading import catalog
from core.loading.checkpoints import folders
from tui import lenses, texts
from tui.dialogs.line import LineScreen
from tui.keys import key_name
from tui.screens.compare import CompareScreen, SideB
from tui.screens.help import HelpScreen
from tui.screens.lens_index import LensIndex
from tui.screens.model_details import ModelDetailsScreen
from tui.screens.patch import PatchScreen
from tui.screens.samplers import SamplersScreen
from tui.screens.steering import SteeringScreen
from tui.screens.steering_list import Steering, acting
from tui.screens.train import TrainScreen
from tui.walk.choosing import Choosing
from tui.walk.group import ActionGroup
from tui.walk.lens_keys import LensKeys
from tui.walk.panels import PanelsScreen

if TYPE_CHECKING:
    from core.walk.session import Session

AskingScreen = CompareScreen | ModelDetailsScreen | PatchScreen | SamplersScreen | SteeringScreen | TrainScreen
"""The screens that have a question of their own and are drawn with every frame."""


class Overlays(ActionGroup):
    """When one is closed, the question of the lens is asked again."""

    def __init__(self, screen: PanelsScreen, ask: Callable[[], None], lens_keys: LensKeys, choosing: Choosing) -> None:
        super().__init__(screen)
        self._ask, self._lens_keys, self._choosing = ask, lens_keys, choosing

    def top(self) -> AskingScreen | None:
        """The uppermost screen with a question of its own."""
        return next((each for each in reversed(self.screen.app.screen_stack) if isinstance(each, AskingScreen)), None)

    def compare(self) -> None:
        """Compare two models, dtypes, samplers or prompts."""
        state = self.state
        self.open_dialog(CompareScreen(state.frame, state.choice, state.sampler, state.compared), self._keep_compared)

    def _keep_compared(self, b: SideB | None) -> None:
        self.state.compared = b
        self._ask()

    def train(self) -> None:
        """Watch a rung while it is trained; the training goes on when the screen is closed."""
        self.open_dialog(TrainScreen(self.state.frame, self.state.runner), self._take_checkpoint)
        self.screen.call_after_refresh(self._ask)

    def _take_checkpoint(self, path: Path | None) -> None:
        self._ask()
        if path is not None:
            self._choosing.load(catalog.applicable(self.state.choice, folders.name(path)))

    def experiments(self) -> None:
        """Patch parts of the model."""
        self.open_dialog(PatchScreen(self._patch, self._ask), lambda _: self._ask())

    def steering(self) -> None:
        """Steer the model by vectors."""
        self.open_dialog(SteeringScreen(self.state.vectors, self._steer, self._ask), lambda _: self._ask())

    def _steer(self, vectors: tuple[Steering, ...]) -> None:
        self.state.vectors, steering = vectors, acting(vectors)

        def operation(session: "Session") -> object:
            others = tuple(patch for patch in session.patches if not patch.vector)
            return None if session.patches == others + steering else session.patch(others + steering)

        self.submit(operation, instead_of="steering")

    def _patch(self, patches: tuple[Patch, ...]) -> None:
        self.submit(lambda session: session.patch(patches))

    def open_text(self) -> None:
        """Ask for a text file; its text becomes the prompt, and the lens of scores shows each token's."""
        text = _("The name of a text file; its text becomes the prompt, and every token of it is scored.")
        self.open_dialog(LineScreen(_("open a text"), text, check=texts.read_text_file), self._take_text)

    def _take_text(self, name: str | None) -> None:
        if name is not None:
            self.screen.prompt.follow(texts.read_text_file(name))
            self._lens_keys.turn_to(next(lens for lens in lenses.found() if lens.NAME == "score"))

    def lens_index(self) -> None:
        """Show the index of lenses, and turn to the one that is chosen."""
        present, begins = type(self.screen.lens), self.screen.keyed.answered_by
        self.open_dialog(LensIndex(present, self.screen.lens_names(), begins), self._take_lens)

    def _take_lens(self, name: str | None) -> None:
        if name is not None:
            self._lens_keys.turn_to(lenses.named(name))

    def model_details(self) -> None:
        """Show what the loaded model is."""
        screen = ModelDetailsScreen(self.state.frame, lambda: self.submit(operation, interrupts=False))
        app = self.screen.app

        def operation(session: "Session") -> None:
            from core.loading.details import details  # noqa: PLC0415  # it needs torch

            if session.available:
                found = details(session.model)
                app.call_later(screen.found, found)

        self.open_dialog(screen, lambda _: self._ask())

    def help(self) -> None:
        """Show every key that acts now."""
        keys: dict[str, list[str]] = {}
        for active in self.screen.active_bindings.values():
            keys.setdefault(active.binding.id or "", []).append(key_name(active.binding.key))
        if "walk.take_1" in keys:
            keys["walk.take_1"] = ["1", "…", "9"]
        self.open_dialog(HelpScreen(keys), lambda _: None)

    def quit(self) -> None:
        """End the app."""
        self.screen.app.exit()
