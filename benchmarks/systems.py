"""What `quality.py` measures: methods, ensembles and baselines, and what is tuned."""

# SPDX-License-Identifier: BSD-3-Clause

from functools import partial
from itertools import chain, combinations
from typing import Any, NamedTuple

import numpy as np
from sklearn.preprocessing import normalize

from sklearn_cmr import (
    AADAHHasher,
    ACMRProjector,
    CCAProjector,
    CMGANProjector,
    CrossModalEnsemble,
    DRCLProjector,
    ITQHasher,
    SemanticMatchingProjector,
    SSAHHasher,
)
from sklearn_cmr.metrics import mean_average_precision

N_MEMBERS = 5


class System(NamedTuple):
    """A method or baseline.

    Attributes
    ----------
    name : str

    method : callable
        Class or function that takes the parameters.

    grid : list of dict
        What cross-validation of the training split chooses from.

    is_random : bool
        Whether it takes `random_state`.
    """

    name: str
    method: Any
    grid: list[dict]
    is_random: bool = True

    def make(self, seed, **params):
        """Return an unfitted estimator."""
        seeded = {"random_state": seed} if self.is_random else {}
        return self.method(**seeded, **params)


def itq(projector, **params):
    """Return the iterative quantization of a projector."""
    return ITQHasher(projector, **params)


PROJECTORS = [
    System("ACMR", ACMRProjector, []),
    System("CM-GANs", CMGANProjector, []),
    System("DRCL", DRCLProjector, []),
]
HASHERS = [
    System("SSAH", SSAHHasher, []),
    System("AADAH", AADAHHasher, []),
]
BASELINES = [
    System(
        "CCA",
        CCAProjector,
        [{"n_components": [5, 10, 20], "shrinkage": [0.03, 0.1, 0.3]}],
        is_random=False,
    ),
    System(
        "SM",
        SemanticMatchingProjector,
        [{"C": [0.001, 0.003, 0.01, 0.03, 0.1]}],
        is_random=False,
    ),
]
HASHING_BASELINES = [
    System("CCA + ITQ", partial(itq, CCAProjector()), []),
    System("SM + ITQ", partial(itq, SemanticMatchingProjector()), []),
]


def make_ensemble(methods, **params):
    """Return the ensemble of some methods, by name or with their parameters."""
    known = {system.name: system.method for system in PROJECTORS + HASHERS}
    members = [
        (name.lower().replace("-", ""), known[name](**own))
        for name, own in dict(methods).items()
    ]
    return CrossModalEnsemble(members, n_estimators=N_MEMBERS, **params)


ENSEMBLES = [
    System(
        "ensemble",
        partial(make_ensemble, {system.name: {} for system in PROJECTORS}),
        [],
    )
]


def choose_members(tuned, folds, make_model, train, y_train):
    """Choose the members of an ensemble by cross-validation of the training split.

    Every method is fitted once to every fold, with the parameters that were chosen for
    it alone. The embeddings of all subsets of methods are then concatenated.

    Parameters
    ----------
    tuned : dict of str to dict
        Parameters by method.

    folds : list of tuple
        Rows to fit to, and rows to score on.

    make_model : callable
        Returns the pipeline of an estimator.

    train, y_train : pairs and their labels

    Returns
    -------
    members : dict of str to dict
    """
    systems = {system.name: system for system in PROJECTORS}
    sets = chain.from_iterable(combinations(tuned, n) for n in range(1, len(tuned) + 1))
    scores: dict[tuple, list] = {names: [] for names in sets}
    for fitted, held_out in folds:
        encodings = {}
        for name, params in tuned.items():
            model = make_model(systems[name].make(0, **params))
            model.fit(train[fitted], y_train[fitted])
            Z = model.transform(train[held_out])
            encodings[name] = {
                modality: normalize(part) for modality, part in Z.items()
            }
        for names, own in scores.items():
            Z_img, Z_txt = (
                np.hstack([encodings[name][modality] for name in names])
                for modality in ("image", "text")
            )
            y = y_train[held_out]
            own.append(
                mean_average_precision(Z_img, Z_txt, y, y)
                + mean_average_precision(Z_txt, Z_img, y, y)
            )
    best = max(scores, key=lambda names: np.mean(scores[names]))
    return {name: tuned[name] for name in best}


# Switches of each paper, by what they turn off or change.
ABLATIONS: dict[str, dict[str, dict]] = {
    "ACMR": {"defaults": {}},
    "CM-GANs": {"defaults": {}},
    "DRCL": {"defaults": {}},
    "SSAH": {"defaults": {}},
    "AADAH": {"defaults": {}},
}
