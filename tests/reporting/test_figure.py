import base64
import sys

from medseg.reporting.figure import data_uri, new_figure, png_bytes


def test_a_figure_becomes_the_same_png_each_time_without_global_state():
    def draw():
        figure = new_figure(1.0, 0.5, dpi=100)
        figure.subplots().plot([0, 1], [1, 0])
        return png_bytes(figure)

    first = draw()
    assert first == draw()
    assert first.startswith(b"\x89PNG")
    assert int.from_bytes(first[16:20], "big") == 100
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


def test_an_address_holds_the_bytes():
    head, body = data_uri(b"abc").split(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(body) == b"abc"
