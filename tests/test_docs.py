"""Everything a reader may copy from the README and the docs runs as it stands."""

import re
import shlex
import shutil
from pathlib import Path

import golden_data
import pytest
import torch
from PIL import Image
from videos import write_clip

from ddrnet import classification, factory
from ddrnet.checkpoints import to_ddrnet
from ddrnet.cli import main

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SLIM = "ddrnet_23_slim"
NEWER = {
    "integrations.transformers": ("transformers", "5.24"),
    "import albumentations": ("albumentations", "2.0.8"),
    "import datasets": ("datasets", "5.2"),
}
"""Text in a snippet -> what it needs, beyond the oldest versions of the other dependencies."""

LONG = ("ddrnet train", "ddrnet export", "ddrnet.export(")
"""Text in snippets that run for longer than the fast suite allows."""


def fences(language):
    """Yield every fenced block of a language as a test parameter."""
    for page in PAGES:
        blocks = re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)
        for number, block in enumerate(blocks):
            long = language != "console" and any(text in block for text in LONG)
            heavy = any(text in block for text in NEWER)
            marks = [pytest.mark.slow] * (long or heavy)
            yield pytest.param(block, id=f"{page.name}-{number}", marks=marks)


@pytest.fixture
def workplace(tmp_path, monkeypatch, exported):
    """A folder with what the examples name, and formula weights in place of downloads."""
    fetch = factory.fetch_state_dict
    official = golden_data.state_dict(golden_data.keys("official")[SLIM])
    torch.save(official, tmp_path / "theirs.pth")
    monkeypatch.setattr(
        factory,
        "fetch_state_dict",
        lambda row, cache: fetch(row, cache) if row.packaged else to_ddrnet(official),
    )
    classifier = golden_data.state_dict(golden_data.keys("official")[f"{SLIM}.classification"])
    torch.save(classifier, tmp_path / "classifier.pth")
    monkeypatch.setattr(classification, "fetch_weights", lambda *_: tmp_path / "classifier.pth")
    (tmp_path / "photos").mkdir()
    for path in (tmp_path / "photo.jpg", tmp_path / "photos" / "street.png"):
        Image.effect_noise((96, 64), 80).convert("RGB").save(path)
    write_clip(tmp_path / "clip.mp4", pts=range(3))
    for log in (ROOT / "docs" / "training").glob("*.jsonl"):
        shutil.copy(log, tmp_path)
    for split in ("train", "val"):
        write_own_data(tmp_path / "my-data", split)
    shutil.copy(exported("nano.labels.onnx"), tmp_path / "nano.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_own_data(root, split):
    """Write a split of six images and masks, with the classes of the README."""
    (root / "images" / split).mkdir(parents=True)
    (root / "labels" / split).mkdir(parents=True)
    classes = next(block for (block,) in (case.values for case in fences("text")) if "sky" in block)
    (root / "classes.txt").write_text(classes)
    for index in range(6):
        Image.effect_noise((96, 64), 80).convert("RGB").save(root / f"images/{split}/{index}.jpg")
        mask = Image.linear_gradient("L").resize((96, 64)).point(lambda value: value // 64)
        mask.point(lambda value: 4 if value == 3 else value).save(
            root / f"labels/{split}/{index}.png"
        )


@pytest.mark.parametrize("code", list(fences("python")))
def test_python_runs(code, workplace):
    for text, (library, version) in NEWER.items():
        if text in code:
            pytest.importorskip(library, minversion=version)
    exec(compile(code, "snippet", "exec"), {"__name__": "snippet"})


@pytest.mark.parametrize("block", list(fences("bash")))
def test_ddrnet_commands_run(block, workplace):
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["ddrnet"]:
            assert main(words[1:]) == 0, line


@pytest.mark.parametrize("block", list(fences("console")))
def test_the_options_of_long_trainings_are_understood(block, workplace):
    for line in block.replace("\\\n", " ").splitlines():
        _, command, options = line.partition("ddrnet train ")
        if command:
            assert main(["train", *shlex.split(options, comments=True), "--print-config"]) == 0, (
                line
            )


def test_the_readme_examples_do_something(workplace):
    readme = PAGES[0].read_text()
    code = re.findall(r"^```python\n(.*?)^```", readme, re.M | re.S)[0]
    exec(compile(code, "snippet", "exec"), {"__name__": "snippet"})
    assert Image.open("overlay.png").width == 96


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page):
    # Sphinx checks the links to pages that it generates.
    for target in re.findall(r"\]\((?!https?:|#|_generated/)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
