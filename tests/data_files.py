"""Files for the tests of the data sets, some of which no library writes."""

import struct
import zlib

import numpy as np
from PIL import Image


def png_bytes(values, depth, *, exif_orientation=None):
    """(H, W) or (H, W, C) values as a PNG of `depth` bits per channel, C from 1 to 4."""
    values = values[:, :, None] if values.ndim == 2 else values
    height, width, channels = values.shape
    color_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    rows = b"".join(b"\0" + _packed(row.ravel(), depth) for row in values)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    if exif_orientation is not None:
        chunks.insert(1, (b"eXIf", _exif_bytes(exif_orientation)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _exif_bytes(orientation):
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0)


def rgb16_tiff_bytes(values):
    """(H, W, 3) uint16 values as an uncompressed TIFF."""
    height, width, _ = values.shape
    pixels = values.astype("<u2").tobytes()
    bits = 8 + len(pixels)
    fields = [(256, width), (257, height), (259, 1), (262, 2), (273, 8), (277, 3), (278, height)]
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields]
    entries.insert(2, struct.pack("<HHII", 258, 3, 3, bits))
    entries.append(struct.pack("<HHII", 279, 4, 1, len(pixels)))
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", 0)
    head = b"II*\0" + struct.pack("<I", bits + 6)
    return head + pixels + struct.pack("<HHH", 16, 16, 16) + directory


def _packed(row, depth):
    if depth == 16:
        return row.astype(">u2").tobytes()
    bits = (row[:, None] >> np.arange(depth - 1, -1, -1)) & 1
    return np.packbits(bits.astype(np.uint8).ravel()).tobytes()


def write_cityscapes(root, counts, *, size=(24, 40), seed=0, kind="gtFine", suffix="labelIds"):
    """Random images and ids, `counts` = {split: {city: images}}, in the layout of the downloads."""
    rng = np.random.default_rng(seed)
    for split, cities in counts.items():
        for city, count in cities.items():
            for frame in range(count):
                stem = f"{city}/{city}_{frame:06d}_000019"
                image = root / "leftImg8bit" / split / f"{stem}_leftImg8bit.png"
                save_png(image, rng.integers(0, 256, (*size, 3), dtype=np.uint8))
                if split != "test":
                    labels = root / kind / split / f"{stem}_{kind}_{suffix}.png"
                    save_png(labels, rng.integers(0, 19 if "Train" in suffix else 34, size))
    return root


def save_png(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)
    return path


def write_own(root, names, classes="water\nland\n", labels="labels"):
    """Own data: images of zeros, labels of ones."""
    for name in names:
        save_png(root / "images" / f"{name}.png", np.zeros((4, 6, 3)))
        save_png(root / labels / f"{name}.png", np.ones((4, 6)))
    if classes:
        (root / "classes.txt").write_text(classes)
    return root
