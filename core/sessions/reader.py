"""Reads a saved walk from its file and checks every value. Needs no torch.

Anybody may have edited the file, so no value is used unchecked. Each problem is a `UserError` of one line that says
what is wrong and where. Reading never changes the file.
"""

import glob
import json
import math
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, get_args

from core.bounded import read_file
from core.causal.question import CausalQuestion
from core.engine.activation import ACTIVATIONS
from core.errors import UserError
from core.formats.checked import CheckedValues
from core.generation.token import Origin, Token
from core.language import _
from core.loading.choice import Hyperparameters, ModelChoice
from core.loading.info import ModelInfo
from core.sampling.bounds import Bounded, Bounds, between
from core.sampling.sampler import Sampler
from core.sampling.values import Score
from core.sessions import changes
from core.sessions.journal import SUFFIX
from core.sessions.patches import read_patch
from core.sessions.record import FORMAT, VERSION, NodeRow, Record

ROLES = ("template", "system", "user", "assistant", "tool")
"""Who may say a token of a conversation."""
LARGEST = 2**29
"""Bytes that a file may have."""


def read_record(path: Path, note: Callable[[str], object] | None = None) -> Record:
    """The walk in a file, with what its journal says happened since. Raises `UserError` for what is no saved walk.

    `note` is called with a line where a journal is left out, or the end of one.
    """
    name, digest = path.name, ""
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise UserError(
                _("{name} is too large for a session ({size:,.0f} MiB); choose another file"),
                name=name,
                size=size / 2**20,
            )
        content = read_file(path, LARGEST)
        text, digest = content.decode("utf-8"), sha256(content).hexdigest()
    except UnicodeDecodeError as error:
        raise UserError(
            _("{name} is not a session: byte {number} is not UTF-8 text; choose another file"),
            name=name,
            number=error.start + 1,
        ) from error
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            _("{path} cannot be read: {reason}"), path=path, reason=getattr(error, "strerror", None) or error
        ) from error
    values = _json(text, name)
    record, notes = _checked(values, name), list[str]()
    for journal in sorted(path.parent.glob(f"{glob.escape(path.stem)}.*{SUFFIX}")):
        try:
            entries, damage = changes.read_lines(journal, digest)
            if entries:
                record = _checked(changes.applied(values, entries), journal.name)
            notes += [damage] if damage else []
        except UserError as error:
            notes.append(_("{file} is left out: {problem}").format(file=journal.name, problem=error))
    if note:
        for each in notes:
            note(each)
    return record


def parse_record(text: str, where: str) -> Record:
    """The walk in the text of a file; errors call the file `where`. Raises `UserError`."""
    return _checked(_json(text, where), where)


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        truncated = not text[error.pos :].strip() or error.msg.startswith("Unterminated")
        what = _("it ends too early, so it was cut short") if truncated else _("this is not JSON")
        raise UserError(
            _("{where} is not a complete session: line {line}, column {column}: {problem}"),
            where=where,
            line=error.lineno,
            column=error.colno,
            problem=what,
        ) from error
    except RecursionError as error:
        raise UserError(_("{where} is not a session: its JSON is nested too deeply"), where=where) from error
    except ValueError as error:
        raise UserError(
            _("{where} is not a session: {error}"), where=where, error=str(error).splitlines()[0]
        ) from error


def _checked(values: Any, where: str) -> Record:
    try:
        return _record(CheckedValues(where, values))
    except RecursionError as error:
        raise UserError(_("{where} is not a session: its JSON is nested too deeply"), where=where) from error


def _refuse_constant(name: str) -> float:
    """Refuse `NaN` and `Infinity`, which Python's parser would accept."""
    raise ValueError(f"it says {name}, which is no number of JSON")


def _question(part: CheckedValues, vocab_size: int) -> CausalQuestion:
    """What causal experiments were asked; a value that is absent has its default."""
    known = {field.name: part.values[field.name] for field in fields(CausalQuestion) if field.name in part.values}
    question = CheckedValues(part.source, known).build(CausalQuestion)
    try:
        question.check(vocab_size)
    except UserError as error:
        raise part.error(str(error)) from error
    return question


