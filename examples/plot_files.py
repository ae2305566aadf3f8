# SPDX-License-Identifier: BSD-3-Clause
"""
=========================
Save, resume and deploy
=========================

What happens to a model outside of one Python process: its training is interrupted and
continues, it is saved to a file that anybody can load, and its encoder runs where there
is neither Python nor torch. skops and ONNX need ``pip install
'sklearn-cmr[onnx,skops]'``; without them, their steps say so.
"""

# %%
# A training that is interrupted
# ------------------------------
# With ``checkpoint=folder``, the state after each epoch is in the folder. The callback
# plays the role of Ctrl-C, or of a power cut, once.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from skorch.callbacks import Callback

from sklearn_cmr import TRUSTED_TYPES, ACMRProjector
from sklearn_cmr.datasets import make_cross_modal_classification
from sklearn_cmr.export import to_onnx

A, B, y = make_cross_modal_classification(500, n_classes=6, random_state=0)
train, test = slice(0, 400), slice(400, None)
temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)


class Interruption(Callback):
    happened = False

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 12 and not Interruption.happened:
            Interruption.happened = True
            raise KeyboardInterrupt


settings = {"hidden_layer_sizes": (64,), "max_epochs": 30, "random_state": 0}
stored = {"checkpoint": folder / "checkpoints", "callbacks": [Interruption]}
interrupted = ACMRProjector(**settings, **stored)
try:
    interrupted.fit(A[train], B[train], y[train])
except KeyboardInterrupt:
    print(f"interrupted after {interrupted.n_iter_} epochs")

# %%
# The same call continues
# -----------------------
# A script that is started again makes the same estimator and calls the same `fit`. It
# ends with the weights of a training without an interruption, bit for bit on a CPU.

resumed = ACMRProjector(**settings, **stored)
resumed.fit(A[train], B[train], y[train])
whole = ACMRProjector(**settings).fit(A[train], B[train], y[train])
expected = whole.transform_text(B[test])
same = np.array_equal(resumed.transform_text(B[test]), expected)
print(f"resumed, {resumed.n_iter_} epochs; the same embeddings: {same}")

# %%
# A file for others
# -----------------
# A pickle is a program, which may do anything on the machine that loads it. skops loads
# data, and refuses types that are not trusted.
try:
    import skops.io
except ImportError as error:
    print(f"No file of skops is written: {error}")
else:
    skops.io.dump(whole, folder / "acmr.skops")
    loaded = skops.io.load(folder / "acmr.skops", trusted=TRUSTED_TYPES)
    same = np.array_equal(loaded.transform_text(B[test]), expected)
    size = (folder / "acmr.skops").stat().st_size
    print(f"loaded from {size / 1e6:.1f} MB; the same embeddings: {same}")

# %%
# An encoder without Python
# -------------------------
# :func:`~sklearn_cmr.export.to_onnx` writes the network of one modality. Any runtime of
# ONNX encodes with it, in C++, Java or JavaScript; here it is that of Python.

encoded = None
try:
    import onnxruntime

    to_onnx(whole, "text", folder / "text.onnx")
except ImportError as error:
    print(f"No file of ONNX is written: {error}")
else:
    session = onnxruntime.InferenceSession(folder / "text.onnx")
    (encoded,) = session.run(None, {"X": B[test].astype(np.float32)})
    difference = np.abs(encoded - expected).max()
    print(f"ONNX: the largest difference from transform is {difference:.0e}")

# %%
# The training, and two runtimes
# ------------------------------
# Left: the curve of the resumed training lies on that of the whole one. Right: each dot
# is a number of an embedding, as torch and as ONNX compute it.

fig, (ax, onnx_ax) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
epochs = np.arange(1, whole.n_iter_ + 1)
ax.plot(epochs, whole.loss_curve_, color="0.8", linewidth=8, label="without a break")
ax.plot(epochs[:12], resumed.loss_curve_[:12], label="until the interruption")
ax.plot(epochs[11:], resumed.loss_curve_[11:], label="resumed")
ax.axvline(12, color="0.4", linestyle=":")
ax.set(xlabel="epoch", ylabel="loss", title="Training")
ax.legend()
if encoded is not None:
    onnx_ax.plot(expected.ravel(), encoded.ravel(), ".", markersize=2)
onnx_ax.set(
    xlabel="transform", ylabel="ONNX Runtime", title="Numbers of the embeddings"
)
plt.show()
temporary.cleanup()
