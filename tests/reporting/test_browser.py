"""Pages in a real browser; skipped where there is no Chromium."""

import re
import shutil
import subprocess

import numpy as np
import pytest

from medseg.reporting.case_context import NOTHING_KNOWN
from medseg.reporting.case_page import render_case_page
from medseg.reporting.cohort_page import render_cohort_page
from tests.reporting.examples import about, label_map, report
from tests.reporting.test_cohort_page import all_kinds, cohort

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")

FLAGS = (
    "--headless", "--no-sandbox", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--virtual-time-budget=20000", "--dump-dom",
)  # fmt: skip
SOFTWARE_WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
WATCH = """<script>
(function () {
  var seen = document.documentElement.dataset;
  seen.asked = ""; seen.refused = "";
  document.addEventListener("securitypolicyviolation", function (e) {
    seen.refused += " " + e.blockedURI;
  });
  new PerformanceObserver(function (list) {
    list.getEntries().forEach(function (entry) { seen.asked += " " + entry.name.slice(0, 60); });
  }).observe({ type: "resource", buffered: true });
})();
</script>"""
"""Writes every address that the page loads or is refused into its root element."""


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    return tmp_path_factory.mktemp("profile")


def dom_of(folder, text, profile, fragment="", flags=("--disable-gpu",)):
    """Return the page as the browser has it after its scripts ran."""
    page = folder / "page.html"
    assert text.count("</title>") == 1
    page.write_text(text.replace("</title>", "</title>" + WATCH), encoding="utf-8")
    command = [BROWSER, *FLAGS, *flags, f"--user-data-dir={profile}", page.as_uri() + fragment]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    return done.stdout


def listed(dom, name):
    """Return the addresses that `WATCH` wrote; data and blob addresses stay in the page."""
    found = re.search(f'<html[^>]* data-{name}="([^"]*)"', dom)[1].split()
    return [address for address in found if not address.startswith(("data:", "blob:"))]


def cells(dom, column):
    """Return the text of one column of the sortable table."""
    body = re.search(r'<table class="sortable">.*?<tbody>(.*?)</tbody>', dom, re.DOTALL)[1]
    rows = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    cell = [re.findall(r"<td.*?</td>", row, re.DOTALL)[column] for row in rows]
    return [re.sub("<[^>]*>", "", text) for text in cell]


def test_the_table_sorts_by_a_column_with_numbers_and_gaps(tmp_path, profile):
    page = render_cohort_page(cohort(tmp_path, all_kinds(tmp_path), histories={}), about())
    dom = dom_of(tmp_path, page, profile, "#sort=3")
    dice = cells(dom, 3)
    known = [float(text) for text in dice if text]
    assert known == sorted(known)
    assert known[0] < known[-1]
    assert dice[-2:] == ["", ""], "cases without reference stand last"
    assert 'aria-sort="ascending"' in dom
    assert listed(dom, "asked") == listed(dom, "refused") == []


@pytest.fixture(scope="module")
def case_page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("case")
    label = label_map((40, 36, 20))
    made = report(folder, "a", np.roll(label, 1, axis=0), label, pictures=True)
    return render_case_page(made, folder / "a", about(), NOTHING_KNOWN)


def test_the_viewer_opens_in_the_page_and_asks_for_nothing(tmp_path, profile, case_page):
    """The page's policy forbids every connection, so what works needs none."""
    assert "default-src 'none'" in case_page
    assert "connect-src" not in case_page
    assert len(case_page) < 8e6
    dom = dom_of(tmp_path, case_page, profile, "#viewer=reference", SOFTWARE_WEBGL)
    shown = 'data-viewer="image 1, pred 0, reference 0.5"'
    assert shown in dom, re.findall(r'id="viewer-status"[^<]*<', dom)
    assert listed(dom, "asked") == listed(dom, "refused") == []


def test_an_unopened_viewer_does_nothing_and_a_request_would_be_refused(
    tmp_path, profile, case_page
):
    """The second half shows that the checks of this file can fail."""
    fetch = '<script>fetch("https://example.org/x").catch(function () {});</script>'
    dom = dom_of(tmp_path, case_page.replace("</footer>", "</footer>" + fetch), profile)
    assert "data-viewer=" not in re.search("<html[^>]*>", dom)[0]
    assert listed(dom, "refused") == ["https://example.org/x"]
