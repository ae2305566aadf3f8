"""The examples run as scripts and find what they promise."""

# SPDX-License-Identifier: BSD-3-Clause

import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sklearn_cmr import ACMRProjector

matplotlib = pytest.importorskip("matplotlib")
pytest.importorskip("matplotlib.pyplot")  # to close what an example has opened

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def run_example(monkeypatch, tmp_path, capsys):
    """Run an example in an empty folder, without a window; return what it prints."""
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        try:
            runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        finally:
            matplotlib.pyplot.close("all")
        return capsys.readouterr().out

    return run


@pytest.mark.slow
def test_quickstart_finds_the_digits_that_words_describe(run_example, tmp_path):
    out = run_example("plot_quickstart.py")
    scores = [float(score) for score in re.findall(r"mAP (\d\.\d+)", out)]
    assert len(scores) == 2
    assert min(scores) > 0.85
    nought = re.search(r"'a round nought' finds the digits (.*)", out)[1].split()
    assert nought.count("0") >= 8
    assert (tmp_path / "quickstart.png").stat().st_size > 1000


@pytest.mark.slow
def test_quickstart_takes_typed_words(run_example):
    out = run_example("plot_quickstart.py", "the", "figure", "one")
    found = re.search(r"'the figure one' finds the digits (.*)", out)[1].split()
    assert found.count("1") >= 8


@pytest.mark.slow
def test_quality_example_prints_a_report_and_draws(run_example, tmp_path):
    out = run_example("plot_retrieval_quality.py")
    scores = re.findall(r"(?:image -> text|text -> image|mean) +(\d\.\d+)", out)
    assert len(scores) == 3
    assert min(map(float, scores)) > 0.85
    for name in ("common_space.png", "retrieval.png"):
        assert 1000 < (tmp_path / name).stat().st_size < 100_000


@pytest.mark.slow
def test_own_networks_learn_from_pixels_and_words(run_example, tmp_path):
    out = run_example("plot_own_encoders.py")
    trained, random = map(float, re.findall(r"mAP (\d\.\d+)", out))
    assert trained > 0.88
    assert trained > random + 0.03
    assert int(re.search(r"(\d+)% of the 30 first images", out)[1]) > 90
    assert 1000 < (tmp_path / "own_encoders.png").stat().st_size < 100_000


@pytest.mark.slow
def test_wikipedia_example_runs_on_generated_data_without_a_connection(
    run_example, monkeypatch
):
    def unreachable(**kwargs):
        raise OSError("no connection")

    if os.environ.get("SKLEARN_CMR_DATA"):
        # The search at its full length runs on the real data, in a test below.
        defaults = ACMRProjector.__init__.__kwdefaults__
        monkeypatch.setitem(defaults, "max_epochs", 15)
    monkeypatch.setattr("sklearn_cmr.datasets.fetch_wikipedia", unreachable)
    out = run_example("plot_wikipedia_grid_search.py")
    assert "The Wikipedia data set is not available: no connection" in out
    assert "those of a small generated data set" in out
    scores = re.findall(r"(?:cross-validation:|text|image) (\d\.\d+)", out)
    assert len(scores) == 5
    assert min(map(float, scores)) > 0.5


@pytest.fixture
def emoji(monkeypatch, real_data):
    """Every second emoji, from a file in place of the font and the words."""
    import numpy as np
    from sklearn.utils import Bunch

    arrays = real_data("emoji")
    rows = np.flatnonzero(arrays["english"] != "")[::2]
    columns = {"en": "english", "de": "german", "es": "spanish", "ja": "japanese"}
    text = {code: arrays[name][rows].astype(object) for code, name in columns.items()}

    def fetch(*, languages="en", target, image_size):
        scale = image_size // 32
        images = arrays["images"][rows].repeat(scale, axis=1).repeat(scale, axis=2)
        names, y = np.unique(arrays[target][rows], return_inverse=True)
        return Bunch(
            image=images.reshape(len(rows), -1).astype(np.float32) / 255,
            images=images,
            text=text["en"] if languages == "en" else text,
            emoji=arrays["chars"][rows].astype(object),
            target=y,
            target_names=names,
        )

    monkeypatch.setattr("sklearn_cmr.datasets.fetch_emoji", fetch)


