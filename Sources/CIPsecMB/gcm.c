// SPDX-License-Identifier: Apache-2.0

#define _GNU_SOURCE
#include "CIPsecMB.h"

// Built on a machine without the library's header, or for other processors, this is a library that is never there.
#if defined(__x86_64__) && __has_include(<intel-ipsec-mb.h>)

#include <dlfcn.h>
#include <intel-ipsec-mb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/// What the library does with keys of one length.
struct functions {
    aes_gcm_pre_t expand;
    aes_gcm_init_t begin;
    aes_gcm_enc_dec_update_t encrypt;
    aes_gcm_enc_dec_finalize_t finish;
    aes_gcm_enc_dec_t decrypt;
};

struct ci_gcm {
    // Both are read with aligned instructions.
    _Alignas(64) struct gcm_key_data key;
    _Alignas(64) struct gcm_context_data context;
    const struct functions *functions;
};

static struct functions with_128, with_256;
static char version[64];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static bool is_right(void);

/// The library calls through a table that belongs to a manager of jobs, which has 200 KB and is needed for nothing else.
static bool take_functions(void *library) {
    IMB_MGR *(*make)(uint64_t) = (IMB_MGR * (*)(uint64_t)) dlsym(library, "alloc_mb_mgr");
    void (*init)(IMB_MGR *, IMB_ARCH *) = (void (*)(IMB_MGR *, IMB_ARCH *))dlsym(library, "init_mb_mgr_auto");
    void (*destroy)(IMB_MGR *) = (void (*)(IMB_MGR *))dlsym(library, "free_mb_mgr");
    IMB_MGR *manager = make && init && destroy ? make(0) : NULL;
    if (!manager) return false;
    IMB_ARCH processor = IMB_ARCH_NONE;
    init(manager, &processor);
    // With narrower vectors it is no faster than OpenSSL.
    const uint64_t wide = IMB_FEATURE_VAES | IMB_FEATURE_VPCLMULQDQ;
    bool fits = manager->imb_errno == 0 && processor == IMB_ARCH_AVX512 && (manager->features & wide) == wide;
    if (fits) {
        with_128 = (struct functions){
            manager->gcm128_pre, manager->gcm128_init, manager->gcm128_enc_update, manager->gcm128_enc_finalize,
            manager->gcm128_dec};
        with_256 = (struct functions){
            manager->gcm256_pre, manager->gcm256_init, manager->gcm256_enc_update, manager->gcm256_enc_finalize,
            manager->gcm256_dec};
    }
    destroy(manager);
    return fits;
}

