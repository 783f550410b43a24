from __future__ import annotations

import numpy as np
import pytest

from medseg.errors import ConfigError
from medseg.io.store import open_array
from medseg.manifest import Splits
from medseg.settings import NetworkSettings
from medseg.stages.ingest import Ingest
from medseg.stages.plan import Planning
from medseg.stages.resample import Resample
from tests.fakes import LocalContext
from tests.planning.tiny import make_case, manifest, write, write_task


class RecordingContext(LocalContext):
    """Keeps the arguments of each case."""

    def map_cases(self, function, items, **options):
        self.items = items
        return super().map_cases(function, items, **options)


@pytest.fixture
def ingested(tmp_path):
    write_task(tmp_path / "task", 4)
    write(tmp_path / "task" / "imagesTs" / "new.nii.gz", make_case(9)[0])
    described = manifest(tmp_path / "task", splits=Splits(test=0, folds=2))
    context = RecordingContext(tmp_path / "run")
    return Ingest(manifest=described).run(context=context), context


def run(ingested, **fields):
    dataset, context = ingested
    stage = Resample(**fields)
    plan = Planning(resample=stage).run(dataset=dataset, context=context)
    return stage.run(dataset=dataset, plan=plan, context=context)


def test_at_the_data_s_own_spacing_nothing_is_interpolated(ingested):
    done = run(ingested)
    row = next(c for c in done.cases if c.id == "c01")
    image, label = make_case(1)
    stored = open_array(row.image).read_all()
    assert stored.shape == (1, 10, 12, 8)
    assert stored.dtype == np.float32
    assert stored[0] == pytest.approx((image - image.mean()) / image.std(), abs=2e-4)
    indices = open_array(row.label).read_all()
    assert indices.dtype == np.int16
    assert np.array_equal(indices, np.where(label == 5, 2, label))
    assert row.annotated == (1, 2)
    assert row.grid == row.source


def test_another_spacing_keeps_the_field_of_view(ingested):
    row = run(ingested, spacing=(2.0, 2.0, 1.0)).cases[0]
    assert row.grid.shape == (5, 6, 16)
    assert row.grid.spacing == (2.0, 2.0, 1.0)
    assert open_array(row.image).shape == (1, 5, 6, 16)
    assert open_array(row.label).shape == (5, 6, 16)
    assert row.grid.matrix[:3, 3] == pytest.approx((0.5, 0.5, -0.5))
    assert row.source.shape == (10, 12, 8)


def test_splits_and_unlabelled_cases_go_along(ingested):
    done = run(ingested)
    new = next(c for c in done.cases if c.id == "new")
    assert (new.split, new.fold, new.label, new.annotated) == ("predict", None, None, ())
    assert {c.fold for c in done.cases if c.split == "train"} == {0, 1}


def test_the_crop_is_kept_for_the_way_back(tmp_path):
    for i in range(2):
        image, label = make_case(i)
        image[:1], image[..., 7:] = 0, 0
        write(tmp_path / "task" / "imagesTr" / f"c{i}.nii.gz", image)
        write(tmp_path / "task" / "labelsTr" / f"c{i}.nii.gz", label)
    context = RecordingContext(tmp_path / "run")
    data = Ingest(manifest=manifest(tmp_path / "task")).run(context=context)
    row = run((data, context)).cases[0]
    assert (row.crop_start, row.crop_stop) == ((1, 0, 0), (10, 12, 7))
    assert row.grid.shape == (9, 12, 7)
    assert np.array_equal(
        open_array(row.label).read_all(), np.where(label == 5, 2, label)[1:, :, :7]
    )
    whole = run((data, context), crop=False).cases[0]
    assert whole.grid.shape == (10, 12, 8)


def test_the_arguments_of_a_case_do_not_change_with_the_network(ingested):
    dataset, context = ingested
    seen = []
    for widths in ((4, 8), (4, 8, 16)):
        plan = Planning(network=NetworkSettings(arguments={"widths": widths})).run(
            dataset=dataset, context=context
        )
        Resample().run(dataset=dataset, plan=plan, context=context)
        seen.append(context.items)
    assert seen[0] == seen[1]
    plan = Planning(resample=Resample(spacing=(2.0, 2.0, 2.0))).run(
        dataset=dataset, context=context
    )
    Resample().run(dataset=dataset, plan=plan, context=context)
    assert context.items != seen[0]


def test_only_linear_and_cubic():
    with pytest.raises(ConfigError, match="3 \\(cubic\\) or 1"):
        Resample(order=2)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, -1.0), (0.0, 1.0), (float("nan"), 1.0), ()])
def test_a_spacing_that_is_none_is_refused(spacing):
    with pytest.raises(ConfigError, match=r"resample\.spacing: .* must be above 0"):
        Resample(spacing=spacing)
