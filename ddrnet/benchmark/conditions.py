"""The machine and the versions behind a measurement."""

from __future__ import annotations

import datetime
import os
import platform
from importlib.metadata import version
from typing import NamedTuple

import torch

from ddrnet import __version__
from ddrnet.benchmark.machine import processor_name, usable_cores


class Conditions(NamedTuple):
    """What a time depends on, besides the row it stands in.

    Attributes:
        date: Day and time of the start, UTC.
        device: Name of the device that computes.
        cores: Processor cores that this process may use.
        load: Processes that ran or waited on average in the last minute; None where unknown. Far
            above 0 at the start means that other work slows all times.
        versions: Package -> version.
        system: Operating system and architecture.
    """

    date: str
    device: str
    cores: int
    load: float | None
    versions: dict[str, str]
    system: str

    @classmethod
    def now(cls, device: torch.device) -> Conditions:
        """Return the present conditions on this machine."""
        name = processor_name()
        if device.type == "cuda":
            name = f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}, {name}"
        elif device.type != "cpu":
            name = f"{device}, {name}"
        packages = ("torchvision", "pillow", "numpy")
        return cls(
            date=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            device=name,
            cores=usable_cores(),
            load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            versions={
                "ddrnet": __version__,
                "torch": torch.__version__,
                **{package: version(package) for package in packages},
                "Python": platform.python_version(),
            },
            system=f"{platform.system()} {platform.machine()}",
        )

    def __str__(self) -> str:
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        load = "" if self.load is None else f" (load at the start: {self.load:.1f})"
        return f"{self.date}, {self.device}, {self.cores} cores{load}, {self.system}, {versions}"
