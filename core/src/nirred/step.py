"""Base classes of steps: thin wrappers of `nirred.algorithms` with typed parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from .params import Params, snake

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
        Increased in a release that changes the step's result; recorded in the provenance. Between releases, the digest
        of all sources in a task's key shows that code has changed.
    doc : str
        One-line description for `nirred recipe show`.
    Params : type
        The step's parameters.
    aliases : tuple of str
        Names of the step in DRAGONS, in addition to the automatic ones.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    doc: ClassVar[str] = ""
    aliases: ClassVar[tuple[str, ...]] = ()
    Params: ClassVar[type[Params]] = Params


class FrameStep(Step):
    """A step that works on each frame separately. Adjacent frame steps are combined in one pass over the pixels."""

    @abstractmethod
    def configure(self, setup: FrameSetup, params: Any, group: Group) -> None:
        """Configure the combined pass by setting fields of `setup`; `params` is an instance of `Params`."""

    def skipped(self, group: Group) -> None:
        """Called instead of `configure` if the user skips the step; may record that in `group.keywords`."""


class GroupStep(Step):
    """A step that works on a group of calibrated frames, or on their combination by earlier steps.

    A plugin's step passes a result on to a later one by ``group.extras[NAME]``, where NAME starts with the plugin's
    name. If a step reads a result that no step has made, its task fails, and the message says so.

    Attributes
    ----------
    uses_frames : bool
        False for a step that needs only combined planes. Frames that no later step uses are released before it.
    """

    uses_frames: ClassVar[bool] = True

    def needs_frames(self, group: Group, params: Any) -> bool:
        """Whether `apply` uses the group's frames. If no step does, they are not read."""
        return self.uses_frames

    @abstractmethod
    def apply(self, group: Group, params: Any, call: StepCall) -> None:
        """Process `group` from stream `call.takes` to `call.gives`; `params` is an instance of `Params`."""


class HeaderStep(GroupStep):
    """A group step before which no frame is calibrated: it uses headers, or reads its frames itself."""


def names_by_alias(types: Mapping[str, type[Step]]) -> dict[str, str]:
    """{alias: name} of steps by name; each alias as it is and in snake_case."""
    return {alias: name for name, kind in types.items() for alias in (*kind.aliases, *map(snake, kind.aliases))}
