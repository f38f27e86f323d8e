"""`ddrnet list`: models, their pretrained weights with results, and the cached files."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

from ddrnet import registry
from ddrnet.cli.table import aligned
from ddrnet.errors import UnknownModelError
from ddrnet.pretrained.inventory import CachedWeights, find_cached, remove_cached
from ddrnet.variants import COSTS
from ddrnet.weights.row import WeightsRow

MIB = 1 << 20

_NUMBERS = ("params", "GMACs", "result", "MiB")


class _Entry(NamedTuple):
    """A line of the list; without a row, it is a model that has no weights."""

    model: str
    row: WeightsRow | None
    cached: CachedWeights | None


def add_parser(subparsers: Any) -> None:
    """Add the subcommand to the parser of `ddrnet`."""
    parser = subparsers.add_parser(
        "list",
        help="list models and pretrained weights",
        description="List models and their pretrained weights. Parameters are counted without the "
        "auxiliary head. GMACs are billions of multiply-adds at 1024 x 2048 pixels.",
    )
    parser.add_argument("pattern", nargs="?", default="*", help='shell pattern, such as "*slim*"')
    parser.add_argument("--pretrained", action="store_true", help="list only models with weights")
    parser.add_argument("--cached", action="store_true", help="list only weights on this computer")
    parser.add_argument("--remove", metavar="NAME", help="delete cached weights: MODEL.TAG")
    parser.add_argument("--cache-dir", type=Path, help="cache folder, instead of the default ones")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the list, or delete cached weights."""
    if args.remove is not None:
        return _remove(args.remove, args.cache_dir)
    entries = [
        entry
        for entry in _entries(args.pattern, args.cache_dir)
        if (entry.row or not args.pretrained) and (entry.cached or not args.cached)
    ]
    if args.json:
        print(json.dumps([_fields(entry) for entry in entries], indent=2))
    else:
        print(_table(entries) if entries else "nothing matches; try: ddrnet list")
    return 0


def _remove(name: str, cache_dir: Path | None) -> int:
    model, tag = registry.split_name(name)
    if tag is None:
        raise UnknownModelError(f"--remove needs MODEL.TAG, got {model!r} without a tag")
    freed = remove_cached(registry.get_weights(name), cache_dir)
    print(f"removed {name}, {freed / MIB:.1f} MiB" if freed else f"{name} is not cached")
    return 0


def _entries(pattern: str, cache_dir: Path | None) -> list[_Entry]:
    entries = []
    for name in registry.list_models(pattern, pretrained=True):
        row = registry.get_weights(name)
        entries.append(_Entry(row.model, row, find_cached(row, cache_dir)))
    with_weights = {row.split(".")[0] for row in registry.list_models(pretrained=True)}
    bare = [name for name in registry.list_models(pattern) if name not in with_weights]
    entries += [_Entry(name, None, None) for name in bare]
    order = registry.list_models()
    return sorted(entries, key=lambda entry: order.index(entry.model))


def _fields(entry: _Entry) -> dict[str, Any]:
    """Return an entry as plain values; sizes in bytes, results as fractions."""
    fields: dict[str, Any] = {"model": entry.model, "tag": None}
    if entry.model in COSTS:
        fields |= COSTS[entry.model]._asdict()
    if entry.row is None:
        return fields
    metric = entry.row.metrics[0] if entry.row.metrics else None
    return fields | {
        "tag": entry.row.tag,
        "default": registry.get_weights(entry.model) is entry.row,
        "task": entry.row.task,
        "metric": metric and metric.name,
        "value": metric and metric.value,
        "conditions": metric and metric.conditions,
        "extra_data": entry.row.extra_data or None,
        "distillation": entry.row.distillation or None,
        "license": entry.row.license,
        "verified": _verification(entry),
        "cached": str(entry.cached.path) if entry.cached else None,
        "size": entry.cached.size if entry.cached else None,
    }


def _verification(entry: _Entry) -> str:
    """Return how well the cached file, or else the published one, can be verified."""
    if entry.cached is not None:
        return entry.cached.verification
    assert entry.row is not None
    known = any(source.sha256 and source.enforced for source in entry.row.sources)
    return "published hash" if known else "no published hash"


def _table(entries: list[_Entry]) -> str:
    header = ("model", "tag", "params", "GMACs", "result", "", "licence", "verified", "MiB")
    return aligned(header, [_cells(entry) for entry in entries], right=_NUMBERS)


def _cells(entry: _Entry) -> tuple[str, ...]:
    cost = COSTS.get(entry.model)
    size = (f"{cost.parameters / 1e6:.2f} M", f"{cost.gmacs:.1f}") if cost else ("", "")
    if entry.row is None:
        return (entry.model, "-", *size, "", "no weights", "", "", "")
    metric = entry.row.metrics[0] if entry.row.metrics else None
    caveats = [", extra data"] * bool(entry.row.extra_data)
    caveats += [", distilled"] * bool(entry.row.distillation)
    result = (
        (f"{metric.percent} %", "".join([f"{metric.name}, {metric.conditions}", *caveats]))
        if metric
        else ("", "")
    )
    cached = f"{entry.cached.size / MIB:.1f}" if entry.cached else "-"
    return (
        entry.model,
        entry.row.tag,
        *size,
        *result,
        entry.row.license,
        _verification(entry),
        cached,
    )
