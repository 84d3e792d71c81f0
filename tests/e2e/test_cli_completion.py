"""`nagindex completion`, what the printed script asks for, and `python -m nagindex`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from nagindex.cli.completion import SHELLS
from shell import PROGRAM, Shell

REGISTERED = {
    "bash": "complete -o nosort -F _nagindex_completion nagindex",
    "zsh": "compdef _nagindex_completion nagindex",
    "fish": "complete --no-files --command nagindex",
}


@pytest.mark.parametrize("name", SHELLS)
def test_the_script_of_each_shell_completes_nagindex(shell: Shell, name: str) -> None:
    script = shell.run("completion", name).stdout
    assert f"_NAGINDEX_COMPLETE={name}_complete" in script
    assert REGISTERED[name] in script


def test_another_shell_is_wrong_usage_that_lists_the_shells(shell: Shell) -> None:
    assert "'bash', 'zsh', 'fish'" in shell.error("completion", "tcsh", status=2)


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_commands_options_and_choices(shell: Shell, tmp_path: Path) -> None:
    """The printed script is loaded, and its function called as bash calls it after a tab."""
    script = tmp_path / "completion.sh"
    script.write_text(shell.run("completion", "bash").stdout)

    def completed(*words: str) -> list[str]:
        line = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _nagindex_completion "$1"; echo "${COMPREPLY[@]}"'
        done = subprocess.run(
            ["bash", "-c", line, "bash", script, PROGRAM, *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout.split()

    assert completed("comp") == ["compare", "compact", "completion"]
    assert completed("ca") == ["calibrate", "cache"]
    assert completed("cache", "") == ["list", "clear"]
    assert "--mix" in completed("query", "--mi")
    assert completed("completion", "z") == ["zsh"]


def test_python_dash_m_is_the_command_line() -> None:
    done = subprocess.run([sys.executable, "-m", "nagindex", "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: python -m nagindex ")
    assert "\n  query " in done.stdout
