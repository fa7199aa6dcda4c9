// SPDX-License-Identifier: Apache-2.0

import Testing
import TestSupport

/// Everything that needs network namespaces. One test at a time: they measure times, and two cores are few.
@Suite("Network lab", .serialized, .enabled(if: Lab.isAvailable, "needs root, ip, nft, prlimit and python3"))
struct NetworkTests {}
