"""Write a page on a method from what the project already says of it, so that nothing has to be said twice.

Prose, readings and the meaning of arguments come from docstrings, weights and recipes from `params.yaml`, sizes and the
names of losses from the networks themselves, golden cases from the modules that run them. The same files give the same
page.
"""

from __future__ import annotations

import ast
import functools
import inspect
import json
import os
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bench import registry, runs, weights
from bench.contracts import Method
from bench.params import loading
from bench.params.schema import Params, Recipe, Run
from bench.tasks import find_task

if TYPE_CHECKING:
    from torch import Tensor

ROOT = Path(__file__).parents[2]
CASES, RUNNERS = ROOT / "tests" / "golden", ROOT / "tests" / "golden_runners"
WIDTH = 120
SIDE = 64
"""Pixels a side of the image that a method's losses are found with: critics of many strides take no smaller one."""


# Docstrings -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """A paragraph, a list's item or an argument of a docstring, its lines joined.

    Args:
        kind: "text", "item" or "argument".
        text: without the bullet or the argument's name.
        name: the argument's; empty otherwise.
    """

    kind: str
    text: str
    name: str = ""


def blocks(docstring: str) -> list[Block]:
    """Take a docstring apart; what stands under `Returns:` and `Raises:` is text.

    A sentence that begins on a line of its own, though it would have fitted on the one before, begins a paragraph.
    """
    found: list[list[str]] = []
    section, before, going_on = "", "", False
    for line in inspect.cleandoc(docstring).splitlines():
        text, indented = line.strip(), line.startswith(" ")
        if heading := re.fullmatch(r"(Args|Returns|Raises):", line):
            section, going_on = heading[1], False
            continue
        section = section if indented or not text else ""
        argument = re.fullmatch(r" {4}(\w+): (.*)", line) if section == "Args" else None
        if not text:
            going_on = False
        elif argument:
            found.append(["argument", argument[2], argument[1]])
        elif text.startswith("- "):
            found.append(["item", text[2:], ""])
        elif going_on and (not _ended(before, text) if found[-1][0] == "text" else indented):
            found[-1][1] += f" {text}"
        else:
            found.append(["text", text, ""])
        before, going_on = line, bool(text)
    return [Block(*parts) for parts in found]


def _ended(line: str, following: str) -> bool:
    return line.endswith((".", ":")) and len(line) + 1 + len(following.split(maxsplit=1)[0]) <= WIDTH


def arguments(docstring: str | None) -> dict[str, str]:
    """What a docstring says of each argument."""
    return {block.name: block.text for block in blocks(docstring or "") if block.kind == "argument"}


def sentences(text: str) -> list[str]:
    """Split at full stops before a capital; "G. Lin", "Fig. 3" and "et al. 2018" stay whole."""
    return re.split(r"(?<=[.!?])(?<!\s[A-Z]\.)(?<!al\.)\s+(?=[A-Z`\"(])", text)


def is_reading(sentence: str) -> bool:
    """Tell whether a sentence decides what a paper leaves open."""
    return bool(re.search(r"\bour readings?\b", sentence, re.IGNORECASE))


def split_readings(docstring: str) -> tuple[list[Block], list[Block]]:
    """Part a docstring: the prose, and the readings (an argument's keep its name).

    A list under a line such as "Our readings:", and a block of nothing but readings, leave the prose; a reading amid
    other sentences stays there too, for they lean on it.
    """
    prose, readings, listing = [], [], False
    for block in blocks(docstring):
        heading = block.text.startswith("Our reading") and block.text.endswith(":")
        listing = heading or (listing and block.kind == "item")
        if listing:
            readings += [block] if block.kind == "item" else []
            continue
        decided = [sentence for sentence in sentences(block.text) if is_reading(sentence)]
        readings += [Block(block.kind, sentence.removeprefix("Our reading: "), block.name) for sentence in decided]
        if not decided or len(decided) < len(sentences(block.text)):
            prose.append(block)
    return prose, readings


# Where things stand in the sources ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """What a module of `methods` defines and takes from others, read without running it.

    Args:
        docstring: the module's.
        definitions: top-level functions, classes and constants by name, in order; of a constant its value.
        docstrings: of all that has one, by qualified name.
        imported: our name to the module of `methods` and the name there; the name is "" for a module as a whole.
    """

    docstring: str
    definitions: dict[str, ast.AST]
    docstrings: dict[str, str]
    imported: dict[str, tuple[str, str]]


@functools.cache
def source(module: str) -> Source:
    """Read "methods.rn"."""
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    definitions: dict[str, ast.AST] = {}
    docstrings: dict[str, str] = {}
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            definitions[node.name] = node
            inner = [(f"{node.name}.{n.name}", n) for n in node.body if isinstance(n, ast.FunctionDef)]
            for name, part in [(node.name, node), *inner]:
                docstrings[name] = ast.get_docstring(part) or ""
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for name in (target.id for target in targets if isinstance(target, ast.Name)):
                definitions[name] = node
                docstrings[name] = _text(after)
    said = {name: docstring for name, docstring in docstrings.items() if docstring}
    return Source(ast.get_docstring(tree) or "", definitions, said, dict(imports(tree)))


def imports(tree: ast.AST) -> Iterator[tuple[str, tuple[str, str]]]:
    """Give what some code takes from `methods`: the name here, then module and name there.

    The name there is "" for a module as a whole.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "methods":
            for alias in node.names:
                whole = node.module == "methods"
                place = (f"methods.{alias.name}", "") if whole else (str(node.module), alias.name)
                yield alias.asname or alias.name, place


def _text(node: ast.AST | None) -> str:
    """Return the string that documents a constant from the line below it."""
    found = node.value if isinstance(node, ast.Expr) else None
    return found.value if isinstance(found, ast.Constant) and isinstance(found.value, str) else ""


def reached(module: str) -> dict[str, set[str]]:
    """Return all that an entry uses of `methods`: names by module, the entry's own, whole, first."""
    found: dict[str, set[str]] = {module: set(source(module).definitions)}
    todo = [(module, name) for name in source(module).definitions]
    while todo:
        place, name = todo.pop(0)
        here = source(place)
        for used in _uses(here, place, here.definitions[name]):
            if used[1] in source(used[0]).definitions and used[1] not in found.setdefault(used[0], set()):
                found[used[0]].add(used[1])
                todo.append(used)
    return found


def _uses(here: Source, place: str, node: ast.AST) -> Iterator[tuple[str, str]]:
    """Give the definitions of `methods` that a piece of code names, as (module, name)."""
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
            module, name = here.imported.get(part.value.id, ("", "."))
            if not name:
                yield module, part.attr
        elif isinstance(part, ast.Name) and part.id in here.imported:
            module, name = here.imported[part.id]
            if name:
                yield module, name
        elif isinstance(part, ast.Name):
            yield place, part.id


def readings(module: str) -> list[tuple[str, str]]:
    """Gather what was decided where a paper is silent, in the entry and in what it uses: (where it stands, what)."""
    found = []
    for place, names in reached(module).items():
        about, own = source(place), place == module
        short = place.removeprefix("methods.")
        # What another entry says of itself as a whole is not said of the parts that are taken from it.
        whole = [("", about.docstring)] if own or short.startswith("_") else []
        for name, docstring in [*whole, *about.docstrings.items()]:
            if name and name.split(".")[0] not in names:
                continue
            where = name if own and name else ".".join(part for part in (short, name) if part)
            found += [
                (f"{where}({block.name})" if block.name else where, block.text)
                for block in split_readings(docstring)[1]
            ]
    return found


def golden_cases(module: str) -> list[str]:
    """Return the golden cases that an entry's networks, or parts that they are made of, are held to.

    A runner belongs to the entries that it imports, and one that imports none to those that use what it imports.
    """
    known = {path.stem for path in CASES.glob("*.json")}
    used = reached(module)
    found: set[str] = set()
    for path in RUNNERS.glob("[!_]*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        parts = {place for _, place in imports(tree)}
        entries = {name for name, _ in parts if not name.split(".")[1].startswith("_")}
        shared = {name for name, part in parts if name in used and (not part or part in used[name])}
        if module in entries or (not entries and shared):
            found |= known & {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return sorted(found)


# The method itself ----------------------------------------------------------------------------------------------------


def meanings(method: Method) -> dict[str, str]:
    """What each argument of a method's networks means.

    The docstring of what makes them says it, or that of the network to which the argument is handed.
    """
    assert method.networks is not None
    maker = inspect.unwrap(method.networks)
    own = arguments(inspect.getdoc(maker))
    if not inspect.isfunction(maker):
        return own
    handed: dict[str, list[str]] = {}
    for call in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(maker)))):
        if not isinstance(call, ast.Call) or (callee := _callee(call.func, maker.__globals__)) is None:
            continue
        texts = arguments(inspect.getdoc(callee))
        positions = list(inspect.signature(callee).parameters)
        given = [*zip(positions, call.args, strict=False), *((key.arg, key.value) for key in call.keywords)]
        for parameter, value in given:
            if isinstance(value, ast.Name) and parameter in texts:
                handed.setdefault(value.id, []).append(texts[parameter])
    return {name: " / ".join(dict.fromkeys(texts)) for name, texts in handed.items()} | own


