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
SSAH = {
    "min_updates": 300,
    "adversarial_weight": 0,
    "balance_weight": 3,
    "input_dropout": 0.2,
    "self_supervision": True,
}
AADAH = {"min_updates": 300, "margin": 0.1, "lr": 3e-4, "quantization_weight": 0}
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
_DRCL = {
    "hidden_layer_sizes": (512,),
    "dropout": 0.4,
    "mix_lambda": 0.9,
    "consistency_weight": 0.1,
    "recast_weight": 0.1,
    "recast_reduction": "sum",
    "q_max": 0.5,
    "prior": "orthogonal",
    "lr": 1e-3,
    "batch_size": 64,
    "min_updates": 600,
}
CANDIDATES = {
    "ACMR": {
        "first release": ACMR_FIRST_RELEASE,
        "unit length": ACMR_UNIT_LENGTH,
        "unit length, without the game": {
            **ACMR_UNIT_LENGTH,
            "adversarial_weight": 0.0,
        },
        "unit length, 600 updates": {**ACMR_UNIT_LENGTH, "min_updates": 600},
        "unit length, binary cross entropy": {**ACMR_UNIT_LENGTH, "label_loss": "bce"},
        **{
            f"unit length, margin {margin}": {**ACMR_UNIT_LENGTH, "margin": margin}
            for margin in (0.05, 0.1, 0.2, 1.0)
        },
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
        "first release": {
            "hidden_layer_sizes": (512, 512),
            "dropout": 0.0,
            "recast_reduction": "mean",
            "q_step": 0.01,
            "q_max": 1.0,
            "prior": "select",
            "lr": 1e-4,
            "batch_size": 256,
            "max_epochs": 50,
        },
        "default": _DRCL,
        "prior selected": _DRCL | {"prior": "select"},
        "dropout 0.2": _DRCL | {"dropout": 0.2},
        "no dropout": _DRCL | {"dropout": 0.0},
        "no dropout, lr 3e-4": _DRCL | {"dropout": 0.0, "lr": 3e-4},
        "no recast loss": _DRCL | {"recast_weight": 0.0},
        "no consistency loss": _DRCL | {"consistency_weight": 0.0},
        "no mixing": _DRCL | {"mix_lambda": 1.0},
        "early stopping": _DRCL | {"early_stopping": True},
    },
    "SSAH": {
        "first release": {
            "max_epochs": 30,
            "max_epochs_label": 60,
            "adversarial_weight": 0.01,
            "balance_weight": 0,
            "input_dropout": 0,
        },
        "300 updates": SSAH | {"balance_weight": 0, "input_dropout": 0},
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
