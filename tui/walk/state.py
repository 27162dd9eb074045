"""What the walk screen and its actions share: the runner, its newest frame, and what a person has chosen."""

from dataclasses import dataclass, field

from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from core.walk.values import PromptForm
from tui.autosave import Autosave
from tui.runner import Frame, Runner
from tui.screens.compare import SideB
from tui.screens.steering_list import Steering


@dataclass(slots=True)
class WalkState:
    """One for the app. It is used on the screen's thread alone."""

    runner: Runner
    autosave: Autosave
    choice: ModelChoice
    sampler: Sampler
    """As asked for; the frame's snapshot may still have the one before."""
    count: int = 30
    """Tokens that one run generates."""
    form: PromptForm = field(default_factory=PromptForm)
    """How the text of the prompt becomes tokens."""
    vectors: tuple[Steering, ...] = ()
    """The steering vectors that were made or loaded, and which of them act."""
    compared: SideB | None = None
    """What the walk was compared with last."""
    frame: Frame = field(default_factory=Frame)
    followers: int = 0
    """How many follow this walk, where it is shared."""
    first_start: bool = False
    """Whether no walk was ever saved on this machine."""

    def load(self, choice: ModelChoice, prompt: str) -> None:
        """Load a model; the walk goes on in it, or starts from the prompt."""
        self.runner.load(choice, prompt, self.sampler, self.form)
