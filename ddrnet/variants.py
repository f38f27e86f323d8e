"""The sizes of DDRNet: a configuration class and one row per size. Loads no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

OUTPUT_STRIDE = 8
"""Input pixels per pixel of the high-resolution branch and of the logits."""

HEADS = ("dappm.", "head.", "aux_head.")
"""Key prefixes absent from ImageNet checkpoints."""

CLASSIFIER = ("high_to_low.", "conv_head.", "classifier.")
"""Key prefixes of the last layers of an ImageNet classifier, which no other network has."""


class FusionStage(NamedTuple):
    """One stage of both branches, ended by a bilateral fusion.

    Attributes:
        stride: Input pixels per pixel of the low-resolution branch: a power of two from 16 up.
        depth: Residual blocks in each branch.
    """

    stride: int
    depth: int


@dataclass(frozen=True)
class DDRNetConfig:
    """The numbers that define one size of DDRNet.

    Attributes:
        width: Channels of the stem; every other width of the two branches follows from it.
        trunk_depths: Residual blocks at strides 4 and 8, before the branches divide.
        fusion_stages: The stages of the two branches, in order.
        dappm_width: Channels of each branch of DAPPM.
        head_width: Channels inside the segmentation heads.

    Raises:
        ValueError: If a number is not positive, or the strides do not grow by at most a factor
            of two per stage from 16.

    Source: arXiv 2101.06085, table 1, and the published code.
    """

    width: int
    trunk_depths: tuple[int, int]
    fusion_stages: tuple[FusionStage, ...]
    dappm_width: int
    head_width: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "trunk_depths", tuple(self.trunk_depths))
        stages = tuple(FusionStage(*stage) for stage in self.fusion_stages)
        object.__setattr__(self, "fusion_stages", stages)
        self._check_numbers()
        self._check_strides()

    @property
    def high_res_channels(self) -> int:
        """Channels of the high-resolution branch."""
        return 2 * self.width

    def low_res_channels(self, stride: int) -> int:
        """Return the channels of the trunk and the low-resolution branch at `stride`."""
        return self.width * stride // 4

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain Python values, ready for JSON."""
        fields = asdict(self)
        fields["trunk_depths"] = list(self.trunk_depths)
        fields["fusion_stages"] = [list(stage) for stage in self.fusion_stages]
        return fields

    def to_json_string(self) -> str:
        """Return the fields as JSON, keys sorted."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> DDRNetConfig:
        """Build a configuration from what `to_dict` returned.

        Raises:
            TypeError: If a field is missing or unknown.
            ValueError: If a value does not make a network.
        """
        return cls(**fields)

    def _check_numbers(self) -> None:
        stages = [number for stage in self.fusion_stages for number in stage]
        numbers = [self.width, *self.trunk_depths, *stages, self.dappm_width, self.head_width]
        if len(self.trunk_depths) != 2 or not self.fusion_stages:
            raise ValueError(
                f"a DDRNet needs two trunk_depths and at least one fusion stage, got {self}"
            )
        if any(type(number) is not int or number < 1 for number in numbers):
            raise ValueError(f"every number of a DDRNetConfig is an integer from 1 up, got {self}")

    def _check_strides(self) -> None:
        previous = OUTPUT_STRIDE
        strides = [stage.stride for stage in self.fusion_stages]
        for index, stride in enumerate(strides):
            allowed = (2 * previous,) if index == 0 else (previous, 2 * previous)
            if stride not in allowed:
                raise ValueError(
                    f"fusion strides start at 16 and stay or double from stage to stage, "
                    f"got {strides}"
                )
            previous = stride


class Cost(NamedTuple):
    """Parameters and operations of a size with 19 classes, without the auxiliary head.

    Attributes:
        parameters: Number of trained parameters.
        gmacs: Billions of multiply-adds for one image of 1024 x 2048 pixels.
    """

    parameters: int
    gmacs: float


_TWO_STAGES = (FusionStage(16, 2), FusionStage(32, 2))
_THREE_STAGES = (FusionStage(16, 3), FusionStage(16, 3), FusionStage(32, 3))

VARIANTS: dict[str, DDRNetConfig] = {
    "ddrnet_23_nano": DDRNetConfig(16, (2, 2), _TWO_STAGES, dappm_width=64, head_width=32),
    "ddrnet_23_slim": DDRNetConfig(32, (2, 2), _TWO_STAGES, dappm_width=128, head_width=64),
    "ddrnet_23": DDRNetConfig(64, (2, 2), _TWO_STAGES, dappm_width=128, head_width=128),
    "ddrnet_39": DDRNetConfig(64, (3, 4), _THREE_STAGES, dappm_width=128, head_width=256),
}
"""Every size of the zoo. `ddrnet_23_nano` is this library's own; the others are published."""

COSTS: dict[str, Cost] = {
    "ddrnet_23_nano": Cost(1_429_507, 9.19),
    "ddrnet_23_slim": Cost(5_695_987, 36.28),
    "ddrnet_23": Cost(20_148_947, 143.06),
    "ddrnet_39": Cost(32_360_275, 281.12),
}
"""The cost of every size of the zoo, as counted on the networks themselves."""
