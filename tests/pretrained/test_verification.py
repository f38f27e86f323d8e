"""Every case of what may be known of a file."""

import hashlib
import logging

import pytest

from ddrnet.pretrained.download import SourceError
from ddrnet.pretrained.verification import check
from ddrnet.pretrained.weights_cache import CacheFolder, Record
from ddrnet.weights.row import HubFile, WebFile

CONTENT = b"checkpoint"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
LINK = ("https://host/file.pth",)


@pytest.fixture
def files(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path, CacheFolder(tmp_path)


@pytest.mark.parametrize(
    ("source", "verification"),
    [
        (WebFile(LINK, sha256=DIGEST), "verified"),
        (WebFile(LINK, sha256=DIGEST, size=len(CONTENT)), "verified"),
        (HubFile("me/model", sha256=DIGEST), "verified"),
        (WebFile(LINK, sha256=DIGEST[:8]), "verified by prefix"),
        (WebFile(LINK, sha256=DIGEST, enforced=False), "as others report"),
        (WebFile(LINK), "recorded locally, not verified"),
        (HubFile("me/model"), "recorded locally, not verified"),
    ],
)
def test_says_how_much_is_known(files, source, verification, caplog):
    assert check(source, *files) == (verification, DIGEST)
    assert not caplog.records


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (WebFile(LINK, sha256="0" * 64), f"has sha256 {DIGEST}, expected 000"),
        (WebFile(LINK, sha256="01234567"), f"has sha256 {DIGEST[:8]}, expected 01234567"),
        (WebFile(LINK, sha256=DIGEST, size=11), "has 10 bytes, expected 11"),
        (HubFile("me/model", sha256="0" * 64), "expected 000"),
    ],
)
def test_refuses_another_file(files, source, reason):
    with pytest.raises(SourceError, match=reason):
        check(source, *files)


def test_warns_where_only_others_report_another_hash(files, caplog):
    source = WebFile(LINK, sha256="0" * 64, size=11, enforced=False)
    with caplog.at_level(logging.WARNING, "ddrnet"):
        verdict = check(source, *files)
    assert verdict.verification == "recorded locally, not verified"
    assert f"10 bytes with sha256 {DIGEST} instead of {'0' * 64}" in caplog.text


def test_compares_with_what_was_seen_first(files):
    path, folder = files
    folder.write_record(Record().with_seen(LINK[0], DIGEST))
    assert check(WebFile(LINK), path, folder).sha256 == DIGEST
    path.write_bytes(b"another")
    with pytest.raises(SourceError, match=r"changed since it was first fetched.*delete .*record"):
        check(WebFile(LINK), path, folder)
    assert check(WebFile(("https://elsewhere/file.pth",)), path, folder)
