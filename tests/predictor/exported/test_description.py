import os
from dataclasses import replace

import pytest
from exported_files import nano
from hypothesis import given
from hypothesis import strategies as st

from ddrnet.errors import ExportError
from ddrnet.predictor.exported.description import Description, read_sealed, sealed
from ddrnet.pretrained.saving import spec_of


def description():
    return Description(
        spec=spec_of(nano()),
        output="labels",
        precision="float32",
        weights="ddrnet_23_nano.camvid",
        license="Apache-2.0",
        data_terms="",
        library_version="0.1.0",
    )


def test_metadata_come_back():
    assert Description.from_metadata(description().to_metadata(), "a.onnx") == description()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("library", "ultralytics", "no ONNX file of ddrnet.export"),
        ("output", "masks", "its output is 'masks', expected one of labels, logits, full"),
        ("precision", "int2", "its precision is 'int2'"),
        ("weights", "a\x1b[31mb", "cannot be printed"),
        ("config", "", "not strict JSON"),
        ("config", "{}", "not written by"),
        ("config", '{"library": "ddrnet", "config_version": 1}', "damaged"),
        ("config", "[" * 100_000, "not strict JSON"),
    ],
)
def test_hostile_metadata_are_refused(key, value, words):
    with pytest.raises(ExportError, match=words):
        Description.from_metadata({**description().to_metadata(), key: value}, "a.onnx")


@given(st.dictionaries(st.sampled_from(sorted(description().to_metadata())), st.text()))
def test_no_metadata_raise_another_error(changes):
    try:
        found = Description.from_metadata({**description().to_metadata(), **changes}, "a.onnx")
    except ExportError:
        return
    assert found == replace(description(), **{k: v for k, v in changes.items() if k != "config"})


@given(content=st.binary(max_size=300))
def test_a_sealed_content_comes_back(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("sealed") / "a.onnx"
    path.write_bytes(sealed(content))
    assert read_sealed(path) == sealed(content)


@given(data=st.data())
def test_every_change_is_noticed(data, tmp_path_factory):
    content = sealed(b"x" * 200)
    place = data.draw(st.integers(0, len(content) - 1))
    changed = data.draw(
        st.sampled_from(
            [
                content[:place],
                content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :],
                content + b"\0",
                content + content[place:],
            ]
        )
    )
    path = tmp_path_factory.mktemp("changed") / "a.onnx"
    path.write_bytes(changed)
    with pytest.raises(ExportError, match=r"no ONNX file of ddrnet\.export|has changed since"):
        read_sealed(path)


@pytest.mark.parametrize("cut", [0, 1, 100, 10_000, -1, -86])
def test_a_truncated_file_is_no_file(cut, tmp_path, exported):
    path = tmp_path / "cut.onnx"
    path.write_bytes(exported("nano.labels.onnx").read_bytes()[:cut])
    with pytest.raises(ExportError, match="only the beginning of one"):
        read_sealed(path)


def test_folders_and_pipes_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")
    for path in (tmp_path, tmp_path / "pipe.onnx"):
        with pytest.raises(ExportError, match="no ONNX file"):
            read_sealed(path)
