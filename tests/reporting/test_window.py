import numpy as np

from medseg.reporting.window import choose_window, color_picture, is_color


def test_ct_is_seen_through_the_abdominal_window():
    window = choose_window(np.zeros((1, 2, 2, 2)), "CT")
    assert (window.low, window.high) == (-160, 240)
    assert "HU" in window.text


def test_other_modalities_take_the_percentiles_of_the_first_channel():
    image = np.stack([np.arange(101.0).reshape(101, 1, 1), np.full((101, 1, 1), 1e6)])
    window = choose_window(image, "MR")
    assert (window.low, window.high) == (1.0, 99.0)


def test_a_flat_image_has_a_window_all_the_same():
    window = choose_window(np.full((1, 3, 3, 3), 7.0), "MR")
    assert window.high > window.low


def test_colour_photographs_keep_their_colours():
    image = np.zeros((3, 2, 4), dtype=np.uint8)
    image[1] = 255
    assert is_color(image)
    assert not is_color(np.zeros((1, 2, 4)))
    assert not is_color(np.zeros((3, 2, 4, 5)))
    picture = color_picture(image)
    assert picture.shape == (2, 4, 3)
    assert picture[0, 0].tolist() == [0.0, 1.0, 0.0]
