"""From a row of the weights table to verified tensors in this library's names."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from ddrnet.checkpoints import describe, mismatch, read_state_dict, to_ddrnet
from ddrnet.errors import CheckpointError, HubError, WeightsUnavailableError
from ddrnet.files import StrPath, sha256_of, write_atomically
from ddrnet.pretrained import hub
from ddrnet.pretrained.download import SourceError, download
from ddrnet.pretrained.inventory import source_groups
from ddrnet.pretrained.tensors import expected_tensors, read_safetensors, serialize
from ddrnet.pretrained.verification import Verdict, check
from ddrnet.pretrained.weights_cache import CacheFolder, Record, writing_to
from ddrnet.registry import get_config
from ddrnet.spec import ModelSpec
from ddrnet.variants import HEADS
from ddrnet.weights import rows_of
from ddrnet.weights.row import HubFile, PackagedFile, Source, WebFile, WeightsRow

logger = logging.getLogger(__name__)


def fetch_state_dict(row: WeightsRow, cache_dir: StrPath | None = None) -> dict[str, Tensor]:
    """Return the tensors of a row, as `fetch_weights` finds them."""
    return read_safetensors(fetch_weights(row, cache_dir))


def fetch_weights(row: WeightsRow, cache_dir: StrPath | None = None) -> Path:
    """Return the path of a row's weights, fetched, verified and converted if need be.

    The first call fetches from the sources in order; later ones read one file and no network.
    Processes that start together fetch once. Weights that ship with this package are read where
    they lie.

    Args:
        row: A row of the weights table.
        cache_dir: Replaces the Hub's and this library's caches.

    Returns:
        A safetensors file with this library's tensor names.

    Raises:
        WeightsUnavailableError: If no source gives the weights, with every reason, if the cache
            cannot be written, or if a file of this package is damaged.
    """
    return _fetch_from(source_groups(row), row, cache_dir)


def fetch_original(row: WeightsRow, cache_dir: StrPath | None = None) -> Path:
    """Return the path of a row's weights as `fetch_weights` does, but of no mirror of the Hub."""
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
    reasons: dict[str, str] = field(default_factory=dict)
    damaged: dict[Path, str] = field(default_factory=dict)

    def find_cached(self, sources: Sequence[Source]) -> Path | None:
        """Return what the cache has of these sources, every byte of it compared.

        Nothing is changed: without the lock, another process may be replacing the file.
        """
        for source in sources:
            if isinstance(source, HubFile):
                path = hub.find_cached(source, self.cache_dir)
                if path is not None and self._is_intact(path, source):
                    return path
        originals = [source for source in sources if isinstance(source, WebFile)]
        return self.folder.weights if originals and self._is_converted_intact(originals) else None

    def fetch(self, sources: Sequence[Source]) -> Path | None:
        """Fetch from the first source that works, unless another process just did."""
        if hub.is_offline():
            return None
        with writing_to(self.folder.path), self.folder.locked():
            self.damaged.clear()
            path = self.find_cached(sources)
            if path is not None:
                return path
            self._remove_damaged()
            return self._try_all(sources)

    def explanation(self) -> str:
        """Say why there are no weights, and what else there is."""
        if hub.is_offline():
            state = "damaged" if self.damaged else "not"
            return (
                f"{self.row.name} is {state} in the cache ({self.folder.path}) and HF_HUB_OFFLINE "
                "is set: unset it once to fetch, or load a file of yours with checkpoint_path="
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

    def _remove_damaged(self) -> None:
        """Remove what `find_cached` refused, or the Hub's client would take it for good."""
        for path, reason in self.damaged.items():
            logger.warning("%s is damaged, fetching it again: %s", path, reason)
            hub.remove(path)

    def _try_all(self, sources: Sequence[Source]) -> Path | None:
        for source in sources:
            logger.info("fetching %s from %s", self.row.name, source.address)
            try:
                return self._fetch_one(source)
            except (SourceError, HubError, CheckpointError) as error:
                reason = str(error).replace(str(self.folder.download), "the file")
                self.reasons[source.address] = reason
                logger.warning("%s: %s", source.address, reason)
        return None

    def _fetch_one(self, source: Source) -> Path:
        if isinstance(source, HubFile):
            return self._fetch_hub_file(source)
        assert isinstance(source, WebFile)
        try:
            return self._fetch_web_file(source)
        finally:
            self.folder.download.unlink(missing_ok=True)

    def _fetch_hub_file(self, source: HubFile) -> Path:
        path = hub.download(source, self.cache_dir)
        try:
            verdict = check(source, path, self.folder)
            _check_contents(read_safetensors(path), self.row)
        except (SourceError, CheckpointError):
            hub.remove(path)
            raise
        self.folder.write_record(self._record(source, verdict))
        return path

    def _fetch_web_file(self, source: WebFile) -> Path:
        folder = self.folder
        download(source, folder.download)
        verdict = check(source, folder.download, folder)
        state = to_ddrnet(read_state_dict(folder.download))
        _check_contents(state, self.row)
        content = serialize(state)
        record = replace(
            self._record(source, verdict),
            source=source.address,
            verification=verdict.verification,
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
        )
        folder.write_record(record)
        write_atomically(folder.weights, content)
        return folder.weights

    def _is_intact(self, path: Path, source: HubFile) -> bool:
        """Compare a file in the Hub's cache."""
        try:
            check(source, path, self.folder)
        except SourceError as error:
            self.damaged[path] = str(error)
            return False
        return True

    def _is_converted_intact(self, originals: Sequence[Source]) -> bool:
        """Compare the converted file with its record, and the record with the row."""
        if not self.folder.is_filled():
            return False
        if not self.folder.is_intact():
            self.damaged[self.folder.weights] = "its hash changed"
            return False
        if _is_disowned(self.folder.read_record(), originals):
            self.damaged[self.folder.weights] = "its source is known to have another hash by now"
            return False
        return True

    def _record(self, source: Source, verdict: Verdict) -> Record:
        """Return the record, with the hash of the file that this source just gave."""
        return self.folder.read_record().with_seen(source.address, verdict.sha256)


def _is_disowned(record: Record, originals: Sequence[Source]) -> bool:
    """Whether a hash that the row learnt later is not that of the file that was fetched."""
    fetched = record.seen.get(record.source)
    return fetched is not None and any(
        source.address == record.source
        and source.enforced
        and not fetched.startswith(source.sha256 or "")
        for source in originals
    )


def _check_contents(state: Mapping[str, Tensor], row: WeightsRow) -> None:
    """Raise unless these are all the tensors that the row promises, and no other."""
    expected = expected_tensors(row_spec(row, aux_head=describe(state).has_aux_head))
    if row.task != "segmentation":
        expected = {key: value for key, value in expected.items() if not key.startswith(HEADS)}
    wrong = mismatch(state, expected, limit=3)
    if wrong:
        raise CheckpointError(f"not the tensors of {row.name}: {wrong}")


def row_spec(row: WeightsRow, *, aux_head: bool) -> ModelSpec:
    """Return what a row of the weights table says of its model."""
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
