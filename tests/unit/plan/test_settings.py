"""Settings that no planned recipe uses."""

from __future__ import annotations

import pytest

from nirred.errors import ConfigError
from nirred.params import Setting
from nirred.plan.settings import refuse_unused
from nirred.plugin.recipes import Recipe, S


def test_settings_without_a_step_need_one_taker() -> None:
    planned = [Recipe("r", (S("add_dq"), S("sky_correct", label="sky_correct_first")))]
    used = [
        Setting("add_dq", "time", 3, "command line"),
        Setting("associate_sky", "time", 3, "command line"),  # from `-p time=3`, with the one above
        Setting("sky_correct_first", "nsigma", 3, "command line"),
        Setting("make_bpm", "dark_lo_thresh", 0, "nirred.toml"),  # a file applies to all runs
    ]
    refuse_unused(used, planned)
    with pytest.raises(ConfigError, match="unused parameter"):
        refuse_unused([*used, Setting("make_bpm", "dark_lo_thresh", 0, "nirred.run()")], planned)
