"""The site's own step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nirred.plugin import GroupStep, param
from nirred.plugin import Params as StepParams

if TYPE_CHECKING:
    from nirred.plugin import StepCall


class SignSite(GroupStep):
    """Write into the stack where it was reduced."""

    name = "sign_site"
    doc = "the site's name goes into the header"
    uses_frames = False

    class Params(StepParams):
        """Parameters of `sign_site`."""

        site: str = param("Hilltop", "name of the site")

    def apply(self, group: Any, params: Any, call: StepCall) -> None:
        group.keywords["SITE"] = (params.site, "where it was reduced")
