"""The examples of the README print what the README shows."""

# SPDX-License-Identifier: BSD-3-Clause

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.slow
def test_examples_print_what_is_shown(capsys):
    blocks = r"```python\n(.*?)```\n\n```text\n(.*?)```"
    examples = re.findall(blocks, README.read_text(), re.DOTALL)
    assert len(examples) == 2
    names = {}  # the second one goes on with what the first one made
    number = r"\d+\.\d+"
    for code, shown in examples:
        exec(compile(code, str(README), "exec"), names)
        printed = capsys.readouterr().out
        assert re.sub(number, "", printed) == re.sub(number, "", shown)
        found, expected = (
            [float(value) for value in re.findall(number, text)]
            for text in (printed, shown)
        )
        # The last digits depend on the processor's matrix products.
        assert found == pytest.approx(expected, abs=0.02)


def test_the_first_example_is_short():
    code = README.read_text().partition("```python\n")[2].partition("```")[0]
    assert len(list(filter(None, code.splitlines()))) <= 15
    # A prompt of Python takes it: a blank line ends the loop.
    assert re.search(r"^    .*\n\S", code, re.MULTILINE) is None


def test_figures_of_quality_are_those_of_the_page():
    page = (README.parent / "benchmarks" / "QUALITY.md").read_text()
    _, _, rest = README.read_text().partition("The first table shows mAP")
    section, _, _ = rest.partition("## Features")
    figure = r"0\.\d{3}(?: ± 0\.\d{3})?"
    figures = re.findall(figure, section)
    assert len(figures) > 60
    assert set(figures) <= set(re.findall(figure, page))
