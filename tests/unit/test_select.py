from __future__ import annotations

from datetime import date, datetime, time

import pytest

from nirred.errors import ConfigError
from nirred.expressions import MAX_DEPTH, MAX_LENGTH, compile_expression
from nirred.plugin.frames import Descriptors

FRAME = Descriptors(
    instrument="niri",
    object="FS 17",
    exposure_time=20.002,
    coadds=2,
    filter_name="Kshort_G0205",
    filter_pretty="K(short)",
    observation_class="partnerCal",
    guiding=True,
    ut_datetime=datetime(2016, 1, 2, 8, 30, 15),
    extra={
        "disperser": "R3K_G5801",
        "central_wavelength": 2.15e-6,
        "ut_date": date(2016, 1, 2),
        "ut_time": time(8, 30, 15),
        "is_ao": False,
    },
    pretty={"disperser": "R3K"},
)


def holds(text: str, strict: bool = False, frame: Descriptors = FRAME) -> bool:
    return compile_expression(text, strict)(frame)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "True",
        "exposure_time==20",
        "20 == exposure_time",
        "exposure_time <= 20",
        "exposure_time >= 20.1",
        "exposure_time in (1, 20)",
        "exposure_time*coadds == 40",
        "-exposure_time == -20",
        "10 < exposure_time < 30",
        "1 < coadds <= 2 != 3",
        'object=="FS 17"',
        "object!='GRB120116A'",
        'object in ["FS 17", "FS 18"]',
        '"17" in object',
        'object not in ("a", "b")',
        'filter_name=="K(short)"',
        'filter_name == "Kshort_G0205"',
        'filter_name in ("J", "K(short)")',
        'disperser=="R3K"',
        "central_wavelength == 2.15001e-6",
        'observation_class=="partnerCal" and (coadds==2 or coadds==3)',
        "guiding",
        "not is_ao and guiding == True",
        'ut_date=="2016-01-02"',
        'ut_date > "2016-01-01"',
        'ut_time < "08:31:00"',
        'ut_datetime=="2016-01-02 08:30:15"',
        'ut_datetime == "2016-01-02"',
        'ut_datetime >= "2016-01-02T08:00"',
        'ut_datetime < "09:00:00"',
        '"2016-01-01" < ut_date < "2016-01-03"',
        "airmass is None",
        "airmass == None",
        "object is not None",
        "coadds + 1 == 6 / 2",
        "coadds - 1 == 1",
    ],
)
def test_expressions_that_hold(text: str) -> None:
    assert holds(text) is True


@pytest.mark.parametrize(
    "text",
    [
        "False",
        "None",
        "exposure_time != 20",
        "exposure_time < 20.1",
        "exposure_time > 20",
        "exposure_time == 21",
        "object == 'FS 18'",
        'filter_name != "K(short)"',
        'filter_name != "Kshort_G0205"',
        "central_wavelength == 2.16e-6",
        "not guiding",
        "airmass",
        "airmass == 1",
        "airmass < 2",
        "airmass > 0",
        "airmass in (1, 2)",
        "airmass + 1 > 0",
        "coadds / 0 > 1",
        "object < 3",
        "object + 1 == 1",
        "'a' in coadds",
    ],
)
def test_expressions_that_do_not(text: str) -> None:
    assert holds(text) is False


@pytest.mark.parametrize(
    "text", ["exposure_time==20", 'filter_name=="K(short)"', 'disperser=="R3K"', "central_wavelength==2.15001e-6"]
)
def test_strict_is_exact(text: str) -> None:
    assert holds(text) and not holds(text, strict=True)


def test_strict_finds_exact_values() -> None:
    assert holds("exposure_time==20.002 and exposure_time > 20 and filter_name=='Kshort_G0205'", strict=True)


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("exposure_time = 20", 15, "compare with =="),
        ("coadds==2 && coadds==3", 12, "`and`"),
        ("exposure_time()==20", 1, "calls"),
        ("coadds == __import__('os').system('x')", 11, "calls"),
        ("object.upper == 'A'", 1, "Attribute"),
        ("object[0] == 'F'", 1, "Subscript"),
        ("coadds ** 9 == 1", 1, "BinOp"),
        ("(lambda: 1) == 1", 2, "Lambda"),
        ("[x for x in 'ab'] == 1", 1, "ListComp"),
        ("coadds == (1 if coadds else 2)", 12, "IfExp"),
        ("(coadds==1)+1 == 2", 2, "condition where a value"),
        ("coadds & 1", 1, "not a condition"),
        ("20", 1, "not a condition"),
        ("coadds == 1j", 11, "Constant"),
        ("coadds == f'{coadds}'", 11, "JoinedStr"),
        ("(coadds := 3) == 3", 2, "NamedExpr"),
        ("coadds is 2", 11, "None only"),
        ("extra == 1", 1, "no descriptor"),
        ("object == 'Ångström' and len(object)", 26, "not a condition"),
        ("coadds ==", 10, "invalid syntax"),
        ("exposure_time == '20'", 18, "exposure_time is a number"),
        ("object == 'A' or '2' <= coadds", 18, "write 2 without quotes"),
    ],
)
def test_what_is_not_allowed_is_shown_with_its_place(text: str, column: int, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_expression(text)
    message = str(caught.value)
    assert words in message
    assert f"column {column}" in message
    shown, caret = caught.value.message.splitlines()[1:3]
    assert shown.strip() == text
    assert caret.index("^") - 2 == column - 1


@pytest.mark.parametrize(
    "text",
    [
        "coadds == " + "(" * 150 + "1" + ")" * 150,
        "not " * 60 + "guiding",
        "coadds == " + "-" * 3000 + "1",
        "coadds == " + "+".join(["1"] * 200),
        "1" * (MAX_LENGTH + 1),
        "coadds == " + "9" * 9000,
        "coadds == '\0'",
    ],
)
def test_monsters_are_refused_or_harmless(text: str) -> None:
    try:
        assert holds(text) in (True, False)
    except ConfigError as error:
        assert error.exit_code == 2


def test_depth_limit_is_where_it_is_said_to_be() -> None:
    assert holds("not " * MAX_DEPTH + "guiding") is True
    with pytest.raises(ConfigError, match="deep"):
        compile_expression("not " * (MAX_DEPTH + 1) + "guiding")


def test_no_date_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no date"):
        holds('ut_date == "January"')


def test_a_value_is_no_condition() -> None:
    with pytest.raises(ConfigError, match="compare it"):
        holds("coadds")


def test_misspelt_descriptor_is_suggested() -> None:
    with pytest.raises(ConfigError, match="exposure_time"):
        compile_expression("exposure_tiem == 20").check_names(())
    found = compile_expression("ao_seeing == 1")
    found.check_names(["ao_seeing"])
    assert found.names == {"ao_seeing"}


def test_accepts_whatever_has_descriptors() -> None:
    class Frame:
        descriptors = FRAME

    assert compile_expression("coadds == 2")(Frame())
