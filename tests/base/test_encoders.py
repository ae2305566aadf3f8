"""Networks of the user before those of the methods: `encoders` and `lr_encoder`."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
import functools
import io
import pickle
import re

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skorch.callbacks import Callback
from torch import nn

from sklearn_cmr import (
    TRUSTED_TYPES,
    AADAHHasher,
    ACMRProjector,
    CMGANProjector,
    CrossModalEnsemble,
    CrossModalRetriever,
    DRCLProjector,
    ITQHasher,
    PairTransformer,
    SSAHHasher,
    make_pairs,
)
from sklearn_cmr.datasets import load_captioned_digits
from sklearn_cmr.metrics import map_scorer
from tests.base.methods import each_method, make

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N_CLASSES, N_TRAIN = 5, 240
TOKEN = re.compile(r"\w+")


class Conv(nn.Sequential):
    """A small convolution; it has no attribute `out_features`."""

    def __init__(self, width=8):
        super().__init__(
            nn.Conv2d(1, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )


class Bag(nn.Module):
    """The mean of the embeddings of token ids, of which 0 is padding."""

    def __init__(self, n_tokens=150, width=24):
        super().__init__()
        self.out_features = width
        self.embedding = nn.EmbeddingBag(n_tokens, width, padding_idx=0)

    def forward(self, ids):
        return self.embedding(ids)


class Recorder(nn.Module):
    """Note dtypes and shapes of what comes, and return it as float rows."""

    seen: set = set()

    def forward(self, X):
        self.seen.add((X.dtype, tuple(X.shape[1:])))
        return X.flatten(1).float()


def encode_tokens(texts, vocabulary=None):
    """Return padded token ids, and the vocabulary."""
    vocabulary = {} if vocabulary is None else vocabulary
    rows = [
        [vocabulary.setdefault(word, len(vocabulary) + 1) for word in TOKEN.findall(t)]
        for t in texts
    ]
    ids = np.zeros((len(rows), 25), dtype=np.int64)
    for row, own in zip(ids, rows, strict=True):
        row[: len(own)] = own
    return ids


digits = load_captioned_digits(n_class=N_CLASSES)
IMAGES = (digits.images[:, None] / 16).astype(np.float32)
IDS = encode_tokens(digits.text)
order = np.random.default_rng(0).permutation(len(IDS))
train, test = order[:N_TRAIN], order[N_TRAIN : 2 * N_TRAIN]
A, B, y = IMAGES[train], IDS[train], digits.target[train]
A_test, B_test, y_test = IMAGES[test], IDS[test], digits.target[test]


def own_networks():
    torch.manual_seed(0)
    return {"image": Conv(), "text": Bag()}


def quick(cls, encoders=None, **params):
    """Make an estimator that trains for a moment with own networks."""
    encoders = own_networks() if encoders is None else encoders
    return make(cls, encoders=encoders, **{"max_epochs": 1} | params)


def frozen(encoders):
    for module in encoders.values():
        module.requires_grad_(False)
    return encoders


def weights(module):
    return {name: part.detach().clone() for name, part in module.state_dict().items()}


def assert_equal_weights(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def trained(est, modality):
    """Return the fitted copy of an own network."""
    return est.module_["encoders"][modality].backbone.module


# -- learning ------------------------------------------------------------------------


@each_method
def test_pixels_and_tokens_are_learned_end_to_end(cls):
    options = {"hidden_layer_sizes": (64,), "embedding_dim": 32, "n_bits": 32}
    options |= {"feature_dim": 64, "max_epochs": 20, "max_epochs_label": 20, "lr": 1e-3}
    if cls is CMGANProjector:
        options["lr"] = 3e-3  # 160 steps for 1000
    options = {name: v for name, v in options.items() if name in cls().get_params()}
    encoders = own_networks()
    before = {name: weights(module) for name, module in encoders.items()}
    est = quick(cls, encoders, **options).fit(A, B, y)
    assert est.score(A_test, B_test, y_test) > 0.75  # at chance level: 0.2
    for name, module in encoders.items():
        assert_equal_weights(weights(module), before[name])
        after = dict(trained(est, name).named_parameters())
        assert all(not torch.equal(after[key], before[name][key]) for key in after)


def test_learning_beats_a_frozen_random_network():
    params = {"max_epochs": 15, "lr": 1e-3, "embedding_dim": 32}
    params["hidden_layer_sizes"] = {"image": (64,), "text": ()}
    scores = []
    for encoders in (own_networks(), frozen(own_networks())):
        est = quick(ACMRProjector, encoders, **params).fit(A, B, y)
        scores.append(est.score(A_test, B_test, y_test))
    assert scores[0] > scores[1] + 0.03


@each_method
def test_frozen_network_stays_as_it_is(cls):
    encoders = frozen(own_networks())
    est = quick(cls, encoders).fit(A, B, y)
    for name, module in encoders.items():
        # The running statistics, too.
        assert_equal_weights(weights(trained(est, name)), weights(module))
        assert not any(p.requires_grad for p in trained(est, name).parameters())


@each_method
def test_frozen_network_equals_its_outputs_as_features(cls):
    """The layers of the method get the same initial weights, rows and features."""
    encoders = frozen(own_networks())
    options = {"dropout": 0.0} if cls is DRCLProjector else {}
    if cls is SSAHHasher:
        options = {"text_fusion": False}
    est = quick(cls, encoders, **options).fit(A, B, y)
    with torch.no_grad():
        U = encoders["image"].eval()(torch.from_numpy(A)).numpy()
        V = encoders["text"](torch.from_numpy(B)).numpy()
    other = quick(cls, {}, **options).fit(U, V, y)
    np.testing.assert_allclose(est.loss_curve_, other.loss_curve_, rtol=1e-3)
    for Z, expected in zip(est.transform(A, B), other.transform(U, V), strict=True):
        if isinstance(est, (SSAHHasher, AADAHHasher)):
            assert (Z == expected).mean() > 0.99
        else:
            np.testing.assert_allclose(Z, expected, atol=1e-3)


def test_frozen_part_keeps_its_statistics():
    encoders = own_networks()
    encoders["image"][0].requires_grad_(False)
    encoders["image"][1].requires_grad_(False)
    encoders["image"].append(nn.Linear(128, 12))
    est = quick(ACMRProjector, encoders).fit(A, B, y)
    before, after = weights(encoders["image"]), weights(trained(est, "image"))
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved == {"5.weight", "5.bias"}


def test_statistics_of_a_trained_network_move():
    est = quick(ACMRProjector).fit(A, B, y)
    assert trained(est, "image")[1].num_batches_tracked > 0
    assert not trained(est, "image").training


def test_only_some_modalities_need_a_network():
    est = quick(DRCLProjector, {"image": Conv()}).fit(A, B.astype(float), y)
    assert est.n_text_features_in_ == 25
    assert est.transform_text(B).shape == (N_TRAIN, 8)


def test_dropout_in_a_network_is_seeded():
    encoders = {
        "image": nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 12))
    }
    torch.manual_seed(0)
    curves = []
    for _ in range(2):
        state = torch.get_rng_state()
        est = quick(ACMRProjector, encoders, max_epochs=3).fit(A, B, y)
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(1)
        curves.append(est.loss_curve_)
    assert curves[0] == curves[1]
    other = quick(ACMRProjector, encoders, max_epochs=3, random_state=1).fit(A, B, y)
    assert other.loss_curve_ != curves[0]


# -- learning rates ------------------------------------------------------------------


@each_method
def test_networks_have_a_learning_rate_of_their_own(cls):
    encoders = own_networks()
    est = quick(cls, encoders, lr_encoder=1e-12).fit(A, B, y)
    for name, module in encoders.items():
        before = dict(module.named_parameters())
        for key, value in trained(est, name).named_parameters():
            np.testing.assert_allclose(value.detach(), before[key].detach(), atol=1e-9)


def test_learning_rate_by_modality():
    encoders = own_networks()
    est = quick(ACMRProjector, encoders, lr_encoder={"image": 1e-12}).fit(A, B, y)
    image, text = trained(est, "image"), trained(est, "text")
    first = encoders["image"][0].weight.detach()
    np.testing.assert_allclose(image[0].weight.detach(), first, atol=1e-9)
    moved = text.embedding.weight - encoders["text"].embedding.weight
    assert moved.abs().max() > 1e-5


class Rates(Callback):
    """Note the learning rates of all groups of every epoch."""

    def on_train_begin(self, net, **kwargs):
        self.rates = []

    def on_epoch_end(self, net, **kwargs):
        groups = net.optimizer_.param_groups
        self.rates.append([group["lr"] for group in groups])


@pytest.mark.parametrize(
    ("cls", "params"),
    [
        (CMGANProjector, {"lr": 0.01, "max_epochs": 4}),
        (SSAHHasher, {"lr": 0.01, "max_epochs": 4}),
        (
            SSAHHasher,
            {"lr": 0.01, "schedule": "alternate", "n_rounds": 2, "label_passes": (1,)}
            | {"encoder_passes": (1, 1), "discriminator_passes": ()},
        ),
    ],
)
def test_rate_of_a_network_follows_the_decay(cls, params):
    est = quick(
        cls,
        lr_encoder=0.002,
        lr_decay=0.5,
        lr_decay_every=1,
        callbacks=[("rates", Rates())],
        **params,
    ).fit(A, B, y)
    pairs = [
        (groups[0], groups[1])
        for name, callback in est.callbacks_
        if "label" not in name
        for groups in callback.rates
    ]
    assert len({lr for lr, _ in pairs}) > 1
    for lr, lr_encoder in pairs:
        assert lr_encoder == pytest.approx(0.2 * lr)


# -- what the networks get -----------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "seen"),
    [
        ("int64", torch.int64),
        ("int32", torch.int64),
        ("uint8", torch.int64),
        ("uint16", torch.int64),
        ("float64", torch.float32),
        ("float16", torch.float32),
        ("bool", torch.float32),
    ],
)
def test_integers_stay_integers_and_the_rest_is_float32(dtype, seen):
    Recorder.seen.clear()
    X = (A > 0.5).astype(dtype)
    est = quick(ACMRProjector, {"image": Recorder()}).fit(X, B, y)
    est.transform_image(X)
    assert Recorder.seen == {(seen, (1, 8, 8))}


def test_large_ids_arrive_exactly():
    class Exact(nn.Module):
        def forward(self, ids):
            odd = (ids % 2 == 1).float()
            return torch.cat([odd, 1 - odd], 1)

    ids = 2**53 + np.arange(N_TRAIN)[:, None] * np.array([1, 3])
    est = quick(ACMRProjector, {"text": Exact()}).fit(A.reshape(N_TRAIN, -1), ids, y)
    Z = est.transform_text(ids)
    assert len(np.unique(Z.round(4), axis=0)) == 2


def test_containers_of_all_kinds_are_read_alike():
    expected = quick(ACMRProjector).fit(A, B, y).transform(A_test, B_test)
    containers = [
        {"image": A, "text": B},
        make_pairs(A, B),
        make_pairs(torch.from_numpy(A), B.tolist()),
        make_pairs(A.tolist(), pd.DataFrame(B)),
    ]
    for X in containers:
        est = quick(ACMRProjector).fit(X, y)
        Z = est.transform(make_pairs(A_test, B_test))
        np.testing.assert_array_equal(Z["image"], expected[0])
        np.testing.assert_array_equal(Z["text"], expected[1])


def test_one_matrix_gives_rows_to_a_network():
    encoders = {"text": Bag()}
    X = np.hstack([A.reshape(N_TRAIN, -1).round().astype(int), B])
    est = quick(ACMRProjector, encoders, n_image_features=64).fit(X, y)
    assert est.n_features_in_ == 89
    assert est.transform(X).shape == (N_TRAIN, 16)


def test_sparse_features_reach_a_network_dense():
    Recorder.seen.clear()
    X = sparse.csr_matrix(A.reshape(N_TRAIN, -1) > 0.5, dtype=int)
    est = quick(ACMRProjector, {"image": Recorder()}).fit(X, B, y)
    assert Recorder.seen == {(torch.float32, (64,))}
    np.testing.assert_array_equal(
        est.transform_image(X), est.transform_image(X.toarray())
    )


def test_items_pass_through_a_pair_transformer():
    tokenize = FunctionTransformer(encode_tokens, kw_args={"vocabulary": {}})
    pipe = make_pipeline(
        PairTransformer(text=tokenize), quick(DRCLProjector, own_networks())
    )
    pairs = make_pairs(A, digits.text[train])
    Z = pipe.fit(pairs, y).transform(pairs)
    assert Z["image"].shape == Z["text"].shape == (N_TRAIN, 8)
    scaled = make_pipeline(
        PairTransformer(
            text=make_pipeline(TfidfVectorizer(), StandardScaler(with_mean=False))
        ),
        quick(DRCLProjector, {"image": Conv()}),
    )
    assert scaled.fit(pairs, y).transform(pairs)["image"].shape == (N_TRAIN, 8)


def test_numbers_of_features_count_values():
    est = quick(ACMRProjector).fit(A, B, y)
    assert est.n_image_features_in_ == 64
    assert est.n_text_features_in_ == 25
    assert est.n_features_in_ == 89


@each_method
def test_a_row_is_encoded_alone(cls):
    est = quick(cls).fit(A, B, y)
    for modality, X in (("image", A_test), ("text", B_test)):
        whole = est.transform_modality(X, modality)
        rows = np.array([17, 3, 200])
        for row in rows:
            alone = est.transform_modality(X[row : row + 1], modality)
            np.testing.assert_array_equal(alone[0], whole[row])
        np.testing.assert_array_equal(
            est.transform_modality(X[rows], modality), whole[rows]
        )


class Transformer(nn.Module):
    """A transformer that masks the padding: in evaluation it fails on nothing else."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(150, 16, padding_idx=0)
        layer = nn.TransformerEncoderLayer(16, 2, 16, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 1)

    def forward(self, ids):
        padding = ids == 0
        return self.layers(self.embedding(ids), src_key_padding_mask=padding).mean(1)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_transformer_with_masked_padding_learns():
    est = quick(ACMRProjector, {"text": Transformer()}).fit(A.reshape(-1, 64), B, y)
    whole = est.transform_text(B_test)
    np.testing.assert_array_equal(est.transform_text(B_test[70:71])[0], whole[70])


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_compiled_script_learns():
    script = torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(64, 12)))
    before = weights(script)
    est = quick(ACMRProjector, {"image": script}).fit(A, B, y)
    after = weights(trained(est, "image"))
    assert not torch.equal(after["1.weight"], before["1.weight"])
    assert_equal_weights(weights(script), before)


