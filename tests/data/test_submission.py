import zipfile

import numpy as np
import pytest
import torch
from data_files import write_cityscapes
from PIL import Image

from ddrnet.data import Cityscapes, check_submission, write_submission
from ddrnet.errors import DatasetError
from ddrnet.labels import CITYSCAPES

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = write_cityscapes(tmp_path_factory.mktemp("tree"), {"test": {"berlin": 2, "bonn": 1}})
    return Cityscapes(root, "test")


def predictions(count=3, size=(24, 40)):
    return [torch.from_numpy(RNG.integers(0, 19, size)) for _ in range(count)]


def test_a_submission_holds_label_ids_under_the_names_of_the_server(dataset, tmp_path):
    expected = predictions()
    write_submission(tmp_path / "zipped.zip", dataset, iter(expected))
    ids = [row.id for row in CITYSCAPES.classes]
    with zipfile.ZipFile(tmp_path / "zipped.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == "berlin_000000_000019_pred_labelIds.png"
        for name, train_ids in zip(archive.namelist(), expected, strict=True):
            image = Image.open(archive.open(name))
            assert image.mode == "L"
            np.testing.assert_array_equal(image, np.array(ids)[train_ids])
    check_submission(tmp_path / "zipped.zip", dataset)
    assert [path.name for path in tmp_path.iterdir()] == ["zipped.zip"]


def test_the_official_evaluation_finds_the_files(dataset, tmp_path):
    module = pytest.importorskip("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    write_submission(tmp_path / "zipped.zip", dataset, predictions())
    zipfile.ZipFile(tmp_path / "zipped.zip").extractall(tmp_path / "results")
    args = module.CArgs()
    args.predictionPath, args.predictionWalk = str(tmp_path / "results"), None
    for sample in dataset.samples:
        ground_truth = f"{sample.name}_gtFine_labelIds.png"
        assert sample.name in module.getPrediction(args, ground_truth)


def test_pixels_of_no_class_become_unlabeled(dataset, tmp_path):
    write_submission(tmp_path / "x.zip", dataset, [torch.full((24, 40), 255).byte()] * 3)
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert not np.array(Image.open(archive.open(archive.namelist()[2]))).any()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (predictions(2), "expected 3 predictions, one per image, got 2"),
        (predictions(4), "expected 3 predictions, one per image, got more"),
        (predictions(3, (12, 20)), r"size \(24, 40\), got int64 of shape \(12, 20\)"),
        ([torch.full((24, 40), 19)] * 3, r"holds \[19\], expected train ids 0-18"),
        ([torch.zeros(24, 40)] * 3, "integer map .* got float32"),
    ],
)
def test_wrong_predictions_are_refused_and_nothing_is_left(dataset, tmp_path, wrong, says):
    (tmp_path / "zipped.zip").write_text("what was there before")
    with pytest.raises(ValueError, match=says):
        write_submission(tmp_path / "zipped.zip", dataset, wrong)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["what was there before"]


def rewritten(folder, dataset, change):
    """A good submission whose files went through `change`."""
    write_submission(folder / "good.zip", dataset, predictions())
    with zipfile.ZipFile(folder / "good.zip") as good:
        files = {name: good.read(name) for name in good.namelist()}
    change(files)
    with zipfile.ZipFile(folder / "bad.zip", "w") as bad:
        for name, content in files.items():
            bad.writestr(name, content)
    return folder / "bad.zip"


def png(folder, values):
    Image.fromarray(np.asarray(values, np.uint8)).save(folder / "one.png")
    return (folder / "one.png").read_bytes()


FIRST = "berlin_000000_000019_pred_labelIds.png"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda files, folder: files.pop(FIRST), rf"missing: \['{FIRST}'\]"),
        (lambda files, folder: files.update(note=b""), r"not expected: \['note'\]"),
        (lambda files, folder: files.update({FIRST: b"?"}), "is not a readable image"),
        (lambda files, folder: files.update({FIRST: png(folder, [[7]])}), "differs in size"),
        (
            lambda files, folder: files.update({FIRST: png(folder, np.full((24, 40), 34))}),
            "other values than the label ids",
        ),
    ],
)
def test_a_wrong_submission_is_refused(dataset, tmp_path, change, says):
    bad = rewritten(tmp_path, dataset, lambda files: change(files, tmp_path))
    with pytest.raises(DatasetError, match=rf"bad\.zip is not a valid submission.*{says}"):
        check_submission(bad, dataset)


def test_a_damaged_zip_is_refused(dataset, tmp_path):
    write_submission(tmp_path / "x.zip", dataset, predictions())
    content = bytearray((tmp_path / "x.zip").read_bytes())
    content[200] ^= 255
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(DatasetError, match="Bad CRC-32"):
        check_submission(tmp_path / "x.zip", dataset)
    (tmp_path / "x.zip").write_bytes(content[:-50])
    with pytest.raises(DatasetError, match="not a zip file"):
        check_submission(tmp_path / "x.zip", dataset)
