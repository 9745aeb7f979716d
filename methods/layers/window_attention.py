"""The transformer block of Swin: self-attention inside windows, then an MLP. The shared block of window transformers.

Paper: Z. Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021, Section 3.2.
Code: microsoft/Swin-Transformer (MIT), commit f82860b; its names of the weights are kept.
Differs from that code: the map's size is not fixed. Where the sides are no multiples of the window, zeros are appended
at the right and the bottom after the first norm and cut off after attention; the window never shrinks to a small map.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import ParamsError


def relative_position_index(window_size: int) -> Tensor:
    """Rows of the bias table, (w^2, w^2): (dy + w - 1)(2w - 1) + dx + w - 1 with (dy, dx) = query - key."""
    axis = torch.arange(window_size, device="cpu")
    y, x = (grid.flatten() for grid in torch.meshgrid(axis, axis, indexing="ij"))
    dy, dx = y[:, None] - y[None], x[:, None] - x[None]
    return (dy + window_size - 1) * (2 * window_size - 1) + dx + window_size - 1


def to_windows(x: Tensor, window_size: int) -> Tensor:
    """Cut (N, H, W, C), sides multiples of the window, into (N, windows, w^2, C), both axes in row-major order."""
    n, h, w, c = x.shape
    x = x.view(n, h // window_size, window_size, w // window_size, window_size, c)
    return x.transpose(2, 3).reshape(n, -1, window_size**2, c)


def from_windows(windows: Tensor, window_size: int, height: int, width: int) -> Tensor:
    """Undo `to_windows`: (N, windows, w^2, C) to (N, height, width, C)."""
    n, c = windows.shape[0], windows.shape[-1]
    x = windows.view(n, height // window_size, width // window_size, window_size, window_size, c)
    return x.transpose(2, 3).reshape(n, height, width, c)


def shift_mask(height: int, width: int, window_size: int, shift: int, device: torch.device) -> Tensor:
    """What a rolled map adds to the logits, (windows, w^2, w^2): -100 between tokens that were no neighbours, else 0.

    A roll by `shift` brings rows and columns of opposite borders into one window; three bands an axis tell them apart.
    """

    def bands(length: int) -> Tensor:
        at = torch.arange(length, device=device)
        return (at >= length - window_size).int() + (at >= length - shift).int()

    region = 3 * bands(height)[:, None] + bands(width)[None]
    region = to_windows(region[None, :, :, None], window_size)[0, :, :, 0]
    return torch.where(region[:, :, None] == region[:, None], 0.0, -100.0)


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias) v over (windows, heads, tokens, d); `bias` broadcasts to the logits.

    Two kernels, one result: torch's fused one is 2.6 times faster on the CPU (windows of 100 tokens), but cannot pass a
    gradient to the bias there, and what it falls back to is 1.4 times slower than the formula written out.
    """
    if bias.requires_grad and q.device.type == "cpu":
        return (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1) + bias).softmax(-1) @ v
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows: (N, windows, w^2, C) to the same.

    Args:
        channels: C, a multiple of `num_heads`.
        window_size: side of a window, w, in tokens.
        num_heads: heads, each of C / num_heads channels.
        relative_bias: add a learned bias by relative position and head to the logits (eq. 4 of Swin).
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
            qkv = qkv.float()  # under autocast: the CPU's fused attention is slower in bfloat16 than in float32
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
    """Two linear layers with the exact GELU between them: (..., C) to the same through `hidden` channels."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class WindowBlock(nn.Module):
    """x + attention(norm1(x)), then x + mlp(norm2(x)), on a map of tokens (N, H, W, C) of any size.

    Args:
        channels: C.
        window_size: side of a window in tokens.
        num_heads: attention heads.
        shift: roll the map by this many tokens up and left before it is cut into windows, and back after; 0 is none.
        mlp_ratio: hidden channels of the MLP over C.
        relative_bias: the bias by relative position.
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
        """Window attention over a map (N, H, W, C): padded, rolled, cut, and all of it undone."""
        height, width = x.shape[1:3]
        x = F.pad(x, (0, 0, 0, -width % self.window_size, 0, -height % self.window_size))
        h, w = x.shape[1:3]
        # Swin's rule: a map within one window is not shifted, as there every token sees every other already.
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
