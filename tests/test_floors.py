"""Imports only point down, run in no circle, and only declared packages are imported."""

import ast
import re
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest depends on it below Python 3.11

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ddrnet"

FLOORS = {
    "__main__": 11,
    "": 10,
    "cli": 10,
    "benchmark": 9,
    "publishing": 9,
    "training": 9,
    "evaluation": 8,
    "exporting": 8,
    "integrations": 8,
    "predictor": 7,
    "classification": 6,
    "factory": 6,
    "fusing": 6,
    "pretrained": 5,
    "classifier": 4,
    "network": 4,
    "backbone": 3,
    "dappm": 3,
    "losses": 3,
    "metrics": 3,
    "data": 3,
    "registry": 2,
    "spec": 2,
    "blocks": 2,
    "upsampling": 2,
    "checkpoints": 2,
    "streets": 2,
    "visualize": 2,
    "variants": 1,
    "weights": 1,
    "errors": 0,
    "files": 0,
    "labels": 0,
    "outputs": 0,
}
"""Room -> floor. The room "" is the package's own `__init__`."""

EXTRAS = {
    "training": "train",
    "benchmark/latency_plot.py": "plot",
    "predictor/video": "video",
    "predictor/segmentation.py": "supervision",
    "cli/env.py": "export",
    "exporting": "export",
    "predictor/exported/openvino_runtime.py": "openvino",
    "predictor/exported": "export",
    "integrations/transformers": "transformers",
}
"""Room, folder or file -> the extra that installs what only it imports."""

FILES = sorted(PACKAGE.rglob("*.py"))
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
INTEROP = [*EXAMPLES, *sorted((ROOT / "tests" / "interop").glob("*.py"))]
"""The code for which the extra `interop` exists."""

WITH_RAY = ROOT / "examples" / "predict_ray.py"
"""The code for which the extra `ray` exists."""

DISTRIBUTIONS = {
    "PIL": "pillow",
    "google": "protobuf",
    "segmentation_models_pytorch": "segmentation-models-pytorch",
}


def room_of(path):
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def extra_of(path):
    """The extra that installs what a file imports; "" for the dependencies of the core."""
    name = path.relative_to(PACKAGE).as_posix()
    return next((extra for part, extra in EXTRAS.items() if f"{name}/".startswith(f"{part}/")), "")


def imported_modules(path):
    """Every imported module of a file, anywhere in it; names of rooms are resolved."""
    inside = path.is_relative_to(PACKAGE)
    package = ["ddrnet", *path.relative_to(PACKAGE).parts[:-1]] if inside else []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            names = [f"{module}.{alias.name}" for alias in node.names]
            yield from names if is_folder(module) else [module]


def is_folder(module):
    first, *parts = module.split(".")
    return first == "ddrnet" and PACKAGE.joinpath(*parts).is_dir()


def imported_rooms(path):
    for module in imported_modules(path):
        if module == "ddrnet" or module.startswith("ddrnet."):
            parts = module.split(".")
            room = parts[1] if len(parts) > 1 else ""
            yield room if room in FLOORS else ""


def file_of(module):
    """The file that an imported name of this package comes from."""
    parts = module.split(".")[1:]
    while parts:
        path = PACKAGE.joinpath(*parts)
        if path.with_suffix(".py").is_file():
            return path.with_suffix(".py")
        if (path / "__init__.py").is_file():
            return path / "__init__.py"
        parts.pop()
    return PACKAGE / "__init__.py"


def imports_between(files):
    """File -> the files of this package it imports; a room's `__init__` hands on its siblings."""
    return {
        path: {file_of(name) for name in imported_modules(path) if name.startswith("ddrnet.")}
        - {path}
        for path in files
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    room = room_of(path)
    allowed_room = room if (PACKAGE / room).is_dir() and room else None
    version_only = {""} if room in ("cli", "training", "benchmark", "exporting") else set()
    for imported in imported_rooms(path):
        if imported == allowed_room or imported in version_only:
            continue
        assert FLOORS[imported] < FLOORS[room], f"{path.name} imports ddrnet.{imported}"


def test_every_room_has_a_floor_and_every_floor_its_rooms():
    assert {room_of(path) for path in FILES} == set(FLOORS)


def test_no_imports_run_in_a_circle():
    files = [path for path in FILES if path != PACKAGE / "__init__.py"]
    graph = imports_between(files)
    for imported in graph.values():
        imported.discard(PACKAGE / "__init__.py")  # the version
    TopologicalSorter(graph).prepare()


def test_no_two_modules_share_a_name():
    names = [path.stem for path in FILES if path.stem != "__init__" and room_of(path) != "cli"]
    assert sorted(set(names)) == sorted(names)


def test_finds_a_circle_inside_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    room = tmp_path / "room"
    room.mkdir()
    (tmp_path / "__init__.py").touch()
    (room / "__init__.py").touch()
    (room / "a.py").write_text("def f():\n    from ddrnet.room.b import g\n")
    (room / "b.py").write_text("if TYPE_CHECKING:\n    from ddrnet.room import a\n")
    graph = imports_between([room / "a.py", room / "b.py"])
    with pytest.raises(CycleError):
        TopologicalSorter(graph).prepare()


def test_sees_imports_inside_functions_and_type_checking_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    file = tmp_path / "blocks.py"
    file.write_text(
        "if TYPE_CHECKING:\n    from ddrnet.network import DDRNet\n"
        "def f():\n    import ddrnet.factory\n    from ddrnet import losses\n"
    )
    assert set(imported_rooms(file)) == {"network", "factory", "losses"}


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def distributions(requirements):
    return {re.split(r"[><=\[ ]", line)[0].lower() for line in requirements}


def third_party(path):
    modules = list(imported_modules(path))
    found = {module.split(".")[0] for module in modules}
    found -= set(sys.stdlib_module_names) | {"ddrnet"}
    if any(module.startswith("torch.utils.tensorboard") for module in modules):
        found.add("tensorboard")  # torch hands it on
    return {DISTRIBUTIONS.get(name, name) for name in found}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_imported_package_is_declared(path):
    declared = distributions(project()["dependencies"])
    if extra_of(path):
        declared |= distributions(project()["optional-dependencies"][extra_of(path)])
    assert third_party(path) <= declared


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_needs_no_more_than_its_extras(path):
    extras = project()["optional-dependencies"]
    own = extras["ray"] if path == WITH_RAY else [*extras["train"], *extras["interop"]]
    declared = [*project()["dependencies"], *own]
    assert third_party(path) <= distributions(declared)


def test_every_declared_package_is_imported():
    rooms = {extra: [] for extra in ("", *EXTRAS.values())} | {"interop": [*INTEROP]}
    rooms["ray"] = [WITH_RAY]
    for path in FILES:
        rooms[extra_of(path)].append(path)
    extras = project()["optional-dependencies"]
    for extra, paths in rooms.items():
        declared = distributions(extras[extra] if extra else project()["dependencies"])
        assert declared <= set().union(*map(third_party, paths)), extra


def test_extras_are_for_code_that_exists():
    others = {"interop", "ray", "docs", "dev"}
    assert set(project()["optional-dependencies"]) == {*EXTRAS.values()} | others
    assert set(EXTRAS.values()) <= {extra_of(path) for path in FILES}
