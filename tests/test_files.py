"""Files are written as a whole or not at all."""

import errno
import hashlib
import io
import os
import subprocess
import sys
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from ddrnet.files import open_atomically, png_bytes, sha256_of, write_atomically


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "a.bin"
    write_atomically(path, b"old")
    write_atomically(str(path), memoryview(b"new"))
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_keeps_the_old_content_when_the_block_raises(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), open_atomically(path) as file:
        file.writelines(b"half" * (1 // divisor) for divisor in (1, 0))
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_names_the_file_and_not_the_temporary_one(tmp_path):
    path = tmp_path / "missing" / "a.bin"
    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(path, b"")
    assert caught.value.filename == str(path)
    assert str(caught.value) == f"[Errno 2] No such file or directory: {str(path)!r}"


def test_names_the_file_when_the_disk_is_full(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(os, "fsync", Mock(side_effect=full))
    with pytest.raises(OSError, match=r"a\.bin") as caught:
        write_atomically(path, b"data")
    assert caught.value.errno == errno.ENOSPC
    assert not path.exists()


def test_keeps_the_name_of_another_file_that_failed_inside_the_block(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, open_atomically(tmp_path / "a.zip"):
        (tmp_path / "source.png").read_bytes()
    assert caught.value.filename == str(tmp_path / "source.png")


@pytest.mark.parametrize("size", [0, 1, (1 << 20) + 1])
def test_sha256_equals_hashlib(tmp_path, size):
    data = os.urandom(size)
    path = tmp_path / "a.bin"
    path.write_bytes(data)
    assert sha256_of(path) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "I;16"])
def test_png_bytes_hold_the_picture_and_the_comment(mode):
    picture = Image.new(mode, (3, 2), 7 if len(mode) == 1 or mode == "I;16" else None)
    if mode == "P":
        picture.putpalette(range(24))
    with Image.open(io.BytesIO(png_bytes(picture, comment="a note"))) as read:
        opened = {"I": "I;16"}.get(read.mode, read.mode)  # Pillow below 10.3 widens 16 bits
        assert (opened, read.size, read.info["Comment"]) == (mode, (3, 2), "a note")
        assert np.array_equal(np.asarray(read), np.asarray(picture))


def test_loads_neither_torch_nor_pillow():
    code = "import sys, ddrnet.files; sys.exit('torch' in sys.modules or 'PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