CLOCKS = {chr(code) for code in range(0x1F550, 0x1F568)}


@pytest.mark.slow
@pytest.mark.usefixtures("emoji")
def test_emoji_example_finds_what_words_name(run_example, tmp_path):
    out = run_example("plot_emoji.py")
    scores = re.findall(r"(?:image -> text|text -> image) +(\d\.\d+)", out)
    assert len(scores) == 2
    assert min(map(float, scores)) > 0.3
    found = re.search(r"o'clock\" finds (.*)", out)[1].split()
    assert len(found) == 6
    assert len(CLOCKS.intersection(found)) >= 2
    assert (tmp_path / "emoji.png").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.usefixtures("emoji")
def test_languages_example_finds_pictures_and_spanish_words(run_example, tmp_path):
    out = run_example("plot_languages.py")
    assert float(re.search(r"all directions: (\d\.\d+)", out)[1]) > 0.3
    found, spanish = re.search(r"時計 .*: (.*)\n +(.*)", out).groups()
    assert len(CLOCKS.intersection(found.split())) >= 2
    assert len(re.findall("en punto|y media", spanish)) >= 2
    assert (tmp_path / "languages.png").stat().st_size > 1000


@pytest.mark.parametrize("name", ["plot_emoji.py", "plot_languages.py"])
def test_emoji_examples_say_that_there_are_no_emoji(run_example, monkeypatch, name):
    def missing(**kwargs):
        raise OSError("no font")

    monkeypatch.setattr("sklearn_cmr.datasets.fetch_emoji", missing)
    out = run_example(name)
    assert out == ("The emoji are not available, so nothing is searched: no font\n")


@pytest.mark.slow
def test_hash_codes_example_finds_digits_in_a_large_gallery(run_example):
    out = run_example("plot_hash_codes.py", "100000")
    assert "made and encoded 100,000 images" in out
    for words, digit in {"a round nought": "0", "lucky seven": "7"}.items():
        found = re.search(rf"'{words}' finds the digits (.*)", out)[1].split()
        assert found.count(digit) >= 8
    packed, real = map(float, re.findall(r": (\S+) ms for one query", out))
    assert 0 < packed
    assert 0 < real


@pytest.mark.slow
def test_evaluation_example_shows_that_classes_and_pairs_differ(run_example):
    out = run_example("plot_evaluation.py")
    number = r" +(\d+\.\d+)"
    rows = {}
    for name in ("CCA", "semantic matching", "ACMR"):
        found = re.findall(rf"^{name}{number}{number}{number}", out, re.M)
        rows[name] = float(found[0][2]), float(found[-1][2])
    assert rows["ACMR"][0] > rows["CCA"][0] + 0.1
    assert rows["CCA"][1] > rows["ACMR"][1] + 0.1
    assert rows["CCA"][1] > rows["semantic matching"][1] + 0.1
    assert len(re.findall(r"± 0\.\d+", out)) == 1
    assert "p (Holm)" in out


@pytest.mark.slow
def test_ablations_example_scores_every_term(run_example):
    out = run_example("plot_ablations.py")
    scores = dict(re.findall(r"^(.*\S) +mAP (\d\.\d+) ± \d\.\d+", out, re.M))
    assert len(scores) == 5
    assert float(scores["all terms"]) > 0.7
    assert float(scores["no negatives"]) < 0.5


@pytest.mark.slow
def test_sounds_find_images_of_a_gallery_that_came_before(run_example):
    out = run_example("plot_add_modality.py")
    assert "codes of images unchanged: True" in out
    scores = dict(re.findall(r"(\w+) -> image: +(\d\.\d+)", out))
    assert float(scores["label"]) > float(scores["text"]) > 0.85
    assert float(scores["sound"]) > 0.7
    found = re.search(r"sound of key 7 finds the digits (.*)", out)[1].split()
    assert found.count("7") >= 6