def test_work_of_a_convolution_counts_for_the_number_of_threads():
    est = quick(
        ACMRProjector, {"image": nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten())}
    )
    backbone = est.fit(A, B, y).module_["encoders"]["image"].backbone
    assert backbone.n_multiply_adds == 9 * 8 * 36


def test_large_items_are_encoded_in_small_blocks(monkeypatch):
    est = quick(ACMRProjector, {"image": Recorder()}).fit(A, B, y)
    expected = est.transform_image(A)
    monkeypatch.setattr("sklearn_cmr.training.inference._BLOCK_VALUES", 300)
    np.testing.assert_allclose(est.transform_image(A), expected, atol=1e-6)


@each_method
def test_no_batch_of_a_single_row(cls):
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.BatchNorm1d(6))
    n = 65
    est = quick(cls, {"image": module}, batch_size=64, max_epochs=2)
    est.fit(A[:n], B[:n].astype(float), y[:n])
    assert np.isfinite(est.transform_image(A[:n])).all()


# -- factories -----------------------------------------------------------------------


def test_factory_gets_the_number_of_features_or_the_shape():
    got = []

    def make_image(shape):
        got.append(shape)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 12))

    def make_text(n_features):
        got.append(n_features)
        return nn.Linear(n_features, 10)

    encoders = {"image": make_image, "text": make_text}
    quick(ACMRProjector, encoders).fit(A, B.astype(float), y)
    assert got == [(1, 8, 8), 25]


