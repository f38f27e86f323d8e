import copy
import json
import logging
import math
import zipfile

import numpy as np
import pytest
import torch
from data_files import save_png, write_cityscapes
from PIL import Image
from process_group import run_in_group
from references import confusion_matrix
from torch.utils.data import Subset

import ddrnet
from ddrnet.data import Cityscapes, SegmentationFolder, SyntheticStreets, check_submission
from ddrnet.metrics import SegmentationMetrics
from ddrnet.predictor.tta import predict_averaged

NANO = "ddrnet_23_nano"
SIZES = [(64, 96), (40, 72), (64, 96), (33, 47), (48, 64), (64, 96), (57, 35)]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return ddrnet.create_model(NANO, class_names=ddrnet.CITYSCAPES.classes, aux_head=True)


@pytest.fixture
def samples():
    """Seven images of different sizes, as a list; 19 classes, a few pixels ignored."""
    images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in SIZES]
    labels = [torch.randint(0, 20, size) for size in SIZES]
    return [(i, t.where(t < 19, 255)) for i, t in zip(images, labels, strict=True)]


def plain_confusion(model, samples):
    """Every pixel counted one by one, images one after the other."""
    normalize = ddrnet.data.Normalize.from_model(model)
    counts = [
        confusion_matrix(model.predict(normalize(image[None]))[0], labels, model.num_classes)
        for image, labels in samples
    ]
    return sum(counts)[:, : model.num_classes]


def test_counts_every_pixel_of_every_image_once(model, samples):
    scores = ddrnet.evaluate(model, samples)
    assert torch.equal(scores.confusion, plain_confusion(model, samples))
    assert int(scores.confusion.sum()) == sum(int((t != 255).sum()) for _, t in samples)


def test_the_scores_are_those_of_the_metrics(model):
    streets = SyntheticStreets(2, (64, 96))
    scores = ddrnet.evaluate(model, streets)
    metrics = SegmentationMetrics(19, categories=ddrnet.CITYSCAPES.categories)
    normalize = ddrnet.data.Normalize.from_model(model)
    for image, labels in streets:
        metrics.update(model.predict(normalize(image[None])), labels[None])
    expected = metrics.compute()
    assert scores.mean_iou == expected.mean_iou
    assert scores.category_iou.keys() == expected.category_iou.keys()


@pytest.mark.parametrize("options", [{"batch_size": 4}, {"num_workers": 2}])
def test_batches_and_workers_change_nothing(model, samples, options):
    got = ddrnet.evaluate(model, samples, **options).confusion
    expected = ddrnet.evaluate(model, samples).confusion
    assert (got - expected).abs().sum() <= 20  # batches round differently where classes tie
    assert int(got.sum()) == int(expected.sum())


@pytest.mark.slow
def test_any_number_of_processes_gives_the_same_confusion_matrix(model, samples, tmp_path):
    network = model.without_aux_head()
    torch.save((samples, network.state_dict()), tmp_path / "given.pt")
    code = f"""
        import json
        from pathlib import Path
        from ddrnet import create_model, evaluate

        def evaluate_all(samples, **options):
            return evaluate(model, samples, **options).confusion.tolist()

        torch.set_num_threads({torch.get_num_threads()})
        folder = Path({str(tmp_path)!r})
        samples, weights = torch.load(folder / "given.pt")
        model = create_model("{NANO}")
        model.load_state_dict(weights)
        results = {{"3": evaluate_all(samples, save_labels=folder / "labels")}}
        results["1 image"] = evaluate_all(samples[:1])
        distributed.destroy_process_group()
        size = 2 if rank < 2 else 1
        method = f"file://{{folder}}/group of {{size}}"
        distributed.init_process_group("gloo", init_method=method, rank=rank % 2, world_size=size)
        results[str(size)] = evaluate_all(samples)
        print(json.dumps(results))
    """
    expected = ddrnet.evaluate(network, samples).confusion.tolist()
    first = ddrnet.evaluate(network, samples[:1]).confusion.tolist()
    for number, output in zip((2, 2, 1), run_in_group(code, tmp_path, size=3), strict=True):
        assert json.loads(output) == {"3": expected, "1 image": first, f"{number}": expected}
    written = sorted(path.name for path in (tmp_path / "labels").iterdir())
    assert written == [f"{index:06d}.png" for index in range(7)]


