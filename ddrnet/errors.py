"""The errors of this library. Invalid arguments raise `ValueError` or `TypeError`."""


class DDRNetError(Exception):
    """Base class of all errors of this library."""


class UnknownModelError(DDRNetError, ValueError):
    """A model or a weights tag is unknown; the message lists similar names."""


class CheckpointError(DDRNetError):
    """A checkpoint cannot be read, belongs to no known family, or does not fit the model."""


class UnsafeCheckpointError(CheckpointError):
    """A pickle names code that torch refuses to load; none of the code ran."""


class WeightsUnavailableError(DDRNetError):
    """Pretrained weights do not exist, cannot be fetched or failed verification."""


class HubError(DDRNetError):
    """A model repository or folder is missing or private, or holds no model."""


class MissingPackageError(DDRNetError, ImportError):
    """A package of an extra is not installed; the message names the command that installs it."""


class ExportError(DDRNetError):
    """An exported file cannot be read, or computes other results than its model."""


class DatasetError(DDRNetError):
    """A data set is missing, incomplete or inconsistent."""


class PredictionError(DDRNetError):
    """A source of `Predictor.stream` that could not be segmented; its cause is the first error.

    Attributes:
        source: The path or the address; "" for images in memory.
        frame: The number of the frame in a video or an animation, from 0; else None.
    """

    def __init__(self, message: str, source: str = "", frame: int | None = None) -> None:
        super().__init__(message)
        self.source = source
        self.frame = frame
