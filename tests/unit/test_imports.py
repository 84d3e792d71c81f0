"""Importing nagindex, and asking it for help, is cheap."""

import subprocess
import sys

import pytest

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
