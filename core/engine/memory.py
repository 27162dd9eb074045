"""Returns memory of this process to the operating system, and tells how much is left. Linux; elsewhere nothing."""

import ctypes
import mmap
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from core import cgroups


def return_free_memory() -> None:
    """Make the C library return freed memory that it keeps for later allocations (glibc's `malloc_trim`)."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def release_clean_pages() -> None:
    """Drop the unmodified pages of mapped files, such as those of torch's libraries, from this process (Linux).

    The kernel reads a page again when it is next used. Called before weights are mapped, this lowers the peak memory:
    most of a library's pages are used at its import only.
    """
    if sys.platform == "linux":
        for first, size in _clean_mappings(Path("/proc/self/smaps").read_text()):
            ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(size), mmap.MADV_DONTNEED)


def _clean_mappings(smaps: str) -> Iterator[tuple[int, int]]:
    """Address and size of each mapping of a file that is readable, not writable, and all of whose pages are the file's.

    A page that was modified counts as dirty, as shared with a parent process after a fork, as anonymous, or as swapped.
    """
    for mapping in re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", smaps, flags=re.MULTILINE)[1:]:
        head, _, counts = mapping.partition("\n")
        where, mode, *_, path = head.split(maxsplit=5)
        sizes = dict(re.findall(r"^(Private_Dirty|Shared_Dirty|Anonymous|Swap): +(\d+) kB$", counts, re.MULTILINE))
        if mode.startswith("r-") and path.startswith("/") and set(sizes.values()) == {"0"} and len(sizes) == 4:
            first, end = (int(each, 16) for each in where.split("-"))
            yield first, end - first


def mapped_bytes(files: Iterable[Path], tensors: Iterable[tuple[int, int]]) -> int | None:
    """Bytes of those `tensors`, each an address and a size, that lie in mappings of `files` (Linux).

    None where the system does not tell.
    """
    try:
        lines = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines()]
    except OSError:
        return None
    names = {str(path.resolve()) for path in files}
    ranges = [tuple(int(end, 16) for end in line[0].split("-")) for line in lines if line[5:] and line[5] in names]
    return sum(size for address, size in set(tensors) if any(first <= address < end for first, end in ranges))


def used() -> int | None:
    """Bytes of memory that this process has for itself: without pages of files that it only reads (Linux)."""
    with suppress(OSError, ValueError, IndexError):
        _size, resident, shared, *_rest = map(int, Path("/proc/self/statm").read_text().split())
        return (resident - shared) * mmap.PAGESIZE
    return None


def available() -> int | None:
    """Bytes that this process can still use without swapping: of the machine and of its control groups (Linux).

    None where the system does not tell.
    """
    sizes = list(_left_in_groups())
    with suppress(OSError):
        found = re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
        sizes += [1024 * int(found.group(1))] if found else []
    return min(sizes, default=None)


def _left_in_groups() -> Iterator[int]:
    """What each control group of this process has left of its limit; pages of files can be dropped, so they count."""
    names = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        2: ("memory.max", "memory.current", "inactive_file"),
    }
    for folder, version in cgroups.folders("memory"):
        limit, usage, files = names[version]
        with suppress(OSError, ValueError):
            most, used = int((folder / limit).read_text()), int((folder / usage).read_text())
            cached = re.search(rf"^{files} (\d+)$", (folder / "memory.stat").read_text(), re.MULTILINE)
            if most < 1 << 60:
                yield max(0, most - used + (int(cached.group(1)) if cached else 0))
