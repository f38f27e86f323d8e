"""Exact full-resolution operations that never hold full-resolution logits."""

from ddrnet.upsampling.argmax import upsample_argmax
from ddrnet.upsampling.confidence import upsampled_confidence
from ddrnet.upsampling.cross_entropy import upsampled_cross_entropy
from ddrnet.upsampling.strips import upsample

__all__ = ["upsample", "upsample_argmax", "upsampled_confidence", "upsampled_cross_entropy"]
