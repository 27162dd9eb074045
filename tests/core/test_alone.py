"""core runs without the libraries of a screen, and some of its modules without torch."""

import pkgutil
import subprocess
import sys
from collections.abc import Iterable

import core

EVERY = sorted(module.name for module in pkgutil.walk_packages(core.__path__, "core."))
SCREEN = ["tui", "textual", "plotext", "rich", "typer"]
LIGHT = [
    "core.loading.catalog",
    "core.engine.config",
    "core.errors",
    "core.evaluation.values",
    "core.generation.sample",
    "core.generation.stop_conditions",
    "core.generation.token",
    "core.sampling.values",
    "core.sampling.explanation",
    "core.walk.values",
    "core.walk.tree",
    "core.walk.history",
    "core.walk.continuation_tree",
    "core.sessions.record",
    "core.sessions.reader",
    "core.sessions.writer",
    "core.sessions.storage",
    "core.sessions.export",
    "core.loading.tokenizers",
    "core.loading.description",
    "core.loading.families",
    "core.formats.weights_file",
    "core.loading.hub",
    "core.loading.ladder",
    "core.lenses",
    "core.engine.threads",
    "core.tokenizers.tokenizer",
    "core.tokenizers.model_files",
]


def fresh(script: str) -> list[str]:
    """The lines that `script` prints in a new interpreter."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def importing(modules: Iterable[str], without: Iterable[str]) -> str:
    blocked = f"import sys\nsys.modules.update(dict.fromkeys({list(without)!r}))\n"  # None there makes import fail
    return blocked + "".join(f"import {name}\n" for name in modules)


def test_core_runs_without_the_libraries_of_a_screen() -> None:
    """Every module imports, a model loads and a token is drawn, without Textual, plotext, rich and typer."""
    walk = (
        "from core.loading.choice import ModelChoice\n"
        "model = core.loading.models.load_model(ModelChoice(tokenizer='bytes', device='cpu'))\n"
        "walk = core.walk.session.Session(model)\n"
        "list(walk.prefill([104, 105]))\n"
        "print(walk.step().id)\n"
    )
    (drawn,) = fresh(importing(EVERY, without=SCREEN) + walk)
    assert 0 <= int(drawn) <= 256


def test_a_blocked_import_fails() -> None:
    """So the test above would notice an import of a blocked library."""
    assert fresh(importing([], without=SCREEN) + "try: import rich\nexcept ImportError: print('blocked')") == [
        "blocked"
    ]


def test_light_modules_import_no_torch() -> None:
    """Those are the modules that the command line and the first paint of the app need."""
    assert set(LIGHT) <= set(EVERY)
    assert fresh(
        importing(LIGHT, without=["torch"])
        + "print(len(core.loading.tokenizers.load_tokenizer('cl100k').encode('oat milk')))"
    )
    assert fresh(importing(LIGHT, without=[]) + "print('torch' in sys.modules, 'numpy' in sys.modules)") == [
        "False False"
    ]
