"""Check that a built site is whole: python docs/check_build.py FOLDER.

The build ends without an error where an example has ended it early.
"""

# SPDX-License-Identifier: BSD-3-Clause

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent


def expected_pages():
    """Return the pages that the site must have, relative to its folder."""
    sources = [
        path.relative_to(DOCS)
        for suffix in ("md", "rst")
        for path in DOCS.rglob(f"*.{suffix}")
        if not {"_build", "_templates", "guide"} & set(path.relative_to(DOCS).parts)
    ]
    scripts = {"auto_examples": DOCS.parent / "examples", "auto_guide": DOCS / "guide"}
    return [
        *(source.with_suffix(".html") for source in sources),
        *(
            Path(gallery) / f"{path.stem}.html"
            for gallery, folder in scripts.items()
            for path in sorted(folder.glob("plot_*.py"))
        ),
    ]


def main(folder):
    """Print the number of pages, or exit with the names of those that are missing."""
    missing = [page for page in expected_pages() if not (folder / page).is_file()]
    if missing:
        sys.exit(f"The site lacks {', '.join(map(str, missing))}.")
    print(f"{len(list(folder.rglob('*.html')))} pages in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
