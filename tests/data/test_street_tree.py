import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as evaluation  # noqa: N813
from cityscapesscripts.helpers.annotation import Annotation
from cityscapesscripts.preparation.json2instanceImg import createInstanceImage
from cityscapesscripts.preparation.json2labelImg import createLabelImage
from filelock import FileLock
from PIL import Image

from ddrnet.data import Cityscapes, SyntheticStreets, street_tree, write_streets
from ddrnet.errors import DatasetError
from ddrnet.labels import CITYSCAPES

SIZE = (96, 192)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("streets") / "deep" / "er"
    write_streets(root, 6, size=SIZE, seed=4)
    return root


def files(root):
    return {path.relative_to(root).as_posix() for path in Path(root).rglob("*") if path.is_file()}


def label_files(tree, kind):
    return sorted(tree.glob(f"gtFine/*/synthetic/*_gtFine_{kind}"))


def test_the_tree_holds_the_scenes_of_the_data_set(tree):
    streets = SyntheticStreets(6, SIZE, seed=4)
    train, val = Cityscapes(tree, "train"), Cityscapes(tree, "val")
    assert (len(train), len(val)) == (5, 1)
    for read, index in [(train[0], 0), (train[3], 3), (train[4], 5), (val[0], 4)]:
        assert all(map(torch.equal, read, streets[index]))


