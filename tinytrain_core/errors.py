"""Every error of the project: a class by who is at fault, an exit code, and the code a device reports.

The text of an error is for the person in front of the machine. It never leaves a device: what a report
carries is the `ErrorCode`, a number. `docs/errors.md` has one entry for each class.
"""

import pickle
import struct
from enum import IntEnum


class ErrorCode(IntEnum):
    """What went wrong on a device, as the number that its report carries."""

    NONE = 0
    INTERNAL = 1
    CONFIGURATION = 2
    NO_IMAGES = 10
    TOO_FEW_CLASSES = 11
    TOO_FEW_IMAGES = 12
    BAD_IMAGE = 13
    UNSAFE_ARCHIVE = 14
    BACKBONE = 20
    BACKBONE_MISSING = 21
    REQUEST = 22
    BUDGET = 30
    TRAINING_DIVERGED = 40
    STORAGE = 50
    EGRESS = 60
    SIGNATURE = 70
    RELEASE_EXPIRED = 71
    ROLLBACK = 72
    CLIENT_TOO_OLD = 73
    MANIFEST = 74
    CLOCK = 75
    CRASHED = 80
    TOO_LATE = 81
    SUPERSEDED = 82


class TinyTrainError(Exception):
    """The root of every error that the project raises on purpose."""

    exit_code = 1
    code = ErrorCode.INTERNAL


class ConfigurationError(TinyTrainError):
    """A setting, a command line or a configuration file is wrong: its author can mend it."""

    exit_code = 2
    code = ErrorCode.CONFIGURATION


class DataError(TinyTrainError):
    """The images are not what the task needs: the owner of the folder can mend it."""

    exit_code = 3
    code = ErrorCode.NO_IMAGES


class TooFewClassesError(DataError):
    """A task needs at least two classes."""

    code = ErrorCode.TOO_FEW_CLASSES


class TooFewImagesError(DataError):
    """A class has too few images to be on both the support and the holdout side."""

    code = ErrorCode.TOO_FEW_IMAGES


class BadImageError(DataError):
    """A file that should be an image cannot be decoded as one."""

    code = ErrorCode.BAD_IMAGE


class UnsafeArchiveError(DataError):
    """An archive holds a path that would escape the folder it is opened as."""

    code = ErrorCode.UNSAFE_ARCHIVE


class BackboneError(TinyTrainError):
    """A backbone's file or manifest is damaged or belongs to another architecture."""

    exit_code = 4
    code = ErrorCode.BACKBONE


class BackboneMissingError(BackboneError):
    """A device was asked to use a backbone that it does not hold."""

    code = ErrorCode.BACKBONE_MISSING


class BudgetError(TinyTrainError):
    """A budget is impossible, as a negative number of bytes is."""

    exit_code = 5
    code = ErrorCode.BUDGET


class TrainingDivergedError(TinyTrainError):
    """Fine-tuning met a number that is not finite."""

    exit_code = 6
    code = ErrorCode.TRAINING_DIVERGED


class StorageError(TinyTrainError):
    """A device's store cannot be read or written."""

    exit_code = 7
    code = ErrorCode.STORAGE


class RequestError(TinyTrainError):
    """A message asks for something that this version does not know."""

    exit_code = 8
    code = ErrorCode.REQUEST


class EgressError(TinyTrainError):
    """Something other than a valid report was about to leave the device."""

    exit_code = 9
    code = ErrorCode.EGRESS


class FleetError(TinyTrainError):
    """A run of the fleet could not be started or gave no report at all."""

    exit_code = 10


class ReleaseError(TinyTrainError):
    """A release may not be used here and now."""

    exit_code = 11
    code = ErrorCode.MANIFEST


class SignatureError(ReleaseError):
    """Too few of the pinned keys have signed a release."""

    code = ErrorCode.SIGNATURE


class ManifestError(ReleaseError):
    """A manifest is damaged, of a later schema, of another line, or about another file."""


class ReleaseExpiredError(ReleaseError):
    """A release is past its date."""

    code = ErrorCode.RELEASE_EXPIRED


class RollbackError(ReleaseError):
    """An older release came without an order to go back."""

    code = ErrorCode.ROLLBACK


class ClientTooOldError(ReleaseError):
    """A release needs a later version of this program."""

    code = ErrorCode.CLIENT_TOO_OLD


class ClockError(ReleaseError):
    """A clock is wrong: it says a time before something that has happened."""

    code = ErrorCode.CLOCK


# What reading a damaged file of tensors can raise.
UNREADABLE = (
    OSError,
    RuntimeError,
    LookupError,
    AttributeError,
    TypeError,
    ValueError,
    ArithmeticError,
    EOFError,
    pickle.UnpicklingError,
    struct.error,
)
