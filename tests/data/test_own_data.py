import pytest
from data_files import write_own

from ddrnet.data import SegmentationFolder, open_dataset
from ddrnet.data.opening import recognise, scan_every_split
from ddrnet.errors import DatasetError


def names(dataset):
    return [sample.name for sample in dataset.samples]


def test_own_data_without_splits_is_one_data_set(tmp_path):
    dataset = open_dataset(write_own(tmp_path, ["a", "city/b"]))
    assert isinstance(dataset, SegmentationFolder)
    assert (names(dataset), dataset.split) == (["a", "city/b"], None)
    assert [row.name for row in dataset.classes] == ["water", "land"]
    assert dataset[0][1].unique().tolist() == [1]


def test_own_data_never_mixes_its_splits(tmp_path):
    write_own(tmp_path, ["train/a", "train/b", "val/c", "test/d"])
    assert names(open_dataset(tmp_path)) == ["c"]
    assert names(open_dataset(tmp_path, split="train")) == ["a", "b"]
    assert open_dataset(tmp_path, split="test").split == "test"


@pytest.mark.parametrize("held_out", ["validation", "Val", "test"])
def test_splits_without_val_are_never_mixed(tmp_path, held_out):
    write_own(tmp_path, ["train/a", f"{held_out}/b"])
    with pytest.raises(ValueError, match=rf"no split 'val', only .*{held_out}.*--split"):
        open_dataset(tmp_path)
    assert names(open_dataset(tmp_path, split=held_out)) == ["b"]
    assert set(scan_every_split(tmp_path)) == {"train", held_out}


@pytest.mark.parametrize("folder", ["images", "labels"])
def test_a_split_without_images_or_labels_is_incomplete(tmp_path, folder):
    write_own(tmp_path, ["train/a", "val/b"])
    (tmp_path / folder / "val/b.png").unlink()
    (tmp_path / folder / "val").rmdir()
    with pytest.raises(DatasetError, match=f"no image files in .*{folder}/val"):
        open_dataset(tmp_path)
    assert scan_every_split(tmp_path)["val"].problems


def test_an_image_beside_the_splits_is_named(tmp_path):
    write_own(tmp_path, ["train/a", "val/b", "stray"])
    with pytest.raises(DatasetError, match=r"stray\.png lies beside the splits train, val"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("labels", ["masks", "annotations"])
def test_the_folder_of_labels_may_have_other_names(tmp_path, labels):
    assert len(open_dataset(write_own(tmp_path, ["a"], labels=labels))) == 1
    (tmp_path / "labels").mkdir()
    with pytest.raises(DatasetError, match="several folders of label files"):
        open_dataset(tmp_path)


def test_lists_name_the_images_of_a_split(tmp_path):
    write_own(tmp_path, ["a", "city/b", "c"])
    (tmp_path / "train.txt").write_text("a\nimages/city/b.png\n")
    (tmp_path / "val.txt").write_text("c.png\n\n")
    assert recognise(tmp_path) == "folder"
    assert names(open_dataset(tmp_path)) == ["c"]
    assert names(open_dataset(tmp_path, split="train")) == ["a", "city/b"]


def test_a_readme_beside_the_data_is_no_split(tmp_path):
    write_own(tmp_path, ["a", "b"])
    (tmp_path / "README.txt").write_text("Photos of the lake.")
    (tmp_path / "fold1.txt").write_text("b")
    assert len(open_dataset(tmp_path)) == 2
    assert list(scan_every_split(tmp_path)) == ["all"]
    assert names(open_dataset(tmp_path, val_fraction=0.5)) in (["a"], ["b"])
    assert names(open_dataset(tmp_path, split="fold1")) == ["b"]


def test_a_listed_image_that_is_missing_is_named(tmp_path):
    write_own(tmp_path, ["a"])
    (tmp_path / "val.txt").write_text("a\nb\n")
    with pytest.raises(DatasetError, match=r"images/b is listed and missing"):
        open_dataset(tmp_path)


def test_a_list_without_names_is_no_split(tmp_path):
    write_own(tmp_path, ["a"])
    (tmp_path / "train.txt").write_text("\n")
    with pytest.raises(DatasetError, match=r"split 'train' .*\n.*list of the split names no image"):
        open_dataset(tmp_path, split="train")
    assert scan_every_split(tmp_path)["train"].problems


@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.99])
def test_a_fraction_parts_own_data_once_and_for_all(tmp_path, fraction):
    write_own(tmp_path, [f"{k:02d}" for k in range(20)])
    split = {s: names(open_dataset(tmp_path, split=s, val_fraction=fraction, seed=3))
             for s in ("train", "val")}  # fmt: skip
    assert sorted(split["train"] + split["val"]) == [f"{k:02d}" for k in range(20)]
    assert len(split["val"]) == min(max(1, round(20 * fraction)), 19)
    assert names(open_dataset(tmp_path, val_fraction=fraction, seed=3)) == split["val"]
    if fraction == 0.3:
        assert names(open_dataset(tmp_path, val_fraction=fraction, seed=4)) != split["val"]


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_fractions_lie_between_0_and_1(tmp_path, fraction):
    with pytest.raises(ValueError, match="between 0 and 1"):
        open_dataset(write_own(tmp_path, ["a", "b"]), val_fraction=fraction)


def test_a_single_image_cannot_be_divided(tmp_path):
    with pytest.raises(ValueError, match=r"at least 2 images, .*images holds 1"):
        open_dataset(write_own(tmp_path, ["a"]), split="train", val_fraction=0.5)


def test_classes_come_from_the_file_before_the_caller(tmp_path):
    write_own(tmp_path, ["a"])
    dataset = open_dataset(tmp_path, class_names=["x", "y", "z"])
    assert [row.name for row in dataset.classes] == ["water", "land"]
    (tmp_path / "classes.txt").unlink()
    dataset = open_dataset(tmp_path, class_names=["x", "y", "z"])
    assert [row.name for row in dataset.classes] == ["x", "y", "z"]
    with pytest.raises(DatasetError, match=r"classes\.txt is missing"):
        open_dataset(tmp_path)


def test_an_unknown_value_says_how_to_ignore_it(tmp_path):
    write_own(tmp_path, ["a"], classes="water\n")
    with pytest.raises(DatasetError, match=r"a\.png holds .*: 1; .*'unlabelled 1 ignore' in it"):
        open_dataset(tmp_path)[0]
    (tmp_path / "classes.txt").write_text("water\nunlabelled 1 ignore\n")
    assert open_dataset(tmp_path)[0][1].unique().tolist() == [255]
