"""Check that a built site is whole: python docs/check_build.py FOLDER.

The build ends without an error where an example has ended it early, and where a page
loads a script from another site, so that it is not whole without a network.
"""

# SPDX-License-Identifier: BSD-3-Clause

import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
# What a page is shown with, from elsewhere. Pictures and links may be.
ELSEWHERE = re.compile(
    r"<(?:script[^>]*\ssrc|link[^>]*\shref)=\"((?:https?:)?//[^\"]*\.(?:js|css)[^\"]*)\""
)


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


def scripts_from_elsewhere(folder):
    """Return the addresses of scripts and styles of other sites, by their page."""
    found = {
        page.relative_to(folder): ELSEWHERE.findall(page.read_text(encoding="utf-8"))
        for page in sorted(folder.rglob("*.html"))
    }
    return {page: sorted(set(urls)) for page, urls in found.items() if urls}


def main(folder):
    """Print the number of pages, or exit with what is wrong with them."""
    missing = [page for page in expected_pages() if not (folder / page).is_file()]
    wrong = [f"The site lacks {', '.join(map(str, missing))}."] if missing else []
    for page, urls in scripts_from_elsewhere(folder).items():
        wrong.append(f"{page} needs a network: it loads {', '.join(urls)}.")
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"{len(list(folder.rglob('*.html')))} pages in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
