"""The pages of `docs/methods`: what they are made from, and that those in the repository are up to date."""

from __future__ import annotations

import functools
import inspect
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
import yaml

from bench import registry, runs
from bench.contracts import untrained
from bench.params import loading, recipe_schema
from bench.tools import markdown, method_facts
from bench.tools.method_pages import page

ROOT = Path(__file__).parents[3]
NAMES = registry.names("methods")
TRAINED = [name for name in NAMES if registry.method(name).networks is not None]
RUN_OF = {"rn": "rn-places2", "dmtnet": "dmtnet-canon-dp", "lmfn": "lmfn-gopro"}


@pytest.fixture(scope="module")
def loaded():
    return loading.load(ROOT / "params.yaml", "paper")


@functools.cache
def page_of(name: str) -> str:
    """The page of a method, written once."""
    return page(name, loading.load(ROOT / "params.yaml", "paper"))


@functools.cache
def committed() -> list[str]:
    """The entries in the repository; others have no page there. None without git, or outside a repository."""
    try:
        listed = subprocess.run(["git", "ls-files", "methods"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    files = {Path(line) for line in listed.stdout.splitlines()}
    return [name for name in NAMES if Path("methods", f"{name.replace('-', '_')}.py") in files]


# Markdown -------------------------------------------------------------------------------------------------------------


def test_signs_of_markdown_do_not_act():
    text = markdown.escaped("(B*C) and <name> of `a*b_` or conv_r_m1, _x")
    assert text == r"(B\*C) and \<name> of `a*b_` or conv_r_m1, \_x"
    text = markdown.wrapped("word " * 23 + "and - not + a list in 2020. Then more", "- ")
    assert all(not re.match(r" *([-+]|\d+\.) ", line) for line in text.splitlines()[1:])
    text = markdown.wrapped("x" * 117 + " 2020. Then")
    assert text.splitlines()[1] == r"2020\. Then"
    assert markdown.table(["a"], [["int | None"]]).splitlines()[-1] == r"| int \| None |"


def test_a_docstring_becomes_paragraphs_and_lists():
    text = """Paper: A. Author, in
2020. Code: none.

Differs from it:
- one scale;
  not two
- biases
"""
    expected = "Paper: A. Author, in 2020. Code: none.\n\nDiffers from it:\n\n- one scale; not two\n- biases"
    assert markdown.prose(text) == expected
    assert markdown.prose("- only\n- items") == "- only\n- items"


# Sources --------------------------------------------------------------------------------------------------------------


def test_an_entry_names_the_files_that_it_runs():
    files = [path.relative_to(ROOT).as_posix() for path in method_facts.files("rn")]
    assert files[0] == "methods/rn.py"
    assert {"methods/layers/patch_critic.py", "methods/losses/pixel.py"} <= set(files)
    assert "methods/losses/perceptual.py" not in files
    assert [path.name for path in method_facts.files("telea")] == ["telea.py"]


@pytest.mark.parametrize("name", committed())
def test_readings_and_limits_are_sentences_on_the_page(name):
    method = registry.method(name)
    for sentence in (*method.readings, *method.limits):
        assert re.match(r"[A-Z0-9\"'`]", sentence) and sentence.endswith("."), sentence
        assert markdown.wrapped(markdown.escaped(sentence), "- ") in page_of(name)
    assert len(set(method.readings)) == len(method.readings)
    assert ("## Our readings" in page_of(name)) == bool(method.readings)


@pytest.mark.parametrize("name", committed())
def test_no_reading_is_left_in_a_docstring(name):
    for path in method_facts.files(name):
        assert "our reading" not in path.read_text(encoding="utf-8").lower(), path


def test_a_runner_belongs_to_the_entry_it_imports_and_a_part_to_those_that_use_it():
    assert method_facts.golden_cases("rn") == ["rn"], "it shares its critic with EdgeConnect, whose case that is"
    assert "edgeconnect-discriminator" in method_facts.golden_cases("edgeconnect")
    assert method_facts.golden_cases("dmtnet") == ["swin-block", "swin-block-shifted", "swin-block-window10"]
    assert "rfdb_50" in method_facts.golden_cases("lmfn")
    assert method_facts.golden_cases("input") == []


def test_without_the_golden_cases_the_rest_of_a_page_is_the_same(loaded, monkeypatch, tmp_path):
    whole = page_of("rn")
    monkeypatch.setattr(method_facts, "CASES", tmp_path / "none")
    monkeypatch.setattr(method_facts, "RUNNERS", tmp_path / "none")
    assert whole.startswith(page("rn", loaded).rstrip())
    assert "## Golden cases" not in page("rn", loaded)


# Networks and parameters ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in TRAINED if name in committed()])
def test_every_argument_has_a_meaning(name):
    method = registry.method(name)
    arguments = method_facts.arguments(method)
    assert [argument.name for argument in arguments] == list(inspect.signature(method.networks).parameters)
    assert [argument.name for argument in arguments if not argument.meaning] == []


def test_arguments_are_explained_by_generator_and_critic():
    meanings = {argument.name: argument.meaning for argument in method_facts.arguments(registry.method("rn"))}
    assert meanings["threshold"] == "of the blocks' RN-L, in [0, 1]; the decoder's is always 0.8, as in the code."
    assert meanings["critic_channels"] == "width of the critic's first convolution."
    meanings = {argument.name: argument.meaning for argument in method_facts.arguments(registry.method("lmfn"))}
    assert meanings["num_blocks"] == "RFDBs in the chain, 1 to 6; table 4."


def test_arguments_of_a_method_without_networks_are_refused():
    with pytest.raises(ValueError, match="without training"):
        method_facts.arguments(untrained(("deblur",), lambda batch: batch["x"]))


def test_sizes_are_those_of_the_papers_networks(loaded):
    assert method_facts.sizes("dpdnet", {}) == {"network": 31_035_151}
    assert method_facts.sizes("deblurgan", {}) == {"generator": 11_378_179, "critic": 2_764_737}
    assert sum(method_facts.sizes("mrfnet", {"light": False, "residual": False}).values()) == 9_014_124
    recipe, _ = runs.resolve(loaded, RUN_OF["dmtnet"])
    assert f"| {24_448_752:,} |" in page_of("dmtnet")
    assert sum(method_facts.sizes("dmtnet", recipe.network).values()) == 24_448_752


def test_losses_have_their_phase_player_and_weight():
    assert method_facts.losses(registry.method("rn")) == [
        ("train", "critic", "adversarial"), ("train", "generator", "l1"), ("train", "generator", "adversarial"),
    ]  # fmt: skip
    text = page_of("rn")
    assert "| train | `critic` | `critic` | `adversarial` | 1 |  |" in text
    assert "| train | `generator` | `generator` | `adversarial` | 0.1 |  |" in text
    text = page_of("deblurgan")
    assert "| `content` | 100 | the weights of vgg19 |" in text, "a loss that only a helper gives"
    assert "| `gradient_penalty` | 10 |  |" in text
    assert "`critic` takes 5 steps on each batch." in text


@pytest.mark.parametrize("name", RUN_OF)
def test_the_recipe_on_the_page_is_the_resolved_one(loaded, name):
    recipe, _ = runs.resolve(loaded, RUN_OF[name])
    text = page_of(name)
    printed = yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1])
    assert printed["network"] == recipe.network
    assert recipe_schema.Train.model_validate(printed["train"]).model_dump(exclude={"epochs", "steps"}) == (
        recipe.train.model_dump(exclude={"epochs", "steps"})
    )
    length = "steps" if recipe.train.steps else "epochs"
    assert printed["train"][length] == getattr(recipe.train, length)
    assert f"python -m bench --profile paper train {recipe.name}\n" in text


