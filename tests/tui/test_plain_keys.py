"""`--plain`: every key of the app acts in words, in both languages, and nothing that is said draws."""

from pathlib import Path

import pytest
from plain_lines import drawn, said_by, spoken_labels  # noqa: F401  # a fixture of every test here

from core import language
from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from tui.keys import WALK
from tui.plain.spoken_app import SpokenWalk
from tui.settings import Settings

IDS = [binding.id or "" for binding in WALK if binding.id != "app.quit"]
MARK = "-----"
"""Before the id of a key; a word that means nothing is said again, in an error."""


def tour(folder: Path, *commands: str) -> dict[str, list[str]]:
    """What is said after each of some commands; what they open is left again."""
    app = SpokenWalk(
        ModelChoice(name="model5-trained", device="cpu"),
        Sampler(),
        "I prefer oat milk in",
        settings=Settings(fps=60),
        count=3,
        sessions=folder,
    )
    lines = [line for each in commands for line in (MARK + each, each, "escape", "escape")]
    said = said_by(app, *lines)
    found: dict[str, list[str]] = {}
    at = ""
    for line in said:
        if MARK in line:
            at = line.split(MARK)[1].split("'")[0]
            found[at] = []
        else:
            found.setdefault(at, []).append(line)
    return found


@pytest.mark.parametrize("spoken", ["en", "vi"])
def test_every_key_says_what_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoken: str) -> None:
    """Also where it opens a dialog or a screen, which the key escape leaves."""
    monkeypatch.chdir(tmp_path)
    language.speak(spoken)
    try:
        found = tour(tmp_path / "walks", *IDS)
    finally:
        language.speak("en")
    assert [id for id in IDS if not found.get(id)] == []
    assert {id: signs for id, lines in found.items() if (signs := drawn(lines))} == {}
