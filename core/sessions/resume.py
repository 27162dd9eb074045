"""Owns the way from a saved walk back to a session, also where its model is not here. Fetches nothing."""

from typing import Any

from core.activations.patch import Patch
from core.errors import Option, UserError
from core.loading import catalog, models
from core.loading.choice import ModelChoice
from core.loading.info import ModelInfo
from core.loading.models import Model
from core.sampling.values import Chart
from core.sessions.record import Record
from core.walk.session import Session, WalkPosition


def model(info: ModelInfo, choice: ModelChoice | None = None) -> Model:
    """The model that a walk was made with, or rather `choice`. Raises `UserError` where it is not on this machine."""
    choice = choice or info.choice
    if choice is None:
        raise UserError(f"the session does not say how to have {info.name}; choose a model")
    if not (catalog.is_rung(choice.name) or catalog.trained(choice.name) or catalog.find(choice.name)):
        raise UserError(f"{choice.name} is not on this machine; ", Option("model"), f" {choice.name} fetches it")
    return models.load_model(choice)


def session(record: Record, model: Model) -> Session:
    """The walk in a model, where it stood; `read` is still to be done. Raises `UserError` for another tokenizer."""
    record.check(model.tokenizer)
    tree, end = record.tree()
    if model.info != record.model:
        tree.forget_scores()
    walk = Session(model, record.sampler, tree)
    walk.go(WalkPosition(end, record.cursor))
    if record.patches:
        saved = [node.token for node in tree.nodes.values()]
        walk.patch(record.patches)
        if model.info == record.model:  # these are what the patched model thought
            for node, token in zip(tree.nodes.values(), saved, strict=True):
                node.token = token
            walk.refresh()
    return walk


class _Nothing:
    """Stands where weights or a cache would be; whoever asks it for anything is told why there is nothing."""

    def __init__(self, why: str) -> None:
        self._why = why

    def __getattr__(self, name: str) -> Any:
        raise UserError(self._why)

    def __bool__(self) -> bool:
        return True


class _Unread(_Nothing):
    """A prefix that nothing reads."""

    def append(self, ids: object) -> None:
        """There is nothing to remember them for."""

    def rewind(self, length: int) -> None:
        """There is nothing to forget."""

    def knows(self, position: int) -> bool:
        """Nothing waits to be read."""
        return True


class _Words(_Nothing):
    """The tokens of a walk, where there is no tokenizer."""

    def __init__(self, record: Record, why: str) -> None:
        super().__init__(why)
        self.name = record.model.tokenizer
        self.vocab_size = record.model.vocab_size
        self._pieces = {row.token.id: row.token.piece for row in record.rows}

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        if text:
            raise UserError(self._why)
        return []

    def piece(self, id: int) -> bytes:
        if id not in self._pieces:
            raise UserError(self._why)
        return self._pieces[id]

    def text(self, ids: list[int]) -> str:
        return b"".join(map(self.piece, ids)).decode("utf-8", "backslashreplace")


class SavedWalk(Session):
    """A walk whose model is not here: what was saved is shown, and nothing can be computed."""

    def __init__(self, record: Record, why: str) -> None:
        why = f"{why}; the saved walk is shown, m chooses another model"
        words: Any = _Words(record, why)
        nothing: Any = _Nothing(why)
        unread: Any = _Unread(why)
        self.record, self.why = record, why
        tree, end = record.tree()
        choice = record.model.choice or ModelChoice(name=record.model.name)
        super().__init__(Model(choice, record.model, nothing, words), record.sampler, tree, unread)
        self.go(WalkPosition(end, record.cursor))

    @property
    def patches(self) -> tuple[Patch, ...]:
        return self.record.patches

    def unscored(self) -> bool:
        return False

    def worth_keeping(self) -> bool:
        return False  # its file has all of it

    def _seen(self) -> Chart | None:
        return None

    def goes_on_in(self, model: Model) -> bool:
        try:
            self.record.check(model.tokenizer)
        except UserError:
            return False
        return True
