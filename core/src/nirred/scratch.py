"""Scratch files: unnamed files on disk, mapped into memory."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import resource
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from .errors import DataError
from .files import take_space

#: Prefix and suffix of the names that scratch files have until they are unlinked.
PREFIX, SUFFIX = "nirred-", ".planes"
#: Number of bytes that a single access to a mapped file may load in addition to those accessed.
LARGE_PAGE = 1 << 21
#: Largest number of stripes in a file; each is a separate mapping, and the system allows 65530.
_MOST_STRIPES = 1000
#: The same on Linux, macOS and BSD; Python's `mmap` does not name it.
_MAP_FIXED = 0x10


def remove_scratch(folder: Path) -> None:
    """Remove the empty files of processes that died between creating a scratch file and unlinking it."""
    for path in folder.glob(f"{PREFIX}*{SUFFIX}"):
        with contextlib.suppress(OSError):
            if path.stat().st_size == 0:
                path.unlink()


class ScratchFile:
    """`size` bytes on disk, initially zero, freed by `close` or at the end of the process.

    Threads that write to one file block each other. The bytes are therefore spread in alternating stripes over two
    files, and one mapping shows them in order. If the address space is limited (``ulimit -v``) there is one file, and
    each access makes its own mapping. All of the space is allocated at once: a full disk found while writing to a
    mapping would end the process.

    Parameters
    ----------
    size : int
        Bytes.
    folder : Path
        Directory of the files.
    stripe : int
        Bytes that one thread writes while another thread writes the next stripe.

    Attributes
    ----------
    memory : mmap or None
        Mapping of all bytes; None if the address space is limited.

    Raises
    ------
    DataError
        There is no such folder, or the disk is full.
    """

    def __init__(self, size: int, folder: Path, stripe: int) -> None:
        self.memory: mmap.mmap | None = None
        self._files: list[int] = []
        self._stripe = -(-max(stripe, size // _MOST_STRIPES, 1) // LARGE_PAGE) * LARGE_PAGE
        mapped = addresses_unlimited()
        try:
            for _ in range(2 if mapped and size > self._stripe else 1):
                self._files.append(_nameless(folder))
            for file in self._files:
                os.ftruncate(file, size)  # each file has holes in place of the other's stripes
            for file, start, stop in self._parts(0, size):
                take_space(file, stop - start, start)
            if mapped:
                self.memory = mmap.mmap(self._files[0], size)
                for file, start, stop in self._parts(0, size):
                    if file != self._files[0]:
                        _lay_over(self.memory, file, start, stop - start)
        except OSError as error:
            self.close()
            raise _failed(error) from error

    def _parts(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Split [start, stop) into pieces within one file: (descriptor, start, stop), the same position in the file."""
        while start < stop:
            stripe = start // self._stripe
            end = min(stop, (stripe + 1) * self._stripe) if len(self._files) > 1 else stop
            yield self._files[stripe % len(self._files)], start, end
            start = end

    def look(self, start: int, size: int) -> tuple[mmap.mmap, int]:
        """A new mapping of `size` bytes from `start`, and their position in it; for a single file."""
        before = start % mmap.ALLOCATIONGRANULARITY
        return mmap.mmap(self._files[0], before + max(size, 1), offset=start - before), before

    def write(self, data: memoryview, position: int) -> None:
        """Write bytes; they are then visible in the mapping.

        Raises
        ------
        DataError
            The disk has failed.
        """
        try:
            for file, start, stop in self._parts(position, position + len(data)):
                while start < stop:
                    start += os.pwrite(file, data[start - position : stop - position], start)
        except OSError as error:
            raise _failed(error) from error

    def close(self) -> None:
        """Free the bytes; views of them stay valid as long as they are referenced."""
        self.memory = None
        while self._files:
            os.close(self._files.pop())


def addresses_unlimited() -> bool:
    """Whether this process may map files of any size."""
    return resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


def _nameless(folder: Path) -> int:
    """Descriptor of an empty, unlinked file: a crash leaves nothing behind."""
    descriptor, name = tempfile.mkstemp(prefix=PREFIX, suffix=SUFFIX, dir=folder)
    Path(name).unlink(missing_ok=True)
    return descriptor


@cache
def _system_mmap() -> Any:
    """The C library's `mmap`, which can place a mapping at a given address."""
    function = ctypes.CDLL(None, use_errno=True).mmap
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
    function.restype = ctypes.c_void_p
    return function


def _lay_over(memory: mmap.mmap, file: int, at: int, size: int) -> None:
    """Map the same position of another file over part of a mapping. The whole is unmapped as one mapping."""
    place = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + at
    access, how = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | _MAP_FIXED
    if _system_mmap()(place, size, access, how, file, at) != place:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _failed(error: OSError) -> DataError:
    return DataError(f"scratch file: {error.strerror or error}", "free space, --scratch DIR, or a larger --memory")
