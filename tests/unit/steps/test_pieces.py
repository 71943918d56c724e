from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from nirred.errors import DataError, StepError
from nirred.group import FrameState
from nirred.plugin.recipes import S
from nirred.steps.pieces import ReadPieces, _read
from nirred.steps.skyflat import MakeSkyFlat
from tests.unit.steps.conftest import make_info


def test_a_piece_in_other_units_is_refused_by_name(make_group: Any, tmp_path: Path) -> None:
    path = tmp_path / "piece.fits"
    fits.PrimaryHDU(np.zeros((4, 4), np.float32), fits.Header({"BUNIT": "adu"})).writeto(path)
    with pytest.raises(DataError, match=r"piece\.fits: its unit is 'adu', not electron"):
        _read(make_group(["input"]), 0, FrameState(make_info(path, (4, 4)), "input"), None)


def test_each_plane_of_a_stack_has_its_own_noise(make_group: Any, tmp_path: Path) -> None:
    path = tmp_path / "piece.fits"
    hdus: list[Any] = [fits.PrimaryHDU()]
    for version, var in ((1, 4.0), (2, 9.0)):
        for name, data in (("SCI", np.zeros((4, 4))), ("VAR", np.full((4, 4), var))):
            hdus.append(fits.ImageHDU(data.astype(np.float32), fits.Header({"EXTVER": version}), name))
    fits.HDUList(hdus).writeto(path)
    group = make_group(["input"], infos=[make_info(path, (4, 4), planes=2)])
    ReadPieces().apply(group, ReadPieces.Params(), S("read_pieces"))
    assert [state.noise_scale[0] for state in group.planes] == [2.0, 3.0]
    assert group.frames[0].noise_scale == 2.0


def test_a_sky_flat_of_too_few_frames_is_refused(make_group: Any) -> None:
    group = make_group(["object"] * 2, [np.ones((8, 8), np.float32)] * 2)
    with pytest.raises(StepError, match="2 frames, 3 are wanted"):
        MakeSkyFlat().apply(group, MakeSkyFlat.Params(), S("make_sky_flat"))
