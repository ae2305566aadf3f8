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

# One step of every player per batch, encoders without batch normalization.
CMGAN_GAME = {
    "batch_norm": False,
    "input_dropout": 0.5,
    "n_generator_steps": 1,
    "n_discriminator_steps": 1,
    "inter_adversarial_weight": 1.0,
    "intra_adversarial_weight": 1.0,
    "label_weight": 1.0,
    "min_updates": 1000,
}
CMGAN_NO_GAME = {"inter_adversarial_weight": 0.0, "intra_adversarial_weight": 0.0}

# Written out in full, so that later defaults do not change their meaning.
CANDIDATES = {
    "ACMR": {
        "first release": {"max_epochs": 30},
    },
    "CMGAN": {
        "first release": {
            "batch_norm": True,
            "input_dropout": 0.0,
            "n_generator_steps": 5,
            "n_discriminator_steps": 3,
            "inter_adversarial_weight": 1.0,
            "intra_adversarial_weight": 1.0,
            "label_weight": 0.3,
            "max_epochs": 10,
            "lr_decay_every": 2,
        },
        # Adam does not see the scale of a loss: only the ratio of the weights counts.
        "adversarial weights 0.1": CMGAN_GAME
        | {"inter_adversarial_weight": 0.1, "intra_adversarial_weight": 0.1},
        "adversarial weights 1": CMGAN_GAME,
        "label weight 3": CMGAN_GAME | {"label_weight": 3.0},
        "label weight 10": CMGAN_GAME | {"label_weight": 10.0},
        "without games": CMGAN_GAME | CMGAN_NO_GAME,
        "without inter-modal game": CMGAN_GAME | {"inter_adversarial_weight": 0.0},
        "without intra-modal game": CMGAN_GAME | {"intra_adversarial_weight": 0.0},
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