def _callee(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """Return the class or function of `methods` that a call names; None for any other."""
    if isinstance(node, ast.Attribute):
        found = getattr(_callee_module(node.value, names), node.attr, None)
    else:
        found = names.get(node.id) if isinstance(node, ast.Name) else None
    known = inspect.isclass(found) or inspect.isfunction(found)
    return found if known and str(found.__module__).startswith("methods") else None


def _callee_module(node: ast.expr, names: Mapping[str, Any]) -> Any:
    return names.get(node.id) if isinstance(node, ast.Name) else None


@functools.cache
def _sizes(name: str, network: str) -> dict[str, int]:
    import torch

    method = registry.method(name)
    assert method.networks is not None
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):  # neither memory nor drawing of weights
                made = method.networks(**json.loads(network))
        except (NotImplementedError, RuntimeError):
            # A constructor that computes with its weights, as spectral norm's does, may need some.
            made = method.networks(**json.loads(network))
    return {key: sum(p.numel() for p in net.parameters()) for key, net in made.items()}


def sizes(name: str, network: Mapping[str, Any]) -> dict[str, int]:
    """Return the parameters of each network that a method makes of these arguments."""
    return _sizes(name, json.dumps(network, sort_keys=True))


def losses(method: Method) -> list[tuple[str, str, str]]:
    """Return phase, player and name of every loss, as the method's smallest networks give them for one random batch.

    Frozen helpers are networks of random weights here: only the names count.
    """
    import torch
    from torch import nn

    assert method.networks is not None
    found = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        frozen = {name: helper.build(None).requires_grad_(False) for name, helper in method.helpers.items()}
        networks = nn.ModuleDict({**method.networks(**method.tiny), **frozen})
        batch = random_batch(method)
        for phase_name, phase in method.phases.items():
            if any(network not in networks for player in phase.players.values() for network in player.networks):
                continue  # of an ablation that has other networks
            outputs = phase.forward(networks, batch)
            for player_name, player in phase.players.items():
                found += [(phase_name, player_name, loss) for loss in player.losses(networks, batch, outputs)]
    return found


