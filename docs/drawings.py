"""Draw the architecture from the code: the rooms with their imports, the way of an image."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

import ddrnet

BOX, BOX_LINE, TEXT, SMALL, EDGE = "#ffffff", "#94a3b8", "#0f172a", "#64748b", "#94a3b8"
HIGH, LOW, SHARED = "#dbeafe", "#ffedd5", "#f1f5f9"
FONT = "ui-sans-serif, system-ui, sans-serif"


class Box(NamedTuple):
    """A rectangle with lines of text; x and y are its centre, in pixels."""

    x: float
    y: float
    lines: tuple[str, ...]
    fill: str = BOX
    width: float = 104
    height: float = 30

    def draw(self) -> str:
        """Return the rectangle and its text as SVG."""
        left, top = self.x - self.width / 2, self.y - self.height / 2
        parts = [
            f'<rect x="{left:.0f}" y="{top:.0f}" width="{self.width:.0f}" '
            f'height="{self.height:.0f}" rx="6" fill="{self.fill}" stroke="{BOX_LINE}"/>'
        ]
        first = self.y + 4 - 7.5 * (len(self.lines) - 1)
        for number, line in enumerate(self.lines):
            size, color = (13, TEXT) if number == 0 else (11, SMALL)
            parts.append(
                f'<text x="{self.x:.0f}" y="{first + 15 * number:.0f}" font-size="{size}" '
                f'fill="{color}" text-anchor="middle">{escape(line)}</text>'
            )
        return "".join(parts)


def svg(width: float, height: float, parts: list[str], title: str) -> str:
    """Return a drawing on a light ground, which is readable on dark pages too."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" font-family="{FONT}" role="img">'
        f"<title>{escape(title)}</title>"
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="{EDGE}"/></marker></defs>'
        f'<rect width="{width:.0f}" height="{height:.0f}" rx="10" fill="#f8fafc"/>'
    )
    return "\n".join([head, *parts, "</svg>"]) + "\n"


def curve(start: tuple[float, float], end: tuple[float, float]) -> str:
    """Return an arrow from one point down to another."""
    bend = (end[1] - start[1]) / 2
    return (
        f'<path d="M{start[0]:.0f} {start[1]:.0f}C{start[0]:.0f} {start[1] + bend:.0f} '
        f'{end[0]:.0f} {end[1] - bend:.0f} {end[0]:.0f} {end[1]:.0f}" fill="none" '
        f'stroke="{EDGE}" marker-end="url(#tip)"/>'
    )


def room_imports(package: Path) -> dict[str, set[str]]:
    """Return the rooms that each room of a package imports, anywhere in its files.

    A room is a module or a folder directly in the package. The package's own `__init__` is none.
    """
    rooms = {path.stem for path in package.iterdir() if _is_room(path)}
    imports: dict[str, set[str]] = {room: set() for room in rooms}
    for path in package.rglob("*.py"):
        room = path.relative_to(package).parts[0].removesuffix(".py")
        if room in rooms:
            found = {name.split(".")[1] for name in _imported(path, package.name)}
            imports[room] |= (found & rooms) - {room}
    return imports


def _is_room(path: Path) -> bool:
    is_module = path.suffix == ".py" and path.stem != "__init__"
    return is_module or (path / "__init__.py").is_file()


def _imported(path: Path, package: str) -> Iterator[str]:
    """Yield the imported names of a file that lie inside the package, in full."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name for name in names if name.startswith(f"{package}."))


def floors(imports: Mapping[str, set[str]]) -> dict[str, int]:
    """Return the floor of each room: 0 without imports, else one above the highest import.

    Raises:
        graphlib.CycleError: If rooms import each other in a circle.
    """
    found: dict[str, int] = {}
    for room in TopologicalSorter(imports).static_order():
        found[room] = 1 + max((found[lower] for lower in imports[room]), default=-1)
    return found


def direct_imports(imports: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return the imports that no chain of other imports implies."""
    reached: dict[str, set[str]] = {}
    for room in TopologicalSorter(imports).static_order():
        reached[room] = imports[room].union(*(reached[lower] for lower in imports[room]))
    return {
        room: lower - set().union(*(reached[other] for other in lower))
        for room, lower in imports.items()
    }


def draw_rooms(package: Path) -> str:
    """Return the rooms of a package on their floors, with an arrow for each direct import."""
    imports = room_imports(package)
    floor_of, direct = floors(imports), direct_imports(imports)
    width, step, top = 1080.0, 66.0, 34.0
    boxes: dict[str, Box] = {}
    highest = max(floor_of.values())
    for floor in range(highest, -1, -1):
        rooms = sorted(room for room in floor_of if floor_of[room] == floor)
        rooms.sort(key=lambda room: _mean_x(room, direct, boxes, width / 2))
        gap = width / len(rooms)
        for number, room in enumerate(rooms):
            size = min(gap - 14, 20 + 7.6 * len(room))
            place = (gap * (number + 0.5), top + step * (highest - floor))
            boxes[room] = Box(*place, (room,), width=size)
    arrows = [
        curve(
            (boxes[room].x, boxes[room].y + boxes[room].height / 2),
            (boxes[lower].x, boxes[lower].y - boxes[lower].height / 2),
        )
        for room in boxes
        for lower in sorted(direct[room])
    ]
    shapes = [box.draw() for box in boxes.values()]
    title = "Rooms of the package; an arrow is an import that no other implies"
    return svg(width, top + step * highest + 34, arrows + shapes, title)


