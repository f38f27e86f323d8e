import io
import os
import socket
import struct
import zlib

import numpy as np
import pytest
import torch
from data_files import png_bytes, rgb16_tiff_bytes
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ddrnet.data import decoding
from ddrnet.data.decoding import decode_frames, decode_image, decode_labels, image_size

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (6, 9), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (6, 9), dtype=np.uint16)
DEEP_RGB = RNG.integers(0, 65536, (6, 9, 3), dtype=np.uint16)


def saved(folder, pixels, suffix, **options):
    path = folder / f"picture.{suffix}"
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


def hwc(decoded):
    assert decoded.dtype == torch.uint8
    return decoded.permute(1, 2, 0).numpy()


def rounded(values):
    return np.round(values / 257).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp"])
def test_rgb_pixels_come_back_exactly(tmp_path, suffix):
    path = saved(tmp_path, RGB, suffix, **({"lossless": True} if suffix == "webp" else {}))
    np.testing.assert_array_equal(hwc(decode_image(path)), RGB)
    assert image_size(path) == (6, 9)


def test_jpeg_comes_back_as_far_as_jpeg_goes(tmp_path):
    smooth = Image.fromarray(RGB).resize((90, 60), Image.Resampling.BICUBIC)
    decoded = hwc(decode_image(saved(tmp_path, smooth, "jpg", quality=95, subsampling=0)))
    assert np.abs(decoded.astype(int) - np.asarray(smooth)).mean() < 3


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_grey_is_repeated(tmp_path, suffix):
    decoded = hwc(decode_image(saved(tmp_path, GREY, suffix)))
    np.testing.assert_array_equal(decoded, np.repeat(GREY[:, :, None], 3, axis=2))


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_one_bit_is_black_and_white(tmp_path, suffix):
    decoded = hwc(decode_image(saved(tmp_path, GREY > 127, suffix)))
    np.testing.assert_array_equal(decoded[..., 1], np.where(GREY > 127, 255, 0))


@pytest.mark.parametrize("suffix", ["png", "tif", "gif"])
def test_palette_gives_its_colors(tmp_path, suffix):
    image = Image.fromarray(GREY % 4).convert("P")
    image.putpalette([10, 20, 30, 200, 0, 0, 0, 200, 0, 0, 0, 200])
    colors = np.array([[10, 20, 30], [200, 0, 0], [0, 200, 0], [0, 0, 200]])
    decoded = hwc(decode_image(saved(tmp_path, image, suffix)))
    np.testing.assert_array_equal(decoded, colors[GREY % 4])


def test_palette_with_transparency_gives_its_colors(tmp_path):
    image = Image.fromarray(GREY % 2).convert("P")
    image.putpalette([10, 20, 30, 200, 0, 0])
    decoded = hwc(decode_image(saved(tmp_path, image, "png", transparency=b"\0\x80")))
    np.testing.assert_array_equal(decoded, np.array([[10, 20, 30], [200, 0, 0]])[GREY % 2])


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_alpha_is_dropped_not_blended(tmp_path, suffix):
    pixels = np.dstack([RGB, np.maximum(GREY, 1)])
    path = saved(tmp_path, pixels, suffix, **({"lossless": True} if suffix == "webp" else {}))
    np.testing.assert_array_equal(hwc(decode_image(path)), RGB)


def test_grey_with_alpha(tmp_path):
    path = saved(tmp_path, Image.merge("LA", [Image.fromarray(GREY)] * 2), "png")
    np.testing.assert_array_equal(hwc(decode_image(path))[..., 2], GREY)


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_becomes_rgb(tmp_path, suffix):
    image = Image.new("CMYK", (9, 6), (255, 0, 0, 0))  # all cyan, nothing else
    decoded = hwc(decode_image(saved(tmp_path, image, suffix)))
    np.testing.assert_allclose(decoded, np.broadcast_to([0, 255, 255], (6, 9, 3)), atol=2)


