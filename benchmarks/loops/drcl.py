"""Deep reversible consistency learning: both stages, one modality after the other."""

# SPDX-License-Identifier: BSD-3-Clause

import copy

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

from loops.common import Means, build, device_for, load, seeded_generator

# The form of the training that these loops write out.
SETTINGS = {
    "dropout": 0.0,
    "prior": "select",
    "q_step": 0.01,
    "q_max": 1.0,
    "recast_reduction": "mean",
}


def cross_entropy(probabilities, y, q):
    """Return the generalised cross entropy."""
    own = (probabilities * y).sum(1).clamp_min(1e-12)
    return -own.log().mean() if q == 0 else ((1 - own**q) / q).mean()


def cosines(a, b):
    """Return twice the cosines between all rows, as the published code does."""
    norms = a.norm(dim=1, keepdim=True) @ b.norm(dim=1, keepdim=True).T
    return 2 * (a @ b.T) / norms.clamp_min(1e-6)


def consistency(r, f):
    """Return what makes embeddings as similar as their labels."""
    intra = (cosines(r, r) - cosines(f, f)).pow(2).mean()
    between = cosines(r, f)
    return intra + (between - between.T).pow(2).mean()


def exponent(estimator, epoch, first):
    """Return the exponent of the cross entropy in an epoch."""
    return min(estimator.q_max, estimator.q_step * (epoch + first))


def textbook(estimator, data, epochs, order=None):
    """The published loop without its defects: a loader, default Adam, ``.item()``."""
    module = build(estimator, data)
    features, y = data.tensors()
    start = module["prior"].weight.detach().clone()
    history, priors, scores = [], {}, {}
    for modality, X in features.items():
        dataset = TensorDataset(X, y)
        network = copy.deepcopy(module["encoders"][modality])
        prior = torch.nn.Parameter(start.clone())
        optimizer = torch.optim.Adam(
            [*network.parameters(), prior],
            lr=estimator.lr_prior,
            betas=estimator.betas,
        )
        scores[modality] = 0.0
        for epoch in range(epochs):
            means, q = Means(), exponent(estimator, epoch, 0)
            for x, labels in load(dataset, estimator.batch_size, order, epoch):
                probabilities = torch.softmax(network(x) @ prior, dim=1)
                loss = cross_entropy(probabilities, labels, q)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                means.add(len(x), train_loss=loss.item())
            quality = 0.0
            with torch.no_grad():
                for x, labels in DataLoader(dataset, batch_size=estimator.batch_size):
                    probabilities = torch.softmax(network(x) @ prior, dim=1)
                    quality += (probabilities * labels).sum().item()
            quality /= data.n_samples
            if quality > scores[modality]:
                scores[modality] = quality
                priors[modality] = prior.detach().clone()
            history.append(means.compute() | {"quality": quality})

    prior = priors[max(scores, key=scores.get)]
    inverse = torch.linalg.pinv(prior)
    for modality, X in features.items():
        dataset = TensorDataset(X, y)
        network = copy.deepcopy(module["encoders"][modality])
        optimizer = torch.optim.Adam(
            network.parameters(), lr=estimator.lr, betas=estimator.betas
        )
        share = estimator.mix_lambda
        for epoch in range(epochs):
            means, q = Means(), exponent(estimator, epoch, 1)
            generator = seeded_generator(estimator, epoch)
            for x, labels in load(dataset, estimator.batch_size, order, epoch):
                f = network(x)
                mixing = torch.randperm(len(f), generator=generator)
                f = share * f + (1 - share) * f[mixing]
                mixed = share * labels + (1 - share) * labels[mixing]
                r = mixed @ inverse
                label = cross_entropy(torch.softmax(f @ prior, dim=1), mixed, q)
                alike = consistency(r, f)
                recast = F.mse_loss(f, r)
                loss = estimator.label_weight * label
                loss = loss + estimator.consistency_weight * alike
                loss = loss + estimator.recast_weight * recast
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                means.add(
                    len(x),
                    train_loss=loss.item(),
                    label_loss=label.item(),
                    consistency_loss=alike.item(),
                    recast_loss=recast.item(),
                )
            history.append(means.compute())
    return history


def bare(estimator, data, epochs):
    """Rows by index, fused Adam, products with labels in place of recast ones."""
    device = device_for(estimator)
    module = build(estimator, data)
    features, y = data.tensors(device)
    start = module["prior"].weight.detach().clone()
    options = {"betas": estimator.betas, "fused": True}
    history, priors, scores = [], {}, {}

    def rows_of_batches(epoch):
        generator = seeded_generator(estimator, epoch)
        order = torch.randperm(data.n_samples, generator=generator)
        return order.to(device).split(estimator.batch_size)

    def step(optimizer, moved, loss):
        for parameter in moved:
            parameter.grad = None
        loss.backward(inputs=moved)
        optimizer.step()

    for modality, X in features.items():
        network = copy.deepcopy(module["encoders"][modality])
        prior = torch.nn.Parameter(start.clone())
        moved = [*network.parameters(), prior]
        optimizer = torch.optim.Adam(moved, lr=estimator.lr_prior, **options)
        scores[modality] = 0.0
        for epoch in range(epochs):
            means, q = Means(), exponent(estimator, epoch, 0)
            for rows in rows_of_batches(epoch):
                probabilities = (network(X[rows]) @ prior).softmax(1)
                loss = cross_entropy(probabilities, y[rows], q)
                step(optimizer, moved, loss)
                means.add(len(rows), train_loss=loss.detach())
            with torch.inference_mode():
                probabilities = (network(X) @ prior).softmax(1)
                quality = (probabilities * y).sum(1).mean().item()
            if quality > scores[modality]:
                scores[modality] = quality
                priors[modality] = prior.detach().clone()
            history.append(means.compute() | {"quality": quality})

    prior = priors[max(scores, key=scores.get)]
    inverse = torch.linalg.pinv(prior)
    gram = inverse @ inverse.T
    for modality, X in features.items():
        network = copy.deepcopy(module["encoders"][modality])
        moved = list(network.parameters())
        optimizer = torch.optim.Adam(moved, lr=estimator.lr, **options)
        share = estimator.mix_lambda
        for epoch in range(epochs):
            means, q = Means(), exponent(estimator, epoch, 1)
            generator = seeded_generator(estimator, epoch, device)
            for rows in rows_of_batches(epoch):
                f, labels = network(X[rows]), y[rows]
                mixing = torch.randperm(len(f), generator=generator, device=device)
                f = torch.lerp(f.index_select(0, mixing), f, share)
                labels = torch.lerp(labels[mixing], labels, share)
                label = cross_entropy((f @ prior).softmax(1), labels, q)
                lengths = (labels @ gram * labels).sum(1, keepdim=True).sqrt()
                unit, unit_f = labels / lengths, F.normalize(f, dim=1)
                between = unit_f @ inverse.T @ unit.T
                # The gradient of a (anti)symmetric difference: twice that of one side.
                alike = F.mse_loss(unit_f @ unit_f.detach().T, unit @ gram @ unit.T)
                alike = alike + F.mse_loss(between, between.detach().T.contiguous())
                alike = 8 * alike - 4 * alike.detach()
                recast = F.mse_loss(f, labels @ inverse)
                loss = estimator.label_weight * label
                loss = loss + estimator.consistency_weight * alike
                loss = loss + estimator.recast_weight * recast
                step(optimizer, moved, loss)
                means.add(
                    len(rows),
                    train_loss=loss.detach(),
                    label_loss=label.detach(),
                    consistency_loss=alike.detach(),
                    recast_loss=recast.detach(),
                )
            history.append(means.compute())
    return history
