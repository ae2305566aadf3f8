"""Public names: imported when they are first used, and written into files."""

# SPDX-License-Identifier: BSD-3-Clause

import sys
from importlib import import_module

# The documentation, as in pyproject.toml.
SITE = "https://sklearn-cmr.github.io/sklearn_cmr/"


def lazy_names(package, modules, submodules=()):
    """Return the functions `__getattr__` and `__dir__` of a package.

    Torch takes seconds to import, and a server that only searches needs none of it.

    Parameters
    ----------
    package : str
        Name of the package, its `__name__`.

    modules : dict of str to list of str
        Public names by the module that defines them.

    submodules : sequence of str, default=()
        Modules of the package that are attributes without being imported before.

    Returns
    -------
    getattr_, dir_ : callable
    """
    module_of = {name: module for module, names in modules.items() for name in names}

    def getattr_(name):
        if name in submodules:
            return import_module(f"{package}.{name}")
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(module_of[name]), name)
        setattr(sys.modules[package], name, value)  # found there from now on
        return value

    def dir_():
        return sorted({*vars(sys.modules[package]), *module_of, *submodules})

    return getattr_, dir_


def public(package):
    """Return a decorator that tells a class where users find it.

    Files name a class by this path. Private modules can then be renamed and moved, and
    files stay readable. The diagram of an estimator in a notebook links to its page.

    Parameters
    ----------
    package : str
        Module that users import the class from.

    Returns
    -------
    decorator : callable
    """

    def place(cls):
        # Else, Python 3.13.0 shows other lines as the source. Later versions do this.
        if "__firstlineno__" in vars(cls):
            del cls.__firstlineno__
        # doctest takes a class from another module for imported, unless it is in here.
        examples = vars(sys.modules[cls.__module__]).setdefault("__test__", {})
        examples[cls.__name__] = cls
        cls.__module__ = package
        # Where the diagrams of scikit-learn look. Subclasses elsewhere have no link.
        cls._doc_link_module = "sklearn_cmr"
        cls._doc_link_template = (
            f"{SITE}generated/{{estimator_module}}.{{estimator_name}}.html"
        )
        return cls

    return place
