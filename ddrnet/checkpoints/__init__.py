"""State dicts in, state dicts out: checkpoints of every family, read safely, fitted strictly."""

from ddrnet.checkpoints.class_rows import choose_class_rows as choose_class_rows
from ddrnet.checkpoints.contents import Contents as Contents
from ddrnet.checkpoints.contents import describe as describe
from ddrnet.checkpoints.dialects import detect_family as detect_family
from ddrnet.checkpoints.fitting import Fit as Fit
from ddrnet.checkpoints.fitting import fit_state_dict as fit_state_dict
from ddrnet.checkpoints.fitting import mismatch as mismatch
from ddrnet.checkpoints.reading import read_state_dict as read_state_dict
from ddrnet.checkpoints.renames import from_ddrnet as from_ddrnet
from ddrnet.checkpoints.renames import to_ddrnet as to_ddrnet
