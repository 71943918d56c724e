"""Other pipelines' observation files among the inputs: the plugin that reads them, and the message if none does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nirred.errors import ConfigError, DataError, PluginError
from nirred.plugin import RequestSet, hookimpl
from nirred.registry import Registry
from nirred.requests import take_requests


class Reader:
    """Reads every file, or has something to say against it."""

    NIRRED_API = (1, 0)

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.seen: list[Any] = []

    @hookimpl
    def nirred_read_request(self, paths: Any, context: Any) -> RequestSet:
        if self.fault is not None:
            raise self.fault
        self.seen.append((list(paths), context))
        return RequestSet(())


def registry(*plugins: Reader) -> Registry:
    found = Registry()
    for number, plugin in enumerate(plugins):
        assert not found.add(plugin, f"p{number}", f"pkg-{number}").error
    return found


@pytest.fixture
def observation(tmp_path: Path) -> Path:
    path = tmp_path / "night.yaml"
    path.write_text("id: 1\n")
    return path


def test_other_inputs_stay_and_options_arrive(observation: Path, tmp_path: Path) -> None:
    reader = Reader()
    options = {"basedir": str(tmp_path / "base"), "datadir": None, "enable": ("7",), "strict_requests": False}
    others, asked, base = take_requests(["raw", observation], observation, options, registry(reader))
    assert (others, base) == (["raw"], tmp_path / "base") and asked is not None
    ((paths, context),) = reader.seen
    assert paths == [observation] and context.control == observation
    assert (context.enabled, context.strict, context.data_dir) == (("7",), False, None)


def test_without_an_observation_file_its_options_are_refused(observation: Path) -> None:
    assert take_requests(["raw"], None, {}, registry()) == (["raw"], None, Path("."))
    with pytest.raises(ConfigError, match="goes with an observation file"):
        take_requests(["raw"], observation, {}, registry())
    with pytest.raises(ConfigError, match="datadir goes with an observation file"):
        take_requests(["raw"], None, {"datadir": "data"}, registry())


def test_files_that_are_not_there_or_that_nobody_reads(observation: Path) -> None:
    with pytest.raises(ConfigError, match=r"no file absent\.yaml"):
        take_requests(["absent.yaml"], None, {}, registry(Reader()))
    with pytest.raises(ConfigError, match=r"no file absent\.yml"):
        take_requests([observation], "absent.yml", {}, registry(Reader()))
    with pytest.raises(PluginError, match=r"night\.yaml: no installed plugin reads it"):
        take_requests([observation], None, {}, registry())


def test_two_readers_are_both_named(observation: Path) -> None:
    with pytest.raises(PluginError, match=r"night\.yaml: read by pkg-0 and pkg-1"):
        take_requests([observation], None, {}, registry(Reader(), Reader()))


def test_what_a_reader_says_against_a_file_is_its_own_word(observation: Path) -> None:
    with pytest.raises(DataError, match=r"night\.yaml, line 3"):
        take_requests([observation], None, {}, registry(Reader(DataError("night.yaml, line 3: no frames"))))
    with pytest.raises(PluginError, match="nirred_read_request"):
        take_requests([observation], None, {}, registry(Reader(ZeroDivisionError("oops"))))