def test_16_bit_grey_png_is_divided_and_rounded(tmp_path):
    path = tmp_path / "deep.png"
    path.write_bytes(png_bytes(DEEP, 16))
    np.testing.assert_array_equal(hwc(decode_image(path))[..., 1], rounded(DEEP))


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_16_bit_colors_of_png_give_the_high_byte(tmp_path, channels):
    deep = RNG.integers(0, 65536, (6, 9, channels), dtype=np.uint16)
    path = tmp_path / "deep.png"
    path.write_bytes(png_bytes(deep, 16))
    colors = deep[..., :3] if channels > 2 else np.repeat(deep[..., :1], 3, axis=2)
    np.testing.assert_array_equal(hwc(decode_image(path)), colors >> 8)


@pytest.mark.parametrize("mode", ["RGB", "P", "CMYK", "I;16"])
def test_strips_give_the_same_pixels_as_the_whole(tmp_path, mode, monkeypatch):
    image = Image.fromarray(DEEP) if mode == "I;16" else Image.fromarray(RGB).convert(mode)
    path = saved(tmp_path, image, "tif")
    whole = hwc(decode_image(path))
    monkeypatch.setattr(decoding, "_STRIP", 20)
    np.testing.assert_array_equal(hwc(decode_image(path)), whole)


@given(place=st.integers(0, 400), value=st.integers(0, 255))
def test_damaged_16_bit_colors_never_crash(tmp_path_factory, place, value):
    damaged = bytearray(png_bytes(DEEP_RGB, 16))
    damaged[place % len(damaged)] = value
    path = tmp_path_factory.getbasetemp() / "damaged16.png"
    path.write_bytes(damaged)
    assert outcome_of_decoding(path) == "3" or "damaged16" in outcome_of_decoding(path)


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i4"])
def test_16_bit_grey_tiff_is_divided_and_rounded(tmp_path, dtype):
    decoded = hwc(decode_image(saved(tmp_path, DEEP.astype(dtype), "tif")))
    np.testing.assert_array_equal(decoded[..., 0], rounded(DEEP))


def test_16_bit_rgb_tiff_gives_the_high_byte(tmp_path):
    path = tmp_path / "deep.tif"
    path.write_bytes(rgb16_tiff_bytes(DEEP_RGB))
    np.testing.assert_array_equal(hwc(decode_image(path)), DEEP_RGB >> 8)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_exif_rotation_is_undone(tmp_path, suffix, orientation):
    quarters = {1: 0, 3: 2, 6: 3, 8: 1}[orientation]
    flat = np.kron(RNG.integers(0, 2, (4, 6, 1)) * 255, np.ones((16, 16, 3))).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, flat, suffix, exif=exif)
    decoded = hwc(decode_image(path))
    np.testing.assert_allclose(decoded.astype(int), np.rot90(flat, quarters), atol=60)


def animation(path, **options):
    frames = [Image.new("RGB", (40, 60), (50 * index, 0, 0)) for index in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    return list(decode_frames(path))


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_frames_are_upright(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = animation(tmp_path / f"a.{suffix}", duration=40, exif=exif, lossless=True)
    assert [tuple(pixels.shape) for pixels, _ in frames] == [(3, 40, 60)] * 3
    assert [int(pixels[0, 5, 5]) for pixels, _ in frames] == [0, 50, 100]


@pytest.mark.parametrize(
    ("durations", "times"), [(0, [0, 100, 200]), ([0, 40, 0], [0, 100, 140]), (7, [0, 7, 14])]
)
def test_a_frame_without_a_duration_lasts_a_tenth_of_a_second(tmp_path, durations, times):
    frames = animation(tmp_path / "a.webp", duration=durations)
    assert [1000 * time for _, time in frames] == times


def test_16_bit_png_with_exif_rotation(tmp_path):
    path = tmp_path / "deep.png"
    path.write_bytes(png_bytes(DEEP, 16, exif_orientation=6))
    np.testing.assert_array_equal(hwc(decode_image(path))[..., 0], np.rot90(rounded(DEEP), 3))
    path.write_bytes(png_bytes(DEEP_RGB, 16, exif_orientation=6))
    np.testing.assert_array_equal(hwc(decode_image(path)), np.rot90(DEEP_RGB >> 8, 3))


def test_floats_are_refused(tmp_path):
    path = saved(tmp_path, RNG.random((6, 9), dtype=np.float32), "tif")
    with pytest.raises(ValueError, match=r"picture\.tif.*8 or 16 bits per channel, got mode 'F'"):
        decode_image(path)


def test_values_beyond_16_bits_are_refused(tmp_path):
    path = saved(tmp_path, DEEP.astype(np.int32) * 2, "tif")
    with pytest.raises(ValueError, match=r"picture\.tif.*8 or 16 bits per channel"):
        decode_image(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "the file is empty"), (b"once upon a time", "cannot identify image file")],
)
@pytest.mark.parametrize("read", [decode_image, decode_labels, image_size])
def test_what_is_no_image_is_named(tmp_path, content, says, read):
    path = tmp_path / "story.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"story\.png.*{says}"):
        read(path)


