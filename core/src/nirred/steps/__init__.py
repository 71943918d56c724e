"""The core's steps: each is a `Params` and a thin class over `nirred.algorithms`."""

from .association import ASSOCIATION_STEPS
from .bpm import BPM_STEPS
from .calibrations import CALIBRATION_STEPS
from .catalogue import CATALOGUE_STEPS
from .frames import FRAME_STEPS
from .level import LEVEL_STEPS
from .match import MATCH_STEPS
from .objects import OBJECT_STEPS
from .outliers import OUTLIER_STEPS
from .pieces import PIECE_STEPS
from .readout import READOUT_STEPS
from .register import REGISTER_STEPS
from .reports import REPORT_STEPS
from .sky import SKY_STEPS
from .skyflat import SKYFLAT_STEPS
from .stack import STACK_STEPS
from .stare import STARE_STEPS
from .storing import STORE_STEPS
from .transparency import TRANSPARENCY_STEPS
from .write import WRITE_STEPS

#: About in the order in which recipes use them, which is that of the reference.
CORE_STEPS = (
    *FRAME_STEPS,
    *CALIBRATION_STEPS,
    *BPM_STEPS,
    *SKYFLAT_STEPS,
    *ASSOCIATION_STEPS,
    *SKY_STEPS,
    *READOUT_STEPS,
    *REGISTER_STEPS,
    *OBJECT_STEPS,
    *TRANSPARENCY_STEPS,
    *MATCH_STEPS,
    *OUTLIER_STEPS,
    *STACK_STEPS,
    *STARE_STEPS,
    *PIECE_STEPS,
    *LEVEL_STEPS,
    *CATALOGUE_STEPS,
    *STORE_STEPS,
    *WRITE_STEPS,
    *REPORT_STEPS,
)
