"""CPUs: threads are as many as the process may use by its affinity and its container's quota, not as the machine has."""

import ast
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

import nagindex
from nagindex.workers import cpus

PACKAGE = Path(nagindex.__file__).parent
COUNTERS = {"cpu_count", "process_cpu_count", "sched_getaffinity"}


@pytest.fixture
def cgroups(tmp_path, monkeypatch):
    """An empty folder instead of the system's cgroups, for a process with an affinity of eight CPUs."""
    monkeypatch.setattr(cpus, "CGROUPS", tmp_path)
    monkeypatch.setattr(cpus, "OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    return tmp_path


def set_v1_quota(cgroups, quota, period="100000"):
    (cgroups / "cpu").mkdir()
    (cgroups / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (cgroups / "cpu" / "cpu.cfs_period_us").write_text(f"{period}\n")


def test_without_a_quota_the_affinity_counts_not_the_machine(cgroups):
    """A process of a Slurm job with 8 of 128 cores uses 8 threads."""
    assert cpus.available_cpus() == 8


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinity")
def test_a_real_affinity_is_respected():
    """A process bound to one of the machine's CPUs uses one thread."""
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from nagindex.workers.cpus import available_cpus; print(available_cpus())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "1"


def test_where_the_system_has_no_affinity_the_machine_counts(cgroups, monkeypatch):
    """macOS and Windows: the machine's CPUs, or one where even these are unknown."""
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cpus.available_cpus() == 128
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpus.available_cpus() == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),  # fractions round up
        ("10000 100000\n", 1),  # never 0
        ("0 100000\n", 1),
        ("1600000 100000\n", 8),  # the affinity is less
        ("max 100000\n", 8),
        ("", 8),
        ("200000 0\n", 8),
    ],
)
def test_a_quota_of_cgroup_v2_counts(cgroups, content, expected):
    """The quota of a container, if less than the affinity; files that do not hold one are ignored."""
    (cgroups / "cpu.max").write_text(content)
    assert cpus.available_cpus() == expected


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("300000", 3), ("250000", 3), ("1000", 1), ("0", 8), ("-1", 8), ("900000", 8), ("", 8)],
)
def test_a_quota_of_cgroup_v1_counts(cgroups, quota, expected):
    """The same for cgroup v1, where -1 is no limit."""
    set_v1_quota(cgroups, quota)
    assert cpus.available_cpus() == expected


def test_cgroup_v2_comes_before_v1(cgroups):
    """A system with both hierarchies states its limits in v2."""
    set_v1_quota(cgroups, "100000")
    (cgroups / "cpu.max").write_text("max 100000\n")
    assert cpus.available_cpus() == 8


@pytest.mark.parametrize(("quota", "period"), [("1", "100000"), ("70000", "20000"), ("799999", "100000")])
def test_a_quota_is_rounded_up_to_whole_cpus(cgroups, quota, period):
    """Half a CPU more is worth one more thread, and there is always one."""
    (cgroups / "cpu.max").write_text(f"{quota} {period}\n")
    assert cpus.available_cpus() == math.ceil(int(quota) / int(period)) >= 1


def test_the_number_of_threads_is_the_given_one_or_one_for_each_cpu(cgroups):
    """A given number may also be above the number of CPUs."""
    (cgroups / "cpu.max").write_text("250000 100000\n")
    assert cpus.thread_count(None) == 3
    assert cpus.thread_count(3) == 3
    assert cpus.thread_count(200) == 200


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_other_module_counts_the_machines_cpus(path):
    """All thread counts go through `workers.cpus`, which alone respects affinity and quota."""
    tree = ast.parse(path.read_text())
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert not names & COUNTERS or path == Path(cpus.__file__)


def test_the_quota_of_a_job_is_found_in_its_own_group_and_above(cgroups):
    """Slurm and systemd set limits on groups below the root; the smallest of a process's own group and those above counts."""
    (cgroups / "own").write_text("0::/slurm/job_7/step_0\n")
    (cgroups / "slurm" / "job_7" / "step_0").mkdir(parents=True)
    (cgroups / "slurm" / "job_7" / "step_0" / "cpu.max").write_text("max 100000\n")
    (cgroups / "slurm" / "job_7" / "cpu.max").write_text("300000 100000\n")
    (cgroups / "slurm" / "job_8").mkdir()
    (cgroups / "slurm" / "job_8" / "cpu.max").write_text("100000 100000\n")
    assert cpus.available_cpus() == 3
