"""Read every file's headers and classify it: frames of an instrument, or a verdict with its reason."""

from __future__ import annotations

import fnmatch
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Ambiguous, NirredError, PluginError, Unclaimed, Unreadable
from ..fitsio import read_image
from ..headers import Headers
from ..plugin.frames import Claim, Descriptors, Exposure
from ..provenance import content_digest
from ..streams import DAMAGE, is_compressed
from .model import FileRecord, FrameInfo, file_root
from .moments import exposure

if TYPE_CHECKING:
    from ..registry import Registry

#: Keywords of nirred's products: the version that wrote it, and its kind (dark, bpm, flat, image, skyflat).
PRODUCT_KEY, KIND_KEY = "NIRRED", "NIRKIND"
#: Tags of files whose pixels another program has processed.
PROCESSED = frozenset({"PREPARED", "PROCESSED"})
#: Kinds of master from other software (descriptor `master`) that can be used as they are.
MASTERS = frozenset({"dark", "flat"})


def scan(paths: Iterable[Path], registry: Registry) -> list[FileRecord]:
    """Classify files by their headers alone.

    Parameters
    ----------
    paths : iterable of Path
        The files.
    registry : Registry
        The plugins to ask.

    Returns
    -------
    list of FileRecord
        In order of file name. A file that cannot be used has a verdict and a reason; no file raises an exception.
    """
    records = [scan_file(path, registry) for path in sorted(paths, key=lambda p: (p.name, str(p)))]
    _mark_duplicates(records)
    return records


def described(path: Path, registry: Registry) -> FrameInfo | None:
    """The user's file as described by its plugin; None if no plugin claims it."""
    frames = scan_file(path, registry).frames
    return frames[0] if frames else None


def product_of(frame: FrameInfo) -> str:
    """Kind of a finished product (dark, bpm, flat, image, skyflat) of nirred or the observatory; '' for a raw frame."""
    return _product_kind(frame.headers) or _master_kind((frame,))


def scan_file(path: Path, registry: Registry, headers: Headers | None = None) -> FileRecord:
    """Classify one file, by `headers` if they have been read already; see `scan`."""
    record = FileRecord(path)
    try:
        headers = headers or Headers.read(path)
        owner, claim = registry.claim(headers)
        record.frames = _frames(path, headers, owner, claim, registry)
        record.product = _product_kind(headers) or _master_kind(record.frames)
        _judge(record, claim, reads_itself=registry.implements(owner, "nirred_open"))
        if record.verdict is None:
            headers.check_size()
    except (Unreadable, PluginError) as error:
        record.verdict, record.reason = "unreadable", str(error)
    except Unclaimed as error:
        record.verdict, record.reason = "unclaimed", str(error)
    except Ambiguous as error:
        record.verdict, record.reason = "ambiguous", str(error)
    except DAMAGE as error:
        record.verdict, record.reason = "unreadable", f"{path.name}: {error}"
    return record


def _product_kind(headers: Headers) -> str:
    if PRODUCT_KEY not in headers.primary:
        return ""
    return str(headers.primary.get(KIND_KEY) or "image").strip().lower()


def _master_kind(frames: Sequence[FrameInfo]) -> str:
    """Kind of a master made by the observatory's own software, according to its plugin; for masks, by role."""
    kind = str(frames[0].descriptors.get("master") or "") if frames else ""
    return kind if kind in MASTERS else ""


def _frames(path: Path, headers: Headers, owner: str, claim: Claim, registry: Registry) -> tuple[FrameInfo, ...]:
    if claim.unsupported:
        return ()

    if claim.instrument not in {i.name for name, i in registry.instruments() if name == owner}:
        said = f"nirred_claim names the instrument {claim.instrument!r}, which nirred_instruments does not bring"
        raise registry.misbehaved(owner, said)

    def ask(hook: str) -> Any:
        return registry.ask(owner, hook, headers=headers)

    descriptors = ask("nirred_describe")
    if not isinstance(descriptors, Descriptors):
        raise registry.misbehaved(owner, "nirred_describe returned no Descriptors")
    tags = frozenset(ask("nirred_tags") or ())
    registry.try_rules(owner, tags, descriptors)
    detectors = tuple(ask("nirred_detectors") or ())
    wcs = tuple(ask("nirred_wcs") or ())
    state = "none" if not wcs else "pointing" if wcs[0].origin == "pointing" else "ok"
    # Without an answer the file is one exposure of all its images, which are counted when they are read: a compressed
    # file need not be decompressed for the plan.
    exposures = ask("nirred_exposures") or (Exposure(),)
    for hook, number in (("nirred_wcs", len(wcs)), *(("nirred_exposures", len(e.hdus)) for e in exposures)):
        if number not in (0, len(detectors)):
            raise registry.misbehaved(owner, f"{hook} names {number} planes, nirred_detectors {len(detectors)}")
    return tuple(
        FrameInfo(
            path, e, owner, claim.instrument, tags, descriptors, detectors, headers, wcs, state,  # type: ignore[arg-type]
            exposures=len(exposures),
        )
        for e in exposures
    )  # fmt: skip


