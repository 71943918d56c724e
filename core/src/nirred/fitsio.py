"""Reading of raw planes and writing of products: the only module that accesses FITS pixels."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .algorithms.ramps import ramp_counts
from .algorithms.threads import run_blocks
from .dq import DQ, NOT_SIGNAL
from .errors import DataError, Unreadable
from .files import replacing
from .frame import Plane, Ramp
from .headers import Header, Headers, printable_ascii, walk
from .plugin.frames import Detector, Exposure
from .streams import DAMAGE, damaged, open_stream

if TYPE_CHECKING:
    from astropy.io import fits


#: Bytes of a file that are read at once.
_CHUNK = 1 << 18
#: Keywords by which nirred and Gemini's software mark their bad-pixel masks, and whatever else they write.
MASK_STAMPS, PRODUCT_STAMPS = ("BPMASK", "PROCBPM"), ("NIRRED", "GEM-TLM")
KNOWN_BITS = int(sum(DQ))
#: What flags a larger share of its pixels is no mask: in a frame of counts, hardly one is 0.
NO_MASK = 0.99
#: Images that follow a product's SCI; where they come first, it is lost.
BESIDE = ("VAR", "NEXP", "NOISECOV")
#: No count or response is as large; its square still fits into float32.
LARGEST = 1e18
REPAIR = "correct the header, or leave the file out with --exclude"
_TYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


def read_image(path: Path, header: Header, plane: int | None = None) -> np.ndarray:
    """Pixels of one image HDU, scaled by BSCALE and BZERO, NaN where BLANK; axes of length 1 are dropped.

    Parameters
    ----------
    path : Path
        The file, compressed or not.
    header : Header
        Header of that HDU as read by `Headers`, with the offset of the pixels.
    plane : int, optional
        Index along the slowest axis of a cube.

    Returns
    -------
    float32 (ny, nx)

    Raises
    ------
    Unreadable
        The pixels are truncated or damaged, or BSCALE or BZERO is not a number.
    DataError
        Not a 2-D image once axes of length 1 are dropped.
    """
    with _opened(path) as stream:
        return _read_image(stream, path, header, plane)


def _read_image(stream: io.BufferedIOBase, path: Path, header: Header, plane: int | None) -> np.ndarray:
    if header.get("ZIMAGE") is True:
        data = _read_tiles(path, header)
    else:
        data = _read_pixels(stream, path, header)
    if plane is not None:
        if data.ndim < 3 or plane >= len(data):
            raise DataError(f"{path.name}: no plane {plane} in an image of shape {header.shape}")
        data = data[plane]
    data = data.reshape([n for n in data.shape if n > 1] if data.size > 1 else [1, 1])
    if data.ndim == 1:
        data = data.reshape(header.shape[-2:])
    if data.ndim != 2:
        raise DataError(f"{path.name}: an image of shape {header.shape} is not one detector's plane")
    return data


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedIOBase]:
    """A file's decompressed bytes; a compressed file is read to the end, where its checksum reveals any damage."""
    with open_stream(path) as stream:
        if isinstance(stream, io.BufferedReader):  # not compressed
            yield stream
            return
        try:
            yield stream
            while stream.read(1 << 20):
                pass
        except DAMAGE as error:
            raise damaged(path, error) from error


def _read_pixels(stream: io.BufferedIOBase, path: Path, header: Header) -> np.ndarray:
    bitpix = header.get("BITPIX")
    if bitpix not in _TYPES:
        raise Unreadable(f"{path.name}: BITPIX = {bitpix!r} is not a FITS type", "fetch the file again")
    kind = np.dtype(_TYPES[bitpix])
    scaling = _scaling(path, header)
    blank = int(_number(path, header, "BLANK", 0)) if "BLANK" in header and kind.kind != "f" else None
    pixels = np.empty(math.prod(header.shape), np.float32)
    size, done = pixels.size * kind.itemsize, 0
    for raw in _chunks(stream, header.data_offset, size):
        whole = raw.size // kind.itemsize
        first = done // kind.itemsize
        values, out = raw[: whole * kind.itemsize].view(kind), pixels[first : first + whole]
        _scale(values, scaling, out)
        if blank is not None:
            out[values == blank] = np.nan
        done += raw.size
    if done < size:
        raise Unreadable(f"{path.name}: truncated: {done} of {size} bytes of pixels")
    return pixels.reshape(header.shape)


