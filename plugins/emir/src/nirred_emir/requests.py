"""The observatory's observation-result and control files as requests of nirred."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from nirred.plugin import ConfigError, DataError, Headers, NirredError, Request, RequestContext, RequestSet

from . import headers as own
from .detector import Profile, profile
from .observation import (
    INSTRUMENT,
    Block,
    ControlFile,
    Entry,
    Read,
    below,
    fits,
    read_blocks,
    read_control,
    suggestion,
)
from .requirements import MASTERS, MODES, REDUCED, applicable, contradiction, doubts, recipe_of, settings_of
from .results import located, resampled, results
from .yamltext import Fault

#: Types of product in a control file, and their kind of calibration; products for spectra are not used.
TYPES = {"MasterBadPixelMask": "bpm", "MasterBias": "bias", "MasterDark": "dark", "MasterIntensityFlat": "flat"}
SPECTRAL = ("MasterSpectralFlat", "MasterRectWave", "RefinedBoundaryModelParam", "RectWaveCoeff", "MasterSlitlet")
#: Read modes with a bias.
BIASED = ("SIMPLE", "BIAS", "SINGLE")
DATA = "data"
#: Origin of a value, in the words of the observatory's pipeline.
_CONTROL, _BLOCK = "control file", "observation block"


def read(paths: Sequence[Path], context: RequestContext) -> RequestSet | None:
    """Read observation-result files as requests; None if not all of them are YAML.

    Raises
    ------
    DataError
        A file cannot be read at all.
    ConfigError
        The control file is wrong, or ``-e`` names no block.
    """
    if not all(p.suffix.lower() in (".yaml", ".yml") for p in paths):
        return None
    blocks = [b for path in paths for b in read_blocks(path)]
    for name in context.enabled:
        if name not in {b.id for b in blocks}:
            raise ConfigError(f"-e {name}: no such block", suggestion(name, [b.id for b in blocks]))
    control = read_control(context.control) if context.control is not None else ControlFile()
    reader = _Reader(blocks, control, context)
    requests = tuple(reader.request(b) for b in blocks)
    return RequestSet(requests, tuple(dict.fromkeys([*control.remarks, *reader.remarks])), results)


@dataclass(frozen=True)
class _Observed:
    """Properties of a block's first frame: detector, read mode, tags; `fault` if it cannot be reduced."""

    profile: Profile | None = None
    tags: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""

    @property
    def uuid(self) -> str:
        return self.profile.uuid if self.profile else ""


