"""Export of trained networks to ONNX."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
import json
import logging
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklearn_cmr import __version__
from sklearn_cmr.base import HasherMixin, LabelProbabilityMixin, NetworkTransformer
from sklearn_cmr.training.devices import standard_settings

__all__ = ["to_onnx"]

_LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir")


def to_onnx(est, modality, path=None, *, output=None):
    """Export the network that encodes one modality to ONNX.

    The model computes what :meth:`transform` does, for any number of rows, wherever
    there is a runtime of ONNX. It needs neither this package nor torch. It has the
    input "X", of float32, or of int64 where the encoder reads integers, and the output
    "Z". Embeddings and probabilities are equal up to rounding. A bit of a code can
    differ only where the real value, whose sign it is, is 0 up to rounding.

    Parameters
    ----------
    est : estimator
        Fitted estimator that trains networks. Of a pipeline, it is the last step.

    modality : str
        Name of the modality, such as ``"image"`` or ``"text"``.

    path : str or path-like, default=None
        File to write the model to, such as ``"image.onnx"``. None writes no file.

    output : str, default=None
        Form of the output. None is the parameter `output` of the estimator.

        - Of hashers, the forms of their method `encode`: "sign" (int8), "bool",
          "packed" (uint8) or "real" (float32).
        - Of projectors, "embedding", or, where they have a label classifier,
          "probabilities" or "both" (float32).

    Returns
    -------
    model : onnx.ModelProto
        The model. Its metadata properties are ``estimator`` (name of the class),
        ``modality``, ``output``, ``metric`` (distance used for the ranking),
        ``classes`` (the values of `classes_` as a list in JSON) and
        ``sklearn_cmr_version``.

    Raises
    ------
    TypeError
        If the estimator trains no networks. Closed forms, ensembles and pipelines have
        no single network.

    NotFittedError
        If the estimator is not fitted.

    ValueError
        If the modality is unknown, if the estimator has no such output, if its label
        classifier was not trained, or if torch cannot export the network.

    ImportError
        If the packages of the extra ``onnx`` are not installed.

    Notes
    -----
    The model does not check its input. Before, make sparse features dense, cast them to
    float32, and apply the earlier steps of a pipeline. Regions that are absent are NaN,
    as in :meth:`transform`.

    Examples
    --------
    >>> from sklearn_cmr import ACMRProjector
    >>> from sklearn_cmr.datasets import make_cross_modal_classification
    >>> from sklearn_cmr.export import to_onnx
    >>> A, B, y = make_cross_modal_classification(100, n_classes=4, random_state=0)
    >>> est = ACMRProjector(max_epochs=2, random_state=0).fit(A, B, y)
    >>> model = to_onnx(est, "image")
    >>> {item.key: item.value for item in model.metadata_props}["classes"]
    '[0, 1, 2, 3]'
    """
    _check_exportable(est)
    output = _check_output(est, est.output if output is None else output)
    est.encoder_(modality)  # raises if there is no such modality
    _import_onnx()
    # The tracer of torch fails under some settings of the caller, such as a default
    # device. A fresh thread has none of them.
    with ThreadPoolExecutor(max_workers=1) as fresh:
        model = fresh.submit(_trace, est, modality, output).result()
    _describe(
        model,
        {
            "estimator": type(est).__name__,
            "modality": modality,
            "output": output,
            "metric": est._score_metric,
            "classes": json.dumps(est.classes_.tolist()),
            "sklearn_cmr_version": __version__,
        },
    )
    if path is not None:
        Path(path).write_bytes(model.SerializeToString())
    return model


def _trace(est, modality, output):
    """Return the model of one output, with the exporter's own notes."""
    with standard_settings(), torch.no_grad(), _quiet():
        # A copy: the export must not change the mode or the device of the networks.
        module = copy.deepcopy(est.module_).cpu()
        network = _Network(module, _function(est, module, modality, output)).eval()
        example, sizes = _example(est, modality)
        try:
            # Traced here: if the exporter traces, and a network uses the number of rows
            # as a constant, it writes a model of two rows without a word.
            program = torch.export.export(network, (example,), dynamic_shapes=(sizes,))
            exported: Any = torch.onnx.export(
                program,
                dynamic_shapes=(sizes,),
                input_names=["X"],
                # No name of a form: the exporter calls the result of a layer, such as
                # torch.nn.Embedding, by the name of the layer.
                output_names=["Z"],
                dynamo=True,
                verbose=False,
            )
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"torch cannot export the network of the modality {modality!r}: "
                f"{str(error).partition(chr(10))[0]} A network must not branch on "
                "values, and must read numbers of rows by X.shape[0] in place of "
                "len(X)."
            ) from error
    return exported.model_proto


