from __future__ import annotations

from pathlib import Path

import pytest

from nirred.errors import ConfigError
from nirred.expressions import compile_expression
from nirred.registry import Registry
from nirred.selection import check_only


def test_a_misspelt_descriptor_in_only_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.fits").write_text("x")
    check_only(compile_expression("exposure_time == 1"), ["absent"], Registry())  # common names: no file is read
    check_only(None, ["absent"], Registry())
    with pytest.raises(ConfigError, match="exposure_time"):
        check_only(compile_expression("exposure_tim == 1"), [str(tmp_path)], Registry())
