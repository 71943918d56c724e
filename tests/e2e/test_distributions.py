"""The result of `make dist` is complete, and works when installed from the wheels into a separate environment.

This environment uses the dependencies of the one that runs the tests, so that nothing is downloaded; pip checks them as
usual.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from astropy.io import fits

from nirred.provenance import read_table

ROOT = Path(__file__).parents[2]
PACKAGES = {"nirred": ROOT / "core"} | {f"nirred-{n}": ROOT / "plugins" / n for n in ("niri", "f2", "gnirs", "emir")}
SITE = ROOT / "tests" / "packages" / "nirred-niri-site"
HOW_TO = ROOT / "docs" / "how-to" / "write-a-plugin.md"

pytestmark = pytest.mark.slow


def build(package: Path, out: Path) -> None:
    words = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(package)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels and source distributions of the five packages."""
    folder = tmp_path_factory.mktemp("dist")
    for package in PACKAGES.values():
        build(package, folder)
    return folder


def wheel(dist: Path, name: str) -> Path:
    (found,) = dist.glob(f"{name.replace('-', '_')}-[0-9]*.whl")
    return found


def metadata(path: Path) -> Message:
    with zipfile.ZipFile(path) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


@pytest.mark.parametrize("name", PACKAGES)
def test_a_wheel_is_complete(dist: Path, name: str) -> None:
    path, module = wheel(dist, name), name.replace("-", "_")
    told = metadata(path)
    assert told["Name"] == name and told["License-Expression"] == "BSD-3-Clause" and told["Requires-Python"] == ">=3.11"
    assert {"Typing :: Typed", "Topic :: Scientific/Engineering :: Astronomy"} <= set(told.get_all("Classifier"))
    assert told["Description-Content-Type"] == "text/markdown" and f"# {name}" in told.get_payload()
    assert (name == "nirred") or any(r.startswith("nirred>=") for r in told.get_all("Requires-Dist"))
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
    info = f"{module}-{told['Version']}.dist-info"
    assert {f"{module}/__init__.py", f"{module}/py.typed", f"{info}/licenses/LICENSE"} <= names
    source = PACKAGES[name] / "src"
    files = {str(p.relative_to(source)) for p in source.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert {n for n in names if not n.startswith(info)} == files


@pytest.mark.parametrize("name", PACKAGES)
def test_a_source_distribution_is_complete(dist: Path, name: str) -> None:
    (path,) = dist.glob(f"{name.replace('-', '_')}-[0-9]*.tar.gz")
    with tarfile.open(path) as archive:
        names = {n.partition("/")[2] for n in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "PKG-INFO", f"src/{name.replace('-', '_')}/py.typed"} <= names


def test_twine_finds_no_fault(dist: Path) -> None:
    if importlib.util.find_spec("twine") is None:
        pytest.skip("twine is not installed")
    words = [sys.executable, "-m", "twine", "check", "--strict", *map(str, dist.iterdir())]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# -- installed ------------------------------------------------------------------------------------------------------


@dataclass
class Environment:
    """An environment without any of our packages."""

    home: Path
    dist: Path

    def run(self, *words: str | Path, cwd: Path | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "NIRRED_", "PIP_"))}
        kept |= {"PATH": f"{self.home / 'bin'}{os.pathsep}{os.environ['PATH']}", "NIRRED_LIBRARY": "none"}
        kept |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.dist), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        kept |= {"PIP_NO_BUILD_ISOLATION": "0"}  # pip's value for enabled
        done = subprocess.run(list(map(str, words)), cwd=cwd or self.home, env=kept, capture_output=True, text=True)
        assert not check or done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done

    def pip(self, *words: str | Path) -> None:
        self.run("python", "-m", "pip", "--quiet", *words)

    def ours(self) -> set[str]:
        listed = json.loads(self.run("python", "-m", "pip", "list", "--format", "json").stdout)
        return {p["name"] for p in listed if p["name"].startswith("nirred")}

    def plugins(self) -> set[str]:
        return {p["package"] for p in json.loads(self.run("nirred", "plugins", "--json").stdout)}


