# SPDX-License-Identifier: BSD-3-Clause
"""
===========================
Saving, resuming, deploying
===========================

From a training that may be interrupted to a service that answers queries: a fit writes
checkpoints, a file holds the whole pipeline, and a service encodes queries without
torch. ``pip install 'sklearn-cmr[onnx,skops]'`` installs what this chapter needs.
"""

# %%
# A fit that can be killed
# ------------------------
# With `checkpoint`, the state after every epoch is in a folder. The same script,
# started again, continues, and ends as if nothing had happened. A fit that is finished
# is only read: the second one here returns at once.

import tempfile
from pathlib import Path
from time import perf_counter

import joblib
import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
import skops.io
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cmr import (
    TRUSTED_TYPES,
    CrossModalNeighbors,
    PairTransformer,
    SSAHHasher,
)
from sklearn_cmr.datasets import load_captioned_digits
from sklearn_cmr.export import to_onnx

temporary = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
folder = Path(temporary.name)
pairs, y = load_captioned_digits(return_X_y=True)
train, test = pairs[:600], pairs[600:]
words = make_pipeline(
    TfidfVectorizer(dtype=np.float32), StandardScaler(with_mean=False)
)
hasher = SSAHHasher(
    hidden_layer_sizes=(64,),
    feature_dim=64,
    output="packed",
    min_updates=100,
    checkpoint=str(folder / "checkpoints"),
    random_state=0,
)
model = make_pipeline(PairTransformer(image=StandardScaler(), text=words), hasher)
for attempt in ("first", "second"):
    start = perf_counter()
    model.fit(train, y[:600])
    print(f"{attempt} fit: {perf_counter() - start:.2f} s")

# %%
# A file for yourself, a file for others
# --------------------------------------
# Pipelines and searches go into one file. A pickle, and so a file of joblib, is a
# program: load those of people you trust. A file of skops is data, and loads only types
# that you name.

joblib.dump(model, folder / "model.joblib")
skops.io.dump(model, folder / "model.skops")
loaded = skops.io.load(folder / "model.skops", trusted=TRUSTED_TYPES)
codes = model.transform(test)
same = np.array_equal(loaded.transform(test)["text"], codes["text"])
print("the same codes:", same)

# %%
# A gallery, and an encoder for queries
# -------------------------------------
# A service that answers queries needs the gallery, which is mapped from its files, and
# the network of the texts, as a file of ONNX. :func:`~sklearn_cmr.export.to_onnx` takes
# the last step of a pipeline. What comes before it prepares the queries, here with
# scikit-learn.

CrossModalNeighbors(n_neighbors=5).fit(codes["image"]).save(folder / "gallery")
to_onnx(model[-1], "text", folder / "text.onnx")

gallery = CrossModalNeighbors.load(folder / "gallery")
session = onnxruntime.InferenceSession(folder / "text.onnx")
prepare = model[0].transformers_["text"]


def answer(sentence):
    """Return the images that a sentence finds, without a network of torch."""
    X = prepare.transform([sentence]).toarray()
    (code,) = session.run(None, {"X": X})
    return gallery.kneighbors(code, return_distance=False)[0]


found = answer("a round nought")
print("found:", y[600:][found])

# %%
# What it costs
# -------------
# The file of the pipeline holds the networks of both modalities and of the labels. In
# the form of skops it is larger than in that of joblib. The files of the service are
# smaller than both. Its parts are also quicker for a single query: `transform` checks
# its input, and encodes blocks of a fixed size, so that the encoding of an item does
# not depend on the other items.


def milliseconds(function, repeats=20):
    """Return the median time of a call."""
    times = []
    for _ in range(repeats):
        start = perf_counter()
        function()
        times.append(perf_counter() - start)
    return 1000 * np.median(times)


query = ["a round nought"]
X = prepare.transform(query).toarray()
code = model.transform({"text": query})["text"]
times = {
    "whole pipeline": milliseconds(lambda: model.transform({"text": query})),
    "words only": milliseconds(lambda: prepare.transform(query)),
    "network, ONNX": milliseconds(lambda: session.run(None, {"X": X})),
    "search": milliseconds(lambda: gallery.kneighbors(code)),
}
files = ["model.skops", "model.joblib", "text.onnx", "gallery/gallery.npy"]
sizes = [(folder / name).stat().st_size / 1000 for name in files]
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 2.4), layout="constrained")
left.barh(files, sizes, color="tab:blue")
left.set(title="Files", xlabel="kilobytes")
right.barh(list(times), list(times.values()), color="tab:blue")
right.set(title="One query", xlabel="milliseconds", xscale="log")
for ax in (left, right):
    ax.invert_yaxis()
plt.show()
temporary.cleanup()

# %%
# Versions, damaged files and what skops asks for are under :doc:`/saving`, interrupted
# fits and warm starts under :doc:`/resuming`, and all forms of output under
# :doc:`/onnx`. A gallery that many services share is better kept in a database: see
# :doc:`/databases`.
