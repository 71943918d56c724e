from __future__ import annotations

import pytest

from nirred.cli.argv import normalise
from nirred.cli.options import calibrations, check_recipe
from nirred.errors import ConfigError


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("run raw -p a:b=1 c:d=2 x.fits", "run raw -p a:b=1 -p c:d=2 x.fits"),
        ("run -p addDQ:user_bpm=F darkCorrect:do_cal=skip @s", "run -p addDQ:user_bpm=F -p darkCorrect:do_cal=skip @s"),
        ("run --set a=1 b=2 --jobs 2 c=3", "run --set a=1 --set b=2 --jobs 2 c=3"),
        ("run --param=a:b=1 c:d=2", "run --param=a:b=1 --param c:d=2"),
        ("run -pa:b=1 c:d=2", "run -pa:b=1 -p c:d=2"),
        ("run -p a:b=1 x.fits c:d=2", "run -p a:b=1 x.fits -p c:d=2"),
        ("run -p a:b=1 here=1.fits", "run -p a:b=1 here=1.fits"),
        (
            "run raw --user_cal processed_dark:D.fits processed_flat:F.fits x.fits",
            "run raw --user-cal processed_dark:D.fits --user-cal processed_flat:F.fits x.fits",
        ),
        ("run --user_bpm f_b.fits --allow_missing=flat_x", "run --user-bpm f_b.fits --allow-missing=flat_x"),
        ("run -p a=1 -- b=2 --user_cal", "run -p a=1 -- b=2 --user_cal"),
        ("run -p", "run -p"),
        ("plan --user_cal dark:a bpm:b", "plan --user-cal dark:a --user-cal bpm:b"),
        ("emir --some_option -p a=1 b=2", "emir --some_option -p a=1 b=2"),
        ("-h", "-h"),
    ],
)  # fmt: skip
def test_words_are_assigned_by_shape(line: str, wanted: str) -> None:
    assert normalise(line.split(), exists=lambda w: w in ("here=1.fits", "raw")) == wanted.split()


def test_user_calibrations() -> None:
    assert calibrations(("processed_dark:a.fits", "Flat:b:c.fits", "dark:d.fits")) == {
        "dark": "d.fits",
        "flat": "b:c.fits",
    }
    for wrong in ("dark", "dark:", ":a.fits", "processed_arc:a.fits"):
        with pytest.raises(ConfigError):
            calibrations((wrong,))


def test_recipe_is_told_by_its_suffix(tmp_path: object) -> None:
    assert check_recipe(None) is None
    assert check_recipe("makeProcessedBPM") == "makeProcessedBPM"
    assert check_recipe("control.yaml") == "control.yaml"
    with pytest.raises(ConfigError, match="absent"):
        check_recipe("absent.toml")
