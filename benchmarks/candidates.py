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
        "first release": {"max_epochs": 30, "max_epochs_label": 60},
    },
    "AADAH": {
        "first release": {"max_epochs": 50},
    },
}