def test_the_model_and_the_random_state_are_left_alone(model, samples):
    model = copy.deepcopy(model).train()
    model.stem.eval()
    modes = [module.training for module in model.modules()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    ddrnet.evaluate(model, samples[:2], num_workers=1)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert model.upsample
    assert model.aux_head is not None


def test_scales_and_flip_average_probabilities(model, samples):
    network = model.without_aux_head().eval()
    network.upsample = False
    image, labels = samples[0]
    images = ddrnet.data.Normalize.from_model(model)(image[None])
    predicted = predict_averaged(network, images, [1.0, 1.5], flip=True)
    expected = confusion_matrix(predicted[0], labels, 19)[:, :19]
    got = ddrnet.evaluate(model, samples[:1], scales=[1.0, 1.5], flip=True).confusion
    assert torch.equal(got, expected)


def test_a_predictor_segments_as_it_is_set(model, samples):
    mirrored = ddrnet.Predictor(model, device="cpu", tta=(1.0, 1.5))
    scores = ddrnet.evaluate(mirrored, samples)
    expected = ddrnet.evaluate(model, samples, scales=(1.0, 1.5), flip=True)
    moved = (scores.confusion - expected.confusion).abs().sum() / scores.confusion.sum()
    assert moved < 1e-3  # near-ties
    with pytest.raises(ValueError, match="its own tta"):
        ddrnet.evaluate(mirrored, samples, flip=True)


def test_mixed_precision_agrees_nearly(model, samples):
    expected = ddrnet.evaluate(model, samples[:2]).confusion
    for got in (
        ddrnet.evaluate(model, samples[:2], amp_dtype=torch.bfloat16).confusion,
        ddrnet.evaluate(copy.deepcopy(model).bfloat16(), samples[:2]).confusion,
    ):
        assert (got - expected).abs().sum() < 0.1 * expected.sum()


def test_images_of_other_channels(samples):
    grey = ddrnet.create_model(NANO, in_chans=1)
    assert ddrnet.evaluate(grey, samples[:1]).confusion.sum() > 0
    four = [(torch.cat([image, image[:1]]), labels) for image, labels in samples[:1]]
    assert ddrnet.evaluate(ddrnet.create_model(NANO, in_chans=4), four).confusion.sum() > 0


def test_a_subset_is_a_data_set(model):
    part = Subset(SyntheticStreets(3, (64, 96)), [2])
    assert ddrnet.evaluate(model, part).confusion.sum() <= 64 * 96


def test_labels_and_submission_hold_the_predictions(model, tmp_path):
    root = write_cityscapes(tmp_path / "data", {"val": {"bonn": 2}}, size=(64, 96))
    dataset = Cityscapes(root, "val")
    target = tmp_path / "new" / "x.zip"
    ddrnet.evaluate(model, dataset, save_labels=tmp_path / "labels", submission=target)
    check_submission(target, dataset)
    with zipfile.ZipFile(target) as archive:
        for name in archive.namelist():
            saved = Image.open(tmp_path / "labels" / name)
            np.testing.assert_array_equal(Image.open(archive.open(name)), saved)
    ids = np.array([row.id for row in ddrnet.CITYSCAPES.classes])
    images = ddrnet.data.Normalize.from_model(model)(dataset[1][0][None])
    np.testing.assert_array_equal(saved, ids[model.predict(images)[0]])
    assert list(target.parent.iterdir()) == [target]


def test_a_split_without_labels_can_be_submitted(model, tmp_path):
    root = write_cityscapes(tmp_path / "data", {"test": {"bonn": 1}}, size=(64, 96))
    dataset = Cityscapes(root, "test")
    scores = ddrnet.evaluate(model, dataset, submission=tmp_path / "x.zip")
    assert math.isnan(scores.mean_iou)
    check_submission(tmp_path / "x.zip", dataset)
    assert {path.name for path in tmp_path.iterdir()} == {"data", "x.zip"}


def test_a_failure_leaves_no_files(model, tmp_path):
    root = write_cityscapes(tmp_path / "data", {"val": {"bonn": 2}}, size=(64, 96))
    (root / "leftImg8bit/val/bonn/bonn_000001_000019_leftImg8bit.png").write_bytes(b"")
    with pytest.raises(ddrnet.DatasetError, match="bonn_000001"):
        ddrnet.evaluate(model, Cityscapes(root, "val"), submission=tmp_path / "x.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_one_message_from_any_process(model, tmp_path, workers):
    root = write_cityscapes(tmp_path, {"val": {"bonn": 1}}, size=(64, 96))
    image = root / "leftImg8bit/val/bonn/bonn_000000_000019_leftImg8bit.png"
    image.write_bytes(b"")
    with pytest.raises(ddrnet.DatasetError) as caught:
        ddrnet.evaluate(model, Cityscapes(root, "val"), num_workers=workers)
    assert str(image) in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_a_submission_is_of_cityscapes(model, tmp_path):
    streets = SyntheticStreets(1, (64, 96))
    with pytest.raises(ValueError, match=r"submission needs .*Cityscapes, got .*Synthetic"):
        ddrnet.evaluate(model, streets, submission=tmp_path / "x.zip")


def test_other_classes_than_the_models_raise():
    model = ddrnet.create_model(NANO, class_names=["road", "rest"])
    with pytest.raises(ValueError, match=r"2 classes \(road, rest\), the data set has 19 \(road,"):
        ddrnet.evaluate(model, SyntheticStreets(1, (64, 96)))


@pytest.fixture
def halves(tmp_path):
    """Own data whose left half is road and whose right half is sky, in an order to choose."""
    values = np.repeat([[0, 1]], 32, 0).repeat(32, 1)
    save_png(tmp_path / "images/a.png", np.repeat(values[:, :, None], 3, 2) * 255)

    def open_halves(names):
        save_png(tmp_path / "labels/a.png", values if names[0] == "road" else 1 - values)
        return SegmentationFolder(tmp_path / "images", tmp_path / "labels", names)

    return open_halves


@pytest.mark.parametrize("by_index", [False, True])
def test_classes_in_another_order_are_matched_by_name(halves, by_index, tmp_path):
    model = ddrnet.create_model(NANO, class_names=["road", "sky"])
    straight = ddrnet.evaluate(model, halves(["road", "sky"]))
    out = tmp_path / "out"
    turned = ddrnet.evaluate(model, halves(["sky", "road"]), by_index=by_index, save_labels=out)
    assert torch.equal(turned.confusion.flip(0, 1), straight.confusion) is not by_index
    normalize = ddrnet.data.Normalize.from_model(model)
    predicted = model.predict(normalize(halves(["road", "sky"])[0][0][None]))[0]
    expected = predicted if by_index else 1 - predicted
    np.testing.assert_array_equal(np.asarray(Image.open(out / "a.png")), expected)


@pytest.mark.parametrize("by_index", [False, True])
def test_classes_without_names_are_compared_by_number(halves, by_index, caplog):
    model = ddrnet.create_model(NANO, num_classes=2)
    with caplog.at_level(logging.INFO, "ddrnet"):
        ddrnet.evaluate(model, halves(["road", "sky"]), by_index=by_index)
    assert "by number: class_0 = road, class_1 = sky" in caplog.text


@pytest.mark.slow
def test_classes_of_other_names_need_by_index(halves, caplog):
    model = ddrnet.create_model(NANO, class_names=["road", "rest"])
    dataset = halves(["road", "sky"])
    with pytest.raises(
        ValueError, match=r"only the model has rest; only the data set has sky.*by_index"
    ):
        ddrnet.evaluate(model, dataset)
    with caplog.at_level(logging.INFO, "ddrnet"):
        ddrnet.evaluate(model, dataset, by_index=True)
    assert "road = road, rest = sky" in caplog.text


def test_logits_that_are_no_numbers_raise(samples):
    broken = ddrnet.create_model(NANO)
    torch.nn.init.constant_(broken.head.conv2.bias, torch.nan)
    with pytest.raises(ValueError, match="logits are NaN or infinite"):
        ddrnet.evaluate(broken, samples)


def test_wrong_arguments_raise(model, samples):
    with pytest.raises(ValueError, match="no image"):
        ddrnet.evaluate(model, [])
    with pytest.raises(ValueError, match="factors above 0"):
        ddrnet.evaluate(model, samples, scales=[])
    with pytest.raises(TypeError, match=r"a Predictor, got .*Sequential.*model\.module"):
        ddrnet.evaluate(torch.nn.Sequential(model), samples)
    with pytest.raises(ValueError, match=r"target holds the labels \[77\]"):
        ddrnet.evaluate(model, [(samples[0][0], torch.full((64, 96), 77))])
