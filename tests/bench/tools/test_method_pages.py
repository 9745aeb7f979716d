"""The pages of `docs/methods`: what they are drawn from, and that they are what the sources give now."""

from __future__ import annotations

import functools
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from bench import registry, runs
from bench.params import loading, schema
from bench.tools import method_pages
from bench.tools.method_pages import Block, blocks, escaped, page, sentences, split_readings, wrapped

ROOT = Path(__file__).parents[3]
NAMES = registry.names("methods")
TRAINED = [name for name in NAMES if registry.method(name).networks is not None]
RUN_OF = {"rn": "rn-places2", "dmtnet": "dmtnet-canon-dp", "lmfn": "lmfn-gopro"}

DOCSTRING = """A network. By G. Lin (et al. 2018), Fig. 3.

    Our readings:
    - one scale;
      not two
    - biases

    Prose of two lines, the first of which is filled up to where no further word would have had its place in it, at all
    goes on. Our reading: the sum. It leans on that.
    Our reading of eq. 2: a product.

    Args:
        channels: width,
            64. Our reading: even.
        mask: (N, 1, H, W).

    Raises:
        ParamsError: for a width below 1.
    """


@pytest.fixture(scope="module")
def loaded():
    return loading.load(ROOT / "params.yaml", "paper")


@functools.cache
def drawn(name: str) -> str:
    """The page of a method, drawn once."""
    return page(name, loading.load(ROOT / "params.yaml", "paper"))


# Docstrings -----------------------------------------------------------------------------------------------------------


def test_a_docstring_comes_apart_into_paragraphs_items_and_arguments():
    found = blocks(DOCSTRING)
    assert [block.kind for block in found] == [
        "text", "text", "item", "item", "text", "text", "argument", "argument", "text",
    ]  # fmt: skip
    assert found[2].text == "one scale; not two"
    assert found[4].text.endswith("at all goes on. Our reading: the sum. It leans on that.")
    assert found[5].text == "Our reading of eq. 2: a product."
    assert method_pages.arguments(DOCSTRING) == {"channels": "width, 64. Our reading: even.", "mask": "(N, 1, H, W)."}
    assert found[-1].text == "ParamsError: for a width below 1."


def test_sentences_end_at_full_stops_alone():
    assert sentences("A network. By G. Lin (et al. 2018), Fig. 3.") == [
        "A network.",
        "By G. Lin (et al. 2018), Fig. 3.",
    ]
    assert sentences("It is RGB. The paper has BGR.") == ["It is RGB.", "The paper has BGR."]


def test_readings_are_gathered_and_leave_the_prose_where_nothing_leans_on_them():
    prose, readings = split_readings(DOCSTRING)
    assert readings == [
        Block("item", "one scale; not two"),
        Block("item", "biases"),
        Block("text", "the sum."),
        Block("text", "Our reading of eq. 2: a product."),
        Block("argument", "even.", "channels"),
    ]
    assert [block.text.split()[0] for block in prose] == ["A", "Prose", "width,", "(N,", "ParamsError:"]


def test_signs_of_markdown_do_not_act():
    assert escaped("(B*C) and <name> of `a*b_` or conv_r_m1, _x") == r"(B\*C) and \<name> of `a*b_` or conv_r_m1, \_x"
    text = wrapped("word " * 23 + "and - not + a list in 2020. Then more", "- ")
    assert all(not re.match(r" *([-+]|\d+\.) ", line) for line in text.splitlines()[1:])
    text = wrapped("x" * 117 + " 2020. Then")
    assert text.splitlines()[1] == r"2020\. Then"
    assert method_pages.table(["a"], [["int | None"]]).splitlines()[-1] == r"| int \| None |"


# Sources --------------------------------------------------------------------------------------------------------------


def test_an_entry_reaches_what_it_uses_and_no_more():
    found = method_pages.reached("methods.rn")
    assert next(iter(found)) == "methods.rn"
    assert {"PatchCritic", "SpectralNorm", "spectral_norm"} <= found["methods.layers.patch_critic"]
    assert found["methods.losses.pixel"] == {"l1_over_hole"}
    assert "methods.losses.perceptual" not in found
    assert "perceptual" in method_pages.reached("methods.deblurgan")["methods.losses.perceptual"], (
        "through `from methods import _vgg`"
    )


def test_readings_say_where_they_stand():
    found = dict(method_pages.readings("methods.mrfnet"))
    assert found["_multipath.MRFNet(num_paths)"] == "fewer drop the coarsest; more repeat conv7, conv8 and path r1."
    assert found["_multipath.MRFUnit"].startswith("of the five convolutions in the text")
    assert dict(method_pages.readings("methods.lmfn"))["ALFM"].startswith("rows are normalised")
    assert dict(method_pages.readings("methods.dmphn"))["AXES"].startswith("The last, for 1-2-4-8-16, is our reading")
    assert method_pages.readings("methods.telea") == []
    others = {place.split("(")[0] for place, _ in method_pages.readings("methods.dffnet")}
    assert "edgeconnect" not in others, "what another entry says of itself as a whole"


@pytest.mark.parametrize("name", NAMES)
def test_no_reading_is_lost(name):
    """Every docstring of the entry that says "our reading" gives at least one to the page, at its own place."""
    module = registry.module_name("methods", name)
    about = method_pages.source(module)
    places = {place.split("(")[0] for place, _ in method_pages.readings(module)}
    wanted = {place for place, text in about.docstrings.items() if "our reading" in text.lower()}
    wanted |= {module.removeprefix("methods.")} if "our reading" in about.docstring.lower() else set()
    assert wanted <= places


