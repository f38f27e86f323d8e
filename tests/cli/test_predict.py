import io
import math
import re
import socket

import golden_data
import numpy as np
import pytest
import torch
from data_files import png_bytes, rgb16_tiff_bytes
from PIL import Image, ImageOps

import ddrnet
from ddrnet.cli import main
from ddrnet.cli import results as cli_results
from ddrnet.cli.predict import shares_table
from ddrnet.cli.results import name_results
from ddrnet.labels import CITYSCAPES, class_labels
from ddrnet.predictor import pipeline
from ddrnet.predictor.sources import find_images
from ddrnet.visualize import colorize

NANO, SLIM = "ddrnet_23_nano", "ddrnet_23_slim"
HEIGHT, WIDTH = 48, 80
RNG = np.random.default_rng(0)
DEEP_GREY = RNG.integers(0, 65536, (HEIGHT, WIDTH), dtype=np.uint16)
DEEP_RGB = RNG.integers(0, 65536, (HEIGHT, WIDTH, 3), dtype=np.uint16)
RGB = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
GREY = np.ascontiguousarray(RGB[..., 0])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return golden_data.nano_checkpoint(tmp_path_factory.mktemp("weights") / "nano.pth")


@pytest.fixture(scope="module")
def network(checkpoint):
    return ddrnet.create_model(NANO, checkpoint_path=checkpoint).eval()


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photos" / "street.png"
    path.parent.mkdir()
    path.write_bytes(encoded(RGB, "png"))
    return path


@pytest.fixture
def predict(tmp_path, checkpoint, capsys):
    """Run `ddrnet predict` into tmp_path/out; return exit code, output and error output."""

    def run(*arguments, weights=("--checkpoint", checkpoint)):
        command = ["predict", *arguments, *weights, "--out", tmp_path / "out", "--device", "cpu"]
        return main([str(part) for part in command]), *capsys.readouterr()

    return run


def encoded(pixels, format, *, mode=None, **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, format, **options)
    return file.getvalue()


def palette(pixels):
    """A palette image and the colours it shows."""
    image = Image.fromarray(pixels).quantize(64)
    return image, np.array(image.convert("RGB"))


def grey(values):
    return np.repeat(values[..., None], 3, axis=2)


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def high_bytes(deep):
    return np.round(deep / 257).astype(np.uint8)


PALETTE, PALETTE_RGB = palette(RGB)
BLOCKS = np.kron(RNG.integers(0, 256, (3, 5, 3)), np.ones((16, 16, 1))).astype(np.uint8)
CYAN = Image.merge("CMYK", [Image.fromarray(band) for band in (GREY, 255 - GREY, GREY, 0 * GREY)])

FILES = {
    "rgb.png": (encoded(RGB, "png"), RGB),
    "rgb.bmp": (encoded(RGB, "bmp"), RGB),
    "rgb.tif": (encoded(RGB, "tiff"), RGB),
    "rgb.webp": (encoded(RGB, "webp", lossless=True), RGB),
    "rgb.jpg": (encoded(BLOCKS, "jpeg", quality=100, subsampling=0), None),
    "grey.png": (encoded(GREY, "png"), grey(GREY)),
    "grey.bmp": (encoded(GREY, "bmp"), grey(GREY)),
    "grey.tiff": (encoded(GREY, "tiff"), grey(GREY)),
    "grey.jpeg": (encoded(BLOCKS[..., 0], "jpeg", quality=100), None),
    "palette.png": (encoded(PALETTE, "png"), PALETTE_RGB),
    "palette.bmp": (encoded(PALETTE, "bmp"), PALETTE_RGB),
    "palette.tif": (encoded(PALETTE, "tiff"), PALETTE_RGB),
    "rgba.png": (encoded(np.dstack([RGB, GREY | 1]), "png"), RGB),
    "rgba.tif": (encoded(np.dstack([RGB, GREY | 1]), "tiff"), RGB),
    "rgba.webp": (encoded(np.dstack([RGB, GREY | 1]), "webp", lossless=True, exact=True), RGB),
    "cmyk.jpg": (encoded(CYAN, "jpeg", quality=100), None),
    "cmyk.tif": (encoded(CYAN, "tiff"), np.array(CYAN.convert("RGB"))),
    "deep grey.png": (png_bytes(DEEP_GREY, 16), grey(high_bytes(DEEP_GREY))),
    "deep grey.tif": (encoded(DEEP_GREY, "tiff"), grey(high_bytes(DEEP_GREY))),
    "deep rgb.png": (png_bytes(DEEP_RGB, 16), high_bytes(DEEP_RGB)),
    "deep rgb.tif": (rgb16_tiff_bytes(DEEP_RGB), (DEEP_RGB >> 8).astype(np.uint8)),
    "turned.png": (encoded(RGB, "png", exif=turned(6)), np.rot90(RGB, 3)),
    "turned.tif": (encoded(RGB, "tiff", exif=turned(3)), np.rot90(RGB, 2)),
    "turned.webp": (encoded(RGB, "webp", lossless=True, exif=turned(8)), np.rot90(RGB, 1)),
    "turned.jpg": (encoded(BLOCKS, "jpeg", quality=100, exif=turned(6)), None),
}
"""Name -> the file's bytes, and the RGB pixels it stands for; None where it is lossy."""


