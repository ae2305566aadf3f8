"""Wrong inputs end in errors of a class and a message that were meant."""

# SPDX-License-Identifier: BSD-3-Clause

import re

import pytest
import sklearn
from sklearn.utils.fixes import parse_version

from tests.wrong_inputs import (
    datasets,
    features,
    labels,
    metrics,
    pairs,
    parameters,
    search,
    training,
)

TABLES = {
    module.__name__.rpartition(".")[2]: module.ROWS
    for module in (
        datasets,
        features,
        labels,
        metrics,
        pairs,
        parameters,
        search,
        training,
    )
}
ROWS = [
    pytest.param(row, id=f"{table}: {row.name}")
    for table, rows in TABLES.items()
    for row in rows
]
# What numpy, torch and Python say where nobody has checked.
RAW = re.compile(
    "has no attribute|not subscriptable|mat1 and mat2|broadcast|has no len|unhashable"
    "|inhomogeneous|float\\(\\) argument|could not convert|truth value|out of bounds"
    "|unsupported operand|not supported between|invalid index|promoted|is not iterable"
)
# What the check of a newer scikit-learn says, and 1.6 takes.
NEWER = re.compile("of one name|fit: labels are bytes|weights are zero")


def test_there_are_many():
    names = [row.id for row in ROWS]
    assert len(set(names)) == len(names) > 300


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", ROWS)
def test_wrong_input(row):
    if parse_version(sklearn.__version__) < parse_version("1.9"):
        if NEWER.search(row.name):
            pytest.skip("needs a newer scikit-learn")
    with pytest.raises(row.error) as caught:
        row.call()
    assert type(caught.value) is row.error
    message = " ".join(str(caught.value).split())
    assert re.match(row.message, message), message
    # Such a message of another library may follow after what says where it is from.
    assert not RAW.match(message)
    assert len(message) > 20