def _judge(record: FileRecord, claim: Claim, *, reads_itself: bool) -> None:
    """Set the verdict on a file that its plugin could describe, and perhaps `reads_itself`."""
    if claim.unsupported:
        record.verdict, record.reason = "unsupported", claim.unsupported
    elif record.product:
        own = PRODUCT_KEY in record.frames[0].headers.primary
        maker = "nirred" if own else "the observatory's software"
        record.verdict, record.reason = "product", f"{record.product} made by {maker}"
    elif reason := _why_unsupported(record.frames[0]) or ("" if reads_itself else _misshapen(record.frames)):
        record.verdict, record.reason = "unsupported", reason


def _why_unsupported(frame: FrameInfo) -> str:
    """Why a raw frame cannot be reduced, or ''; for a mask settings and exposure do not matter."""
    told, mask = frame.descriptors, frame.descriptors.role == "bpm"
    if told.role == "acquisition":
        return "acquisition"
    if told.role in ("other", "bias"):
        return f"not a kind of frame that is reduced ({told.observation_type or 'its header states none'})"
    if frame.tags & PROCESSED and not mask:
        return "processed by another program; name it with --user-cal, or `nirred cal add` it, to use it"
    if frame.headers.image is None:
        return "no image in it"
    return "" if mask else _misstated(frame)


def _misstated(frame: FrameInfo) -> str:
    """Required information that the header of a raw frame lacks, or ''."""
    if not frame.detectors or any(d.gain is None for d in frame.detectors):
        return f"read mode {frame.descriptors.read_mode or 'not stated'}: gain not known"
    if exposure(frame) is None:
        if (told := frame.descriptors.exposure_time) is not None:
            return f"its header states an impossible exposure time: {told:g} s"
        value = frame.headers.get("EXPTIME")
        if value is not None and frame.headers.number("EXPTIME", 1e-9) is None:
            return f"its header states an impossible exposure time: EXPTIME = {value!r}"
        return "its header states no exposure time, or an impossible one"
    return _miscounted(frame)


def _misshapen(frames: Sequence[FrameInfo]) -> str:
    """Why an image of the file cannot be a plane of its exposures, or ''; not asked of compressed files and masks."""
    headers, detectors = frames[0].headers, frames[0].detectors
    if headers.compressed or frames[0].descriptors.role == "bpm":
        return ""
    try:
        images = dict(headers.images)
    except Unreadable:  # damage after the first image; reported when it is read
        return ""
    stated = [d.hdu for d in detectors]
    own = list(images) if None in stated else stated
    for e in (f.exposure for f in frames):
        for hdu, detector in zip(e.hdus or own, detectors, strict=False):
            shape = images[hdu].shape if hdu in images else ()
            if shape and (fault := _unlike(shape, e.plane, detector.shape)):
                return f"HDU {hdu} has {' x '.join(map(str, shape[::-1]))} pixels, {fault}"
    return ""


def _unlike(shape: tuple[int, ...], plane: int | None, wanted: tuple[int, int]) -> str:
    """How an image differs from a detector's plane of shape `wanted`, or from a cube of planes; '' if it does not."""
    expected = f"its detector {wanted[1]} x {wanted[0]} (nirred_detectors)"
    if plane is not None:
        if len(shape) < 3 or plane >= shape[0]:
            return f"too few for exposure {plane + 1} of the file (nirred_exposures)"
        shape = shape[1:]
    flat = [n for n in shape if n > 1]
    if flat == [n for n in wanted if n > 1]:
        return ""
    return f"{expected}; the exposures of a cube are named by nirred_exposures" if len(flat) > 2 else expected


def _miscounted(frame: FrameInfo) -> str:
    """Why the file's images cannot be the frame's planes, or ''.

    Checked only if the plugin leaves the choice of images to the core and they can be counted without decompression.
    """
    if frame.exposure != Exposure() or any(d.hdu is not None for d in frame.detectors) or frame.headers.compressed:
        return ""
    try:
        found = len(frame.headers.images)
    except Unreadable:  # damage after the first image; reported when it is read
        return ""
    wanted = len(frame.detectors)
    return "" if found == wanted else f"{found} image{'s' if found != 1 else ''}, {wanted} expected"


