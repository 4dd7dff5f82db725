"""The counting network. This module imports torch: import it late.

The network turns an image into one heat map for each category, at a quarter of the resolution; an object is a peak. It
uses peaks rather than a density, because the sum of a density over an image drifts by a few objects.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 4  # image pixels per heat map cell
MULTIPLE = 64  # sides are padded to a multiple of this, pixels

_WIDTHS = (24, 48, 96, 128, 128)  # channels at strides 4, 8, 16, 32 and 64


class PeakNetwork(nn.Module):
    """A small U-shaped network with one heat map for each category.

    Args:
        categories: number of categories.

    Attributes:
        windows: int64 (categories,), cells: the side of the square in which a peak must be the largest value.
        thresholds: (categories,), the heat in [0, 1] from which a peak counts.
    """

    windows: Tensor
    thresholds: Tensor

    def __init__(self, categories: int) -> None:
        super().__init__()
        first = _WIDTHS[0]
        self.stem = _convolution(3 * STRIDE**2, first)
        self.down = nn.ModuleList(
            nn.Sequential(_convolution(a, b, stride=2), _convolution(b, b)) for a, b in pairwise(_WIDTHS)
        )
        self.lift = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(_WIDTHS))
        self.mix = nn.ModuleList(_convolution(a, a) for a in _WIDTHS[:-1])
        self.head = nn.Conv2d(first, categories, 1)
        nn.init.constant_(self.head.get_parameter("bias"), -4.0)  # objects are rare: the initial heat is 0.02
        self.register_buffer("windows", torch.full((categories,), 3))
        self.register_buffer("thresholds", torch.full((categories,), 0.4))

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the heat maps.

        Args:
            images: float (n, 3, height, width) in [0, 1]; sides a multiple of `MULTIPLE`.

        Returns:
            float (n, categories, height / 4, width / 4).
        """
        x = self.stem(functional.pixel_unshuffle(images - 0.5, STRIDE))
        passed = []
        for down in self.down:
            passed.append(x)
            x = down(x)
        for lift, mix, before in zip(reversed(self.lift), reversed(self.mix), reversed(passed), strict=True):
            x = mix(before + functional.interpolate(lift(x), scale_factor=2.0, mode="nearest"))
        logits: Tensor = self.head(x)
        return logits

    def peaks(self, logits: Tensor) -> Tensor:
        """The heat at each peak, and 0 elsewhere; shapes as for `forward`."""
        heat = logits.sigmoid()
        kept = torch.zeros_like(heat)
        for window in sorted(set(self.windows.tolist())):
            own = self.windows == window
            part = heat[:, own]
            highest = functional.max_pool2d(part, window, stride=1, padding=window // 2)
            kept[:, own] = torch.where(part == highest, part, 0.0)
        return kept

    def counts(self, images: Tensor) -> Tensor:
        """The number of peaks that reach `thresholds`: int64 (n, categories)."""
        found = self.peaks(self(images)) >= self.thresholds[:, None, None]
        return found.sum(dim=(2, 3))


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
