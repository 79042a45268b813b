"""Every error a user can cause or meet, one class per decision of the reader.

    AmctError                     base; catch this to catch them all
    ├── ConfigError               the configuration or a command-line option is wrong
    ├── UnsupportedModelError     the model cannot be taken as it is
    ├── DataError                 the calibration data do not fit the model, or are not numbers
    ├── CalibrationError          the calibration run cannot give usable statistics
    │   └── NumericsError         … because a value that must be finite and in range is not
    ├── RecordError               a record file is malformed or does not fit the model
    ├── ExportError               a model cannot be written from this record
    │   └── StaticShapeError      … because a dimension of the deploy model is not known
    ├── VerificationError         an exported model was run and does not do what it must
    └── WorkersError              the processes or machines that were to share the work do not do it

A message has four parts: what is wrong, where, why, and what to do. `exit_code` is what the command line returns.
"""

from __future__ import annotations

from collections.abc import Sequence


class AmctError(Exception):
    """Base of all errors of this package."""

    exit_code = 1


class ConfigError(AmctError):
    exit_code = 3


class UnsupportedModelError(AmctError):
    exit_code = 4


class DataError(AmctError):
    exit_code = 5


class CalibrationError(AmctError):
    exit_code = 6


class NumericsError(CalibrationError):
    exit_code = 6


class RecordError(AmctError):
    """`problems`: all that was found in one file, each a complete sentence."""

    exit_code = 7

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class ExportError(AmctError):
    exit_code = 8


class VerificationError(AmctError):
    exit_code = 9


class StaticShapeError(ExportError):
    exit_code = 10


class WorkersError(AmctError):
    exit_code = 11


class Terminated(SystemExit):
    """The process was asked to end (SIGTERM): nobody's error, so whoever catches those of the user's code lets it pass."""
