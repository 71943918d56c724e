"""Rules for the source beyond those of linters: sizes, layers, forbidden calls, documented steps and parameters."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nirred.plugin.recipes import S
from nirred.recipes import CORE, step_types

ROOT = Path(__file__).parents[2]
CORE_SOURCE = ROOT / "core" / "src" / "nirred"
PLUGIN_SOURCES = sorted([*ROOT.glob("plugins/*/src"), *ROOT.glob("examples/*/src")])
SOURCES = sorted(p for base in [CORE_SOURCE, *PLUGIN_SOURCES] for p in base.rglob("*.py"))

#: From bottom to top: a module imports only from its own and lower layers.
LAYERS = (
    ("__version__", "errors", "dq", "algorithms"),
    ("cards", "streams", "textfiles"),
    ("headers", "files", "params", "inputs", "picture", "drawing", "blame"),
    ("incumbent",),
    ("plugin",),
    ("ccd", "frame", "step", "hookspecs", "expressions", "recipe_files", "scratch"),
    ("answers", "cameras", "packages", "store"),
    ("registry",),
    ("requests",),
    ("fitsio", "opening", "plan.model", "plan.moments", "slabs", "results"),
    ("states",),
    ("group", "provenance", "plane_memory"),
    ("geometry", "offsets", "parallel"),
    ("calibration_inputs", "darks", "framepass", "masks", "coadd", "products", "screening"),
    ("field",),
    ("config", "steps"),
    ("recipes",),
    ("fitness",),
    ("plan",),
    ("library",),
    ("report", "run"),
    ("arguments", "described"),
    ("api", "selection"),
    ("testing", "__init__"),
    ("cli",),
    ("__main__",),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def rank(words: tuple[str, ...]) -> int:
    """Layer of a module below nirred; the plan's dataclasses and times lie deeper than what makes plans."""
    return RANK[".".join(words[:2])] if ".".join(words[:2]) in RANK else RANK[words[0]]


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and number of lines of every function, its docstring not counted."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                lines -= (first.end_lineno or first.lineno) - first.lineno + 1
            yield node.name, lines


def at_run_time(module: ast.Module) -> Iterator[ast.stmt | ast.expr]:
    """All nodes outside ``if TYPE_CHECKING``."""
    waiting: list[ast.AST] = [module]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        yield node  # type: ignore[misc]
        waiting += ast.iter_child_nodes(node)


def imported(path: Path, base: Path) -> set[str]:
    """Dotted names of modules that a file imports when it runs, anywhere in it; `base` holds the top package."""
    package = [*path.relative_to(base).parts[:-1]]
    found: set[str] = set()
    for node in at_run_time(tree(path)):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*above, *([node.module] if node.module else [])])
            found |= {start} if node.module else {f"{start}.{a.name}" for a in node.names}
    return found


def test_there_is_source_to_look_at():
    assert len(SOURCES) > 100
    assert len(PLUGIN_SOURCES) >= 2


def test_files_have_at_most_400_lines():
    assert {name_of(p): n for p in SOURCES if (n := len(p.read_text().splitlines())) > 400} == {}


def test_functions_have_at_most_60_lines():
    assert {f"{name_of(p)}:{f}": n for p in SOURCES for f, n in functions(p) if n > 60} == {}


def test_no_print_outside_the_command_line():
    for path in SOURCES:
        if "cli" not in path.parts:
            calls = [ast.unparse(n) for n in ast.walk(tree(path)) if isinstance(n, ast.Call)]
            assert not [c for c in calls if c.startswith("print(")], name_of(path)


def documented(node: ast.ClassDef | ast.FunctionDef) -> set[str]:
    """Names under Parameters or Attributes in a docstring."""
    found = re.search(
        r"^(?:Parameters|Attributes)\n-+\n(.*?)(?=^\S.*\n-{3,}|\Z)", ast.get_docstring(node) or "", re.S | re.M
    )
    lines = [line for line in found[1].splitlines() if line[:1].strip()] if found else []
    return {name.strip().lstrip("*") for line in lines for name in line.split(" : ")[0].split(",")}


