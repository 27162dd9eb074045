"""Every text of the sources is translated, and each translation keeps what must not change."""

import ast
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import catalogues
import pytest
from babel.messages.catalog import Catalog, Message

from core import language

LANGUAGES = language.languages()[1:]
UPDATE = "run `python tests/catalogues.py`, and translate what it lists"
SOURCES = [*(catalogues.ROOT / "core").rglob("*.py"), *(catalogues.ROOT / "tui").rglob("*.py")]
MARKS = ("_", "N_", "ngettext")
UNCHANGED = re.compile(
    r"--[a-z][a-z-]+|ctrl\+\w|[⏎↑↓←→⇧]+|(?:^|· )(?:esc|tab|del|space)\b|https?://[a-z0-9:]+|[A-Z]+_[A-Z]+"
    r"|\.(?:gguf|safetensors|toml|md)\b|\b(?:tokenwalk|top-k|top-p|min-p|UTF-8|JSON|CSV|SVG|KL|LoRA|PATH|FILE)\b"
)
"""Names of keys, options and files, which stay as they are."""


def translations() -> Iterator[tuple[str, str]]:
    """The texts of all catalogues, each with its translation; of a plural the form for many."""
    for name in LANGUAGES:
        for message in catalogues.read(name):
            if message.id and last(message.string):
                yield last(message.id), last(message.string)


def last(text: str | tuple[str, ...]) -> str:
    return text if isinstance(text, str) else text[-1]


@pytest.fixture(scope="module")
def texts() -> Catalog:
    return catalogues.collected()


# The catalogues ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LANGUAGES)
def test_the_catalogue_has_the_texts_of_the_sources(name: str, texts: Catalog) -> None:
    known, used = ({message.id for message in each} for each in (catalogues.read(name), texts))
    assert known == used, UPDATE


@pytest.mark.parametrize("name", LANGUAGES)
def test_every_text_is_translated(name: str) -> None:
    catalogue = catalogues.read(name)
    assert catalogues.untranslated(catalogue) == []
    assert not any(message.fuzzy for message in catalogue if message.id)


@pytest.mark.parametrize("name", LANGUAGES)
def test_the_compiled_catalogue_is_that_of_the_written_one(name: str) -> None:
    written = catalogues.file_of(name)
    catalogue = catalogues.updated(name, catalogues.read(name))
    assert written.with_suffix(".mo").read_bytes() == catalogues.compiled(catalogue), UPDATE
    assert written.read_bytes() == catalogues.written(catalogue), UPDATE


def test_a_text_without_a_translation_stays_english() -> None:
    language.speak("vi")
    assert language._("no such text") == "no such text"
    assert language.ngettext("{count} no such text", "{count} no such texts", 1) == "{count} no such text"
    assert language._("") == ""


def test_a_new_text_is_found_and_an_old_translation_kept() -> None:
    known, new = catalogues.read("vi"), Message("a text that nobody has translated")
    changed = Catalog()
    changed.add("next token")
    changed[new.id] = new
    updated = catalogues.updated("vi", changed)
    assert updated.get("next token").string == known.get("next token").string != ""
    assert catalogues.untranslated(updated) == [new.id]


# Translations ------------------------------------------------------------------------------------------------------


def test_values_have_the_same_names_and_forms() -> None:
    def fields(text: str) -> list[tuple[str | None, str | None, str | None]]:
        return sorted({part[1:] for part in Formatter().parse(text) if part[1] is not None}, key=str)

    assert [(text, to) for text, to in translations() if is_template(text) and fields(text) != fields(to)] == []


def is_template(text: str) -> bool:
    """Whether a text has fields; others may hold single braces."""
    return bool(re.search(r"(?<!\{)\{[a-z_0-9]+(![rs])?(:[^}]*)?\}", text))


def test_spaces_around_texts_are_kept() -> None:
    def around(text: str) -> tuple[str, str]:
        return text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]

    assert [(text, to) for text, to in translations() if around(text) != around(to)] == []


def test_lines_are_kept() -> None:
    assert [(text, to) for text, to in translations() if text.count("\n") != to.count("\n")] == []


def test_names_of_keys_options_and_files_are_not_translated() -> None:
    wrong = [
        (text, found.group(), to)
        for text, to in translations()
        for found in UNCHANGED.finditer(text)
        if found.group() not in to
    ]
    assert wrong == []


def test_letters_are_composed_so_that_each_has_its_cell() -> None:
    assert [to for _, to in translations() if to != unicodedata.normalize("NFC", to)] == []


# Marks in the sources ----------------------------------------------------------------------------------------------


def marks(path: Path) -> Iterator[tuple[ast.Call, list[ast.AST]]]:
    """The calls of `_`, `N_` and `ngettext` in a file, each with the nodes around it, the innermost first."""

    def walk(node: ast.AST, around: list[ast.AST]) -> Iterator[tuple[ast.Call, list[ast.AST]]]:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MARKS:
            yield node, around
        for child in ast.iter_child_nodes(node):
            yield from walk(child, [node, *around])

    text = path.read_text(encoding="utf-8")
    return walk(catalogues.parsed(path), []) if any(f"{mark}(" in text for mark in MARKS) else iter(())


@pytest.fixture(scope="module")
def marked() -> list[tuple[str, ast.Call, list[ast.AST]]]:
    """Each mark with the place it stands."""
    return [
        (f"{path.relative_to(catalogues.ROOT)}:{call.lineno}", call, around)
        for path in SOURCES
        for call, around in marks(path)
    ]


def test_a_marked_text_is_in_the_catalogues(marked: list[tuple[str, ast.Call, list[ast.AST]]], texts: Catalog) -> None:
    """It is no f-string, whose values would be part of the text."""
    known = {text for message in texts for text in (message.id if isinstance(message.id, tuple) else (message.id,))}
    wrong = [
        place
        for place, call, _ in marked
        for each in call.args[: 2 if getattr(call.func, "id", "") == "ngettext" else 1]
        if isinstance(each, ast.JoinedStr) or (isinstance(each, ast.Constant) and each.value not in known)
    ]
    assert wrong == []


def test_the_values_of_a_text_are_those_it_names(marked: list[tuple[str, ast.Call, list[ast.AST]]]) -> None:
    """`_("{count} tokens").format(count=3)`, and the same for `UserError(_("{count} tokens"), count=3)`."""
    wrong = []
    for place, call, around in marked:
        text = call.args[0]
        if not isinstance(text, ast.Constant) or len(around) < 2:
            continue
        parent, filled = around[0], around[1]
        if isinstance(parent, ast.Call) and getattr(parent.func, "id", "") == "UserError" and parent.args[0] is call:
            filled = parent
            if not parent.keywords:
                continue
        elif not (isinstance(parent, ast.Attribute) and parent.attr == "format" and isinstance(filled, ast.Call)):
            continue
        names = {name.partition("[")[0].partition(".")[0] for _, name, _, _ in Formatter().parse(text.value) if name}
        given = {keyword.arg for keyword in filled.keywords}
        if names != given and None not in given:
            wrong.append((place, text.value, sorted(names ^ given)))
    assert wrong == []
