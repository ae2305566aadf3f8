"""The training of every method as others would write it, to be compared with ours.

Each module has ``textbook(estimator, data, epochs, order=None)``, the loop of a
tutorial or of the published code, and ``bare(estimator, data, epochs)``, the quickest
that can be written by hand. Both start from the weights that the estimator would start
from, and return the mean loss terms of every epoch under the names of its `history_`.
"""

# SPDX-License-Identifier: BSD-3-Clause
