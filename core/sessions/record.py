"""Owns a walk as a file: its JSON, what of a file is believed, and writing that no crash leaves half done. No torch.

A file is text that anybody may have edited. So each value is checked before it is used, and whatever is wrong is a
`UserError` that says what and where; the file itself is never touched by reading.
"""

import json
import math
import reprlib
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast, get_args

from core.activations.patch import Patch, PatchKind, PatchPart
from core.atomic import replacing
from core.engine.activation import ACTIVATIONS
from core.errors import UserError
from core.formats.checked import CheckedValues
from core.generation.token import Origin, Token
from core.loading.choice import Hyperparameters, ModelChoice
from core.loading.info import ModelInfo
from core.sampling.sampler import Sampler
from core.sampling.values import Score
from core.tokenizers.tokenizer import Tokenizer, piece_text
from core.walk.tree import Node, Tree

if TYPE_CHECKING:
    from core.walk.session import Session

FORMAT = "tokenwalk session"
VERSION = 1
LARGEST = 2**29
"""Bytes of a file that is read at all."""

T = TypeVar("T")


class NodeRow(NamedTuple):
    """A node of the tree; rows come in preorder and are numbered from 1 in that order."""

    parent: int
    """The number of the row it follows; 0 where it is a first token."""
    token: Token
    name: str = ""
    """Of the branch that begins here."""
    folded: bool = False
    latest: bool = False
    """Whether the walk was last seen to go on here from its parent."""
    text: str | None = None
    """The prompt as it was written, at its last token."""


@dataclass(frozen=True, slots=True)
class Record:
    """A walk at rest: all that is needed to go on with it, and all that can be seen of it without its model."""

    model: ModelInfo
    """The model it stands in, whose scores the tokens have."""
    sampler: Sampler
    rows: tuple[NodeRow, ...]
    end: int
    """The row at which the walk ends."""
    cursor: int
    """How many tokens were read at the place being looked at."""
    patches: tuple[Patch, ...] = ()
    """Changes to what the model computes, which this version only keeps."""
    written: str = ""
    """When, in ISO 8601; empty where it never was."""
    program: str = ""

    def path(self) -> tuple[Token, ...]:
        """The tokens of the walk."""
        return tuple(self.rows[number - 1].token for number in self._numbers())

    def _numbers(self) -> list[int]:
        numbers, at = [], self.end
        while at:
            numbers.append(at)
            at = self.rows[at - 1].parent
        return numbers[::-1]

    @property
    def prompt(self) -> str:
        """The prompt of the walk as it was written, or its tokens' text."""
        written = [row for row in (self.rows[n - 1] for n in self._numbers()) if row.token.origin == "prompt"]
        if written and written[-1].text is not None:
            return written[-1].text
        return piece_text(b"".join(row.token.piece for row in written))

    @property
    def branches(self) -> int:
        """How many ways through the tree there are."""
        return len(self.rows) - len({row.parent for row in self.rows} - {0})

    def tree(self) -> tuple[Tree, Node]:
        """The tree, and the node at which the walk ends."""
        tree = Tree()
        nodes = [tree.root]
        for row in self.rows:
            node = tree.child(nodes[row.parent], row.token)
            node.name, node.folded, node.text = row.name, row.folded, row.text
            if row.latest:
                nodes[row.parent].latest = node
            nodes.append(node)
        return tree, nodes[self.end]

    def check(self, words: Tokenizer) -> None:
        """Raise `UserError` where the ids mean other tokens in a tokenizer."""
        for id, piece in {row.token.id: row.token.piece for row in self.rows}.items():
            if id >= words.vocab_size or words.piece(id) != piece:
                raise UserError(
                    f"this walk has the tokens of {self.model.tokenizer}, in which id {id} is {piece_text(piece)!r}, "
                    f"and not those of {words.name}; choose a model with the same tokenizer"
                )


def copy(session: "Session") -> Callable[[], Record]:
    """A walk as it stands, in a millisecond or so; what is returned lays it out, on whatever thread has the time."""
    walk = session.model.info, session.sampler, session.tree, session.place.end, session.cursor
    return copy_tree(*walk, session.patches)


