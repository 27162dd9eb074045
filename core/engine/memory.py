"""Returns memory of this process to the operating system. Both functions do nothing on systems they do not know."""

import ctypes
import mmap
import re
import sys
from pathlib import Path


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
