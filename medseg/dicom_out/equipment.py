"""Who made an object: medseg, its version, the model, and what must be said of it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType

import medseg
from medseg.dicom_out.codes import LONGEST_MEANING
from medseg.errors import MissingExtraError

NAME = "medseg"
SERIES_NUMBER = {"SEG": 9001, "SR": 9002, "DOC": 9003, "RTSTRUCT": 9004, "SC": 9005}
"""High, so that the new series stand after the study's own."""
NOT_DIAGNOSTIC = "not for diagnostic use"


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """The model that segmented, as the objects identify it."""

    model: str
    """Name of the network."""
    data: str
    """Name of the data it was trained on."""
    synthetic: bool = False
    """Whether that data was generated: every object then says SYNTHETIC."""

    @property
    def version(self) -> str:
        """Version of medseg."""
        return medseg.__version__

    @property
    def parameters(self) -> dict[str, str]:
        """What identifies the model beside name and version."""
        data = f"{self.data} (SYNTHETIC)" if self.synthetic else self.data
        return {"network": self.model, "training data": data, "use": NOT_DIAGNOSTIC}

    @property
    def summary(self) -> str:
        """The parameters on one line."""
        return "; ".join(f"{key}: {value}" for key, value in self.parameters.items())

    def describe(self, what: str) -> str:
        """Describe a series, at most as long as DICOM allows.

        Examples
        --------
        >>> Algorithm(model="unet", data="phantom", synthetic=True).describe("segmentation")
        'SYNTHETIC medseg segmentation, not for diagnostic use'
        """
        mark = "SYNTHETIC " if self.synthetic else ""
        return f"{mark}{NAME} {what}, {NOT_DIAGNOSTIC}"[:LONGEST_MEANING]


def require_highdicom() -> ModuleType:
    """Import highdicom.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        return importlib.import_module("highdicom")
    except ImportError as error:
        raise MissingExtraError(
            f"DICOM SEG and SR need highdicom ({error}); pip install 'medseg[dicom]'"
        ) from error