def copy_tree(
    model: ModelInfo,
    sampler: Sampler,
    tree: Tree,
    end: Node,
    cursor: int,
    patches: tuple[Patch, ...] = (),
) -> Callable[[], Record]:
    """The same of a tree that no session has."""
    root, ways = tree.root, tree.root.latest
    nodes = [
        (node, node.parent, node.token, node.name, node.folded, node.text, node.latest)
        for node in tree.nodes.values()
        if not node.cut
    ]

    def lay_out() -> Record:
        latest = {ways, *(each[6] for each in nodes)}
        below = dict[Node | None, list[tuple[Any, ...]]]()
        for each in nodes:
            below.setdefault(each[1], []).append(each)
        rows, numbers = list[NodeRow](), {root: 0}
        stack = below.get(root, [])[::-1]
        while stack:
            node, parent, token, name, folded, text, _ = stack.pop()
            rows.append(NodeRow(numbers[parent], token, name, folded, node in latest, text))
            numbers[node] = len(rows)
            stack += reversed(below.get(node, []))
        return Record(model, sampler, tuple(rows), numbers[end], cursor, patches)

    return lay_out


def of(session: "Session") -> Record:
    """A walk as it stands; nothing in it changes when the walk goes on."""
    return copy(session)()


def program() -> str:
    """This program and its version."""
    try:
        return f"tokenwalk {version('tokenwalk')}"
    except PackageNotFoundError:
        return "tokenwalk"


# Writing -------------------------------------------------------------------------------------------------------------


def lines(record: Record) -> Iterator[str]:
    """The file, a line a node: small pieces, between which other threads may run."""
    models = list(dict.fromkeys([record.model, *(row.token.model for row in record.rows if row.token.model)]))
    samplers = list(dict.fromkeys(row.token.sampler for row in record.rows if row.token.sampler))
    model_of = {model: number for number, model in enumerate(models)}
    sampler_of = {sampler: number for number, sampler in enumerate(samplers)}
    pieces = {row.token.id: row.token.piece for row in record.rows}
    head = {
        "format": FORMAT,
        "version": VERSION,
        "written": record.written or datetime.now(UTC).isoformat(timespec="seconds"),
        "program": record.program or program(),
        "prompt": record.prompt,
        "models": [asdict(model) for model in models],
        "samplers": [asdict(sampler) for sampler in samplers],
        "model": 0,
        "sampler": asdict(record.sampler),
        "place": {"node": record.end, "cursor": record.cursor},
        "patches": [asdict(patch) for patch in record.patches],
        "pieces": {str(id): pieces[id].hex() for id in sorted(pieces)},
    }
    yield "{\n"
    for key, value in head.items():
        yield f"{_json(key)}: {_json(value)},\n"
    yield '"nodes": [\n'
    for number, row in enumerate(record.rows, start=1):
        token = row.token
        node: dict[str, Any] = {"node": number, "parent": row.parent, "id": token.id, "origin": token.origin}
        if token.score:
            score = token.score
            node |= {
                "logit": _number(score.logit),
                "logprob": _number(score.logprob),
                "entropy_bits": score.entropy_bits,
                "rank": score.rank,
            }
        if token.u is not None:
            node["u"] = token.u
        if token.sampled_probability is not None:
            node["sampled_probability"] = token.sampled_probability
        if token.redraw:
            node["redraw"] = token.redraw
        if token.sampler:
            node["sampler"] = sampler_of[token.sampler]
        if token.model:
            node["model"] = model_of[token.model]
        node |= {key: value for key in ("name", "folded", "latest") if (value := getattr(row, key))}
        if row.text is not None:
            node["text"] = row.text
        yield _json(node) + (",\n" if number < len(record.rows) else "\n")
    yield "]\n}\n"


_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def _number(value: float) -> float | str:
    """JSON has no infinity; a logit may be the negative one."""
    return value if math.isfinite(value) else str(value)


def write_record(path: Path, record: Record) -> None:
    """Put a walk into a file in one move. Raises `UserError` where it cannot be written."""
    with replacing(path) as file:
        for line in lines(record):
            file.write(line.encode("utf-8", "backslashreplace"))  # half a surrogate pair becomes its JSON escape


# Reading -------------------------------------------------------------------------------------------------------------


def read_record(path: Path) -> Record:
    """A walk from its file. Raises `UserError`, one line that says what is wrong and where."""
    where = path.name
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise UserError(f"{path} is no file; choose a saved session")
        if about.st_size > LARGEST:
            raise UserError(f"{where} is too large for a session ({about.st_size / 2**20:,.0f} MiB)")
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{where} is no session: its byte {error.start + 1} is no UTF-8 text") from error
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return parse_record(text, where)