def _mean_x(
    room: str, direct: Mapping[str, set[str]], boxes: Mapping[str, Box], middle: float
) -> float:
    above = [box.x for upper, box in boxes.items() if room in direct[upper]]
    return sum(above) / len(above) if above else middle


def feature_shapes(model: nn.Module, size: tuple[int, int]) -> dict[str, tuple[int, int, int]]:
    """Return channels, height and width of what each module computes for an image of a size."""
    shapes: dict[str, tuple[int, int, int]] = {}

    def record(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and output.ndim == 4:
                shapes[name] = (output.shape[1], output.shape[2], output.shape[3])

        return hook

    for name, module in model.named_modules():
        module.register_forward_hook(record(name))
    with torch.no_grad():
        model(torch.empty(1, 3, *size, device="meta"))
    return shapes


def draw_network(name: str = "ddrnet_23", size: tuple[int, int] = (1024, 2048)) -> str:
    """Return the way of an image through a network, with the shape after each part."""
    with torch.device("meta"):
        model = ddrnet.create_model(name).eval()
    shapes = feature_shapes(model, size)
    shared = [part for part in shapes if part == "stem" or part.removeprefix("trunk.").isdigit()]
    stages = [f"fusion_stages.{number}" for number in range(len(model.fusion_stages))]
    step, high, low = 122.0, 60.0, 190.0
    middle, boxes, column = (high + low) / 2, {}, 0
    boxes["image"] = Box(70, middle, ("image", _shape((3, *size))), SHARED, height=50)
    for part in shared:
        column += 1
        boxes[part] = _part(part, part, 70 + step * column, middle, shapes, size, SHARED)
    branches = [(f"{stage}.high_res", f"{stage}.low_res", stage[7:]) for stage in stages]
    for upper, lower, label in [*branches, ("high_res_tail", "low_res_tail", "")]:
        column += 1
        names = (f"{label} high", f"{label} low") if label else (upper, lower)
        boxes[upper] = _part(upper, names[0], 70 + step * column, high, shapes, size, HIGH)
        boxes[lower] = _part(lower, names[1], 70 + step * column, low, shapes, size, LOW)
    for part, y, fill in (("dappm", low, LOW), ("head", high, HIGH)):
        column += 1
        boxes[part] = _part(part, part, 70 + step * column, y, shapes, size, fill)
    labels = Box(70 + step * (column + 1), high, ("labels", f"{size[0]} x {size[1]}"), SHARED)
    boxes["labels"] = labels._replace(height=50)
    arrows = [_between(boxes[a], boxes[b]) for a, b in _ways(shared, stages)]
    title = f"The way of an image of {size[0]} x {size[1]} pixels through {name}"
    return svg(labels.x + 66, 250, arrows + [box.draw() for box in boxes.values()], title)


def _ways(shared: list[str], stages: list[str]) -> list[tuple[str, str]]:
    """Return the pairs of boxes between which features go."""
    trunk = ["image", *shared]
    upper = [*(f"{stage}.high_res" for stage in stages), "high_res_tail", "head", "labels"]
    lower = [*(f"{stage}.low_res" for stage in stages), "low_res_tail", "dappm", "head"]
    ways = [pair for line in (trunk, upper, lower) for pair in pairwise(line)]
    ways += [(trunk[-1], upper[0]), (trunk[-1], lower[0])]
    for stage, (high, low) in zip(stages, zip(upper[1:], lower[1:], strict=False), strict=False):
        ways += [(f"{stage}.high_res", low), (f"{stage}.low_res", high)]
    return ways


def _part(
    name: str,
    label: str,
    x: float,
    y: float,
    shapes: Mapping[str, tuple[int, int, int]],
    size: tuple[int, int],
    fill: str,
) -> Box:
    shape = shapes[name]
    stride = f"stride {size[0] // shape[1]}"
    return Box(x, y, (label, _shape(shape), stride), fill, height=58)


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _between(start: Box, end: Box) -> str:
    x1, x2 = start.x + start.width / 2, end.x - end.width / 2
    return (
        f'<path d="M{x1:.0f} {start.y:.0f}L{x2:.0f} {end.y:.0f}" fill="none" stroke="{EDGE}" '
        'marker-end="url(#tip)"/>'
    )