def test_networks_of_a_factory_are_seeded():
    def factory(n_features):
        return nn.Linear(n_features, 10)

    X = B.astype(float)
    first, second = (
        quick(DRCLProjector, {"text": factory}, max_epochs=1).fit(
            A.reshape(-1, 64), X, y
        )
        for _ in range(2)
    )
    assert_equal_weights(weights(first.module_), weights(second.module_))
    # The weights of a modality do not depend on the others.
    both = quick(DRCLProjector, {"image": factory, "text": factory})
    both.fit(A.reshape(-1, 64), X, y)
    assert_equal_weights(
        weights(trained(both, "text")), weights(trained(first, "text"))
    )


def test_lazy_layers_find_their_width():
    encoders = {"image": nn.Sequential(nn.Flatten(), nn.LazyLinear(12))}
    est = quick(ACMRProjector, encoders).fit(A, B, y)
    assert trained(est, "image")[1].in_features == 64
    assert clone(est).set_params(warm_start=True).fit(A, B, y).fit(A, B, y).n_iter_ == 2


# -- the estimator as one of scikit-learn --------------------------------------------


def test_clone_and_parameters_keep_the_networks_of_the_caller():
    encoders = own_networks()
    est = quick(ACMRProjector, encoders)
    assert est.get_params()["encoders"] is encoders
    copied = clone(est)
    assert copied.encoders["image"] is not encoders["image"]
    assert_equal_weights(weights(copied.encoders["image"]), weights(encoders["image"]))
    Z = [own.fit(A, B, y).transform_image(A_test) for own in (est, copied)]
    np.testing.assert_array_equal(*Z)
    est.set_params(encoders=None)
    assert est.fit(A.reshape(N_TRAIN, -1), B, y).n_image_features_in_ == 64


