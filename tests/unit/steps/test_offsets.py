"""Initial offsets of frames, and pointings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nirred.dq import DQ
from nirred.offsets import guess_offsets, pointing_clusters, read_offsets
from tests.unit.steps.conftest import make_info


def test_offsets_from_the_headers(make_group):
    group = make_group(["both"] * 3, [np.ones((30, 30))] * 3, step=2.0)
    guesses, sigma = guess_offsets(group, [0, 1, 2])
    # pointing 2 arcsec east moves sources west: to higher x where east is left
    np.testing.assert_allclose(guesses, [(0, 0), (10, 0), (20, 0)], atol=0.01)
    assert sigma == pytest.approx(1.0 / 0.2)
    object.__setattr__(group.frames[1].info, "wcs", ())
    assert guess_offsets(group, [0, 1, 2]) == ([(0.0, 0.0)] * 3, 15.0)


def test_pointings_cluster_through_chains(make_group):
    group = make_group(["both"] * 4, [np.ones((30, 30))] * 4, step=4.0)  # 20 of 30 pixels from one to the next
    assert pointing_clusters(group, [0, 1, 2, 3]) == [[0, 1, 2, 3]]
    assert pointing_clusters(group, [0, 2, 3]) == [[0], [2, 3]]
    assert pointing_clusters(group, []) == []


def test_pointings_whose_lit_parts_are_apart_are_two_fields(make_group):
    """Through a keyhole, the sky 60 pixels away is another field though the arrays overlap."""
    dq = np.full((100, 100), int(DQ.UNILLUMINATED), np.uint16)
    dq[:, 40:60] = 0
    east = (0.0, 12.0, 2.0, 13.0)
    infos = [make_info(Path(f"f{k}.fits"), dq.shape, k, at=(x, 0.0)) for k, x in enumerate(east)]
    group = make_group(["object", "sky"] * 2, [np.ones(dq.shape)] * 4, dq=[dq] * 4, infos=infos)
    assert pointing_clusters(group, [0, 1, 2, 3]) == [[0, 2], [1, 3]]
    group = make_group(["object", "sky"] * 2, [np.ones(dq.shape)] * 4, infos=infos)
    assert pointing_clusters(group, [0, 1, 2, 3]) == [[0, 1, 2, 3]]


def test_pointings_of_a_round_field_have_no_corners_in_common(make_group):
    for diameter, found in ((None, [[0, 1]]), (100.0, [[0], [1]])):
        told = {"descriptors": {"extra": {"field_diameter": diameter}}}
        infos = [make_info(Path(f"f{k}.fits"), (100, 100), k, at=(17.5 * k, 17.5 * k), **told) for k in range(2)]
        group = make_group(["object", "sky"], [np.ones((100, 100))] * 2, infos=infos)
        assert pointing_clusters(group, [0, 1]) == found


def test_offsets_from_a_user_s_list(make_group, tmp_path):
    group = make_group(["both"] * 3, [np.ones((30, 30))] * 3)
    path = tmp_path / "offsets.txt"
    path.write_text("# x y\na.fits 10.0, 5\n12.5 6\n\n8 7 # last\n")
    assert read_offsets(path, group, [0, 1, 2]) == [(0.0, 0.0), (2.5, 1.0), (-2.0, 2.0)]
    assert read_offsets(path, group, [1, 2]) == [(0.0, 0.0), (-4.5, 1.0)]
    group.leave_out(1, "no light")
    assert read_offsets(path, group, [0, 2]) == [(0.0, 0.0), (-2.0, 2.0)], "its line stays its own"
    path.write_text("1 2\n30 4\n59 6\n")  # side by side, as in a mosaic
    assert read_offsets(path, group, [0, 1, 2]) == [(0.0, 0.0), (29.0, 2.0), (58.0, 4.0)]
    from nirred.errors import ConfigError

    for text, what in (
        ("1 2\n3 4\n", "2 positions for 3 frames"),
        ("1 2\n3 x\n5 6\n", "not a list"),
        ("5\n", "not a"),
        ("1 2\nnan 4\n5 6\n", "not a"),
        ("1 2\n1e400 4\n5 6\n", "not a"),
        ("1 2\n1e9 4\n5 6\n", r"1e\+09, 4\), puts it outside the field of every other frame \(30 x 30"),
        ("1 2\n31 4\n62 6\n", r"\(1, 2\), puts it outside"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=what):
            read_offsets(path, group, [0, 1, 2])
    with pytest.raises(ConfigError, match="No such file"):
        read_offsets(tmp_path / "none", group, [0])