@pytest.fixture(scope="module")
def every_format(tmp_path_factory, checkpoint):
    """One run over a folder of files of every format: name -> (image file, results)."""
    folder = tmp_path_factory.mktemp("every format")
    for name, (content, _) in FILES.items():
        (folder / name).write_bytes(content)
    out = tmp_path_factory.mktemp("results")
    assert main(["predict", str(folder), "--checkpoint", checkpoint, "--out", str(out)]) == 0
    images = find_images([folder])
    return {
        image.name: (image, results)
        for image, results in zip(images, name_results(images, out), strict=True)
    }


@pytest.mark.parametrize("name", FILES)
def test_every_format_is_segmented_at_its_own_size(name, every_format, network):
    image, results = every_format[name]
    pixels = FILES[name][1]
    if pixels is None:
        pixels = np.array(ImageOps.exif_transpose(Image.open(image)).convert("RGB"))
    labels = read(results.labels)
    assert labels.shape == pixels.shape[:2]
    assert (labels == predicted(network, pixels)).mean() > 0.99
    assert len(np.unique(labels)) > 2
    picture = read(results.overlay)
    assert picture.shape[0] > labels.shape[0]
    left = (picture.shape[1] - labels.shape[1]) // 2
    blended = picture[: labels.shape[0], left : left + labels.shape[1]]
    expected = 0.45 * pixels + 0.55 * colorize(labels, CITYSCAPES.classes)
    assert np.abs(blended - expected).max() < 5


def predicted(network, pixels):
    mean, std = network.preprocessing.mean, network.preprocessing.std
    normalized = torch.from_numpy((pixels / 255 - mean) / std).float()
    return network.predict(normalized.permute(2, 0, 1)[None])[0].numpy()


def read(path):
    with Image.open(path) as image:
        return np.array(image)


def test_the_size_and_the_classes_come_from_the_checkpoint(photo, predict, tmp_path):
    path = tmp_path / "official.pth"
    torch.save(golden_data.state_dict(golden_data.keys("official")[SLIM]), path)
    code, output, _ = predict(photo, weights=("--checkpoint", path))
    model = ddrnet.create_model(SLIM, checkpoint_path=path)
    assert code == 0
    assert (read(tmp_path / "out/street.labels.png") == predicted(model, RGB)).mean() > 0.99
    assert all(label.name in output for label in CITYSCAPES.classes)


def test_a_checkpoint_of_other_classes_keeps_their_number(photo, predict, tmp_path):
    path = golden_data.nano_checkpoint(tmp_path / "three.pth", num_classes=3)
    code, output, _ = predict(photo, weights=("--checkpoint", path))
    assert code == 0
    assert read(tmp_path / "out/street.labels.png").max() <= 2
    assert [word for word in output.split() if word.startswith("class_")] == [
        "class_0",
        "class_1",
        "class_2",
    ]


