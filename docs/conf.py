"""Settings of the documentation site."""

# SPDX-License-Identifier: BSD-3-Clause

import os
import re
from pathlib import Path

from docutils import nodes
from sphinx_gallery.sorting import ExplicitOrder

import sklearn_cmr

# Figures of the examples are drawn without a screen, and a build in a terminal captures
# no moving bars.
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("TQDM_DISABLE", "1")

DOCS = Path(__file__).parent

REPOSITORY = "https://github.com/sklearn-cmr/sklearn_cmr"

project = "sklearn_cmr"
author = "The sklearn_cmr developers"
copyright = "The sklearn_cmr developers (BSD 3-Clause License)"
version = release = sklearn_cmr.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "sphinx-mathjax-offline",
]
templates_path = ["_templates"]
html_static_path = ["_static"]
html_css_files = ["custom.css"]
exclude_patterns = ["_build", "_templates", "guide"]

# -- API pages -------------------------------------------------------------------

autosummary_generate = True
autodoc_typehints = "none"  # types stand in the docstrings
python_maximum_signature_line_length = 60
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = True
numpydoc_show_inherited_class_members = True
numpydoc_class_members_toctree = False

# -- Links to other projects -----------------------------------------------------

extlinks = {
    "arxiv": ("https://arxiv.org/abs/%s", "arXiv:%s"),
    "doi": ("https://doi.org/%s", "doi:%s"),
}

intersphinx_mapping = {
    "joblib": ("https://joblib.readthedocs.io/en/stable/", None),
    "matplotlib": ("https://matplotlib.org/stable/", None),
    "numpy": ("https://numpy.org/doc/stable/", None),
    "pandas": ("https://pandas.pydata.org/docs/", None),
    "python": ("https://docs.python.org/3/", None),
    "scipy": ("https://docs.scipy.org/doc/scipy/", None),
    "skorch": ("https://skorch.readthedocs.io/en/stable/", None),
    "sklearn": ("https://scikit-learn.org/stable/", None),
    "torch": ("https://docs.pytorch.org/docs/stable/", None),
}
intersphinx_timeout = 10
# References to names of ours that no page has are warnings.
nitpicky = True
nitpick_ignore_regex = [(r".*", r"(?!sklearn_cmr\.).*")]
if os.environ.get("SKLEARN_CMR_DOCS_OFFLINE"):
    intersphinx_mapping = {}

# -- Pages written in Markdown ---------------------------------------------------

smartquotes_action = "q"  # two hyphens belong to options of commands
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
suppress_warnings = [
    # Links between the project's files work in the repository, where their pages are.
    "myst.xref_missing",
    "myst.header",
    # Terms of scikit-learn's glossary, where it cannot be reached.
    "ref.term",
]

# -- Examples --------------------------------------------------------------------

# Examples stand in the order of their page, also where others refer to them.
gallery = (DOCS.parent / "examples" / "index.rst").read_text(encoding="utf-8")
order = [
    (DOCS / path).resolve() for path in re.findall(r"^   (\S+\.py)$", gallery, re.M)
]

sphinx_gallery_conf = {
    "examples_dirs": ["../examples", "guide"],
    "gallery_dirs": ["auto_examples", "auto_guide"],
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"__init__\.py",
    "doc_module": ("sklearn_cmr",),
    "reference_url": {"sklearn_cmr": None},
    "backreferences_dir": "generated/backreferences",
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "remove_config_comments": True,
    "abort_on_example_error": True,
    "within_subsection_order": "FileNameSortKey",
    "minigallery_sort_order": ExplicitOrder([*order, "*"]),
    "copyfile_regex": r"index\.rst",
    "default_thumb_file": str(DOCS / "images" / "codes.png"),
    "ignore_repr_types": r"Display|matplotlib",
}

# -- Looks -----------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = "sklearn_cmr"
html_show_sourcelink = False
html_sidebars = {page: [] for page in ("index", "install", "changes")}
html_theme_options = {
    "github_url": REPOSITORY,
    "header_links_before_dropdown": 5,
    "navbar_align": "left",
    "navbar_end": ["theme-switcher", "navbar-icon-links"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
    "navigation_with_keys": False,
}


def skip_fields(app, what, name, obj, skip, options):
    """Leave out the fields of named tuples, which their class describes."""
    return True if type(obj).__name__ == "_tuplegetter" else skip


def mark_numbers(app, doctree, docname):
    """Give the cells of tables that hold only numbers a class."""
    for cell in doctree.findall(nodes.entry):
        if re.fullmatch(r"[\d.,±×%\s-]+([a-zµ]?s|[kMG]?B)?", cell.astext()):
            cell["classes"].append("number")


def setup(app):
    """Connect the functions above."""
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("doctree-resolved", mark_numbers)
