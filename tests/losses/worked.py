"""Case A: three classes on a 2 x 2 image, with values worked out by hand and by peers."""

from __future__ import annotations

import torch

PROBS = torch.tensor(
    [[[[0.7, 0.2], [0.1, 0.5]], [[0.2, 0.7], [0.3, 0.3]], [[0.1, 0.1], [0.6, 0.2]]]],
    dtype=torch.float64,
)
LOGITS = PROBS.log()
LABEL = torch.tensor([[[0, 1], [2, 0]]])
WITHOUT_2 = torch.tensor([[[0, 1], [1, 0]]])
LAST_IGNORED = torch.tensor([[[0, 1], [2, -1]]])
B_LOGITS = torch.tensor([[[0.9, 0.6, 0.3, 0.1]]], dtype=torch.float64).logit()
B_LABEL = torch.tensor([[1, 1, 0, 0]])
