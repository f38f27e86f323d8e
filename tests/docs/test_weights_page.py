"""The page that lists the pretrained weights."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from ddrnet.weights import ROWS
from ddrnet.weights.row import HubFile

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def weights_page():
    spec = importlib.util.spec_from_file_location("weights_page", DOCS / "weights_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.weights_page


def test_page_is_up_to_date(weights_page):
    page = (DOCS / "weights.md").read_text(encoding="utf-8")
    assert page == weights_page(), "run: python docs/weights_page.py"


def test_page_names_every_row_and_source(weights_page):
    page = weights_page()
    for row in ROWS:
        assert f"## {row.name}\n" in page
        for source in row.sources:
            assert all(link in page for link in getattr(source, "links", [source.address]))


def test_a_pinned_mirror_is_listed_with_its_hash(weights_page):
    pinned = replace(ROWS[0], sources=(HubFile("org/name", "abc", sha256="0" * 64),))
    page = weights_page([pinned])
    assert f"1. <hf-hub:org/name@abc> (sha256 {'0' * 64})" in page
    assert f"| {pinned.license} | known |" in page