def test_a_runner_belongs_to_the_entry_it_imports_and_a_part_to_those_that_use_it():
    assert method_pages.golden_cases("methods.rn") == ["rn"], "it shares its critic with EdgeConnect, whose case it is"
    assert "edgeconnect-discriminator" in method_pages.golden_cases("methods.edgeconnect")
    assert method_pages.golden_cases("methods.dmtnet") == ["swin-block", "swin-block-shifted", "swin-block-window10"]
    assert "rfdb_50" in method_pages.golden_cases("methods.lmfn")
    assert method_pages.golden_cases("methods.input") == []


def test_without_the_golden_cases_a_page_is_made_all_the_same(loaded, monkeypatch, tmp_path):
    whole = drawn("rn")
    monkeypatch.setattr(method_pages, "CASES", tmp_path / "none")
    monkeypatch.setattr(method_pages, "RUNNERS", tmp_path / "none")
    assert whole.startswith(page("rn", loaded).rstrip())
    assert "## Golden cases" not in page("rn", loaded)


# Networks and parameters ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRAINED)
def test_every_argument_has_a_meaning(name):
    import inspect

    method = registry.method(name)
    said = method_pages.meanings(method)
    assert [argument for argument in inspect.signature(method.networks).parameters if not said.get(argument)] == []


def test_a_meaning_is_found_at_the_network_that_the_argument_is_handed_to():
    found = method_pages.meanings(registry.method("rn"))
    assert found["threshold"] == "of the blocks' RN-L, in [0, 1]; the decoder's is always 0.8, as in the code."
    assert found["critic_channels"] == "width of the first; 64 in the papers."
    assert method_pages.meanings(registry.method("lmfn"))["num_blocks"] == "RFDBs in the chain, 1 to 6; table 4."


def test_sizes_are_those_of_the_papers_networks(loaded):
    assert method_pages.sizes("dpdnet", {}) == {"network": 31_035_151}
    assert method_pages.sizes("deblurgan", {}) == {"generator": 11_378_179, "critic": 2_764_737}
    assert sum(method_pages.sizes("mrfnet", {"light": False, "residual": False}).values()) == 9_014_124
    recipe, _ = runs.resolve(loaded, RUN_OF["dmtnet"])
    assert f"| {24_448_752:,} |" in drawn("dmtnet")
    assert sum(method_pages.sizes("dmtnet", recipe.network).values()) == 24_448_752


def test_losses_stand_with_phase_player_and_weight():
    assert method_pages.losses(registry.method("rn")) == [
        ("train", "critic", "adversarial"), ("train", "generator", "l1"), ("train", "generator", "adversarial"),
    ]  # fmt: skip
    text = drawn("rn")
    assert "| train | `critic` | `critic` | `adversarial` | 1 |  |" in text
    assert "| train | `generator` | `generator` | `adversarial` | 0.1 |  |" in text
    text = drawn("deblurgan")
    assert "| `content` | 100 | the weights of vgg19 |" in text, "a loss that only a helper gives"
    assert "| `gradient_penalty` | 10 |  |" in text
    assert "`critic` takes 5 steps on each batch." in text


@pytest.mark.parametrize("name", RUN_OF)
def test_the_recipe_on_the_page_is_the_resolved_one(loaded, name):
    recipe, _ = runs.resolve(loaded, RUN_OF[name])
    text = drawn(name)
    printed = yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1])
    assert printed["network"] == recipe.network
    assert schema.Train.model_validate(printed["train"]).model_dump(exclude={"epochs", "steps"}) == (
        recipe.train.model_dump(exclude={"epochs", "steps"})
    )
    length = "steps" if recipe.train.steps else "epochs"
    assert printed["train"][length] == getattr(recipe.train, length)
    assert f"python -m bench --profile paper train {recipe.name}\n" in text


def test_drawing_a_page_leaves_torchs_generator_alone(loaded):
    torch.manual_seed(3)
    wanted = torch.rand(4)
    method_pages._sizes.cache_clear()
    torch.manual_seed(3)
    assert page("rn", loaded) == drawn("rn")
    assert torch.equal(torch.rand(4), wanted)


# The pages ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_page_is_what_the_sources_give(name):
    path = ROOT / "docs" / "methods" / f"{name}.md"
    assert path.is_file(), "no page; run: make docs"
    assert path.read_text(encoding="utf-8") == drawn(name), "the page is old; run: make docs"


def test_there_is_no_page_without_a_method():
    assert {path.stem for path in (ROOT / "docs" / "methods").glob("*.md")} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    folder = ROOT / "docs" / "methods"
    links = re.findall(r"\]\((\.\.[^)]*)\)", drawn(name))
    assert links
    assert [link for link in links if not (folder / link).resolve().is_file()] == []


def test_the_command_writes_pages_and_refuses_an_unknown_method(project):
    shutil.copy(ROOT / "params.yaml", project.folder / "params.yaml")
    out = project.good("describe", "rn", "input", "--out", project.folder / "pages")
    assert out.splitlines() == [f"-> {project.folder / 'pages' / name}.md" for name in ("rn", "input")]
    assert (project.folder / "pages" / "rn.md").read_text().splitlines()[2].startswith("# RN: region normalization")
    assert "nearest are: mrfnet" in project.bad("describe", "rn", "mrfne", "--out", project.folder / "more")
    assert not (project.folder / "more").exists()
