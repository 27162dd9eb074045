"""Applies a journal to the values of its session file. Needs no torch.

Anybody may have edited the journal: only what is needed to put its values in their places is checked here. The values
that come out are those of a session file, and `reader` checks each of them.
"""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.bounded import read_file
from core.errors import UserError
from core.formats.checked import CheckedValues
from core.language import _
from core.sessions.journal import FORMAT, VERSION

LARGEST = 2**29
"""Bytes that a journal may have."""
SCORE = ("logit", "logprob", "entropy_bits", "rank", "known")
"""The values of a node that are its score."""


def read_lines(path: Path, digest: str) -> tuple[list[CheckedValues], str]:
    """The entries of a journal, and what a person should know: a damaged line ends it. Raises `UserError`.

    `digest` is the SHA-256 of the session file.
    """
    try:
        lines = read_file(path, LARGEST).split(b"\n")
    except OSError as error:
        raise UserError(_("{path} cannot be read: {reason}"), path=path, reason=error.strerror) from error
    found, damaged = list[CheckedValues](), 0
    for number, line in enumerate(lines[:-1], start=1):
        if (values := _values(line)) is None:
            damaged = number
            break
        found.append(CheckedValues(f"{path.name}: line {number}", values))
    if not damaged and lines[-1]:
        damaged = len(lines)
    if lines == [b""]:  # it was made a moment ago
        return [], ""
    if not found:
        raise UserError(_("its first line is damaged"))
    _check_first(found[0], digest)
    last = damaged >= len(lines) - 1
    words = (
        _("the last line of {file} is damaged and is left out")
        if last
        else _("line {line} of {file} is damaged; it and those after it are left out")
    )
    return found[1:], words.format(file=path.name, line=damaged) if damaged else ""


def _values(line: bytes) -> Any:
    """The JSON value of a line; None where it is damaged."""
    checksum, _space, text = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _check_first(first: CheckedValues, digest: str) -> None:
    if first.values.get("format") != FORMAT:
        raise UserError(_("its format is not {format!r}"), format=FORMAT)
    if first.integer("version", 1) > VERSION:
        raise UserError(
            _("it was written by a newer tokenwalk (version {version} of the format, {known} is known here)"),
            version=first.values["version"],
            known=VERSION,
        )
    if first.values.get("session") != digest:
        raise UserError(_("it belongs to another state of the session"))


def applied(values: dict[str, Any], entries: list[CheckedValues]) -> dict[str, Any]:
    """The values of a session file, which are valid, after the entries of its journal. Raises `UserError`."""
    values = {**values, "pieces": dict(values["pieces"])}
    offsets = {key: len(values[f"{key}s"]) for key in ("model", "sampler")}
    tree = _Nodes(values["nodes"], offsets)
    for entry in entries:
        for key in ("model", "sampler"):
            if f"{key}s" in entry.values:
                values[f"{key}s"] = [*values[f"{key}s"], *entry.items(f"{key}s")]
        if "pieces" in entry.values:
            values["pieces"] |= entry.object("pieces").values
        values |= {key: entry.values[key] for key in ("place", "sampler", "patches", "question") if key in entry.values}
        if "model" in entry.values:
            values["model"] = offsets["model"] + entry.integer("model")
        if entry.flag("scores_forgotten"):
            tree.forget_scores()
        for part in entry.objects("nodes", "node") if "nodes" in entry.values else ():
            tree.take(part)
    values["nodes"] = list(tree.rows())
    place = CheckedValues("place", values["place"])
    node = place.integer("node", 1)
    values["place"] = {**place.values, "node": tree.same.get(node, node)}
    return values


class _Nodes:
    """The nodes of a session file, each by its number, while a journal changes them."""

    def __init__(self, rows: list[dict[str, Any]], offsets: dict[str, int]) -> None:
        self._rows = {row["node"]: row for row in rows}
        self._next = {row["parent"]: row["node"] for row in rows if row.get("latest")}
        self._offsets = offsets
        self._cut: set[int] = set()
        self.same: dict[int, int] = {}
        """The nodes that stand for another one with the same parent and id."""

    def forget_scores(self) -> None:
        self._rows = {
            number: {key: value for key, value in row.items() if key not in SCORE} for number, row in self._rows.items()
        }

    def take(self, part: CheckedValues) -> None:
        """Let a node be as the journal has it."""
        number = part.integer("node")
        self._next[number] = part.integer("next", default=0)
        if part.flag("cut"):
            self._cut.add(number)
        if number == 0 or part.flag("cut") or (number in self._rows and "id" not in part.values):
            return
        parent = part.integer("parent")
        before = self._rows.get(number)
        if (parent and parent not in self._rows) or (before and before["parent"] != parent) or parent == number:
            raise part.invalid("parent", "a node before it, and always the same")
        self._cut.discard(number)
        row = {key: value for key, value in part.values.items() if key != "next"}
        row |= {"id": part.integer("id"), "origin": part.text("origin")}
        for key, offset in self._offsets.items():
            if key in row:
                row[key] = offset + part.integer(key)
        self._rows[number] = row

    def rows(self) -> Iterator[dict[str, Any]]:
        """Those that are not cut, in preorder. Of children with the same id one is left, with what follows both."""
        children = dict[int, list[int]]()
        for number, row in self._rows.items():
            if number not in self._cut:
                children.setdefault(row["parent"], []).append(number)
        stack = self._equal_siblings(children.get(0, []))
        while stack:
            first, *others = group = stack.pop()
            self.same |= dict.fromkeys(others, first)
            row = self._rows[first]
            latest = any(self._next.get(self._rows[number]["parent"]) == number for number in group)
            yield {**row, "parent": self.same.get(row["parent"], row["parent"]), "latest": latest}
            stack += self._equal_siblings([child for number in group for child in children.get(number, [])])

    def _equal_siblings(self, numbers: list[int]) -> list[list[int]]:
        """The last group first."""
        groups = dict[tuple[int, bool], list[int]]()
        for number in numbers:
            row = self._rows[number]
            groups.setdefault((row["id"], row["origin"] == "prompt"), []).append(number)
        return list(groups.values())[::-1]
