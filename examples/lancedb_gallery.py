# SPDX-License-Identifier: BSD-3-Clause
"""
====================================
Search a gallery of codes in LanceDB
====================================

A gallery that is larger than the memory goes onto the disk. This example trains a
hasher, stores the packed codes of the images in a table of LanceDB, and finds the
images that are nearest to texts by the Hamming distance of uint8 vectors. LanceDB
compares all rows, so that the result is exact: it is that of
:class:`~sklearn_cmr.CrossModalRetriever`, item by item. The page :doc:`/databases` says
when to move, and where to.

The order of the bits: ``output="packed"`` puts the first column of a code into the
highest bit of the first byte, as ``numpy.packbits`` does. Any order gives the same
distances if all codes have it.

LanceDB runs in this process, and the table is a folder. It needs
``pip install lancedb``.
"""

import lancedb
import numpy as np
import pyarrow as pa

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
# The same gallery on the disk
# ----------------------------
# The table is written from batches, so that no process holds all codes. Later items
# are appended by ``table.add``.
SCHEMA = pa.schema(
    {"row": pa.int64(), "id": pa.string(), "code": pa.list_(pa.uint8(), N_BITS // 8)}
)


def encode_in_batches(images, names, n_rows=1000):
    """Yield the rows of the table, with the packed codes of images."""
    for start in range(0, len(images), n_rows):
        packed = hasher.transform_image(images[start : start + n_rows])
        rows = np.arange(start, start + len(packed))
        codes = pa.FixedSizeListArray.from_arrays(packed.ravel(), N_BITS // 8)
        yield pa.record_batch([rows, [names[row] for row in rows], codes], SCHEMA)


batches = encode_in_batches(images[N_TRAIN:], names)
database = lancedb.connect("gallery.lancedb")
table = database.create_table("gallery", batches, schema=SCHEMA, mode="overwrite")


# %%
# Texts as queries
# ----------------
# Many items are at the same distance, and LanceDB may return any of those that tie for
# the last place. All of them are asked for, and the number of the row decides.
def search(query):
    """Return the nearest items of a packed code, with their distances."""
    nearest = table.search(query, vector_column_name="code").distance_type("hamming")
    farthest = nearest.limit(K).to_arrow()["_distance"].to_numpy()[-1]
    nearest = table.search(query, vector_column_name="code").distance_type("hamming")
    nearest = nearest.distance_range(upper_bound=farthest + 1).limit(len(table))
    found = nearest.to_arrow().sort_by(
        [("_distance", "ascending"), ("row", "ascending")]
    )
    items = found.slice(0, K).to_pylist()
    return [(item["id"], int(item["_distance"])) for item in items]


queries = texts[N_TRAIN : N_TRAIN + 20]
found = [item for code in hasher.transform_text(queries) for item in search(code)]

ids, distances = retriever.query(text=queries)
own = list(zip(ids.ravel().tolist(), distances.ravel().tolist(), strict=True))
print("Nearest to the first text, with their distances:", own[:K])
print(f"{sum(map(tuple.__eq__, own, found))} of {len(own)} neighbors are the same")
