# SPDX-License-Identifier: Apache-2.0
"""Every product by its name."""

import nodes
import products

KINDS = {kind.name: kind for kind in (*products.KINDS, *nodes.KINDS)}
