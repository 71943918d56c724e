"""Guards for the functions of simulated cameras: their errors name the plugin's package."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .answers import WrongAnswer, checked
from .blame import blamed
from .errors import PluginError
from .plugin.simulation import SimulatedDetector, Simulation

HINT = "report it to the plugin's authors"


@dataclass(frozen=True)
class Answering:
    """A guarded function of a plugin: its exceptions and wrong answers become a `PluginError`.

    Parameters
    ----------
    package, name : str
        Its package, and its name in errors.
    function : callable
    accept : callable
        (answer, arguments) -> the answer for the caller; raises `WrongAnswer`.
    """

    package: str
    name: str
    function: Callable[..., Any]
    accept: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        """Call the function; a `NirredError` passes unchanged: it is meant for the user."""
        what = f"{self.name} of its simulated camera"
        with blamed(self.package, what, HINT):
            try:
                return self.accept(self.function(*arguments), *arguments)
            except WrongAnswer as error:
                raise PluginError(f"{self.package}: {what} {error}", HINT) from error


@dataclass(frozen=True)
class _Camera:
    """Checks and guards a Simulation returned by a function."""

    package: str

    def __call__(self, answer: Any, *_: Any) -> Simulation:
        return answering(checked("nirred_simulation", answer), self.package)


def answering(camera: Simulation, package: str) -> Simulation:
    """A simulated camera with all its functions guarded.

    Parameters
    ----------
    camera : Simulation
        As returned by the plugin.
    package : str
        Named in the errors.
    """
    made = _Camera(package)
    guarded: dict[str, Any] = {
        "headers": Answering(package, "headers", camera.headers, _headers),
        "file_name": Answering(package, "file_name", camera.file_name, _file_name),
        "detectors": tuple(_detector(d, package) for d in camera.detectors),
        "variants": {n: Answering(package, f"variant {n!r}", f, made) for n, f in camera.variants.items()},
    }
    if camera.resized is not None:
        guarded["resized"] = Answering(package, "resized", camera.resized, made)
    if camera.extras is not None:
        guarded["extras"] = Answering(package, "extras", camera.extras, _extras)
    return replace(camera, **guarded)


def _detector(detector: SimulatedDetector, package: str) -> SimulatedDetector:
    if detector.illuminated is None:
        return detector
    return replace(detector, illuminated=Answering(package, "illuminated", detector.illuminated, _illuminated))


def _headers(answer: Any, *_: Any) -> Sequence[Mapping[str, object]]:
    if not isinstance(answer, (list, tuple)) or not answer or not all(isinstance(h, Mapping) for h in answer):
        raise WrongAnswer(f"returned {str(answer)[:80]!r}, wanted: a mapping of keywords for each HDU")
    return answer


def _file_name(answer: Any, *_: Any) -> str:
    if not isinstance(answer, str) or not answer or answer.startswith(".") or set(answer) & set("/\\\0"):
        raise WrongAnswer(f"returned {str(answer)[:80]!r}, no file's name")
    return answer


def _illuminated(answer: Any, shape: tuple[int, int]) -> Any:
    if getattr(answer, "shape", None) != tuple(shape):
        raise WrongAnswer(f"returned no array of shape {shape}")
    return answer


def _extras(answer: Any, *_: Any) -> Mapping[str, Any]:
    if not isinstance(answer, Mapping):
        raise WrongAnswer(f"returned a {type(answer).__name__}, no mapping of names to contents")
    return answer
