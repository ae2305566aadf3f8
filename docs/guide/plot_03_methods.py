# SPDX-License-Identifier: BSD-3-Clause
"""
======================
Which method, and when
======================

All methods on one data set, side by side: how good they are, and how long they take.
The data are the captioned digits, 1,797 pairs of real digits and generated sentences,
reduced to few training rows so that the page builds quickly.
"""

# %%
# The methods
# -----------
# - **Pairs without labels**: :class:`~sklearn_cmr.CCAProjector`.
# - **A strong and quick start**: :class:`~sklearn_cmr.SemanticMatchingProjector`, any
#   classifier of scikit-learn for each modality. Small data may need no more.
# - **Real-valued spaces by networks**: :class:`~sklearn_cmr.ACMRProjector` and
#   :class:`~sklearn_cmr.CMGANProjector` learn from pairs,
#   :class:`~sklearn_cmr.DRCLProjector` also without.
# - **Binary codes**: :class:`~sklearn_cmr.SSAHHasher`,
#   :class:`~sklearn_cmr.AADAHHasher`, and the baseline
#   :class:`~sklearn_cmr.ITQHasher`.
# - **The best quality**: a :class:`~sklearn_cmr.CrossModalEnsemble` of several of them.

from time import perf_counter

import matplotlib.pyplot as plt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cmr import (
    AADAHHasher,
    ACMRProjector,
    CCAProjector,
    CMGANProjector,
    CrossModalEnsemble,
    DRCLProjector,
    ITQHasher,
    PairTransformer,
    SemanticMatchingProjector,
    SSAHHasher,
)
from sklearn_cmr.datasets import load_captioned_digits

pairs, y = load_captioned_digits(return_X_y=True)
train, test, y_train, y_test = train_test_split(
    pairs, y, train_size=400, stratify=y, random_state=0
)
words = make_pipeline(TfidfVectorizer(), StandardScaler(with_mean=False))
prepare = PairTransformer(image=StandardScaler(), text=words)
train, test = prepare.fit_transform(train), prepare.transform(test)

methods = {
    "CCA": CCAProjector(),
    "SM": SemanticMatchingProjector(),
    "ACMR": ACMRProjector(random_state=0),
    "CM-GANs": CMGANProjector(random_state=0),
    "DRCL": DRCLProjector(random_state=0),
    "SM and DRCL": CrossModalEnsemble(
        [("sm", SemanticMatchingProjector()), ("drcl", DRCLProjector(random_state=0))],
        n_estimators=1,
    ),
    "ITQ, 32 bits": ITQHasher(random_state=0),
    "SSAH, 32 bits": SSAHHasher(random_state=0),
    "AADAH, 32 bits": AADAHHasher(random_state=0),
}
results = {}
for name, method in methods.items():
    start = perf_counter()
    method.fit(train, y_train)
    seconds = perf_counter() - start
    results[name] = method.score(test, y_test), seconds
    print(f"{name:16} mAP {results[name][0]:.3f}  {seconds:5.1f} s")

# %%
# Quality and time
# ----------------
# The best method depends on the data: networks gain where there are many rows for each
# label, the linear baselines where there are few. Results on five real data sets are
# under :doc:`/more/quality`.

fig, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
for name, (quality, seconds) in results.items():
    is_hasher = "bits" in name
    ax.scatter(seconds, quality, color="tab:orange" if is_hasher else "tab:blue", s=50)
    ax.annotate(name, (seconds, quality), xytext=(6, 4), textcoords="offset points")
ax.set(
    xscale="log", xlabel="time of the fit in seconds", ylabel="mAP on the test pairs"
)
ax.set_title("Common spaces (blue) and binary codes of 32 bits (orange)")
ax.margins(x=0.25)
plt.show()
