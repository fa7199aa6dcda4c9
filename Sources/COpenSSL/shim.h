// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <openssl/ssl.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include <openssl/x509.h>

// Macros that Swift can't import, under the macro's own name and a suffix.

static inline int SSL_CTX_set_min_proto_version_fn(SSL_CTX *context, int version) {
    return (int)SSL_CTX_set_min_proto_version(context, version);
}
static inline int SSL_CTX_set_max_proto_version_fn(SSL_CTX *context, int version) {
    return (int)SSL_CTX_set_max_proto_version(context, version);
}
static inline int SSL_CTX_set1_groups_list_fn(SSL_CTX *context, const char *list) {
    return (int)SSL_CTX_set1_groups_list(context, list);
}
static inline void SSL_CTX_set_session_cache_mode_fn(SSL_CTX *context, long mode) {
    SSL_CTX_set_session_cache_mode(context, mode);
}
static inline void SSL_CTX_set_mode_fn(SSL_CTX *context, long mode) { SSL_CTX_set_mode(context, mode); }
static inline void SSL_CTX_set_max_cert_list_fn(SSL_CTX *context, long bytes) {
    SSL_CTX_set_max_cert_list(context, bytes);
}
static inline uint64_t SSL_OP_NO_TICKET_fn(void) { return SSL_OP_NO_TICKET; }
static inline uint64_t SSL_OP_NO_COMPRESSION_fn(void) { return SSL_OP_NO_COMPRESSION; }
static inline uint64_t SSL_OP_CIPHER_SERVER_PREFERENCE_fn(void) { return SSL_OP_CIPHER_SERVER_PREFERENCE; }
static inline int SSL_CB_WRITE_ALERT_fn(void) { return SSL_CB_WRITE_ALERT; }

// An AEAD's tag through one parameter: EVP_CIPHER_CTX_ctrl builds the same parameter behind a table of old commands,
// which costs a small record a tenth of its time.

static inline int EVP_CIPHER_CTX_get_tag_fn(EVP_CIPHER_CTX *context, void *tag, size_t count) {
    OSSL_PARAM parameters[] = {OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, tag, count), OSSL_PARAM_END};
    return EVP_CIPHER_CTX_get_params(context, parameters);
}
static inline int EVP_DecryptInit_with_tag_fn(
    EVP_CIPHER_CTX *context, const unsigned char *nonce, void *tag, size_t count) {
    OSSL_PARAM parameters[] = {OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, tag, count), OSSL_PARAM_END};
    return EVP_DecryptInit_ex2(context, NULL, NULL, nonce, parameters);
}
// Cryptography: libcrypto as pure functions.
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/x509v3.h>
