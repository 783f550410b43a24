"""transformers' SAM with a tiny configuration and random weights."""

from __future__ import annotations

import pytest
import torch

from medseg.errors import ConfigError
from medseg.networks.sam import MEAN, STD, Sam, load_sam


@pytest.fixture(scope="module")
def sam():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.SamConfig(
        vision_config={
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 8,
            "output_channels": 16,
            "window_size": 2,
            "global_attn_indexes": [0],
            "num_pos_feats": 8,
            "initializer_range": 0.5,
        },
        prompt_encoder_config={
            "hidden_size": 16,
            "image_size": 64,
            "patch_size": 8,
            "mask_input_channels": 4,
        },
        mask_decoder_config={
            "hidden_size": 16,
            "mlp_dim": 16,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 8,
        },
        initializer_range=0.5,
    )
    return Sam(transformers.SamModel(config))


@pytest.fixture(scope="module")
def image():
    return torch.rand(3, 40, 80, generator=torch.Generator().manual_seed(1))


def test_a_mask_per_object_at_the_size_of_the_image(sam, image):
    logits, scores = sam.segment(image, points=[[[3, 70]], [[20, 5]]])
    assert logits.shape == (2, 40, 80)
    assert scores.shape == (2,)
    assert logits.isfinite().all()
    assert not torch.equal(logits[0], logits[1])  # the prompts reach the model


def test_an_image_embedded_once_gives_the_same(sam, image):
    seen = sam.embed(image)
    boxes = [(2, 3, 20, 40)]
    assert torch.equal(sam.segment(seen, boxes=boxes)[0], sam.segment(image, boxes=boxes)[0])


def test_it_is_what_transformers_computes_from_x_and_y(sam, image):
    # 40 x 80 is looked at as 32 x 64, padded below to 64 x 64
    shown = torch.nn.functional.interpolate(image[None], (32, 64), mode="bilinear", antialias=True)
    normal = (shown - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    with torch.no_grad():
        out = sam.model(
            pixel_values=torch.nn.functional.pad(normal, (0, 0, 0, 32)),
            input_points=torch.tensor([[[[56.0, 2.4], [4.0, 16.0]]]]),  # x, y of column 70, row 3
            input_labels=torch.tensor([[[1, 0]]]),
            input_boxes=torch.tensor([[[0.0, 8.0, 48.0, 24.0]]]),
            multimask_output=False,
        )
    logits, scores = sam.segment(
        image, points=[[(3, 70), (20, 5)]], labels=[[1, 0]], boxes=[(10, 0, 30, 60)]
    )
    low = out.pred_masks[0, :, 0]
    whole = torch.nn.functional.interpolate(low[None], (64, 64), mode="bilinear")[..., :32, :]
    theirs = torch.nn.functional.interpolate(whole, (40, 80), mode="bilinear")[0]
    torch.testing.assert_close(logits, theirs)
    torch.testing.assert_close(scores, out.iou_scores[0, :, 0])


def test_of_three_masks_the_most_trusted_is_kept(sam, image):
    seen = sam.embed(image)
    with torch.no_grad():
        out = sam.model(
            image_embeddings=seen.features,
            input_points=torch.tensor([[[[8.0, 8.0]]]]),
            input_labels=torch.tensor([[[1]]]),
        )
    assert out.iou_scores.shape == (1, 1, 3)
    _, score = sam.segment(seen, points=[[(10, 10)]])
    torch.testing.assert_close(score, out.iou_scores[0].amax(1))
    _, single = sam.segment(seen, points=[[(10, 10)]], best_of_three=False)
    assert not torch.equal(score, single)


def test_a_point_beside_the_object_is_not_one_on_it(sam, image):
    seen, points = sam.embed(image), [[(3, 70), (20, 5)]]
    on, beside = (sam.segment(seen, points=points, labels=k)[0] for k in ([[1, 1]], [[1, 0]]))
    assert not torch.equal(on, beside)


def test_a_grey_slice_is_shown_in_three_channels(sam, image):
    grey = image[0]
    box = [(2, 3, 20, 40)]
    expected = sam.segment(grey.expand(3, -1, -1), boxes=box)[0]
    assert torch.equal(sam.segment(grey, boxes=box)[0], expected)


def test_a_folder_is_read_back(sam, image, tmp_path):
    sam.model.save_pretrained(tmp_path)
    again = load_sam(tmp_path)
    box = [(2, 3, 20, 40)]
    assert torch.equal(again.segment(image, boxes=box)[0], sam.segment(image, boxes=box)[0])


@pytest.mark.parametrize(
    ("prompts", "says"),
    [
        ({}, "no prompt"),
        ({"points": [(3, 4)]}, r"points of shape \(1, 2\) are not \(objects, points, 2\)"),
        ({"boxes": [3, 4, 5, 6]}, r"boxes of shape \(4,\) are not \(objects, 4\)"),
        ({"points": [[(3, 4)]], "boxes": [(0, 0, 5, 6)] * 2}, "points of 1 objects and 2 boxes"),
        ({"points": [[(3, 4)]], "labels": [[1, 0]]}, "give one per point"),
        ({"boxes": [(0, 0, 5, 6)], "labels": [[1]]}, "give 'points' too"),
    ],
)
def test_prompts_that_do_not_fit_are_told(sam, image, prompts, says):
    with pytest.raises(ConfigError, match=says):
        sam.segment(image, **prompts)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (torch.zeros(1, 8, 8, 8), "a slice of a volume at a time"),
        (torch.zeros(2, 8, 8), "1 or 3"),
        (torch.full((8, 8), 40.0), r"values from 40 to 40; bring the image to \[0, 1\]"),
    ],
)
def test_images_that_do_not_fit_are_told(sam, wrong, says):
    with pytest.raises(ConfigError, match=says):
        sam.embed(wrong)


def test_a_name_in_a_hub_is_not_looked_up():
    pytest.importorskip("transformers")
    with pytest.raises(ConfigError, match="nothing is fetched"):
        load_sam("facebook/sam-vit-base")