@dataclass
class _Reader:
    blocks: Sequence[Read]
    control: ControlFile
    context: RequestContext
    remarks: list[str] = field(default_factory=list)
    masters: dict[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.context.placing:
            self.remarks.append("--link-files and --copy-files have no effect: inputs are read where they are")
        spectral = sorted({e.name for e in self.control.products if e.name in SPECTRAL})
        if spectral:
            self.remarks.append(f"control file: {', '.join(spectral)} are of spectra and not used")
        for name in sorted({e.name for e in self.control.products} - TYPES.keys() - set(SPECTRAL)):
            self.remarks.append(
                f"control file: products of type {name!r} are not used; {suggestion(name, list(TYPES))}"
            )

    @cached_property
    def data(self) -> Path:
        found = self.context.data_dir
        return found if found is not None else self.context.base_dir / DATA

    @cached_property
    def by_id(self) -> dict[str, Read]:
        return {b.id: b for b in self.blocks if b.block is not None}

    def request(self, read: Read) -> Request:
        """The request of one block; errors are in its `fault`."""
        if read.block is None:
            return Request(read.id, origin=read.origin, fault=read.fault, hint=read.hint)
        try:
            return self._request(read, read.block)
        except Fault as fault:
            return Request(read.id, origin=read.origin, fault=f"{read.origin}, {fault}", hint=fault.hint)

    def _request(self, read: Read, block: Block) -> Request:
        mode = self._mode(read, block)
        self._references(read, block)
        observed = self._observed(read, set())
        if observed.fault:
            made_of = "frames" if block.frames else "images" if block.images else "children"
            raise Fault(read.document.line_of((made_of, 0)), observed.fault)
        given, sources = self._requirements(read, block, mode, observed)
        detector = observed.profile.name if observed.profile else ""
        said, remedy = contradiction(mode, given, detector)
        if said:
            raise Fault(read.document.line_of(("requirements",)), said, remedy)
        enabled = block.enabled or read.id in self.context.enabled
        acting = applicable(given, detector)
        if enabled:
            self.remarks += [f"{read.origin}: {text}" for text in doubts(mode, acting)]
        masters = self._masters(read, block, mode, given, observed)
        images = self._earlier(read, block) if enabled else ()
        details = {
            "mode": mode,
            "field": MODES[mode].result,
            "pipeline": block.pipeline,
            "uuid": observed.uuid,
            "requirements": given,
            "sources": sources,
            "masters": self._said(read, block, masters, sources),
        }
        return Request(
            read.id,
            recipe_of(mode, given),
            images or tuple(self.data / f for f in block.frames or block.images or ()),
            () if images else tuple(map(str, block.children or ())),
            enabled,
            self._params(read, mode, acting) | (REDUCED if images else {}),
            {} if images else masters,
            read.origin,
            details=details,
            named_by=self._named_by(masters, sources),
            finished=bool(images),
        )

    def _references(self, read: Read, block: Block) -> None:
        """Refuse an id used by other blocks, and children that are not blocks."""
        line, ids = read.document.line_of, [b.id for b in self.blocks]
        if ids.count(read.id) > 1:
            others = [b.at("id") for b in self.blocks if b.id == read.id and b is not read]
            raise Fault(line(("id",)), f"the id {read.id!r} again, as in {others[0]}", "give each block its own")
        for k, child in enumerate(map(str, block.children or ())):
            if child == read.id:
                raise Fault(line(("children", k)), f"children: {child!r} is the block itself", "leave it out")
            if child not in ids:
                raise Fault(line(("children", k)), f"children: there is no block {child!r}", suggestion(child, ids))

    def _earlier(self, read: Read, block: Block) -> tuple[Path, ...]:
        """Earlier results of the children, if all are disabled and raw frames are no longer available."""
        children = [c for name in block.children or () if (c := self.by_id.get(str(name))) is not None]
        known = [c.block for c in children if c.block is not None]
        raw = [self.data / f for b in known for f in b.frames or b.images or ()]
        absent = next((p for p in raw if not p.is_file()), None)
        if absent is None or any(b.enabled or str(b.id) in self.context.enabled for b in known):
            return ()
        line = read.document.line_of(("children",))
        try:
            images = tuple(located(self.context.base_dir, str(b.id), MODES["STARE_IMAGE"].result) for b in known)
        except DataError as error:
            raise Fault(line, f"children: no file {absent}, and {error.message}", error.hint) from None
        again = ", whose pixels are resampled a second time" if any(map(resampled, images)) else ""
        self.remarks.append(f"{read.origin}: no file {absent}: the earlier results of its children are stacked{again}")
        return images

    def _said(
        self, read: Read, block: Block, masters: Mapping[str, Path], sources: Mapping[str, str]
    ) -> Mapping[str, str]:
        """Source that names the calibration of each kind, including those of the children."""
        said = {k: v for child in block.children or () for k, v in self.masters.get(str(child), {}).items()}
        said |= dict.fromkeys(masters, _CONTROL)
        self.masters[read.id] = said | {kind: sources[name] for name, kind in MASTERS.items() if name in sources}
        return self.masters[read.id]

    def _named_by(self, masters: Mapping[str, Path], sources: Mapping[str, str]) -> Mapping[str, str]:
        """The control file, for the calibrations that the block itself does not name."""
        own = {MASTERS[name] for name, source in sources.items() if name in MASTERS and source == _BLOCK}
        control = self.context.control
        return {kind: control.name for kind in masters if kind not in own} if control is not None else {}

    def _params(self, read: Read, mode: str, given: Mapping[str, Any]) -> dict[str, Any]:
        params = settings_of(mode, {k: v for k, v in given.items() if k not in MASTERS})
        if isinstance(given.get("offsets"), str):
            params["adjust_wcs_to_reference:offsets"] = str(self._offsets(read, given["offsets"]))
        elif "offsets" in given:
            params["adjust_wcs_to_reference:offsets"] = tuple(map(tuple, given["offsets"]))
        return params

    def _mode(self, read: Read, block: Block) -> str:
        line = read.document.line_of
        if block.instrument.upper() != INSTRUMENT:
            hint = "nirred reduces EMIR's observations from YAML; other instruments from their frames"
            raise Fault(line(("instrument",)), f"the instrument {block.instrument!r} is not EMIR", hint)
        if block.mode not in MODES:
            raise Fault(line(("mode",)), f"the mode {block.mode!r} is not reduced", suggestion(block.mode, list(MODES)))
        if block.pipeline != "default":
            self.remarks.append(f"{read.origin}: pipeline {block.pipeline!r}: there is only one, which is used")
        if block.children and block.mode != "FULL_DITHERED_IMAGE":
            raise Fault(line(("children",)), f"a block of mode {block.mode} has no children", "name frames")
        return block.mode

    def _observed(self, read: Read, seen: set[str]) -> _Observed:
        """Properties of the first frame of the block, or of its first child."""
        block = read.block
        if block is None or read.id in seen:
            return _Observed()
        names = block.frames or block.images or ()
        if not names:
            children = [self.by_id[str(c)] for c in block.children or () if str(c) in self.by_id]
            found = self._observed(children[0], seen | {read.id}) if children else _Observed()
            return replace(found, tags={**found.tags, **(block.labels or {})})
        try:
            headers = Headers.read(self.data / names[0])
            detector = profile(headers)
            described = own.describe(headers)
        except (NirredError, OSError):  # the plan reports the file and the reason
            return _Observed()
        if not isinstance(detector, Profile):
            return _Observed(fault=f"{names[0]}: {detector}")
        tags = {
            "filter": described.filter_name,
            "grism": described.get("disperser"),
            "readmode": described.read_mode,
            **(block.labels or {}),
        }
        return _Observed(detector, tags)

    # -- requirements ---------------------------------------------------------------------------------------------
    def _requirements(
        self, read: Read, block: Block, mode: str, observed: _Observed
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Requirements of the control file, overridden by those of the block; and the source of each."""
        known = MODES[mode].requirements
        found: dict[str, Any] = {}
        for entry in self._wanted(mode, block.pipeline, observed):
            if entry.name in found:  # of several that fit, the first counts
                continue
            if entry.name in known and known[entry.name].takes(entry.content):
                found[entry.name] = entry.content
            elif entry.name in known:
                shown, wanted = str(entry.content)[:40], known[entry.name].accepts
                self.remarks.append(f"control file: {entry.name} of {mode} is not {shown!r} but {wanted}: not used")
            else:
                hint = suggestion(entry.name, list(known))
                self.remarks.append(f"control file: {mode} has no requirement {entry.name!r}: not used; {hint}")
        sources = dict.fromkeys(found, _CONTROL)
        for name, value in (block.requirements or {}).items():
            line = read.document.line_of(("requirements", name))
            if name not in known and self.context.strict:
                raise Fault(line, f"unknown requirement {name!r} of {mode}", suggestion(name, list(known)))
            if name not in known:
                self.remarks.append(f"{read.origin}, line {line}: unknown requirement {name!r} is ignored")
                continue
            if value is None:
                continue
            if not known[name].takes(value):
                wanted = known[name].accepts
                raise Fault(line, f"{name} is not {str(value)[:40]!r} but {wanted}", f"write {name}: {wanted}")
            found[name], sources[name] = value, _BLOCK
        return found, sources

    def _wanted(self, mode: str, pipeline: str, observed: _Observed) -> Iterator[Entry]:
        for entry in self.control.requirements:
            if (entry.mode, entry.pipeline) == (mode, pipeline) and self._meant(entry, observed):
                yield entry

    def _meant(self, entry: Entry, observed: _Observed) -> bool:
        return entry.uuid in ("", observed.uuid) and fits(entry.tags, observed.tags)

    def _masters(
        self, read: Read, block: Block, mode: str, given: Mapping[str, Any], observed: _Observed
    ) -> dict[str, Path]:
        """Calibrations by kind: those of the control file, overridden by those that the block names."""
        kinds = {MASTERS[k] for k in MODES[mode].requirements if k in MASTERS}
        found: dict[str, Path] = {}
        if block.children is None:
            for entry in self.control.products:
                kind = TYPES.get(entry.name)
                if kind in kinds and kind not in found and self._meant(entry, observed):
                    found[kind] = self.data / entry.content
        for name in MASTERS.keys() & given.keys():
            where = ("requirements", name)
            found[MASTERS[name]] = self.data / below(given[name], read.document.line_of(where), name)
        if str(observed.tags.get("readmode") or "").upper() not in BIASED or mode == "IMAGE_DARK":
            found.pop("bias", None)
        return found

    def _offsets(self, read: Read, name: str) -> Path:
        line = read.document.line_of(("requirements", "offsets"))
        path = self.data / below(name, line, "offsets")
        if not path.is_file():
            raise Fault(line, f"offsets: no file {path}", "the file lies below the data directory")
        return path
