import jinja2
import pytest

from medseg.reporting.render import environment, without_paths


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (
            "case a: /data/Jane Doe/ct.nii.gz is truncated; copy it again",
            "case a: [file] is truncated; copy it again",
        ),
        ("C:\\scans\\DOE_JANE.nrrd: empty; export it", "[file]: empty; export it"),
        ("label jane_doe.nii has shape (1, 2, 3)", "label [file] has shape (1, 2, 3)"),
        ("/scans/jane/series holds 3 series; name one", "[file] holds 3 series; name one"),
        ("sub/jane/img is missing", "[file] is missing"),
        ("spacing is 0.7, 0.7, 5.0 mm", "spacing is 0.7, 0.7, 5.0 mm"),
    ],
)
def test_messages_lose_file_names_and_keep_the_rest(text, clean):
    assert without_paths(text) == clean


def test_templates_escape_and_refuse_what_is_missing():
    assert environment().from_string("{{ x }}").render(x="<b>") == "&lt;b&gt;"
    with pytest.raises(jinja2.UndefinedError):
        environment().from_string("{{ y }}").render()
