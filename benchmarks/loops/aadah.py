"""Attention-aware deep adversarial hashing, with the default form of its losses."""

# SPDX-License-Identifier: BSD-3-Clause

from itertools import permutations

import numpy as np
import torch
from torch.utils.data import TensorDataset

from loops.common import Means, build, device_for, load, seeded_generator
from sklearn_cmr.nn.triplets import triplet_losses

NAMES = ("image", "text")


def distances(codes, others):
    """Return scaled Euclidean distances."""
    return torch.cdist(codes, others) / (2 * codes.shape[1] ** 0.5)


def cube(codes, others, similar, margin, exclude_self=False):
    """Return the mean of the hinges that are not 0, from their whole cube."""
    d = distances(codes, others)
    positive, negative = similar, ~similar
    if exclude_self:
        positive = positive & ~np.eye(len(positive), dtype=bool)
    valid = torch.from_numpy(positive[:, :, None] & negative[:, None, :])
    hinges = torch.clamp(margin + d.unsqueeze(2) - d.unsqueeze(1), min=0) * valid
    return hinges.sum() / max(1, int((hinges > 0).sum()))


def parameters_of(module):
    """Return the parameters of the attention networks, and those of the others."""
    named = list(module.named_parameters())
    return (
        [p for name, p in named if ".attention." in name],
        [p for name, p in named if ".attention." not in name],
    )


def textbook(estimator, data, epochs, order=None):
    """The cube of triplets, its mask made by numpy; one forward for every role."""
    module = build(estimator, data)
    features, y = data.tensors()
    of_attention, others = parameters_of(module)
    options = {"lr": estimator.lr, "betas": estimator.betas}
    optimizer = torch.optim.Adam(others, **options)
    of_its_own = options | {"lr": estimator.lr_attention or estimator.lr}
    optimizer_attention = torch.optim.Adam(of_attention, **of_its_own)
    dataset = TensorDataset(features["image"], features["text"], y)
    margin, history, step = estimator.margin, [], 0
    for epoch in range(epochs):
        means = Means()
        for images, texts, labels in load(dataset, estimator.batch_size, order, epoch):
            known = labels.numpy()
            similar = known @ known.T > 0
            codes, unattended = {}, {}
            for name, x in zip(NAMES, (images, texts), strict=True):
                network = module["encoders"][name]
                f, present = network.extract(x)
                with torch.no_grad():
                    mask = network.mask(f, present)
                codes[name] = network.encode(f, mask)
                unattended[name] = network.encode(f, 1 - mask)
            pairs = list(permutations(NAMES))
            inter = sum(cube(codes[a], codes[b], similar, margin) for a, b in pairs)
            intra = sum(
                cube(codes[a], codes[a], similar, margin, exclude_self=True)
                for a in NAMES
            )
            game = sum(cube(codes[a], unattended[b], similar, margin) for a, b in pairs)
            loss = estimator.inter_triplet_weight * inter
            loss = loss + estimator.intra_triplet_weight * intra
            loss = loss + estimator.adversarial_weight * game
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            means.add(
                len(images),
                train_loss=loss.item(),
                inter_loss=inter.item(),
                intra_loss=intra.item(),
                adversarial_loss=game.item(),
            )
            step += 1
            if step % estimator.attention_every:
                continue
            codes, unattended = {}, {}
            for name, x in zip(NAMES, (images, texts), strict=True):
                network = module["encoders"][name]
                with torch.no_grad():
                    f, present = network.extract(x)
                mask = network.mask(f, present)
                codes[name] = network.encode(f, mask.detach())
                unattended[name] = network.encode(f, 1 - mask)
            loss = sum(
                cube(codes[a], unattended[b], ~similar, margin) for a, b in pairs
            )
            optimizer_attention.zero_grad()
            loss.backward()
            optimizer_attention.step()
            means.add(len(images), attention_loss=loss.item())
        history.append(means.compute())
    return history


def bare(estimator, data, epochs):
    """Triplets counted by sorting, all terms at once; fused Adam."""
    device = device_for(estimator)
    module = build(estimator, data)
    features, y = data.tensors(device)
    of_attention, others = parameters_of(module)
    options = {"lr": estimator.lr, "betas": estimator.betas, "fused": True}
    optimizer = torch.optim.Adam(others, **options)
    of_its_own = options | {"lr": estimator.lr_attention or estimator.lr}
    optimizer_attention = torch.optim.Adam(of_attention, **of_its_own)
    scale = 2 * estimator.n_bits**0.5
    weights = torch.tensor(
        [
            estimator.inter_triplet_weight,
            estimator.intra_triplet_weight,
            estimator.adversarial_weight,
        ],
        device=device,
    ).repeat_interleave(2)

    def distances_of(codes, others):
        codes, others = torch.stack(codes), torch.stack(others)
        lengths = codes.square().sum(2, keepdim=True)
        lengths = lengths + others.square().sum(2).unsqueeze(1)
        squared = torch.baddbmm(lengths, codes, others.mT, alpha=-2).clamp_min(0)
        return (squared + 1e-6).sqrt() / scale

    def update(optimizer, moved, loss):
        for parameter in moved:
            parameter.grad = None
        loss.backward(inputs=moved)
        optimizer.step()

    history, step = [], 0
    for epoch in range(epochs):
        means = Means()
        generator = seeded_generator(estimator, epoch)
        order = torch.randperm(data.n_samples, generator=generator).to(device)
        for rows in order.split(estimator.batch_size):
            labels, n_rows = y[rows], len(rows)
            similar = labels @ labels.T > 0
            anyone = torch.ones_like(similar)
            but_self = ~torch.eye(n_rows, dtype=torch.bool, device=device)
            codes, unattended, seen = {}, {}, {}
            for name, X in features.items():
                network = module["encoders"][name]
                x = X[rows]
                f, present = network.extract(x)
                with torch.no_grad():
                    mask = network.mask(f, present)
                seen[name] = x
                parts = torch.cat([f * mask, f * (1 - mask)])
                codes[name], unattended[name] = network.hashing(parts).chunk(2)
            image, text = codes.values()
            ranked = [text, image, image, text, unattended["text"], unattended["image"]]
            d = distances_of([image, text] * 3, ranked)
            candidates = torch.stack([anyone] * 2 + [but_self] * 2 + [anyone] * 2)
            losses, *_ = triplet_losses(
                d, similar.expand_as(d), candidates, estimator.margin, "active"
            )
            loss = (weights * losses).sum()
            update(optimizer, others, loss)
            means.add(
                n_rows,
                train_loss=loss.detach(),
                inter_loss=losses[:2].detach().sum(),
                intra_loss=losses[2:4].detach().sum(),
                adversarial_loss=losses[4:].detach().sum(),
            )
            step += 1
            if step % estimator.attention_every:
                continue
            codes, unattended = {}, {}
            for name, x in seen.items():
                network = module["encoders"][name]
                with torch.no_grad():
                    f, present = network.extract(x)
                mask = network.mask(f, present)
                with torch.no_grad():
                    codes[name] = network.encode(f, mask)
                unattended[name] = network.encode(f, 1 - mask)
            ranked = [unattended["text"], unattended["image"]]
            d = distances_of([codes["image"], codes["text"]], ranked)
            losses, *_ = triplet_losses(
                d,
                ~similar.expand_as(d),
                anyone.expand_as(d),
                estimator.margin,
                "active",
            )
            update(optimizer_attention, of_attention, losses.sum())
            means.add(n_rows, attention_loss=losses.detach().sum())
        history.append(means.compute())
    return history
