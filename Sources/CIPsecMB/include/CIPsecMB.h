// SPDX-License-Identifier: Apache-2.0
#pragma once

// AES-GCM (NIST SP 800-38D) by Intel's library of ciphers for networks, libipsec-mb, on processors that have AES for
// 512-bit vectors (VAES). It is three to four times as fast there as OpenSSL 3.0, which does not use them: nothing
// that is sealed is different. The library is opened when the first key is made, and need not be installed.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CI_NONCE_LENGTH = 12,
    CI_TAG_LENGTH = 16,
};

/// A key for AES-GCM, and the record that is being sealed with it. Used by one thread at a time.
typedef struct ci_gcm ci_gcm;

/// The library and its version; NULL where there is none for this processor, and no key can be made. Opens the library.
const char *ci_library(void);

/// Expands a key of 16 or 32 bytes. NULL: there is no library for this processor, no memory, or no key of that length.
ci_gcm *ci_gcm_new(const void *key, size_t length);

/// Wipes the key and the state.
void ci_gcm_free(ci_gcm *gcm);

/// Begins a record.
void ci_gcm_begin(ci_gcm *gcm, const void *nonce, const void *header, size_t header_length);

/// Encrypts the record's next bytes; source and destination may be the same, but not overlap otherwise.
void ci_gcm_encrypt(ci_gcm *gcm, const void *source, void *destination, size_t count);

/// Ends the record with its tag.
void ci_gcm_finish(ci_gcm *gcm, void *tag);

/// Decrypts a record in place. False: the tag is not that of the record, and what `bytes` holds is worth nothing.
bool ci_gcm_open(
    ci_gcm *gcm, const void *nonce, const void *header, size_t header_length, void *bytes, size_t count, const void *tag);
