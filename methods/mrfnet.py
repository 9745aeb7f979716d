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
Left out: the "loss weight scheduling" with "four loss weight groups" (Section IV.D), of which neither values nor course
are given: weights are constant, and a search varies them. Section 3.3.3 is the entry `mrfnet-edges`.
Not reproduced: the least parameters at three paths (here they grow with every path); the savings of over 50 % of the
parameters and 75 % of the operations: whole networks save 42 to 44 % and 38 to 41 %, with `rcus` 69 to 71 % and 71 to
73 %; one 3x3 made 1x1 saves 89 % of both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from bench.contracts import supervised
from methods.families.multipath import COARSEST_SCALE, SCALE_LOSSES, MRFNet, path_insides, path_losses, receptive_radius

if TYPE_CHECKING:
    from bench.contracts import Batch


def insides(networks: nn.ModuleDict, batch: Batch) -> dict[str, Tensor]:
    """What the paths make of one image."""
    return path_insides(batch["x"], networks["network"](batch["x"]))


method = supervised(
    "deblur",
    MRFNet,
    path_losses,
    tiny={"channels": 4},
    multiple=COARSEST_SCALE,
    min_size=COARSEST_SCALE,
    margin=receptive_radius,
    tiling=f"Pixels farther than {receptive_radius()} away do not influence a pixel of the published network, more or "
    "fewer in networks of other arguments: tiles that overlap by as much agree with the whole image.",
    watched=SCALE_LOSSES,
    insides=insides,
    limits=(
        f"sides must be multiples of {COARSEST_SCALE} pixels: so that every number of paths up to six takes the same "
        "images",
    ),
)
