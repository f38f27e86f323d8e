import math

import numpy as np
from data_files import save_png

from ddrnet.data import SegmentationFolder
from ddrnet.data.statistics import draw_shares, measure


def folder(root, maps, names=("water", "land", "snow")):
    for index, values in enumerate(maps):
        save_png(root / f"images/{index}.png", np.zeros((*np.shape(values), 3)))
        save_png(root / f"labels/{index}.png", values)
    return SegmentationFolder(root / "images", root / "labels", names)


def test_counts_are_those_of_the_label_files(tmp_path):
    dataset = folder(tmp_path, [[[0, 0], [1, 255]], [[0, 1], [1, 1]], [[255, 255, 0]]])
    found = measure(dataset)
    assert (found.images, found.sizes) == (3, {(2, 2): 2, (1, 3): 1})
    assert (found.pixels, found.ignored, found.images_with) == ((4, 4, 0), 3, (3, 2, 0))
    assert found.shares == (0.5, 0.5, 0)
    assert found.ignored_share == 3 / 11


def test_shares_of_nothing_are_nan(tmp_path):
    found = measure(folder(tmp_path, [[[255]]]))
    assert all(map(math.isnan, found.shares))
    assert found.ignored_share == 1


def test_bars_have_the_colors_and_lengths_of_the_classes(tmp_path):
    dataset = folder(tmp_path, [[[0, 0], [1, 255]]])
    pixels = np.asarray(draw_shares(dataset, measure(dataset)))
    lengths = [(pixels == row.color).all(2).sum(1).max() for row in dataset.classes]
    assert abs(lengths[0] / lengths[1] - 2) < 0.05
    assert lengths[2] < 3
