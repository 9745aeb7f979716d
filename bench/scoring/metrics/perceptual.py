"""LPIPS and FID: scores that are computed by networks with other people's weights.

Sources: LPIPS: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018, by
the package lpips. FID: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule ...", NeurIPS 2017, on features
of the package torch-fidelity. The weights are files that `bench.weights` finds and verifies; where one is missing
the score is `NotMeasured`, with what to fetch. Random weights never take their place.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench import weights
from bench.contracts import DataError, WeightsError
from bench.scoring.metrics.measure import Floats, Image, NetworkMetric, NotMeasured, SetMetric
from bench.scoring.metrics.values import check, quantise, unit
from bench.torchvision_shim import make_importable

if TYPE_CHECKING:
    from torch import Tensor, nn


def missing(metric: str, package: str) -> NotMeasured | None:
    """Return NotMeasured where `package` is not installed."""
    import importlib.util

    if importlib.util.find_spec(package) is not None:
        return None
    return NotMeasured(metric, f"the package {package} is not installed: install the extra 'perceptual'")


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a weights file, by name, with `weights_only=True`.

    Raises:
        WeightsError: the file cannot be read so, or holds something else than named tensors.
    """
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what its unpickler, zip reader or storage meets
        raise WeightsError(f"{path}: not a file of plain tensors ({str(error).splitlines()[0]})") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{path}: expected only named tensors, found {type(state).__name__}")
    return dict(state)


def rgb(image: Image) -> Image:
    """Return a grey image (H, W) as three equal channels, a colour image as it is.

    >>> rgb(np.array([[7]])).tolist()
    [[[7, 7, 7]]]
    """
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image


# LPIPS ----------------------------------------------------------------------------------------------------------------


def lpips_alex(folder: Path | None = None, device: str = "cpu") -> Callable[[Image, Image], float] | NotMeasured:
    """Load LPIPS and return a function of (pred, target) to the distance, 0 for equal images.

    The images are as in `values`, with sides of 31 pixels or more (AlexNet's least). Pixels are floats in [0, 1],
    neither clipped nor rounded, mapped to [-1, 1]. The linear layers come with the package, the trunk from the file
    `alexnet`.

    Args:
        folder: the folder that the user names for network weights.
        device: "cpu", "cuda", ...

    Returns:
        the function, or NotMeasured where the package or the file is missing.

    Raises:
        WeightsError: the file is damaged or another one.
    """
    if (absent := missing("lpips-alex", "lpips")) is not None:
        return absent
    path = weights.find("alexnet", folder)
    if path is None:
        return NotMeasured("lpips-alex", weights.explain("alexnet", folder))
    network = lpips_network(path).to(device)

    def score(pred: Image, target: Image) -> float:
        import torch

        check(pred, target)
        if min(pred.shape[:2]) < 31:
            raise DataError(f"images of {pred.shape[1]}x{pred.shape[0]} pixels: LPIPS needs sides of 31 or more")
        pair = (torch.from_numpy(rgb(unit(image))).permute(2, 0, 1)[None].float() for image in (pred, target))
        with torch.no_grad():
            return float(network(*(2 * image.to(device) - 1 for image in pair)))

    return score


LPIPS_ALEX = NetworkMetric(
    id="lpips-alex",
    title="LPIPS",
    unit="",
    better="lower",
    decimals=4,
    load=lpips_alex,
    protocol="learned perceptual distance, AlexNet, version 0.1",
    notes="RGB of the dataset's depth in [-1, 1], as in the dual-pixel tables.",
    overview=140,
)


def lpips_network(path: Path) -> nn.Module:
    """Return the LPIPS module with the trunk of a verified AlexNet file, in eval mode.

    The module is built with an untrained trunk, since the package would otherwise download one or load any file of the
    right name unchecked; then every tensor of the trunk is replaced.
    """
    make_importable()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips calls torchvision by arguments that it has renamed
        import lpips

        network = lpips.LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False)
    state = read_state(path)
    # The package cuts torchvision's `features` into five slices and keeps the layers' numbers: slice2.3 is features.3.
    names = {name: "features." + name.split(".", 1)[1] for name in network.net.state_dict()}
    try:
        network.net.load_state_dict({ours: state[theirs] for ours, theirs in names.items()})
    except (KeyError, RuntimeError) as error:
        raise WeightsError(f"{path}: not AlexNet's weights: {error}") from error
    return network.eval()


