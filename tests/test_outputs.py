import torch

from ddrnet.metrics import SegmentationMetrics


def test_scores_show_their_numbers_in_a_line():
    metrics = SegmentationMetrics(3)
    metrics.update(torch.tensor([[0, 1, 1, 7]]), torch.tensor([[0, 0, 1, 1]]))
    assert repr(metrics.compute()) == (
        "SegmentationScores(mean_iou=0.4167, pixel_accuracy=0.5000, frequency_weighted_iou=0.4167, "
        "pixels=4, iou=[0.5000, 0.3333, nan])"
    )