def test_torchvision_reads_the_same(tree):
    kinds = ["semantic", "instance", "color", "polygon"]
    theirs = torchvision.datasets.Cityscapes(str(tree), "train", target_type=kinds)
    ours = Cityscapes(tree, "train")
    assert sorted(theirs.images) == [str(sample.image) for sample in ours.samples]
    found = {Path(path).name: sample for path, sample in zip(theirs.images, theirs, strict=True)}
    to_train_id = np.frombuffer(CITYSCAPES.id_to_train_id, np.uint8)
    for sample, (image, labels) in zip(ours.samples, ours, strict=True):
        their_image, (semantic, instance, color, polygons) = found[sample.image.name]
        ids = np.asarray(semantic)
        assert np.array_equal(np.asarray(their_image), image.permute(1, 2, 0).numpy())
        assert np.array_equal(to_train_id[ids], labels.numpy())
        colors = np.array([row.color for row in CITYSCAPES.rows if row.id >= 0])
        assert np.array_equal(np.asarray(color.convert("RGB")), colors[ids])
        values = np.asarray(instance)
        assert np.array_equal(np.where(values < 1000, values, values // 1000), ids)
        assert (polygons["imgHeight"], polygons["imgWidth"]) == SIZE


@pytest.mark.parametrize(
    ("kind", "draw"),
    [("labelIds.png", createLabelImage), ("instanceIds.png", createInstanceImage)],
)
def test_the_official_tools_draw_the_same_labels_from_the_polygons(tree, kind, draw):
    for path in label_files(tree, "polygons.json"):
        annotation = Annotation()
        annotation.fromJsonFile(str(path))
        with Image.open(path.with_name(path.name.replace("polygons.json", kind))) as image:
            assert np.array_equal(np.asarray(image), np.asarray(draw(annotation, "ids")))


def test_the_official_evaluation_finds_the_labels_perfect(tree):
    truths = [str(path) for path in label_files(tree, "labelIds.png")]
    evaluation.args.quiet, evaluation.args.JSONOutput = True, False
    evaluation.args.evalInstLevelScore = False
    scores = evaluation.evaluateImgLists(truths, truths, evaluation.args)
    assert scores["averageScoreClasses"] == 1.0


def test_polygons_lie_in_the_picture_and_things_are_numbered(tree):
    for path in label_files(tree, "polygons.json"):
        annotation = json.loads(path.read_text())
        corners = np.concatenate([np.array(each["polygon"]) for each in annotation["objects"]])
        assert corners.dtype.kind == "i"
        assert corners.min() >= 0
        assert (corners.max(axis=0) < (SIZE[1], SIZE[0])).all()
        drawn = [each["label"] for each in annotation["objects"]]
        with Image.open(
            path.with_name(path.name.replace("polygons.json", "instanceIds.png"))
        ) as im:
            values = np.unique(np.asarray(im))
        for row in CITYSCAPES.rows:
            numbers = values[values // 1000 == row.id] % 1000 if row.has_instances else []
            assert all(number < drawn.count(row.name) for number in numbers)


def test_a_larger_count_adds_scenes_and_leaves_the_others(tree, tmp_path):
    write_streets(tmp_path, 2, size=SIZE, seed=4)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    write_streets(tmp_path, 6, size=SIZE, seed=4)
    assert files(tmp_path) == files(tree)
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


def test_processes_write_the_same_files(tree, tmp_path):
    write_streets(tmp_path, 8, size=SIZE, seed=4, workers=2)
    assert files(tree) < files(tmp_path)
    for name in files(tree):
        assert (tmp_path / name).read_bytes() == (tree / name).read_bytes()


def test_another_folder_is_left_alone(tmp_path):
    (tmp_path / "leftImg8bit").mkdir()
    with pytest.raises(DatasetError, match="no synthetic streets: found leftImg8bit"):
        write_streets(tmp_path, 1, size=SIZE)
    assert files(tmp_path) == set()


@pytest.mark.parametrize("other", [{"seed": 5}, {"size": (96, 193)}])
def test_streets_of_two_kinds_are_not_mixed(tree, other):
    before = files(tree)
    with pytest.raises(DatasetError, match='"height": 96, "width": 192, "seed": 4'):
        write_streets(tree, 9, **{"size": SIZE, "seed": 4, **other})
    assert files(tree) == before


def test_two_processes_do_not_write_at_once(tmp_path):
    with (
        FileLock(tmp_path / "streets.json.lock"),
        pytest.raises(DatasetError, match="another process"),
    ):
        write_streets(tmp_path, 1, size=SIZE)


def test_a_small_disk_is_found_before_writing(tmp_path, monkeypatch):
    usage = street_tree.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(street_tree.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DatasetError, match="has room for 1e-06 GB"):
        write_streets(tmp_path, 2, size=SIZE)
    assert files(tmp_path) == set()


def test_a_disk_that_gets_full_leaves_no_half_file(tmp_path, tree):
    images = [path.stat().st_size for path in tree.rglob("*_leftImg8bit.png")]
    resource = pytest.importorskip("resource", reason="Windows has no limits of file sizes")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (min(images) - 1, hard))
    try:
        with pytest.raises(OSError, match="leftImg8bit"):
            write_streets(tmp_path, 3, size=SIZE, seed=4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [name for name in files(tmp_path) if name.endswith((".part", ".lock"))]
    write_streets(tmp_path, 3, size=SIZE, seed=4)
    assert len(Cityscapes(tmp_path, "train")) == 3


def test_a_killed_run_goes_on(tmp_path):
    write = f"write_streets({str(tmp_path)!r}, 500, size=(64, 64))"
    code = f"from ddrnet.data import write_streets; {write}"
    process = subprocess.Popen([sys.executable, "-c", code])
    while len(list(tmp_path.rglob("*_leftImg8bit.png"))) < 3:
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    complete = len(list(tmp_path.rglob("*_leftImg8bit.png")))
    write_streets(tmp_path, complete + 2, size=(64, 64))
    sets = Cityscapes(tmp_path, "train"), Cityscapes(tmp_path, "val")
    assert sum(map(len, sets)) == complete + 2
    assert not list(tmp_path.rglob("*.part"))
    assert all(labels.shape == (64, 64) for dataset in sets for _, labels in dataset)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [({"count": -1}, "negative"), ({"workers": -1}, "negative"), ({"size": (0, 64)}, "from 32 up")],
)
def test_wrong_arguments_touch_nothing(tmp_path, arguments, told):
    with pytest.raises(ValueError, match=told):
        write_streets(tmp_path / "new", **{"count": 1, "size": SIZE, **arguments})
    assert not (tmp_path / "new").exists()


def test_rendering_in_a_process_of_its_own_loads_no_torch():
    code = "import sys, ddrnet.data.street_tree; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
