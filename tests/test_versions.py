# SPDX-License-Identifier: BSD-3-Clause

from importlib.metadata import version

from sklearn_cmr import show_versions


def test_a_report_names_the_package_and_what_it_stands_on(capsys):
    show_versions()
    shown = capsys.readouterr().out
    for name, value in {
        "sklearn": version("scikit-learn"),
        "numpy": version("numpy"),
        "sklearn-cmr": version("sklearn-cmr"),
        "torch": version("torch"),
        "skorch": version("skorch"),
    }.items():
        assert f"{name}: {value}" in shown
    assert "GPUs: [" in shown
