"""The files of `make dist`: the same bytes from the same sources, accepted by Helm, kubectl and pip."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from harborhook import __version__
from harborhook.api.kinds import KINDS
from harness.chart import Object, container
from harness.chart_files import CHART, REPOSITORY, project_metadata
from harness.helm import Helm
from harness.release import notes, packed_chart, sources

IMAGE_REPOSITORY = "registry.example.com/team/harborhook"


def make_release(output: Path, **environment: str) -> Path:
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "harness.release",
        "--output",
        output,
        "--image-repository",
        IMAGE_REPOSITORY,
    ]
    umask = int(environment.pop("UMASK", "022"), base=8)
    done = subprocess.run(
        command, cwd=output.parent, env={**os.environ, **environment}, umask=umask, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("release") / "dist")


@pytest.fixture(scope="module")
def chart(release: Path) -> Path:
    return release / f"harborhook-{__version__}.tgz"


@pytest.fixture(scope="module")
def bill(release: Path) -> Object:
    found: Object = json.loads((release / f"harborhook-{__version__}.cdx.json").read_text())
    return found


def test_two_runs_give_the_same_bytes_in_any_environment(release: Path, tmp_path: Path) -> None:
    again = make_release(tmp_path / "dist", UMASK="077", TZ="Pacific/Auckland", PYTHONHASHSEED="7", LC_ALL="C")
    contents = [{path.name: path.read_bytes() for path in found.iterdir()} for found in (release, again)]
    assert contents[0].keys() == contents[1].keys()
    assert [name for name, content in contents[0].items() if contents[1][name] != content] == []


def test_the_time_of_the_files_is_that_of_the_commit_or_the_one_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    git = ["git", "-C", str(REPOSITORY), "log", "-1", "--format=%ct"]
    assert sources.source_date() == int(subprocess.run(git, capture_output=True, text=True, check=True).stdout)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    assert sources.source_date() == 1767225600
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(sources.ReleaseError, match="SOURCE_DATE_EPOCH is yesterday"):
        sources.source_date()


def test_the_checksums_are_of_all_other_files(release: Path) -> None:
    lines = [line.split("  ") for line in (release / "SHA256SUMS").read_text().splitlines()]
    assert {name for _, name in lines} == {path.name for path in release.iterdir()} - {"SHA256SUMS"}
    assert all(hashlib.sha256((release / name).read_bytes()).hexdigest() == digest for digest, name in lines)


def test_the_packed_chart_is_what_helm_packs_but_for_the_place_of_the_image(
    chart: Path, helm: Helm, tmp_path: Path
) -> None:
    helm("package", CHART, "--destination", tmp_path)
    of_helm, ours = (contents(archive) for archive in (tmp_path / chart.name, chart))
    assert ours.keys() == {name for name in of_helm if not name.endswith("/.helmignore")}
    for name, content in ours.items():
        if name.endswith("/Chart.yaml"):  # Helm writes it in its own order
            assert yaml.safe_load(content) == yaml.safe_load(of_helm[name])
        elif not name.endswith("/values.yaml"):
            assert content == of_helm[name], name
    assert yaml.safe_load(ours["harborhook/values.yaml"])["image"]["repository"] == IMAGE_REPOSITORY


def contents(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        return {entry.name: extracted.read() for entry in tar if (extracted := tar.extractfile(entry))}


def test_values_without_a_place_of_the_image_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no image\.repository"):
        packed_chart.with_image_repository("image:\n  tag: x\nother:\n  repository: y\n", IMAGE_REPOSITORY)


def test_chart_and_manifest_install_the_published_image_of_this_version(release: Path, chart: Path, helm: Helm) -> None:
    helm("lint", "--strict", chart)
    rendered = helm("template", "harborhook", chart, "--namespace", "harborhook").stdout
    for text in (rendered, (release / "install.yaml").read_text()):
        objects = [found for found in yaml.safe_load_all(text) if found]
        assert container(objects)["image"] == f"{IMAGE_REPOSITORY}:{__version__}"
        served = {o["spec"]["names"]["kind"] for o in objects if o["kind"] == "CustomResourceDefinition"}
        assert served == set(KINDS)


def test_the_wheel_is_the_package_and_says_where_the_project_is(release: Path) -> None:
    (wheel,) = release.glob("*.whl")
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"harborhook-{__version__}.dist-info/METADATA").decode()
    modules = {path.relative_to(REPOSITORY / "operator").as_posix() for path in tracked("operator")}
    assert {name for name in names if ".dist-info/" not in name} == modules
    for label, url in project_metadata()["urls"].items():
        assert f"Project-URL: {label}, {url}" in metadata
    program = ["-c", "import harborhook; print(harborhook.__version__, harborhook.__file__)"]
    environment = {**os.environ, "PYTHONPATH": str(wheel)}
    shown = subprocess.run([sys.executable, *program], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.split()[0] == __version__
    assert str(wheel) in shown.stdout


def tracked(directory: str) -> list[Path]:
    done = subprocess.run(["git", "-C", REPOSITORY, "ls-files", directory], capture_output=True, text=True, check=True)
    return [REPOSITORY / name for name in done.stdout.splitlines()]


def test_the_manifest_of_the_plugin_names_the_archive_beside_it_on_the_page_of_the_release(release: Path) -> None:
    (platform,) = yaml.safe_load((release / "harborhook.yaml").read_text())["spec"]["platforms"]
    page, _, name = platform["uri"].rpartition("/")
    assert page == f"{project_metadata()['urls']['Repository']}/releases/download/v{__version__}"
    assert platform["sha256"] == hashlib.sha256((release / name).read_bytes()).hexdigest()


def test_the_bill_of_materials_is_valid_cyclonedx(release: Path) -> None:
    text = (release / f"harborhook-{__version__}.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_the_bill_of_materials_lists_what_the_lock_pins_and_what_needs_what(bill: Object) -> None:
    lock = (REPOSITORY / "requirements.lock").read_text()
    pinned = {line.split(" ")[0].replace("==", "@") for line in lock.splitlines() if "==" in line and line[0].isalnum()}
    assert {component["bom-ref"].removeprefix("pkg:pypi/") for component in bill["components"]} == pinned
    needs = {found["ref"]: found.get("dependsOn", []) for found in bill["dependencies"]}
    direct = {reference.partition("@")[0] for reference in needs[f"pkg:pypi/harborhook@{__version__}"]}
    assert {"pkg:pypi/kopf", "pkg:pypi/aiohttp", "pkg:pypi/kubernetes"} <= direct
    (aiohttp,) = [found for reference, found in needs.items() if reference.startswith("pkg:pypi/aiohttp@")]
    assert {"pkg:pypi/yarl", "pkg:pypi/multidict"} <= {reference.partition("@")[0] for reference in aiohttp}


def test_the_notes_of_a_release_are_its_section_of_the_changelog() -> None:
    changelog = "# Changelog\n\n## [1.2.0] - 2030-01-01\n\n### Added\n\n- This.\n\n## [1.1.0] - 2029-01-01\n\n- That.\n"
    assert notes.notes(changelog, "1.2.0") == "### Added\n\n- This."
    assert notes.notes(changelog, "1.1.0") == "- That."
    assert notes.notes(changelog, "1.0.0") == ""


def test_this_version_has_notes_and_another_is_refused_with_advice(capsys: pytest.CaptureFixture[str]) -> None:
    assert notes.main([__version__]) == 0
    assert "### Added" in capsys.readouterr().out
    assert notes.main(["99.0.0"]) == 1
    assert "no section for version 99.0.0" in capsys.readouterr().err