@pytest.fixture(scope="module")
def environment(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The core and NIRI installed by the name of the latter; all other dependencies are already installed."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=True, symlinks=True)
    others = home / "others"
    others.mkdir()
    for path in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not re.match(r"_editable_impl|__editable__|nirred|pip\b|distutils-precedence", path.name):
            (others / path.name).symlink_to(path)
    (place,) = home.glob("lib/python*/site-packages")
    (place / "others.pth").write_text(f"{others}\n")
    made = Environment(home, dist)
    assert made.ours() == set()
    made.pip("install", "nirred-niri")
    return made


@pytest.fixture(scope="module")
def reduced(environment: Environment) -> Path:
    """A small night, simulated and reduced by the installed packages."""
    environment.run(*"nirred simulate niri -o night --scenario dither --frames 4 --size 256 --seed 3".split())
    environment.run("nirred", "run", "night/raw", "-o", "reduced", "-q")
    return environment.home / "reduced"


def test_a_plugin_brings_the_core_and_nothing_else(environment: Environment, reduced: Path) -> None:
    assert environment.ours() == {"nirred", "nirred-niri"} and environment.plugins() == {"nirred-niri"}
    assert "/lib/python" in environment.run("python", "-c", "import nirred; print(nirred.__file__)").stdout
    (image,) = reduced.glob("*_image.fits")
    with fits.open(image) as hdus:
        assert hdus["SCI"].header["BUNIT"] == "electron"
    assert (reduced / "report" / "index.html").is_file()
    environment.run("nirred", "verify", "reduced")


def test_a_plugin_that_goes_leaves_the_rest_working(environment: Environment, reduced: Path) -> None:
    environment.pip("install", *(f"nirred-{n}" for n in ("f2", "gnirs", "emir")))
    assert environment.plugins() == set(PACKAGES) - {"nirred"}
    assert "obsyaml" in environment.run("nirred", "emir", "--help").stdout
    environment.run(*"nirred simulate emir -o other --scenario dither --frames 1 --size 256".split())
    environment.pip("uninstall", "--yes", "nirred-emir")
    assert environment.plugins() == set(PACKAGES) - {"nirred", "nirred-emir"}
    assert "emir" not in environment.run("nirred", "--help").stdout
    said = environment.run("nirred", "run", "other/raw", "-o", "nothing", check=False)
    assert said.returncode == 4 and "pip install nirred-emir" in said.stdout + said.stderr
    again = environment.run("nirred", "run", "night/raw", "-o", "reduced")
    assert "4 reused" in again.stdout + again.stderr


def test_a_package_of_additions_acts_and_is_named(environment: Environment, reduced: Path) -> None:
    """An extra step in `reduce`, another rule for darks and a site's mask, for the camera of another package."""
    build(SITE, environment.dist)
    environment.pip("install", "nirred-niri-site")
    try:
        assert {"nirred-niri", "nirred-niri-site"} <= environment.plugins()
        environment.run(*"nirred run night/raw -o added -q -p sign_site:site=Valley".split())
    finally:
        environment.pip("uninstall", "--yes", "nirred-niri-site")
    (image,) = (reduced.parent / "added").glob("*_image.fits")
    plugin = next(r for r in read_table(image) if r.name == "nirred-niri-site")
    wanted = "niri_site: patch of reduce, step sign_site, rule dark, mask niri_site_rows"
    assert (plugin.item, plugin.value, plugin.origin) == ("plugin", "2.1", wanted)
    with fits.open(image) as hdus, fits.open(reduced / image.name) as before:
        assert hdus[0].header["SITE"] == "Valley" and "SITE" not in before[0].header
        assert hdus["NEXP"].data.sum() < before["NEXP"].data.sum()


def test_the_how_to_s_commands_lead_to_a_stack(environment: Environment, tmp_path: Path) -> None:
    """The guide for a new camera, followed literally from the start."""
    commands = re.findall(r"^```sh\n(.*?)^```", HOW_TO.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = "".join(commands).strip().splitlines()
    assert 4 <= len(lines) <= 6 and lines[0].startswith("nirred plugins new")
    done = environment.run("sh", "-c", "\n".join(["set -eu", *lines]), cwd=tmp_path)
    assert " 0 failed" in done.stdout and "Traceback" not in done.stderr
    (image,) = (tmp_path / "reduced").glob("*_image.fits")
    with fits.open(image) as hdus:
        assert hdus["FRAMES"].data["state"].tolist().count("used") >= 5
    environment.pip("uninstall", "--yes", "nirred-mycam")
