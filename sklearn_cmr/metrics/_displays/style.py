"""Axes and colors of all displays."""

# SPDX-License-Identifier: BSD-3-Clause

from sklearn.utils._optional_dependencies import check_matplotlib_support

# Ten colors that people with any color vision tell apart (M. A. Petroff, "Accessible
# color sequences for data visualization", arXiv:2107.02270).
COLORS = (
    "#3f90da",
    "#bd1f01",
    "#ffa90e",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#92dadd",
    "#717581",
    "#94a4a2",
)
LINE_STYLES = ("-", "--", "-.", ":")


def make_axes(display, ax, **figure_options):
    """Return the axes to draw on, new ones by default."""
    check_matplotlib_support(f"{type(display).__name__}.plot")
    import matplotlib.pyplot as plt

    if ax is None:
        _, ax = plt.subplots(**figure_options)
    return ax


def class_colors(n_classes):
    """Return one color for each class."""
    if n_classes <= len(COLORS):
        return list(COLORS[:n_classes])
    import matplotlib

    return list(matplotlib.colormaps["turbo"].resampled(n_classes)(range(n_classes)))
