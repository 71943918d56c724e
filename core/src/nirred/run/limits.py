"""Limits that the system sets on memory and threads of this process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from ..algorithms.shared import shared
from ..errors import ConfigError
from ..group import Context

#: Address space of libraries still to be loaded, mainly LLVM; measured, plus a quarter.
LIBRARIES = 350_000_000
#: Address space of a thread: its stack, the heap that the C library reserves for it, its share of the kernels.
PER_THREAD = 130_000_000
#: Memory of the process without pixels, measured.
RESIDENT = 350_000_000
#: Memory left for pixels: more threads should not force pixels to scratch files.
LEAST_PIXELS = 200_000_000
#: Settings of the C library: the heap keeps all freed memory; larger arrays are mapped separately.
KEPT, LARGE = -1, (1 << 31) - 1
#: From GNU <malloc.h>; the last is the largest mmap threshold that older versions accept.
_ARENA_MAX, _TRIM_THRESHOLD, _MMAP_THRESHOLD, _LARGEST = -8, -1, -3, 32 << 20
#: From <linux/prctl.h>.
_SET_LARGE_PAGES_OFF, _LARGE_PAGES_OFF = 41, 42
_CGROUP = Path("/sys/fs/cgroup/memory.max")


def within_limits(context: Context, say: Callable[[str], None]) -> Context:
    """Reduce threads and memory of the context to the process's limits; products do not depend on either.

    If the address space runs out, native libraries abort, hang or interrupt the process, which cannot be caught.
    Therefore the limits are checked before anything is started.

    Parameters
    ----------
    context : Context
        As requested by the user.
    say : callable
        Called with a message on each reduction.

    Raises
    ------
    ConfigError
        The address space (``ulimit -v``) is too small for the libraries and one thread.
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
    lowered = [f"{memory / 1e6:.0f} MB for pixels"] if memory != context.memory else []
    lowered += [f"{threads} thread{'s' if threads > 1 else ''}"] if threads != context.threads else []
    if lowered:
        say(f"system limits: {' and '.join(lowered)}, less than asked for")
    return replace(context, threads=threads, memory=memory)


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Run linear algebra on the calling thread only.

    The matrices are small: BLAS threads would wait for each other longer than the work takes, and the way they divide
    it could change the last bit.
    """
    from threadpoolctl import threadpool_limits

    with _one_blas_thread_for_all(), threadpool_limits(1, user_api="blas"):  # some libraries count by thread
        yield


@shared
@contextlib.contextmanager
def _one_blas_thread_for_all() -> Iterator[None]:
    """Limit the threads that all callers share.

    Only the thread that has limited them can lift the limit: a thread of its own does both.
    """
    from threadpoolctl import threadpool_limits

    with ThreadPoolExecutor(1, "nirred-blas") as keeper:
        limit = contextlib.ExitStack()
        keeper.submit(lambda: limit.enter_context(threadpool_limits(1, user_api="blas"))).result()
        try:
            yield
        finally:
            keeper.submit(limit.close).result()


@shared
@contextlib.contextmanager
def small_pages() -> Iterator[None]:
    """Use small memory pages for arrays, if the system supports the choice.

    numpy requests large pages. A virtual machine takes these from memory that has long been free, which the host may
    take up to ten times as long to provide as it takes to use; small pages reuse recently freed memory.
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


@shared
@contextlib.contextmanager
def one_heap() -> Iterator[None]:
    """Use one heap of the C library for all threads, which keeps freed memory, if the C library supports it.

    Otherwise each thread has its own heap, and the memory of each frame or task returns to the system and is requested
    again for the next. In a virtual machine, getting new memory may take ten times as long as using it.
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
    finally:  # the values that the library itself would reach in a process with large arrays
        mallopt(_ARENA_MAX, 0)
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, 2 * _LARGEST)
        trim(0)


def processors() -> int:
    """Number of processors that this process may use; all of them if the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _addresses() -> int:
    """Bytes of address space in use."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()


def _physical() -> int:
    """Memory of the machine, or of the container if that is less."""
    size = os.sysconf("SC_PHYS_PAGES") * resource.getpagesize()
    with contextlib.suppress(OSError, ValueError):  # no container, or "max"
        size = min(size, int(_CGROUP.read_text(encoding="ascii")))
    return size
