"""Building blocks of the networks and their losses, shared by the methods."""

# SPDX-License-Identifier: BSD-3-Clause
