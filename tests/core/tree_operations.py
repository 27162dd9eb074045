"""Random operations on a walk, and the same on a plain model of lists."""

import random

import pytest
from plain_tree import Plain

from core.errors import UserError
from core.sampling.sampler import Sampler
from core.walk.session import Session

KINDS = ["step"] * 6 + ["take"] * 3 + ["redraw"] * 2 + ["take_back"] * 4 + ["redo"] * 3 + ["travel"] * 3
KINDS += ["visit"] * 4 + ["fold", "rename", "delete", "delete", "continuations", "prefill", "seed", "score"]
SAMPLERS = [Sampler.of(top_k=2), Sampler.of(top_k=2, seed=3), Sampler.of(temperature=0)]


def act(walk: Session, plain: Plain, kind: str, chance: random.Random) -> None:  # noqa: PLR0912  # one an operation
    """One operation on both."""
    cursor = walk.cursor
    rows = walk.history.forest(10_000).rows
    row = chance.randrange(len(rows))
    if kind == "step":
        plain.put(cursor, walk.step().id)
    elif kind == "take":
        id = chance.randrange(4)
        walk.take(id)
        plain.put(cursor, id)
    elif kind == "redraw":
        if cursor > walk.prompt_length:
            plain.put(cursor - 1, walk.redraw().id)
    elif kind == "take_back" and plain.done:
        walk.take_back()
        plain.back()
    elif kind == "redo" and plain.undone:
        walk.redo()
        plain.again()
    elif kind == "travel":
        walk.travel(chance.randrange(-1, len(walk.tokens) + 3))
        plain.cursor = walk.cursor
    elif kind == "visit":
        list(walk.visit(rows[row].serial))
        plain.visit(row)
    elif kind == "fold":
        head = plain.heads()[row][0]
        walk.tree.fold(rows[row].serial)
        head.folded = not head.folded and bool(head.run()[-1].children)
    elif kind == "rename":
        name = chance.choice(["", "a", "b"])
        plain.heads()[row][0].name = name
        walk.tree.rename(rows[row].serial, name)
    elif kind == "delete":
        if plain.delete(row):
            list(walk.delete(rows[row].serial))
        else:
            with pytest.raises(UserError):
                walk.delete(rows[row].serial)
    elif kind == "continuations":
        list(walk.continuations.sample(chance.randrange(1, 4), chance.randrange(1, 4)))
        for way in (leaf.pieces for leaf in walk.continuations.tree().continuations):
            at = plain.walk[plain.cursor - 1]
            for piece in way:
                at = plain.child(at, 256 if len(piece) > 1 else piece[0], False)
    elif kind == "prefill":
        prompt = [chance.randrange(3) for _ in range(chance.randrange(6))]
        list(walk.prefill(prompt))
        plain.prefill(prompt)
    elif kind == "seed":
        walk.sampler = chance.choice(SAMPLERS)
    elif kind == "score":
        list(walk.score())