def test_grid_search_over_networks():
    grid = {"encoders": [{"image": Conv(4), "text": Bag()}, own_networks()]}
    search = GridSearchCV(
        quick(ACMRProjector), grid, scoring=map_scorer, cv=2, error_score="raise"
    )
    search.fit(make_pairs(A, B), y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.transform_image(A).shape == (N_TRAIN, 8)


@each_method
def test_files(cls):
    est = quick(cls).fit(A, B, y)
    file = io.BytesIO()
    joblib.dump(est, file)
    file.seek(0)
    for loaded in (pickle.loads(pickle.dumps(est)), joblib.load(file)):
        np.testing.assert_array_equal(
            loaded.transform_text(B_test), est.transform_text(B_test)
        )


class Tanh(nn.Module):
    """A class as a factory; its buffer moves, and is not in `state_dict`."""

    def __init__(self, shape):
        super().__init__()
        self.linear = nn.Linear(64, 12)
        self.register_buffer("n_calls", torch.zeros(()), persistent=False)

    def forward(self, X):
        if self.training:
            self.n_calls = self.n_calls + 1
        return (self.linear(X.flatten(1)) / self.n_calls.clamp(min=1)).tanh()


def make_bag(n_tokens, width):
    return Bag(width=width)


BY_NAME = {"image": Tanh, "text": functools.partial(make_bag, width=10)}
NAMES = [f"{__name__}.Tanh", f"{__name__}.make_bag", "functools.partial"]


@each_method
def test_files_by_name(cls):
    skops = pytest.importorskip("skops.io")
    est = quick(cls, BY_NAME, warm_start=True).fit(A, B, y)
    data = skops.dumps(est)
    with pytest.raises(skops.exceptions.UntrustedTypesFoundException, match="Tanh"):
        skops.loads(data, trusted=TRUSTED_TYPES)
    assert set(skops.get_untrusted_types(data=data)) - set(TRUSTED_TYPES) == {*NAMES}
    loaded = [skops.loads(data, trusted=[*TRUSTED_TYPES, *NAMES])]
    loaded += [pickle.loads(pickle.dumps(est)), copy.copy(est), copy.deepcopy(est)]
    expected = est.transform(A_test, B_test)
    for own in loaded:
        assert own.encoders["image"] is Tanh
        np.testing.assert_array_equal(own.transform(A_test, B_test), expected)
    continued = [own.fit(A, B, y).transform_image(A) for own in (loaded[0], est)]
    np.testing.assert_array_equal(*continued)


class Computed(nn.Module):
    """A network that looks at its weights while it is built."""

    def __init__(self, shape):
        super().__init__()
        self.linear = nn.Linear(64, 12)
        assert self.linear.weight.device.type == "cpu"
        self.linear.weight.detach().numpy()[:] *= 2

    def forward(self, X):
        return self.linear(X.flatten(1))


def test_files_of_networks_that_compute_while_they_are_built():
    est = quick(DRCLProjector, {"image": Computed}).fit(A, B, y)
    loaded = pickle.loads(pickle.dumps(est))
    np.testing.assert_array_equal(loaded.transform_image(A), est.transform_image(A))


def make_inner():
    class Inner(Tanh):
        pass

    return Inner


@pytest.mark.parametrize(
    ("encoder", "kind"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), "Sequential"),
        (nn.Sequential(nn.Flatten(), nn.LazyLinear(4)), "Sequential"),
        (lambda shape: Conv(), "function"),
        (functools.partial(lambda shape, width: Conv(width), width=4), "partial"),
        (make_inner(), "type"),
    ],
    ids=["network", "lazy network", "lambda", "partial", "inner class"],
)
def test_files_by_name_refuse_what_has_none(encoder, kind):
    skops = pytest.importorskip("skops.io")
    unfitted = quick(ACMRProjector, {"image": encoder})
    fitted = clone(unfitted).fit(A, B, y)
    for est in (unfitted, fitted, make_pipeline(fitted)):
        with pytest.raises(
            TypeError, match=rf"encoders\['image'\] is an instance of {kind}, .* pickle"
        ):
            skops.dumps(est)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copies_have_the_networks_themselves(copied):
    est = copied(quick(ACMRProjector, warm_start=True).fit(A, B, y))
    assert isinstance(est.encoders["image"], Conv)
    assert est.fit(A, B, y).n_iter_ == 2