def test_writing_a_page_draws_nothing_from_torchs_generator(loaded):
    torch.manual_seed(3)
    expected = torch.rand(4)
    method_facts._sizes.cache_clear()
    torch.manual_seed(3)
    assert page("rn", loaded) == page_of("rn")
    assert torch.equal(torch.rand(4), expected)


# The pages ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", committed())
def test_the_page_of_an_entry_in_the_repository_is_up_to_date(name):
    path = ROOT / "docs" / "methods" / f"{name}.md"
    assert path.is_file(), "no page; run: make docs"
    assert path.read_text(encoding="utf-8") == page_of(name), "the page is old; run: make docs"


def test_every_page_has_its_method():
    assert {path.stem for path in (ROOT / "docs" / "methods").glob("*.md")} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    folder = ROOT / "docs" / "methods"
    links = re.findall(r"\]\((\.\.[^)]*)\)", page_of(name))
    assert links
    assert [link for link in links if not (folder / link).resolve().is_file()] == []


def test_the_command_writes_pages_and_refuses_an_unknown_method(project):
    shutil.copy(ROOT / "params.yaml", project.folder / "params.yaml")
    out = project.good("describe", "rn", "input", "--out", project.folder / "pages")
    assert out.splitlines() == [f"-> {project.folder / 'pages' / name}.md" for name in ("rn", "input")]
    assert (project.folder / "pages" / "rn.md").read_text().splitlines()[2].startswith("# RN: region normalization")
    assert "nearest are: mrfnet" in project.bad("describe", "rn", "mrfne", "--out", project.folder / "more")
    assert not (project.folder / "more").exists()
