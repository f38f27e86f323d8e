"""The pages and drawings that the site takes from the code."""

import importlib
import re
import sys
from pathlib import Path

import pytest
from test_floors import FILES, FLOORS, PACKAGE, imported_rooms, room_of

from ddrnet import cli

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def pages():
    sys.path.insert(0, str(DOCS))
    yield importlib.import_module("generated_pages")
    sys.path.remove(str(DOCS))


@pytest.fixture(scope="module")
def drawings(pages):
    return importlib.import_module("drawings")


def test_the_drawing_of_the_rooms_shows_their_imports(drawings):
    imports = drawings.room_imports(PACKAGE)
    assert set(imports) == set(FLOORS) - {""}
    for room, lower in imports.items():
        found = {other for path in FILES if room_of(path) == room for other in imported_rooms(path)}
        assert lower == found - {room, ""}


def test_an_import_that_others_imply_is_not_drawn(drawings):
    imports = {"a": {"b", "c"}, "b": {"c"}, "c": set(), "d": {"c"}}
    assert drawings.floors(imports) == {"a": 2, "b": 1, "c": 0, "d": 1}
    assert drawings.direct_imports(imports) == {"a": {"b"}, "b": {"c"}, "c": set(), "d": {"c"}}


def test_the_drawing_of_the_network_shows_the_shapes(drawings):
    text = re.sub(r"<title>.*?</title>|<[^>]+>", "\n", drawings.draw_network())
    for shape in ("3 x 1024 x 2048", "64 x 256 x 512", "1024 x 16 x 32", "19 x 128 x 256"):
        assert shape in text
    assert text.count("stride 8") == 5  # trunk, two stages, tail and head


def test_every_command_has_its_help(pages):
    page = pages.commands_page()
    for name in re.findall(r"^    (\w+) {2,}", cli.command_line().format_help(), re.M):
        assert f"\n## ddrnet {name}\n" in page
    assert "\n## ddrnet data check\n" in page


def test_every_message_is_listed_once_per_file(pages):
    page = pages.errors_page()
    assert "* `DatasetError`: … has several folders of label files (…): keep one" in page
    for section in page.split("\n## ")[1:]:
        lines = section.splitlines()[2:]
        assert len(lines) == len(set(lines))


def test_the_table_of_sizes_names_every_size(pages):
    parameters = "1,429,507 | 5,695,987 | 20,148,947 | 32,360,275"
    assert f"| `parameters` | {parameters} |" in pages.sizes_table()
