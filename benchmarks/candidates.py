"""Candidates for the defaults of the methods, as parameters of their constructors."""

# SPDX-License-Identifier: BSD-3-Clause

from sklearn_cmr import (
    AADAHHasher,
    ACMRProjector,
    CMGANProjector,
    DRCLProjector,
    SSAHHasher,
)

METHODS = {
    "ACMR": ACMRProjector,
    "CMGAN": CMGANProjector,
    "DRCL": DRCLProjector,
    "SSAH": SSAHHasher,
    "AADAH": AADAHHasher,
}

ACMR_FIRST_RELEASE = {
    "normalize": False,
    "embedding_dim": 64,
    "hidden_layer_sizes": (512,),
    "triplet_weight": 1.0,
    "label_weight": 0.5,
    "adversarial_weight": 0.3,
    "margin": 6.0,
    "negative_weight": 3.0,
    "label_loss": "auto",
    "lr": 3e-4,
    "lr_discriminator": None,
    "max_epochs": 30,
}
ACMR_UNIT_LENGTH = {
    "normalize": True,
    "embedding_dim": 256,
    "hidden_layer_sizes": (1024,),
    "triplet_weight": 4.0,
    "label_weight": 0.5,
    "adversarial_weight": 1.0,
    "margin": 0.5,
    "negative_weight": 3.0,
    "label_loss": "softmax",
    "lr": 1e-4,
    "lr_discriminator": 1e-3,
    "max_epochs": "auto",
    "min_updates": 300,
}

# Written out in full, so that later defaults do not change their meaning.
CANDIDATES = {
    "ACMR": {
        "first release": ACMR_FIRST_RELEASE,
        "unit length": ACMR_UNIT_LENGTH,
        "unit length, without the game": {
            **ACMR_UNIT_LENGTH,
            "adversarial_weight": 0.0,
        },
        "unit length, binary cross entropy": {**ACMR_UNIT_LENGTH, "label_loss": "bce"},
        **{
            f"unit length, margin {margin}": {**ACMR_UNIT_LENGTH, "margin": margin}
            for margin in (0.05, 0.1, 0.2, 1.0)
        },
    },
    "CMGAN": {
        "first release": {"max_epochs": 10, "lr_decay_every": 2},
    },
    "DRCL": {
        "first release": {"max_epochs": 50, "q_step": 0.01, "q_max": 1.0},
    },
    "SSAH": {
        "first release": {"max_epochs": 30, "max_epochs_label": 60},
    },
    "AADAH": {
        "first release": {"max_epochs": 50},
    },
}
