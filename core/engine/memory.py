"""Returns memory of this process to the operating system, and tells how much is left. Linux; elsewhere nothing."""

import ctypes
import mmap
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


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
        # In smaps, a file mapping that is readable and not writable, none of whose pages were modified.
        clean = r"^(\w+)-(\w+) r-..(?: \S+){3} +/.*\n(?:\w+: .*\n)*?Private_Dirty: +0 kB$"
        for start, end in re.findall(clean, Path("/proc/self/smaps").read_text(), re.MULTILINE):
            first, size = int(start, 16), int(end, 16) - int(start, 16)
            ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(size), mmap.MADV_DONTNEED)


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
    for folder, limit, usage, files in _groups():
        with suppress(OSError, ValueError):
            most, used = int((folder / limit).read_text()), int((folder / usage).read_text())
            cached = re.search(rf"^{files} (\d+)$", (folder / "memory.stat").read_text(), re.MULTILINE)
            if most < 1 << 60:
                yield max(0, most - used + (int(cached.group(1)) if cached else 0))


def _groups() -> Iterator[tuple[Path, str, str, str]]:
    """The folders of this process's control groups and of those around them, with the names of their files."""
    new = ("memory.max", "memory.current", "inactive_file")
    old = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):
                top, names = (CGROUPS / controllers, old) if controllers else (CGROUPS, new)
                inner = top / path.lstrip("/")
                for folder in (top, *(each for each in (inner, *inner.parents) if top in each.parents)):
                    yield folder, *names
