"""Measurements of the tokens of the walk. A token is counted from 0; negative numbers count from the end."""

from core.errors import UserError
from core.generation.token import Token
from core.language import _
from core.sampling.bounds import low
from tui.course.measurements.here import Here, measurement


def _token(here: Here, i: int) -> Token:
    tokens = here.session.tokens
    if not isinstance(i, int) or not -len(tokens) <= i < len(tokens):
        raise UserError(_("the walk has no token {i}; it has {count}").format(i=i, count=len(tokens)))
    return tokens[i]


@measurement
def tokens(here: Here, *, prompt: str | None = None, model: str | None = None) -> int:
    """How many tokens the walk has, or a prompt."""
    if prompt is None and model is None:
        return len(here.session.tokens)
    return len(here.ids(model, prompt))


@measurement
def generated(here: Here) -> int:
    """How many tokens stand after the prompt."""
    return len(here.session.tokens) - here.session.prompt_length


@measurement
def token(here: Here, i: int, *, prompt: str | None = None, model: str | None = None) -> str:
    """The text of a token."""
    if prompt is None and model is None:
        return _token(here, i).piece.decode("utf-8", "backslashreplace")
    return (
        here.model(model).tokenizer.piece(id(here, i, prompt=prompt, model=model)).decode("utf-8", "backslashreplace")
    )


@measurement
def id(here: Here, i: int, *, prompt: str | None = None, model: str | None = None) -> int:
    """The id of a token."""
    if prompt is None and model is None:
        return _token(here, i).id
    ids = here.ids(model, prompt)
    if not isinstance(i, int) or not -len(ids) <= i < len(ids):
        raise UserError(_("there is no token {i}; there are {count}").format(i=i, count=len(ids)))
    return ids[i]


@measurement
def text(here: Here) -> str:
    """The text of the whole walk."""
    return here.session.model.tokenizer.written([token.id for token in here.session.tokens])


@measurement
def prompt(here: Here) -> str:
    """The prompt as it was typed."""
    return here.session.turns.prompt()


@measurement
def position(here: Here) -> int:
    """The token that is looked at."""
    return here.session.cursor - 1


@measurement
def branches(here: Here) -> int:
    """How many branches the tree of the walk has."""
    return here.session.history.forest(1).total


@measurement
def u(here: Here, i: int | None = None) -> float:
    """The number that drew a token: the one that is looked at, or the i-th."""
    found = _token(here, here.session.cursor - 1 if i is None else i)
    if found.u is None:
        raise UserError(_("this token was not drawn"))
    return found.u


@measurement
def next_u(here: Here) -> float:
    """The number that draws the next token."""
    return here.session.draws.u()


@measurement
def surprisal_bits(here: Here, i: int | None = None) -> float:
    """-log2 p of a token: the one that is looked at, or the i-th."""
    at = here.session.cursor - 1 if i is None else i
    found, position = _token(here, at), at % len(here.session.tokens)
    if position == 0:
        raise UserError(_("nothing predicts the first token"))
    if found.score is None:
        for _group in here.session.score():
            if (found := _token(here, at)).score is not None:
                break
    assert found.score is not None
    return low(found.score.surprisal_bits)


@measurement
def repeated(here: Here, count: int) -> bool:
    """Whether the last `count` tokens of the walk stand in it once before."""
    ids = [token.id for token in here.session.tokens]
    last = ids[-count:]
    return 1 <= count <= len(ids) and any(ids[at : at + count] == last for at in range(len(ids) - count))
