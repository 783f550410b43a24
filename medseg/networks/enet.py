"""ENet in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.networks.arguments import divisor_of, odd_kernel, window_steps
from medseg.networks.blocks import CONV, crop_to, init_weights, make_norm, pad_to_divisor, same_conv
from medseg.networks.layers import DROPOUT
from medseg.networks.unpooling import make_upsampling, max_pool, unpool

STRIPS = 0  # in place of a dilation: one kernel of 5 along each axis in turn


class ENet(nn.Module):
    """ENet [1]_: early downsampling, narrow bottlenecks, a small decoder that unpools to places.

    With 19 classes and 3 channels in 2-D it has 0.37 M parameters (0.35 to 0.37 are quoted;
    unverified by a build of its authors' code). Train it with class weights 1 / ln(1.02 + share).
    Upsampling is by interpolation unless asked for otherwise.

    Parameters
    ----------
    ndim : int
        2 or 3.
    in_channels, num_classes : int
        Channels of the image and of the logits.
    filters : int
        Channels of the first convolution; the pooled image is concatenated to it.
    widths : (int, int)
        Feature channels of stages 1 and 4, and of stages 2 and 3.
    regular : int
        Regular bottlenecks of stage 1 behind the one that pools.
    repeats : int
        How often the bottlenecks of ``dilations`` are run through: stages 2 and 3.
    dilations : sequence of int
        An even number of dilations. Each pair (p, q) makes four bottlenecks: regular, dilated by
        p, strips (one kernel of 5 along each axis in turn), dilated by q. Dilations past the
        coarsest map, an eighth of the image, see padding alone: choose less for small 3-D patches.
    dropout : (float, float)
        Share of maps dropped in stage 1, and later in the encoder.
    strides : sequence of (int or tuple of int), optional
        Steps, per axis, of the first block and of stages 1 and 2. Default: 2s.
    kernel_size : int or tuple of int
        Odd sides of the convolutions; a side of 1 has no strip along its axis.
    norm : {"batch", "instance", "group", "none"}
        Normalisation after each convolution but the last.
    upsampling : {"resize", "transposed"}
        Interpolation and a convolution, or the paper's transposed convolution of as many weights.

    Attributes
    ----------
    divisor : tuple of int
        Each spatial size is padded to a multiple of it.

    References
    ----------
    .. [1] Paszke, Chaurasia, Kim and Culurciello, ENet: a deep neural network architecture for
       real-time semantic segmentation, arXiv 1606.02147, 2016, table 1 and figure 2.

    Examples
    --------
    >>> import torch
    >>> net = ENet(ndim=2, in_channels=1, num_classes=3, widths=(16, 32), repeats=1)
    >>> net.eval()(torch.zeros(1, 1, 9, 6)).shape
    torch.Size([1, 3, 9, 6])
    """

    def __init__(
        self,
        *,
        ndim: int,
        in_channels: int,
        num_classes: int,
        filters: int = 13,
        widths: Sequence[int] = (64, 128),
        regular: int = 4,
        repeats: int = 2,
        dilations: Sequence[int] = (2, 4, 8, 16),
        dropout: Sequence[float] = (0.01, 0.1),
        strides: Sequence[int | Sequence[int]] | None = None,
        kernel_size: int | Sequence[int] = 3,
        norm: str = "batch",
        upsampling: str = "resize",
    ) -> None:
        super().__init__()
        _check(widths, dilations, dropout)
        self.ndim = ndim
        kernel = odd_kernel(kernel_size, ndim)
        self.strides = window_steps(strides, 3, ndim)
        self.divisor = divisor_of(self.strides)
        (fine, coarse), (rarely, often) = widths, dropout
        first = filters + in_channels  # as wide as what stage 1 pools, so that its places fit
        bias = norm == "none"
        self.initial = same_conv(ndim, in_channels, filters, kernel, self.strides[0], bias=bias)
        self.initial_act = nn.Sequential(make_norm(norm, ndim, first), nn.PReLU(first))
        self.down1 = _Down(ndim, first, fine, kernel, self.strides[1], norm, rarely)
        self.stage1 = _row(ndim, fine, kernel, (1,) * regular, norm, rarely)
        self.down2 = _Down(ndim, fine, coarse, kernel, self.strides[2], norm, often)
        pairs = zip(dilations[::2], dilations[1::2], strict=True)
        pattern = tuple(d for p, q in pairs for d in (1, p, STRIPS, q))
        self.stage2 = _row(ndim, coarse, kernel, pattern * repeats, norm, often)
        self.up4 = _Up(ndim, coarse, fine, kernel, self.strides[2], norm, upsampling)
        self.stage4 = _row(ndim, fine, kernel, (1, 1), norm, 0.0)
        self.up5 = _Up(ndim, fine, first, kernel, self.strides[1], norm, upsampling)
        self.stage5 = _row(ndim, first, kernel, (1,), norm, 0.0)
        self.head = make_upsampling(
            upsampling, ndim, first, num_classes, kernel=kernel, step=self.strides[0], bias=True
        )
        self.apply(init_weights)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, in_channels, *spatial) to logits (B, num_classes, *spatial)."""
        x = pad_to_divisor(image, self.divisor)
        pooled, _ = max_pool(x, self.strides[0])
        x = self.initial_act(torch.cat((self.initial(x), pooled), dim=1))
        x, places1 = self.down1(x)
        x, places2 = self.down2(self.stage1(x))
        x = self.stage4(self.up4(self.stage2(x), places2))
        x = self.stage5(self.up5(x, places1))
        return crop_to(self.head(x), image.shape[2:])


class _Bottleneck(nn.Module):
    """To a quarter of the channels, one convolution (or strips), back, and the input added."""

    def __init__(
        self,
        ndim: int,
        width: int,
        kernel: tuple[int, ...],
        dilation: int,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        inner, bias = _quarter(width), norm == "none"
        middle = (
            _strips(ndim, inner, kernel, bias)
            if dilation == STRIPS
            else [_dilated(ndim, inner, kernel, dilation, bias)]
        )
        self.body = nn.Sequential(
            *_project(ndim, width, inner, (1,) * ndim, norm),
            *middle,
            make_norm(norm, ndim, inner),
            nn.PReLU(inner),
            *_expand(ndim, inner, width, norm, dropout),
        )
        self.activation = nn.PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, *spatial) to the same shape."""
        out: Tensor = self.activation(x + self.body(x))
        return out


class _Down(nn.Module):
    """A bottleneck that pools: the body strides, the input is pooled and filled with zeros."""

    def __init__(
        self,
        ndim: int,
        channels: int,
        width: int,
        kernel: tuple[int, ...],
        step: tuple[int, ...],
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        if width < channels:
            raise ConfigError(
                f"network.widths: a stage of {width} channels behind {channels}; they must not "
                "shrink on the way down"
            )
        inner, bias = _quarter(width), norm == "none"
        self.step, self.missing = step, width - channels
        self.body = nn.Sequential(
            *_project(ndim, channels, inner, step, norm),
            _dilated(ndim, inner, kernel, 1, bias),
            make_norm(norm, ndim, inner),
            nn.PReLU(inner),
            *_expand(ndim, inner, width, norm, dropout),
        )
        self.activation = nn.PReLU(width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, channels, *spatial) to (B, width, *spatial / step), with the pooling's places."""
        pooled, places = max_pool(x, self.step)
        zeros = pooled.new_zeros(pooled.shape[0], self.missing, *pooled.shape[2:])
        return self.activation(torch.cat((pooled, zeros), dim=1) + self.body(x)), places


class _Up(nn.Module):
    """A bottleneck that upsamples in its body; the projected input is unpooled and added."""

    def __init__(
        self,
        ndim: int,
        channels: int,
        width: int,
        kernel: tuple[int, ...],
        step: tuple[int, ...],
        norm: str,
        mode: str,
    ) -> None:
        super().__init__()
        inner, one, bias = _quarter(width), (1,) * ndim, norm == "none"
        self.step = step
        self.shortcut = nn.Sequential(
            same_conv(ndim, channels, width, one, one, bias=bias), make_norm(norm, ndim, width)
        )
        self.body = nn.Sequential(
            *_project(ndim, channels, inner, one, norm),
            make_upsampling(mode, ndim, inner, inner, kernel=kernel, step=step, bias=bias),
            make_norm(norm, ndim, inner),
            nn.PReLU(inner),
            *_expand(ndim, inner, width, norm, 0.0),
        )
        self.activation = nn.PReLU(width)

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to (B, width, *spatial * step)."""
        out: Tensor = self.activation(unpool(self.shortcut(x), places, self.step) + self.body(x))
        return out


def _row(
    ndim: int,
    width: int,
    kernel: tuple[int, ...],
    dilations: Sequence[int],
    norm: str,
    dropout: float,
) -> nn.Sequential:
    """Return one bottleneck for each dilation."""
    return nn.Sequential(*(_Bottleneck(ndim, width, kernel, d, norm, dropout) for d in dilations))


def _quarter(width: int) -> int:
    """Return the inner width of a bottleneck."""
    return max(1, width // 4)


def _project(
    ndim: int, channels: int, inner: int, step: tuple[int, ...], norm: str
) -> tuple[nn.Module, ...]:
    """Return the convolution that narrows, whose kernel is its step, with norm and PReLU."""
    conv = CONV[ndim](channels, inner, step, step, bias=norm == "none")  # type: ignore[arg-type]
    return conv, make_norm(norm, ndim, inner), nn.PReLU(inner)


def _expand(ndim: int, inner: int, width: int, norm: str, dropout: float) -> tuple[nn.Module, ...]:
    """Return the convolution that widens, with norm and dropout of whole maps."""
    conv = CONV[ndim](inner, width, 1, bias=norm == "none")
    return conv, make_norm(norm, ndim, width), DROPOUT[ndim](dropout)


def _dilated(
    ndim: int, width: int, kernel: tuple[int, ...], dilation: int, bias: bool
) -> nn.Module:
    """Return a dilated convolution that keeps the size."""
    padding = tuple(dilation * (k // 2) for k in kernel)
    return CONV[ndim](width, width, kernel, 1, padding, dilation, bias=bias)  # type: ignore[arg-type]


def _strips(ndim: int, width: int, kernel: tuple[int, ...], bias: bool) -> list[nn.Module]:
    """Return one convolution of 5 along each axis, first to last."""
    one = (1,) * ndim
    shapes = [tuple(5 if a == axis else 1 for a in range(ndim)) for axis in range(ndim)]
    return [
        same_conv(ndim, width, width, shape, one, bias=bias)
        for shape, side in zip(shapes, kernel, strict=True)
        if side > 1
    ]


def _check(widths: Sequence[int], dilations: Sequence[int], dropout: Sequence[float]) -> None:
    """Refuse settings that the parts could not explain."""
    if len(widths) != 2 or min(widths) < 1:
        raise ConfigError(f"network.widths: {widths!r} must be two positive integers")
    if len(dilations) % 2 or any(d < 1 for d in dilations):
        raise ConfigError(
            f"network.dilations: {dilations!r} must be an even number of positive integers"
        )
    if len(dropout) != 2 or not all(0 <= share < 1 for share in dropout):
        raise ConfigError(f"network.dropout: {dropout!r} must be two shares in [0, 1)")
