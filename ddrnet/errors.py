"""Errors that only this library raises. Wrong arguments raise `ValueError` and its like."""


class DDRNetError(Exception):
    """Base of every error below: `except ddrnet.DDRNetError` catches them all."""


class UnknownModelError(DDRNetError, ValueError):
    """No model or weights tag has this name; the message lists the nearest ones."""


class CheckpointError(DDRNetError):
    """A checkpoint cannot be read, is of no known family, or does not fit the model."""


class UnsafeCheckpointError(CheckpointError):
    """A pickle names code that torch refuses to load; nothing of it was run."""


class WeightsUnavailableError(DDRNetError):
    """Pretrained weights do not exist, cannot be fetched or failed verification."""


class HubError(DDRNetError):
    """A model repository or folder is missing, closed, or holds something else."""


class DatasetError(DDRNetError):
    """A data set is missing, incomplete or inconsistent; the message says what was found."""
