import subprocess
import sys

import pytest

from ddrnet import data


@pytest.mark.parametrize("name", data.__all__)
def test_every_public_name_is_there(name):
    assert getattr(data, name).__name__ == name
    assert name in dir(data)


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'Kitti'"):
        _ = data.Kitti


def test_decoding_loads_no_torchvision(tmp_path):
    code = (
        "import sys, PIL.Image; from ddrnet.data import decode_image; "
        f"path = {str(tmp_path / 'x.jpg')!r}; PIL.Image.new('RGB', (4, 4)).save(path); "
        "decode_image(path); print('torchvision' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
