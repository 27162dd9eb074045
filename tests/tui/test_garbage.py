"""The search for garbage leaves out what a long search has found in use, until a model is replaced."""

import gc
import weakref

import pytest

from tui import garbage


class Ring:
    """Refers to itself, so that only a search frees it."""

    def __init__(self) -> None:
        self.itself = self


def test_what_a_long_search_found_in_use_is_left_out_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "LONG", 0)
    with garbage.short_searches():
        ring = Ring()
        seen = weakref.ref(ring)
        gc.collect()
        assert gc.get_freeze_count() > 1000
        del ring
        gc.collect()
        assert seen() is not None
        garbage.search_all_again()
        gc.collect()
        assert seen() is None


def test_after_a_short_search_nothing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "LONG", 1e9)
    gc.unfreeze()
    with garbage.short_searches():
        gc.collect()
        assert gc.get_freeze_count() < 1000


def test_at_the_end_all_is_searched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "LONG", 0)
    callbacks = list(gc.callbacks)
    with garbage.short_searches():
        gc.collect()
    assert gc.callbacks == callbacks
    assert gc.get_freeze_count() < 1000
