"""The workflows of GitHub Actions name existing things: pinned actions, targets of make, variables that the tests read.

`make lint` checks them for errors and security, with actionlint and zizmor. They run on GitHub only.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from harborhook import __version__
from harness import harbor_fixtures, harbor_installer, workflows
from harness.chart_files import REPOSITORY, project_metadata
from harness.release import check

WORKFLOWS = sorted((REPOSITORY / ".github/workflows").glob("*.yaml"))
MAKEFILE = (REPOSITORY / "Makefile").read_text()

INSTALLER_TEMPLATE = """
# The IP address or hostname to access admin UI and registry service.
hostname: reg.mydomain.com
http:
  port: 80
https:
  port: 443
  certificate: /your/certificate/path
harbor_admin_password: Harbor12345
data_volume: /data
jobservice:
  max_job_workers: 10
"""


def workflow(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((REPOSITORY / ".github/workflows" / f"{name}.yaml").read_text())
    return found


def steps() -> Iterator[dict[str, Any]]:
    for path in WORKFLOWS:
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            yield from job["steps"]


def test_every_action_is_pinned_by_a_digest_and_says_its_version() -> None:
    used = [line for path in WORKFLOWS for line in re.findall(r"uses: (.*)", path.read_text())]
    assert len(used) > 20
    assert [line for line in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []
    by_repository: dict[str, set[str]] = {}
    for line in used:
        action, _, pin = line.partition("@")
        by_repository.setdefault("/".join(action.split("/")[:2]), set()).add(pin)
    assert {name: pins for name, pins in by_repository.items() if len(pins) > 1} == {}


def test_no_workflow_has_rights_that_only_one_of_its_jobs_needs() -> None:
    for path in WORKFLOWS:
        permissions = yaml.safe_load(path.read_text())["permissions"]
        assert permissions in ({}, {"contents": "read"}), path.name


def test_the_targets_of_make_exist() -> None:
    named = {
        target
        for step in steps()
        for line in str(step.get("run", "")).splitlines()
        for command in re.findall(r"(?:^|\s)make ([a-z -]+)", line)
        for target in command.split()
    }
    targets = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
    assert named >= {"test", "test-unit", "test-node", "image", "dist", "release-check", "lock"}
    assert named - targets == set()


def test_the_modules_that_are_run_exist() -> None:
    modules = {name for step in steps() for name in re.findall(r"-m (harness[\w.]*)", str(step.get("run", "")))}
    assert modules >= {"harness.harbor_installer", "harness.release.notes", "harness.node.requirements"}
    for name in modules:
        path = REPOSITORY / "tests" / name.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), name


def test_the_unit_tests_run_on_every_python_that_the_package_supports() -> None:
    versions = workflow("ci")["jobs"]["unit"]["strategy"]["matrix"]["python"]
    assert f">={versions[0]}" == project_metadata()["requires-python"]
    minors = [int(version.removeprefix("3.")) for version in versions]
    assert minors == list(range(minors[0], minors[-1] + 1))


def test_the_nightly_sets_all_that_the_tests_read_of_a_real_harbor() -> None:
    (install,) = [
        step["run"] for step in workflow("nightly")["jobs"]["harbor"]["steps"] if "curl" in step.get("run", "")
    ]
    text = Path(harbor_fixtures.__file__).read_text()
    read = set(re.findall(r'= "(HARBORHOOK_TEST_HARBOR_\w+)"', text))
    assert set(re.findall(r"HARBORHOOK_TEST_HARBOR_\w+", install)) == read


def test_the_installer_of_harbor_keeps_its_values_but_for_address_password_and_tls() -> None:
    written = yaml.safe_load(harbor_installer.configuration(INSTALLER_TEMPLATE, "192.0.2.1", "s3cret", "/tmp/data"))
    assert written == {
        "hostname": "192.0.2.1",
        "http": {"port": 80},
        "harbor_admin_password": "s3cret",
        "data_volume": "/tmp/data",
        "jobservice": {"max_job_workers": 10},
    }


def test_the_installers_configuration_is_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "harbor.yml.tmpl").write_text(INSTALLER_TEMPLATE)
    arguments = [str(tmp_path), "--hostname", "192.0.2.1", "--data", str(tmp_path)]
    monkeypatch.delenv("HARBOR_PASSWORD", raising=False)
    assert harbor_installer.main(arguments) == 1
    monkeypatch.setenv("HARBOR_PASSWORD", "s3cret")
    assert harbor_installer.main(arguments) == 0
    assert (tmp_path / "harbor.yml").stat().st_mode & 0o077 == 0


ADDRESS = project_metadata()["urls"]["Repository"]
RELEASED = f"## [{__version__}] - 2030-01-01\n\n- Something.\n"


def test_a_version_with_its_tag_address_and_notes_can_be_released() -> None:
    assert check.missing(f"v{__version__}", ADDRESS, RELEASED) == []


@pytest.mark.parametrize(
    ("tag", "address", "changelog", "advice"),
    [
        ("v9.9.9", ADDRESS, RELEASED, f"tag v{__version__}"),
        (f"v{__version__}", "https://git.example.org/a/fork", RELEASED, r"correct the addresses in \[project\.urls\]"),
        (f"v{__version__}", ADDRESS, "# Changelog\n", "no section for version"),
        (f"v{__version__}", ADDRESS, RELEASED.replace("2030-01-01", "unreleased"), "write the date"),
    ],
)
def test_what_is_missing_for_a_release_is_said(tag: str, address: str, changelog: str, advice: str) -> None:
    (found,) = check.missing(tag, address, changelog)
    assert re.search(advice, found)


def test_an_unsafe_workflow_is_found(tmp_path: Path) -> None:
    unsafe = tmp_path / "unsafe.yaml"
    unsafe.write_text(
        "on: [pull_request_target]\npermissions: {}\njobs:\n  a:\n    runs-on: ubuntu-24.04\n"
        "    steps:\n    - run: echo ${{ github.event.pull_request.title }}\n"
    )
    done = subprocess.run([workflows.zizmor(), "--offline", unsafe], capture_output=True, text=True)
    assert done.returncode != 0
    assert "template-injection" in done.stdout


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_without_go_and_actionlint_lint_says_so_and_only_ci_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, ci: str, code: int
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", ci)
    assert workflows.main() == code
    assert "built with Go" in capsys.readouterr().err