@pytest.mark.slow
def test_files_example_ends_with_the_same_embeddings(run_example, tmp_path):
    pytest.importorskip("skops")
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    out = run_example("plot_files.py")
    assert "interrupted after 12 epochs" in out
    assert out.count("the same embeddings: True") == 2
    assert float(re.search(r"largest difference .* is (\S+)", out)[1]) < 1e-5
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_files_example_says_what_is_not_installed(run_example, monkeypatch):
    for package in ("skops", "skops.io", "onnxruntime"):
        monkeypatch.setitem(sys.modules, package, None)
    out = run_example("plot_files.py")
    assert "No file of skops is written: " in out
    assert "No file of ONNX is written: " in out


def test_no_example_ends_the_interpreter():
    for path in EXAMPLES.glob("*.py"):
        assert "exit(" not in path.read_text()


@pytest.mark.slow
def test_wikipedia_example_beats_semantic_matching(run_example, monkeypatch, real_data):
    from sklearn_cmr import make_pairs

    arrays = real_data("wiki_sift_lda")

    def fetch(*, subset, return_X_y):
        X = make_pairs(arrays[f"image_{subset}"], arrays[f"text_{subset}"])
        return X, arrays[f"y_{subset}"]

    monkeypatch.setattr("sklearn_cmr.datasets.fetch_wikipedia", fetch)
    out = run_example("plot_wikipedia_grid_search.py")
    means = {
        name: sum(map(float, numbers)) / 2
        for name, *numbers in re.findall(
            r"(.*): image -> text (\d\.\d+), text -> image (\d\.\d+)", out
        )
    }
    assert means["ACMR"] > means["semantic matching"]


@pytest.mark.slow
def test_lancedb_finds_the_same_neighbors(run_example):
    out = run_example("lancedb_gallery.py")
    assert "100 of 100 neighbors are the same" in out


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="its workers need a POSIX system")
def test_search_on_a_cluster_survives_a_killed_worker(
    run_example, tmp_path, monkeypatch
):
    pytest.importorskip("distributed")
    pytest.importorskip("dask_ml")
    # The example sets it; it is restored here.
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "5s")
    out = run_example("plot_cluster.py")
    killed, workers = re.search(r"killed: process (\d+), one of \[(.*)\]", out).groups()
    assert killed in workers.split(", ")
    assert out.count("equal to those of the sequential search: True") == 2
    assert 1000 < (tmp_path / "cluster.png").stat().st_size < 100_000


@pytest.fixture
def postgresql(monkeypatch):
    """A server of PostgreSQL that listens to a socket in a folder of its own."""
    programs = {
        name: shutil.which(name)
        or next(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), None)
        for name in ("initdb", "pg_ctl", "psql")
    }
    if None in programs.values():
        pytest.skip("PostgreSQL is not installed")
    # The server does not run as root.
    options = {}
    if os.name == "posix" and os.geteuid() == 0:
        pwd = pytest.importorskip("pwd")
        if "postgres" not in {entry.pw_name for entry in pwd.getpwall()}:
            pytest.skip("the server of PostgreSQL does not run as root")
        options["user"] = "postgres"
    # The path of a socket must be short.
    folder = Path(tempfile.mkdtemp())
    if options:
        shutil.chown(folder, "postgres")

    def call(name, *arguments):
        subprocess.run(
            [programs[name], "-D", folder / "data", *arguments],
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            timeout=120,
            **options,
        )

    try:
        call("initdb", "-A", "trust", "-U", "postgres", "-E", "UTF8", "-N")
        server = f"-k {folder} -c listen_addresses= -c fsync=off"
        call("pg_ctl", "start", "-w", "-l", folder / "log", "-o", server)
        try:
            monkeypatch.setenv("PGHOST", str(folder))
            monkeypatch.setenv("PGUSER", "postgres")
            monkeypatch.setenv("PGDATABASE", "postgres")
            yield
        finally:
            call("pg_ctl", "stop", "-m", "immediate")
    finally:
        shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.usefixtures("postgresql")
def test_postgresql_finds_the_same_neighbors(run_example):
    out = run_example("postgresql_gallery.py")
    assert "100 of 100 neighbors are the same" in out