def _chunks(stream: io.BufferedIOBase, start: int, size: int) -> Iterator[np.ndarray]:
    """Up to `size` bytes of a file from `start`, in chunks of whole pixels that fit in the CPU caches."""
    stream.seek(start)
    buffer = np.empty(min(size, _CHUNK), np.uint8)
    while size > 0:
        got = stream.readinto(buffer[:size].data)
        if not got:
            return
        yield buffer[:got]
        size -= got


def _scaling(path: Path, header: Header) -> tuple[float, float]:
    scale, zero = float(_number(path, header, "BSCALE", 1)), float(_number(path, header, "BZERO", 0))
    if scale == 0:
        raise Unreadable(f"{path.name}: BSCALE = 0 makes all pixels alike", REPAIR)
    return scale, zero


def _number(path: Path, header: Header, key: str, default: int) -> int | float:
    """A keyword that scales the stored values; an error if it is not a number."""
    value = header.get(key) if key in header else default
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Unreadable(f"{path.name}: {key} = {'?' if value is None else repr(value)} is no number", REPAIR)
    return value


def _scale(values: np.ndarray, scaling: tuple[float, float], out: np.ndarray) -> None:
    """Convert stored values to float32; those that it cannot hold become infinite."""
    scale, zero = scaling
    with np.errstate(over="ignore", invalid="ignore"):
        if scale == 1.0 and zero == 0.0:
            out[...] = values
        elif scale == 1.0 and values.itemsize <= 2 and zero.is_integer() and abs(zero) < 1 << 23:  # exact in 24 bits
            out[...] = values
            out += np.float32(zero)
        else:
            out[...] = values.astype(np.float64) * scale + zero


def _read_tiles(path: Path, header: Header) -> np.ndarray:
    """Read tile-compressed (.fz) images with astropy, selected by position because names may be equal."""
    from astropy.io import fits

    _scaling(path, header)
    try:
        with fits.open(path) as hdus:
            for hdu in hdus:
                if isinstance(hdu, fits.CompImageHDU) and hdu.fileinfo()["datLoc"] == header.data_offset:
                    return np.asarray(hdu.data, np.float32)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # exceptions for damaged tiles have no common base class or public names
        raise Unreadable(f"{path.name}: damaged compression: {error}", "fetch the file again") from error
    raise Unreadable(f"{path.name}: no tile-compressed image found")


def read_planes(path: Path, headers: Headers, exposure: Exposure, detectors: Sequence[Detector]) -> list[np.ndarray]:
    """Raw planes of one exposure from the core reader, one per detector: float32 (ny, nx), ADU.

    They are read from the HDUs given by the exposure, else by the detectors, else from all images of the file, in
    order.

    Raises
    ------
    DataError
        The file has no image, or not one per detector, or an HDU given by the plugin does not exist or is given twice.
    Unreadable
        The file is truncated or damaged.
    """
    own = tuple(d.hdu for d in detectors if d.hdu is not None)
    wanted = exposure.hdus or (own if len(own) == len(detectors) else ())
    if len(set(wanted)) < len(wanted):
        raise DataError(f"{path.name}: several detectors in one HDU", "the plugin must read them (nirred_open)")
    planes: dict[int, np.ndarray] = {}
    found = set()
    with _opened(path) as stream:
        for i, header in enumerate(walk(stream, path)) if headers.compressed else headers.images:
            if header.is_image and (i in wanted or not wanted):
                found.add(i)
                if len(found) <= len(detectors):
                    planes[i] = _read_image(stream, path, header, exposure.plane)
    if not found or not found.issuperset(wanted):
        raise DataError(f"{path.name}: no image in HDU {', '.join(map(str, wanted)) or 'at all'}")
    number = len(wanted or found)
    if number != len(detectors):
        count = f"{number} image{'s' if number > 1 else ''}, {len(detectors)} expected"
        raise DataError(f"{path.name}: {count}", "leave it out with --exclude")
    return [planes[i] for i in wanted or planes]


