"""Fetches the weights of a row, verifies them and converts them to this library's names."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from ddrnet.checkpoints import describe, mismatch, read_state_dict, to_ddrnet
from ddrnet.errors import CheckpointError, HubError, WeightsUnavailableError
from ddrnet.files import StrPath, sha256_of, write_atomically
from ddrnet.pretrained import hub
from ddrnet.pretrained.connections import SourceError
from ddrnet.pretrained.download import download
from ddrnet.pretrained.inventory import source_groups
from ddrnet.pretrained.tensors import expected_tensors, read_safetensors, serialize
from ddrnet.pretrained.weights_cache import CacheFolder, writing_to
from ddrnet.registry import get_config
from ddrnet.spec import ModelSpec
from ddrnet.weights import rows_of
from ddrnet.weights.row import HubFile, PackagedFile, Source, WebFile, WeightsRow

logger = logging.getLogger(__name__)


def fetch_state_dict(row: WeightsRow, cache_dir: StrPath | None = None) -> dict[str, Tensor]:
    """Return the tensors of a row; `fetch_weights` describes where they come from."""
    return read_safetensors(fetch_weights(row, cache_dir))


def fetch_weights(row: WeightsRow, cache_dir: StrPath | None = None) -> Path:
    """Return the path of a row's weights; fetch, verify and convert them if they are not cached.

    The first call tries the sources in order. Later calls read one file and need no network. If
    several processes start together, one of them fetches. Weights that ship with this package are
    read from the package.

    Args:
        row: A row of the weights table.
        cache_dir: Replaces the caches of the Hub and of this library.

    Returns:
        A safetensors file with this library's tensor names.

    Raises:
        WeightsUnavailableError: If every source fails (the message gives each reason), the cache
            cannot be written, or a file of this package is damaged.
    """
    return _fetch_from(source_groups(row), row, cache_dir)


def fetch_original(row: WeightsRow, cache_dir: StrPath | None = None) -> Path:
    """Return the path of a row's weights as `fetch_weights` does, but ignore mirrors on the Hub."""
    originals = tuple(source for source in row.sources if isinstance(source, WebFile))
    return _fetch_from([originals], row, cache_dir)


def _fetch_from(
    groups: Sequence[Sequence[Source]], row: WeightsRow, cache_dir: StrPath | None
) -> Path:
    if row.packaged is not None:
        return _intact(row.packaged)
    root = None if cache_dir is None else Path(cache_dir).expanduser()
    fetch = _Fetch(row, CacheFolder.of(row, root), root)
    for sources in groups:
        path = fetch.find_cached(sources) or fetch.fetch(sources)
        if path is not None:
            return path
    raise WeightsUnavailableError(fetch.explanation())


def _intact(file: PackagedFile) -> Path:
    """Return the path of a file in this package, after comparing its hash."""
    try:
        if sha256_of(file.path) == file.sha256:
            return file.path
        state = "is damaged"
    except OSError as error:
        state = f"cannot be read ({error.strerror})"
    raise WeightsUnavailableError(f"{file.path}, a part of this package, {state}: reinstall ddrnet")


