"""The chapters of the user guide are listed, each with a picture; one of them runs.

The build of the site runs all of them.
"""

# SPDX-License-Identifier: BSD-3-Clause

import re
import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
CHAPTERS = sorted((DOCS / "guide").glob("plot_*.py"))


def test_the_user_guide_lists_the_chapters_in_order():
    listed = re.findall(r"auto_guide/(\w+)", (DOCS / "user_guide.rst").read_text())
    assert listed == [path.stem for path in CHAPTERS]
    assert [path.stem[5:7] for path in CHAPTERS] == [
        f"{number:02}" for number in range(1, len(CHAPTERS) + 1)
    ]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_has_a_picture_and_links_to_pages_that_exist(path):
    text = path.read_text()
    assert "plt.show()" in text
    assert "exit(" not in text
    for name in re.findall(r":doc:`(?:[^`<]*<)?([\w/]+)>?`", text):
        folder = DOCS if name.startswith("/") else path.parent
        pages = folder / name.lstrip("/")
        assert any(pages.with_suffix(end).exists() for end in (".rst", ".md", ".py"))


# Its method leaves most parameters to attributes of the class, as no other one does.
@pytest.mark.slow
def test_a_search_chooses_between_the_method_of_the_chapter_and_acmr(capsys):
    matplotlib = pytest.importorskip("matplotlib")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    matplotlib.use("Agg")
    try:
        chapter = runpy.run_path(str(DOCS / "guide" / "plot_13_method.py"))
    finally:
        pyplot.close("all")
    search = chapter["search"]
    assert len(search.cv_results_["params"]) == 8
    best = search.best_estimator_[-1]
    assert type(best) in (chapter["ContrastiveProjector"], chapter["ACMRProjector"])
    assert search.best_score_ > 0.8
    assert "UnitLength" in capsys.readouterr().out
