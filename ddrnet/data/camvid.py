"""CamVid: the SegNet release with 11 classes, or the original release with 32 colours."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Literal, get_args

import torch

from ddrnet.data.dataset import FileDataset, Transforms
from ddrnet.data.samples import Sample
from ddrnet.data.trees import Scan, paired
from ddrnet.files import StrPath
from ddrnet.labels import CAMVID, CAMVID_RAW

Split = Literal["train", "val", "trainval", "test"]

RAW_IMAGES, RAW_LABELS = "701_StillsRaw_full", "LabeledApproved_full"
"""The folders of the original release."""


class CamVid(FileDataset):
    """Streets of Cambridge in 11 classes: 367 training, 101 validation and 233 test images.

    `dataset[index]` is the image, (3, H, W) uint8 RGB, and its train ids, (H, W), with 255 where
    unlabelled. The folders show which of two layouts it is:

    * The SegNet release, 480 x 360: `train.txt`, `val.txt` and `test.txt` list pairs of files. Only
      the last folder and the name of a listed path count: `/SegNet/CamVid/` exists nowhere.
    * The original release, 960 x 720: `701_StillsRaw_full` and `LabeledApproved_full`. Its 32
      colours are mapped to the 11 classes, and the file names decide the SegNet splits.

    Args:
        root: The folder with the lists, or with the two folders of the original release.
        split: `trainval` joins `train` and `val`.
        transforms: Called with the image and the labels; returns the two.
        label_dtype: The integer type of the labels; `torch.uint8` moves an eighth of `int64`.
        cache_dir: A folder that keeps decoded samples: 0.25 GB for `train` of the SegNet release.
        seed: Determines every random choice, together with the epoch and the index.

    Raises:
        ValueError: If the split does not exist.
        DatasetError: If a list, a folder or a file is missing; the message shows the expected tree
            and the files found.

    Source: the split and the 11 classes are those of Badrinarayanan, Kendall, Cipolla, PAMI 2017.
    """

    def __init__(
        self,
        root: StrPath,
        split: Split = "train",
        *,
        transforms: Transforms | None = None,
        label_dtype: torch.dtype = torch.int64,
        cache_dir: StrPath | None = None,
        seed: int = 0,
    ) -> None:
        scan = scan_camvid(Path(root), split)
        super().__init__(
            scan.complete_samples(f"CamVid split {split!r}", Path(root)),
            CAMVID.classes,
            transforms=transforms,
            label_dtype=label_dtype,
            cache_dir=cache_dir,
            seed=seed,
            root=root,
            split=split,
        )


def scan_camvid(root: Path, split: Split) -> Scan:
    """Return the samples and the problems of a split.

    Raises:
        ValueError: If the split does not exist.
    """
    if split not in get_args(Split):
        raise ValueError(f"split must be one of {get_args(Split)}, got {split!r}")
    if split == "trainval":
        return scan_camvid(root, "train") + scan_camvid(root, "val")
    if _is_raw(root):
        return _scan_raw(root, split)
    return _scan_list(root, split)


def scan_every_split(root: Path) -> dict[str, Scan]:
    """Scan every split that has a list; in the original release, every split."""
    splits: tuple[Split, ...] = ("train", "val", "test")
    there = [split for split in splits if _is_raw(root) or (root / f"{split}.txt").is_file()]
    return {split: scan_camvid(root, split) for split in there}


def _is_raw(root: Path) -> bool:
    return (root / RAW_IMAGES).is_dir() or (root / RAW_LABELS).is_dir()


def _scan_list(root: Path, split: str) -> Scan:
    expected = (f"{split}.txt", f"{split}/NAME.png", f"{split}annot/NAME.png")
    file = root / f"{split}.txt"
    if not file.is_file():
        return Scan((), (f"no list {file}",), expected)
    lines = [line.split() for line in file.read_text().splitlines() if line.strip()]
    odd = [line for line in lines if len(line) != 2]
    if odd or not lines:
        return Scan(
            (), (f"{file} does not list pairs of image and label files: {odd[:1]}",), expected
        )
    samples = [_listed(root, *line) for line in lines]
    files = [file for sample in samples for file in (sample.image, sample.labels)]
    missing = {file for file in files if file and not file.is_file()}
    whole = tuple(s for s in samples if missing.isdisjoint((s.image, s.labels)))
    return Scan(whole, tuple(f"{file} is missing" for file in sorted(missing)), expected)


def _listed(root: Path, image: str, labels: str) -> Sample:
    image_path, label_path = (root.joinpath(*PurePosixPath(p).parts[-2:]) for p in (image, labels))
    return Sample(image_path.stem, image_path, label_path, CAMVID)


def _scan_raw(root: Path, split: str) -> Scan:
    folders = root / RAW_IMAGES, root / RAW_LABELS
    images, labels = (
        {path.stem.removesuffix("_L"): path for path in sorted(folder.glob("[!.]*.png"))}
        for folder in folders
    )
    samples, problems = paired(
        {name: path for name, path in images.items() if _raw_split(name) == split},
        {name: path for name, path in labels.items() if _raw_split(name) == split},
        CAMVID_RAW,
    )
    if not samples:
        problems = (f"no images with labels of split {split!r} in {root}", *problems)
    return Scan(samples, problems, (f"{RAW_IMAGES}/NAME.png", f"{RAW_LABELS}/NAME_L.png"))


def _raw_split(name: str) -> str:
    """Return the SegNet split of an image of the original release, from its sequence and frame."""
    sequence, _, frame = name.partition("_")
    number = int("".join(filter(str.isdigit, frame)) or 0)
    if sequence == "Seq05VD" or (sequence == "0001TP" and number > 8520):
        return "test"
    return "val" if sequence == "0016E5" and 7959 <= number <= 8159 else "train"