def unselect(
    records: Iterable[FileRecord], exclude: Iterable[str] = (), only: Callable[[Descriptors], bool] | None = None
) -> list[str]:
    """Set the verdict `unselected` for files that the user excludes.

    Parameters
    ----------
    records : iterable of FileRecord
        Changed in place if they have no verdict yet or are products.
    exclude : iterable of str
        Names, parts of names or patterns (``*``, ``?``).
    only : callable, optional
        Predicate of a frame's descriptors; a file is kept if one of its exposures satisfies it.

    Returns
    -------
    list of str
        Remarks: names that matched nothing.
    """
    records, unmatched = list(records), []
    for name in exclude:
        found = [r for r in records if names_file(name, r.path)]
        if not found:
            unmatched.append(f"--exclude {name}: matches no input file")
        for record in found:
            if record.verdict in (None, "product"):
                record.verdict, record.reason = "unselected", f"--exclude {name}"
    for record in records:
        if only is None or record.verdict not in (None, "product"):
            continue
        record.frames = tuple(f for f in record.frames if only(f.descriptors))
        if not record.frames:
            record.verdict, record.reason = "unselected", "does not satisfy --only"
    return unmatched


def names_file(name: str, path: Path) -> bool:
    """Whether a user's `name` selects the file: part of its name (without .fits), or a matching pattern."""
    name = file_root(Path(name))
    return bool(name) and (name in path.name or fnmatch.fnmatchcase(file_root(path), name))


# -- duplicates ---------------------------------------------------------------------------------------------------
def _mark_duplicates(records: list[FileRecord]) -> None:
    """Keep one of several files with the same decompressed content: the first uncompressed one by name."""
    alike: dict[tuple[str, str, str], list[FileRecord]] = defaultdict(list)
    for record in records:
        if record.frames and record.verdict in (None, "product", "unsupported"):
            alike[_identity(record)].append(record)
    for group in alike.values():
        if len(group) > 1:
            _mark_twins(group)
    _mark_tiled(records)
    _mark_retouched(records)


def _mark_tiled(records: Iterable[FileRecord]) -> None:
    """Mark a tile-compressed file as a copy of the plain file with the same name and time, although bytes differ."""
    plain: dict[tuple[str, str, datetime | None], FileRecord] = {}
    tiled = []
    for record in records:
        if record.frames and record.verdict in (None, "product"):
            key = (file_root(record.path), record.frames[0].instrument, record.frames[0].descriptors.ut_datetime)
            if record.frames[0].headers.get("ZIMAGE") is True:
                tiled.append((key, record))
            else:
                plain.setdefault(key, record)
    for key, record in tiled:
        if key in plain:
            record.verdict, record.reason = "duplicate", f"tile-compressed copy of {plain[key].path.name}"


def _mark_retouched(records: Iterable[FileRecord]) -> None:
    """Mark files that hold the pixels of another one of the same time: copies with a corrected header.

    Used twice, an exposure would count as two in weights and errors.
    """
    at: dict[tuple[Any, ...], list[FileRecord]] = defaultdict(list)
    for record in records:
        if record.verdict is None and record.frames[0].descriptors.ut_datetime is not None:
            first = record.frames[0]
            at[first.instrument, first.descriptors.ut_datetime, exposure(first)].append(record)
    for group in at.values():
        kept: dict[str, FileRecord] = {}
        for record in sorted(group, key=_preference) if len(group) > 1 else ():
            twin = kept.setdefault(_pixels_digest(record), record)
            if twin is not record:
                same = f"the pixels of {_told_apart(twin, record)} with another header"
                record.verdict, record.reason = "duplicate", f"{same}; leave one out of INPUT to choose"


def _pixels_digest(record: FileRecord) -> str:
    """SHA-256 of a file's pixels; of its name if they cannot be read, which is reported when they are needed."""
    digest = hashlib.sha256()
    try:
        for _, header in record.frames[0].headers.images:
            digest.update(read_image(record.path, header).data)
    except (NirredError, *DAMAGE):
        return str(record.path)
    return digest.hexdigest()


def _preference(record: FileRecord) -> tuple[bool, str, str]:
    """Sort key of copies: the one kept is the first uncompressed one by name."""
    return is_compressed(record.path), record.path.name, str(record.path)


def _told_apart(twin: FileRecord, record: FileRecord) -> str:
    return twin.path.name if twin.path.name != record.path.name else str(twin.path)


def _identity(record: FileRecord) -> tuple[str, str, str]:
    """Role, and header text of the primary and the first image; only if they are equal are the contents compared.

    A file's name may say what it is: a mask and a dark, both of zeros, are no copies.
    """
    first = record.frames[0]
    headers = first.headers
    try:
        image = headers.image
    except Unreadable:  # damage after the first image
        image = None
    return first.descriptors.role, headers.primary.text, image.text if image else ""


def _mark_twins(group: list[FileRecord]) -> None:
    kept: dict[str, FileRecord] = {}
    for record in sorted(group, key=_preference):
        try:
            digest = content_digest(record.path)
        except DAMAGE as error:
            record.verdict, record.reason = "unreadable", f"{record.path.name}: damaged compression: {error}"
            continue
        twin = kept.setdefault(digest, record)
        if twin is not record:
            record.verdict, record.reason = "duplicate", f"same content as {_told_apart(twin, record)}"
