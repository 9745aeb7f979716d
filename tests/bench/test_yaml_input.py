"""YAML that a person wrote: hostile, damaged and unusual texts are one short sentence, at once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from bench import registry, yaml_input
from bench.contracts import ParamsError

ROOT = Path(__file__).parents[2]
BOMB = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 12)
)
"""Ten aliases of ten aliases of ...: 10^12 values in 800 bytes."""
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 10)}]}}\n" for level in range(1, 12)
)
REFUSED = {
    "aliases of aliases": (BOMB, "more than 100,000 values, those that aliases repeat among them"),
    "merges of merges": (MERGES, "more than 100,000 values"),
    "a wide list": (f"[{'1,' * 150_000}1]", "more than 100,000 values"),
    "a list inside itself": ("a: &a [*a]", "the value of &a contains itself in line 1, column 8"),
    "a mapping inside itself": ("&a {b: {c: *a}}", "the value of &a contains itself"),
    "deep lists": ("[" * 100_000, "more than 50 lists and mappings inside each other"),
    "deep closed lists": ("[" * 5000 + "]" * 5000, "more than 50 lists and mappings"),
    "deep blocks": ("- " * 5000 + "x", "more than 50 lists and mappings"),
    "deep mappings": ("{a: " * 5000, "more than 50 lists and mappings"),
    "a key twice": ("a: 1\nb: 2\na: 3", "key 'a' is given twice in line 3, column 1"),
    "a number twice as a key": ("{1: a, 0x1: b}", "key 1 is given twice"),
    "an alias as the same key": ("&a x: 1\n*a : 2", "key 'x' is given twice"),
    "a list as a key": ("? [a]\n: 1", "a list or mapping as a key"),
    "a number of 64 bits": (f"seed: {2**63}", "the number 9223372036854775808; expected one below 2.63"),
    "a number of 24,000 bits": (f"a: 0x{'f' * 6000}", "expected one below 2.63"),
    "a number of 5,000 digits": (f"a: {'9' * 5000}", "not YAML"),
    "a number in base 60": (f"a: {':'.join(['59'] * 300)}.5", "not YAML"),
    "infinity": ("lr: .inf", r"the number \.inf; expected a finite one in line 1, column 5"),
    "not a number": ("lr: .nan", r"the number \.nan; expected a finite one"),
    "a number beyond all": ("lr: 1.0e+999", "expected a finite one"),
    "a date that is none": ("a: 2024-02-30", "a value that its type does not allow .*day is out of range"),
    "no whole number": ("a: !!int ''", "a value that its type does not allow"),
    "no truth value": ("a: !!bool 7", "a value that its type does not allow"),
    "no time": ("a: !!timestamp x", "a value that its type does not allow"),
    "no base64": ("a: !!binary a", "failed to decode base64"),
    "an object of Python": ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
    "half a character": (r'a: "\ud800"', "invalid Unicode|in a text"),
    "a zero character": (r'a: "\0"', "the character '.x00' in a text in line 1, column 4"),
    "an escape": (r'a: "\e[31m"', "the character '.x1b' in a text"),
    "a raw escape": ("a: \x1b[31m", "control characters are not allowed"),
    "two documents": ("a: 1\n---\nb: 2", "expected a single document"),
    "an unknown alias": ("a: *b", "undefined alias"),
    "no YAML": ("a: [1, 2", "not YAML: .*expected"),
    "a tab": ("\ta: 1", "cannot start any token"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_text_is_refused_at_once_in_one_short_sentence(kind):
    text, message = REFUSED[kind]
    start = time.process_time()
    with pytest.raises(ParamsError, match=rf"^params\.yaml: .*(?:{message})") as refusal:
        yaml_input.parse(text, "params.yaml")
    assert time.process_time() - start < 5
    assert len(str(refusal.value)) < 400 and "\n" not in str(refusal.value)


def test_the_same_texts_are_refused_without_libyaml(monkeypatch):
    monkeypatch.setattr(yaml_input, "BASE", yaml.SafeLoader)
    for kind in ("aliases of aliases", "deep blocks", "a list inside itself", "a key twice", "a date that is none"):
        text, _ = REFUSED[kind]
        with pytest.raises(ParamsError):
            yaml_input.parse(text, "here")


def test_what_people_write_is_read_as_pyyaml_reads_it():
    text = "b: &b {x: 1, y: [a, 0x10, 1.5e-3, yes, ~, 2024-01-02]}\na: {<<: *b, x: 3}\nc: |\n  two\n  lines\nd: *b\n"
    assert yaml_input.parse(text, "here") == yaml.safe_load(text)
    assert yaml_input.parse("", "here") is None
    assert yaml_input.parse(f"seed: {2**63 - 1}", "here") == {"seed": 2**63 - 1}


def test_the_files_of_the_project_are_read_as_pyyaml_reads_them():
    paths = [ROOT / "params.yaml", *(ROOT / "methods").glob("*.yaml"), *(ROOT / "reports").rglob("*.yaml")]
    assert len(paths) > 40
    for path in paths:
        assert yaml_input.read(path) == yaml.safe_load(path.read_text()), path


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfa: \xc3\xa4\n")
    assert yaml_input.read(tmp_path / "a.yaml") == {"a": "ä"}


def test_a_file_that_cannot_be_read_says_why(tmp_path, monkeypatch):
    (tmp_path / "latin1.yaml").write_bytes("title: Köhler".encode("latin-1"))
    with pytest.raises(ParamsError, match=r"latin1\.yaml: not UTF-8 at byte 8; save it in this encoding"):
        yaml_input.read(tmp_path / "latin1.yaml")
    with pytest.raises(ParamsError, match="cannot be read: Is a directory"):
        yaml_input.read(tmp_path)
    monkeypatch.setattr(yaml_input, "MOST_BYTES", 10)
    (tmp_path / "long.yaml").write_text("a: " + "x" * 20)
    with pytest.raises(ParamsError, match=r"long\.yaml: longer than 10 bytes"):
        yaml_input.read(tmp_path / "long.yaml")
    with pytest.raises(FileNotFoundError):
        yaml_input.read(tmp_path / "missing.yaml")


def test_a_long_misspelt_name_is_compared_quickly():
    start = time.process_time()
    assert registry.nearest("mrfnet" * 100_000, ["mrfnet", "rn"])
    assert time.process_time() - start < 1
