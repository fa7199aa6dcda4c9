/* SPDX-License-Identifier: Apache-2.0 */

#include "library.h"

static size_t put(uint32_t scalar, char *to) {
    if (scalar < 0x80) return to[0] = (char)scalar, 1;
    if (scalar < 0x800) return to[0] = (char)(0xC0 | scalar >> 6), to[1] = (char)(0x80 | (scalar & 0x3F)), 2;
    if (scalar < 0x10000) {
        to[0] = (char)(0xE0 | scalar >> 12);
        to[1] = (char)(0x80 | (scalar >> 6 & 0x3F));
        to[2] = (char)(0x80 | (scalar & 0x3F));
        return 3;
    }
    to[0] = (char)(0xF0 | scalar >> 18);
    to[1] = (char)(0x80 | (scalar >> 12 & 0x3F));
    to[2] = (char)(0x80 | (scalar >> 6 & 0x3F));
    to[3] = (char)(0x80 | (scalar & 0x3F));
    return 4;
}

/* UTF-8 of at most `most` characters; `cuts` says whether a longer text is cut or refused. Nothing behind the NUL or the limit
   is read. */
HRESULT text_from_wide(const WCHAR *wide, size_t most, bool cuts, char *text, size_t room, uint16_t *size) {
    size_t used = 0;
    for (size_t index = 0; index <= most; index++) {
        if (index == most) {
            if (cuts) break;
            if (wide[index] != 0) return E_INVALIDARG;
            break;
        }
        uint32_t scalar = (uint32_t)wide[index];
        if (scalar == 0) break;
        if (scalar > 0x10FFFF || (scalar >= 0xD800 && scalar < 0xE000)) return E_INVALIDARG;
        if (used + 4 > room) return E_INVALIDARG;
        used += put(scalar, text + used);
    }
    *size = (uint16_t)used;
    return S_OK;
}
