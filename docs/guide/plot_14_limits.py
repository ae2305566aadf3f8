# SPDX-License-Identifier: BSD-3-Clause
"""
=================
Limits and memory
=================

What grows with the batch, what with the rows, and what with the gallery? This chapter
measures the memory and the time of the five methods that train networks, on small
data, and ends with what the package does not do.
"""

# %%
# Memory of a step
# ----------------
# Features larger than the memory stay in files, as in :doc:`plot_11_large_data`. What
# has to fit are the weights, about five times, and all that a step of the training
# makes of its batch. The profiler of torch notes every tensor that comes and goes; here
# it watches one step of each method, with batches of different sizes.

import json
import tempfile
from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from torch.profiler import ProfilerActivity, profile, record_function

from sklearn_cmr import (
    AADAHHasher,
    ACMRProjector,
    CMGANProjector,
    DRCLProjector,
    SSAHHasher,
)
from sklearn_cmr.datasets import make_cross_modal_classification
from sklearn_cmr.metrics import mean_average_precision

small = {"hidden_layer_sizes": (64,), "max_epochs": 1, "device": "cpu"}
methods = {
    "ACMR": ACMRProjector(**small),
    "CM-GANs": CMGANProjector(**small),
    "DRCL": DRCLProjector(**small),
    "SSAH": SSAHHasher(**small, max_epochs_label=1),
    "AADAH": AADAHHasher(**small),
}
sizes = [64, 128, 256, 512]
X_img, X_txt, y = make_cross_modal_classification(
    n_samples=512, n_classes=10, random_state=0
)

with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
    for name, method in methods.items():
        for b in sizes:
            with record_function(f"{name} {b}"):
                method.set_params(batch_size=b).fit(X_img[:b], X_txt[:b], y[:b])
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "trace.json")
    profiler.export_chrome_trace(str(path))
    events = json.loads(path.read_text())["traceEvents"]

notes = [event for event in events if event["name"] == "[memory]"]
times = np.array([note["ts"] for note in notes])
totals = np.array([note["args"]["Total Allocated"] for note in notes])
spans = {event["name"]: event for event in events if event.get("dur")}


def peak(name, b):
    """Return the megabytes that a fit has held at once."""
    start, length = spans[f"{name} {b}"]["ts"], spans[f"{name} {b}"]["dur"]
    inside = totals[(start <= times) & (times <= start + length)]
    return np.ptp(inside) / 1e6


# %%
# Time of an epoch
# ----------------
# An epoch takes time in proportion to the rows. How much depends on the batch: a step
# has a cost of its own, so that larger batches are quicker, until the terms that
# compare all rows of a batch with each other outgrow it.


def seconds(method, b):
    """Return the time of the quickest epoch, for a thousand rows."""
    method.set_params(batch_size=b, max_epochs=5).fit(X_img, X_txt, y)
    return min(epoch["seconds"] for epoch in method.history_) * 1000 / len(y)


fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for name, method in methods.items():
    left.plot(sizes, [peak(name, b) for b in sizes], "o-", label=name)
    right.plot(sizes, [seconds(method, b) for b in sizes], "o-", label=name)
left.set(title="Tensors of a step", ylabel="megabytes")
right.set(title="One epoch", ylabel="seconds for 1,000 rows")
for ax in (left, right):
    ax.set(xscale="log", yscale="log", xlabel="batch size")
    ax.set(xticks=sizes, xticklabels=sizes)
    ax.minorticks_off()
    ax.yaxis.set_major_formatter("{x:g}")
left.legend()
plt.show()

# %%
# Where memory is short, lower `batch_size`. SSAH compares a batch with the distinct
# rows of labels; `bank_size` bounds their number. No term grows with the square of the
# rows. The formulas of all methods, and measurements with features of 3.7 GB, are under
# :doc:`/memory`.
#
# Galleries and metrics
# ---------------------
# A gallery holds what a model makes of the items. The whole-ranking mAP compares every
# query with every item, so that twice as many of both take about four times as long.
# The memory stays bounded, since queries come in chunks.

for form, n_bytes in {"64 bits, packed": 8, "64 of float32": 256}.items():
    print(f"{form:16} {n_bytes:4} MB for a million items")

rng = np.random.default_rng(0)
for n in (1000, 2000, 4000):
    Z_img, Z_txt = rng.normal(size=(2, n, 64)).astype(np.float32)
    labels = rng.integers(10, size=n)
    start = perf_counter()
    mean_average_precision(Z_img, Z_txt, labels, labels)
    print(f"mAP of {n:4} queries in {n:4} items: {perf_counter() - start:.2f} s")

# %%
# What does not fit
# -----------------
# - **Closed forms** read their input whole: :class:`~sklearn_cmr.CCAProjector`,
#   :class:`~sklearn_cmr.SemanticMatchingProjector`, the rotation of
#   :class:`~sklearn_cmr.ITQHasher`, and most transformers of scikit-learn.
# - **One fit uses one device.** Several GPUs or machines share the fits of a search, or
#   the blocks of a gallery: see :doc:`/cluster`.
# - **No pretrained models come along.** Features are made beforehand
#   (:doc:`plot_02_features`), or by :doc:`a network of your own <plot_10_encoders>`.
# - **Labels are needed** by all methods but CCA. Where only the items of a pair belong
#   together, the metrics have ``relevance="pair"``, and CCA is the method that learns.
# - **The same bits** come from the same seed, versions and number of threads on a CPU.
#   A GPU may differ in the last digits from one run to the next.
