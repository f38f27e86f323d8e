import doctest
import json
import math
import pickle

import numpy as np
import pytest
import torch
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from process_group import run_in_group
from references import confusion_matrix

from ddrnet import metrics as metrics_module
from ddrnet.labels import CITYSCAPES
from ddrnet.metrics import SegmentationMetrics
from ddrnet.upsampling import upsample


def scores_of(predicted, target, num_classes, ignore_index=255, device="cpu", **options):
    metrics = SegmentationMetrics(num_classes, ignore_index, **options)
    predicted, target = (torch.as_tensor(each, device=device) for each in (predicted, target))
    metrics.update(predicted, target)
    return metrics.compute()


def test_hand_computed(device):
    # Class 0: 2 hits, 1 taken by class 1. Class 1: 1 hit, 1 outside. Class 2: absent everywhere.
    scores = scores_of([[0, 0, 1, 1, 9, 0]], [[0, 0, 0, 1, 1, 255]], 3, device=device)
    assert scores.confusion.tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert scores.outside.tolist() == [0, 1, 0]
    assert scores.iou[:2].tolist() == [2 / 3, 1 / 3]
    assert scores.iou[2].isnan()
    assert scores.mean_iou == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert scores.pixel_accuracy == pytest.approx(3 / 5)
    assert scores.frequency_weighted_iou == pytest.approx(3 / 5 * 2 / 3 + 2 / 5 * 1 / 3)
    assert scores.category_iou == {}


def test_categories_count_as_one_class():
    scores = scores_of([[0, 1, 2, 2]], [[1, 0, 2, 0]], 3, categories=["flat", "flat", "object"])
    assert scores.category_iou == {"flat": 2 / 3, "object": 1 / 2}


def test_a_class_only_predicted_counts_zero():
    scores = scores_of([[0, 1]], [[0, 0]], 2)
    assert scores.iou.tolist() == [0.5, 0.0]
    assert scores.mean_iou == 0.25


@pytest.mark.parametrize("target", [[[255, 255]], [[]]])
def test_nothing_to_count_is_nan(target):
    target = torch.tensor(target, dtype=torch.int64)
    scores = scores_of(torch.zeros_like(target), target, 2, categories=["a", "b"])
    assert scores.confusion.sum() == 0
    assert scores.iou.isnan().all()
    for value in (scores.mean_iou, scores.pixel_accuracy, scores.frequency_weighted_iou):
        assert math.isnan(value)
    assert all(math.isnan(value) for value in scores.category_iou.values())


@given(
    num_classes=st.sampled_from([1, 2, 19, 150, 255, 300]),
    ignore_index=st.sampled_from([255, 0, -1, -100, 1000]),
    dtypes=st.tuples(*[st.sampled_from([torch.uint8, torch.int16, torch.int32, torch.int64])] * 2),
    seed=st.integers(0, 2**32),
)
def test_counts_as_a_plain_loop_does(num_classes, ignore_index, dtypes, seed):
    torch.manual_seed(seed)
    predicted = torch.randint(-3, num_classes + 5, (2, 9, 7)).to(dtypes[0])
    target = torch.randint(num_classes, (2, 9, 7))
    limits = torch.iinfo(dtypes[1])
    target = target.clamp(max=limits.max)
    if limits.min <= ignore_index <= limits.max:
        target[torch.rand(target.shape) < 0.3] = ignore_index
    target = target.to(dtypes[1])
    scores = scores_of(predicted, target, num_classes, ignore_index)
    expected = confusion_matrix(predicted, target, num_classes, ignore_index)
    assert torch.equal(scores.confusion, expected[:, :-1])
    assert torch.equal(scores.outside, expected[:, -1])


