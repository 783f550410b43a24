"""The stages, by the name pipelines call them. Importing this loads no heavy library."""

from __future__ import annotations

from medseg.stages.infer import Infer
from medseg.stages.ingest import Ingest
from medseg.stages.patch_sample import PatchSample
from medseg.stages.plan import Planning
from medseg.stages.postprocess import Postprocess
from medseg.stages.report import Report
from medseg.stages.resample import Resample
from medseg.stages.train import Train

STAGES: dict[str, type] = {
    "ingest": Ingest,
    "plan": Planning,
    "resample": Resample,
    "patch_sample": PatchSample,
    "train": Train,
    "infer": Infer,
    "postprocess": Postprocess,
    "report": Report,
}
