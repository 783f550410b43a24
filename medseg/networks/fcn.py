"""Dilated fully convolutional network in 2-D and 3-D."""

from __future__ import annotations

from functools import partial
from typing import Any

from medseg.networks.headed import HeadedNetwork
from medseg.networks.heads import FCNHead


class FCN(HeadedNetwork):
    """A dilated ResNet and two convolutions, concatenated with its last map.

    What is called "FCN" today: the idea of [1]_ on a dilated ResNet [2]_. For the network of the
    paper see `medseg.networks.fcn_skip`. 47.13 M parameters with 19 classes in 2-D, without the
    auxiliary head.

    Parameters
    ----------
    convs : int
        Before the fusing convolution.
    concat : bool
        Fuse what they make with the map they read in one more convolution. torchvision's form is
        ``convs=1, concat=False`` on ``resnet50``.
    **arguments
        Of `medseg.networks.headed.HeadedNetwork`.

    References
    ----------
    .. [1] Long, Shelhamer and Darrell, Fully convolutional networks for semantic segmentation,
       CVPR 2015.
    .. [2] Yu, Koltun and Funkhouser, Dilated residual networks, CVPR 2017.
    """

    def __init__(self, *, convs: int = 2, concat: bool = True, **arguments: Any) -> None:
        super().__init__(partial(FCNHead, level=-1, convs=convs, concat=concat), **arguments)
