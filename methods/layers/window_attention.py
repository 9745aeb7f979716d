"""The transformer block of Swin: self-attention within windows, then an MLP.

Paper: Z. Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021, Section 3.2.
Code: microsoft/Swin-Transformer (MIT), commit f82860b; its names of the weights are kept.
Differs from that code: the map's size is not fixed. When a side is not a multiple of the window, zeros are appended at
the right and the bottom after the first norm and cut off after attention; the window is not reduced for a small map.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import ParamsError


def relative_position_index(window_size: int) -> Tensor:
    """Return the row of the bias table for each query and key of a window: (w^2, w^2).

    The row is (dy + w - 1)(2w - 1) + dx + w - 1 with (dy, dx) the position of the query minus that of the key.

    >>> relative_position_index(2)[0].tolist()
    [4, 3, 1, 0]
    """
    axis = torch.arange(window_size, device="cpu")
    y, x = (grid.flatten() for grid in torch.meshgrid(axis, axis, indexing="ij"))
    dy, dx = y[:, None] - y[None], x[:, None] - x[None]
    return (dy + window_size - 1) * (2 * window_size - 1) + dx + window_size - 1


def to_windows(x: Tensor, window_size: int) -> Tensor:
    """Cut (N, H, W, C), sides multiples of the window, into (N, windows, w^2, C): windows and tokens in row-major
    order.

    >>> to_windows(torch.arange(8).view(1, 2, 4, 1), 2).squeeze().tolist()
    [[0, 1, 4, 5], [2, 3, 6, 7]]
    """
    n, h, w, c = x.shape
    x = x.view(n, h // window_size, window_size, w // window_size, window_size, c)
    return x.transpose(2, 3).reshape(n, -1, window_size**2, c)


def from_windows(windows: Tensor, window_size: int, height: int, width: int) -> Tensor:
    """Undo `to_windows`: (N, windows, w^2, C) to (N, height, width, C)."""
    n, c = windows.shape[0], windows.shape[-1]
    x = windows.view(n, height // window_size, width // window_size, window_size, window_size, c)
    return x.transpose(2, 3).reshape(n, height, width, c)


def shift_mask(height: int, width: int, window_size: int, shift: int, device: torch.device) -> Tensor:
    """Return what is added to the logits of a rolled map: -100 between tokens that were not neighbours, otherwise 0.

    A roll by `shift` puts rows and columns of opposite borders into one window; three bands per axis separate them.

    Args:
        height: of the map, a multiple of the window.
        width: of the map, a multiple of the window.
        window_size: side of a window, w.
        shift: tokens that the map is rolled by, in [1, w).
        device: of the result.

    Returns:
        (windows, w^2, w^2).

    >>> shift_mask(2, 2, 2, 1, torch.device("cpu"))[0, 0].tolist()
    [0.0, -100.0, -100.0, -100.0]
    """

    def bands(length: int) -> Tensor:
        index = torch.arange(length, device=device)
        return (index >= length - window_size).int() + (index >= length - shift).int()

    region = 3 * bands(height)[:, None] + bands(width)[None]
    region = to_windows(region[None, :, :, None], window_size)[0, :, :, 0]
    return torch.where(region[:, :, None] == region[:, None], 0.0, -100.0)


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Return softmax(q k^T / sqrt(d) + bias) v.

    On the CPU torch's fused kernel is 2.6 times faster (windows of 100 tokens), but cannot pass a gradient to the bias;
    its fallback is 1.4 times slower than the formula written out, which is used instead.

    Args:
        q: queries, (windows, heads, tokens, d).
        k: keys, the same shape.
        v: values, the same shape.
        bias: broadcasts to the logits (windows, heads, tokens, tokens).

    >>> q = k = torch.zeros(1, 1, 2, 1)
    >>> attention(q, k, torch.tensor([1.0, 3.0]).view(1, 1, 2, 1), torch.zeros(1, 1, 1, 1)).flatten().tolist()
    [2.0, 2.0]
    """
    if bias.requires_grad and q.device.type == "cpu":
        return (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1) + bias).softmax(-1) @ v
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows: (N, windows, w^2, C) to the same (Section 3.2, eq. 4).

    Args:
        channels: C, a multiple of `num_heads`.
        window_size: side of a window, w, in tokens.
        num_heads: heads, each of C / num_heads channels.
        relative_bias: add a learned bias by relative position and head to the logits.

    Raises:
        ParamsError: when C is not a multiple of `num_heads`.
    """

    relative_position_index: Tensor

    def __init__(self, channels: int, window_size: int, num_heads: int, relative_bias: bool = True):
        super().__init__()
        if channels % num_heads:
            raise ParamsError(f"window attention: {channels} channels cannot be split over {num_heads} heads")
        self.num_heads = num_heads
        self.relative_position_bias_table = None
        if relative_bias:
            self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window_size - 1) ** 2, num_heads))
            nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
            self.register_buffer("relative_position_index", relative_position_index(window_size), persistent=False)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend within each window of `x`; `mask` (windows, w^2, w^2) is added to the logits of every head."""
        n, windows, tokens, channels = x.shape
        qkv = self.qkv(x).view(n * windows, tokens, 3, self.num_heads, -1)
        if qkv.device.type == "cpu" and qkv.dtype == torch.bfloat16:
            qkv = qkv.float()  # the CPU's fused attention is slower in bfloat16 than in float32
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        bias = q.new_zeros(1, 1, 1)
        if self.relative_position_bias_table is not None:
            rows = self.relative_position_bias_table[self.relative_position_index.flatten()]
            bias = rows.view(tokens, tokens, -1).permute(2, 0, 1)
        if mask is not None:
            bias = (bias + mask[:, None]).repeat(n, 1, 1, 1)
        with torch.autocast("cpu", enabled=False):
            x = attention(q, k, v, bias if bias.dim() == 4 else bias[None])
        return self.proj(x.transpose(1, 2).reshape(n, windows, tokens, channels))


