"""Measurements inside the forward pass."""

from typing import Any

from core.errors import UserError
from core.language import _
from tui.course.measurements.here import Here, measurement

KINDS = {"previous token": "previous", "duplicate token": "duplicate", "induction": "induction"}
"""The kinds of heads, and their names in `core.causal.heads`."""


def _of(values: Any, index: int, what: str) -> Any:
    """One of several, negative numbers from the end. Raises `UserError` for one that there is not."""
    if not isinstance(index, int) or not -len(values) <= index < len(values):
        raise UserError(_("there is no {what} {index!r}; there are {count}, from 0").format(
            what=what, index=index, count=len(values)
        ))  # fmt: skip
    return values[index]


def _patterns(here: Here, model: str | None, prompt: str | None) -> Any:
    """The attention weights of each block, [h, T, T]."""
    from core.causal.heads import attention_patterns

    transformer = here.model(model).transformer
    ids = here.ids(model, prompt)[-transformer.config.context :]
    return here.kept("attention", model, ids, lambda: list(attention_patterns(transformer, ids)))


@measurement
def attention(
    here: Here, block: int, head: int, query: int, key: int, *, model: str | None = None, prompt: str | None = None
) -> float:
    """The weight that a head of a block gives from a query position to a key position, from 0."""
    pattern = _of(_of(_patterns(here, model, prompt), block, _("block")), head, _("head"))
    return float(_of(_of(pattern, query, _("position")), key, _("position")))


@measurement
def head_score(
    here: Here, kind: str, block: int, head: int, *, on: str = "random", model: str | None = None,
    prompt: str | None = None,
) -> float:  # fmt: skip
    """How much a head attends as a kind of head does, 0 to 1, on `random` repeated tokens or on the prompt."""
    from core.lenses.heads import heads

    if kind not in KINDS:
        raise UserError(_("there is no kind of head {kind!r}; choose from {names}").format(
            kind=kind, names=", ".join(KINDS)
        ))  # fmt: skip
    step = here.step(model, prompt)

    def compute() -> Any:
        *_progress, answer = heads(step, on, only="attention")  # type: ignore[arg-type]  # it refuses what is neither
        return answer

    answer = here.kept(("heads", on), model, step.ids, compute)
    return _of(_of(getattr(answer, KINDS[kind]), block, _("block")), head, _("head"))


def _stages(here: Here, position: int | None, model: str | None, prompt: str | None) -> Any:
    """The stages of the flow lens after the token of a position, from 0; without one, of the position looked at."""
    from core.activations.trace import Step
    from core.lenses.flow import flow

    step = here.step(model, prompt)
    if position is not None:
        whole = here.ids(model, prompt) if prompt or model else tuple(token.id for token in here.session.tokens)
        _of(whole, position, _("position"))
        before = whole[: position % len(whole) + 1]
        step = Step(step.model, before[-step.model.info.context :])

    def compute() -> Any:
        answer: Any = None
        for answer in flow(step):  # noqa: B007  # the last one is complete
            pass
        return answer.stages

    return here.kept("flow", model, step.ids, compute)


@measurement
def norm(here: Here, name: str, *, model: str | None = None, prompt: str | None = None) -> float:
    """The Euclidean norm of a stage of the flow lens at the last position; of `block 0` that of the stream after it."""
    stages = _stages(here, None, model, prompt)
    names = {each.name: each.norm for each in stages if each.norm is not None}
    for each in stages:
        if each.name.startswith("block ") and each.stream is not None:
            names[" ".join(each.name.split()[:2])] = each.stream
    if name not in names:
        known = ", ".join(dict.fromkeys(names))
        raise UserError(_("there is no stage {name!r}; choose from {known}").format(name=name, known=known))
    found: float = names[name]
    return found


@measurement
def value(
    here: Here, stage: str, i: int, *, position: int | None = None, model: str | None = None, prompt: str | None = None
) -> float:
    """Number i, 0 to 7, of a stage of the flow lens at the position looked at, or at another one."""
    values = {each.name: each.values for each in _stages(here, position, model, prompt) if each.values}
    if stage not in values:
        known = ", ".join(values)
        raise UserError(_("there is no stage {name!r}; choose from {known}").format(name=stage, known=known))
    return float(_of(values[stage], i, _("number")))


@measurement
def loss(here: Here, *, model: str | None = None, prompt: str | None = None) -> float:
    """The mean of -ln p over the tokens after the first, in nats, of the walk up to here or of a prompt."""
    ids = here.ids(model, prompt)
    if len(ids) < 2:
        raise UserError(_("a loss needs two tokens, as nothing predicts the first one"))

    def compute() -> float:
        sequence = here.model(model).sequences()
        sequence.append([list(ids)])
        found: list[Any] = []
        for group in sequence.scores(range(1, len(ids))):
            found += [score.logprob for _at, score in group]
        return -sum(found) / len(found)

    answer: float = here.kept("loss", model, ids, compute)
    return answer
