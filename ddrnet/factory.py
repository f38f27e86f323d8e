"""Builds models by name and fills them with weights."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import PurePath

from torch import Tensor

from ddrnet import registry
from ddrnet.checkpoints import describe, fit_state_dict, read_state_dict, to_ddrnet
from ddrnet.errors import UnknownModelError
from ddrnet.labels import CITYSCAPES, ClassLabel, class_labels
from ddrnet.network import DDRNet
from ddrnet.pretrained import fetch_state_dict, is_saved_model, read_folder
from ddrnet.variants import DDRNetConfig
from ddrnet.weights.row import IMAGENET, Preprocessing, WeightsRow

logger = logging.getLogger("ddrnet")

_CHECKPOINT_SUFFIXES = frozenset({".pth", ".pt", ".ckpt", ".safetensors"})


@dataclass(frozen=True)
class _Options:
    """What can be said of a model besides its size; None where nothing is said."""

    num_classes: int | None = None
    in_chans: int | None = None
    aux_head: bool | None = None
    upsample: bool | None = None
    classes: tuple[ClassLabel, ...] | None = None
    preprocessing: Preprocessing | None = None

    def over(self, other: _Options) -> _Options:
        """Return these options; where they say nothing, the other ones."""
        said = {name: value for name, value in vars(self).items() if value is not None}
        return replace(other, **said)


@dataclass(frozen=True)
class _Origin:
    """Where a model comes from: its size, what its source says of it, its weights if any."""

    config: DDRNetConfig
    options: _Options
    state: dict[str, Tensor] | None = None
    row: WeightsRow | None = None


def create_model(
    name: str,
    pretrained: bool = False,
    *,
    num_classes: int | None = None,
    in_chans: int | None = None,
    aux_head: bool | None = None,
    upsample: bool | None = None,
    class_names: Sequence[str | ClassLabel] | None = None,
    preprocessing: Preprocessing | None = None,
    checkpoint_path: str | PathLike[str] | None = None,
    cache_dir: str | PathLike[str] | None = None,
) -> DDRNet:
    """Build a model by name, in training mode as any module is.

    An argument that is None takes what the model's config.json says, else what the file at
    `checkpoint_path` holds (classes of the head, channels of the first convolution), else what
    the weights row says, else the default. An argument that is given wins, and the weights are
    adapted: other `num_classes` leave the last convolution of each head untrained, other
    `in_chans` sum or repeat the first convolution's.

    Args:
        name: "ddrnet_23", "ddrnet_23.cityscapes", "hf-hub:owner/repo[@revision]" or
            "local-dir:path".
        pretrained: Load the weights of the tag (by default the model's default tag), or of the
            repository or folder.
        num_classes: Classes to tell apart; 19 by default. Alone it names them class_0, class_1...
        in_chans: Channels of the images; 3 by default.
        aux_head: Whether to build the auxiliary head; False by default.
        upsample: Whether logits come at full resolution, not at stride 8; True by default.
        class_names: A name or a `ClassLabel` (with a colour of its own) per class.
        preprocessing: Normalisation of the images, as a mean and a standard deviation per channel
            or for RGB alone; further channels take RGB's average.
        checkpoint_path: Weights of any family to load instead of pretrained ones.
        cache_dir: Folder for downloads, instead of the Hub's and this library's caches.

    Raises:
        UnknownModelError: If there is no such model or tag; the message names the nearest.
        ValueError: If arguments contradict each other.
        TypeError: If an argument is of another type, such as a tag as `pretrained`.
        CheckpointError: If a checkpoint cannot be read or does not fit.
        WeightsUnavailableError: If weights cannot be had or fail verification.
        HubError: If a repository or folder holds no model of this library.
    """
    if pretrained and checkpoint_path is not None:
        raise ValueError(
            "pretrained=True and checkpoint_path name two sources of weights; give one of them"
        )
    given = _Options(
        num_classes=num_classes,
        in_chans=in_chans,
        aux_head=aux_head,
        upsample=upsample,
        classes=None if class_names is None else class_labels(class_names),
        preprocessing=preprocessing,
    )
    _check_types(name, pretrained, given)
    origin = _find_origin(name, pretrained, cache_dir)
    if checkpoint_path is not None:
        origin = _with_checkpoint(origin, checkpoint_path)
    model = _build(origin.config, given, origin.options)
    if origin.state is not None:
        _fill(model, origin.state)
        model.pretrained = origin.row
    return model


def load_checkpoint(model: DDRNet, path: str | PathLike[str]) -> None:
    """Load a checkpoint of any family into a model, strictly; on an error nothing has changed.

    What may differ is said in the log: a classifier or backbone leaves DAPPM and the heads as they
    are, another number of classes the last convolution of each head, a file without the auxiliary
    head that head; the first convolution is adapted to the model's channels.

    Args:
        model: The model to fill.
        path: A .pth, .pt, .ckpt or .safetensors file of the official code, mmsegmentation,
            super-gradients or this library.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it cannot be read, or does not fit: every missing, left-over or
            mis-shaped key is named.
        TypeError: If `model` is not a `DDRNet`.
    """
    if not isinstance(model, DDRNet):
        raise TypeError(
            f"expected a DDRNet, got {type(model).__name__}; unwrap it first (model.module of "
            "DistributedDataParallel, the model that torch.compile was given)"
        )
    _fill(model, to_ddrnet(read_state_dict(path)))
    model.pretrained = None


def _check_types(name: object, pretrained: object, given: _Options) -> None:
    """Raise where Python would take an argument for something else, or fail far from here."""
    if not isinstance(name, str):
        raise TypeError(f"a model is named by a string such as 'ddrnet_23', got {name!r}")
    if isinstance(pretrained, str):
        raise TypeError(
            f"pretrained is True or False, got {pretrained!r}: a tag belongs to the name, as in "
            f"create_model('{name}.{pretrained}', True)"
        )
    flags = {"pretrained": pretrained, "aux_head": given.aux_head, "upsample": given.upsample}
    for argument, value in flags.items():
        if not isinstance(value, int | None):
            raise TypeError(f"{argument} is True or False, got {value!r}")
    if not isinstance(given.preprocessing, Preprocessing | None):
        raise TypeError(
            f"preprocessing is a ddrnet.Preprocessing(mean, std), got {given.preprocessing!r}"
        )


def _find_origin(name: str, pretrained: bool, cache_dir: str | PathLike[str] | None) -> _Origin:
    if is_saved_model(name):
        return _from_folder(name, pretrained, cache_dir)
    if PurePath(name).suffix in _CHECKPOINT_SUFFIXES:
        raise UnknownModelError(
            f"{name!r} is no model name but a file: pass it as checkpoint_path (--checkpoint on "
            "the command line)"
        )
    if "/" in name:
        raise UnknownModelError(
            f"{name!r} is no model name; write 'hf-hub:{name}' for a repository of the Hub or "
            f"'local-dir:{name}' for a folder"
        )
    model, tag = registry.split_name(name)
    config = registry.get_config(model)
    if not pretrained and tag is None:
        return _Origin(config, _Options())
    row = registry.get_weights(name)
    options = _Options(classes=row.classes or None, preprocessing=row.preprocessing)
    if not pretrained:
        return _Origin(config, options)
    if row.caveat:
        logger.warning("%s: %s", row.name, row.caveat)
    return _Origin(config, options, fetch_state_dict(row, cache_dir), row)


def _from_folder(name: str, weights: bool, cache_dir: str | PathLike[str] | None) -> _Origin:
    saved = read_folder(name, weights=weights, cache_dir=cache_dir)
    return _Origin(saved.config, _Options(**saved.options), saved.state, saved.row)


def _with_checkpoint(origin: _Origin, path: str | PathLike[str]) -> _Origin:
    state = to_ddrnet(read_state_dict(path))
    contents = describe(state)
    held = _Options(num_classes=contents.num_classes, in_chans=contents.in_chans)
    return replace(origin, options=origin.options.over(held), state=state, row=None)


def _build(config: DDRNetConfig, given: _Options, said: _Options) -> DDRNet:
    options = given.over(said)
    classes = _choose_classes(given, said)
    in_chans = 3 if options.in_chans is None else options.in_chans
    preprocessing = options.preprocessing or IMAGENET
    if len(preprocessing.mean) == len(preprocessing.std) == len(IMAGENET.mean):
        preprocessing = preprocessing.for_channels(in_chans)
    return DDRNet(
        config,
        len(classes),
        in_chans,
        aux_head=bool(options.aux_head),
        upsample=options.upsample is not False,
        classes=classes,
        preprocessing=preprocessing,
    )


def _choose_classes(given: _Options, said: _Options) -> tuple[ClassLabel, ...]:
    if given.classes is not None:
        if given.num_classes not in (None, len(given.classes)):
            raise ValueError(
                f"num_classes={given.num_classes} contradicts {len(given.classes)} class_names; "
                "class_names alone is enough"
            )
        return given.classes
    count = said.num_classes if given.num_classes is None else given.num_classes
    known = CITYSCAPES.classes if given.num_classes is None else ()
    known = said.classes or known
    if count is None or count == len(known):
        return known
    return class_labels(f"class_{index}" for index in range(count))


def _fill(model: DDRNet, state: dict[str, Tensor]) -> None:
    fit = fit_state_dict(state, model.state_dict())
    model.load_state_dict(fit.state, strict=True)
    if fit.initialised:
        loaded = len(fit.state) - len(fit.initialised)
        logger.info("loaded %d of %d tensors", loaded, len(fit.state))
