"""Made-up patients: a CT of the upper abdomen with liver and tumours, from a seed."""

from medseg.phantom.ct import LABELS, PhantomSettings, make_phantom
from medseg.phantom.write import stored_as, write_case

__all__ = ["LABELS", "PhantomSettings", "make_phantom", "stored_as", "write_case"]
