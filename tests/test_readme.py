"""The example of the README prints what the README shows."""

# SPDX-License-Identifier: BSD-3-Clause

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.slow
def test_first_example_prints_what_is_shown(capsys):
    code, shown = re.search(
        r"```python\n(.*?)```\n\n```text\n(.*?)```", README.read_text(), re.DOTALL
    ).groups()
    exec(compile(code, str(README), "exec"), {})
    printed = capsys.readouterr().out
    number = r"\d+\.\d+"
    assert re.sub(number, "", printed) == re.sub(number, "", shown)
    values = [[float(v) for v in re.findall(number, text)] for text in (printed, shown)]
    # The last digits depend on the processor's matrix products.
    assert values[0] == pytest.approx(values[1], abs=0.02)


def test_figures_of_quality_are_those_of_the_page():
    page = (README.parent / "benchmarks" / "QUALITY.md").read_text()
    _, _, rest = README.read_text().partition("The first table shows mAP")
    section, _, _ = rest.partition("## Features")
    figure = r"0\.\d{3}(?: ± 0\.\d{3})?"
    figures = re.findall(figure, section)
    assert len(figures) > 60
    assert set(figures) <= set(re.findall(figure, page))
