"""Losses of CM-GANs: pure functions of tensors."""

# SPDX-License-Identifier: BSD-3-Clause

import torch
import torch.nn.functional as F

from sklearn_cmr._inputs.layout import MODALITIES
from sklearn_cmr.nn.layers import dropout

_OTHER = dict(zip(MODALITIES, reversed(MODALITIES), strict=True))


def cached(batch, name, compute):
    """Return a value from the batch's cache; compute it first if it is missing.

    The autoencoders do not change while the discriminators take their steps on a batch,
    and vice versa. The first step computes, without gradients, what all steps use.
    """
    if name not in batch.cache:
        with torch.no_grad():
            batch.cache[name] = compute()
    return batch.cache[name]


def encode(module, batch, state, modality, input_dropout, *, role=0, track=False):
    """Return the codes of anchors (role 0) or of mismatched items (1).

    In the training, features are set to 0 at random. `track` updates the running
    statistics.
    """
    X = batch.features[modality][role]
    if input_dropout and module.training:
        X = dropout(X, input_dropout, state.generator)
    return module["encoders"][modality](X, track)


# -- discriminators ----------------------------------------------------------------


def detached_code(module, batch, state, modality, input_dropout, role=0):
    """Return the codes of anchors (role 0) or of mismatched items (1), as constants.

    They do not update the running statistics.
    """

    def compute():
        return encode(module, batch, state, modality, input_dropout, role=role)

    return cached(batch, f"{modality}_code_{role}", compute)


def intra_logits(module, batch, state, modality, input_dropout):
    """Compute the intra-modal discriminator's logits of features and reconstructions.

    Returns
    -------
    logits : tensor of shape (b, 2)
    """

    def stack_inputs():
        code = detached_code(module, batch, state, modality, input_dropout)
        features = batch.features[modality][0]
        return torch.stack([features, module["decoders"][modality](code)], 1)

    inputs = cached(batch, f"{modality}_intra_inputs", stack_inputs)
    return module["intra_discriminators"][modality](inputs).squeeze(2)


def inter_logits(module, batch, state, modality, input_dropout, mismatch):
    """Compute the inter-modal discriminator's logits of codes, given features.

    Returns
    -------
    logits : tensor of shape (b, 2) or (b, 3)
        Logits of the codes of the features' items, of the codes of the paired items in
        the other modality and, unless `mismatch` is None, of mismatched items.
    """

    def code_of(own, role=0):
        return detached_code(module, batch, state, own, input_dropout, role)

    def stack_codes():
        codes = [code_of(own) for own in (modality, _OTHER[modality])]
        if mismatch is not None:
            codes.append(code_of(modality, role=1))
        return torch.stack(codes, 1)

    def stack_features():
        anchors, *mismatched = batch.features[modality]
        if mismatch == "self":
            return torch.stack([anchors, anchors, *mismatched], 1)
        return anchors.unsqueeze(1)

    codes = cached(batch, f"{modality}_codes", stack_codes)
    features = cached(batch, f"{modality}_features_{mismatch}", stack_features)
    discriminator = module["inter_discriminators"][modality]
    hidden = discriminator.feature_layer(features)
    return discriminator.forward_groups(codes, hidden).squeeze(2)


def discriminator_loss(
    module,
    batch,
    state,
    *,
    intra,
    inter,
    input_dropout,
    mismatch,
    real_weight,
    cross_weight,
    mismatch_weight,
):
    """Return the sum of the losses of all discriminators, and its terms.

    The intra-modal discriminators of the modalities `intra` distinguish features from
    their reconstructions. The inter-modal ones of the modalities `inter` distinguish
    the code of given features from the code of the paired item and, unless
    `mismatch_weight` is None, from the code of a mismatched item.
    """
    if mismatch_weight is None or not inter:
        mismatch = None
    logits_inter = [
        inter_logits(module, batch, state, m, input_dropout, mismatch) for m in inter
    ]
    logits_intra = [intra_logits(module, batch, state, m, input_dropout) for m in intra]
    if mismatch is not None:
        # A third column, of weight 0, so that all logits have one shape.
        logits_intra = [F.pad(logits, (0, 1)) for logits in logits_intra]
    logits = torch.stack([*logits_intra, *logits_inter], 2)

    def compute_weights():
        anchors = batch.y[0]
        ones = anchors.new_ones(len(anchors))
        weights_intra = [ones, ones]
        weights_inter = [real_weight * ones, cross_weight * ones]
        if mismatch is not None:
            is_mismatched = (anchors * batch.y[1]).sum(1) == 0
            scale = len(anchors) / is_mismatched.sum().clamp_min(1)
            weights_intra.append(torch.zeros_like(ones))
            weights_inter.append(mismatch_weight * scale * is_mismatched)
        weights = [torch.stack(weights_intra, 1) for _ in intra]
        weights += [torch.stack(weights_inter, 1) for _ in inter]
        return torch.stack(weights, 2) / len(anchors)

    weights = cached(batch, "discriminator_weights", compute_weights)
    is_real = torch.arange(logits.shape[1], device=logits.device)[:, None] == 0
    losses = F.softplus(torch.where(is_real, -logits, logits)) * weights
    losses = losses.sum((0, 1))
    is_correct = (logits > 0) == is_real
    accuracies = is_correct[:, :2].to(weights).mean((0, 1))
    names = [f"{m}_intra" for m in intra] + [f"{m}_inter" for m in inter]
    # Detached before the split, which would otherwise be part of the backward pass.
    by_name = zip(names, losses.detach().unbind(), accuracies.unbind(), strict=True)
    terms: dict[str, torch.Tensor] = {}
    for name, loss, accuracy in by_name:
        terms |= {f"{name}_loss": loss, f"{name}_accuracy": accuracy}
    return losses.sum(), terms


