"""MRFNet: a multipath refinement fusion network for deblurring; also the first stage of DFFNet.

Paper: "Multipath Refinement Fusion Network for Efficient Image Deblurring" (Caffe); its journal version is in Wireless
Communications and Mobile Computing 2021, article 1391801. Code: zhangzhichao19020123/MRFNet holds no network, so there
are no reference weights. The blocks are those of RefineNet (G. Lin et al., CVPR 2017) and Light-Weight RefineNet (V.
Nekrasov et al., BMVC 2018). Section 3.3.3 is the entry `mrfnet-edges`.

Left out: the "loss weight scheduling" with "four loss weight groups" (Section IV.D), whose values and course are not
given: weights are constant, and a search varies them.

Not reproduced: that three paths need the fewest parameters (here they grow with every path), and that the light form
saves over 50 % of the parameters and 75 % of the operations. Here it saves 42 to 44 % of the parameters and 38 to 41 %
of the operations of a whole network, with `rcus` 69 to 71 % and 71 to 73 %. A 3x3 convolution made 1x1 saves 89 % of
both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from bench.contracts import supervised
from methods.families import multipath
from methods.families.multipath import COARSEST_SCALE, SCALE_LOSSES, MRFNet, path_insides, path_losses, receptive_radius
from methods.losses.pixel import SCALE_REFINEMENT_READINGS

if TYPE_CHECKING:
    from bench.contracts import Batch

READINGS = (
    "The rows of conv5, conv7 and the deconvolutions of table I have stride 2 and padding 1, without which the sizes "
    "do not fit; 1x1 layers have no padding.",
    'In table I "3x1" is 1x1, and the missing conv_r2_m1 is 3x3, as in the other paths.',
    "The scales are 1 to 1/8, as the strides of table I make them, not the text's 1/4 to 1/32, which `stem_stride` "
    "gives.",
    "The sign of eq. 1 is concatenation, by the legend of the figure.",
    "Eq. 2 runs for two rounds with shared weights over one encoding; its finer result is brought to size by a 3x3 "
    "convolution of stride 2.",
    "A ReLU follows every convolution but the image heads; deconvolutions have none. All layers have biases.",
    "Every head adds the blurred image.",
    *multipath.READINGS,
    *SCALE_REFINEMENT_READINGS,
)


def insides(networks: nn.ModuleDict, batch: Batch) -> dict[str, Tensor]:
    """Return the image of each path for one image."""
    return path_insides(batch["x"], networks["network"](batch["x"]))


method = supervised(
    "deblur",
    MRFNet,
    path_losses,
    tiny={"channels": 4},
    multiple=COARSEST_SCALE,
    min_size=COARSEST_SCALE,
    margin=receptive_radius,
    tiling=f"Pixels farther than {receptive_radius()} away do not influence a pixel of the published network; its "
    "arguments change the distance. Tiles that overlap by as much agree with the whole image.",
    watched=SCALE_LOSSES,
    insides=insides,
    readings=READINGS,
    limits=(
        f"Sides must be multiples of {COARSEST_SCALE} pixels, so that every number of paths up to six takes the same "
        "images.",
    ),
)
