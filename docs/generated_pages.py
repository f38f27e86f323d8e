"""Write the pages and drawings that come from the code: commands, errors, floors, network."""

from __future__ import annotations

import argparse
import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from drawings import draw_network, draw_rooms

import ddrnet
from ddrnet import cli

PACKAGE = Path(ddrnet.__file__).parent


def write_pages(folder: Path) -> None:
    """Write every generated page into a folder, which is not part of the repository."""
    folder.mkdir(exist_ok=True)
    pages = {
        "commands.md": commands_page(),
        "errors.md": errors_page(),
        "rooms.svg": draw_rooms(PACKAGE),
        "network.svg": draw_network(),
        "sizes.md": sizes_table(),
    }
    for name, text in pages.items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")  # an unchanged page is not built again


def sizes_table() -> str:
    """Return a table of what differs between the sizes."""
    names = ddrnet.list_models()
    columns: list[dict[str, str]] = []
    for name in names:
        with torch.device("meta"):
            model = ddrnet.create_model(name)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        cells = {field: str(value) for field, value in model.config.to_dict().items()}
        columns.append(cells | {"parameters": f"{parameters:,}"})
    lines = [["", *(f"`{name}`" for name in names)], ["---"] * (len(names) + 1)]
    lines += [[f"`{field}`", *(cells[field] for cells in columns)] for field in columns[0]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def commands_page() -> str:
    """Return the help of every command."""
    os.environ["COLUMNS"] = "100"
    sections = ["# Commands", "What `ddrnet COMMAND --help` prints."]
    for name, parser in _commands("ddrnet", cli.command_line()):
        sections += [f"## {name}", f"```text\n{parser.format_help()}```"]
    return "\n\n".join(sections) + "\n"


def _commands(
    name: str, parser: argparse.ArgumentParser
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield a parser and those of its subcommands, with the words that call them."""
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, subparser in action.choices.items():
                yield from _commands(f"{name} {word}", subparser)


def errors_page() -> str:
    """Return every message that the code raises, in the order of the files."""
    sections = [
        "# All error messages",
        "Every message in the code of this library, by file. `…` stands for a value.",
    ]
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        raised = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise)]
        found = [line for call in raised if (line := _line_of(call))]
        if found:
            name = path.relative_to(PACKAGE).as_posix()
            sections += [f"## {name}", "\n".join(dict.fromkeys(found))]
    return "\n\n".join(sections) + "\n"


def _line_of(raised: ast.expr | None) -> str:
    """Return a list item of the error that is raised; "" if its message is not written there."""
    if not isinstance(raised, ast.Call) or not raised.args:
        return ""
    name = ast.unparse(raised.func)
    message = " ".join(message_of(raised.args[0]).split())
    return f"* `{name}`: {_escaped(message)}" if re.search(r"[a-z]{3}", message) else ""


def message_of(node: ast.expr) -> str:
    """Return the text of a string expression, with `…` in place of values."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(message_of(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return message_of(node.left) + message_of(node.right)
    return "…"


def _escaped(text: str) -> str:
    """Return a text whose characters mean nothing in Markdown."""
    return re.sub(r"([\\`*_{}\[\]<>#|$~])", r"\\\1", text)