# -- autoencoders ------------------------------------------------------------------


def adversarial_logits(module, batch, modality, code):
    """Compute the logits of codes, given the features of the paired items."""
    other = _OTHER[modality]
    discriminator = module["inter_discriminators"][other]

    def compute_hidden():
        return discriminator.feature_layer(batch.features[other][0])

    return discriminator(code, cached(batch, f"{other}_hidden", compute_hidden))


def generator_loss(
    module,
    batch,
    state,
    *,
    modalities,
    input_dropout,
    inter_adversarial_weight,
    intra_adversarial_weight,
    label_weight,
    reconstruction_weight,
    label_loss,
):
    """Return the loss of the autoencoders of some modalities, and its terms.

    A weight of None leaves its term out. The first pass over a batch updates the
    running statistics. Held-out rows are evaluated without the adversarial terms, in
    both modalities.
    """
    modalities = modalities if module.training else MODALITIES
    has_inter = module.training and inter_adversarial_weight is not None
    has_intra = module.training and intra_adversarial_weight is not None
    has_decoders = (
        intra_adversarial_weight is not None or reconstruction_weight is not None
    )
    losses, logits, terms = [], [], {}
    for modality in modalities:
        inputs, loss_name = batch.features[modality][0], f"{modality}_embedding_loss"
        track = loss_name not in batch.cache
        code = encode(module, batch, state, modality, input_dropout, track=track)
        weighted = []
        if label_weight is not None:
            label = label_loss(module["classifiers"][modality](code), batch.y[0])
            terms[f"{modality}_label_loss"] = label
            weighted.append(label_weight * label)
        if has_decoders:
            decoded = module["decoders"][modality](code, track)
        if reconstruction_weight is not None:
            # Features that an encoder of the caller learns are constants here, or it
            # would make them easy to reconstruct.
            error = F.mse_loss(decoded, inputs.detach())
            terms[f"{modality}_reconstruction_loss"] = error
            weighted.append(reconstruction_weight * error)
        losses.append(sum(weighted) if weighted else inputs.new_zeros(()))
        batch.cache[loss_name] = losses[-1].detach()
        batch.cache[f"{modality}_code_0"] = code.detach()
        if has_inter:
            logits.append(adversarial_logits(module, batch, modality, code))
        if has_intra:
            logits.append(module["intra_discriminators"][modality](decoded))
    loss = sum(losses)
    if logits:
        used = [inter_adversarial_weight] * has_inter
        used += [intra_adversarial_weight] * has_intra

        def compute_weights():
            # Filled on the device: copying from the host would synchronize with it.
            return torch.stack([loss.new_full((), weight) for weight in used])

        weights = cached(batch, "adversarial_weights", compute_weights)
        adversarial = F.softplus(-torch.cat(logits, 1)).mean(0)
        adversarial = adversarial.view(len(modalities), -1) @ weights
        loss = loss + adversarial.sum()
        # Detached before the split, which would otherwise be part of the backward pass.
        parts = zip(losses, adversarial.detach().unbind(), strict=True)
        losses = [weighted + part for weighted, part in parts]
    for modality, own_loss in zip(modalities, losses, strict=True):
        terms[f"{modality}_generator_loss"] = own_loss
    if MODALITIES[-1] in modalities:  # both modalities are in the cache by now
        sums = [batch.cache[f"{modality}_embedding_loss"] for modality in MODALITIES]
        codes = [batch.cache[f"{modality}_code_0"] for modality in MODALITIES]
        terms["embedding_loss"] = sum(sums)
        terms["code_gap"] = F.l1_loss(*codes)
    return loss, terms
