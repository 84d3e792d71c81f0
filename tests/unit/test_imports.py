"""Importing nagindex, and asking it for help, is cheap; what it asks to be installed is what the tests run with."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]

HEAVY = ("torch", "transformers", "numba", "usearch", "duckdb", "scipy", "ray")
RUN = "import sys; sys.argv = ['nagindex', {}]; from nagindex.cli import main; main(standalone_mode=False)"
CODE = {
    "nagindex": "import nagindex",
    "nagindex.open": "import nagindex; nagindex.open, nagindex.__version__",
    "nagindex.cli": "import nagindex.cli",
    "nagindex --help": RUN.format("'--help'"),
    "nagindex --version": RUN.format("'--version'"),
    "nagindex query --help": RUN.format("'query', '--help'"),
}


@pytest.mark.parametrize("name", CODE)
def test_nothing_heavy_is_imported(name):
    """torch, transformers, numba, usearch and duckdb wait until something needs them."""
    program = f"{CODE[name]}\nimport sys\nprint('loaded:', *[m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1].strip() == "loaded:"


def test_the_tests_are_offline():
    """A connection to another machine fails at once."""
    import socket

    with socket.socket() as connection, pytest.raises(OSError, match="offline"):
        connection.connect(("192.0.2.1", 80))


def asked():
    """Return what running and testing nagindex asks for, by name, as pyproject.toml states it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *extras["demo"], *extras["lm-eval"], *extras["test"]]
    found = [Requirement(line) for line in lines]
    return {canonicalize_name(one.name): one.specifier for one in found if one.name != "nagindex"}


def pins(name):
    """Return the versions in a file of pins, by name."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
    found = [line.split("==") for line in lines]
    return {canonicalize_name(package): Version(version) for package, version in found}


def test_the_oldest_set_is_the_lower_bounds():
    """All but torch, which is that of the newest set: older ones have no build for the machines that run the tests."""
    bounds = {}
    for name, specifier in asked().items():
        [only] = specifier
        assert only.operator == ">=", name
        bounds[name] = Version(only.version)
    oldest = pins("constraints-oldest.txt")
    assert oldest["torch"] == pins("constraints.txt")["torch"]
    assert bounds.pop("torch") <= oldest["torch"]
    assert {name: oldest.get(name) for name in bounds} == bounds


def test_the_newest_set_is_what_is_asked_for():
    newest = pins("constraints.txt")
    assert [name for name, specifier in asked().items() if newest[name] not in specifier] == []
