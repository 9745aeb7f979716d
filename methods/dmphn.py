"""DMPHN (1-2-4-8): a deep multi-patch hierarchical network for deblurring.

Paper: H. Zhang, Y. Dai, H. Li, P. Koniusz, "Deep Stacked Hierarchical Multi-patch Network for Image Deblurring", CVPR
2019. Code: HongguangZhang/DMPHN-cvpr19-master (no licence), commit 9fff261; its released weights of the 1-2-4-8 network
load through `reference`. The same as that code in float32 up to rounding; patches of one level go through their network
together, which changes nothing, for no layer looks across images of a batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bench.contracts import ParamsError, State, WeightsError, supervised
from methods._losses import mse