def _record(file: CheckedValues) -> Record:
    if file.values.get("format") != FORMAT:
        raise UserError(
            _("{source} is not a session of tokenwalk: its format is not {format!r}"), source=file.source, format=FORMAT
        )
    if file.integer("version", 1) > VERSION:
        raise UserError(
            _(
                "{source} was written by a newer tokenwalk (format version {found}; this one reads {version}); update "
                "tokenwalk to open it"
            ),
            source=file.source,
            found=file.values["version"],
            version=VERSION,
        )
    models = [read_model(part) for part in file.objects("models", "model")]
    samplers = [_sampler(part) for part in file.objects("samplers", "sampler")]
    model = models[file.integer("model", 0, len(models))]
    pieces = _pieces(file.object("pieces"), model.vocab_size)
    rows = tuple(_rows(file, _Tables(pieces, models, samplers, model.vocab_size)))
    if not rows:
        raise UserError(_("{source}: nodes is empty, but a walk has at least one token"), source=file.source)
    numbers = {part["node"]: n for n, part in enumerate(file.items("nodes"), start=1)}
    position = file.object("place")
    end = numbers.get(position.integer("node", 1))
    if end is None:
        raise position.invalid("node", _("the number of a node"))
    record = Record(
        model=model,
        sampler=_sampler(file.object("sampler")),
        rows=rows,
        end=end,
        cursor=0,
        patches=tuple(map(read_patch, file.objects("patches", "patch"))) if "patches" in file.values else (),
        question=_question(file.optional_object("question"), model.vocab_size),
        written=file.text("written", ""),
        program=file.text("program", ""),
    )
    cursor = position.integer("cursor", 1, len(record.path()) + 1)
    return replace(record, cursor=cursor)


class _Tables(NamedTuple):
    """What the fields of a node refer to."""

    pieces: Mapping[int, bytes]
    models: list[ModelInfo]
    samplers: list[Sampler]
    vocab_size: int


def _rows(file: CheckedValues, tables: _Tables) -> Iterator[NodeRow]:
    """The nodes in preorder, renumbered from 1. A parent must come before its children, so there are no cycles."""
    numbers, keys, origins = {0: 0}, set[tuple[int, int, bool]](), ["prompt"]
    for part in file.objects("nodes", "node"):
        number, parent = part.integer("node", 1), part.integer("parent")
        if number in numbers:
            raise UserError(_("{source}: two nodes have the number {number}"), source=part.source, number=number)
        if parent not in numbers:
            raise UserError(
                _("{source}: its parent {parent} does not come before it in the file"),
                source=part.source,
                parent=parent,
            )
        token = _token(part, tables)
        if token.origin == "prompt" and origins[numbers[parent]] != "prompt" and not token.role:
            raise UserError(
                _("{source}: a token of the prompt follows a token that is not of the prompt"), source=part.source
            )
        key = numbers[parent], token.id, token.origin == "prompt"
        if key in keys:
            raise UserError(
                _("{source}: its parent {parent} is followed by two tokens with the id {id}"),
                source=part.source,
                parent=parent,
                id=token.id,
            )
        keys.add(key)
        numbers[number] = len(origins)
        origins.append(token.origin)
        text = part.text("text") if part.values.get("text") is not None else None
        yield NodeRow(numbers[parent], token, part.text("name", ""), part.flag("folded"), part.flag("latest"), text)


def _token(part: CheckedValues, tables: _Tables) -> Token:
    present = part.values.keys()
    id = part.integer("id", 0, tables.vocab_size)
    if id not in tables.pieces:
        raise UserError(_("{source}: pieces has no bytes for its id {id}"), source=part.source, id=id)
    origin: Any = part.values.get("origin")
    if origin not in get_args(Origin):
        raise part.invalid("origin", _("one of {choices}").format(choices=", ".join(get_args(Origin))))
    role = part.text("role", "")
    if role not in (("", *ROLES) if origin == "prompt" else ("",)):
        raise part.invalid("role", _("one of {choices}, of a token of the prompt").format(choices=", ".join(ROLES)))
    sampled = origin == "sampled"
    sampler = part.integer("sampler", 0, len(tables.samplers)) if sampled or "sampler" in present else None
    model = part.integer("model", 0, len(tables.models)) if sampled or "model" in present else None
    share = "sampled_probability"
    return Token(
        id=id,
        piece=tables.pieces[id],
        origin=origin,
        score=_score(part, tables.vocab_size) if "logprob" in present else None,
        u=part.number("u", 0, math.nextafter(1, 0)) if "u" in present else None,
        sampled_probability=_bounded(part, share, 0, 1.001) if share in present else None,
        redraw=part.integer("redraw", default=0),
        sampler=None if sampler is None else tables.samplers[sampler],
        model=None if model is None else tables.models[model],
        role=role,
    )


def _score(part: CheckedValues, vocab_size: int) -> Score:
    return Score(
        logit=_bounded(part, "logit", -1e38, 1e38, infinite=True),
        logprob=_bounded(part, "logprob", -1e38, 0.001, infinite=True),
        entropy_bits=_bounded(part, "entropy_bits", 0, 64),
        rank=_rank(part, vocab_size),
        known=part.integer("known", 1, vocab_size) if "known" in part.values else None,
    )


