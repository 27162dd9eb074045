"""The catalogues of translations: `python tests/catalogues.py` collects texts, updates each `.po`, compiles each `.mo`.

Texts are what `_`, `N_` and `ngettext` mark in the sources, the help of commands, and what bindings say of keys. The
command lists the texts without a translation, and ends with 1 where there are some.
"""

import ast
import importlib
import pkgutil
import sys
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from textual.binding import Binding
from textual.dom import DOMNode
from typer.main import get_command

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]  # before this folder, whose `core` and `tui` are tests

from core import language  # noqa: E402

MARKS = {"_": None, "N_": None, "ngettext": (1, 2)}
HEADER = """\
# Texts of tokenwalk. `python tests/catalogues.py` adds new texts and compiles this file.
# The Vietnamese terms are in tui/course/lessons/vi/GLOSSARY.md."""


class Texts(Catalog):
    """A catalogue without dates and names, so that equal texts make equal files."""

    @property
    def mime_headers(self) -> list[tuple[str, str]]:  # type: ignore[override]
        return [
            ("Language", str(self.locale_identifier or "")),
            ("Plural-Forms", self.plural_forms),
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Transfer-Encoding", "8bit"),
        ]


def file_of(name: str) -> Path:
    """The `.po` of a language."""
    return language.FOLDER / name / "LC_MESSAGES" / f"{language.DOMAIN}.po"


def collected() -> Catalog:
    """Every text that a person can read, with the files it is in."""
    found = Catalog()
    for package in ("core", "tui"):
        for file, _, text, *_ in extract_from_dir(ROOT / package, [("**.py", "python")], keywords=MARKS):
            found.add(text, locations=[(f"{package}/{file}", 1)])
    for file, text in _texts_in_f_strings():
        found.add(text, locations=[(file, 1)])
    for text in _help_texts():
        found.add(text, locations=[("tui/cli.py", 1)])
    for module, text in (*_key_texts(), *_lens_texts()):
        if text:
            found.add(text, locations=[(f"{module.replace('.', '/')}.py", 1)])
    return found


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def _texts_in_f_strings() -> Iterator[tuple[str, str]]:
    """The marked texts inside f-strings, which Babel does not look into, with the file."""
    for package in ("core", "tui"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for outer in ast.walk(parsed(path)):
                for call in ast.walk(outer) if isinstance(outer, ast.JoinedStr) else ():
                    if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ("_", "N_"):
                        (text,) = call.args
                        if isinstance(text, ast.Constant):
                            yield str(path.relative_to(ROOT)), text.value


def _help_texts() -> Iterator[str]:
    """The help of commands and of their options."""
    from tui.cli import app

    group = get_command(app)
    for command in (group, *group.commands.values()):
        yield command.help
        yield from (each.help for each in command.params if getattr(each, "help", "") and each.opts != ["--lang"])


def _key_texts() -> Iterator[tuple[str, str]]:
    """What footers, help and palette say of keys, with the module."""
    import tui
    from tui.keys import FOOTER

    for found in pkgutil.walk_packages(tui.__path__, "tui."):
        if not found.name.endswith("__main__"):
            for value in list(vars(importlib.import_module(found.name)).values()):
                for binding in _bindings(value, found.name):
                    yield found.name, binding.tooltip
                    yield found.name, binding.description if binding.show or binding.id in FOOTER else ""


def _lens_texts() -> Iterator[tuple[str, str]]:
    """What the index and the palette say of lenses, with the module."""
    from tui import lenses

    yield from (("tui.lenses.__init__", group) for group in lenses.GROUPS)
    for lens in lenses.found():
        yield from ((lens.__module__, text) for text in (lens.TITLE, lens.DESCRIPTION, lens.ALSO))


def _bindings(value: object, module: str) -> Iterator[Binding]:
    """The bindings that a value of a module holds."""
    if isinstance(value, type) and issubclass(value, DOMNode) and value.__module__ == module:
        yield from _bindings(vars(value).get("BINDINGS", []), module)
    elif isinstance(value, list):
        yield from (each for each in value if isinstance(each, Binding))
    elif isinstance(value, Binding):
        yield value


def read(name: str) -> Catalog:
    """The catalogue of a language as people have written it; empty where there is no file."""
    if not file_of(name).exists():
        return Catalog(locale=name)
    with file_of(name).open("rb") as file:
        return read_po(file, locale=name, ignore_obsolete=True)


def updated(name: str, texts: Catalog) -> Catalog:
    """The catalogue of a language with exactly these texts; new ones are not translated."""
    old, new = read(name), Texts(locale=name, header_comment=HEADER, fuzzy=False)
    for message in texts:
        if message.id:
            known = old.get(message.id)
            places = sorted({(file, None) for file, _ in message.locations})
            new.add(message.id, known.string if known else "", locations=places)
    return new


def untranslated(catalogue: Catalog) -> list[str]:
    """The texts that have no translation."""
    return [str(message.id) for message in catalogue if message.id and not _is_translated(message)]


def _is_translated(message: Message) -> bool:
    return all(message.string) if isinstance(message.string, tuple) else bool(message.string)


def compiled(catalogue: Catalog) -> bytes:
    """The `.mo` of a catalogue."""
    write_mo(file := BytesIO(), catalogue)
    return file.getvalue()


def written(catalogue: Catalog) -> bytes:
    """The `.po` of a catalogue."""
    write_po(file := BytesIO(), catalogue, width=120, sort_output=True, include_lineno=False)
    return file.getvalue()


def main() -> int:
    """Update and compile every catalogue."""
    texts, missing = collected(), 0
    for name in language.languages()[1:]:
        catalogue = updated(name, texts)
        file_of(name).write_bytes(written(catalogue))
        file_of(name).with_suffix(".mo").write_bytes(compiled(catalogue))
        for text in untranslated(catalogue):
            sys.stdout.write(f"{name}: {text!r} is not translated\n")
            missing += 1
    return int(missing > 0)


if __name__ == "__main__":
    sys.exit(main())
