// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <openssl/ssl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include <openssl/x509.h>

// Cryptography: libcrypto as pure functions.
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/x509v3.h>
