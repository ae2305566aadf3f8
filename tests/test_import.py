"""What importing the package brings in."""

# SPDX-License-Identifier: BSD-3-Clause

import subprocess
import sys

HEAVY = ["faiss", "matplotlib", "sklearn.linear_model", "sklearn.neighbors"]


def test_what_few_need_is_imported_where_it_is_used():
    code = f"import sys, sklearn_cmr; print(*set({HEAVY}) & set(sys.modules))"
    command = [sys.executable, "-c", code]
    imported = subprocess.run(command, capture_output=True, text=True, check=True)
    assert imported.stdout.split() == []