@dataclass
class _Fetch:
    """One attempt to get the weights of a row."""

    row: WeightsRow
    folder: CacheFolder
    cache_dir: Path | None
    reasons: dict[str, str] = field(default_factory=dict)  # address -> why it failed
    damaged: dict[Path, str] = field(default_factory=dict)  # cached file -> what is wrong

    def find_cached(self, sources: Sequence[Source]) -> Path | None:
        """Return the cached file of these sources, after comparing its hash.

        Nothing is changed: without the lock, another process may be replacing the file.
        """
        for source in sources:
            if not isinstance(source, HubFile):
                continue
            path = hub.find_cached(source, self.cache_dir)
            if path is None:
                continue
            try:
                self.folder.verify(source, path)
            except SourceError as error:
                self.damaged[path] = str(error)
            else:
                return path
        originals = [source for source in sources if isinstance(source, WebFile)]
        if not originals or not self.folder.is_filled():
            return None
        reason = self._damage(originals)
        if not reason:
            return self.folder.weights
        self.damaged[self.folder.weights] = reason
        return None

    def fetch(self, sources: Sequence[Source]) -> Path | None:
        """Fetch from the first source that works, unless another process has just done so."""
        if hub.is_offline():
            return None
        with writing_to(self.folder.path), self.folder.locked():
            self.damaged.clear()
            path = self.find_cached(sources)
            if path is not None:
                return path
            for damaged, reason in self.damaged.items():
                # The Hub's client would keep a damaged file for ever.
                logger.warning("%s is damaged, fetching it again: %s", damaged, reason)
                hub.remove(damaged)
            return self._try_all(sources)

    def explanation(self) -> str:
        """Return why there are no weights, and which other weights exist."""
        if hub.is_offline():
            state = "damaged" if self.damaged else "not"
            return (
                f"{self.row.name} is {state} in the cache ({self.folder.path}) and HF_HUB_OFFLINE "
                "is set: unset it once to fetch, or load your own file with checkpoint_path="
            )
        tried = "; ".join(f"{address}: {reason}" for address, reason in self.reasons.items())
        segments = self.row.task == "segmentation"
        others = [
            row.tag
            for row in rows_of(self.row.model)
            if row.tag != self.row.tag and (row.task == "segmentation") == segments
        ]
        return (
            f"cannot fetch {self.row.name}: {tried or 'no source is listed'}. Other weights of "
            f"{self.row.model}: {', '.join(others) or 'none'}. A file that you fetched yourself "
            "loads with checkpoint_path="
        )

    def _try_all(self, sources: Sequence[Source]) -> Path | None:
        for source in sources:
            logger.info("fetching %s from %s", self.row.name, source.address)
            try:
                if isinstance(source, HubFile):
                    return self._fetch_hub_file(source)
                assert isinstance(source, WebFile)
                return self._fetch_web_file(source)
            except (SourceError, HubError, CheckpointError) as error:
                reason = str(error).replace(str(self.folder.download), "the file")
                self.reasons[source.address] = reason
                logger.warning("%s: %s", source.address, reason)
            finally:
                self.folder.download.unlink(missing_ok=True)
        return None

    def _fetch_hub_file(self, source: HubFile) -> Path:
        path = hub.download(source, self.cache_dir)
        try:
            verdict = self.folder.verify(source, path)
            _check_contents(read_safetensors(path), self.row)
        except (SourceError, CheckpointError):
            hub.remove(path)
            raise
        record = self.folder.read_record()
        self.folder.write_record(record.with_seen(source.address, verdict.sha256))
        return path

    def _fetch_web_file(self, source: WebFile) -> Path:
        folder = self.folder
        download(source, folder.download)
        verdict = folder.verify(source, folder.download)
        state = to_ddrnet(read_state_dict(folder.download))
        _check_contents(state, self.row)
        content = serialize(state)
        record = replace(
            folder.read_record().with_seen(source.address, verdict.sha256),
            source=source.address,
            verification=verdict.verification,
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
        )
        folder.write_record(record)
        write_atomically(folder.weights, content)
        return folder.weights

    def _damage(self, originals: Sequence[Source]) -> str:
        """Return what is wrong with the converted file; "" if it can be used."""
        if not self.folder.is_intact():
            return "its hash changed"
        if self.row.task == "classification":
            with safe_open(self.folder.weights, "pt") as tensors:
                if "classifier.weight" not in tensors.keys():  # noqa: SIM118
                    return "an older version of this library left its classifier out"
        record = self.folder.read_record()
        fetched = record.seen.get(record.source)
        for source in originals:
            # A newer release of this library may know the hash of the published file.
            known = source.sha256 if source.address == record.source and source.enforced else None
            if known and fetched is not None and not fetched.startswith(known):
                return "its source is now known to have another hash"
        return ""


def _check_contents(state: Mapping[str, Tensor], row: WeightsRow) -> None:
    """Raise unless the tensors are exactly those of the row's model."""
    expected = expected_tensors(row_spec(row, aux_head=describe(state).has_aux_head))
    wrong = mismatch(state, expected, limit=3)
    if wrong:
        raise CheckpointError(f"these are not the tensors of {row.name}: {wrong}")


def row_spec(row: WeightsRow, *, aux_head: bool) -> ModelSpec:
    """Return the spec of the model that a row of the weights table describes."""
    return ModelSpec(
        architecture=row.model,
        config=get_config(row.model),
        num_classes=len(row.classes),
        in_chans=len(row.preprocessing.mean),
        aux_head=aux_head,
        upsample=True,
        classes=row.classes,
        preprocessing=row.preprocessing,
        task=row.task,
        metrics=row.metrics,
        pretrained=row.name,
    )
