"""DDRNet: real-time semantic segmentation of road scenes.

`ddrnet.create_model("ddrnet_23")` builds a network. Importing the package loads no torch: every
public name is bound when it is first used.
"""

from __future__ import annotations

__version__ = "0.1.0"
