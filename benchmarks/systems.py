"""What `quality.py` measures: methods, ensembles and baselines, and what is tuned."""

# SPDX-License-Identifier: BSD-3-Clause

from functools import partial
from itertools import chain, combinations
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
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
    return ITQHasher(projector=projector, **params)


PROJECTORS = [
    System(
        "ACMR",
        ACMRProjector,
        [
            {"margin": [0.2, 0.5], "min_updates": [150, 300, 600]},
            # Embeddings of any length, as in the paper.
            {
                "normalize": [False],
                "margin": [3.0],
                "embedding_dim": [64],
                "hidden_layer_sizes": [(512,)],
                "triplet_weight": [1.0],
                "adversarial_weight": [0.3],
                "lr": [3e-4],
                "lr_discriminator": [3e-4],
                "min_updates": [500, 1000],
            },
        ],
    ),
    System(
        "CM-GANs",
        CMGANProjector,
        [{"label_weight": [1.0, 3.0], "output": ["probabilities", "both"]}],
    ),
    System(
        "DRCL",
        DRCLProjector,
        [{"dropout": [0.2, 0.4], "lr": [3e-4, 1e-3]}],
    ),
]
HASHERS = [
    System(
        "SSAH",
        SSAHHasher,
        [{"self_supervision": [True, False], "input_dropout": [0.0, 0.2]}],
    ),
    System("AADAH", AADAHHasher, [{"margin": [0.1, 0.2]}]),
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


# Has no parameters of its own: `rivals.py` searches.
RIVAL = System("rival", None, [], is_random=False)


def make_ensemble(members, **params):
    """Return the ensemble of some estimators by name."""
    return CrossModalEnsemble(
        list(members.items()), n_estimators=N_MEMBERS, n_jobs=1, **params
    )


ENSEMBLE = System(
    "ensemble",
    partial(make_ensemble, {"acmr": ACMRProjector(), "drcl": DRCLProjector()}),
    [],
)


def choose_members(candidates, folds, make_model, train, y_train):
    """Choose the members of an ensemble by cross-validation of the training split.

    Every candidate is fitted once to every fold; the embeddings of all subsets are then
    concatenated.

    Parameters
    ----------
    candidates : dict of str to estimator
        Tuned one by one before.

    folds : list of tuple
        Rows to fit to, and rows to score on.

    make_model : callable
        Returns the pipeline of an estimator.

    train, y_train : pairs and their labels

    Returns
    -------
    members : dict of str to estimator
    """
    sizes = range(1, len(candidates) + 1)
    sets = chain.from_iterable(combinations(candidates, size) for size in sizes)
    scores: dict[tuple, list] = {names: [] for names in sets}
    for fitted, held_out in folds:
        y = y_train[held_out]
        encodings = {}
        for name, estimator in candidates.items():
            model = make_model(clone(estimator)).fit(train[fitted], y_train[fitted])
            Z = model.transform(train[held_out])
            encodings[name] = {modality: normalize(own) for modality, own in Z.items()}
        for names, own in scores.items():
            Z_img, Z_txt = (
                np.hstack([encodings[name][modality] for name in names])
                for modality in ("image", "text")
            )
            own.append(
                mean_average_precision(Z_img, Z_txt, y, y)
                + mean_average_precision(Z_txt, Z_img, y, y)
            )
    best = max(scores, key=lambda names: np.mean(scores[names]))
    return {name: candidates[name] for name in best}


# Switches of each paper, by what they turn off or change.
ABLATIONS: dict[str, dict[str, dict]] = {
    "ACMR": {
        "defaults": {},
        "no game (`adversarial_weight=0`)": {"adversarial_weight": 0.0},
        "no triplets (`triplet_weight=0`)": {"triplet_weight": 0.0},
        "no label classifier (`label_weight=0`)": {"label_weight": 0.0},
        '`triplet_form="ranking"`': {"triplet_form": "ranking"},
        '`triplet_form="ranking"`, `margin=0.1`': {
            "triplet_form": "ranking",
            "margin": 0.1,
        },
        '`triplet_form="contrastive"`': {"triplet_form": "contrastive"},
        '`triplet_sampling="hard"`': {"triplet_sampling": "hard"},
        '`triplet_sampling="random"`': {"triplet_sampling": "random"},
    },
    "CM-GANs": {
        "defaults": {},
        "no games (both adversarial weights 0)": {
            "inter_adversarial_weight": 0.0,
            "intra_adversarial_weight": 0.0,
        },
        "no game across modalities (`inter_adversarial_weight=0`)": {
            "inter_adversarial_weight": 0.0
        },
        "no game within modalities (`intra_adversarial_weight=0`)": {
            "intra_adversarial_weight": 0.0
        },
        "games alone (`label_weight=0`)": {"label_weight": 0.0, "output": "embedding"},
        "separate last layers (`share_last_layer=False`)": {"share_last_layer": False},
        "separate classifiers (`share_classifier=False`)": {"share_classifier": False},
        "batch normalization (`batch_norm=True`)": {"batch_norm": True},
        "no dropout (`input_dropout=0`)": {"input_dropout": 0.0},
        'embeddings (`output="embedding"`)': {"output": "embedding"},
    },
    "DRCL": {
        "defaults": {},
        'learned prior (`prior="select"`)': {"prior": "select"},
        "no mixing of rows (`mix_lambda=1`)": {"mix_lambda": 1.0},
        "no label loss (`label_weight=0`)": {"label_weight": 0.0},
        "no consistency loss (`consistency_weight=0`)": {"consistency_weight": 0.0},
        "no recast loss (`recast_weight=0`)": {"recast_weight": 0.0},
        "cross entropy (`q_max=0`)": {"q_max": 0.0},
        "no dropout (`dropout=0`)": {"dropout": 0.0},
    },
    "SSAH": {
        "defaults": {},
        "game (`adversarial_weight=0.01`)": {"adversarial_weight": 0.01},
        "slowed game (`lr_discriminator=1e-4`, dropout 0.5)": {
            "adversarial_weight": 0.1,
            "lr_discriminator": 1e-4,
            "discriminator_dropout": 0.5,
        },
        "no label network (`self_supervision=False`)": {"self_supervision": False},
        "no loss of the features (`feature_weight=0`)": {"feature_weight": 0.0},
        "no loss of the codes (`hash_weight=0`)": {"hash_weight": 0.0},
        "no label loss (`label_weight=0`)": {"label_weight": 0.0},
        "no quantization loss (`quantization_weight=0`)": {"quantization_weight": 0.0},
        "no balance of the bits (`balance_weight=0`)": {"balance_weight": 0.0},
        "no dropout (`input_dropout=0`)": {"input_dropout": 0.0},
    },
    "AADAH": {
        "defaults": {},
        "no attention (`use_attention=False`)": {"use_attention": False},
        "no adversarial loss (`adversarial_weight=0`)": {"adversarial_weight": 0.0},
        "no triplets across modalities (`inter_triplet_weight=0`)": {
            "inter_triplet_weight": 0.0
        },
        "no triplets within modalities (`intra_triplet_weight=0`)": {
            "intra_triplet_weight": 0.0
        },
        "game of the paper": {
            "attention_loss": "maximize",
            "detach_query": False,
            "triplet_reduction": "sum",
            "mask_gradient": "ste_raw",
        },
    },
}
