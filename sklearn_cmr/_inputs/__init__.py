"""What X, Y and y may be, and in what form the output comes back."""

# SPDX-License-Identifier: BSD-3-Clause
