"""Several networks that answer as one: the mean of their logits, tile by tile."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from medseg.inference.shifts import Shifted


class Ensemble(nn.Module):
    """The folds of a cross-validation as one network.

    The members' **logits** are averaged, as nnU-Net does, inside the pass over the tiles: an image
    is read, cut and blended once, and memory grows by the members' weights alone.

    Parameters
    ----------
    members : sequence of nn.Module
        Each maps (B, C, *patch) to logits (B, num_classes, *patch), with the same classes.

    Raises
    ------
    ValueError
        If there is no member.

    Examples
    --------
    >>> import torch
    >>> Ensemble([nn.Identity(), nn.ReLU()])(torch.tensor([-2.0, 4.0]))
    tensor([-1.,  4.])
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        if not members:
            raise ValueError("an ensemble needs at least one network")
        self.members = nn.ModuleList(members)

    def forward(self, image: Tensor) -> Tensor:
        """Return the mean of the members' logits, float32 where there are several."""
        first, *others = self.members
        total: Tensor = first(image)
        if not others:
            return total
        total = total.float().clone()  # a member may hand on its input, or one stored tensor
        for member in others:
            total += member(image).float()
        return total.div_(len(self.members))


def as_network(
    networks: nn.Module | Sequence[nn.Module],
    shifts: int = 1,
    axes: Sequence[int] | None = None,
) -> nn.Module:
    """Return the network itself where there is one, else their `Ensemble`.

    With ``shifts`` above 1 each network is averaged over so many along ``axes``, None for all
    (`medseg.inference.shifts`); where there is no axis, over none.
    """
    if isinstance(networks, nn.Module) and not isinstance(networks, nn.ModuleList):
        members = [networks]
    else:
        members = list(networks)
    if shifts > 1 and (axes is None or axes):
        members = [Shifted(member, shifts, axes) for member in members]
    return members[0] if len(members) == 1 else Ensemble(members)
