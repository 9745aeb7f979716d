"""Feature maps and weights: the maps of each network, by the names that its method gives them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from bench.record import RECORD, read_record
from reports.figures.images import at_width
from reports.figures.papers.builders import PaperFigure
from reports.figures.papers.feature_maps import BLURRED, DEBLURRED, attention_maps, in_colours
from reports.figures.sheets import WIDTH
from tests.reports.samples import holds, texts


def test_attention_of_the_blurred_the_deblurred_and_the_networks_without_deblurring(
    root: Path, rendered: dict[str, PaperFigure], folder: Path
):
    for figure, what in (("dffnet-fig4-attention", "offsets"), ("dffnet-fig17", "heat")):
        drawn = rendered[figure]
        assert drawn.runs == ("dffnet-places2", "dffnet-no-deblur-places2")
        written = texts(folder, figure)
        heads = [line.split(": ", 1)[1] for line in written if line.startswith("Places2 (offline photographs): ")]
        assert heads == ["given the blurred image", "given the deblurred image", "trained without deblurring"]
        assert written.count("attention 1") == written.count("attention 2") == 3
        sheet = drawn.picture
        assert isinstance(sheet, Image.Image)
        for name in ("dffnet-places2", "dffnet-no-deblur-places2"):
            for inside in read_record(root / name / RECORD).insides:
                if not inside.name.endswith(what):
                    continue
                image = Image.open(root / name / inside.file).convert("RGB")
                shown = in_colours(image, "inferno", logarithmic=True) if what == "heat" else image
                assert holds(sheet, at_width(shown, WIDTH)), inside.name


def test_heat_is_coloured_by_factors():
    grey = Image.fromarray(np.array([[0, 1, 16, 255]], np.uint8)).convert("RGB")
    result = np.asarray(in_colours(grey, "gray", logarithmic=True))[0, :, 0]
    assert result.tolist() == [round(255 * np.log1p(value) / np.log(256)) for value in (0, 1, 16, 255)]
    assert np.asarray(in_colours(grey, "gray"))[0, :, 0].tolist() == [0, 1, 16, 255]


def test_the_weights_of_the_scales_are_above_their_maps(rendered: dict[str, PaperFigure], folder: Path):
    written = " ".join(texts(folder, "dmtnet-fig5"))
    for k, (size, weight) in enumerate(zip(("1", "1/2", "1/4"), ("0.75", "0.2499", "0.000125"), strict=True), 1):
        assert f"scale {k} (size {size}), weight {weight}" in written
    assert "weight of scale 3 in the first DMSSRM 1.1043e-07" in rendered["dmtnet-fig5"].caption


def test_receptive_fields_go_from_the_largest_to_the_smallest(rendered: dict[str, PaperFigure], folder: Path):
    written = texts(folder, "mrfnet-fig18")
    paths = [line for line in written if line.startswith("path ")]
    assert [line[:6] for line in paths] == ["path 3", "path 2", "path 1"]
    assert "location of Gaussian blur" in written and "location of motion blur" in written


def test_intermediate_images_and_texture_have_their_names(rendered: dict[str, PaperFigure], folder: Path):
    written = " ".join(texts(folder, "dffnet-fig16"))
    order = ["input", "deblurred patches", "edge map, predicted", "inpainting, coarse", "inpainting, refined"]
    places = [written.index(name) for name in [*order, "target"]]
    assert places == sorted(places)
    assert {"texture of the known part", "generated texture map", "final result"} <= set(texts(folder, "dgfnet-fig1"))


def test_the_methods_give_their_insides_the_names_that_figures_use():
    import torch

    from bench import registry

    def names(name: str, **more: object) -> list[str]:
        method = registry.method(name)
        assert method.networks is not None and method.insides is not None
        networks = torch.nn.ModuleDict(method.networks(**{**method.tiny, **more})).eval()
        torch.manual_seed(0)
        x, mask = torch.rand(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)
        mask[..., 20:40, 20:40] = 1
        batch = {"x": x, "left": x, "right": x, "mask": mask, "texture": torch.zeros(1, 3, 64, 64)}
        batch["x"] = x if name == "mrfnet_edges" else x * (1 - mask)
        with torch.no_grad():
            return list(method.insides(networks, batch))

    blank = Image.new("L", (4, 4))
    result = {name: blank for name in names("dffnet")}
    assert {"deblurred", "edges, predicted in the hole", f"{DEBLURRED}coarse", f"{DEBLURRED}refined", "result"} <= set(
        result
    )
    assert len(attention_maps(result, DEBLURRED, "offsets")) == len(attention_maps(result, BLURRED, "heat")) == 3
    without = {name: blank for name in names("dffnet", deblur=False)}
    assert len(attention_maps(without, DEBLURRED, "heat")) == 3 and not attention_maps(without, BLURRED, "heat")
    assert {"texture given", "texture result", "fused result"} <= set(names("dgfnet"))
    result = names("mrfnet_edges")
    assert "edge map" in result and sum(name.startswith("location of ") for name in result) == 2
    assert sum(bool(re.match(r"path \d+: difference", name)) for name in result) == 4
    result = names("dmtnet")
    assert "DMSSRM 1: scales 1, 1/2, 1/4" in result
    assert [name for name in result if name.startswith("DMSSRM 1, scale 1/2:")]
