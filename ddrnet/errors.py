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


class DatasetError(DDRNetError):
    """A data set is missing, incomplete or inconsistent."""
