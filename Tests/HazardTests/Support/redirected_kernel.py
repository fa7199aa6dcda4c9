# SPDX-License-Identifier: Apache-2.0
"""`natfwt run`, with the sockets led by the kernel: all that redirected asks of the library."""
import redirected
from place import scenario


def by_kernel(held):
    def run(place):
        redirected.WAY = "kernel"
        held(place)
    return scenario(run)


globals().update({name: by_kernel(held) for name, held in vars(redirected).items() if getattr(held, "is_scenario", False)})
