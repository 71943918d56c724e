"""The core's steps: each is a `Params` and a thin class over `nirred.algorithms`."""

from .association import ASSOCIATION_STEPS
from .calibrations import CALIBRATION_STEPS
from .finish import FINISH_STEPS
from .frames import FRAME_STEPS
from .match import MATCH_STEPS
from .objects import OBJECT_STEPS
from .outliers import OUTLIER_STEPS
from .register import REGISTER_STEPS
from .sky import SKY_STEPS
from .stack import STACK_STEPS
from .transparency import TRANSPARENCY_STEPS

CORE_STEPS = (
    *FRAME_STEPS,
    *CALIBRATION_STEPS,
    *ASSOCIATION_STEPS,
    *SKY_STEPS,
    *REGISTER_STEPS,
    *OBJECT_STEPS,
    *TRANSPARENCY_STEPS,
    *MATCH_STEPS,
    *OUTLIER_STEPS,
    *STACK_STEPS,
    *FINISH_STEPS,
)
