from typing import get_args

import numpy as np
import pytest

from ddrnet.streets.materials import SIDE, Material, level_for, texture, tiled


@pytest.mark.parametrize("material", get_args(Material))
def test_textures_are_seamless_and_not_flat(material):
    grey = np.asarray(texture(material, 0)).astype(float)
    assert grey.shape == (SIDE, SIDE)
    assert grey.std() > 5
    for axis in (0, 1):
        steps = np.abs(np.diff(grey, axis=axis)).mean(axis=1 - axis)
        seam = np.abs(np.take(grey, 0, axis) - np.take(grey, -1, axis)).mean()
        assert seam <= 1.5 * steps.max()


def test_each_level_halves_the_side():
    assert texture("brick", 3).size == (SIDE // 8, SIDE // 8)
    assert tiled("brick", 3, 2, 1).size == (3 * SIDE // 2, SIDE)


def test_levels_keep_texels_from_getting_smaller_than_pixels():
    assert [level_for(pixel, 0.1) for pixel in (0.01, 0.1, 0.19, 0.21, 0.8, 1e9)] == [
        0,
        0,
        0,
        1,
        3,
        5,
    ]
