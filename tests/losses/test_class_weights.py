"""Class weights from the labels of a data set."""

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from ddrnet.losses import class_weights_from


class Labelled:
    """Two images of four pixels; one label is ignored."""

    classes = ("road", "car", "sky")

    def __init__(self, *maps):
        self.maps = maps

    def __len__(self):
        return len(self.maps)

    def read_labels(self, index):
        return torch.tensor(self.maps[index], dtype=torch.uint8)


def test_inverse_log_weights_hand_computed():
    # Of seven labelled pixels, four are road and three car; no pixel is sky.
    weights = class_weights_from(Labelled([[0, 0], [0, 1]], [[0, 1], [1, 255]]))
    road, car = (1 / np.log(1.02 + share / 7) for share in (4, 3))
    mean = (road + car) / 2
    assert weights.tolist() == pytest.approx([road / mean, car / mean, 1])


def test_median_frequency_weights_hand_computed():
    # Road: 4 of the 7 pixels of both images; car: 2 of the 3 pixels of the second image.
    dataset = Labelled([[0, 0], [0, 0]], [[255, 1], [1, 2]])
    weights = class_weights_from(dataset, method="median_frequency")
    shares = np.array([4 / 4, 2 / 3, 1 / 3])
    expected = np.median(shares) / shares
    assert weights.tolist() == pytest.approx((expected / expected.mean()).tolist())


def test_class_weights_of_pairs_of_images_and_labels():
    pairs = TensorDataset(torch.zeros(2, 3, 1, 2), torch.tensor([[[0, 0]], [[0, 1]]]))
    weights = class_weights_from(pairs, num_classes=2)
    assert weights[1] > weights[0]


@pytest.mark.parametrize(
    ("dataset", "arguments", "message"),
    [
        (TensorDataset(torch.zeros(1)), {}, "pass num_classes"),
        (Labelled(), {}, "empty"),
        (Labelled([[255]]), {}, "no pixel of the data set is labelled"),
        (Labelled([[0, 7]]), {}, r"labels hold \[7\], expected 0 to 2 or the ignored 255"),
        (Labelled([[0]]), {"method": "inverse"}, "method is one of.*got 'inverse'"),
    ],
)
def test_class_weights_refuse_what_has_no_shares(dataset, arguments, message):
    with pytest.raises(ValueError, match=message):
        class_weights_from(dataset, **arguments)