class Half(nn.Linear):
    """A network of bfloat16, which numpy lacks."""

    def __init__(self, shape):
        super().__init__(64, 12, dtype=torch.bfloat16)

    def forward(self, X):
        return super().forward(X.flatten(1).bfloat16())


def test_networks_of_half_precision(tmp_path):
    options = {"checkpoint": tmp_path, "max_epochs": 2, "warm_start": True}
    est, found = (
        quick(ACMRProjector, {"image": Half}, **options).fit(A, B, y) for _ in range(2)
    )
    loaded = pickle.loads(pickle.dumps(est))
    assert trained(loaded, "image").weight.dtype == torch.bfloat16
    for own in (est, found, loaded):
        own.set_params(checkpoint=None)
        assert_equal_weights(weights(own.module_), weights(est.module_))
    curves = [own.fit(A, B, y).loss_curve_ for own in (est, loaded)]
    assert curves[0] == curves[1]


def test_parameters_changed_after_the_fit_change_nothing():
    est = quick(ACMRProjector).fit(A, B, y)
    expected = est.transform_image(A_test)
    est.set_params(encoders=None)
    for fitted in (est, pickle.loads(pickle.dumps(est)), copy.deepcopy(est)):
        np.testing.assert_array_equal(fitted.transform_image(A_test), expected)


@each_method
def test_warm_start_continues(cls):
    lengths = {"max_epochs", "max_epochs_label"} & set(cls().get_params())
    options = {"lr_encoder": 1e-3, "warm_start": True, "schedule": "alternate"}
    options = {key: v for key, v in options.items() if key in cls().get_params()}
    if cls is SSAHHasher:
        options |= {"n_rounds": 1, "schedule": "distill"}
    if cls is ACMRProjector:
        options["grl_schedule"] = 1.0
    if cls is DRCLProjector:
        options["q_step"] = 0.1
    est = quick(cls, **options).fit(A, B, y)
    other = clone(est)  # with an equal copy of the networks
    for own in (est, other):
        own.fit(A, B, y)
    est = pickle.loads(pickle.dumps(est)).fit(A, B, y)
    whole = clone(est).set_params(**dict.fromkeys(lengths, 3)).fit(A, B, y)
    if cls is not SSAHHasher:  # its label network stays as it is in a warm start
        curves = [sorted(own.loss_curve_) for own in (est, whole)]  # phases take turns
        np.testing.assert_allclose(*curves, rtol=1e-5)
    assert len(est.loss_curve_) > len(other.loss_curve_)


