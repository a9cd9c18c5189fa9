"""What the registry reads and ships: pyproject.toml, .comfyignore, pictures, versions."""

import re
import struct
import subprocess
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[2]
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="ascii")


def value(name: str) -> str:
    """A string of pyproject.toml; Python 3.10 has no reader for it."""
    return re.search(rf'^{name} = "(.+)"$', PYPROJECT, re.M)[1]


def test_the_package_holds_what_users_need_and_nothing_else():
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    lines = (ROOT / ".comfyignore").read_text().splitlines()
    ignored = {line.strip("/") for line in lines if line and not line.startswith("#")}
    assert ".*" in ignored, "hidden files and folders stay out"
    files = [path for path in listing.stdout.splitlines() if path[0] != "."]
    named = {str(place) for path in map(PurePosixPath, files) for place in (path, *path.parents)}
    assert ignored - {".*"} <= named, "a line of .comfyignore names nothing"
    assert {path.split("/")[0] for path in files} - ignored == {
        "__init__.py", "__main__.py", "core", "nodes", "web", "locales", "example_workflows",
        "docs",
        "pyproject.toml", "requirements.txt", "LICENSE", "README.md", "ARCHITECTURE.md",
        "CHANGELOG.md",
    }  # fmt: skip


@pytest.mark.parametrize(("name", "size"), [("Icon", (400, 400)), ("Banner", (1260, 540))])
def test_pictures_are_where_the_registry_looks_and_of_its_size(name, size):
    """The registry takes icons of at most 800 x 400 and shows banners as 21 : 9."""
    repository = value("Repository").removeprefix("https://github.com/")
    start = f"https://raw.githubusercontent.com/{repository}/main/"
    assert value(name).startswith(start)
    header = (ROOT / value(name).removeprefix(start)).read_bytes()[:24]
    assert header[1:4] == b"PNG" and struct.unpack(">II", header[16:]) == size


def test_links_lead_to_the_one_repository():
    repository = value("Repository")
    for line in re.findall(r'^.*"https://github\.com/.*$', PYPROJECT, re.M):
        assert f'"{repository}' in line
    config = (ROOT / ".github/ISSUE_TEMPLATE/config.yml").read_text()
    (page,) = re.findall(rf"{re.escape(repository)}/blob/main/(\S+)", config)
    assert (ROOT / page).exists()
    owner = repository.split("/")[-2]
    assert (
        f"github.repository_owner == '{owner}'"
        in (ROOT / ".github/workflows/publish.yml").read_text()
    )


def test_the_newest_entry_of_the_changelog_is_this_version():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="ascii")
    assert re.fullmatch(r"\d+\.\d+\.\d+", value("version"))
    assert re.search(r"^## \[(.+?)\]", changes, re.M)[1] == value("version")


def test_comfyui_is_bounded_below_as_the_readme_says():
    bound = re.fullmatch(r">=(\d+\.\d+)\.0", value("requires-comfyui"))[1]
    assert f"ComfyUI {bound} or newer" in (ROOT / "README.md").read_text(encoding="ascii")
