"""What the walk screen and its actions share: the runner, its newest frame, and what a person has chosen."""

from dataclasses import dataclass, field

from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from tui.autosave import Autosave
from tui.runner import Frame, Runner


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
    special: bool = False
    """Whether a prompt's `<|endoftext|>` and the like become single tokens."""
    chat: bool = False
    """Whether a prompt is put into the model's chat template."""
    frame: Frame = field(default_factory=Frame)

    def load(self, choice: ModelChoice, prompt: str) -> None:
        """Load a model; the walk goes on in it, or starts from the prompt."""
        self.runner.load(choice, prompt, self.sampler, special=self.special, chat=self.chat)
