"""What changed in a walk since its session file was written, as lines that are appended to a journal. Needs no torch.

`FORMAT.md` describes the lines; `changes` reads them.
"""

import json
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.activations.patch import Patch
from core.causal.question import CausalQuestion
from core.generation.token import Token
from core.loading.info import ModelInfo
from core.sampling.sampler import Sampler
from core.sessions.patches import patch_values
from core.sessions.writer import sampler_values, token_values
from core.walk.tree import Changes, Node, NodeState

if TYPE_CHECKING:
    from core.walk.session import Session

FORMAT = "tokenwalk journal"
VERSION = 1
SUFFIX = ".journal"


def journal_path(session: Path, digest: str) -> Path:
    """The journal of a session file whose content has this SHA-256, in hex: it belongs to exactly these bytes."""
    return session.with_name(f"{session.stem}.{digest[:16]}{SUFFIX}")


@dataclass(frozen=True, slots=True)
class Entry:
    """A walk after something happened to it, and what happened. It does not change when the walk goes on."""

    changes: Changes
    end: Node
    cursor: int
    model: ModelInfo
    sampler: Sampler
    patches: tuple[Patch, ...]
    question: CausalQuestion


def entry(session: "Session", changes: Changes) -> Entry:
    """The entry for `changes` of the tree of a walk."""
    position, settings = session.history.position, (session.sampler, session.patches, session.question)
    return Entry(changes, position.end, position.cursor, session.info, *settings)


class JournalLines:
    """Writes entries as lines. Nodes have the numbers of the session file, and later ones follow these."""

    def __init__(self, digest: str, numbers: dict[Node, int]) -> None:
        self._digest = digest
        self._numbers = numbers
        self._last = max(numbers.values(), default=0)
        self._models: dict[ModelInfo, int] = {}
        self._samplers: dict[Sampler, int] = {}
        self._pieces: set[int] = set()
        self._before: Entry | None = None

    def first(self) -> bytes:
        """The line that begins the journal."""
        return _line({"format": FORMAT, "version": VERSION, "session": self._digest})

    def line(self, entry: Entry) -> bytes:
        """The line of an entry; what was said in an earlier one is left out."""
        known = len(self._models), len(self._samplers)
        pieces, nodes = dict[str, str](), list[dict[str, Any]]()
        states = sorted(entry.changes.nodes, key=lambda state: state.node.serial)  # parents come first
        for state in states:
            if state.node not in self._numbers and state.parent in self._numbers and not state.cut:
                self._last += 1
                self._numbers[state.node] = self._last
        for state in states:
            if state.node in self._numbers:
                nodes.append(self._node(state, pieces))
        for node, latest in entry.changes.turned:
            if node in self._numbers:
                nodes.append(self._next(node, latest))
        values: dict[str, Any] = {"place": {"node": self._numbers[entry.end], "cursor": entry.cursor}}
        if entry.changes.scores_forgotten:
            values["scores_forgotten"] = True
        values |= self._new_settings(entry)
        added = {
            "models": [asdict(model) for model in list(self._models)[known[0] :]],
            "samplers": [sampler_values(sampler) for sampler in list(self._samplers)[known[1] :]],
            "pieces": pieces,
            "nodes": nodes,
        }
        return _line(values | {key: value for key, value in added.items() if value})

    def _new_settings(self, entry: Entry) -> dict[str, Any]:
        before, self._before = self._before, entry
        values: dict[str, Any] = {}
        if before is None or entry.model != before.model:
            values["model"] = self._model(entry.model)
        if before is None or entry.sampler != before.sampler:
            values["sampler"] = sampler_values(entry.sampler)
        if before is None or entry.patches != before.patches:
            values["patches"] = [patch_values(patch) for patch in entry.patches]
        if before is None or entry.question != before.question:
            values["question"] = asdict(entry.question)
        return values

    def _node(self, state: NodeState, pieces: dict[str, str]) -> dict[str, Any]:
        values = self._next(state.node, state.latest)
        if state.parent is None:
            return values
        if state.cut:
            return values | {"cut": True}
        values["parent"] = self._numbers[state.parent]
        values |= self._token(state.token, pieces)
        values |= {key: value for key, value in (("name", state.name), ("folded", state.folded)) if value}
        if state.text is not None:
            values["text"] = state.text
        return values

    def _next(self, node: Node, latest: Node | None) -> dict[str, Any]:
        """The number of a node, and that of the child on the path taken last."""
        number = self._numbers.get(latest) if latest else None
        return {"node": self._numbers[node], **({"next": number} if number else {})}

    def _token(self, token: Token, pieces: dict[str, str]) -> dict[str, Any]:
        if token.id not in self._pieces:
            self._pieces.add(token.id)
            pieces[str(token.id)] = token.piece.hex()
        values = token_values(token)
        if token.sampler:
            values["sampler"] = self._samplers.setdefault(token.sampler, len(self._samplers))
        if token.model:
            values["model"] = self._model(token.model)
        return values

    def _model(self, model: ModelInfo) -> int:
        return self._models.setdefault(model, len(self._models))


_json = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode


def _line(values: dict[str, Any]) -> bytes:
    """A line of the journal: a checksum, a space, a JSON object."""
    text = _json(values).encode("ascii")
    return b"%08x %s\n" % (zlib.crc32(text), text)
