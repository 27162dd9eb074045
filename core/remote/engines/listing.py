"""`GET /v1/models`, which every engine has: what it serves, and who it is."""

from collections.abc import Sequence

import msgspec

from core.errors import Option, UserError
from core.formats.text import shown
from core.language import _
from core.remote.engines.decoding import read

MOST_NAMES = 20
"""Models that an error lists."""


class Meta(msgspec.Struct):
    """What llama-server tells besides."""

    n_vocab: int | None = None
    n_ctx: int | None = None


class Served(msgspec.Struct):
    """One model."""

    id: str
    owned_by: str | None = None
    root: str | None = None
    parent: str | None = None
    max_model_len: int | None = None
    meta: Meta | None = None


class Listing(msgspec.Struct):
    """The answer."""

    data: list[Served] | None = None


LISTING = msgspec.json.Decoder(Listing)


def read_listing(answer: bytes) -> list[Served]:
    """The models of an answer."""
    return read(LISTING, answer).data or []


def choose(models: Sequence[Served], wanted: str, where: str) -> Served:
    """The model called `wanted`, or the only one; a name beside it that is an alias or an adapter does not count.

    Raises `UserError` that names the models where there is none or where it is not clear which is meant.
    """
    if not models:
        raise UserError(_("{where} serves no model; start the engine with one"), where=where)
    names = ", ".join(shown(model.id) for model in models[:MOST_NAMES]) + (", …" if len(models) > MOST_NAMES else "")
    if wanted:
        for model in models:
            if model.id == wanted:
                return model
        raise UserError(
            _("{where} does not serve {wanted} (allowed for {served_model}: {names})"),
            where=where,
            wanted=shown(wanted),
            served_model=Option("served-model"),
            names=names,
        )
    own = [model for model in models if not model.parent]
    if len({model.root or model.id for model in own}) != 1:
        raise UserError(
            _("{where} serves {count} models; choose one with {served_model}: {names}"),
            where=where,
            count=len(models),
            served_model=Option("served-model"),
            names=names,
        )
    return own[0]
