"""Builds models by name and fills them with weights."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import NamedTuple

from torch import Tensor

from ddrnet import registry
from ddrnet.checkpoints import (
    Fit,
    choose_class_rows,
    describe,
    fit_state_dict,
    read_state_dict,
    to_ddrnet,
)
from ddrnet.errors import CheckpointError, UnknownModelError, WeightsUnavailableError
from ddrnet.files import StrPath
from ddrnet.labels import ClassLabel, class_labels
from ddrnet.network import DDRNet
from ddrnet.pretrained.fetch import fetch_state_dict
from ddrnet.pretrained.saved_model import is_saved_model, read_folder, read_spec_beside
from ddrnet.spec import ModelSpec, PartialSpec, numbered_classes
from ddrnet.weights.row import Preprocessing, WeightsRow

logger = logging.getLogger(__name__)

_CHECKPOINT_SUFFIXES = frozenset({".pth", ".pt", ".ckpt", ".safetensors"})


class Creation(NamedTuple):
    """A model, and how its weights were fitted.

    Attributes:
        model: The model.
        fit: Which tensors were loaded and which are still untrained; None without weights.
    """

    model: DDRNet
    fit: Fit | None


class _Source(NamedTuple):
    """The model that a name stands for, and its weights if they are asked for."""

    spec: PartialSpec
    state: dict[str, Tensor] | None = None
    row: WeightsRow | None = None


def create_model(
    name: str | None,
    pretrained: bool = False,
    *,
    num_classes: int | None = None,
    in_chans: int | None = None,
    aux_head: bool | None = None,
    upsample: bool | None = None,
    class_names: Sequence[str | ClassLabel] | None = None,
    preprocessing: Preprocessing | None = None,
    checkpoint_path: StrPath | None = None,
    cache_dir: StrPath | None = None,
) -> DDRNet:
    """Build a model by name, in training mode as any module is.

    For an argument that is None, the first of these sources decides: the model's config.json, the
    file at `checkpoint_path` (classes of the head, channels of the first convolution), the weights
    row, the default. A given argument wins, and the weights are adapted: `class_names` keep the
    rows of each head whose classes the weights know by name, another `num_classes` leaves the last
    convolution of each head untrained, another `in_chans` sums or repeats the weights of the first
    convolution. The log tells what is untrained.

    Args:
        name: "ddrnet_23", "ddrnet_23.cityscapes", "hf-hub:owner/repo[@revision]" or
            "local-dir:path"; None for the size of the file at `checkpoint_path`.
        pretrained: Load the weights of the tag (by default the model's default tag), or of the
            repository or folder.
        num_classes: Classes to tell apart; 19 by default. Alone it names them class_0, class_1...
        in_chans: Channels of the images; 3 by default.
        aux_head: Whether to build the auxiliary head; False by default.
        upsample: Whether logits come at full resolution, not at stride 8; True by default.
        class_names: A name or a `ClassLabel` (with a colour of its own) per class. Case, spaces and
            punctuation do not count when names are compared with those of the weights.
        preprocessing: Normalisation of the images, as a mean and a standard deviation per channel
            or for RGB alone; further channels take RGB's average.
        checkpoint_path: Weights of any family to load instead of pretrained ones. Beside a
            `model.safetensors`, the `config.json` of a saved model names the classes and the
            normalisation.
        cache_dir: Folder for downloads, instead of the Hub's and this library's caches.

    Raises:
        UnknownModelError: If there is no such model or tag; the message names the nearest.
        ValueError: If arguments contradict each other.
        TypeError: If an argument is of another type, such as a tag as `pretrained`.
        CheckpointError: If a checkpoint cannot be read or does not fit.
        WeightsUnavailableError: If weights cannot be had or fail verification.
        HubError: If a repository or folder holds no model of this library.
    """
    return create_and_fit(
        name,
        pretrained,
        PartialSpec(
            num_classes=num_classes,
            in_chans=in_chans,
            aux_head=aux_head,
            upsample=upsample,
            classes=None if class_names is None else class_labels(class_names),
            preprocessing=preprocessing,
        ),
        checkpoint_path=checkpoint_path,
        cache_dir=cache_dir,
    ).model


def create_and_fit(
    name: str | None,
    pretrained: bool,
    given: PartialSpec,
    *,
    checkpoint_path: StrPath | None = None,
    cache_dir: StrPath | None = None,
) -> Creation:
    """Build a model as `create_model` does, and return it with how its weights were fitted.

    Args:
        name: As for `create_model`, like `pretrained`, `checkpoint_path` and `cache_dir`.
        pretrained: Whether to load pretrained weights.
        given: The caller's arguments.
        checkpoint_path: Weights to load instead of pretrained ones.
        cache_dir: Folder for downloads.

    Raises:
        Exception: The same errors as `create_model`.
    """
    _check_arguments(name, pretrained, given, checkpoint_path)
    source = _Source(PartialSpec()) if name is None else _named(name, pretrained, cache_dir)
    known = source.spec.classes
    if checkpoint_path is not None:
        state = to_ddrnet(read_state_dict(checkpoint_path))
        held = _spec_of_file(checkpoint_path, state, needs_size=name is None)
        # a config.json describes the model that the caller named; a weights row only its own file
        saved = isinstance(source.spec, ModelSpec)
        known = known if saved else held.classes
        source = _Source(source.spec.over(held) if saved else held.over(source.spec), state)
    count = given.num_classes
    if count is not None and given.classes is None and len(source.spec.classes or ()) != count:
        given = replace(given, classes=numbered_classes(count))
    spec = given.over(source.spec).complete()
    model = DDRNet(
        spec.config,
        spec.num_classes,
        spec.in_chans,
        aux_head=spec.aux_head,
        upsample=spec.upsample,
        classes=spec.classes,
        preprocessing=spec.preprocessing,
    )
    if source.state is None:
        return Creation(model, None)
    fit = _fill(model, source.state, known or ())
    model.pretrained = source.row
    return Creation(model, fit)


def trained_model(model: StrPath) -> DDRNet:
    """Build a model that segments, all of it trained.

    Args:
        model: A name as for `create_model`, with or without tag; the folder of a saved model; or a
            checkpoint file, whose size, classes and channels are as the file holds them.

    Raises:
        WeightsUnavailableError: If the weights only initialise a training, or cannot be had.
        CheckpointError: If a file cannot be read, or leaves parts of the model untrained.
        TypeError: If `model` is neither a string nor a path.
        Exception: All other errors of `create_model`.
    """
    if not isinstance(model, str | Path):
        raise TypeError(f"expected a DDRNet, a name or a path, got {type(model).__name__}")
    path, name = Path(model).expanduser(), str(model)
    if registry.is_model(name) and registry.get_weights(name).task != "segmentation":
        raise WeightsUnavailableError(
            f"{name} initialises a training: its segmentation heads are untrained"
        )
    if registry.is_model(name) or not path.exists():
        return create_and_fit(name, True, PartialSpec()).model
    if path.is_dir():
        return create_and_fit(f"local-dir:{path}", True, PartialSpec()).model
    network, fit = create_and_fit(None, False, PartialSpec(), checkpoint_path=path)
    if fit is not None and fit.initialised:
        parts = sorted({key.partition(".")[0] for key in fit.initialised})
        raise CheckpointError(f"{path} leaves {', '.join(parts)} untrained")
    return network


def load_checkpoint(model: DDRNet, path: StrPath) -> None:
    """Load a checkpoint of any family into a model, strictly; on an error nothing has changed.

    Some tensors may be missing, and the log names them: a classifier or backbone leaves DAPPM and
    the heads unchanged, a file with another number of classes leaves the last convolution of each
    head, a file without an auxiliary head leaves that head. The first convolution is adapted to
    the model's channels.

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


def _check_arguments(
    name: object, pretrained: object, given: PartialSpec, checkpoint_path: StrPath | None
) -> None:
    """Raise where Python would take an argument for something else, or fail far from here."""
    if pretrained and checkpoint_path is not None:
        raise ValueError(
            "pretrained=True and checkpoint_path name two sources of weights; give one of them"
        )
    if name is None and checkpoint_path is None:
        raise ValueError(
            "create_model(None) builds what the file at checkpoint_path holds, and none is given"
        )
    if not isinstance(name, str | None):
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


def _named(name: str, pretrained: bool, cache_dir: StrPath | None) -> _Source:
    """Look a name up in the registry, or read the saved model that it names."""
    if is_saved_model(name):
        saved = read_folder(name, weights=pretrained, cache_dir=cache_dir)
        return _Source(saved.spec, saved.state, saved.spec.row)
    if PurePath(name).suffix in _CHECKPOINT_SUFFIXES:
        raise UnknownModelError(
            f"{name!r} is no model name but a file: pass it as checkpoint_path (--checkpoint on "
            "the command line)"
        )
    if "/" in name:
        raise UnknownModelError(
            f"{name!r} is no model name; write 'hf-hub:{name}' for a repository of the Hub, or "
            f"'local-dir:{name}' for a folder, which "
            f"{'exists' if Path(name).expanduser().is_dir() else 'does not exist'}"
        )
    model, tag = registry.split_name(name)
    spec = PartialSpec(config=registry.get_config(model))
    if not pretrained and tag is None:
        return _Source(spec)
    row = registry.get_weights(name)
    spec = replace(spec, classes=row.classes or None, preprocessing=row.preprocessing)
    if not pretrained:
        return _Source(spec)
    if row.caveat:
        logger.warning("%s: %s", row.name, row.caveat)
    return _Source(spec, fetch_state_dict(row, cache_dir), row)


def _spec_of_file(path: StrPath, state: dict[str, Tensor], *, needs_size: bool) -> PartialSpec:
    """Describe a checkpoint's model by its tensor shapes and the `config.json` beside it."""
    held = describe(state)
    if needs_size and held.config is None:
        raise CheckpointError(
            f"{path} does not tell its size, because some of its tensors are missing; known sizes "
            f"are {', '.join(registry.list_models())}: with one of these names the error lists "
            "every tensor that does not fit"
        )
    spec = PartialSpec(
        config=held.config if needs_size else None,
        num_classes=held.num_classes,
        in_chans=held.in_chans,
    )
    beside = read_spec_beside(path)
    if beside is None:
        return spec
    if (beside.num_classes, beside.in_chans) != (held.num_classes, held.in_chans):
        raise CheckpointError(
            f"{path} has {held.num_classes} classes and {held.in_chans} input channels, the "
            f"config.json beside it says {beside.num_classes} and {beside.in_chans}: they belong "
            "to two models; rename the file to load it alone"
        )
    return replace(spec, classes=beside.classes, preprocessing=beside.preprocessing)


def _fill(model: DDRNet, state: dict[str, Tensor], known: Sequence[ClassLabel] = ()) -> Fit:
    """Load a state dict strictly, its heads' rows by name where its classes are known."""
    target = model.state_dict()
    names, wanted = ([row.name for row in classes] for classes in (known, model.classes))
    untrained: tuple[str, ...] = ()
    if not {"class_0"} & {*names[:1], *wanted[:1]}:  # numbered classes have no names
        state, untrained = choose_class_rows(state, target, names, wanted)
    fit = fit_state_dict(state, target)
    fit = fit._replace(initialised=(*fit.initialised, *untrained))
    model.load_state_dict(fit.state, strict=True)
    if fit.initialised:
        loaded = len(fit.state) - len(fit.initialised)
        logger.info("loaded %d of %d tensors", loaded, len(fit.state))
    return fit
