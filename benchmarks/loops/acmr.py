"""Adversarial cross-modal retrieval, with the default form of its losses."""

# SPDX-License-Identifier: BSD-3-Clause

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import TensorDataset

from loops.common import Means, build, device_for, load, seeded_generator


def strength(estimator, epoch, epochs):
    """Return the weight of the adversarial loss in an epoch."""
    growth = 2 / (1 + math.exp(-estimator.grl_gamma * epoch / epochs)) - 1
    return estimator.adversarial_weight * growth


def mine(similar):
    """List the pairs of a mask, each with its weight in the mean of its anchor."""
    anchors, others = np.nonzero(similar)
    counts = similar.sum(1)
    shares = 1 / counts[anchors] / max(1, np.count_nonzero(counts))
    return (
        torch.from_numpy(anchors),
        torch.from_numpy(others),
        torch.from_numpy(np.float32(shares)),
    )


def triplet(z_anchors, z_others, similar, estimator):
    """Return the triplet loss of one direction, from lists of pairs."""
    anchors, others, shares = mine(similar)
    distances = F.pairwise_distance(z_anchors[anchors], z_others[others]) / 2
    near = (shares * distances).sum()
    anchors, others, shares = mine(~similar)
    distances = F.pairwise_distance(z_anchors[anchors], z_others[others]) / 2
    hinges = torch.clamp(estimator.margin - distances, min=0)
    return near + estimator.negative_weight * (shares * hinges).sum()


def textbook(estimator, data, epochs, order=None):
    """Train with a forward pass for every use, pairs listed by numpy, default Adam."""
    module = build(estimator, data)
    image, text = module["encoders"].values()
    classifier, discriminator = module["classifier"], module["discriminator"]
    features, y = data.tensors()
    dataset = TensorDataset(features["image"], features["text"], y)
    projectors = [image, text, classifier]
    optimizer = torch.optim.Adam(
        [p for network in projectors for p in network.parameters()],
        lr=estimator.lr,
        betas=estimator.betas,
    )
    optimizer_discriminator = torch.optim.Adam(
        discriminator.parameters(),
        lr=estimator.lr_discriminator,
        betas=estimator.betas,
    )
    history = []
    for epoch in range(epochs):
        means = Means()
        for images, texts, labels in load(dataset, estimator.batch_size, order, epoch):
            is_image = torch.zeros(len(images), dtype=torch.long)
            is_text = torch.ones(len(texts), dtype=torch.long)
            known = labels.numpy()
            similar = known @ known.T > 0

            z_image, z_text = image(images), text(texts)
            imi = triplet(z_image, z_text, similar, estimator)
            imi = imi + triplet(z_text, z_image, similar, estimator)
            target = labels / labels.sum(1, keepdim=True)
            imd = F.cross_entropy(classifier(z_image), target)
            imd = imd + F.cross_entropy(classifier(z_text), target)
            adversarial = F.cross_entropy(discriminator(z_image), is_image)
            adversarial = adversarial + F.cross_entropy(discriminator(z_text), is_text)
            embedding = estimator.triplet_weight * imi + estimator.label_weight * imd
            loss = embedding - strength(estimator, epoch, epochs) * adversarial
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

            with torch.no_grad():
                z_image, z_text = image(images), text(texts)
            loss_discriminator = F.cross_entropy(discriminator(z_image), is_image)
            loss_discriminator = loss_discriminator + F.cross_entropy(
                discriminator(z_text), is_text
            )
            optimizer_discriminator.zero_grad()
            loss_discriminator.backward()
            optimizer_discriminator.step()

            means.add(
                len(images),
                triplet_loss=imi.item(),
                label_loss=imd.item(),
                embedding_loss=embedding.item(),
                discriminator_loss=loss_discriminator.item(),
            )
        history.append(means.compute())
    return history


def bare(estimator, data, epochs):
    """Train with one forward pass for every item and one matrix of distances."""
    device = device_for(estimator)
    module = build(estimator, data)
    image, text = module["encoders"].values()
    classifier, discriminator = module["classifier"], module["discriminator"]
    features, y = data.tensors(device)
    X_image, X_text = features["image"], features["text"]
    targets = y.argmax(1) if data.y.ndim == 1 else y / y.sum(1, keepdim=True)
    moved = [p for net in (image, text, classifier) for p in net.parameters()]
    moved_discriminator = list(discriminator.parameters())
    options = {"betas": estimator.betas, "fused": True}
    optimizer = torch.optim.Adam(moved, lr=estimator.lr, **options)
    optimizer_discriminator = torch.optim.Adam(
        moved_discriminator, lr=estimator.lr_discriminator, **options
    )
    history = []
    for epoch in range(epochs):
        means = Means()
        generator = seeded_generator(estimator, epoch)
        order = torch.randperm(data.n_samples, generator=generator).to(device)
        reversal = strength(estimator, epoch, epochs)
        for rows in order.split(estimator.batch_size):
            n_rows = len(rows)
            labels, target = y[rows], targets[rows].repeat(2, *[1] * (targets.ndim - 1))
            is_text = torch.arange(2 * n_rows, device=device) // n_rows

            z_image, z_text = image(X_image[rows]), text(X_text[rows])
            z = torch.cat([z_image, z_text])
            similar = labels @ labels.T > 0
            squared = z_image.square().sum(1, keepdim=True) + z_text.square().sum(1)
            squared = torch.addmm(squared, z_image, z_text.T, alpha=-2).clamp_min(0)
            distances = (squared / 4 + 1e-6).sqrt()
            # Both directions share distances and masks; only the sums differ.
            near = torch.where(similar, distances, 0)
            far = torch.where(similar, 0, F.relu(estimator.margin - distances))
            n_similar = similar.sum(1)
            n_others = n_rows - n_similar
            imi = ((near.sum(0) + near.sum(1)) / n_similar).mean()
            hinges = (far.sum(0) + far.sum(1)) / n_others.clamp_min(1)
            has_negative = (n_others > 0).sum().clamp_min(1)
            imi = imi + estimator.negative_weight * hinges.sum() / has_negative
            imd = 2 * F.cross_entropy(classifier(z), target)
            adversarial = 2 * F.cross_entropy(discriminator(z), is_text)
            embedding = estimator.triplet_weight * imi + estimator.label_weight * imd
            for parameter in moved:
                parameter.grad = None
            (embedding - reversal * adversarial).backward(inputs=moved)
            optimizer.step()

            loss_discriminator = 2 * F.cross_entropy(discriminator(z.detach()), is_text)
            for parameter in moved_discriminator:
                parameter.grad = None
            loss_discriminator.backward()
            optimizer_discriminator.step()
            means.add(
                n_rows,
                triplet_loss=imi.detach(),
                label_loss=imd.detach(),
                embedding_loss=embedding.detach(),
                discriminator_loss=loss_discriminator.detach(),
            )
        history.append(means.compute())
    return history
