"""Muon: momentum whose matrices are made orthogonal; AdamW for all that is no matrix."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from medseg.inference.precision import computes_bf16

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Quintic of Jordan's Newton-Schulz iteration: fast from small singular values, exact for none."""
ITERATIONS = 5
MATCHED_RMS = 0.2
"""Root mean square of an update at learning rate 1: AdamW's usual one, so both share a rate."""


class Muon(torch.optim.Optimizer):
    """Momentum with orthogonalised updates [1]_ for weights, AdamW [2]_ for biases and norms.

    A weight of two or more axes, such as a convolution's (out, in, *kernel), is seen as the matrix
    (out, in * kernel). Its Nesterov momentum is replaced by the nearest matrix whose singular
    values are about equal, scaled to the size of an AdamW step as in [3]_: all directions move
    alike, so that few steps go far. All other parameters take AdamW steps of the same rate.

    Parameters
    ----------
    params : iterable
        Parameters or parameter groups.
    lr : float
        Learning rate, of AdamW's scale.
    momentum : float
        Decay of the running mean of gradients.
    betas : tuple of float
        Of AdamW.
    eps : float
        Of AdamW.
    weight_decay : float
        Decoupled, per step ``lr * weight_decay``.
    exact : bool
        Turn matrices in float32, also where bfloat16 would be quicker: its rounding is what two
        runs differ by that add their gradients in another order.

    References
    ----------
    .. [1] Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024.
    .. [2] Loshchilov and Hutter, Decoupled weight decay regularization, ICLR 2019.
    .. [3] Liu et al., Muon is scalable for LLM training, 2025 (section 2.2: matched update RMS).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        *,
        momentum: float = 0.9,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        exact: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "momentum": momentum, "betas": betas, "eps": eps,
            "weight_decay": weight_decay, "exact": exact,
        }  # fmt: skip
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take one step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                step = _turn if weight.ndim > 1 else _adam
                step(weight, weight.grad, self.state[weight], group)
        return loss


def _turn(weight: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    """Step a matrix along its orthogonalised Nesterov momentum."""
    if not state:
        state["momentum"] = torch.zeros_like(weight)
    mean, keep = state["momentum"], group["momentum"]
    mean.lerp_(grad, 1 - keep)
    ahead = torch.lerp(grad, mean, keep)
    matrix = ahead.reshape(len(ahead), -1)
    size = MATCHED_RMS * max(matrix.shape) ** 0.5
    weight.add_(
        orthogonalise(matrix, exact=group["exact"]).reshape(weight.shape), alpha=-group["lr"] * size
    )


def _adam(weight: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    """Step a vector as AdamW does (its decay has been applied)."""
    if not state:
        state.update(count=0, mean=torch.zeros_like(weight), square=torch.zeros_like(weight))
    state["count"] += 1
    first, second = group["betas"]
    state["mean"].lerp_(grad, 1 - first)
    state["square"].mul_(second).addcmul_(grad, grad, value=1 - second)
    spread = state["square"].div(1 - second ** state["count"]).sqrt_().add_(group["eps"])
    weight.addcdiv_(state["mean"], spread, value=-group["lr"] / (1 - first ** state["count"]))


def orthogonalise(matrix: Tensor, *, exact: bool = False) -> Tensor:
    """Bring the singular values of a matrix near 1 and keep its singular vectors.

    Five Newton-Schulz steps; singular values end between about 0.7 and 1.2, unless they were
    smaller than about 1e-3 of the largest. Computed in bfloat16 where the device does so natively,
    unless it shall be ``exact``.

    Parameters
    ----------
    matrix : float Tensor of shape (rows, columns)

    Returns
    -------
    float32 Tensor of shape (rows, columns)
        Zero where the matrix is zero.

    Examples
    --------
    >>> turned = orthogonalise(torch.tensor([[3.0, 0.0], [0.0, -1.0]]))
    >>> bool(turned[0, 0] > 0.6), bool(turned[1, 1] < -0.6), bool(turned[0, 1] == 0)
    (True, True, True)
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-12)
    if computes_bf16(x.device) and not exact:
        x = x.bfloat16()
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    turned: Tensor = (x.T if tall else x).float()
    return turned
