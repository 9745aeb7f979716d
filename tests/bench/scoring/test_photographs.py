"""The command `restore`: a person's own photographs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from bench.contracts import UserError
from bench.params import loading
from bench.scoring import photographs
from tests.bench.scoring.toys import picture
from tests.conftest import PARAMS, Project
from tests.images import read_png

ROOT = Path(__file__).parents[3]


@pytest.fixture
def photo(tmp_path) -> Path:
    """A JPEG on its side: 70x50 pixels stored, shown as 50x70 after a quarter turn."""
    pixels = (picture(50, 70)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", exif=exif, quality=95)
    return tmp_path / "photo.jpg"


def test_a_photograph_is_restored_upright_in_its_own_size(ready, photo, tmp_path):
    from bench.data.user_images import read_rgb

    ready.good("restore", "mrfnet-gopro", photo, "--out", tmp_path / "out")
    assert read_png(tmp_path / "out" / "photo.png").shape == (70, 50, 3)
    ready.good("restore", "input-gopro", photo, "--out", tmp_path / "same")
    assert np.array_equal(read_png(tmp_path / "same" / "photo.png"), read_rgb(photo))


@pytest.mark.parametrize(
    ("run", "options", "least", "most"),
    [("mrfnet-gopro", ("--tile", "64"), 0, 1), ("dmphn-places2", ("--precision", "bfloat16"), 1, 3)],
)
def test_tiles_and_bfloat16_on_demand_agree_with_the_whole_in_float32(ready, tmp_path, run, options, least, most):
    """In grey levels; that bfloat16 changes some shows that it is used."""
    pixels = (picture(120, 150)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    ready.good("restore", run, tmp_path / "a.png", "--out", tmp_path / "whole")
    ready.good("restore", run, tmp_path / "a.png", "--out", tmp_path / "other", *options)
    pair = [read_png(tmp_path / name / "a.png").astype(int) for name in ("whole", "other")]
    assert least <= np.abs(pair[0] - pair[1]).max() <= most


def test_restoring_lets_waiting_threads_leave_their_cores(ready, photo, tmp_path):
    """What torch's OpenMP reads when it is imported, and at no other time."""
    code = (
        "import os, sys; seen = []\n"
        "sys.addaudithook(lambda event, about: event == 'import' and about[0] == 'torch'"
        " and seen.append(os.environ.get('OMP_WAIT_POLICY')))\n"
        "from bench.cli.main import main; print(main(sys.argv[1:]), seen[0])"
    )
    command = [sys.executable, "-c", code, "restore", "input-gopro", photo, "--out", tmp_path]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(command, cwd=ready.folder, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 PASSIVE"


def test_a_hole_is_filled_and_all_else_is_kept(ready, photo, tmp_path):
    from bench.data.user_images import read_rgb

    mask = np.zeros((70, 50), np.uint8)
    mask[20:40, 10:30] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    for run in ("rn-places2", "telea-places2"):
        ready.good("restore", run, photo, "--out", tmp_path / run, "--mask", tmp_path / "mask.png")
        restored = read_png(tmp_path / run / "photo.png")
        assert np.array_equal(restored[mask == 0], read_rgb(photo)[mask == 0])
        assert restored[mask == 255].any()


def test_the_colour_profile_is_kept_and_a_lost_one_is_told(ready, photo, tmp_path, capsys):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.open(photo).save(tmp_path / "phone.jpg", icc_profile=profile)
    ready.good("restore", "input-gopro", tmp_path / "phone.jpg", "--out", tmp_path / "out")
    assert Image.open(tmp_path / "out" / "phone.png").info["icc_profile"] == profile
    Image.open(photo).convert("L").save(tmp_path / "grey.png", icc_profile=profile.replace(b"RGB ", b"GRAY", 1))
    with pytest.warns(UserWarning, match=r"grey\.png: its colour profile is for grey values"):
        ready.good("restore", "input-gopro", tmp_path / "grey.png", "--out", tmp_path / "out")


def test_two_views_are_restored_together(ready, photo, tmp_path):
    right = shutil.copy(photo, tmp_path / "right.jpg")
    ready.good("restore", "dpdnet-canon-dp", photo, "--right", right, "--out", tmp_path / "out")
    assert read_png(tmp_path / "out" / "photo.png").shape == (70, 50, 3)


def test_restoring_refuses_what_it_cannot_do_before_it_begins(ready, photo, tmp_path):
    out = tmp_path / "out"
    other = tmp_path / "other.png"
    Image.new("RGB", (40, 40)).save(other)
    for name, size in (("mask.png", (40, 40)), ("fits.png", (50, 70))):
        mask = Image.new("L", size)
        mask.paste(255, (5, 5, 20, 20))
        mask.save(tmp_path / name)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photo.read_bytes()[:600])
    empty = tmp_path / "empty.png"
    empty.touch()
    refused = {
        ("mrfnet-gopro", tmp_path / "no.jpg"): "no such file",
        ("mrfnet-gopro", photo, broken): "broken.jpg",
        ("mrfnet-gopro", photo, empty): "empty.png: found a file of 0 bytes",
        ("mrfnet-gopro", photo, "--mask", tmp_path / "fits.png"): "it takes no --mask",
        ("mrfnet-gopro", photo, "--right", photo): "it takes no --right",
        ("rn-places2", photo): "give --mask FILE",
        ("rn-places2", photo, "--mask", tmp_path / "mask.png"): "mask.png: 40x40, but",
        ("dpdnet-canon-dp", photo): "give --right",
        ("dpdnet-canon-dp", photo, "--right", other): "other.png: 40x40, but",
        ("dpdnet-canon-dp", photo, "--right", photo, "--right", other): "--right: found 2 for 1 images",
        ("dpdnet-canon-dp", photo, other, "--right", photo): "--right: found 1 for 2 images; give it once per IMAGE",
        ("mrfnet-gopro", photo, shutil.copy(photo, tmp_path / "photo.jpeg")): "have the same name",
        ("mrfnet-gopro", photo, "--tile", "8"): "--tile: found 8, expected 64 pixels or more",
        ("mrfnet-gopr", photo): "the nearest are: mrfnet-gopro",
        ("dmphn+rn", photo): "restore with dmphn-places2, then with rn-places2",
        ("mrfnet-kohler", photo): "restore with mrfnet-gopro",
    }
    for arguments, message in refused.items():
        assert message in ready.bad("restore", *arguments, "--out", out), arguments
    assert not out.exists() or not list(out.iterdir())


