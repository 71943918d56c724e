"""What the system lets this process have, where that is less than what was asked for."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from ..errors import ConfigError
from ..group import Context

#: Addresses that libraries still to be loaded take, LLVM first; measured, with a quarter to spare.
LIBRARIES = 350_000_000
#: Addresses that a thread takes: its stack, the heap that the C library reserves for it, its part in the kernels.
PER_THREAD = 130_000_000
#: Memory of the process besides pixels, measured.
RESIDENT = 350_000_000
#: Pixels should not go to scratch files for one thread more.
LEAST_PIXELS = 200_000_000
#: The heap keeps whatever it is given back; arrays of more bytes than any heap gives have pages of their own.
KEPT, LARGE = -1, (1 << 31) - 1
#: Of <malloc.h>, GNU; the most that older versions take for large.
_ARENA_MAX, _TRIM_THRESHOLD, _MMAP_THRESHOLD, _LARGEST = -8, -1, -3, 32 << 20
#: Of <linux/prctl.h>.
_SET_LARGE_PAGES_OFF, _LARGE_PAGES_OFF = 41, 42
_CGROUP = Path("/sys/fs/cgroup/memory.max")


def within_limits(context: Context, say: Callable[[str], None]) -> Context:
    """The context with as many threads and as much memory as the process may have; products do not depend on either.

    Native libraries abort, hang or interrupt the process where addresses run out, none of which can be caught: so
    this is asked before anything is started.

    Parameters
    ----------
    context : Context
        As the user wants it.
    say : callable
        Told of what is less.

    Raises
    ------
    ConfigError
        The address space (``ulimit -v``) does not hold the libraries and one thread.
    """
    threads, memory = context.threads, context.memory
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        room = limit - _addresses() - LIBRARIES
        if room < PER_THREAD:
            need = limit + PER_THREAD - room
            raise ConfigError(
                f"address space is limited to {limit / 1e6:.0f} MB; at least {need / 1e6:.0f} MB are needed",
                f"ulimit -v {-(-need // 1024)} or more, or unlimited",
            )
        threads = min(threads, max(1, (room - LEAST_PIXELS) // PER_THREAD))
        memory = min(memory, max(room - threads * PER_THREAD, 1))
    memory = min(memory, max(_physical() - RESIDENT, 1))
    if (threads, memory) != (context.threads, context.memory):
        jobs = f"{threads} thread{'s' if threads > 1 else ''}"
        say(f"system limits: {memory / 1e6:.0f} MB for pixels and {jobs} instead of the values asked for")
    return replace(context, threads=threads, memory=memory)


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep linear algebra on the thread that asks for it.

    Its matrices are small: threads of its own wait for each other, for longer than the work takes, and how they share
    it out could show in the last bit.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield


@contextlib.contextmanager
def small_pages() -> Iterator[None]:
    """Let arrays lie in small pages of memory, where the system can tell the two apart.

    numpy asks for large ones. A guest of another system takes them from memory that has been free for long, for which
    the host asks up to ten times what is done with it; small ones fit where others were.
    """
    try:
        prctl = ctypes.CDLL(None).prctl
    except (AttributeError, OSError, TypeError):  # another system
        yield
        return
    before = prctl(_LARGE_PAGES_OFF, 0, 0, 0, 0)
    prctl(_SET_LARGE_PAGES_OFF, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_SET_LARGE_PAGES_OFF, max(before, 0), 0, 0, 0)


@contextlib.contextmanager
def one_heap() -> Iterator[None]:
    """Let all threads take memory from one heap of the C library, which keeps what they give back, where it can.

    Else each thread has its own, and what the planes of a frame or task took goes back to the system to come again
    for the next. Where that is a guest of another one, new memory costs up to ten times what is done with it.
    """
    try:
        libc = ctypes.CDLL(None)
        mallopt, trim = libc.mallopt, libc.malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library
        yield
        return
    mallopt(_ARENA_MAX, 1)
    mallopt(_TRIM_THRESHOLD, KEPT)
    if not mallopt(_MMAP_THRESHOLD, LARGE):
        mallopt(_MMAP_THRESHOLD, _LARGEST)
    try:
        yield
    finally:  # what the library comes to by itself in a process of large arrays
        mallopt(_ARENA_MAX, 0)
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, 2 * _LARGEST)
        trim(0)


def processors() -> int:
    """Processors that this process may use; all there are, where the system does not tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _addresses() -> int:
    """Bytes of addresses in use."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()


def _physical() -> int:
    """Memory of the machine, or of the container where that is less."""
    size = os.sysconf("SC_PHYS_PAGES") * resource.getpagesize()
    with contextlib.suppress(OSError, ValueError):  # no container, or "max"
        size = min(size, int(_CGROUP.read_text(encoding="ascii")))
    return size
