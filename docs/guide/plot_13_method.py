# SPDX-License-Identifier: BSD-3-Clause
"""
===============
Adding a method
===============

A method consists of a loss and two functions: one returns the networks, the other one
says how they are trained. Batches, devices, early stopping, checkpoints, files and the
tools of scikit-learn come with the base class. This chapter writes a contrastive
method, and lets a search choose between it and ACMR.
"""

# %%
# A loss
# ------
# Each image has to pick out, among all texts of the batch, those with a label of its
# own, and each text the images. This is the supervised contrastive loss
# (`Khosla et al., 2020 <https://arxiv.org/abs/2004.11362>`__) between two modalities.

import matplotlib.pyplot as plt
import torch.nn.functional as F
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklearn_cmr import ACMRProjector, PairTransformer, make_pairs
from sklearn_cmr.base import NetworkTransformer, ProjectorMixin
from sklearn_cmr.datasets import make_cross_modal_classification
from sklearn_cmr.metrics import map_scorer
from sklearn_cmr.nn.layers import UnitLength, make_mlp
from sklearn_cmr.nn.pairwise import relevance


def contrastive_loss(u, v, y, temperature):
    relevant = relevance(y, y).to(u.dtype)
    target = relevant / relevant.sum(1, keepdim=True)
    logits = u @ v.T / temperature
    both_ways = F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)
    return both_ways / 2


# %%
# A method
# --------
# `_build` returns everything that learns; the networks that encode are in the child
# "encoders". `_phases` returns the phases of the training with their players: a loss,
# and an optimizer over parameters. A parameter of the base class that nobody will set
# may be an attribute of the class. In a method for others, all of them are parameters:
# see :doc:`/more/contributing`.


class ContrastiveProjector(ProjectorMixin, NetworkTransformer):
    lr, betas, weight_decay = 1e-3, (0.9, 0.999), 0.0
    batch_size, max_epochs, min_updates = 64, "auto", 100
    metric, missing_labels, n_image_features = "cosine", "raise", None
    early_stopping, validation_fraction = False, 0.1
    n_iter_no_change, tol = None, 0.0
    warm_start, verbose, device, callbacks = False, 0, "auto", None

    def __init__(self, *, embedding_dim=16, temperature=0.1, random_state=None):
        self.embedding_dim = embedding_dim
        self.temperature = temperature
        self.random_state = random_state

    def _build(self, n_features, n_classes):
        encoders = nn.ModuleDict()
        for modality, width in n_features.items():
            sizes = [width, 64, self.embedding_dim]
            mlp = make_mlp(sizes, activation="relu", init="default")
            encoders[modality] = nn.Sequential(mlp, UnitLength())
        return nn.ModuleDict({"encoders": encoders})

    def _phases(self, module, task):
        player = self._player("encoders", module.parameters(), self._loss, self.lr)
        return [task.make_phase(players=[player])]

    def _loss(self, module, batch, state):
        networks = module["encoders"].items()
        u, v = [network(batch.features[name]) for name, network in networks]
        return contrastive_loss(u, v, batch.y, self.temperature), {}


# %%
# A search over methods
# ---------------------
# The method is one step of a pipeline. So the search chooses it as well: each method
# has parameters of its own, and all have the same folds. Networks and training are
# small here, and equal in both methods.

X_img, X_txt, y = make_cross_modal_classification(
    n_samples=300, n_classes=5, class_sep=1.5, random_state=0
)
scale = PairTransformer(image=StandardScaler(), text=StandardScaler())
small = {"hidden_layer_sizes": (64,), "embedding_dim": 16, "min_updates": 100}
methods = {
    "temperature": ContrastiveProjector(random_state=0),
    "margin": ACMRProjector(**small, lr=1e-3, random_state=0),
}
values = {"temperature": [0.1, 0.3, 1.0, 3.0], "margin": [0.1, 0.3, 0.5, 0.7]}
grid = [
    {"method": [method], f"method__{name}": values[name]}
    for name, method in methods.items()
]
search = GridSearchCV(
    Pipeline([("scale", scale), ("method", None)]),
    grid,
    scoring=map_scorer,
    cv=StratifiedKFold(2, shuffle=True, random_state=0),
).fit(make_pairs(X_img, X_txt), y)
print(f"mAP {search.best_score_:.3f}:", search.best_estimator_[-1])

# %%
# All candidates, with the score of each fold:

results = search.cv_results_
fig, axes = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True, layout="constrained")
for ax, (name, method) in zip(axes, methods.items(), strict=True):
    rows = [f"method__{name}" in params for params in results["params"]]
    for fold in ("split0", "split1"):
        ax.plot(values[name], results[f"{fold}_test_score"][rows], "o", color="0.7")
    ax.plot(values[name], results["mean_test_score"][rows], "o-")
    ax.set(title=type(method).__name__, xlabel=name)
axes[0].set(xscale="log", ylabel="mAP of the held-out fold")
plt.show()

# %%
# The rest comes with the base class: the history of the training, files, checkpoints,
# networks of your own, ONNX, and the trained network of a modality.

model = search.best_estimator_[-1]
print(model.n_iter_, "epochs,", f"loss {model.history_[-1]['train_loss']:.2f}")
print(model.encoder_("text"))

# %%
# What a method may state or use beyond this, such as a second player, training in
# stages, codes, or modalities without pairs, is in the table under
# :doc:`/more/contributing`, and so is a method that trains no networks. Run
# :func:`sklearn.utils.estimator_checks.check_estimator` on yours: the methods of the
# package pass it without expected failures.
