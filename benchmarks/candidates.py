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

SSAH = {
    "min_updates": 300,
    "adversarial_weight": 0,
    "balance_weight": 3,
    "dropout": 0.2,
    "self_supervision": True,
}
AADAH = {"min_updates": 300, "margin": 0.1, "lr": 3e-4, "quantization_weight": 0}

# Written out in full, so that later defaults do not change their meaning.
CANDIDATES = {
    "ACMR": {
        "first release": {"max_epochs": 30},
    },
    "CMGAN": {
        "first release": {"max_epochs": 10, "lr_decay_every": 2},
    },
    "DRCL": {
        "first release": {"max_epochs": 50, "q_step": 0.01, "q_max": 1.0},
    },
    "SSAH": {
        "first release": {
            "max_epochs": 30,
            "max_epochs_label": 60,
            "adversarial_weight": 0.01,
            "balance_weight": 0,
            "dropout": 0,
        },
        "300 updates": SSAH | {"balance_weight": 0, "dropout": 0},
        "balanced bits, dropout": SSAH,
        "no label network": SSAH | {"self_supervision": False},
        "slowed adversary": SSAH
        | {
            "adversarial_weight": 0.1,
            "lr_discriminator": 1e-4,
            "discriminator_dropout": 0.5,
        },
    },
    "AADAH": {
        "first release": {"max_epochs": 50, "use_attention": True},
        "300 updates": AADAH,
        "no attention": AADAH | {"use_attention": False},
        "no adversary": AADAH | {"adversarial_weight": 0},
        "wide margin": AADAH | {"margin": 0.2},
    },
}
