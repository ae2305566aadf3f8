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
# - **Several methods, or several seeds, together**: a
#   :class:`~sklearn_cmr.CrossModalEnsemble`. It takes the time of all its members.

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
# Labels matter most here: CCA, which does not see them, is far behind. Semantic
# matching comes close to the networks in a fraction of their time, and the ensemble is
# no better than DRCL alone. Codes of 32 bits lose a little against real-valued spaces.
# The three hashers are equally good, but AADAH takes by far the longest time. One split
# and one seed do not rank methods whose mAP differs by a hundredth.

names = list(results)
quality, seconds = zip(*results.values(), strict=True)
colors = ["tab:orange" if "bits" in name else "tab:blue" for name in names]
fig, axes = plt.subplots(1, 2, figsize=(8, 4), sharey=True, layout="constrained")
axes[0].barh(names, quality, color=colors)
axes[0].set(xlabel="mAP on the test pairs", xlim=(0.6, 1))
axes[1].barh(names, seconds, color=colors)
axes[1].set(xlabel="time of the fit in seconds", xscale="log")
axes[0].invert_yaxis()
fig.suptitle("Common spaces (blue) and binary codes (orange)")
plt.show()

# %%
# Which one to take
# -----------------
# The best method depends on the data. On the five real data sets under
# :doc:`/more/quality`, ACMR is ahead of semantic matching where there are many rows for
# each label, and behind it where there are few. A tuned ensemble, whose members
# cross-validation chose, is ahead of all other methods on all five. So:
#
# 1. Fit semantic matching, or CCA if there are no labels. This takes seconds and tells
#    what the features are worth.
# 2. Compare networks with it by cross-validation (:doc:`plot_09_tuning`), and ask
#    whether the difference is more than chance (:doc:`plot_08_evaluation`).
# 3. Take a hasher where the gallery is large: a code of 32 bits takes 4 bytes.
# 4. Without pairs, or with more than two modalities, :doc:`plot_06_modalities` names
#    the methods that can learn.