def read_mask(path: Path) -> list[np.ndarray]:
    """A mask's planes as flags, uint16 (ny, nx): from its ``DQ`` extensions or, without any, its images.

    Every value other than 0, including NaN, is a bad pixel, because numbering of bad pixels differs between programs.
    Only if nirred or Gemini's software wrote the mask are values of 1 to 127 read as bits of `DQ`.

    Raises
    ------
    Unreadable, DataError
        Not a mask: more than `NO_MASK` of its pixels are flagged.
    """
    headers = Headers.read(path)
    images = [h for _, h in headers.images]
    named = [h for h in images if str(h.get("EXTNAME", "")).upper() == "DQ"]
    unnamed = [h for h in images if str(h.get("EXTNAME", "SCI")).upper() in ("SCI", "")]
    stamps = MASK_STAMPS + (PRODUCT_STAMPS if named else ())
    bits = any(stamp in headers.primary for stamp in stamps)
    planes = [_flags(read_image(path, h), bits=bits) for h in named or unnamed or images[:1]]
    flagged = sum(np.count_nonzero(p) for p in planes) / max(sum(p.size for p in planes), 1)
    if flagged > NO_MASK:
        what = f"{path.name}: as a mask it flags {flagged:.2%} of its pixels"
        raise DataError(what, "name a mask: 0 is good, anything else bad")
    return planes


def _flags(mask: np.ndarray, *, bits: bool) -> np.ndarray:
    flags = np.where(mask != 0, np.uint16(DQ.BAD_PIXEL), np.uint16(0))
    if bits:
        known = (mask >= 1) & (mask <= KNOWN_BITS)
        flags[known] = mask[known]
    return flags


def read_calibration(path: Path) -> list[Plane]:
    """Planes of a processed dark, flat or stack: nirred's, Gemini's, or an image without VAR and DQ.

    Pixels without a usable value or variance are flagged (`_unusable`).

    Raises
    ------
    Unreadable, DataError
        The file has no image, or its SCI, VAR and DQ differ in shape.
    """
    from .plugin.coordinates import wcs_from_header

    headers = Headers.read(path)
    images = [h for _, h in headers.images]
    if not images:
        raise DataError(f"{path.name}: no image in it", "name a processed calibration")
    by_name: dict[str, list[Header]] = {}
    for h in images:
        by_name.setdefault(str(h.get("EXTNAME", "SCI")).upper() or "SCI", []).append(h)
    if "SCI" not in by_name and next(iter(by_name)) in BESIDE:
        raise DataError(f"{path.name}: no image SCI in it, only {', '.join(by_name)}", "make it again, or name another")
    science = by_name.get("SCI", images[:1])
    planes = []
    for i, h in enumerate(science):
        data = read_image(path, h)
        dq = _flags(read_image(path, by_name["DQ"][i]), bits=True) if i < len(by_name.get("DQ", [])) else None
        var = read_image(path, by_name["VAR"][i]) if i < len(by_name.get("VAR", [])) else None
        dq = np.zeros(data.shape, np.uint16) if dq is None else dq
        for name, other in (("DQ", dq), ("VAR", var)):
            if other is not None and other.shape != data.shape:
                what = f"{path.name}: its {name} is {_size(other)} pixels, its SCI {_size(data)}"
                raise DataError(what, "make it again, or name another")
        lost = _unusable(data, var)
        dq[lost & ((dq & np.uint16(NOT_SIGNAL)) == 0)] |= np.uint16(DQ.BAD_PIXEL)
        if lost.any():  # medians of the noise model include bad pixels
            data = np.where(lost, np.float32(0), data)
            var = None if var is None else np.where(lost, np.float32(0), var)
        planes.append(Plane(data, dq, var, wcs_from_header(h)))
    return planes


