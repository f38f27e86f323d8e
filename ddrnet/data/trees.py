"""Scans of folders: the samples found, the files missing, and one error that shows both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ddrnet.data.samples import Sample
from ddrnet.errors import DatasetError
from ddrnet.labels import LabelTable

_SHOWN = 5
"""Number of problems, and of entries of a folder, that an error lists."""


@dataclass(frozen=True)
class Scan:
    """The samples of a split and the problems of its folders.

    Attributes:
        samples: The images with their labels, sorted by name.
        problems: One line per missing folder or file.
        expected: The paths of a complete split, relative to the root.
    """

    samples: tuple[Sample, ...]
    problems: tuple[str, ...]
    expected: tuple[str, ...]

    def __add__(self, other: Scan) -> Scan:
        return Scan(
            self.samples + other.samples,
            self.problems + other.problems,
            self.expected + other.expected,
        )

    def complete_samples(self, what: str, root: Path) -> tuple[Sample, ...]:
        """Return the samples if there is no problem.

        Raises:
            DatasetError: Otherwise, see `error`.
        """
        if self.problems:
            raise self.error(what, root)
        return self.samples

    def error(self, what: str, root: Path) -> DatasetError:
        """Return the error about this scan, with the expected tree and the entries of `root`."""
        more = len(self.problems) - _SHOWN
        problems = [*self.problems[:_SHOWN], *([f"and {more} more"] if more > 0 else [])]
        return DatasetError(
            f"{root} holds no complete {what}:\n{_indented(problems)}\n"
            f"expected:\n{_indented(self.expected)}\nfound:\n{_indented(_found(root))}"
        )


def paired(
    images: Mapping[str, Path], labels: Mapping[str, Path], table: LabelTable
) -> tuple[tuple[Sample, ...], tuple[str, ...]]:
    """Return a sample per name with both files, and a problem per name with one file."""
    samples = (Sample(n, images[n], labels[n], table) for n in sorted(images.keys() & labels))
    lonely = [f"{images[n]} has no labels" for n in sorted(images.keys() - labels)]
    lonely += [f"{labels[n]} has no image" for n in sorted(labels.keys() - images)]
    return tuple(samples), tuple(lonely)


def _found(root: Path) -> list[str]:
    """Return the entries of a folder, each folder with a few of its own entries."""
    if not root.is_dir():
        return [f"{root} is a file" if root.exists() else f"{root} does not exist"]
    entries = sorted(root.iterdir())
    lines = [f"{e.name}/: {_listed(e.iterdir())}" if e.is_dir() else e.name for e in entries]
    more = len(lines) - 2 * _SHOWN
    return [*lines[: 2 * _SHOWN], *([f"and {more} more"] if more > 0 else [])] or ["nothing"]


def _listed(entries: Iterable[Path]) -> str:
    names = sorted(entry.name + "/" * entry.is_dir() for entry in entries)
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "") or "empty"


def _indented(lines: Sequence[str]) -> str:
    return "\n".join(f"  {line}" for line in lines)
