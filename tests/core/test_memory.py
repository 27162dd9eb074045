"""Pages of files are dropped only where they are as in the file."""

import subprocess
import sys

import pytest

from core.engine import memory

SMAPS = """\
7f0000000000-7f0000002000 {mode} 00000000 08:01 42 {path}
Size:                  8 kB
Rss:                   8 kB
Shared_Clean:          8 kB
Shared_Dirty:          {shared} kB
Private_Clean:         0 kB
Private_Dirty:         {private} kB
Referenced:            8 kB
Anonymous:             {anonymous} kB
Swap:                  {swap} kB
SwapPss:               0 kB
VmFlags: rd mr mw me
"""
CLEAN = {"mode": "r-xp", "path": "/lib/a b.so", "shared": 0, "private": 0, "anonymous": 0, "swap": 0}


def test_only_mappings_without_a_modified_page_are_clean() -> None:
    """Dirty here, dirty and shared with a parent, copied, swapped out, writable, or of no file: not clean."""
    clean = SMAPS.format(**CLEAN)
    assert list(memory._clean_mappings(clean + clean)) == [(0x7F0000000000, 0x2000)] * 2
    changes = [{"shared": 4}, {"private": 4}, {"anonymous": 4}, {"swap": 4}, {"mode": "rw-p"}, {"path": "[heap]"}]
    for change in changes:
        assert list(memory._clean_mappings(SMAPS.format(**CLEAN | change))) == []
    assert list(memory._clean_mappings(clean.replace("Swap:", "Other:"))) == []


FORK = """
import ctypes, mmap, os, sys, tempfile
from core.engine.memory import release_clean_pages

libc = ctypes.CDLL(None)
libc.mmap.restype, libc.mmap.argtypes = ctypes.c_void_p, [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
file = tempfile.NamedTemporaryFile()
file.write(b"a" * 8192), file.flush()
address = libc.mmap(None, 8192, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE, file.fileno(), 0)
ctypes.memset(address, ord("b"), 4096)
assert libc.mprotect(ctypes.c_void_p(address), 8192, mmap.PROT_READ) == 0
child = os.fork()
release_clean_pages()
read = ctypes.string_at(address, 8192)
assert read == b"b" * 4096 + b"a" * 4096, read[:4]
if child == 0:
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_forked_child_keeps_the_pages_that_its_parent_modified() -> None:
    """As a library's relocated pages."""
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=60)
