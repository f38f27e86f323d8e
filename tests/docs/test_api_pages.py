"""Every public name has an entry in the API reference, and every entry a public name."""

import re
from pathlib import Path

import pytest
from test_public_names import ROOMS, names_of

import ddrnet

API = Path(__file__).parents[2] / "docs" / "api"
ENTRY = re.compile(r"^\.\. (?:auto|py:)(\w+):: (\S+)", re.M)


def entries():
    """The kind of every entry of a name of `ddrnet`, by that name."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in API.glob("*.md"))
    return {name: kind for kind, name in ENTRY.findall(text) if "integrations" not in name}


def public_names():
    names = {f"ddrnet.{name}" for name in ddrnet.__all__ if name not in ROOMS}
    for room in ROOMS:
        names |= {f"ddrnet.{room}.{name}" for name in names_of(getattr(ddrnet, room))}
    return names


def test_every_public_name_has_an_entry():
    assert {name for name, kind in entries().items() if kind != "module"} == public_names()


def test_no_name_has_two_entries():
    text = "\n".join(page.read_text(encoding="utf-8") for page in API.glob("*.md"))
    names = [name for _, name in ENTRY.findall(text)]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("page", sorted(API.glob("*.md")), ids=lambda page: page.name)
def test_every_page_is_in_the_table_of_contents(page):
    index = (API / "index.md").read_text(encoding="utf-8").splitlines()
    assert page.stem == "index" or page.stem in index
