import pytest
from PIL import ImageFile

import medseg.reporting.pdf as pdf
from medseg.errors import MissingExtraError
from medseg.reporting.case_context import CaseContext
from medseg.reporting.case_page import render_case_page
from medseg.stages.report import Report
from tests.reporting.examples import about, label_map, report


def test_without_weasyprint_the_config_is_refused_before_anything_runs(monkeypatch):
    monkeypatch.setattr(pdf, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"medseg\[report\]"):
        Report(pdf=True)
    assert Report().pdf is False


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_case_page_becomes_a_pdf(tmp_path):
    if reason := pdf.why_no_pdf():
        pytest.skip(reason)
    made = report(tmp_path, "a", label_map(), label_map())
    page = render_case_page(made, tmp_path / "a", about(), CaseContext(), index=None, viewer=False)
    assert pdf.pdf_bytes(page).startswith(b"%PDF-")
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False  # weasyprint alone would leave it on
