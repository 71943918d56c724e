"""Steps: thin classes over `nirred.algorithms`, with a typed set of parameters each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from .params import Params

if TYPE_CHECKING:
    from .group import FrameSetup, Group
    from .plugin.recipes import StepCall


class Step(ABC):
    """Base of all steps.

    Attributes
    ----------
    name : str
        snake_case; unique among all plugins.
    version : int
        Raised from release to release where the step's result changes; provenance tells it. Between releases the
        digest of all sources in a task's key tells that code has changed.
    doc : str
        One line for `nirred recipe show`.
    Params : type
        The step's parameters.
    aliases : tuple of str
        Spellings of the incumbents beyond the automatic ones.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    doc: ClassVar[str] = ""
    aliases: ClassVar[tuple[str, ...]] = ()
    Params: ClassVar[type[Params]] = Params


class FrameStep(Step):
    """Works on each frame alone. Adjacent frame steps are fused into one pass over the pixels."""

    @abstractmethod
    def configure(self, setup: FrameSetup, params: Any, group: Group) -> None:
        """Say what the fused pass is to do: set fields of `setup`; `params` is of the step's own `Params`."""

    def skipped(self, group: Group) -> None:
        """Called instead of `configure` where the user skips the step: may say so in `group.keywords`."""


class GroupStep(Step):
    """Works on a group of calibrated frames, or on what earlier steps combined from them.

    Attributes
    ----------
    uses_frames : bool
        False for a step that needs combined planes only: frames that no later step uses are given up before it.
    """

    uses_frames: ClassVar[bool] = True

    def needs_frames(self, group: Group, params: Any) -> bool:
        """Whether `apply` will look at the group's frames: where no step does, they are not even read."""
        return self.uses_frames

    @abstractmethod
    def apply(self, group: Group, params: Any, call: StepCall) -> None:
        """Do the work on `group`, from stream `call.takes` to `call.gives`; `params` is of the step's own `Params`."""
