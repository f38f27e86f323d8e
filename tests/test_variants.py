import json
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace

import pytest

from ddrnet.variants import VARIANTS, DDRNetConfig, FusionStage


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_survives_json(config):
    assert DDRNetConfig.from_dict(json.loads(config.to_json_string())) == config


def test_is_frozen_and_hashable():
    config = VARIANTS["ddrnet_23"]
    with pytest.raises(FrozenInstanceError):
        config.width = 1
    assert hash(config) == hash(replace(config))


def test_channels_follow_the_stride():
    config = VARIANTS["ddrnet_23"]
    assert [config.low_res_channels(stride) for stride in (4, 8, 16, 32, 64)] == [
        64,
        128,
        256,
        512,
        1024,
    ]
    assert config.high_res_channels == 128


@pytest.mark.parametrize(
    "stages",
    [(), ((8, 2),), ((32, 2),), ((16, 2), (64, 2)), ((16, 2), (32, 2), (16, 2)), ((24, 2),)],
)
def test_rejects_impossible_strides(stages):
    with pytest.raises(ValueError, match=r"stage|strides"):
        DDRNetConfig(16, (2, 2), stages, 64, 32)


@pytest.mark.parametrize(
    "change",
    [{"width": 0}, {"width": 16.0}, {"head_width": -1}, {"trunk_depths": (2, 0)}],
)
def test_rejects_numbers_that_are_no_positive_integers(change):
    with pytest.raises(ValueError, match="integer"):
        replace(VARIANTS["ddrnet_23_nano"], **change)


def test_takes_lists_as_json_gives_them():
    config = DDRNetConfig(16, [2, 2], [[16, 2], [32, 2]], 64, 32)
    assert config == VARIANTS["ddrnet_23_nano"]
    assert config.fusion_stages[1] == FusionStage(stride=32, depth=2)


def test_loads_no_torch():
    code = "import sys, ddrnet.variants; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
