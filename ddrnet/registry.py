"""Looks up configurations and weights rows by name. Loads no torch."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from ddrnet.errors import UnknownModelError, WeightsUnavailableError
from ddrnet.variants import VARIANTS, DDRNetConfig
from ddrnet.weights import DEFAULT_TAGS, ROWS
from ddrnet.weights.row import WeightsRow

_CONFIGS: dict[str, DDRNetConfig] = dict(VARIANTS)


def register_model(name: str, config: DDRNetConfig) -> None:
    """Add a size of your own, which `create_model` then builds by name.

    Args:
        name: Letters, digits, `_` and `-`. A dot would begin a weights tag.
        config: The size.

    Raises:
        ValueError: If the name is taken or has another form.
        TypeError: If `config` is not a `DDRNetConfig`.
    """
    if not isinstance(config, DDRNetConfig):
        raise TypeError(f"expected a DDRNetConfig, got {type(config).__name__}")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise ValueError(f"a model name consists of letters, digits, '_' and '-', got {name!r}")
    if name in _CONFIGS:
        raise ValueError(f"the model {name!r} is already registered; choose another name")
    _CONFIGS[name] = config


def list_models(filter: str = "*", *, pretrained: bool = False) -> list[str]:
    """List model names, or the names of pretrained weights.

    Args:
        filter: A shell pattern such as `"*slim*"`.
        pretrained: List "model.tag" for every weights row instead of models. The pattern may then
            match the model or the whole name.
    """
    if not pretrained:
        return [name for name in _CONFIGS if fnmatchcase(name, filter)]
    return [
        row.name for row in ROWS if fnmatchcase(row.model, filter) or fnmatchcase(row.name, filter)
    ]


def is_model(name: str) -> bool:
    """Whether `create_model` knows this model, or this "model.tag"."""
    model, dot, tag = name.partition(".")
    return model in _CONFIGS and (not dot or tag in _tags(model))


def get_weights(name: str) -> WeightsRow:
    """Return the weights row of a "model.tag", or of a model's default tag.

    Raises:
        UnknownModelError: If the model or the tag is unknown.
        WeightsUnavailableError: If the model has no default weights.
    """
    model, tag = split_name(name)
    tag = tag or DEFAULT_TAGS.get(model)
    for row in ROWS:
        if (row.model, row.tag) == (model, tag):
            return row
    raise WeightsUnavailableError(
        f"there are no pretrained weights of {model!r}; create_model(..., checkpoint_path=) loads "
        "your own file"
    )


def split_name(name: str) -> tuple[str, str | None]:
    """Split "model" or "model.tag" and check both parts.

    Raises:
        UnknownModelError: If either is unknown; the message names similar ones.
    """
    model, dot, tag = name.partition(".")
    if model not in _CONFIGS:
        raise UnknownModelError(f"unknown model {model!r}; {_suggestion(model, _CONFIGS)}")
    if not dot:
        return model, None
    tags = _tags(model)
    if tag not in tags:
        raise UnknownModelError(f"unknown weights {tag!r} of {model}; {_suggestion(tag, tags)}")
    return model, tag


def get_config(model: str) -> DDRNetConfig:
    """Return the configuration of a registered model name."""
    return _CONFIGS[model]


def find_model(config: DDRNetConfig) -> str | None:
    """Return the first registered name of a configuration."""
    return next((name for name, known in _CONFIGS.items() if known == config), None)


def _tags(model: str) -> list[str]:
    return [row.tag for row in ROWS if row.model == model]


def _suggestion(wrong: str, names: Iterable[str]) -> str:
    by_plain = {_plain(name): name for name in names}
    if not by_plain:
        return "it has none"
    near = difflib.get_close_matches(_plain(wrong), by_plain, n=3, cutoff=0.6)
    if not near:
        return f"known are {', '.join(by_plain.values())}"
    return f"did you mean {' or '.join(by_plain[plain] for plain in near)}?"


def _plain(name: str) -> str:
    return re.sub(r"[-_\s]", "", name.casefold())
