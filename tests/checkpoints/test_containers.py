"""Crafted files of torch.save are refused before torch reads them."""

import collections
import io
import struct
import zipfile

import pytest
import torch

from ddrnet.checkpoints import read_state_dict
from ddrnet.checkpoints.containers import LEGACY_MAGIC, MAX_PICKLE
from ddrnet.errors import CheckpointError

WEIGHTS = {"conv1.0.weight": torch.arange(6.0).reshape(2, 3)}


def saved(content=None, **options):
    buffer = io.BytesIO()
    torch.save(WEIGHTS if content is None else content, buffer, **options)
    return buffer.getvalue()


def entries_of(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive_of(entries, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def refused(tmp_path, data, message):
    path = tmp_path / "crafted.pth"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=message):
        read_state_dict(path)


def test_an_archive_written_by_another_library_is_the_same(tmp_path):
    (tmp_path / "same.pth").write_bytes(archive_of(entries_of(saved())))
    assert torch.equal(
        read_state_dict(tmp_path / "same.pth")["conv1.0.weight"], WEIGHTS["conv1.0.weight"]
    )


def test_a_file_without_checksums_is_read(tmp_path):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(WEIGHTS, tmp_path / "fast.pth")
    finally:
        torch.serialization.set_crc32_options(before)
    assert list(read_state_dict(tmp_path / "fast.pth")) == list(WEIGHTS)


@pytest.mark.parametrize("name", ["data.pkl", "data/0", "byteorder"])
def test_a_compressed_entry_is_refused(tmp_path, name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for entry, content in entries_of(saved()).items():
            kind = zipfile.ZIP_DEFLATED if entry.endswith(name) else zipfile.ZIP_STORED
            archive.writestr(entry, content, kind)
    refused(tmp_path, buffer.getvalue(), "is compressed")


def test_a_huge_pickle_is_refused_unread(tmp_path):
    entries = entries_of(saved())
    name = next(name for name in entries if name.endswith("data.pkl"))
    entries[name] += bytes(MAX_PICKLE)
    refused(tmp_path, archive_of(entries), "is larger than")


@pytest.mark.parametrize("size", [0, 23, 25, 48])
def test_a_storage_of_another_size_than_announced_is_refused(tmp_path, size):
    """The memory beyond a shorter one would be read and written (CVE-2026-24747)."""
    entries = entries_of(saved())
    name = next(name for name in entries if name.endswith("data/0"))
    refused(tmp_path, archive_of({**entries, name: bytes(size)}), "storage 0 should have 24 bytes")


def test_a_missing_storage_is_refused(tmp_path):
    entries = entries_of(saved())
    rest = {name: content for name, content in entries.items() if not name.endswith("data/0")}
    refused(tmp_path, archive_of(rest), "storage 0 should have 24 bytes, the file has 0")


def test_two_archives_in_one_are_refused(tmp_path):
    entries = entries_of(saved())
    other = {name.replace("archive/", "other/"): content for name, content in entries.items()}
    refused(tmp_path, archive_of({**entries, **other}), "entries that torch.save does not write")


def test_an_entry_that_occurs_twice_is_refused(tmp_path):
    entries = entries_of(saved())
    twin = next(iter(entries))[:-1] + "?"  # renamed below; zipfile would warn of a duplicate
    data = archive_of({**entries, twin: b""}).replace(twin.encode(), next(iter(entries)).encode())
    refused(tmp_path, data, "entries that torch.save does not write")


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_truncated_file_is_refused(tmp_path, share, legacy):
    data = saved(_use_new_zipfile_serialization=not legacy)
    refused(tmp_path, data[: int(share * len(data))], r"damaged|text file")


def test_a_legacy_storage_that_announces_more_than_the_file_has_is_refused(tmp_path):
    data = saved(_use_new_zipfile_serialization=False)
    assert LEGACY_MAGIC in data
    place = data.index(struct.pack("<q", 6) + WEIGHTS["conv1.0.weight"].numpy().tobytes())
    for count in (7, 2**40, -1):
        crafted = data[:place] + struct.pack("<q", count) + data[place + 8 :]
        refused(tmp_path, crafted, "cut off|should have 24 bytes")


def with_pickle(instructions):
    """Return an archive whose pickle is a state dict with these instructions in it as a value."""
    head = b"\x80\x02}(X\x01\x00\x00\x00k"
    entries = entries_of(saved())
    return archive_of(
        {
            name: head + instructions + b"u." if name.endswith("data.pkl") else content
            for name, content in entries.items()
        }
    )


@pytest.mark.parametrize(
    ("instructions", "message"),
    [
        pytest.param(b"NNs" + b"K\x01" + b"\x85" * 300_000 + b"K\x01", "nested more", id="tuples"),
        pytest.param(b"]" * 1000 + b"a" * 999, "nested more", id="lists"),
        pytest.param(b")" + b"2\x86" * 60, "more than", id="doubled tuples"),
        pytest.param(b"(" * 400_000, "damaged", id="marks"),
        pytest.param(b"N0" * 1_100_000 + b"N", "more than 1000000 instructions", id="instructions"),
        pytest.param(
            b"}(" + b"".join(b"\x8a\x0a" + (k * (2**61 - 1)).to_bytes(10, "little") + b"N"
                           for k in range(1, 3000)) + b"u",
            "larger than 61 bits", id="colliding keys",
        ),
        pytest.param(b"ctorch\nSize\n)RK\x00K\x01s", "sets items", id="items of a tensor"),
        pytest.param(
            b"c_codecs\nencode\nq\x00(X\xe0\x93\x04\x00" + b"a" * 300_000
            + b"X\x06\x00\x00\x00latin1tq\x01h\x00h\x01R"
            + b"q\x02(" + b"h\x00h\x01R" * 600 + b"t", "too much text", id="repeated texts",
        ),
        pytest.param(
            b"c__builtin__\nset\nq\x00](" + b"K\x01" * 20_000 + b"e\x85q\x01("
            + b"h\x00h\x01R" * 100 + b"t", "too many items", id="repeated sets",
        ),
        pytest.param(
            b"(" + b"K\x01" * 20_000 + b"tq\x01}(" + b"h\x01N" * 100 + b"u",
            "too many items", id="repeated keys",
        ),
        pytest.param(b"c__builtin__\nset\nK\x05R", "are no tuple", id="no tuple"),
    ],
)  # fmt: skip
def test_a_pickle_that_would_take_for_ever_is_refused(tmp_path, instructions, message):
    refused(tmp_path, with_pickle(instructions), message)


def test_the_crafted_pickle_without_a_crafted_part_is_read(tmp_path):
    """Otherwise the tests above would test nothing."""
    path = tmp_path / "a.pth"
    path.write_bytes(with_pickle(b"]"))
    with pytest.raises(CheckpointError, match=r"holds no tensors.*entries: k \(list\)"):
        read_state_dict(path)


class Overwritten:
    def __reduce__(self):
        state = dict.fromkeys(("get", "items", "keys", "values"), 5)
        return collections.OrderedDict, (), state, None, iter(WEIGHTS.items())


def test_a_dictionary_with_overwritten_methods_is_read_as_a_dictionary(tmp_path):
    torch.save({"state_dict": Overwritten()}, tmp_path / "a.pth")
    assert list(read_state_dict(tmp_path / "a.pth")) == list(WEIGHTS)


def test_views_of_one_storage_are_read(tmp_path):
    base = torch.arange(1000.0)
    views = {f"layer{k}.weight": base[k : k + 900] for k in range(6)}
    torch.save(views, tmp_path / "a.pth")
    state = read_state_dict(tmp_path / "a.pth")
    assert all(torch.equal(state[name], view) for name, view in views.items())


@pytest.mark.parametrize(
    ("dtype", "legacy"),
    [
        (dtype, legacy)
        for dtype in (torch.float64, torch.bfloat16, torch.complex64, torch.bool)
        for legacy in (False, True)
    ]
    + [(torch.float8_e4m3fn, False)],
)
def test_every_element_type_is_read(tmp_path, dtype, legacy):
    weight = torch.ones(3, 5).to(dtype)
    torch.save({"w": weight}, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    assert read_state_dict(tmp_path / "a.pth")["w"].dtype == dtype


@pytest.mark.parametrize("shape", ["[0, 9223372036854775808]", "[-1]", "[1e400]", "[[]]"])
def test_odd_shapes_in_safetensors_are_refused(tmp_path, shape):
    header = f'{{"w": {{"dtype": "F32", "shape": {shape}, "data_offsets": [0, 0]}}}}'.encode()
    refused(tmp_path, len(header).to_bytes(8, "little") + header, "damaged")


def test_a_name_of_a_megabyte_is_refused(tmp_path):
    torch.save({"loss" * 250_000: torch.ones(1)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="has 1000000 characters"):
        read_state_dict(tmp_path / "a.pth")
