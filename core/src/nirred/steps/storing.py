"""Write the products: darks, flats, bad-pixel masks and stacks."""

from __future__ import annotations

import numpy as np

from ..group import Group
from ..params import Params
from ..plugin.recipes import StepCall
from ..products import frames_table, write
from ..step import GroupStep


class Store(GroupStep):
    """Write the product, of a kind; not if a step is run by itself."""

    uses_frames = False
    kind = ""

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        if group.record.provenance is not None:
            write(group, self.kind, group.record.provenance())


class StoreDark(Store):
    """Write the dark."""

    name = "store_processed_dark"
    doc = "write the dark"
    kind = "dark"


class StoreFlat(Store):
    """Write the flat."""

    name = "store_processed_flat"
    doc = "write the flat"
    kind = "flat"


class StoreBpm(Store):
    """Write the bad-pixel mask."""

    name = "store_processed_bpm"
    doc = "write the bad-pixel mask"
    kind = "bpm"


class StoreScience(Store):
    """Write the stack."""

    name = "store_processed_science"
    doc = "write the stack with its tables"
    kind = "image"

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        used = [group.frames[i].info.descriptors for i in group.targets]
        group.keywords["TEXPTIME"] = (round(sum(d.exposure_time or 0.0 for d in used), 6), "[s] total exposure")
        describe_stack(group, "frame")
        airmass = [d.airmass for d in used if d.airmass is not None]
        if airmass:
            group.keywords["AIRMASS"] = (round(float(np.mean(airmass)), 4), "mean of the frames")
        super().apply(group, params, call)


def describe_stack(group: Group, made_of: str) -> None:
    """Say what a stack refers to, how its coordinates were checked, and make its table FRAMES."""
    reference = group.frames[group.reference].info
    states = {group.frames[i].info.wcs_state for i in group.targets}
    checked = "rebuilt" if "rebuilt" in states else "ok"
    group.keywords["REFFRAME"] = (reference.name, f"{made_of} that offsets refer to")
    group.keywords["WCSSTAT"] = "registered" if group.registration.registered else checked, "ok, rebuilt or registered"
    group.tables["FRAMES"] = [frames_table(group)]
    group.table_keywords["FRAMES"] = {"REFFRAME": group.keywords["REFFRAME"]}


STORE_STEPS = (StoreDark, StoreFlat, StoreBpm, StoreScience)