def test_a_png_that_is_short_by_a_byte_is_unreadable(tmp_path):
    """The decompressed rows are one byte short, which no checksum shows."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in DEEP_RGB)[:-1]
    whole = png_bytes(DEEP_RGB, 16)
    start = whole.index(b"IDAT") - 4
    data = zlib.compress(rows)
    chunk = b"IDAT" + data
    path = tmp_path / "short.png"
    path.write_bytes(
        whole[:start]
        + struct.pack(">I", len(data)) + chunk + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    )  # fmt: skip
    assert outcome_of_decoding(path) == "3" or "short" in outcome_of_decoding(path)


@pytest.mark.parametrize("read", [decode_image, decode_labels, image_size])
def test_postscript_starts_no_program(tmp_path, monkeypatch, read):
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 6\n%%EndComments\n")
    with pytest.raises(ValueError, match=r"a\.png.*cannot identify image file"):
        read(path)
    assert not (tmp_path / "started").exists()


def test_the_limit_of_pixels_is_checked_before_decoding(tmp_path):
    path = saved(tmp_path, RGB, "png")
    path.write_bytes(path.read_bytes()[:60])  # decoding would fail
    for read in (decode_image, decode_labels):
        with pytest.raises(ValueError, match="9 x 6 are 54 pixels, above the limit of 53"):
            read(path, max_pixels=53)


def test_a_decompression_bomb_is_refused_unless_asked_for(tmp_path):
    path = saved(tmp_path, Image.new("L", (8192, 5000)), "png")
    with pytest.raises(ValueError, match="look like a decompression bomb; max_pixels=None"):
        decode_image(path)
    assert decode_image(path, max_pixels=None).shape == (3, 5000, 8192)
    assert decode_labels(path).shape == (5000, 8192), "label maps compress well"


def test_a_tiff_of_some_bytes_that_claims_a_hundred_megapixels_is_refused(tmp_path):
    content = bytearray(rgb16_tiff_bytes(DEEP_RGB))
    for tag, value in ((256, 1 << 14), (257, 1 << 13)):
        place = content.index(struct.pack("<HHI", tag, 4, 1)) + 8
        content[place : place + 4] = struct.pack("<I", value)
    path = tmp_path / "claims.tif"
    path.write_bytes(content)
    for read in (decode_image, decode_labels):
        with pytest.raises(ValueError, match="look like a decompression bomb"):
            read(path)


def test_a_jpeg_of_too_many_scans_is_refused(tmp_path):
    path = saved(tmp_path, RGB, "jpg", progressive=True)
    content = path.read_bytes()
    start = content.index(b"\xff\xda")
    path.write_bytes(content[:start] + 200 * content[start:-2] + content[-2:])
    with pytest.raises(ValueError, match="scans, above the limit of 50"):
        decode_image(path)


@pytest.mark.parametrize("read", [decode_image, decode_labels, image_size])
def test_what_is_no_regular_file_is_refused_unread(tmp_path, read):
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket.png"))
        for path in (tmp_path / "pipe.png", tmp_path / "socket.png", "/dev/zero"):
            with pytest.raises(ValueError, match="no regular file"):
                read(path)


@pytest.mark.parametrize("read", [decode_image, decode_labels, image_size])
def test_names_that_lead_nowhere_are_unreadable(tmp_path, read):
    (tmp_path / "loop.png").symlink_to("loop.png")
    for path in (tmp_path / "loop.png", tmp_path / ("x" * 300)):
        with pytest.raises(ValueError, match="cannot read"):
            read(path)


@pytest.mark.parametrize("kind", [2, 5, 7, 11, 16])
def test_a_tiff_that_confuses_pillow_is_unreadable(tmp_path, kind):
    """Pillow raises TypeError or OverflowError for an offset of strips that is no integer."""
    content = bytearray(rgb16_tiff_bytes(DEEP_RGB))
    entry = content.index(struct.pack("<HHI", 273, 4, 1))
    content[entry : entry + 8] = struct.pack("<HHI", 273, kind, 1)
    path = tmp_path / "odd.tif"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"odd\.tif"):
        decode_image(path)


def test_a_missing_file_and_a_folder_say_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        decode_image(tmp_path / "absent.png")
    with pytest.raises(IsADirectoryError):
        decode_image(tmp_path)


def encoded(suffix):
    buffer = io.BytesIO()
    Image.fromarray(np.tile(RGB, (8, 8, 1))).save(buffer, suffix)
    return buffer.getvalue()


FILES = {suffix: encoded(suffix) for suffix in ["png", "jpeg", "webp", "tiff", "bmp", "avif"]}


@pytest.mark.parametrize("suffix", FILES)
@given(share=st.floats(0, 0.9))
def test_truncated_files_raise_and_are_named(tmp_path_factory, suffix, share):
    path = tmp_path_factory.getbasetemp() / f"cut.{suffix}"
    path.write_bytes(FILES[suffix][: int(share * len(FILES[suffix]))])
    with pytest.raises(ValueError, match=r"cut\."):
        decode_image(path)


@pytest.mark.parametrize("suffix", FILES)
@given(data=st.data())
def test_damaged_files_decode_or_are_named(tmp_path_factory, suffix, data):
    damaged = bytearray(FILES[suffix])
    for _ in range(8):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / f"damaged.{suffix}"
    path.write_bytes(damaged)
    assert outcome_of_decoding(path) == "3" or "damaged." in outcome_of_decoding(path)


def outcome_of_decoding(path):
    try:
        return str(decode_image(path).shape[0])
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_labels_of_any_depth_keep_their_values(tmp_path, depth):
    values = RNG.integers(0, 2**depth, (5, 7)).astype(np.uint16)
    path = tmp_path / "labels.png"
    path.write_bytes(png_bytes(values, depth))
    np.testing.assert_array_equal(decode_labels(path), values)


def test_palette_labels_give_indices(tmp_path):
    image = Image.fromarray(GREY % 7).convert("P")
    image.putpalette(RNG.integers(0, 256, 21).tolist())
    np.testing.assert_array_equal(decode_labels(saved(tmp_path, image, "png")), GREY % 7)


def test_color_labels_give_colors(tmp_path):
    np.testing.assert_array_equal(decode_labels(saved(tmp_path, RGB, "png")), RGB)
    with_alpha = np.dstack([RGB, GREY])
    np.testing.assert_array_equal(decode_labels(saved(tmp_path, with_alpha, "png")), RGB)


def test_deep_colors_of_labels_are_refused(tmp_path):
    path = tmp_path / "deep.png"
    path.write_bytes(png_bytes(DEEP_RGB, 16))
    with pytest.raises(ValueError, match="8 bits per channel, got 16"):
        decode_labels(path)


def test_labels_with_loss_or_odd_modes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"picture\.jpg.*labels need PNG"):
        decode_labels(saved(tmp_path, GREY, "jpg"))
    with pytest.raises(ValueError, match=r"picture\.tif.*got mode 'F'"):
        decode_labels(saved(tmp_path, GREY.astype(np.float32), "tif"))


def test_an_avif_without_its_image_is_unreadable(tmp_path):
    """The decoder raises RuntimeError for it."""
    path = tmp_path / "hollow.avif"
    path.write_bytes(FILES["avif"].replace(b"pitm", b"pitx"))
    with pytest.raises(ValueError, match=r"hollow\.avif"):
        decode_image(path)