/// The table of a version may have grown since ours, but not shrunk: what it had stays where it was in versions of one
/// number.
static void open_library(void) {
    void *library = dlopen("libIPSec_MB.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) return;
    unsigned (*number)(void) = (unsigned (*)(void))dlsym(library, "imb_get_version");
    const char *(*text)(void) = (const char *(*)(void))dlsym(library, "imb_get_version_str");
    if (number && text && number() >= IMB_VERSION_NUM && take_functions(library) && is_right()) {
        strcpy(version, "libipsec-mb ");
        strncat(version, text(), sizeof version - strlen(version) - 1);
        return;
    }
    dlclose(library);
}

const char *ci_library(void) {
    pthread_once(&once, open_library);
    return version[0] ? version : NULL;
}

static ci_gcm *new_gcm(const struct functions *functions, const void *key) {
    ci_gcm *gcm = aligned_alloc(_Alignof(ci_gcm), sizeof(ci_gcm));
    if (!gcm) return NULL;
    memset(gcm, 0, sizeof *gcm);
    gcm->functions = functions;
    functions->expand(key, &gcm->key);
    return gcm;
}

ci_gcm *ci_gcm_new(const void *key, size_t length) {
    if (!ci_library() || (length != 16 && length != 32)) return NULL;
    return new_gcm(length == 16 ? &with_128 : &with_256, key);
}

void ci_gcm_free(ci_gcm *gcm) {
    if (!gcm) return;
    explicit_bzero(gcm, sizeof *gcm);
    free(gcm);
}

void ci_gcm_begin(ci_gcm *gcm, const void *nonce, const void *header, size_t header_length) {
    gcm->functions->begin(&gcm->key, &gcm->context, nonce, header, header_length);
}

void ci_gcm_encrypt(ci_gcm *gcm, const void *source, void *destination, size_t count) {
    gcm->functions->encrypt(&gcm->key, &gcm->context, destination, source, count);
}

void ci_gcm_finish(ci_gcm *gcm, void *tag) {
    gcm->functions->finish(&gcm->key, &gcm->context, tag, CI_TAG_LENGTH);
}

bool ci_gcm_open(
    ci_gcm *gcm, const void *nonce, const void *header, size_t header_length, void *bytes, size_t count, const void *tag) {
    uint8_t found[CI_TAG_LENGTH];
    gcm->functions->decrypt(
        &gcm->key, &gcm->context, bytes, bytes, count, nonce, header, header_length, found, sizeof found);
    // However many bytes are wrong, it takes the same time.
    uint8_t difference = 0;
    for (size_t i = 0; i < sizeof found; i++) difference |= found[i] ^ ((const uint8_t *)tag)[i];
    return difference == 0;
}

/// Before it is trusted with anything: test case 4 of "The Galois/Counter Mode of Operation" (McGrew and Viega), sealed in
/// two parts and opened.
static bool is_right(void) {
    static const uint8_t key[16] = {
        0xfe, 0xff, 0xe9, 0x92, 0x86, 0x65, 0x73, 0x1c, 0x6d, 0x6a, 0x8f, 0x94, 0x67, 0x30, 0x83, 0x08};
    static const uint8_t nonce[12] = {0xca, 0xfe, 0xba, 0xbe, 0xfa, 0xce, 0xdb, 0xad, 0xde, 0xca, 0xf8, 0x88};
    static const uint8_t header[20] = {
        0xfe, 0xed, 0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef, 0xfe, 0xed, 0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef,
        0xab, 0xad, 0xda, 0xd2};
    static const uint8_t plain[60] = {
        0xd9, 0x31, 0x32, 0x25, 0xf8, 0x84, 0x06, 0xe5, 0xa5, 0x59, 0x09, 0xc5, 0xaf, 0xf5, 0x26, 0x9a,
        0x86, 0xa7, 0xa9, 0x53, 0x15, 0x34, 0xf7, 0xda, 0x2e, 0x4c, 0x30, 0x3d, 0x8a, 0x31, 0x8a, 0x72,
        0x1c, 0x3c, 0x0c, 0x95, 0x95, 0x68, 0x09, 0x53, 0x2f, 0xcf, 0x0e, 0x24, 0x49, 0xa6, 0xb5, 0x25,
        0xb1, 0x6a, 0xed, 0xf5, 0xaa, 0x0d, 0xe6, 0x57, 0xba, 0x63, 0x7b, 0x39};
    static const uint8_t expected[76] = {
        0x42, 0x83, 0x1e, 0xc2, 0x21, 0x77, 0x74, 0x24, 0x4b, 0x72, 0x21, 0xb7, 0x84, 0xd0, 0xd4, 0x9c,
        0xe3, 0xaa, 0x21, 0x2f, 0x2c, 0x02, 0xa4, 0xe0, 0x35, 0xc1, 0x7e, 0x23, 0x29, 0xac, 0xa1, 0x2e,
        0x21, 0xd5, 0x14, 0xb2, 0x54, 0x66, 0x93, 0x1c, 0x7d, 0x8f, 0x6a, 0x5a, 0xac, 0x84, 0xaa, 0x05,
        0x1b, 0xa3, 0x0b, 0x39, 0x6a, 0x0a, 0xac, 0x97, 0x3d, 0x58, 0xe0, 0x91,
        0x5b, 0xc9, 0x4f, 0xbc, 0x32, 0x21, 0xa5, 0xdb, 0x94, 0xfa, 0xe9, 0x5a, 0xe7, 0x12, 0x1a, 0x47};
    uint8_t sealed[76];
    ci_gcm *gcm = new_gcm(&with_128, key);
    if (!gcm) return false;
    ci_gcm_begin(gcm, nonce, header, sizeof header);
    ci_gcm_encrypt(gcm, plain, sealed, 23);
    ci_gcm_encrypt(gcm, plain + 23, sealed + 23, sizeof plain - 23);
    ci_gcm_finish(gcm, sealed + sizeof plain);
    bool isSealed = memcmp(sealed, expected, sizeof expected) == 0;
    bool isOpened = ci_gcm_open(gcm, nonce, header, sizeof header, sealed, sizeof plain, expected + sizeof plain);
    ci_gcm_free(gcm);
    return isSealed && isOpened && memcmp(sealed, plain, sizeof plain) == 0;
}

#else

const char *ci_library(void) { return NULL; }
ci_gcm *ci_gcm_new(const void *key, size_t length) {
    (void)key, (void)length;
    return NULL;
}
void ci_gcm_free(ci_gcm *gcm) { (void)gcm; }
void ci_gcm_begin(ci_gcm *gcm, const void *nonce, const void *header, size_t header_length) {
    (void)gcm, (void)nonce, (void)header, (void)header_length;
}
void ci_gcm_encrypt(ci_gcm *gcm, const void *source, void *destination, size_t count) {
    (void)gcm, (void)source, (void)destination, (void)count;
}
void ci_gcm_finish(ci_gcm *gcm, void *tag) { (void)gcm, (void)tag; }
bool ci_gcm_open(
    ci_gcm *gcm, const void *nonce, const void *header, size_t header_length, void *bytes, size_t count, const void *tag) {
    (void)gcm, (void)nonce, (void)header, (void)header_length, (void)bytes, (void)count, (void)tag;
    return false;
}

#endif