def _pack(relaxed):
    """Pack the signs of relaxed codes into bytes, the first bit the highest."""
    bits = F.pad((relaxed >= 0).to(torch.int32), (0, -relaxed.shape[1] % 8))
    values = 2 ** torch.arange(7, -1, -1, dtype=torch.int32)
    by_byte = bits.unflatten(1, (-1, 8)) * values
    return by_byte.sum(2, dtype=torch.int32).to(torch.uint8)


# The forms of codes, from relaxed ones, as in `HasherMixin.encode`.
_CODE_FORMS = {
    "sign": lambda relaxed: torch.where(relaxed >= 0, 1, -1).to(torch.int8),
    "bool": lambda relaxed: relaxed >= 0,
    "packed": _pack,
    "real": lambda relaxed: relaxed,
}


class _Network(nn.Module):
    """A function of a batch whose weights are those of a module.

    Parameters
    ----------
    module : torch.nn.Module

    function : callable
        No module itself, as the weights would then have two names.
    """

    def __init__(self, module, function):
        super().__init__()
        self.module = module
        self.function = function

    def forward(self, X):
        return self.function(X)


def _function(est, module, modality, output):
    """Return the function from features of a modality to the output."""
    if isinstance(est, HasherMixin):
        encode, form = est._encoding_function(module, modality), _CODE_FORMS[output]
        return lambda X: form(encode(X))
    encode = est._encoding_function(module, modality, output)
    return lambda X: encode(X)  # a projector's may be a network


def _example(est, modality):
    """Return two rows of a modality, and the names of the sizes that may differ."""
    shape: tuple[int, ...] = (getattr(est, f"n_{modality}_features_in_"),)
    dtype = "float32"
    names = {0: "n_samples"}
    n_regions = est._n_regions_in.get(modality)
    if n_regions is not None:
        shape = (n_regions, *shape)
        if not est._needs_same_regions:
            names[1] = "n_regions"
    # What a network of the caller reads has a shape and a dtype of its own.
    shape, dtype = est._items_in.get(modality, (shape, dtype))
    sizes = {axis: torch.export.Dim(name) for axis, name in names.items()}
    return torch.zeros(2, *shape, dtype=getattr(torch, dtype)), sizes


def _check_exportable(est):
    if isinstance(est, NetworkTransformer):
        check_is_fitted(est)
        return
    advice = "Fit one, such as ACMRProjector."
    if isinstance(est, Pipeline) or hasattr(est, "best_estimator_"):
        advice = (
            "Pass the fitted estimator at its end, such as pipeline[-1] or "
            "search.best_estimator_[-1], and features that the earlier steps have "
            "prepared."
        )
    elif hasattr(est, "named_estimators_"):
        advice = "Export its fitted members, estimators_, one by one."
    elif hasattr(est, "model_"):
        advice = "Pass its fitted model, model_."
    raise TypeError(
        "to_onnx needs a fitted estimator that trains networks, got "
        f"{type(est).__name__}. {advice}"
    )


def _check_output(est, output):
    """Return the output if a fitted estimator has it."""
    forms = ["embedding"]
    if isinstance(est, HasherMixin):
        forms = list(_CODE_FORMS)
    elif isinstance(est, LabelProbabilityMixin):
        forms += ["probabilities", "both"]
    if not isinstance(output, str) or output not in forms:
        raise ValueError(
            f"output of {type(est).__name__} must be one of {forms}, or None for its "
            f"parameter; got {output!r}."
        )
    if output in ("probabilities", "both"):
        try:
            est._check_label_head()
        except ValueError as error:
            raise ValueError(
                f"output={output!r} needs the label classifier, which was not trained: "
                "fit with label_weight > 0, or set output='embedding'."
            ) from error
    return output


def _import_onnx():
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"to_onnx needs the package {error.name!r}. Install the extra 'onnx': "
            "pip install 'sklearn-cmr[onnx]'."
        ) from error


@contextmanager
def _quiet():
    """Hide what the exporter says about itself, and about packages it can do without.

    Its errors are raised.
    """
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    for name in levels:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _describe(model, properties):
    """Replace the exporter's notes in a model by properties of ours.

    Its notes on every node name files of the machine that it ran on.
    """
    graph = model.graph
    for noted in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        del noted.metadata_props[:]
    for tensor in graph.initializer:
        del tensor.metadata_props[:]
    del model.metadata_props[:]
    for key, value in properties.items():
        model.metadata_props.add(key=key, value=value)
    model.producer_name = "sklearn_cmr"
    model.producer_version = __version__
