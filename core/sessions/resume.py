"""From a saved walk back to a session, with or without its model. Downloads nothing."""

from core.errors import Action, UserError, filled
from core.language import _
from core.loading import catalog, models
from core.loading.choice import ModelChoice
from core.loading.info import ModelInfo
from core.loading.model import Model
from core.loading.served.connect import connect
from core.progress import Report
from core.sessions.record import Record
from core.walk.history import WalkPosition
from core.walk.model_reader import Unavailable
from core.walk.session import Session


def model(info: ModelInfo, choice: ModelChoice | None = None, report: Report | None = None) -> Model:
    """The model that a walk was made with, or `choice` instead. Raises `UserError` if it is not on this machine.

    `report` is called with the progress of loading.
    """
    choice = choice or info.choice
    if choice is None:
        raise UserError(_("the session does not say where {name} comes from; choose a model"), name=info.name)
    check_here(choice)
    if catalog.is_served(choice.name):
        return connect(choice, report, named_by_file=True)
    return models.load_model(choice, report)


def check_here(choice: ModelChoice) -> None:
    """Raise `UserError` for a model that would have to be downloaded."""
    if not catalog.is_served(choice.name):
        catalog.check_here(choice.name)


def session(record: Record, model: Model) -> Session:
    """The walk in a model, at its saved position; nothing is read yet. Raises `UserError` for another tokenizer."""
    record.check(model.tokenizer)
    tree, end = record.tree()
    if model.info != record.model:
        tree.forget_scores()
    walk = Session(model, record.sampler, tree)
    walk.question = record.question
    walk.history.stand(WalkPosition(end, record.cursor))
    if record.patches:
        saved = [node.token for node in tree.nodes.values()]
        walk.patch(record.patches)
        if model.info == record.model:  # then the saved scores are those of the patched model
            for node, token in zip(tree.nodes.values(), saved, strict=True):
                node.token = token
            walk.history.refresh()
    return walk


def session_without_model(record: Record, error: UserError) -> Session:
    """The walk at its saved position, only to be looked at; `error` says why its model is not available."""
    text = _("{error}; the saved walk is shown; {model} chooses another model")
    reason = filled(text, {"error": error.parts, "model": Action("choose.model")})
    tree, end = record.tree()
    walk = Session(Unavailable(record.model, reason, record.patches), record.sampler, tree)
    walk.question = record.question
    walk.history.stand(WalkPosition(end, record.cursor))
    return walk