def parse_record(text: str, where: str) -> Record:
    """A walk from the text of its file."""
    try:
        values = json.loads(text, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        ends = not text[error.pos :].strip() or error.msg.startswith("Unterminated")
        what = "it ends too early, so it was cut short" if ends else "that is no JSON"
        raise UserError(f"{where} is no whole session: line {error.lineno}, column {error.colno}: {what}") from error
    except RecursionError as error:
        raise UserError(f"{where} is no session: it is nested too deeply") from error
    except ValueError as error:
        raise UserError(f"{where} is no session: {str(error).splitlines()[0]}") from error
    try:
        return _record(CheckedValues(where, values))
    except RecursionError as error:
        raise UserError(f"{where} is no session: it is nested too deeply") from error


def _no_number(name: str) -> float:
    raise ValueError(f"it says {name}, which is no number of JSON")


def _patch(part: CheckedValues) -> Patch:
    places = {key: None if part.values.get(key) is None else part.integer(key) for key in ("layer", "index")}
    kind, patched = part.text("kind"), part.text("part")
    factor, seed = part.number("factor", -1e30, 1e30), part.integer("seed", default=0)
    try:
        return Patch(kind=cast(PatchKind, kind), part=cast(PatchPart, patched), **places, factor=factor, seed=seed)
    except UserError as mistake:
        raise UserError(f"{part.source}: {mistake}") from mistake


def _record(file: CheckedValues) -> Record:
    if file.values.get("format") != FORMAT:
        raise UserError(f"{file.source} is no session of tokenwalk: its format is not {FORMAT!r}")
    if file.integer("version", 1) > VERSION:
        raise UserError(
            f"{file.source} was written by a newer tokenwalk (version {file.values['version']} of the format, "
            f"{VERSION} is known here); update tokenwalk to open it"
        )
    models = [_model(part) for part in file.objects("models", "model")]
    samplers = [_sampler(part) for part in file.objects("samplers", "sampler")]
    model = models[file.integer("model", 0, len(models))]
    pieces = _pieces(file.object("pieces"), model.vocab_size)
    rows = tuple(_rows(file, _Tables(pieces, models, samplers, model.vocab_size)))
    if not rows:
        raise UserError(f"{file.source}: nodes is empty, but a walk has at least one token")
    numbers = {part["node"]: n for n, part in enumerate(file.items("nodes"), start=1)}
    place = file.object("place")
    end = numbers.get(place.integer("node", 1))
    if end is None:
        raise place.invalid("node", "the number of a node")
    record = Record(
        model=model,
        sampler=_sampler(file.object("sampler")),
        rows=rows,
        end=end,
        cursor=0,
        patches=tuple(map(_patch, file.objects("patches", "patch"))) if "patches" in file.values else (),
        written=file.text("written", ""),
        program=file.text("program", ""),
    )
    cursor = place.integer("cursor", 1, len(record.path()) + 1)
    return replace(record, cursor=cursor)


class _Tables(NamedTuple):
    """What nodes point into."""

    pieces: Mapping[int, bytes]
    models: list[ModelInfo]
    samplers: list[Sampler]
    vocab_size: int


def _rows(file: CheckedValues, tables: _Tables) -> Iterator[NodeRow]:
    """The nodes in preorder, renumbered; each must follow one that came before, so there are no rings."""
    numbers, keys, origins = {0: 0}, set[tuple[int, int, bool]](), ["prompt"]
    for part in file.objects("nodes", "node"):
        number, parent = part.integer("node", 1), part.integer("parent")
        if number in numbers:
            raise UserError(f"{part.source}: there are two nodes {number}")
        if parent not in numbers:
            raise UserError(f"{part.source}: its parent {parent} does not come before it")
        token = _token(part, tables)
        if token.origin == "prompt" and origins[numbers[parent]] != "prompt":
            raise UserError(f"{part.source}: a token of the prompt cannot follow one that is none")
        key = numbers[parent], token.id, token.origin == "prompt"
        if key in keys:
            raise UserError(f"{part.source}: its parent {parent} is followed by two tokens with the id {token.id}")
        keys.add(key)
        numbers[number] = len(origins)
        origins.append(token.origin)
        text = part.text("text") if part.values.get("text") is not None else None
        yield NodeRow(numbers[parent], token, part.text("name", ""), part.flag("folded"), part.flag("latest"), text)


def _token(part: CheckedValues, tables: _Tables) -> Token:
    has = part.values.keys()
    id = part.integer("id", 0, tables.vocab_size)
    if id not in tables.pieces:
        raise UserError(f"{part.source}: pieces has no bytes for its id {id}")
    origin: Any = part.values.get("origin")
    if origin not in get_args(Origin):
        raise part.invalid("origin", f"one of {', '.join(get_args(Origin))}")
    drawn = origin == "sampled"
    return Token(
        id=id,
        piece=tables.pieces[id],
        origin=origin,
        score=_score(part, tables.vocab_size) if "logprob" in has else None,
        u=part.number("u", 0, math.nextafter(1, 0)) if "u" in has else None,
        sampled_probability=part.number("sampled_probability", 0, 1.001) if "sampled_probability" in has else None,
        redraw=part.integer("redraw", default=0),
        sampler=tables.samplers[part.integer("sampler", 0, len(tables.samplers))]
        if drawn or "sampler" in has
        else None,
        model=tables.models[part.integer("model", 0, len(tables.models))] if drawn or "model" in has else None,
    )


def _score(part: CheckedValues, vocab_size: int) -> Score:
    return Score(
        logit=part.number("logit", -1e38, 1e38, infinite=True),
        logprob=part.number("logprob", -1e38, 0.001, infinite=True),
        entropy_bits=part.number("entropy_bits", 0, 64),
        rank=part.integer("rank", 0, vocab_size),
    )


def _pieces(part: CheckedValues, vocab_size: int) -> dict[int, bytes]:
    pieces = {}
    for key in part.values:
        if not (key.isascii() and key.isdecimal() and len(key) < 19 and int(key) < vocab_size):
            raise UserError(f"{part.source}: {reprlib.repr(key)} is none of the {vocab_size:,} ids")
        try:
            pieces[int(key)] = bytes.fromhex(part.text(key))
        except ValueError as error:
            raise part.invalid(key, "bytes in hex") from error
    return pieces


def _sampler(part: CheckedValues) -> Sampler:
    """Settings by their names; those that the file does not know yet are as they were before there was a choice."""
    given: dict[str, Any] = {}
    for field in fields(Sampler):
        if field.name in part.values:
            given[field.name] = _as(part, field.name, type(field.default))
    return _made(part.source, Sampler, given)


def _as(part: CheckedValues, key: str, kind: type) -> Any:
    if kind is str:
        return part.text(key)
    if kind is float:
        return part.number(key, -1e38, 1e38)
    value = part.values[key]
    if type(value) is not int:
        raise part.invalid(key, "a whole number")
    return value


def _made(where: str, kind: type[T], given: dict[str, Any]) -> T:
    try:
        return kind(**given)
    except UserError as mistake:
        raise UserError(f"{where}: {mistake}") from mistake


def _model(part: CheckedValues) -> ModelInfo:
    texts = {key: part.text(key) for key in ("name", "title", "device", "dtype", "tokenizer", "weights")}
    sizes = {key: part.integer(key, 1) for key in ("parameters", "vocab_size", "context")}
    choice = _choice(part.object("choice")) if part.values.get("choice") is not None else None
    return ModelInfo(**texts, **sizes, choice=choice)  # type: ignore[arg-type]  # each name has its kind


def _choice(part: CheckedValues) -> ModelChoice:
    """What was asked for, as far as it is said."""
    given: dict[str, Any] = {
        key: _as(part, key, str) for key in ("name", "tokenizer", "device", "dtype") if key in part.values
    }
    if "weights_seed" in part.values:
        given["weights_seed"] = _as(part, "weights_seed", int)
    if part.values.get("changes") is not None:
        changes = part.object("changes")
        said = {field.name for field in fields(Hyperparameters) if changes.values.get(field.name) is not None}
        sizes: dict[str, Any] = {key: changes.integer(key) for key in sorted(said - {"activation"})}
        if "activation" in said:
            if changes.values["activation"] not in ACTIVATIONS:
                raise changes.invalid("activation", f"one of {', '.join(ACTIVATIONS)}")
            sizes["activation"] = changes.values["activation"]
        given["changes"] = Hyperparameters(**sizes)
    return ModelChoice(**given)
