"""What glibc's heap is told: blocks that go when they are freed, and one heap for all threads."""

import ctypes
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")

BLOCKS = """
import ctypes
from monitor.heap import large_blocks_apart
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

class Info(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

libc.mallinfo2.restype = Info

def mapped():
    before = libc.mallinfo2().hblks
    block = libc.malloc(1 << 20)
    count = libc.mallinfo2().hblks - before
    libc.free(block)
    return count

with large_blocks_apart():
    inside = mapped()
print(inside, mapped())
"""
ARENAS = """
import ctypes, sys, threading
from monitor.heap import share_one_arena
if sys.argv[1] == "one":
    share_one_arena()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
threads = [threading.Thread(target=libc.malloc, args=(1000,)) for _ in range(3)]
for each in threads:
    each.start()
for each in threads:
    each.join()
libc.malloc_stats()
"""


def ran(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="an older glibc")
def test_large_blocks_are_mapped_alone_while_loading_only() -> None:
    assert ran(BLOCKS).stdout.split() == ["1", "0"]


def test_threads_share_one_arena() -> None:
    assert ran(ARENAS, "many").stderr.count("Arena ") > 1
    assert ran(ARENAS, "one").stderr.count("Arena ") == 1
