"""Fetches, verifies and caches pretrained weights; reads and writes saved models.

Names are bound on first use, because `ddrnet.pretrained.inventory` works without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddrnet.pretrained.fetch import fetch_state_dict as fetch_state_dict
    from ddrnet.pretrained.saved_model import is_saved_model as is_saved_model
    from ddrnet.pretrained.saved_model import read_folder as read_folder
    from ddrnet.pretrained.saving import push_to_hub as push_to_hub
    from ddrnet.pretrained.saving import save_pretrained as save_pretrained

_HOME_OF = {
    "fetch_state_dict": "fetch",
    "is_saved_model": "saved_model",
    "read_folder": "saved_model",
    "push_to_hub": "saving",
    "save_pretrained": "saving",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'ddrnet.pretrained' has no attribute {name!r}")
    return getattr(import_module(f"ddrnet.pretrained.{_HOME_OF[name]}"), name)
