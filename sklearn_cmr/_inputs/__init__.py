"""What X, Y and y may be, and what comes back."""

# SPDX-License-Identifier: BSD-3-Clause