@pytest.mark.parametrize("stride", [1, 8])
def test_logits_count_as_their_full_resolution_argmax(stride):
    logits = torch.randn(2, 5, 64 // stride, 128 // stride)
    target = torch.randint(5, (2, 64, 128))
    expected = scores_of(upsample(logits, (64, 128)).argmax(1), target, 5)
    assert torch.equal(scores_of(logits, target, 5).confusion, expected.confusion)


@pytest.mark.parametrize("num_classes", [2, 256])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_logits_that_are_no_numbers_count_as_no_class(num_classes, value, device):
    logits = torch.zeros(1, num_classes, 4, 4, device=device)
    logits[:, 0] = 1
    logits[0, 1, 0, 0] = value
    target = torch.zeros(1, 32, 32, dtype=torch.uint8, device=device)
    metrics = SegmentationMetrics(num_classes)
    metrics.update(logits, target)
    scores = metrics.compute()
    # The corner reaches to the middle of the next one: 4 + 8 pixels along each side.
    assert scores.outside[0] == 12 * 12
    assert scores.confusion[0, 0] == 32 * 32 - 12 * 12


def test_agrees_with_the_official_evaluation_of_the_same_files(tmp_path):
    metrics = SegmentationMetrics(19, categories=CITYSCAPES.categories)
    to_train_id = np.frombuffer(CITYSCAPES.id_to_train_id, np.uint8)
    rng = np.random.RandomState(0)
    files = {"truth": [], "prediction": []}
    for index in range(3):
        # Every id occurs, also ignored ones as predictions; class 16, train, nowhere.
        truth = rng.randint(0, 34, (40, 60)).astype(np.uint8)
        truth[truth == 31] = 7
        guess = np.where(rng.rand(40, 60) < 0.5, truth, rng.randint(0, 31, (40, 60)))
        for name, ids in (("truth", truth), ("prediction", guess.astype(np.uint8))):
            files[name].append(str(tmp_path / f"{name}{index}_labelIds.png"))
            Image.fromarray(ids).save(files[name][-1])
        metrics.update(*(torch.from_numpy(to_train_id[ids]) for ids in (guess, truth)))
    official = evalPixelLevelSemanticLabeling
    official.args.quiet, official.args.JSONOutput = True, False
    official.args.evalInstLevelScore = False
    expected = official.evaluateImgLists(files["prediction"], files["truth"], official.args)
    scores = metrics.compute()
    assert scores.mean_iou == pytest.approx(expected["averageScoreClasses"], abs=1e-12)
    for row, iou in zip(CITYSCAPES.classes, scores.iou.tolist(), strict=True):
        official_iou = expected["classScores"][row.name]
        assert iou == pytest.approx(official_iou, abs=1e-12, nan_ok=True)
    for category, iou in scores.category_iou.items():
        assert iou == pytest.approx(expected["categoryScores"][category], abs=1e-12)
    assert len(scores.category_iou) == 7
    assert scores.iou[16].isnan()


def test_counts_add_up_over_updates_and_merges(device):
    predicted, target = torch.randint(4, (2, 3, 8, 8), device=device)
    whole = SegmentationMetrics(4)
    whole.update(predicted, target)
    parts = [SegmentationMetrics(4), SegmentationMetrics(4)]
    parts[0].update(predicted[:1], target[:1])
    parts[0].update(predicted[1:2], target[1:2])
    parts[1].update(predicted[2:], target[2:])
    parts[0].merge(parts[1])
    assert torch.equal(parts[0].compute().confusion, whole.compute().confusion)
    whole.reset()
    assert whole.compute().confusion.sum() == 0


def test_merge_refuses_other_classes():
    with pytest.raises(ValueError, match=r"SegmentationMetrics\(3, ignore_index=255\) into"):
        SegmentationMetrics(2).merge(SegmentationMetrics(3))


def test_sync_without_processes_changes_nothing():
    metrics = SegmentationMetrics(2)
    metrics.update(torch.tensor([[0, 1]]), torch.tensor([[0, 0]]))
    metrics.sync()
    assert metrics.compute().confusion.tolist() == [[1, 1], [0, 0]]


@pytest.mark.slow
def test_sync_gives_every_process_the_total_once(tmp_path):
    code = """
        import json
        from ddrnet.metrics import SegmentationMetrics
        metrics, totals = SegmentationMetrics(2), []
        for _ in range(2):
            metrics.update(torch.tensor([[rank]]), torch.tensor([[0]]))
            metrics.sync()
            metrics.sync()
            totals.append(metrics.compute().confusion.tolist())
        print(json.dumps(totals))
    """
    for output in run_in_group(code, tmp_path):
        assert json.loads(output) == [[[1, 1], [0, 0]], [[2, 2], [0, 0]]]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
@pytest.mark.parametrize("ignore_index", [255, 254, -1])
def test_a_target_that_is_no_class_is_named_and_not_counted(dtype, ignore_index):
    metrics = SegmentationMetrics(19, ignore_index)
    target = torch.tensor([[0, 19, 33, 33]], dtype=dtype)
    message = rf"labels \[19, 33\], expected 0 to 18 or the ignored {ignore_index}"
    with pytest.raises(ValueError, match=message):
        metrics.update(torch.zeros_like(target), target)
    assert metrics.compute().confusion.sum() == 0


def test_accelerators_need_not_wait(accelerator_device, no_waiting):
    target = torch.zeros(1, 64, 64, dtype=torch.uint8, device=accelerator_device)
    logits = torch.zeros(1, 19, 8, 8, device=accelerator_device)
    metrics = SegmentationMetrics(19)
    metrics.update(target, target)  # moves the counts to the device
    with no_waiting():
        metrics.update(target, target)
        metrics.update(logits, target)


def test_compute_finds_wrong_targets_that_update_could_not():
    # As on another device than a CPU, where looking would have to wait.
    metrics = SegmentationMetrics(2)
    metrics._own = metrics._count(torch.tensor([[0, 0]]), torch.tensor([[0, 7]]))
    with pytest.raises(ValueError, match="1 target pixels hold labels that are neither 0 to 1"):
        metrics.compute()


@pytest.mark.parametrize(
    ("predicted", "target", "message"),
    [
        (torch.zeros(1, 4, 4).long(), torch.zeros(1, 4, 5).long(), r"\(1, 4, 4\).*\(1, 4, 5\)"),
        (torch.zeros(1, 4, 4).long(), torch.zeros(1, 4, 4), "torch.float32"),
        (torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4).long(), r"\(N, 3, h, w\)"),
        (torch.zeros(3, 4, 4), torch.zeros(4, 4).long(), r"\(N, 3, h, w\)"),
        (torch.zeros(2, 3, 4, 4), torch.zeros(1, 4, 4).long(), r"\(2, 4, 4\).*\(1, 4, 4\)"),
    ],
)
def test_refuses_shapes_that_do_not_fit(predicted, target, message):
    with pytest.raises(ValueError, match=message):
        SegmentationMetrics(3).update(predicted, target)


def test_refuses_wrong_arguments():
    with pytest.raises(ValueError, match="num_classes is at least 1, got 0"):
        SegmentationMetrics(0)
    with pytest.raises(ValueError, match="category of each of 2 classes, got 1"):
        SegmentationMetrics(2, categories=["flat"])


def test_pickles_and_shows_what_it_counts():
    metrics = SegmentationMetrics(2, -1)
    metrics.update(torch.tensor([[1]]), torch.tensor([[0]]))
    copy = pickle.loads(pickle.dumps(metrics))
    assert copy.compute().confusion.tolist() == [[0, 1], [0, 0]]
    assert repr(copy) == "SegmentationMetrics(2, ignore_index=-1)"


def test_docstrings_run():
    assert doctest.testmod(metrics_module).failed == 0