def random_batch(method: Method) -> dict[str, Tensor]:
    """A training batch of two noise images of a size that the method takes, each with a square hole."""
    import torch

    task = method.tasks[0]
    side = -(-max(SIDE, method.min_size) // method.multiple) * method.multiple
    target = torch.rand(2, 3, side, side)
    mask = torch.zeros(2, 1, side, side)
    mask[..., side // 4 : side // 2, side // 4 : side // 2] = 1
    known = {"mask": mask, "x": target * (1 - mask), "left": target, "right": target}
    if not find_task(task).has_hole:
        known["x"] = target
    made = {
        name: torch.stack([torch.from_numpy(one_map.of_target(image.permute(1, 2, 0).numpy())) for image in target])
        for name, one_map in method.auxiliary.items()
    }
    return {
        **{name: known[name] for name in find_task(task).inputs},
        **{name: value.permute(0, 3, 1, 2) for name, value in made.items()},
        "target": target,
        "blurred": target,
        "progress": torch.tensor(0.5),
    }


# Markdown -------------------------------------------------------------------------------------------------------------


def escaped(text: str) -> str:
    """Keep signs of Markdown outside code from acting."""
    parts = re.split(r"(`[^`]*`)", text)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"[*<\\]|(?<!\w)_|_(?!\w)", r"\\\g<0>", parts[i])
    return "".join(parts)


def wrapped(text: str, bullet: str = "") -> str:
    """Fold a paragraph, or an item of a list; no line after the first can be taken for a list or a heading."""
    lines = textwrap.wrap(
        text, WIDTH, initial_indent=bullet, subsequent_indent=" " * len(bullet),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return "\n".join([*lines[:1], *(re.sub(r"^( *\d*)([-+>#=.)])(?= |$)", r"\1\\\2", line) for line in lines[1:])])


def prose(found: Iterable[Block]) -> str:
    """Write paragraphs and lists."""
    text, last = "", ""
    for block in found:
        item = block.kind == "item"
        text += ("\n" if item and last == "item" else "\n\n") + wrapped(escaped(block.text), "- " if item else "")
        last = block.kind
    return text.strip()


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table; a bar within a cell does not end it."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def code(text: Any) -> str:
    """Write code within a line."""
    return f"`{text}`"


def flow(value: Any) -> str:
    """Write a value as YAML in one line; nothing for an empty one."""
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6).strip() if value else ""


# The page -------------------------------------------------------------------------------------------------------------


def page(name: str, loaded: Params, up: str = "../..") -> str:
    """Write the page of a method.

    Args:
        name: the entry.
        loaded: the parameters, in the profile `paper`.
        up: from the page's folder to the project's, for links.

    Raises:
        UserError: an unknown method; ParamsError: one of its runs cannot be resolved.
    """
    module = registry.module_name("methods", name)
    name = module.removeprefix("methods.").replace("_", "-")
    method = registry.method(name)
    about, _ = split_readings(source(module).docstring)
    decided = [wrapped(f"{code(where)}: {escaped(text)}", "- ") for where, text in readings(module)]
    mine = {key: run for key, run in _all_runs(loaded).items() if run.method.replace("_", "-") == name}
    found = {key: runs.resolve(loaded, key)[0] for key in mine}
    sections = [
        ("", _head(name, module, method, about, up)),
        ("Our readings", "\n".join(decided)),
        ("Arguments", _arguments(name, method)),
        ("Losses", _losses(method, next(iter(found.values()), None))),
        ("Runs", _runs(name, method, mine, found, loaded)),
        ("As in the paper", _recipe(method, next(iter(found.values()), None), loaded)),
        ("Sizes and limits", _limits(method)),
        ("Golden cases", _cases(module, up)),
    ]
    return "\n\n".join(f"## {title}\n\n{text}" if title else text for title, text in sections if text) + "\n"


def _all_runs(loaded: Params) -> dict[str, Run]:
    """Return the runs of the profiles `paper` and `sample`: those of the tour repeat them in small."""
    return {name: run for group in [*loaded.runs.values(), loaded.baselines] for name, run in group.items()}


def _head(name: str, module: str, method: Method, about: list[Block], up: str) -> str:
    files = [f"{place.replace('.', '/')}.py" for place in reached(module)]
    links = ", ".join(f"[{file}]({up}/{file})" for file in files)
    return "\n\n".join(
        [
            "<!-- Written by `make docs` from the sources: change them, not this page. -->",
            f"# {escaped(about[0].text.rstrip('.'))}",
            wrapped(f"Entry `{name}`; {', '.join(map(code, method.tasks))}; {links}."),
            prose(about[1:]),
        ]
    )


def _arguments(name: str, method: Method) -> str:
    if method.networks is None:
        return ""
    said = meanings(method)
    rows = [
        (code(p.name), code(p.annotation), code(p.default), escaped(said.get(p.name, "")))
        for p in inspect.signature(method.networks).parameters.values()
    ]
    counts = sizes(name, {})
    total = f"; {sum(counts.values()):,} in all" if len(counts) > 1 else ""
    listed = ", ".join(f"{code(key)} {count:,}" for key, count in counts.items())
    return "\n\n".join(
        [
            table(("argument", "type", "default", "meaning"), rows),
            wrapped(f"Parameters with the defaults: {listed}{total}."),
        ]
    )


def _losses(method: Method, recipe: Recipe | None) -> str:
    if method.networks is None:
        return ""
    chosen, steps = (recipe.train.weights, recipe.train.phases) if recipe else ({}, {})
    helped = {loss: helper.weights for helper in method.helpers.values() for loss in helper.losses}
    rows = []
    for phase, player, loss in losses(method):
        if steps and not steps.get(phase):
            continue
        weight = f"{chosen.get(f'{player}.{loss}', chosen.get(loss, 1.0)):g}" if recipe else "?"
        needs = f"the weights of {helped[loss]}" if loss in helped else ""
        moved = ", ".join(map(code, method.phases[phase].players[player].networks))
        watched = loss in method.watched
        rows.append((phase, code(player), moved, code(loss), "only watched" if watched else weight, needs))
    several = {
        player: one.updates
        for phase in method.phases.values()
        for player, one in phase.players.items()
        if one.updates != 1
    }
    notes = [f"`{player}` takes {count} steps on each batch." for player, count in several.items()]
    if unused := [code(phase) for phase in method.phases if steps and not steps.get(phase)]:
        notes.append(f"Without steps here, for ablations: {', '.join(unused)}.")
    if helped:
        files = ", ".join(sorted({weights.known(key).name for key in helped.values()}))
        notes.append(
            f"A loss that needs weights of others ({files}) is left out where they are absent, and every table says so."
        )
    title = "weight in the paper's recipe" if recipe else "weight (no run in `params.yaml` yet)"
    return "\n\n".join([table(("phase", "player", "moves", "loss", title, "needs"), rows), *map(wrapped, notes)])


def _runs(name: str, method: Method, mine: Mapping[str, Run], found: Mapping[str, Recipe], loaded: Params) -> str:
    rows = []
    for key, run in mine.items():
        parts = ("network", "train", "paper", "sample")
        own = {part: value for part in parts if (value := run.model_dump(exclude_unset=True).get(part))}
        count = f"{sum(sizes(name, found[key].network).values()):,}" if method.networks else "0"
        listed = ", ".join(map(code, (found[key].row, *found[key].also)))
        rows.append((code(key), run.dataset, found[key].task, listed, flow(own), count))
    others = [
        f"{code(key)}: `{one.first}`, then `{one.second}`, on {one.dataset}."
        for key, one in loaded.chains.items()
        if one.first in mine or one.second in mine
    ]
    others += [
        f"{code(key)}: `{one.run}` scored on {one.dataset}." for key, one in loaded.transfers.items() if one.run in mine
    ]
    if not rows:
        return "`params.yaml` has no run of it."
    head = ("run", "dataset", "task", "as (row of the published tables)", "of its own", "parameters in `paper`")
    return "\n\n".join(part for part in (table(head, rows), "\n".join(wrapped(o, "- ") for o in others)) if part)


def _recipe(method: Method, recipe: Recipe | None, loaded: Params) -> str:
    if recipe is None:
        return ""
    dataset = recipe.dataset
    start = f"python -m bench --profile {loaded.profile}"
    stages = [("build", dataset), ("train", recipe.name), ("evaluate", recipe.name)]
    if method.auxiliary:
        stages.insert(1, ("auxiliary", dataset))
    if method.networks is None:
        stages.pop(1)
    lines = "\n".join(f"{start} {stage} {what}" for stage, what in stages)
    parts = [
        wrapped(
            f"With the official files of {registry.dataset(dataset).title} in `{loaded.paths.originals}/{dataset}` "
            f"(`python -m bench verify {dataset} --originals {loaded.paths.originals}/{dataset}` checks them):"
        ),
        f"```\n{lines}\n```",
    ]
    if method.networks is not None:
        whole = recipe.train.model_dump(mode="json", exclude_none=True)
        lengths = [length for length in ("phases", "steps", "epochs") if whole.get(length)]
        for unused in {"phases", "steps", "epochs"} - set(lengths[:1]):
            whole.pop(unused, None)
        # Of a schedule only what its kind uses: the rest would look as if it counted.
        whole["schedule"] = {"kind": recipe.train.schedule.kind} | recipe.train.schedule.model_dump(exclude_unset=True)
        both = {"network": recipe.network, "train": whole}
        text = yaml.safe_dump(both, sort_keys=False, default_flow_style=None, width=WIDTH)
        parts += [f"The recipe of `{recipe.name}`, resolved:", f"```yaml\n{text}```"]
    return "\n\n".join(parts)


def _limits(method: Method) -> str:
    facts = []
    if method.multiple > 1 or method.min_size > 1:
        facts.append(
            f"Sides are padded by reflection to multiples of {method.multiple} pixels and at least {method.min_size}; "
            "the result is cut back."
        )
    margin = runs.settled(method, {}).margin
    if margin is not None:
        facts.append(f"Tiles of a large image overlap by {margin} pixels and agree with the whole.")
    facts += [text for text in (method.tiling, *method.limits) if text]
    facts += [
        f"Needs the auxiliary map `{name}` of every image, made by `{one.module}`."
        for name, one in method.auxiliary.items()
    ]
    return "\n".join(wrapped(escaped(f"{fact[0].upper()}{fact[1:].rstrip('.')}."), "- ") for fact in facts)


def _cases(module: str, up: str) -> str:
    found = golden_cases(module)
    if not found:
        return ""
    links = [f"[{case}]({up}/tests/golden/{case}.json)" for case in found]
    return "\n".join(
        [
            "What the authors' code computes, of the networks or of parts that they are made of, is met by ours in",
            "`tests/test_golden.py`:",
            "",
            *(f"- {link}" for link in links),
        ]
    )


def write(names: Sequence[str], params_path: Path, out: Path) -> list[Path]:
    """Write the pages of `names`, of every method if there are none, into the folder `out`; return them."""
    from bench.files import write_text

    loaded = loading.load(params_path, "paper")
    up = os.path.relpath(ROOT, out.resolve())
    pages = {name.replace("_", "-"): page(name, loaded, up) for name in names or registry.names("methods")}
    written = []
    for name, text in pages.items():
        written.append(out / f"{name}.md")
        write_text(written[-1], text)
    return written