def test_a_grey_model_reads_any_image(photo, predict, tmp_path):
    path = golden_data.nano_checkpoint(tmp_path / "grey.pth", in_chans=1)
    assert predict(photo, weights=("--checkpoint", path))[0] == 0
    assert read(tmp_path / "out/street.labels.png").shape == (HEIGHT, WIDTH)


def test_prints_where_the_overlay_is_and_every_share(photo, predict, tmp_path):
    _, output, errors = predict(photo)
    first, *table = output.splitlines()
    shares = [float(part.strip("<%")) for part in " ".join(table).split() if "%" in part]
    assert first == f"{photo} -> {tmp_path / 'out/street.overlay.png'}"
    assert len(shares) == 19
    assert sum(shares) == pytest.approx(100, abs=1)
    assert not errors


@pytest.mark.parametrize(("width", "columns"), [(30, 1), (60, 2), (100, 3), (1, 1), (900, 5)])
def test_the_table_fits_the_terminal(width, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    classes = class_labels(["road", "sky", "bus", "traffic light", "car"])
    lines = shares_table([0.5, 0.25, 0.0001, 0.2499, 0], classes).splitlines()
    assert len({len(line) for line in lines}) <= 2
    assert len(lines) == math.ceil(5 / columns)
    assert lines[0].startswith("   road            50.0%")
    assert "<0.1%" in "".join(lines)


def test_broken_images_are_reported_and_the_rest_is_done(photo, predict, tmp_path):
    (photo.parent / "empty.png").touch()
    (photo.parent / "cut.png").write_bytes(encoded(RGB, "png")[:200])
    (photo.parent / "small.png").write_bytes(encoded(RGB[:31], "png"))
    code, output, errors = predict(photo.parent)
    lines = errors.splitlines()
    assert code == 1
    assert [line.count(str(photo.parent)) for line in lines] == [1, 1, 1]
    assert "cut.png" in lines[0]
    assert "empty.png" in lines[1]
    assert f"small.png: height and width are at least 32 pixels, got 31 x {WIDTH}" in lines[2]
    assert output.startswith(str(photo))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "street.labels.png",
        "street.overlay.png",
    }


def test_images_of_the_same_name_do_not_share_a_result(photo, predict, tmp_path):
    (photo.parent / "street.bmp").write_bytes(encoded(RGB[::-1], "bmp"))
    (photo.parent / "night").mkdir()
    (photo.parent / "night" / "street.png").write_bytes(encoded(RGB[:, ::-1], "png"))
    assert predict(photo.parent)[0] == 0
    out = tmp_path / "out"
    found = {path.relative_to(out).as_posix() for path in out.rglob("*.labels.png")}
    assert found == {
        "street.png.labels.png",
        "street.bmp.labels.png",
        "night/street.labels.png",
    }


