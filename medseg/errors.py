"""Every error that medseg raises on purpose.

MedsegError                what, where and how to mend, in one message
├── ConfigError            a config, an override or the command line is wrong      (exit 2)
├── ManifestError          a manifest is wrong or its data is not there            (exit 2)
├── WiringError            a pipeline whose stages do not fit together             (exit 2)
├── CaseError              one case cannot be used; it is set aside, the run goes on (exit 3)
├── FormatError            a file is not what its format promises; becomes a CaseError with its case
├── StageError             a stage failed as a whole                               (exit 1)
├── ExportError            an exported model does not answer as its network does       (exit 1)
├── MissingExtraError      an optional dependency is not installed                 (exit 2)
└── RunBusyError           another process is working in the same run folder       (exit 2)
"""

from __future__ import annotations


class MedsegError(Exception):
    """Base of all errors raised on purpose; the message says what, where and how to mend."""


class ConfigError(MedsegError):
    """The command, the config or an override is wrong; nothing has run."""


class ManifestError(MedsegError):
    """A manifest is wrong, or the data it describes is not where it says."""


class WiringError(MedsegError):
    """The stages of a pipeline do not fit together; nothing has run."""


class CaseError(MedsegError):
    """One case cannot be used.

    Parameters
    ----------
    case : str
        Id of the case.
    what : str
        What was found, with the file.
    mend : str
        What the user can do about it.
    """

    def __init__(self, case: str, what: str, mend: str) -> None:
        super().__init__(case, what, mend)
        self.case, self.what, self.mend = case, what, mend

    def __str__(self) -> str:
        return f"case {self.case}: {self.what}; {self.mend}"


class FormatError(MedsegError):
    """A file cannot be read as what it claims to be.

    Parameters
    ----------
    what : str
        What was found, with the file.
    mend : str
        What the user can do about it.
    """

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(what, mend)
        self.what, self.mend = what, mend

    def __str__(self) -> str:
        return f"{self.what}; {self.mend}"


class StageError(MedsegError):
    """A stage failed as a whole."""


class ExportError(MedsegError):
    """An exported model does not answer as the network it was made from; nothing was written."""


class MissingExtraError(MedsegError):
    """An optional dependency is needed and not installed."""


class RunBusyError(MedsegError):
    """Another process is working in this run folder."""