def _size(image: np.ndarray) -> str:
    return "x".join(map(str, image.shape[::-1]))


def _unusable(data: np.ndarray, var: np.ndarray | None) -> np.ndarray:
    """Pixels that are not finite or too large to be squared in float32, or whose variance is, or is negative."""
    usable = np.abs(data) < LARGEST
    return np.asarray(~(usable if var is None else usable & (var >= 0) & (var < LARGEST**2)), bool)


def ramp_plane(ramp: Ramp, detector: Detector, name: str) -> np.ndarray:
    """Raw plane, float32 (ny, nx) in ADU, of an exposure in the file `name` that its plugin opens as a ramp.

    Raises
    ------
    Unreadable
        The reads and times are inconsistent.
    """
    noise, gain = detector.read_noise or 0.0, detector.gain or 1.0
    try:
        return ramp_counts(ramp.reads, ramp.times, gain=gain, read_noise=noise, saturation=detector.saturation)
    except ValueError as error:
        raise Unreadable(f"{name}: {error}", "leave it out with --exclude") from None


# -- products -----------------------------------------------------------------------------------------------------


@dataclass
class Extension:
    """One HDU of a product: an image or a table, with keywords {name: value or (value, comment)}.

    `units` are those of a table's columns, by name.
    """

    name: str
    data: Any
    keywords: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
    units: Mapping[str, str] = field(default_factory=dict)


def set_cards(header: fits.Header, keywords: Mapping[str, Any]) -> None:
    """Set keywords to values or (value, comment); a number that is not finite becomes an undefined value."""
    for key, value in keywords.items():
        number, *comment = value if isinstance(value, tuple) else (value,)
        number = printable_ascii(number) if isinstance(number, str) else number
        undefined = isinstance(number, float | np.floating) and not math.isfinite(number)
        taken = len(str(number)) + 2 if isinstance(number, str) else 20  # numbers are right-aligned in 20 columns
        room = 80 - len("KEYWORD = ") - taken - len(" / ")
        header[key] = (None if undefined else number, *(c[: max(room, 0)] for c in comment))


def _as_stored(data: np.ndarray) -> np.ndarray:
    """Convert floats to big-endian once, to avoid repeated byte swaps for checksum and writing."""
    return data.astype(data.dtype.newbyteorder(">"), order="C") if data.dtype.kind == "f" else data


def write_product(
    path: Path,
    primary: fits.Header,
    extensions: Sequence[Extension],
    threads: int = 1,
    meanwhile: Callable[[Path], object] | None = None,
) -> None:
    """Write a multi-extension file under a temporary name beside `path`, flush it to disk, then rename it.

    Byte conversion and checksums use `threads` threads; for `meanwhile` see `replacing`.

    Raises
    ------
    DataError
        The directory cannot be written or the disk is full; nothing is left behind.
    """
    from astropy.io import fits

    hdus = fits.HDUList([fits.PrimaryHDU(header=primary)])
    stored = run_blocks(lambda k, _: _as_stored(extensions[k].data), len(extensions), threads, 1)
    for e, data in zip(extensions, stored, strict=True):
        hdu = (fits.BinTableHDU if e.data.dtype.names else fits.ImageHDU)(name=e.name)
        hdu.data = data  # passing rows to the constructor of a table would import all of astropy.table
        hdu.header["EXTVER"] = e.version
        for number, column in enumerate(e.data.dtype.names or (), 1):
            if unit := e.units.get(column):  # the FITS standard has no electron: readers warn of it as a unit
                hdu.header[f"{'TCOMM' if unit == 'electron' else 'TUNIT'}{number}"] = unit
        set_cards(hdu.header, e.keywords)
        hdus.append(hdu)

    units = list(hdus)

    def seal(k: int, _: int) -> None:
        units[k].add_datasum(when="data unit checksum")
        units[k].add_checksum(when="HDU checksum", override_datasum=True)

    run_blocks(seal, len(units), threads, 1)
    with replacing(path, meanwhile) as stream:
        hdus.writeto(stream, output_verify="exception")
