"""SHA-256 of up to 16 messages of one length side by side, one in each lane of the vector unit.

A checksum is a chain that nothing can be done about, but a night has many files: where the processor has no
instructions for SHA, 16 of them take the time of 4. Source: FIPS 180-4, sections 4 to 6.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

LANES = 16
#: Bytes of a block.
BLOCK = 64
_U = np.uint32


@cache
def _constants() -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """First 32 bits of the fractions of the square roots of 8 primes, and of the cube roots of 64."""
    primes = np.array([n for n in range(2, 312) if all(n % k for k in range(2, n))], np.float64)
    roots = np.sqrt(primes[:8]), np.cbrt(primes)
    start, rounds = ((root % 1.0 * 2.0**32).astype(np.uint32) for root in roots)
    return start, rounds


@njit(nogil=True, cache=True, error_model="numpy")
def _turned(x, n):  # type: ignore[no-untyped-def]
    return _U(x >> _U(n)) | _U(x << _U(32 - n))


@njit(nogil=True, cache=True, error_model="numpy")
def _first(e, f, g, h, constant, word):  # type: ignore[no-untyped-def]
    mixed = _turned(e, 6) ^ _turned(e, 11) ^ _turned(e, 25)
    return _U(_U(_U(_U(h + mixed) + _U((e & f) ^ (~e & g))) + constant) + word)


@njit(nogil=True, cache=True, error_model="numpy")
def _second(a, b, c):  # type: ignore[no-untyped-def]
    mixed = _turned(a, 2) ^ _turned(a, 13) ^ _turned(a, 22)
    return _U(mixed + _U((a & b) ^ (a & c) ^ (b & c)))


@njit(nogil=True, cache=True, error_model="numpy")
def _eight_rounds(s, w, k):  # type: ignore[no-untyped-def]
    """Eight rounds of all lanes: after as many, each letter is back in its place. Offsets are plain, for vectors."""
    k0, k1, k2, k3, k4, k5, k6, k7 = k[0], k[1], k[2], k[3], k[4], k[5], k[6], k[7]
    for i in range(16):
        a, b, c, d = s[i], s[16 + i], s[32 + i], s[48 + i]
        e, f, g, h = s[64 + i], s[80 + i], s[96 + i], s[112 + i]
        x = _first(e, f, g, h, k0, w[i])
        d, h = _U(d + x), _U(x + _second(a, b, c))
        x = _first(d, e, f, g, k1, w[16 + i])
        c, g = _U(c + x), _U(x + _second(h, a, b))
        x = _first(c, d, e, f, k2, w[32 + i])
        b, f = _U(b + x), _U(x + _second(g, h, a))
        x = _first(b, c, d, e, k3, w[48 + i])
        a, e = _U(a + x), _U(x + _second(f, g, h))
        x = _first(a, b, c, d, k4, w[64 + i])
        h, d = _U(h + x), _U(x + _second(e, f, g))
        x = _first(h, a, b, c, k5, w[80 + i])
        g, c = _U(g + x), _U(x + _second(d, e, f))
        x = _first(g, h, a, b, k6, w[96 + i])
        f, b = _U(f + x), _U(x + _second(c, d, e))
        x = _first(f, g, h, a, k7, w[112 + i])
        e, a = _U(e + x), _U(x + _second(b, c, d))
        s[i], s[16 + i], s[32 + i], s[48 + i] = a, b, c, d
        s[64 + i], s[80 + i], s[96 + i], s[112 + i] = e, f, g, h


@njit(nogil=True, cache=True, error_model="numpy")
def _compress(state, messages, constants):  # type: ignore[no-untyped-def]
    """Take blocks of all lanes into the state (8 letters of 16 lanes); messages (16, words) as they lie in memory."""
    w, s = np.empty(64 * 16, np.uint32), np.empty(8 * 16, np.uint32)
    for block in range(messages.shape[1] // 16):
        for i in range(16):
            line = messages[i]
            for t in range(16):
                x = line[block * 16 + t]
                ends, inner = _U(x >> _U(24)) | _U(x << _U(24)), _U((x >> _U(8)) & _U(0xFF00))
                w[t * 16 + i] = ends | inner | _U((x << _U(8)) & _U(0xFF0000))
        for t in range(16, 64):
            part = w[t * 16 - 256 : t * 16 + 16]
            for i in range(16):
                p, q = part[16 + i], part[224 + i]
                one = _turned(p, 7) ^ _turned(p, 18) ^ _U(p >> _U(3))
                two = _turned(q, 17) ^ _turned(q, 19) ^ _U(q >> _U(10))
                part[256 + i] = _U(_U(_U(part[i] + one) + part[144 + i]) + two)
        s[:] = state
        for t in range(0, 64, 8):
            _eight_rounds(s, w[t * 16 : t * 16 + 128], constants[t : t + 8])
        for i in range(128):
            state[i] = _U(state[i] + s[i])


def sha256_together(chunks: Iterable[NDArray[np.uint8]]) -> list[str]:
    """SHA-256 of 16 messages of one length.

    Parameters
    ----------
    chunks : iterable of uint8 array, shape (16, n)
        Consecutive parts of the messages; `n` is a multiple of 64 but in the last.

    Returns
    -------
    list of str
        Hexadecimal digests, as hashlib gives them.

    Raises
    ------
    ValueError
        A chunk has another number of messages, or one that is not the last ends within a block.
    """
    start, constants = _constants()
    state, length, rest = np.repeat(start, LANES), 0, np.empty((LANES, 0), np.uint8)
    for chunk in chunks:
        if chunk.ndim != 2 or chunk.shape[0] != LANES or rest.size:
            raise ValueError(f"chunks of {LANES} messages and whole blocks are needed, not {chunk.shape}")
        whole = chunk.shape[1] // BLOCK * BLOCK
        _compress(state, _words(chunk[:, :whole]), constants)
        rest, length = chunk[:, whole:].copy(), length + chunk.shape[1]
    end = b"\x80" + bytes(-(rest.shape[1] + 9) % BLOCK) + (8 * length).to_bytes(8, "big")
    padding = np.tile(np.frombuffer(end, np.uint8), (LANES, 1))
    _compress(state, _words(np.concatenate([rest, padding], axis=1)), constants)
    return [lane.astype(">u4").tobytes().hex() for lane in state.reshape(8, LANES).T]


def _words(data: NDArray[np.uint8]) -> NDArray[Any]:
    return np.ascontiguousarray(data).view("<u4")
