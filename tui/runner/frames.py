"""The values that go between the screen and the runner's thread: questions in, frames out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from core.engine.info import DeviceInfo
from core.errors import UserError
from core.loading.choice import ModelChoice
from core.loading.info import ModelInfo
from core.progress import Loading, Progress
from core.sampling.sampler import Sampler
from core.walk.values import PromptForm, Snapshot

if TYPE_CHECKING:
    from core.tokenizers.tokenizer import Tokenizer
    from core.training.status import TrainingStatus
    from core.walk.session import Session

Activity = Literal["idle", "loading", "reading", "generating"]
"""`reading` computes without adding tokens: a prompt is read or continuations are sampled."""
Operation = Callable[["Session"], object]
"""Acts on the session, on the runner's thread. Returns an iterator where it takes long; other jobs run between its
steps."""
Problem = UserError | str
"""What went wrong, for a person. A `UserError` may name options and actions; the screen spells them."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a lens computes from the walk. It is computed again whenever the walk changes."""

    ask: Callable[["Session"], object]
    """Returns the answer, or an iterator of better and better answers with `Progress` values between them."""
    live: bool = False
    """Whether every frame has an answer, also while tokens are generated. Then `ask` must be quick and no iterator."""


@dataclass(frozen=True, slots=True)
class WalkStart:
    """A walk that is begun beside a person's own."""

    number: int
    """From 1; frames name the walk by it."""
    choice: ModelChoice
    text: str
    sampler: Sampler
    form: PromptForm
    file: Path | None = None
    """Where the walk is kept; None keeps it nowhere."""
    goes_on: bool = False
    """Whether the walk that the file holds goes on, in place of a new one."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to a question that cannot be answered here."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Frame:
    """The whole state that the screen draws. A newer frame replaces an older one."""

    activity: Activity = "idle"
    choice: ModelChoice | None = None
    model: ModelInfo | None = None
    tokenizer: "Tokenizer | None" = None
    """That of the model; None while there is no model."""
    devices: tuple[DeviceInfo, ...] = ()
    snapshot: Snapshot | None = None
    activity_progress: Progress | None = None
    """Of the activity: positions of a prompt, or sampled continuations."""
    loading: Loading | None = None
    """What is loaded, and how far that is; None where nothing is."""
    generated: int = 0
    """Tokens sampled in the present or last generation."""
    rate: float | None = None
    """Tokens per second of that generation."""
    waiting: float | None = None
    """Seconds since the oldest request to another machine that is not answered; None where there is none."""
    latency: float | None = None
    """Seconds that the last request to another machine took; None where the model runs here."""
    question: Question | None = None
    """The question of the lens on the screen."""
    answer: object = None
    """Its answer, perhaps not the final one; a `Refusal` where there is none; None until there is one."""
    progress: Progress | None = None
    """How far the answer is, where it takes long."""
    token_values: tuple[float, ...] = ()
    """For each token that the model sees before the cursor a signed number, which tints it in the place of its
    surprisal; empty where a lens gives none."""
    training: "TrainingStatus | None" = None
    """The training, if one was started."""
    opened: int = 0
    """How many walks were opened, begun or come back to. A higher number than before brings another prompt and
    sampler."""
    begun: int = 0
    """The number that the caller gave the walk it began last; 0 for a person's own walk."""
    not_begun: int = 0
    """The number of the walk that could not be begun last; 0 for none."""
    watched: object = None
    """The newest answer to what is watched beside the lens; None until there is one."""
