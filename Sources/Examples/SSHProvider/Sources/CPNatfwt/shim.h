// SPDX-License-Identifier: Apache-2.0
#include <cpnatfwt.h>

// What Swift can't import by itself: macros that compute.
static inline HRESULT cpnatfwt_unreachable(void) { return CPNATFWT_E_UNREACHABLE; }
static inline HRESULT cpnatfwt_duplicate(void) { return CPNATFWT_E_DUPLICATE; }
static inline HRESULT cpnatfwt_fail(void) { return E_FAIL; }
