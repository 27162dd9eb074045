"""Fixtures of all tests: one thread in each process, and models from files that are loaded once."""

import gc
import gettext
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; there is a process of tests for each core
os.environ["TOKENWALK_LANG"] = "en"  # also of programs that tests start
os.environ["TEXTUAL_FPS"] = "1000"  # before Textual is imported; apps of tests paint what is due without waiting

import pytest
import textual.constants  # noqa: F401  # reads TEXTUAL_FPS

from core import language
from tui.garbage import THRESHOLDS

if TYPE_CHECKING:  # the process that gives tests to the others needs no torch
    from core.loading.model import Model

del os.environ["TEXTUAL_FPS"]  # programs that tests start paint as often as they do for a person


def pytest_configure() -> None:
    """Collecting tests makes no garbage worth a search."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Modules and tests stay to the end: searching them for garbage took a fifth of the whole time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    gc.enable()


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test begins in English, whatever a test before has spoken."""
    monkeypatch.delenv("LANGUAGE", raising=False)
    monkeypatch.setenv("TOKENWALK_LANG", "en")
    yield
    language.speak("en")
    gettext.textdomain("messages")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Torch computes on one thread, whatever the module before has set."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def smollm2() -> Callable[[str], "Model"]:
    """SmolLM2 in a number format. All tests of a process share it, so they leave it unchanged."""
    from core.loading.choice import ModelChoice
    from core.loading.models import load_model

    @cache
    def load(dtype: str) -> "Model":
        return load_model(ModelChoice(name="smollm2", device="cpu", dtype=dtype))

    return load


@pytest.fixture
def shared_weights(smollm2: Callable[[str], "Model"], monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that load SmolLM2 in float32 use the shared weights; all else is loaded again."""
    from core.loading import weights

    transformer = smollm2("fp32").transformer
    monkeypatch.setattr(weights, "build_model", lambda *_: transformer)


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny chat model, one token a byte, which no test changes."""
    from tiny_models import write_chat_model

    return write_chat_model(tmp_path_factory.mktemp("models") / "tiny-chat")


@pytest.fixture(scope="session")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a LoRA adapter for `chat_model`, which no test changes."""
    from tiny_models import write_adapter

    return write_adapter(tmp_path_factory.mktemp("adapters") / "oat")


@pytest.fixture(scope="session")
def pythia_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of huggingface_hub with four revisions of a tiny Pythia, which no test changes."""
    from tiny_models import write_pythia_cache

    return write_pythia_cache(tmp_path_factory.mktemp("cache") / "hub")