def test_warm_start_refuses_other_networks():
    est = quick(ACMRProjector, warm_start=True).fit(A, B, y)
    assert est.set_params(encoders=own_networks()).fit(A, B, y).n_iter_ == 2
    with pytest.raises(ValueError, match=r"encoders\['image'\] is another one"):
        est.set_params(encoders={"image": Conv(4), "text": Bag()}).fit(A, B, y)
    with pytest.raises(ValueError, match=r"expected encoders for \['image', 'text'\]"):
        est.set_params(encoders={"text": Bag()}).fit(A, B, y)
    assert est.n_iter_ == 2


def test_warm_start_compares_the_calls_of_factories():
    def make_text(width):
        return {"text": functools.partial(make_bag, width=width)}

    image = A.reshape(N_TRAIN, -1)
    est = quick(ACMRProjector, make_text(10), warm_start=True).fit(image, B, y)
    assert est.set_params(encoders=make_text(10)).fit(image, B, y).n_iter_ == 2
    with pytest.raises(ValueError, match=r"encoders\['text'\] is another one"):
        est.set_params(encoders=make_text(11)).fit(image, B, y)


def test_early_stopping_restores_the_networks():
    est = quick(ACMRProjector, max_epochs=6, early_stopping=True, n_iter_no_change=2)
    est.fit(A, B, y, X_val=make_pairs(A_test, B_test), y_val=y_test)
    best = max(row["valid_map"] for row in est.history_)
    assert est.score(A_test, B_test, y_test) == pytest.approx(best)


@pytest.mark.parametrize("cls", [DRCLProjector, SSAHHasher])
def test_modality_with_a_network_can_be_added(cls):
    est = quick(cls).fit(A, B, y)
    before = est.transform(A_test, B_test)
    est.set_params(encoders={**est.encoders, "scan": Conv(4)})
    est.add_modality("scan", A, y)
    assert est.n_scan_features_in_ == 64
    assert est.transform_modality(A_test, "scan").shape[0] == N_TRAIN
    for Z, expected in zip(est.transform(A_test, B_test), before, strict=True):
        np.testing.assert_array_equal(Z, expected)
    with pytest.raises(ValueError, match=r"items of shape \(8, 8\)"):
        est.transform_modality(A_test[:, 0], "scan")
    loaded = pickle.loads(pickle.dumps(est))
    np.testing.assert_array_equal(
        loaded.transform_modality(A, "scan"), est.transform_modality(A, "scan")
    )


def test_ensemble_has_members_with_networks():
    ensemble = CrossModalEnsemble(quick(ACMRProjector), n_estimators=2, random_state=0)
    ensemble.fit(A, B, y)
    assert ensemble.transform_image(A_test).shape == (N_TRAIN, 16)
    assert ensemble.n_features_in_ == 89


def test_embeddings_of_networks_can_be_quantized():
    itq = ITQHasher(projector=quick(ACMRProjector), n_bits=8).fit(A, B, y)
    assert itq.transform_image(A_test).shape == (N_TRAIN, 8)


def test_retriever_takes_items():
    retriever = CrossModalRetriever(quick(ACMRProjector)).fit(A, B, y)
    retriever.index(image=A_test)
    ids, _ = retriever.query(text=B_test[:2], n_neighbors=3)
    assert ids.shape == (2, 3)


def test_encoder_maps_items_to_encodings():
    est = quick(ACMRProjector).fit(A, B, y)
    with torch.no_grad():
        Z = est.encoder_("text")(torch.from_numpy(B_test))
    np.testing.assert_allclose(Z, est.transform_text(B_test), atol=1e-6)


# -- methods -------------------------------------------------------------------------


def test_reconstructed_are_the_features_of_the_network():
    est = quick(CMGANProjector, reconstruction_weight=1.0).fit(A, B, y)
    assert est.reconstruct(B_test, "text").shape == (N_TRAIN, 24)


@pytest.mark.parametrize("update", ["joint", "alternate"])
def test_all_games_of_cmgan_run(update):
    est = quick(
        CMGANProjector,
        generator_update=update,
        intra_adversarial_weight=1.0,
        mismatch="self",
        n_generator_steps=2,
    ).fit(A, B, y)
    assert np.isfinite(est.loss_curve_).all()


def test_ssah_predicts_labels_and_plays_against_discriminators():
    encoders = own_networks()
    est = quick(SSAHHasher, encoders, adversarial_weight=1.0).fit(A, B, y)
    assert not torch.equal(trained(est, "image")[0].weight, encoders["image"][0].weight)
    assert est.predict_proba(make_pairs(A_test, B_test)).shape == (N_TRAIN, N_CLASSES)
    joint = quick(SSAHHasher, self_supervision=False).fit(A, B, y)
    assert joint.transform_text(B).shape == (N_TRAIN, 16)


