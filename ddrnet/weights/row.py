"""What a row of the weights table says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preprocessing:
    """The normalisation a network was trained with, for images scaled to 0-1.

    Attributes:
        mean: One number per input channel, subtracted first.
        std: One number per input channel, divided by second.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def for_channels(self, in_chans: int) -> Preprocessing:
        """Return statistics for `in_chans` channels; those beyond RGB take RGB's average."""
        if in_chans == len(self.mean):
            return self
        return Preprocessing(_extended(self.mean, in_chans), _extended(self.std, in_chans))


def _extended(values: tuple[float, ...], count: int) -> tuple[float, ...]:
    average = sum(values) / len(values)
    kept = values if count > len(values) else ()
    return kept + (average,) * (count - len(kept))


IMAGENET = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""RGB statistics of ImageNet, which every published DDRNet uses.

Source: the training configurations listed in docs/weights.md.
"""