def test_the_progress_bar_starts_at_two_images(photo, predict, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert "image" not in predict(photo)[2]
    (photo.parent / "second.png").write_bytes(encoded(RGB, "png"))
    assert "2/2" in predict(photo.parent)[2]


def test_no_progress_bar_off_the_terminal(photo, predict):
    (photo.parent / "second.png").write_bytes(encoded(RGB, "png"))
    assert not predict(photo.parent)[2]


def test_ctrl_c_keeps_what_is_done(photo, predict, monkeypatch, tmp_path):
    (photo.parent / "z.png").write_bytes(encoded(RGB[:40], "png"))
    segment = pipeline.segment

    def interrupted(model, image):
        if image.shape[1] == 40:
            raise KeyboardInterrupt
        return segment(model, image)

    monkeypatch.setattr(pipeline, "segment", interrupted)
    assert predict(photo.parent)[0] == 130
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_full_disk_is_one_line(photo, predict, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(cli_results, "write_atomically", full)
    code, _, errors = predict(photo)
    assert code == 1
    assert re.fullmatch(r"ddrnet: error: .*street\S*\.png: No space left on device\n", errors)
    assert len(errors.splitlines()) == 1


REFUSED = {
    "no such image": (("absent.png",), "there is no file or folder absent.png"),
    "no such device": (("--device", "gpu"), "the device 'gpu' cannot be used here"),
    "ImageNet weights": (("--model", "ddrnet_23.in1k"), "heads are untrained; pass --model"),
    "misspelt model": (("--model", "ddrnet23"), "did you mean ddrnet_23"),
    "no such checkpoint": (("--checkpoint", "no.pth"), "there is no checkpoint no.pth"),
    "out is a file": (("--out", __file__), "is a file; the results need a folder"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_in_one_line_and_writes_nothing(case, photo, capsys, tmp_path, monkeypatch):
    arguments, says = REFUSED[case]
    monkeypatch.chdir(tmp_path)
    assert main(["predict", str(photo), *arguments]) == 1
    output, errors = capsys.readouterr()
    assert says in errors
    assert len(errors.splitlines()) == 1
    assert not output
    assert not (tmp_path / "predictions").exists()


def test_without_weights_at_hand_it_says_what_to_pass(photo, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "cache"))
    assert main(["predict", str(photo), "--out", str(tmp_path / "out")]) == 1
    errors = capsys.readouterr().err
    assert "ddrnet_23_slim.cityscapes" in errors
    assert "--checkpoint FILE" in errors


def test_a_classifier_is_refused(photo, predict, tmp_path):
    path = tmp_path / "classifier.pth"
    shapes = golden_data.keys("official")[f"{SLIM}.classification"]
    torch.save(golden_data.state_dict(shapes), path)
    code, output, errors = predict(photo, weights=("--checkpoint", path))
    assert code == 1
    assert "leaves dappm, head untrained" in errors
    assert not output


def test_a_checkpoint_of_another_size_says_which(photo, predict, checkpoint):
    code, _, errors = predict(photo, weights=("--model", SLIM, "--checkpoint", checkpoint))
    assert code == 1
    assert "the checkpoint is a ddrnet_23_nano" in errors


def test_a_model_of_other_classes_than_the_checkpoint_is_refused(photo, predict, tmp_path):
    ddrnet.save_pretrained(ddrnet.create_model(NANO, num_classes=5), tmp_path / "five")
    path = golden_data.nano_checkpoint(tmp_path / "three.pth", num_classes=3)
    weights = ("--model", f"local-dir:{tmp_path / 'five'}", "--checkpoint", path)
    code, _, errors = predict(photo, weights=weights)
    assert code == 1
    assert "leaves head untrained: pass a checkpoint" in errors


def test_a_saved_model_needs_no_checkpoint(photo, predict, tmp_path, network):
    ddrnet.save_pretrained(network, tmp_path / "saved")
    code, *_ = predict(photo, weights=("--model", f"local-dir:{tmp_path / 'saved'}"))
    assert code == 0
    assert (read(tmp_path / "out/street.labels.png") == predicted(network, RGB)).mean() > 0.99


def test_an_image_is_never_overwritten(photo, capsys, checkpoint):
    rival = photo.with_name("street.labels.png")
    rival.write_bytes(encoded(RGB, "png"))
    command = ["predict", photo, rival, "--checkpoint", checkpoint, "--out", photo.parent]
    assert main([str(part) for part in command]) == 1
    assert "would overwrite the image" in capsys.readouterr().err
    assert rival.read_bytes() == encoded(RGB, "png")


def test_weights_that_ship_need_no_network(photo, predict, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", None)
    code, output, errors = predict(photo, weights=("--model", "ddrnet_23_nano.camvid"))
    assert code == 0, errors
    assert "Pedestrian" in output


def test_what_synthetic_weights_make_says_so(photo, predict, tmp_path):
    code, _, errors = predict(photo, weights=("--model", "ddrnet_23_nano.synthetic"))
    assert code == 0
    assert "rendered streets alone" in errors
    written = list((tmp_path / "out").iterdir())
    assert len(written) == 2
    for path in written:
        with Image.open(path) as picture:
            assert "rendered streets alone" in picture.text["Comment"]
