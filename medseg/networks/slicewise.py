"""Run a 2-D network over the slices of 3-D images."""

from __future__ import annotations

from torch import Tensor, nn

from medseg.networks.output import Prediction


class SliceWise(nn.Module):
    """Fold the slices along one axis of a 3-D batch into the batch of a 2-D network.

    Parameters
    ----------
    network : nn.Module
        A 2-D network of this package.
    axis : int
        Spatial axis (0, 1 or 2) whose slices are seen one by one.

    Examples
    --------
    >>> import torch
    >>> SliceWise(nn.Conv2d(1, 2, 1), axis=2)(torch.zeros(1, 1, 4, 5, 6)).shape
    torch.Size([1, 2, 4, 5, 6])
    """

    def __init__(self, network: nn.Module, axis: int) -> None:
        super().__init__()
        if axis not in (0, 1, 2):
            raise ValueError(f"axis is {axis}; the slices of a 3-D image lie along axis 0, 1 or 2")
        self.network = network
        self.axis = axis
        inner = getattr(network, "divisor", (1, 1))
        self.divisor = (*inner[:axis], 1, *inner[axis:])

    def forward(self, image: Tensor) -> Tensor | Prediction:
        """Map an image (B, C, I, J, K) to logits (B, num_classes, I, J, K)."""
        batch = image.shape[0]
        slices = image.movedim(2 + self.axis, 1).flatten(0, 1)  # (B * slices, C, rows, cols)
        out = self.network(slices)
        if isinstance(out, Prediction):
            aux = tuple(self._unfold(x, batch) for x in out.aux)
            extras = {name: self._unfold(x, batch) for name, x in out.extras.items()}
            return Prediction(self._unfold(out.logits, batch), aux, extras, out.aux_weights)
        return self._unfold(out, batch)

    def _unfold(self, x: Tensor, batch: int) -> Tensor:
        """Bring (B * slices, C, rows, cols) back to (B, C, I, J, K)."""
        return x.reshape(batch, -1, *x.shape[1:]).movedim(1, 2 + self.axis)
