"""Keeps compiled code on disk, beside the sources or in the user's cache folder, where numba would keep it.

numba's own cache is outdated by a change of the function's own file alone, but `scheduler.step` includes code of all
files of this package. And numba fails at a damaged cache file each time; here it is replaced.
"""

import hashlib
import logging
from pathlib import Path
from typing import Any

from numba.core.caching import FunctionCache, IndexDataCacheFile

_log = logging.getLogger(__name__)


def _digest() -> str:
    """Of all sources in this folder."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(each.name.encode() + each.read_bytes() for each in files)).hexdigest()


class DiskCache(FunctionCache):
    """numba's cache of one function that any source of this package outdates and no damaged file stops."""

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        self._cache_file = IndexDataCacheFile(self._cache_path, self._impl.filename_base, _digest())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # a damaged pickle raises anything
            _log.info("the cache of compiled code in %s is damaged (%r): compiled again", self.cache_path, error)
            return self._forget()

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception as error:
            _log.info("compiled code could not be saved in %s: %r", self.cache_path, error)

    def _forget(self) -> None:
        """Write an empty index over a damaged one."""
        try:
            self.flush()
        except OSError as error:
            _log.info("%s cannot be written: %s", self.cache_path, error)


def enable(function: Any) -> None:
    """Let a numba function use the cache; where there is no folder to write to, it is compiled in each process."""
    try:
        function._cache = DiskCache(function.py_func)
    except RuntimeError as error:  # numba: no locator available
        _log.info("compiled code cannot be kept: %s", error)
