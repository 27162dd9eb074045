"""Keeps compiled code on disk, beside the sources or in the user's cache folder, where numba would keep it.

numba's own cache is outdated by a change of the function's own file alone, but `scheduler.step` includes code of all
files of this package. And numba fails at a damaged cache file each time; here it is replaced.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from numba.core.caching import FunctionCache, IndexDataCacheFile

from core.engine.packed.kernels.cache_problems import report


@cache
def digest() -> str:
    """Of all sources in this folder and below."""
    files = sorted(Path(__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(each.name.encode() + each.read_bytes() for each in files)).hexdigest()


class DiskCache(FunctionCache):
    """numba's cache of one function that any source of this package outdates and no damaged file stops."""

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        self._cache_file = IndexDataCacheFile(self._cache_path, self._impl.filename_base, digest())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # a damaged pickle raises anything
            report(f"the compiled code in {self.cache_path} is damaged ({error!r}): compiled again")
            return self._forget()

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception as error:
            report(f"compiled code cannot be kept in {self.cache_path}: {error!r}")

    def _forget(self) -> None:
        """Write an empty index over a damaged one."""
        try:
            self.flush()
        except OSError as error:
            report(f"{self.cache_path} cannot be written: {error}")


def enable(function: Any) -> None:
    """Let a numba function use the cache; where there is no folder to write to, it is compiled in each process."""
    try:
        function._cache = DiskCache(function.py_func)
    except RuntimeError as error:  # numba: no locator available
        report(f"compiled code cannot be kept: {error}")


@cache
def folder() -> Path | None:
    """Where compiled code is kept; None where there is no such folder."""
    try:
        return Path(FunctionCache(report).cache_path)
    except RuntimeError:
        return None
