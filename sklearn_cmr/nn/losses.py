"""Loss terms of more than one method: pure functions of tensors."""

# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F


def softmax_label_loss(logits, y):
    """Compute the cross entropy of the softmax, averaged over the rows.

    The labels of a row are equally likely: each has the probability 1 / (their number).

    Parameters
    ----------
    logits : tensor of shape (b, n_classes)

    y : tensor of shape (b, n_classes)
        Label indicator with at least one label in every row.
    """
    return F.cross_entropy(logits, y / y.sum(1, keepdim=True))


def bce_label_loss(logits, y):
    """Compute the mean binary cross entropy of one sigmoid per class.

    Parameters
    ----------
    logits : tensor of shape (b, n_classes)

    y : tensor of shape (b, n_classes)
        Label indicator.
    """
    return F.binary_cross_entropy_with_logits(logits, y)


def mse_label_loss(logits, y):
    """Compute the mean squared error of one sigmoid per class.

    Parameters
    ----------
    logits : tensor of shape (b, n_classes)

    y : tensor of shape (b, n_classes)
        Label indicator.
    """
    return F.mse_loss(logits.sigmoid(), y)


def quantization_loss(code):
    """Compute the mean squared difference between relaxed codes and their signs.

    Parameters
    ----------
    code : tensor of any shape
        Relaxed codes. The sign of 0 is +1.
    """
    signs = torch.where(code >= 0, 1.0, -1.0).to(code.dtype)
    return F.mse_loss(code, signs)


# Every value that `label_loss` can have; a method takes those that suit it.
# What turns logits into the probabilities that a label loss trains.
LABEL_ACTIVATIONS: dict[str, Callable] = {
    "softmax": partial(torch.softmax, dim=1),
    "bce": torch.sigmoid,
    "mse": torch.sigmoid,
}
LABEL_LOSSES = {
    "softmax": softmax_label_loss,
    "bce": bce_label_loss,
    "mse": mse_label_loss,
}
