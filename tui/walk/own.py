"""What of the screen belongs to a person's own walk while the course is open."""

from dataclasses import dataclass

from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from core.walk.values import PromptForm
from tui.lenses.base import Lens
from tui.screens.steering_list import Steering
from tui.walk.state import WalkState


@dataclass(frozen=True, slots=True)
class Own:
    """The settings of a walk that is put aside."""

    lens: type[Lens]
    count: int
    vectors: tuple[Steering, ...]
    sampler: Sampler
    form: PromptForm
    choice: ModelChoice

    @classmethod
    def of(cls, state: WalkState, lens: Lens) -> "Own":
        """Those of the walk that is shown."""
        return cls(type(lens), state.count, state.vectors, state.sampler, state.form, state.choice)

    def restore(self, state: WalkState) -> None:
        """Go on with the walk that was put aside."""
        state.runner.watch(None)
        state.runner.come_back(self.choice, self.sampler)
        state.count, state.vectors, state.sampler, state.form = self.count, self.vectors, self.sampler, self.form
