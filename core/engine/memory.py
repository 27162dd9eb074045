"""Memory of this process that can be returned to the system."""

import ctypes
import mmap
import re
import sys
from pathlib import Path


def return_free_memory() -> None:
    """Let the C library return memory that is free but kept, where it is one that keeps much (glibc)."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def release_clean_pages() -> None:
    """Let the system take back what libraries were read for once, as to begin; it would be read again from the file."""
    if sys.platform == "linux":
        unwritten = r"^(\w+)-(\w+) r-..(?: \S+){3} +/.*\n(?:\w+: .*\n)*?Private_Dirty: +0 kB$"
        for start, end in re.findall(unwritten, Path("/proc/self/smaps").read_text(), re.MULTILINE):
            first, size = int(start, 16), int(end, 16) - int(start, 16)
            ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(size), mmap.MADV_DONTNEED)
