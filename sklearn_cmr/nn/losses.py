"""Loss terms used by more than one method: pure functions of tensors."""

# SPDX-License-Identifier: BSD-3-Clause

import torch
import torch.nn.functional as F


def softmax_label_loss(logits, y):
    """Cross entropy of the softmax against labels that share one unit of mass.

    Parameters
    ----------
    logits : tensor of shape (b, n_classes)

    y : tensor of shape (b, n_classes)
        Label indicator; every row is divided by its sum.
    """
    return F.cross_entropy(logits, y / y.sum(1, keepdim=True))


def bce_label_loss(logits, y):
    """Binary cross entropy of independent sigmoids, averaged over the classes.

    Parameters
    ----------
    logits : tensor of shape (b, n_classes)

    y : tensor of shape (b, n_classes)
        Label indicator.
    """
    return F.binary_cross_entropy_with_logits(logits, y)


def mse_label_loss(logits, y):
    """Mean squared error of independent sigmoids, averaged over the classes.

    Parameters
    ----------
    logits : tensor of shape (b, n_classes)

    y : tensor of shape (b, n_classes)
        Label indicator.
    """
    return F.mse_loss(logits.sigmoid(), y)


def quantization_loss(code):
    """Return the mean squared distance to the signs; that of 0 is positive.

    Parameters
    ----------
    code : tensor of any shape
        Relaxed codes.
    """
    signs = torch.where(code >= 0, 1.0, -1.0).to(code.dtype)
    return F.mse_loss(code, signs)


LABEL_LOSSES = {
    "softmax": softmax_label_loss,
    "bce": bce_label_loss,
    "mse": mse_label_loss,
}
