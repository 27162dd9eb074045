"""The model of a shared walk, loaded here as well: it computes what no frame of the teacher holds."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from core.activations.patch import Patch
from core.errors import UserError
from core.generation.token import Token
from core.language import _
from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from core.sequences import common_prefix
from core.walk.history import WalkPosition
from core.walk.values import Snapshot
from tui.runner import Frame, Question, Runner
from tui.runner.frames import Problem

if TYPE_CHECKING:
    from core.walk.session import Session


class OwnModel:
    """A runner whose walk is made the shared one. All methods are for the screen's thread."""

    def __init__(self, choice: ModelChoice, publish: Callable[[], None], fps: float) -> None:
        self._runner = Runner(publish, fps)
        self._runner.load(choice, "", Sampler())
        self._runner.start()
        self._wanted: object = None

    def stand(self, snapshot: Snapshot, cursor: int) -> None:
        """Look at a position of the shared walk."""
        tokens, sampler, patches = snapshot.tokens, snapshot.sampler, snapshot.patches
        if self._wanted != (wanted := (tokens, cursor, sampler, patches)):
            self._wanted = wanted
            self._runner.submit(lambda session: _stand(session, tokens, cursor, sampler, patches), instead_of="stand")

    def ask(self, question: Question | None) -> None:
        """Let the frames answer a question from now on."""
        self._runner.ask(question)

    def take(self) -> tuple[Frame, list[Problem]]:
        """The newest frame, and the problems since the last one."""
        return self._runner.take()

    @property
    def at_rest(self) -> bool:
        """Whether all that was asked for is done."""
        return self._runner.at_rest

    def close(self, timeout: float) -> bool:
        """Stop; whether the thread has ended."""
        return self._runner.close(timeout)


def _stand(
    session: "Session", tokens: Sequence[Token], cursor: int, sampler: Sampler, patches: tuple[Patch, ...]
) -> Iterator[object]:
    """Let the walk be these tokens. Raises `UserError` where the model has others."""
    tokenizer = session.model.tokenizer
    kept = common_prefix(session.history.ids, [token.id for token in tokens])
    for token in tokens[kept:]:
        if token.id >= tokenizer.vocab_size or tokenizer.piece(token.id) != token.piece:
            raise UserError(_("{model} here has other tokens than the shared walk"), model=session.info.name)
    if session.patches != patches:
        session.patch(patches)
    session.sampler = sampler
    at = session.history.path[kept - 1] if kept else session.tree.root
    for token in tokens[kept:]:
        at = session.tree.child(at, token)
    session.history.stand(WalkPosition(at, cursor))
    for other in [*session.tree.root.children.values()]:
        if other is not session.history.path[0]:  # what the walk began with here
            session.tree.cut(other)
    return session.read()
