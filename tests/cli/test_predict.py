import io
import json
import math
import os
import re
import socket

import golden_data
import numpy as np
import pytest
import torch
from data_files import png_bytes, rgb16_tiff_bytes
from loopback import Loopback
from PIL import Image, ImageOps

import ddrnet
from ddrnet.cli import main
from ddrnet.cli import results as cli_results
from ddrnet.cli.report import shares_table
from ddrnet.cli.results import Wanted, name_results
from ddrnet.labels import CITYSCAPES, class_labels
from ddrnet.predictor.engine import TorchEngine
from ddrnet.predictor.sources import find_sources
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

RESULTS = {"street.labels.png", "street.overlay.png", "legend.png"}

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
    sources = list(find_sources(folder))
    return {
        source.origin.name: (source.origin, Wanted().files(stem))
        for source, stem in zip(sources, name_results(sources, out), strict=True)
    }


@pytest.mark.parametrize("name", FILES)
def test_every_format_is_segmented_at_its_own_size(name, every_format, network):
    image, results = every_format[name]
    pixels = FILES[name][1]
    if pixels is None:
        pixels = np.array(ImageOps.exif_transpose(Image.open(image)).convert("RGB"))
    labels = read(results["labels"])
    assert labels.shape == pixels.shape[:2]
    assert (labels == predicted(network, pixels)).mean() > 0.99
    assert len(np.unique(labels)) > 2
    expected = 0.45 * pixels + 0.55 * colorize(labels, CITYSCAPES.classes)
    assert np.abs(read(results["overlay"]) - expected).max() < 5


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
    luma = np.rint(RGB @ [0.299, 0.587, 0.114]).astype(np.uint8)
    expected = ddrnet.Predictor(path, device="cpu")(luma).labels
    assert (read(tmp_path / "out/street.labels.png") == expected).mean() > 0.97


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
    code, output, errors = predict(photo.parent, "absent.png", "http://127.0.0.1:9/x.png")
    lines = errors.splitlines()
    assert code == 1
    assert len(lines) == 4
    assert re.match(r"ddrnet: error: cannot read '.*cut\.png' \(200 bytes\)", lines[0])
    assert re.match(r"ddrnet: error: cannot read '.*empty\.png' .*the file is empty", lines[1])
    assert lines[2] == "ddrnet: error: absent.png: No such file or directory"
    assert lines[3].startswith("ddrnet: error: cannot fetch http://127.0.0.1:9/x.png: ")
    assert output.startswith(str(photo))
    assert {path.name for path in (tmp_path / "out").iterdir()} == RESULTS


def test_an_icon_gets_labels_of_its_size(photo, predict, tmp_path):
    photo.write_bytes(encoded(RGB[:20, :20], "png"))
    assert predict(photo)[0] == 0
    assert read(tmp_path / "out/street.labels.png").shape == (20, 20)


def test_links_to_one_image_have_results_of_their_own(photo, predict, tmp_path):
    photo.with_name("link.png").symlink_to("street.png")
    photo.with_name("loop.png").symlink_to("loop.png")
    code, _, errors = predict(photo.parent, photo, "--no-overlay")
    assert code == 1
    assert len(errors.splitlines()) == 1
    assert "loop.png" in errors
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "street.labels.png",
        "link.labels.png",
    }


def test_a_path_that_cannot_exist_is_reported_and_the_rest_is_done(photo, predict, tmp_path):
    code, _, errors = predict("x" * 300, photo)
    assert code == 1
    assert "File name too long" in errors
    assert (tmp_path / "out/street.labels.png").exists()


def test_an_existing_folder_may_be_called_like_a_video(photo, checkpoint, tmp_path):
    out = tmp_path / "clip.mp4"
    out.mkdir()
    command = ["predict", photo, "--checkpoint", checkpoint, "--out", out, "--device", "cpu"]
    assert main([str(part) for part in command]) == 0
    assert (out / "street.labels.png").exists()


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
    compute = TorchEngine.__call__

    def interrupted(engine, images):
        if images.shape[2] == 40:
            raise KeyboardInterrupt
        return compute(engine, images)

    monkeypatch.setattr(TorchEngine, "__call__", interrupted)
    assert predict(photo.parent)[0] == 130
    assert {path.name for path in (tmp_path / "out").iterdir()} == RESULTS


