# SPDX-License-Identifier: BSD-3-Clause
"""
=======================================
Search a gallery of codes in PostgreSQL
=======================================

A gallery that outgrows one process goes into an engine that exists already. This
example trains a hasher, stores the codes of the images in a table of PostgreSQL, and
finds the images that are nearest to texts by a query in SQL. The result is that of
:class:`~sklearn_cmr.CrossModalRetriever`, item by item. The page :doc:`/databases` says
when to move, and where to.

The order of the bits: ``pack_codes`` puts the first column of a code into the highest
bit of the first byte, as ``numpy.packbits`` does. The first character of a bit string
of PostgreSQL is the first column. Any order gives the same distances if all codes have
it.

A server is needed. The program ``psql`` finds it by its environment variables, such as
``PGHOST``, ``PGUSER`` and ``PGDATABASE``. The example makes the tables
``cmr_gallery`` and ``cmr_queries``, and drops them. ``bit_count`` needs PostgreSQL 14
and no extension. With pgvector 0.7 or newer, ``code <~> query`` is the same distance,
and its HNSW indexes find nearly all neighbors without comparing all rows.
"""

import csv
import subprocess

import numpy as np

from sklearn_cmr import CrossModalRetriever, SSAHHasher
from sklearn_cmr.datasets import make_cross_modal_classification

N_BITS = 64
N_TRAIN = 400
K = 5

# %%
# A hasher, and a gallery of images that it has not seen
# ------------------------------------------------------
images, texts, labels = make_cross_modal_classification(
    3000, n_classes=8, random_state=0
)
hasher = SSAHHasher(n_bits=N_BITS, output="packed", max_epochs=5, random_state=0)
hasher.fit(images[:N_TRAIN], texts[:N_TRAIN], labels[:N_TRAIN])

names = [f"image {row}" for row in range(N_TRAIN, len(images))]
retriever = CrossModalRetriever(hasher, n_neighbors=K)
retriever.index(image=images[N_TRAIN:], ids=names)


# %%
# The same gallery in a table
# ---------------------------
# The number of the row decides between items at the same distance.
def psql(statement, rows=()):
    """Execute a statement, with rows to copy, and return the rows of its result."""
    command = ["psql", "-X", "-q", "--csv", "-t", "-v", "ON_ERROR_STOP=1"]
    result = subprocess.run(
        [*command, "-c", statement],
        input="".join(",".join(map(str, row)) + "\n" for row in rows),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise RuntimeError(f"psql failed: {result.stderr}")
    return list(csv.reader(result.stdout.splitlines()))


def bit_strings(packed):
    """Return codes as strings of 0 and 1, the first column first."""
    return ["".join(map(str, bits)) for bits in np.unpackbits(packed, axis=1)]


def store(table, names, packed):
    """Store packed codes, with their names, in a new table."""
    psql(
        f"DROP TABLE IF EXISTS {table}; CREATE TABLE {table} ("
        f"row int PRIMARY KEY, id text UNIQUE, code bit({N_BITS}))"
    )
    rows = zip(range(len(names)), names, bit_strings(packed), strict=True)
    psql(f"COPY {table} FROM STDIN (FORMAT csv)", rows)


store("cmr_gallery", names, hasher.transform_image(images[N_TRAIN:]))

# %%
# Texts as queries
# ----------------
queries = texts[N_TRAIN : N_TRAIN + 20]
numbers = list(range(len(queries)))
store("cmr_queries", numbers, hasher.transform_text(queries))
found = psql(f"""
    SELECT nearest.id, nearest.distance
    FROM cmr_queries AS query CROSS JOIN LATERAL (
        SELECT item.id, item.row, bit_count(item.code # query.code) AS distance
        FROM cmr_gallery AS item ORDER BY distance, item.row LIMIT {K}
    ) AS nearest
    ORDER BY query.row, nearest.distance, nearest.row
""")
for table in ("cmr_gallery", "cmr_queries"):
    psql(f"DROP TABLE {table}")

ids, distances = retriever.query(text=queries)
pairs = zip(ids.ravel().tolist(), distances.ravel(), strict=True)
own = [[name, str(distance)] for name, distance in pairs]
print("Nearest to the first text, with their distances:", own[:K])
print(f"{sum(map(list.__eq__, own, found))} of {len(own)} neighbors are the same")