def own_names(node: ast.ClassDef | ast.FunctionDef) -> set[str]:
    """Arguments of a function; what a class has."""
    names = {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}
    if isinstance(node, ast.ClassDef):
        names |= {n.target.id for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
        names |= {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
        names |= {n.name for n in node.body if isinstance(n, ast.FunctionDef)}
    return names


def test_what_docstrings_list_exists():
    nodes = [(p, n) for p in SOURCES for n in ast.walk(tree(p)) if isinstance(n, ast.ClassDef | ast.FunctionDef)]
    assert {f"{name_of(p)}:{n.name}": gone for p, n in nodes if (gone := documented(n) - own_names(n))} == {}


def test_no_bare_except():
    for path in SOURCES:
        bare = [n.lineno for n in ast.walk(tree(path)) if isinstance(n, ast.ExceptHandler) and n.type is None]
        assert not bare, name_of(path)


def test_warnings_are_silenced_in_one_place():
    """What `warnings.catch_warnings` restores belongs to all threads: `no_warnings` counts them."""
    own = CORE_SOURCE / "algorithms" / "shared.py"
    assert [name_of(p) for p in SOURCES if "catch_warnings" in p.read_text() and p != own] == []


def test_every_step_error_names_a_remedy():
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "StepError":
                assert len(node.args) + len(node.keywords) > 1, f"{name_of(path)}:{node.lineno}"


#: The conformance kit tests that contract objects can be pickled, using objects that it has just created.
PICKLES = {"core/src/nirred/testing/conformance.py"}


def test_nothing_executes_data():
    forbidden = {"eval", "exec", "compile", "os.system", "os.popen", "yaml.load", "marshal.loads"}
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in forbidden, f"{name_of(path)}:{node.lineno}"
                shell = [k for k in node.keywords if k.arg == "shell" and ast.unparse(k.value) != "False"]
                pickled = [k for k in node.keywords if k.arg == "allow_pickle" and ast.unparse(k.value) != "False"]
                assert not shell + pickled, f"{name_of(path)}:{node.lineno}"
        modules = {m.split(".")[0] for m in imported(path, path.parents[len(path.parts) - 2])}
        assert name_of(path) in PICKLES or not modules & {"pickle", "dill", "cloudpickle", "shelve"}, name_of(path)


def test_imports_of_the_core_point_one_way():
    wrong = []
    for path in sorted(CORE_SOURCE.rglob("*.py")):
        parts = path.relative_to(CORE_SOURCE).with_suffix("").parts
        own = rank(parts)
        for module in imported(path, CORE_SOURCE.parent):
            words = module.split(".")
            if words[0] == "nirred" and len(words) > 1 and rank(tuple(words[1:])) > own:
                wrong.append(f"{name_of(path)} imports {module}")
    assert not wrong


def test_algorithms_know_arrays_only():
    standard = set(sys.stdlib_module_names) - {"logging", "pathlib", "io", "os", "tempfile", "json"}
    allowed = standard | {"numpy", "scipy", "numba", "photutils"}
    for path in sorted((CORE_SOURCE / "algorithms").glob("*.py")):
        for module in imported(path, CORE_SOURCE.parent):
            own = module.startswith("nirred.algorithms") or (path.stem, module) == ("compiled", "pathlib")  # its cache
            assert own or module.split(".")[0] in allowed, f"{name_of(path)} imports {module}"


def test_steps_of_the_core_leave_extras_to_plugins():
    """Their own results have typed fields in `nirred.results`."""
    used = {name_of(p) for p in CORE_SOURCE.rglob("*.py") for n in ast.walk(tree(p)) if is_extras(n)}
    assert not used


def is_extras(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and ast.unparse(node).endswith("group.extras")


def compiled(node: ast.AST) -> str:
    """Decorator of a compiled function, or nothing."""
    names = [ast.unparse(d) for d in node.decorator_list] if isinstance(node, ast.FunctionDef) else []
    return next((name for name in names if name.endswith("kernel")), "")


def used_by_python(node: ast.AST) -> Iterator[str]:
    """Names and attributes that Python loads: what compiled functions do is not looked at."""
    if compiled(node):
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        yield node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        yield f"{node.value.id}.{node.attr}"
    for child in ast.iter_child_nodes(node):
        yield from used_by_python(child)


def test_python_calls_no_subkernel():
    files = sorted((CORE_SOURCE / "algorithms").glob("*.py"))
    inner = {p.stem: {n.name for n in tree(p).body if compiled(n).endswith("subkernel")} for p in files}
    assert sum(map(len, inner.values())) > 50
    others = [p for name in ("tests", "benchmarks", "tools") for p in (ROOT / name).rglob("*.py")]
    for path in [*SOURCES, *others]:
        known = set(inner.get(path.stem, ())) if path in files else set()
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ImportFrom) and "algorithms" in (node.module or ""):
                stem = (node.module or "").split(".")[-1]
                known |= {a.asname or a.name for a in node.names if a.name in inner.get(stem, ())}
                known |= {f"{a.asname or a.name}.{f}" for a in node.names for f in inner.get(a.name, ())}
        assert not known & set(used_by_python(tree(path))), name_of(path)


def test_plugins_import_the_contract_and_the_algorithms_only():
    for base in PLUGIN_SOURCES:
        for path in base.rglob("*.py"):
            for module in imported(path, base):
                inside = module in ("nirred.plugin", "nirred.algorithms")
                inside |= module.startswith(("nirred.plugin.", "nirred.algorithms."))
                assert inside or module.split(".")[0] != "nirred", f"{name_of(path)} imports {module}"


@pytest.mark.parametrize("module", ["nirred", "nirred.plugin", "nirred.registry", "nirred.cli"])
def test_start_up_loads_nothing_heavy(module):
    heavy = {"numpy", "scipy", "astropy", "photutils", "numba", "matplotlib", "reproject", "sqlalchemy"}
    code = f"import sys, {module}; sys.stdout.write(' '.join(m for m in {heavy!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""


# -- steps and recipes --------------------------------------------------------------------------------------------

STEPS = step_types()
PARAMETERS = [(s, k) for s, kind in STEPS.items() for k in kind.Params.model_fields]


@pytest.mark.parametrize("name", STEPS)
def test_every_step_says_what_it_does(name):
    step = STEPS[name]
    assert step.name == name == name.lower()
    assert len(step.doc) > 10
    assert step.version >= 1
    assert (step.Params.__doc__ or "").strip()


@pytest.mark.parametrize(("step", "name"), PARAMETERS)
def test_every_parameter_has_doc_and_unit(step, name):
    kind = STEPS[step].Params
    field = kind.model_fields[name]
    assert len(field.description or "") > 10
    measured = {"time", "window", "distance", "dilation", "radius", "xshift", "yshift", "first_pass"}
    if name in measured or name.startswith("dark_"):
        assert kind.unit(name)


def test_recipes_of_the_core_call_steps_that_exist_and_labels_are_unique():
    for recipe in CORE:
        names = [c.name for c in recipe.steps]
        assert len(set(names)) == len(names), recipe.name
        assert {c.step for c in recipe.steps} <= set(STEPS), recipe.name
        for call in recipe.steps:
            assert {k for k, _ in call.params} <= set(STEPS[call.step].Params.model_fields), (recipe.name, call.name)
            assert S(call.step, call.takes, call.gives, call.label, **dict(call.params)) == call