# FID ------------------------------------------------------------------------------------------------------------------


def fid_features(folder: Path | None = None, device: str = "cpu") -> Callable[[Image], Floats] | NotMeasured:
    """Load the network of FID and return a function of one image to its features (2048,).

    The images are as in `values`, of any size: they are turned to 8 bits, and the network resizes each.

    Args:
        folder: the folder that the user names for network weights.
        device: "cpu", "cuda", ...

    Returns:
        the function, or NotMeasured where the package or the file is missing.

    Raises:
        WeightsError: the file is damaged or another one.
    """
    if (absent := missing("fid", "torch_fidelity")) is not None:
        return absent
    path = weights.find("inception-fid", folder)
    if path is None:
        return NotMeasured("fid", weights.explain("inception-fid", folder))
    extractor = inception(path).to(device)

    def features(image: Image) -> Floats:
        import torch

        pixels = torch.from_numpy(rgb(quantise(image)).copy()).permute(2, 0, 1)[None]
        with torch.no_grad():
            return extractor(pixels.to(device))[0][0].cpu().numpy()

    return features


def inception(path: Path) -> nn.Module:
    """Return torch-fidelity's Inception v3, which gives the 2048 pool-3 features, with the weights of a verified file.

    The library unpickles its file without `weights_only`. It gets a file only after its SHA-256 was checked and
    `read_state` has read it, which refuses every pickle that holds more than tensors.
    """
    make_importable()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    read_state(path)
    try:
        return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
    except RuntimeError as error:
        raise WeightsError(f"{path}: not the weights of the FID's Inception v3: {error}") from error


def frechet_distance(x: Floats, y: Floats) -> float:
    """Return FID: |m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)), with sample means and covariances.

    With X and Y the centred rows divided by sqrt(N - 1), C_x = X^T X and C_y = Y^T Y; the trace of the root is then the
    sum of the singular values of X Y^T. They equal those of the product of the two triangular factors, which is small
    when the images are few, and no root of a singular matrix is needed.

    >>> x = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    >>> round(frechet_distance(x, x + 3), 6)  # equal covariances, and both means differ by 3
    18.0

    Args:
        x: (N, D) features of one set of images.
        y: (M, D) features of the other set; M may differ from N.

    Raises:
        DataError: a set has fewer than two images.
    """
    if (least := min(len(x), len(y))) < 2:
        raise DataError(f"FID of {least} images: expected two or more, and hundreds for a number that means something")
    x, y = x.astype(np.float64), y.astype(np.float64)
    means = x.mean(axis=0), y.mean(axis=0)
    centred = [(rows - mean) / np.sqrt(len(rows) - 1) for rows, mean in zip((x, y), means, strict=True)]
    factor_x, factor_y = (np.asarray(np.linalg.qr(rows, mode="r")) for rows in centred)
    root = np.linalg.norm(factor_x @ factor_y.T, "nuc")
    spread = sum((rows * rows).sum() for rows in centred)
    return max(float(((means[0] - means[1]) ** 2).sum() + spread - 2 * root), 0.0)


FID = SetMetric(
    id="fid",
    title="FID",
    unit="",
    better="lower",
    decimals=2,
    load=fid_features,
    distance=frechet_distance,
    needs_mask=True,  # no deblurring paper here prints it
    protocol="Frechet distance of Inception features (2048, the TensorFlow FID weights, of 8-bit RGB resized to "
    "299x299) over the whole test split",
    notes="It rises as images become fewer: name their number with it.",
    overview=150,
)

PERCEPTUAL: dict[str, NetworkMetric | SetMetric] = {metric.id: metric for metric in (LPIPS_ALEX, FID)}
