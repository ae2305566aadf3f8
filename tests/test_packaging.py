"""What a release uploads is whole, and what the texts promise about it is true."""

# SPDX-License-Identifier: BSD-3-Clause

import configparser
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REPOSITORY = PROJECT["urls"]["Source"]


def _setup(*words):
    """Run commands of setuptools, without the network that an isolated build needs."""
    code = "import setuptools; setuptools.setup()"
    command = [sys.executable, "-W", "ignore", "-c", code, "-q", *map(str, words)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("setuptools", "77")
    folder = tmp_path_factory.mktemp("wheel")
    places = ["build", "--build-base", folder / "build"]
    places += ["egg_info", "--egg-base", folder]
    _setup(*places, "bdist_wheel", "--dist-dir", folder)
    (path,) = folder.glob("*.whl")
    return path


def test_a_wheel_has_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    modules = {name for name in names if ".dist-info/" not in name}
    package = (ROOT / "sklearn_cmr").rglob("*")
    files = {str(path.relative_to(ROOT)) for path in package if path.is_file()}
    assert modules == {name for name in files if "__pycache__" not in name}
    assert "sklearn_cmr/py.typed" in modules
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_types_reach_the_users_code(wheel, tmp_path):
    pytest.importorskip("mypy")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    (tmp_path / "user.py").write_text(
        "from sklearn_cmr import ACMRProjector, show_versions\n"
        "from sklearn_cmr.metrics import map_scorer\n"
        "reveal_type(ACMRProjector())\n"
        "reveal_type(map_scorer)\n"
        "show_versions(1, 2)\n"
        "reveal_type(ACMRProjector(margin=0.2).score([[0]], [[0]], [0]))\n"
    )
    # Without torch's own types, which take mypy a minute to read.
    (tmp_path / "mypy.ini").write_text(
        "[mypy]\nmypy_path = site\nignore_missing_imports = true\n"
        "[mypy-torch.*,numpy.*]\nfollow_imports = skip\n"
    )
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", "mypy.ini"]
        + ["user.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    about = [line for line in run.stdout.splitlines() if line.startswith("user.py")]
    assert re.search(r':3: .*"sklearn_cmr\S*ACMRProjector"', about[0])
    assert re.search(r':4: .*"sklearn_cmr\S*MapScorer"', about[1])
    assert 'Too many arguments for "show_versions"' in about[2]
    assert ':6: note: Revealed type is "float"' in about[3]
    assert len(about) == 4


@pytest.mark.slow
def test_the_tests_of_an_unpacked_archive_pass(tmp_path):
    pytest.importorskip("setuptools", "77")
    _setup("egg_info", "--egg-base", tmp_path, "sdist", "--dist-dir", tmp_path)
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = path.with_suffix("").with_suffix("")
    # Those that read files beside the package; the others need no more than it.
    tests = ["docs", "docstrings", "makefile", "pairs", "quality", "readme"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-x"]
        + ["-m", "not slow", *(f"tests/test_{name}.py" for name in tests)],
        cwd=unpacked,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout


def test_every_extra_that_a_text_recommends_exists():
    texts = [*(ROOT / "sklearn_cmr").rglob("*.py"), *(ROOT / "docs").rglob("*.rst")]
    texts += [*(ROOT / "docs" / "guide").glob("*.py"), *ROOT.glob("*.md")]
    texts += [*(ROOT / "examples").glob("*.py")]
    named = {}
    for path in texts:
        for names in re.findall(r"(?:sklearn-cmr|'\.)\[([\w,]+)\]", path.read_text()):
            named.update(dict.fromkeys(names.split(","), path.name))
    assert {"faiss", "onnx", "plots"} <= set(named)
    extras = set(PROJECT["optional-dependencies"])
    assert set(named) <= extras, {name: named[name] for name in set(named) - extras}
    page = (ROOT / "docs" / "install.rst").read_text()
    assert [name for name in extras if f"``{name}``" not in page] == []


def test_the_lowest_versions_are_those_of_the_package():
    extras = PROJECT["optional-dependencies"]
    required = [*PROJECT["dependencies"]]
    for extra in ("faiss", "plots", "skops"):
        required += extras[extra]
    expected = {item.replace(">=", "==") for item in required if ">=" in item}
    lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    assert {line for line in lines if line and line[0] != "#"} == expected


def test_every_package_of_an_extra_has_a_pin():
    def name(requirement):
        return re.match(r"[\w-]+", requirement)[0].lower().replace("_", "-")

    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {name(line) for line in lines if line and line[0] != "#"}
    lists = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    required = {name(item) for items in lists for item in items}
    assert required - {"sklearn-cmr"} <= pinned


def test_every_file_names_the_licence():
    paths = [*ROOT.glob("docs/*.py"), *ROOT.glob("docs/guide/*.py")]
    for folder in ("sklearn_cmr", "tests", "benchmarks", "examples"):
        paths += (ROOT / folder).rglob("*.py")
    line = f"# SPDX-License-Identifier: {PROJECT['license']}\n"
    assert [str(path) for path in paths if line not in path.read_text()] == []


def test_links_of_the_readme_work_on_the_package_index():
    text = (ROOT / "README.md").read_text()
    assert re.findall(r"\]\((?!https?:)", text) == []
    defined = dict(re.findall(r"^\[([\w-]+)\]: (\S+)$", text, re.MULTILINE))
    assert set(re.findall(r"\]\[([\w-]+)\]", text)) == set(defined)
    _, _, name = REPOSITORY.partition("github.com/")
    raw = f"https://raw.githubusercontent.com/{name}/"
    for url in defined.values():
        place = re.fullmatch(rf"(?:{raw}|{REPOSITORY}/(?:blob|tree)/)main/(.+)", url)
        assert place is not None, url
        assert (ROOT / place[1]).exists(), url


def test_the_repository_has_one_address():
    paths = ["pyproject.toml", "docs/conf.py", "README.md", "CONTRIBUTING.md"]
    for path in [*paths, "CITATION.cff"]:
        text = (ROOT / path).read_text()
        for url in re.findall(r"https://github\.com/[\w-]*cmr[\w-]*/[\w-]+", text):
            assert url == REPOSITORY, path


def test_tools_before_a_commit_have_the_versions_of_the_checks():
    config = (ROOT / ".pre-commit-config.yaml").read_text()
    hooks = dict(re.findall(r"repo: \S+/([\w-]+)\n +rev: v([\d.]+)", config))
    pins = (ROOT / "constraints.txt").read_text()
    for package, repository in {
        "codespell": "codespell",
        "ruff": "ruff-pre-commit",
    }.items():
        assert f"{package}=={hooks[repository]}\n" in pins
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert "codespell" in setup