def test_a_full_disk_is_one_line(photo, predict, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(cli_results, "write_atomically", full)
    code, _, errors = predict(photo)
    assert code == 1
    assert re.fullmatch(r"ddrnet: error: \S*\.png: No space left on device\n", errors)


REFUSED = {
    "no such device": (("--device", "gpu"), "the device 'gpu' cannot be used here"),
    "ImageNet weights": (("--model", "ddrnet_23.in1k"), "heads are untrained; pass --model"),
    "misspelt model": (("--model", "ddrnet23"), "did you mean ddrnet_23"),
    "no such checkpoint": (("--checkpoint", "no.pth"), "there is no checkpoint no.pth"),
    "out is a file": (("--out", __file__), "is a file; the results need a folder"),
    "out is a video that cannot be written": (
        ("--out", "streets.avi"),
        "streets.avi: videos are written as .mp4, ",
    ),
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


def test_without_any_source_no_model_is_loaded(capsys):
    assert main(["predict", "absent.png", "gone"]) == 1
    assert capsys.readouterr().err == "ddrnet: error: there is no file or folder absent.png\n"
    assert main(["predict", "gone/*.png"]) == 1
    assert capsys.readouterr().err == "ddrnet: error: no file matches gone/*.png\n"


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
    assert {path.name for path in written} == RESULTS
    for path in written:
        with Image.open(path) as picture:
            assert "rendered streets alone" in picture.text["Comment"]


def test_one_line_for_each_of_many_images(photo, predict, tmp_path):
    (photo.parent / "second.png").write_bytes(encoded(RGB[::-1], "png"))
    _, output, _ = predict(photo.parent)
    first, second = output.splitlines()
    assert re.fullmatch(
        r"\S+second\.png -> \S+second\.overlay\.png( +[a-z ]+ [<\d.]+%,?){1,4}", first
    )
    assert second.startswith(f"{photo} -> ")


def test_any_name_of_a_file_is_printed_in_one_line(photo, predict, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in (b"caf\xe9.png", b"two\nlines  \x1b[31m.png"):
        (folder / os.fsdecode(name)).write_bytes(encoded(RGB, "png"))
        (folder / os.fsdecode(b"cut " + name)).touch()
    code, output, errors = predict(folder, "--no-overlay")
    assert code == 1
    assert [line.split(" -> ")[0] for line in output.splitlines()] == [
        f"{folder}/caf\\udce9.png",
        rf"{folder}/two\nlines  \x1b[31m.png",
    ]
    assert len(errors.splitlines()) == 2
    assert errors.replace("\n", "").isprintable()
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_json_gives_a_line_per_image_and_error(photo, predict, tmp_path):
    (photo.parent / "empty.png").touch()
    code, output, _ = predict(photo.parent, "--json", "--color", "--confidence")
    failed, row = map(json.loads, output.splitlines())
    assert code == 1
    assert failed["source"] == str(photo.parent / "empty.png")
    assert "the file is empty" in failed["error"]
    assert row["source"] == str(photo)
    for kind in ("labels", "overlay", "color", "confidence"):
        assert read(row[kind]).shape[:2] == (HEIGHT, WIDTH)
    assert sum(row["shares"].values()) == pytest.approx(1)
    assert set(row["milliseconds"]) == {"decode", "network", "labels"}


def test_only_the_named_classes_are_shown(photo, predict, tmp_path):
    code, output, _ = predict(photo, "--classes", "Road", "traffic light")
    assert code == 0
    assert re.findall(r"[a-z]+(?: [a-z]+)?(?=  )", output.splitlines()[1]) == [
        "road",
        "traffic light",
    ]
    code, _, errors = predict(photo, "--classes", "roda")
    assert code == 1
    assert "the model has no class roda; it has road, sidewalk" in errors


def test_of_classes_that_differ_in_case_the_named_one_is_shown(photo, predict, tmp_path):
    model = ddrnet.create_model(NANO, class_names=["Road", "road"])
    ddrnet.save_pretrained(model, tmp_path / "saved")
    weights = ("--model", tmp_path / "saved")
    for name in ("Road", "road"):
        _, output, _ = predict(photo, "--classes", name, "--json", weights=weights)
        assert list(json.loads(output)["shares"]) == [name]


def test_existing_results_are_skipped(photo, predict, tmp_path):
    (photo.parent / "second.png").write_bytes(encoded(RGB[::-1], "png"))
    predict(photo.parent)
    done, redone = tmp_path / "out/street.labels.png", tmp_path / "out/second.labels.png"
    redone.unlink()
    before = done.stat().st_mtime_ns
    code, output, _ = predict(photo.parent, "--skip-existing")
    assert code == 0
    assert [line.split(" -> ")[0] for line in output.splitlines()] == [
        str(photo.with_name("second.png"))
    ]
    assert redone.exists()
    assert done.stat().st_mtime_ns == before


def test_standard_input_lists_sources(photo, predict, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{photo}\n\n{photo.parent}/*.png\n"))
    code, output, _ = predict("-")
    assert code == 0
    assert output.startswith(f"{photo} -> ")
    assert output.count(" -> ") == 1
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    code, _, errors = predict("-")
    assert code == 1
    assert "standard input is empty" in errors


def test_a_pattern_keeps_its_tree(photo, predict, tmp_path):
    (photo.parent / "night").mkdir()
    (photo.parent / "night" / "lamp.png").write_bytes(encoded(RGB, "png"))
    assert predict(photo.parent / "**" / "*.png", "--no-overlay")[0] == 0
    out = tmp_path / "out"
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png")) == [
        "night/lamp.labels.png",
        "street.labels.png",
    ]


def test_an_address_is_fetched(photo, predict, tmp_path):
    with Loopback() as server:
        address = server.serve("/some/far.png", photo.read_bytes())
        code, output, _ = predict(address)
    assert code == 0, output
    assert read(tmp_path / "out/far.labels.png").shape == (HEIGHT, WIDTH)


def test_an_animation_gives_results_for_each_frame(photo, predict, tmp_path):
    path = photo.with_name("clip.gif")
    first, *rest = [Image.fromarray(np.roll(RGB, 16 * index, 1)) for index in range(5)]
    first.save(path, save_all=True, append_images=rest, duration=40)
    code, output, _ = predict(path, "--every", "2")
    assert code == 0
    assert [line.split(" -> ")[0] for line in output.splitlines()] == [
        f"{path}, frame {index}" for index in (0, 2, 4)
    ]
    assert {path.name for path in (tmp_path / "out/clip").glob("*.labels.png")} == {
        "000000.labels.png",
        "000002.labels.png",
        "000004.labels.png",
    }


def test_options_of_the_predictor_are_handed_on(photo, predict, tmp_path, checkpoint):
    options = {
        ("--size", "64x96"): {"size": (64, 96)},
        ("--tta",): {"tta": (1.0,)},
        ("--tta", "0.75", "1.25"): {"tta": (0.75, 1.25)},
        ("--precision", "bfloat16"): {"precision": "bfloat16"},
        ("--window", "128x128"): {"window": (128, 128)},
    }
    photo.write_bytes(encoded(np.tile(RGB, (4, 3, 1)), "png"))
    for arguments, keywords in options.items():
        assert predict(photo, *arguments)[0] == 0
        expected = ddrnet.Predictor(checkpoint, device="cpu", **keywords)(photo).labels
        assert np.array_equal(read(tmp_path / "out/street.labels.png"), expected)


@pytest.mark.parametrize("text", ["64", "axb", "64x", "-1x5"])
def test_a_size_has_two_sides(photo, text, capsys):
    with pytest.raises(SystemExit):
        main(["predict", str(photo), f"--size={text}"])
    assert "expected HEIGHTxWIDTH such as 512x1024" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "-1", "1.5"])
def test_each_so_many_frames_is_a_number_from_1(photo, number, capsys):
    with pytest.raises(SystemExit):
        main(["predict", str(photo), f"--every={number}"])
    assert "expected a whole number from 1 up" in capsys.readouterr().err


class Window:
    """Stands in for a window; it is closed after so many pictures."""

    shown = ()

    def __init__(self, title):
        Window.shown = []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def show(self, pixels):
        self.shown.append(pixels)
        return len(self.shown) < 2


def test_a_window_shows_the_overlays_until_it_is_closed(photo, predict, tmp_path, monkeypatch):
    monkeypatch.setattr("ddrnet.predictor.video.VideoWindow", Window)
    monkeypatch.chdir(tmp_path)
    for name in "abc":
        photo.with_name(f"{name}.png").write_bytes(encoded(RGB, "png"))
    command = ["predict", str(photo.parent), "--show", "--model", "ddrnet_23_nano.camvid"]
    assert main([*command, "--device", "cpu"]) == 0
    assert len(Window.shown) == 2
    assert Window.shown[0].shape == RGB.shape
    assert not (tmp_path / "predictions").exists()
    assert predict(photo, "--show")[0] == 0
    assert (tmp_path / "out/street.overlay.png").exists()
