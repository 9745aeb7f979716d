"""MRFNet: a multipath refinement fusion network for deblurring; also the first stage of DFFNet.

Paper: "Multipath Refinement Fusion Network for Efficient Image Deblurring" (Caffe); its journal version stands in
Wireless Communications and Mobile Computing 2021, article 1391801. Code: zhangzhichao19020123/MRFNet holds no network,
so no reference weights exist. The blocks are those of RefineNet (G. Lin et al., CVPR 2017) and Light-Weight RefineNet
(V. Nekrasov et al., BMVC 2018).
Our reading of table I: the rows of conv5, conv7 and the deconvolutions are stride 2, padding 1, without which the sizes
do not fit; 1x1 layers have no padding; "3x1" is 1x1 and the missing conv_r2_m1 is 3x3, as in the other paths; the
scales are 1 to 1/8, as these strides make them, not the text's 1/4 to 1/32 (`stem_stride` gives those).
Our reading of the text: the sign of eq. 1 is concatenation (legend of the figure); eq. 2 runs for two rounds of shared
weights over one encoding, its finer result brought to size by a 3x3 stride-2 convolution; ReLU follows every
convolution but the image heads, deconvolutions have none; biases everywhere; every head adds the blurred image.
Not reproduced: the least parameters at three paths (here they grow with every path); the savings of over 50 % of the
parameters and 75 % of the operations, true of one 3x3 made 1x1: whole networks save 42 to 44 % and 38 to 41 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from bench.contracts import supervised
from methods._losses import mse, scale_refinement
from methods._multipath import COARSEST, MRFNet, reach

if TYPE_CHECKING:
    from bench.contracts import Losses


def losses(preds: Sequence[Tensor], target: Tensor) -> Losses:
    """Both losses of the paper, for `params.yaml` to weight: all scales (eq. 5), or the final image alone.

    Args:
        preds: the network's images, finest first.
        target: (N, 3, H, W) in [0, 1].
    """
    return {"scale_refinement": scale_refinement(preds, target), "mse": mse(preds[0], target)}


method = supervised(
    "deblur",
    MRFNet,
    losses,
    tiny={"channels": 4},
    multiple=COARSEST,
    min_size=COARSEST,
    margin=reach(),
    tiling=f"Pixels farther than {reach()} away do not influence a pixel of the published network: tiles that overlap "
    "by as much agree with the whole image; with more paths, rounds or 3x3 layers they may not quite.",
    limits=(
        f"sides must be multiples of {COARSEST} pixels: so that every number of paths up to six takes the same images",
    ),
)