def _bounded(part: CheckedValues, key: str, least: float, most: float, *, infinite: bool = False) -> Bounded:
    """A number, or a list of two that it lies between."""
    if not isinstance(part.values.get(key), list):
        return part.number(key, least, most, infinite=infinite)
    ends = _ends(part, key)
    low, high = (ends.number(end, least, most, infinite=infinite) for end in ("low", "high"))
    if low > high:
        raise part.invalid(key, _("the lower number first"))
    return between(low, high)


def _rank(part: CheckedValues, vocab_size: int) -> Bounded:
    """A rank, or a list of the least that it can be and `inf`."""
    if not isinstance(part.values.get("rank"), list):
        return part.integer("rank", 0, vocab_size)
    ends = _ends(part, "rank")
    if ends.values["high"] != "inf":
        raise part.invalid("rank", _('a whole number, or a list of one and "inf"'))
    return Bounds(ends.integer("low", 0, vocab_size), math.inf)


def _ends(part: CheckedValues, key: str) -> CheckedValues:
    if len(part.items(key)) != 2:
        raise part.invalid(key, _("a number, or a list of two"))
    low, high = part.items(key)
    return CheckedValues(f"{part.source}: {key}", {"low": low, "high": high})


def _pieces(part: CheckedValues, vocab_size: int) -> dict[int, bytes]:
    pieces = {}
    for key in part.values:
        if not (key.isascii() and key.isdecimal() and len(key) < 19 and int(key) < vocab_size):
            raise UserError(
                _("{source}: {key} is not one of the {vocab_size:,} ids"),
                source=part.source,
                key=reprlib.repr(key),
                vocab_size=vocab_size,
            )
        try:
            pieces[int(key)] = bytes.fromhex(part.text(key))
        except ValueError as error:
            raise part.invalid(key, _("bytes in hex")) from error
    return pieces


SHORT_FORM = {"temperature": float, "top_k": int, "top_p": float, "min_p": float, "order": str, "seed": int}
"""The settings of a sampler in version 1 of the format."""


def _sampler(part: CheckedValues) -> Sampler:
    """The stages of a sampler in their written form, or the short form, where what is absent has its default."""
    settings: dict[str, Any] = {
        name: _typed(part, name, kind) for name, kind in SHORT_FORM.items() if name in part.values
    }
    try:
        if "stages" in part.values:
            return Sampler.read(part.text("stages"), settings.get("seed", 0))
        return Sampler.of(**settings)
    except UserError as error:
        raise UserError(f"{part.source}: {error}") from error


def _typed(part: CheckedValues, key: str, kind: type) -> Any:
    """A value that is a str, a float or an int."""
    if kind is str:
        return part.text(key)
    if kind is float:
        return part.number(key, -1e38, 1e38)
    value = part.values[key]
    if type(value) is not int:
        raise part.invalid(key, _("a whole number"))
    return value


def read_model(part: CheckedValues) -> ModelInfo:
    """The model in a JSON object. Raises `UserError`."""
    texts = {key: part.text(key) for key in ("name", "title", "device", "dtype", "tokenizer", "weights")}
    sizes = {key: part.integer(key, 1) for key in ("vocab_size", "context")}
    sizes["parameters"] = part.integer("parameters")  # of a model that an engine serves it is not known: 0
    choice = _choice(part.object("choice")) if part.values.get("choice") is not None else None
    return ModelInfo(**texts, **sizes, choice=choice)  # type: ignore[arg-type]  # each name has its type


def _choice(part: CheckedValues) -> ModelChoice:
    """What was asked for, as far as the file names it."""
    options: dict[str, Any] = {
        key: _typed(part, key, str)
        for key in ("name", "tokenizer", "device", "dtype", "engine", "served_model")
        if key in part.values
    }
    if "weights_seed" in part.values:
        options["weights_seed"] = _typed(part, "weights_seed", int)
    if part.values.get("lora"):
        options["lora"], options["lora_scale"] = part.text("lora"), part.number("lora_scale", -1e30, 1e30)
    if part.values.get("changes") is not None:
        changes = part.object("changes")
        present = {field.name for field in fields(Hyperparameters) if changes.values.get(field.name) is not None}
        sizes: dict[str, Any] = {key: changes.integer(key) for key in sorted(present - {"activation"})}
        if "activation" in present:
            if (activation := changes.text("activation")) not in ACTIVATIONS:
                raise changes.invalid("activation", _("one of {choices}").format(choices=", ".join(ACTIVATIONS)))
            sizes["activation"] = activation
        options["changes"] = Hyperparameters(**sizes)
    return ModelChoice(**options)