class Mlp(nn.Module):
    """Two linear layers with the exact GELU between them: (..., C) to the same.

    Args:
        channels: C.
        hidden: channels between the two layers.
    """

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class WindowBlock(nn.Module):
    """x + attention(norm1(x)), then x + mlp(norm2(x)), for a map of tokens (N, H, W, C) of any size (eq. 3).

    Args:
        channels: C.
        window_size: side of a window in tokens.
        num_heads: attention heads.
        shift: the map is rolled by this many tokens up and to the left before it is cut into windows, and back after.
        mlp_ratio: hidden channels of the MLP divided by C.
        relative_bias: add a learned bias by relative position to the logits.

    Raises:
        ParamsError: when `shift` is not in [0, window_size), or `channels` is not a multiple of `num_heads`.
    """

    def __init__(
        self,
        channels: int,
        window_size: int,
        num_heads: int,
        shift: int = 0,
        mlp_ratio: float = 4.0,
        relative_bias: bool = True,
    ):
        super().__init__()
        if not 0 <= shift < window_size:
            raise ParamsError(f"window attention: shift {shift} with window {window_size}; expected 0 to window - 1")
        self.window_size = window_size
        self.shift = shift
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, window_size, num_heads, relative_bias)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, int(mlp_ratio * channels))

    def attend(self, x: Tensor) -> Tensor:
        """Attend within the windows of a map (N, H, W, C), which is padded and rolled before and restored after."""
        height, width = x.shape[1:3]
        x = F.pad(x, (0, 0, 0, -width % self.window_size, 0, -height % self.window_size))
        h, w = x.shape[1:3]
        # As in Swin a map of one window is not shifted: each of its tokens attends to all others without a shift.
        shift = self.shift if min(h, w) > self.window_size else 0
        mask = None
        if shift:
            x = x.roll((-shift, -shift), (1, 2))
            mask = shift_mask(h, w, self.window_size, shift, x.device)
        x = from_windows(self.attn(to_windows(x, self.window_size), mask), self.window_size, h, w)
        if shift:
            x = x.roll((shift, shift), (1, 2))
        return x[:, :height, :width]

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.norm1(x))
        return x + self.mlp(self.norm2(x))