def test_no_photograph_is_overwritten(ready, photo, tmp_path):
    neighbour = tmp_path / "photo.png"
    Image.new("RGB", (4, 4), "red").save(neighbour)
    before = neighbour.read_bytes()
    assert "in a folder of the images" in ready.bad("restore", "mrfnet-gopro", photo, "--out", tmp_path)
    mask = tmp_path / "masks" / "photo.png"
    mask.parent.mkdir()
    Image.new("L", (50, 70)).save(mask)
    arguments = ("rn-places2", photo, "--mask", mask, "--out", mask.parent)
    assert "in a folder of the images" in ready.bad("restore", *arguments)
    assert neighbour.read_bytes() == before
    links = tmp_path / "links"  # the folder that holds a link belongs to the user too
    links.mkdir()
    (links / "photo.jpg").symlink_to(photo)
    shutil.copy(neighbour, links / "photo.png")
    assert "in a folder of the images" in ready.bad("restore", "mrfnet-gopro", links / "photo.jpg", "--out", links)
    assert (links / "photo.png").read_bytes() == before


def test_an_earlier_result_is_replaced(ready, photo, tmp_path):
    out = tmp_path / "out"
    ready.good("restore", "mrfnet-gopro", photo, "--out", out)
    before = read_png(out / "photo.png")
    ready.good("restore", "input-gopro", photo, "--out", out)
    assert not np.array_equal(read_png(out / "photo.png"), before)
    assert [path.name for path in out.iterdir()] == ["photo.png"]


def test_a_chain_of_the_tour_is_known_by_name(tmp_path):
    tour = "tour: {chains: {dmphn+telea: {first: dmphn-places2, second: telea-places2, dataset: places2}}}\n"
    (tmp_path / "params.yaml").write_text(PARAMS + tour)
    with pytest.raises(UserError, match="made of runs: restore with dmphn-places2, then with telea-places2"):
        photographs._load(loading.load(tmp_path / "params.yaml"), "dmphn+telea", "cpu")


@pytest.mark.slow
def test_a_photograph_of_12_megapixels_fits_into_2_gigabytes(tmp_path):
    """MRFNet at an eighth of its width on 4000x3000 pixels, in a separate process, whose peak is measured.

    At the paper's width the same command takes 2.8 GB.
    """
    (tmp_path / "params.yaml").write_text(PARAMS)
    project = Project(tmp_path)
    project.good("build", "gopro", "--jobs", "1")
    project.pretend_trained("mrfnet-gopro")
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(cv2.resize(noise, (4000, 3000), interpolation=cv2.INTER_CUBIC)).save(tmp_path / "large.jpg")
    # The peak of the command's own memory: what `getrusage` knows of a child begins with the size of its parent.
    program = """
import sys
from bench.cli.main import main
status = main(["restore", "mrfnet-gopro", "large.jpg", "--out", "restored"])
print("peak", next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
sys.exit(status)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "large.jpg: 4000x3000 is restored in tiles" in done.stdout
    assert read_png(tmp_path / "restored" / "large.png").shape == (3000, 4000, 3)
    assert int(done.stdout.split("peak")[1]) * 1024 < 2e9  # Linux counts in KiB