def test_aadah_attends_to_the_features_of_the_network():
    est = quick(AADAHHasher).fit(A, B, y)
    P, mask = est.attention(B_test, "text")
    assert P.shape == mask.shape == (N_TRAIN, 16)
    assert est.encode(A_test, "image", part="unattended").shape == (N_TRAIN, 16)


class Regions(nn.Module):
    """Four regions of an image, with their features."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 4, stride=4)

    def forward(self, X):
        return self.conv(X).flatten(2).mT


@pytest.mark.parametrize("cls", [AADAHHasher, SSAHHasher])
@pytest.mark.parametrize("pooling", ["mean", "flatten"])
def test_network_may_return_regions_of_images(cls, pooling):
    encoders = {"image": Regions(), "text": Bag()}
    est = quick(cls, encoders, region_pooling=pooling).fit(A, B, y)
    assert est.transform_image(A_test).shape == (N_TRAIN, 16)
    if cls is AADAHHasher:
        P, _ = est.attention(A_test, "image")
        assert P.shape == (N_TRAIN, 4)


def test_drcl_learns_a_prior_with_networks():
    est = quick(DRCLProjector, prior="select").fit(A, B, y)
    assert set(est.quality_scores_) == {"image", "text"}


def test_acmr_compares_the_features_of_networks():
    est = quick(ACMRProjector, triplet_sampling="hard_input", norm_weight=0.1)
    assert np.isfinite(est.fit(A, B, y).loss_curve_).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@each_method
def test_networks_learn_on_a_gpu(cls):
    est = quick(cls, device="cuda").fit(A, B, y)
    assert next(trained(est, "image").parameters()).is_cuda
    loaded = pickle.loads(pickle.dumps(est))
    assert not next(trained(loaded, "image").parameters()).is_cuda
    assert est.transform_text(B_test).shape[0] == N_TRAIN


# -- errors --------------------------------------------------------------------------


class Returns(nn.Module):
    """Return something of a function of the items."""

    def __init__(self, function, out_features=None):
        super().__init__()
        self.function = function
        if out_features is not None:
            self.out_features = out_features

    def forward(self, X):
        return self.function(X)


WRONG = {
    "unknown modality": (
        {"imgae": Conv()},
        ValueError,
        "'imgae', which is no modality",
    ),
    "no module": ({"image": 3}, TypeError, "must be a torch.nn.Module, or a callable"),
    "factory of no module": (
        {"image": lambda shape: 3},
        TypeError,
        "a factory, must return a torch.nn.Module; got 3",
    ),
    "class that takes more": (
        {"image": nn.Linear},
        TypeError,
        r"a factory, must take .* called with \(1, 8, 8\) it failed: TypeError: Linear",
    ),
    "no features": (
        {"image": Returns(lambda X: X.flatten(1)[:, :0])},
        ValueError,
        r"must return features, but returns an array of shape \(0,\) for each item",
    ),
    "mean over rows": (
        {"image": Returns(lambda X: (X - X.mean(0)).flatten(1))},
        ValueError,
        "other features for the first row alone than beside 63 others",
    ),
    "class in place of an instance": (
        {"image": nn.Flatten},
        ValueError,
        "cannot encode items|must return",
    ),
    "maps": (
        {"image": nn.Conv2d(1, 2, 3)},
        ValueError,
        r"returned an array of shape \(2, 6, 6\)",
    ),
    "one number": (
        {"image": Returns(lambda X: X.sum())},
        ValueError,
        "must return one row of features for each item",
    ),
    "fewer rows": (
        {"image": Returns(lambda X: X[:1].flatten(1))},
        ValueError,
        "must return one row of features for each item",
    ),
    "tuple": (
        {"image": Returns(lambda X: (X, X))},
        ValueError,
        "must return one tensor of real numbers, got tuple",
    ),
    "integers": (
        {"image": Returns(lambda X: X.flatten(1).long())},
        ValueError,
        "must return one tensor of real numbers, got torch.int64",
    ),
    "other width than promised": (
        {"image": Returns(lambda X: X.flatten(1), out_features=3)},
        ValueError,
        "has out_features=3, but returns 64",
    ),
    "NaN": (
        {"image": Returns(lambda X: X.flatten(1) / 0)},
        ValueError,
        r"encoders\['image'\] returns NaN or infinite values for the first",
    ),
    "fails": (
        {"image": nn.Linear(3, 4)},
        ValueError,
        r"a Linear, cannot encode items, a float32 tensor of shape \(2, 1, 8, 8\)",
    ),
    "embedding too small": (
        {"text": Bag(n_tokens=5)},
        ValueError,
        r"encoders\['text'\], a Bag, cannot encode items, a int64 tensor",
    ),
    "integers for real numbers": (
        {"text": nn.Linear(25, 4)},
        ValueError,
        r"pass X.astype\('float32'\)",
    ),
}


@pytest.mark.parametrize(("encoders", "kind", "message"), WRONG.values(), ids=WRONG)
def test_wrong_networks(encoders, kind, message):
    image = A if "text" not in encoders else A.reshape(N_TRAIN, -1)
    with pytest.raises(kind, match=message):
        quick(DRCLProjector, encoders).fit(image, B, y)


def test_shape_must_stay_the_same_in_every_batch():
    module = Returns(lambda X: X.flatten(1)[:, : 4 + (X.max() > 0)])
    with pytest.raises(ValueError, match="returned features of shape"):
        quick(ACMRProjector, {"image": module}).fit(A, B, y)


def test_diverging_network_is_named_as_a_divergence():
    with pytest.raises(FloatingPointError):
        quick(ACMRProjector, lr_encoder=1e30, max_epochs=3).fit(A, B, y)


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"audio": 0.1}, "lr_encoder has a rate for 'audio', which has no encoder"),
        ({"image": -1.0}, "lr_encoder of 'image' must be a positive number"),
        ({"image": True}, "must be a positive number, got True"),
        (-1.0, "lr_encoder"),
    ],
)
def test_wrong_learning_rates(rates, message):
    with pytest.raises(ValueError, match=message):
        quick(ACMRProjector, lr_encoder=rates).fit(A, B, y)


ragged = np.array([[1, 2], [3]] * (N_TRAIN // 2), dtype=object)
WRONG_ITEMS = {
    "ragged lists": ([[1, 2], [3]] * (N_TRAIN // 2), "pad them to one length"),
    "ragged objects": (ragged, "pad them to one length"),
    "one dimension": (np.arange(N_TRAIN), "Expected 2D array"),
    "no values": (np.zeros((N_TRAIN, 0, 8)), "have no values"),
    "strings": (digits.text[train], "Turn texts into token ids"),
    "list of strings": (list(digits.text[train]), "Turn texts into token ids"),
    "array of strings": (digits.text[train].astype(str), "Turn texts into token ids"),
    "NaN": (np.full((N_TRAIN, 2, 2), np.nan), "NaN"),
    "complex": (np.ones((N_TRAIN, 2, 2), complex), "[Cc]omplex"),
    "beyond int64": (np.full((N_TRAIN, 3), 2**64 - 1, np.uint64), "beyond the range"),
    "beyond float32": (np.full((N_TRAIN, 3, 2), 1e300), "beyond the range of float32"),
    "other number of rows": (B[:-1], "inconsistent numbers of samples"),
}


@pytest.mark.parametrize(("items", "message"), WRONG_ITEMS.values(), ids=WRONG_ITEMS)
def test_wrong_items(items, message):
    with pytest.raises(ValueError, match=message):
        quick(ACMRProjector, {"text": Recorder()}).fit(A.reshape(N_TRAIN, -1), items, y)


def test_items_are_compared_with_those_of_the_fit():
    est = quick(ACMRProjector).fit(A, B, y)
    with pytest.raises(ValueError, match=r"shape \(2, 8, 8\), but ACMRProjector"):
        est.transform_image(np.ones((3, 2, 8, 8)))
    with pytest.raises(ValueError, match=r"items of shape \(64,\)"):
        est.transform_image(A.reshape(N_TRAIN, -1))
    with pytest.raises(ValueError, match="X has 20 text features"):
        est.transform_text(B[:, :20])
    with pytest.raises(ValueError, match="fitted on integers"):
        est.transform_text(B.astype(float))
    with pytest.raises(ValueError, match="sparse, but ACMRProjector was fitted on int"):
        est.transform_text(sparse.csr_array(B))
    # Integers are real numbers as well.
    expected = est.transform_image(A.round())
    np.testing.assert_array_equal(est.transform_image(A.round().astype(int)), expected)


def test_items_of_other_modalities_keep_their_two_dimensions():
    with pytest.raises(ValueError, match="dim 4.* encoders="):
        quick(ACMRProjector, {"text": Bag()}).fit(A, B, y)


def test_ids_beyond_the_table_are_named_at_their_first_use():
    est = quick(ACMRProjector).fit(A, B, y)
    # Ids are integers: nothing is said of other types.
    with pytest.raises(ValueError, match=r"encoders\['text'\].* idx to be 10+\.$"):
        est.transform_text(np.full((2, 25), 10**6))


def test_module_that_cannot_be_copied_is_refused():
    module = nn.Flatten()
    module.lock = io.open(__file__)  # noqa: UP020
    try:
        with pytest.raises(TypeError, match="cannot be copied"):
            quick(ACMRProjector, {"image": module}).fit(A, B, y)
    finally:
        module.lock.close()


def test_failed_fit_leaves_nothing():
    est = quick(ACMRProjector, {"image": nn.Linear(3, 4)})
    with pytest.raises(ValueError, match="cannot encode items"):
        est.fit(A, B, y)
    assert not hasattr(est, "module_")
    assert set(vars(est)) == set(est.get_params(deep=False))
