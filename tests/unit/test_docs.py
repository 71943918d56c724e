"""The documentation agrees with the code: generated pages are current, links resolve, examples run."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest

from nirred.errors import PluginError
from nirred.plugin import API_VERSION, Instrument, MaskSpec, RecipePatch, S, hookimpl
from nirred.recipes import recipe_for
from nirred.registry import Registry

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("*/README.md")),
    *sorted(ROOT.glob("*/*/README.md")),
    *DOCS.rglob("*.md"),
]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLE = ROOT / "examples" / "nirred-nirc2"
ADDITIONS = ROOT / "tests" / "packages" / "nirred-niri-site"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    return load(ROOT / "tools" / "reference.py")


def fences(path: Path, language: str) -> list[str]:
    return [text for kind, text in FENCE.findall(path.read_text(encoding="utf-8")) if kind == language]


#: Its commands install a package: `test_distributions` runs them in a separate environment.
INSTALLS = DOCS / "how-to" / "write-a-plugin.md"
RUNNABLE = [p for p in PAGES if p.parent.parent == DOCS and fences(p, "sh") and p != INSTALLS]


def anchors(path: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", h.lower()).strip().replace(" ", "-") for h in heads}


def test_reference_is_what_the_code_says(reference: ModuleType) -> None:
    stale = [
        name
        for name, text in reference.pages().items()
        if not (DOCS / "reference" / name).is_file() or (DOCS / "reference" / name).read_text(encoding="utf-8") != text
    ]
    assert not stale, f"run `make docs`: {stale}"


def test_every_field_and_option_has_a_meaning() -> None:
    """The last cell of a row in the reference; what is not said in a docstring is empty there."""
    empty = [
        f"{page.name}: {line}"
        for page in DOCS.glob("reference/*.md")
        for line in page.read_text(encoding="utf-8").splitlines()
        if re.fullmatch(r"\|.*\|\s*\|", line)
    ]
    assert not empty


def test_all_forms_of_commands_and_options_are_in_the_reference() -> None:
    page = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    assert page.count("`--strict-reqs` / `--loose-reqs`") == 2  # run and plan
    assert "`--json`" in page.split("## nirred plugins\n")[1].split("\n## ")[0]  # a group that is a command, too


def test_every_public_name_of_python_is_in_the_reference() -> None:
    import nirred

    page = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    names = [n for n in nirred.__all__ if not n.startswith("__")]
    assert all(re.search(rf"^## (nirred\.)?{n}$", page, re.MULTILINE) for n in names)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(path), f"{page.name}: {target}"


def test_every_hook_has_a_page_and_is_implemented_somewhere(reference: ModuleType) -> None:
    specs = reference.hook_specs()
    page = (DOCS / "reference" / "hooks.md").read_text(encoding="utf-8")
    places = [*ROOT.glob("plugins/*/src/**/*.py"), *ROOT.glob("examples/*/src/**/*.py"), *ROOT.glob("tests/**/*.py")]
    sources = "\n".join(p.read_text(encoding="utf-8") for p in places)
    assert len(specs) >= 18
    for name, function in specs.items():
        assert len((function.__doc__ or "").split()) >= 5, name
        assert f"## {name}\n" in page
        assert re.search(rf"def {name}\(", sources), f"nobody implements {name}"


class Everything:
    """Implements the hooks that no plugin of this tree needs, with all their arguments."""

    NIRRED_API = API_VERSION

    @hookimpl
    def nirred_instruments(self) -> Any:
        return (Instrument("toy", "Toy"),)

    @hookimpl
    def nirred_steps(self) -> Any:
        from nirred.step import GroupStep

        class Blink(GroupStep):
            name = "blink"

            def apply(self, group: Any, params: Any, call: Any) -> None: ...

        return (Blink,)

    @hookimpl
    def nirred_recipes(self) -> Any:
        return (RecipePatch("reduce", frozenset({"TOY"}), insert=(("sky_correct", S("blink")),)),)

    @hookimpl
    def nirred_masks(self) -> Any:
        return (MaskSpec("disc", 64, "detector", frozenset({"TOY"}), lambda given, parameters: given),)  # type: ignore[arg-type, return-value]

    @hookimpl
    def nirred_executors(self) -> Any:
        return ()

    @hookimpl
    def nirred_footprint(self, headers: Any) -> Any:
        return [((0.0, 0.0), (1.0, 0.0), (1.0, 1.0))]

    @hookimpl
    def nirred_open(self, path: Any, exposure: Any, headers: Any) -> Any:
        return None

    @hookimpl
    def nirred_simulation(self) -> Any:
        return None

    @hookimpl
    def nirred_event(self, event: Any) -> None:
        self.seen = event

    @hookimpl
    def nirred_read_request(self, paths: Any, context: Any) -> Any:
        return None


def test_rarer_hooks_are_accepted_and_asked() -> None:
    registry, plugin = Registry(), Everything()
    assert registry.add(plugin, "toy").error == ""
    assert [step.name for _, step in registry.steps()] == ["blink"]
    assert [(name, mask.name, mask.scope) for name, mask in registry.masks()] == [("toy", "disc", "detector")]
    names = [call.name for call in recipe_for("reduce", registry, frozenset({"TOY"})).steps]
    assert names[names.index("sky_correct") + 1] == "blink"
    assert "blink" not in [call.name for call in recipe_for("reduce", registry).steps]
    assert len(registry.ask("toy", "nirred_footprint", headers=None)[0]) == 3
    assert registry.ask("toy", "nirred_open", path=None, exposure=None, headers=None) is None
    assert registry.simulations() == {}
    registry.notify("done")
    assert plugin.seen == "done"


def test_plugin_tutorial_quotes_the_example() -> None:
    files = [p for home in (EXAMPLE, ADDITIONS) for kind in ("*.py", "*.toml") for p in home.rglob(kind)]
    sources = [p.read_text(encoding="utf-8") for p in files]
    quoted = [*fences(INSTALLS, "python"), *fences(INSTALLS, "toml")]
    assert len(quoted) >= 8
    for block in quoted:
        assert any(block in source for source in sources), block


def test_parameters_named_in_the_docs_exist() -> None:
    from nirred.config import COMMON
    from nirred.incumbent import COUNTERPARTS
    from nirred.params import snake
    from nirred.recipes import core_recipes, step_types

    registry = Registry()
    for plugin in sorted(p.name for p in (ROOT / "plugins").iterdir() if (p / "pyproject.toml").is_file()):
        assert registry.add(importlib.import_module(f"nirred_{plugin}"), plugin).error == ""
    types = dict(step_types(registry))
    types |= {c.label: types[c.step] for r in core_recipes() for c in r.steps if c.label}
    named = 0
    for page in PAGES:
        for step, name in re.findall(r"\b([a-z][A-Za-z_]+):([a-z][A-Za-z_]+)=", page.read_text(encoding="utf-8")):
            named += 1
            assert snake(step) in types, f"{page.name}: {step}"
            name = COMMON.get(name, name)
            known = name in types[snake(step)].Params.model_fields or (snake(step), name) in COUNTERPARTS
            assert known, f"{page.name}: {step}:{name}"
    assert named >= 5


def fields_of(kind: Any) -> set[str]:
    """Keys of a record in run.json, and of the records in it."""
    found: set[str] = set()
    for name, told in kind.model_fields.items():
        found.add(told.alias or name)
        for inner in (told.annotation, *get_args(told.annotation)):
            found |= fields_of(inner) if hasattr(inner, "model_fields") else set()
    return found


def test_keywords_and_fates_are_documented() -> None:
    from nirred.plan.fates import exit_code
    from nirred.plan.model import FATES
    from nirred.run.schema import RunFile

    page = (DOCS / "explanation" / "products.md").read_text(encoding="utf-8")
    assert all(f"`{fate}`" in page for fate in FATES)
    record = re.findall(r"\w+", page.split("\n## run.json\n")[1].split("\n## ")[0])
    assert fields_of(RunFile) <= set(record), "keys of run.json that the page does not name"
    codes = re.findall(r"(\d+) (?:all|some|when|the|nothing|usage)", inspect.getdoc(exit_code) or "")
    assert codes and all(f"| {code} |" in page for code in codes)
    assert issubclass(PluginError, Exception) and f"| {PluginError.exit_code} |" in page


def test_recipes_in_the_docs_can_be_read(tmp_path: Path) -> None:
    from nirred.recipes import own_recipe

    recipes = [b for p in DOCS.glob("how-to/*.md") for b in fences(p, "toml") if "[[steps]]" in b]
    assert recipes
    for number, text in enumerate(recipes):
        path = tmp_path / f"{number}.toml"
        path.write_text(text)
        assert own_recipe(str(path), Registry()) is not None


def test_every_page_is_named_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in [*DOCS.glob("tutorials/*.md"), *DOCS.glob("how-to/*.md")]:
        assert str(page.relative_to(ROOT)) in text, page.name


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNABLE, ids=lambda p: p.stem)
def test_page_runs(page: Path, tmp_path: Path) -> None:
    """All commands of a tutorial or how-to, then all its lines of Python (rows F1, C13, D7), in an empty directory."""
    own = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "XDG_DATA_HOME": str(tmp_path)}
    own["NIRRED_CONFIG"] = os.devnull
    inherited = {k: v for k, v in os.environ.items() if k != "NIRRED_LIBRARY"}  # pages show the user's own
    script = "\n".join(["set -eu", *fences(page, "sh")])
    lines = "\n".join(fences(page, "python"))
    for words in (["sh", "-c", script], [sys.executable, "-c", lines]):
        done = subprocess.run(words, cwd=tmp_path, env=inherited | own, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stderr.count("Traceback") == 0
    for line in fences(page, "text"):
        for word in re.findall(r"\S+\.fits", line):
            assert list(tmp_path.rglob(word)), word
