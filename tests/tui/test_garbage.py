"""The search for garbage leaves out what a long search has found in use, until a model is replaced.

Each test is a process of its own: a search among all that tests have imported takes a second.
"""

import subprocess
import sys

BEGIN = """
import gc, weakref
from tui import garbage

class Ring:  # refers to itself, so that only a search frees it
    def __init__(self):
        self.itself = self

"""


def alone(code: str) -> None:
    """Run code after `BEGIN` in a new process."""
    done = subprocess.run([sys.executable, "-c", BEGIN + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_a_long_search_found_in_use_is_left_out_later() -> None:
    alone("""
garbage.LONG = 0
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
""")


def test_after_a_short_search_nothing_is_left_out() -> None:
    alone("""
garbage.LONG = 1e9
with garbage.short_searches():
    gc.collect()
    assert gc.get_freeze_count() < 1000
""")


def test_at_the_end_all_is_searched_again() -> None:
    alone("""
garbage.LONG = 0
callbacks = list(gc.callbacks)
with garbage.short_searches():
    gc.collect()
    assert gc.get_freeze_count() > 1000
assert gc.callbacks == callbacks
assert gc.get_freeze_count() < 1000
""")
