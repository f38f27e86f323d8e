"""The promises of docs/compatibility.md: public names, signatures and state-dict keys.

Two text files hold them; `python tests/test_public_names.py` writes them anew. A line that is gone
or changed breaks code or checkpoints of others: see the rule in docs/compatibility.md first.
"""

import dataclasses
import difflib
import inspect
import itertools
from pathlib import Path

import pytest
import torch

import ddrnet

RECORDED = Path(__file__).parent / "recorded"
ROOMS = ddrnet._SUBMODULES


def public_interface():
    """Yield a line for every public name, method, property and field."""
    for name in sorted(ddrnet.__all__):
        if name not in ROOMS:
            yield from described(f"ddrnet.{name}", getattr(ddrnet, name))
    for room in ROOMS:
        module = getattr(ddrnet, room)
        for name in sorted(names_of(module)):
            yield from described(f"ddrnet.{room}.{name}", getattr(module, name))


def names_of(module):
    """The names that a room promises: its `__all__`, else those that it defines."""
    if hasattr(module, "__all__"):
        return module.__all__
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]


def described(place, value):
    if inspect.isclass(value):
        fields = list(fields_of(value))
        yield f"class {place}{'' if fields else signature_of(value)}"
        yield from (f"{place}.{line}" for line in [*fields, *sorted(methods_of(value))])
    elif callable(value):
        yield f"{place}{signature_of(value)}"
    else:
        yield f"{place}: {type(value).__name__}"


def fields_of(cls):
    """Yield the fields of a dataclass or a named tuple, in order, with their defaults."""
    if dataclasses.is_dataclass(cls):
        for field in dataclasses.fields(cls):
            required = field.default is dataclasses.MISSING
            yield field.name if required else f"{field.name} = {field.default!r}"
    for name in getattr(cls, "_fields", ()):
        default = cls._field_defaults
        yield f"{name} = {default[name]!r}" if name in default else name


def methods_of(cls):
    """Yield the methods and properties of a class that this library defines."""
    own = [base for base in cls.__mro__ if base.__module__.split(".")[0] == "ddrnet"]
    fields = {line.split(" ")[0] for line in fields_of(cls)}
    for name in {name for base in own for name in vars(base)} - fields:
        value = inspect.getattr_static(cls, name)
        if name.startswith("_") and name != "__call__":
            continue
        if isinstance(value, classmethod | staticmethod):
            value = value.__func__
        yield f"{name}{signature_of(value)}" if inspect.isfunction(value) else name


def signature_of(value):
    """The parameters with their defaults. Annotations may become more precise at any time."""
    try:
        signature = inspect.signature(value)
    except ValueError:
        return ""
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
    ]
    text = str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))
    return "" if text == "(*args, **kwargs)" else text


def state_dict_keys():
    """Yield a line for every layer with tensors: their names and shapes."""
    for name in ddrnet.list_models():
        with torch.device("meta"):
            state = ddrnet.create_model(name, aux_head=True).state_dict()
        yield name
        for layer, keys in itertools.groupby(state, lambda key: key.rpartition(".")[0]):
            tensors = (f"{key.rpartition('.')[2]} {list(state[key].shape)}" for key in keys)
            yield f"    {layer}: {', '.join(tensors)}"


RECORDS = {"public_interface.txt": public_interface, "state_dict_keys.txt": state_dict_keys}


@pytest.mark.parametrize("file", RECORDS)
def test_what_others_rely_on_is_unchanged(file):
    recorded = (RECORDED / file).read_text().splitlines()
    now = list(RECORDS[file]())
    difference = "\n".join(difflib.unified_diff(recorded, now, "recorded", "now", "", "", 0, ""))
    assert not difference, f"see docs/compatibility.md, then run this file\n{difference}"


if __name__ == "__main__":
    RECORDED.mkdir(exist_ok=True)
    for file, lines in RECORDS.items():
        (RECORDED / file).write_text("\n".join(lines()) + "\n")
