"""Imports only point down, and only declared packages are imported."""

import ast
import re
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest depends on it below Python 3.11

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ddrnet"

FLOORS = {
    "__main__": 10,
    "": 9,
    "cli": 9,
    "evaluation": 8,
    "export": 8,
    "benchmark": 8,
    "publishing": 8,
    "predictor": 7,
    "factory": 6,
    "classification": 6,
    "fusing": 6,
    "pretrained": 5,
    "network": 4,
    "dappm": 3,
    "losses": 3,
    "metrics": 3,
    "visualize": 3,
    "data": 3,
    "registry": 2,
    "blocks": 2,
    "upsampling": 2,
    "checkpoints": 2,
    "variants": 1,
    "weights": 1,
    "errors": 0,
    "files": 0,
    "labels": 0,
    "outputs": 0,
}
"""Room -> floor. The room "" is the package's own `__init__`."""

FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path):
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imported_modules(path):
    """Every imported module of a file, anywhere in it; names of rooms are resolved."""
    package = ["ddrnet", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            names = [f"{module}.{alias.name}" for alias in node.names]
            yield from names if module == "ddrnet" else [module]


def imported_rooms(path):
    for module in imported_modules(path):
        if module == "ddrnet" or module.startswith("ddrnet."):
            parts = module.split(".")
            room = parts[1] if len(parts) > 1 else ""
            yield room if room in FLOORS else ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    room = room_of(path)
    allowed_room = room if (PACKAGE / room).is_dir() and room else None
    version_only = {""} if room == "cli" else set()
    for imported in imported_rooms(path):
        if imported == allowed_room or imported in version_only:
            continue
        assert FLOORS[imported] < FLOORS[room], f"{path.name} imports ddrnet.{imported}"


def test_every_room_has_a_floor():
    assert {room_of(path) for path in FILES} <= set(FLOORS)


def test_sees_imports_inside_functions_and_type_checking_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    file = tmp_path / "blocks.py"
    file.write_text(
        "if TYPE_CHECKING:\n    from ddrnet.network import DDRNet\n"
        "def f():\n    import ddrnet.factory\n    from ddrnet import losses\n"
    )
    assert set(imported_rooms(file)) == {"network", "factory", "losses"}


def test_every_imported_package_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[><=\[ ]", line)[0].lower() for line in project["dependencies"]}
    imported = {module.split(".")[0] for path in FILES for module in imported_modules(path)}
    names = {"PIL": "pillow"}
    third_party = imported - set(sys.stdlib_module_names) - {"ddrnet"}
    assert {names.get(name, name) for name in third_party} <= declared
