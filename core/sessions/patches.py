"""Patches in the file of a walk: to JSON and back, each value checked. Needs no torch."""

import reprlib
from base64 import b64decode, b64encode
from dataclasses import fields
from typing import Any, cast

from core.activations.patch import Patch, PatchKind, PatchPart
from core.activations.steering_vector import SteeringVector, little_endian
from core.errors import UserError
from core.formats.checked import CheckedValues
from core.language import _


def patch_values(patch: Patch) -> dict[str, Any]:
    """The JSON object of a patch; a steering vector is written in full, so that the file needs no other."""
    values = {field.name: getattr(patch, field.name) for field in fields(patch) if field.name not in ("vector", "ids")}
    if patch.ids:
        values["ids"] = list(patch.ids)
    if vector := patch.vector:
        directions = {str(layer): b64encode(little_endian(row)).decode() for layer, row in vector.directions}
        values["vector"] = {"name": vector.name, "origin": vector.origin, "directions": directions}
    return values


def read_patch(part: CheckedValues) -> Patch:
    """The patch in a JSON object. Raises `UserError` for one that no model can have."""
    location = {key: None if part.values.get(key) is None else part.integer(key) for key in ("layer", "index")}
    kind, model_part = part.text("kind"), part.text("part")
    factor, seed = part.number("factor", -1e30, 1e30), part.integer("seed", default=0)
    try:
        return Patch(
            kind=cast(PatchKind, kind),
            part=cast(PatchPart, model_part),
            **location,
            factor=factor,
            seed=seed,
            ids=_ids(part) if part.values.get("ids") is not None else (),
            vector=_vector(part.object("vector")) if part.values.get("vector") is not None else None,
        )
    except UserError as error:
        raise UserError(f"{part.source}: {error}") from error


def _ids(part: CheckedValues) -> tuple[int, ...]:
    """The other prompt of a `swap`. Raises `UserError` for what is no list of ids."""
    ids = part.items("ids")
    if not all(isinstance(id, int) and not isinstance(id, bool) for id in ids):
        raise part.invalid("ids", _("a list of whole numbers"))
    return tuple(ids)


def _vector(part: CheckedValues) -> SteeringVector:
    """A steering vector. Raises `UserError` for one that cannot be added to anything."""
    directions = part.object("directions")
    rows = []
    for key in directions.values:
        if not (key.isascii() and key.isdecimal() and len(key) < 5):
            raise directions.error(_("{key} is not the number of a layer").format(key=reprlib.repr(key)))
        try:
            numbers = b64decode(directions.text(key), validate=True)
        except ValueError as error:
            raise directions.invalid(key, _("bytes in Base64")) from error
        if len(numbers) % 4:
            raise directions.invalid(key, _("a whole number of float32 values"))
        rows.append((int(key), little_endian(numbers)))
    return SteeringVector(part.text("name"), tuple(sorted(rows)), part.text("origin", ""))
