"""Every folder tree of the page on data formats opens as a data set."""

import re
from pathlib import Path

import pytest
from PIL import Image

from ddrnet.data import open_dataset

PAGE = Path(__file__).parents[2] / "docs" / "data-formats.md"
BLOCKS = re.findall(r"^```text\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
TREES = [block for block in BLOCKS if block.splitlines()[0].endswith("/")]


def files_of(tree):
    """Yield the path of every file in a tree that is indented by two spaces."""
    parts = []
    for line in tree.splitlines():
        name = line.strip()
        parts = [*parts[: (len(line) - len(line.lstrip())) // 2], name.rstrip("/")]
        if not name.endswith("/"):
            yield Path(*parts)


def write_tree(tree, folder):
    """Write black images, and lists that name what lies beside them; return the root."""
    paths = list(files_of(tree))
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if path.suffix != ".txt":
            mode = "RGB" if path.stem.endswith("_L") else "L"
            Image.new(mode, (64, 32)).save(folder / path)
    root = paths[0].parts[0]
    for path in paths:
        if path.name == "classes.txt":
            (folder / path).write_text("water\ngrass\n")
        elif path.suffix == ".txt":
            (folder / path).write_text("".join(lines_of(path, paths)))
    return folder / root


def lines_of(path, paths):
    """Yield the lines of a list: pairs of files for CamVid, else names of images."""
    for image in paths:
        if image.parent.name == path.stem:
            yield f"/any/{path.stem}/{image.name} /any/{path.stem}annot/{image.name}\n"
        elif image.parent.name == "images":
            yield f"{image.name}\n"


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.split()[1])
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_shown_tree_opens(tree, split, tmp_path):
    dataset = open_dataset(write_tree(tree, tmp_path), split=split)
    assert len(dataset) > 0
    assert dataset[0][0].shape == (3, 32, 64)


def test_every_layout_is_shown():
    assert [tree.split()[0] for tree in TREES] == ["my-data/", "my-data/", "cityscapes/"] + [
        "camvid/"
    ] * 2
