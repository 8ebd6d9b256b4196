/* Digests over streams: what a PUT needs, each computed at most once per byte. */
#ifndef KIST_STORAGE_BASE_DIGEST_H
#define KIST_STORAGE_BASE_DIGEST_H

#include "storage/base/bytes.h"

/* Stored on disk as numbers: append only. */
enum digest_kind {
    DIGEST_MD5 = 0,
    DIGEST_SHA1 = 1,
    DIGEST_SHA256 = 2,
    DIGEST_CRC32 = 3,     /* ISO 3309, as zlib */
    DIGEST_CRC32C = 4,    /* Castagnoli, RFC 3720 */
    DIGEST_CRC64NVME = 5, /* NVM Express: poly 0xAD93D23594C93659, reflected, xorout all ones */
    DIGEST_KIND_COUNT
};
#define DIGEST_MAX_LEN 32
#define DIGEST_BIT(kind) (1U << (unsigned)(kind))

/* Bytes of a digest: MD5 16, SHA1 20, SHA256 32, CRC32 4, CRC32C 4, CRC64NVME 8. CRCs are
 * big-endian, as AWS encodes them. */
size_t digest_len(enum digest_kind kind);

/* Several digests over one stream. Zeroed memory is a valid empty set. */
struct digest_set {
    unsigned kinds;               /* DIGEST_BIT()s */
    void *ctx[DIGEST_KIND_COUNT]; /* EVP_MD_CTX for the hashes */
    uint64_t crc[DIGEST_KIND_COUNT];
};
/* Contexts come from a per-thread cache where possible. */
enum kist_err digest_set_init(struct digest_set *set, unsigned kinds) MUST_CHECK;
void digest_set_release(struct digest_set *set);
void digest_set_update(struct digest_set *set, const void *data, size_t len);
/* Ends one of the kinds; out gets digest_len(kind) bytes. Each kind at most once. */
void digest_set_final(struct digest_set *set, enum digest_kind kind, uint8_t *out);
/* Computes that hash no longer. */
void digest_set_drop(struct digest_set *set, enum digest_kind kind);
/* A hash of what came so far; the stream goes on. False on out of memory. */
bool digest_set_peek(const struct digest_set *set, enum digest_kind kind, uint8_t *out);
/* Starts one kind again at zero (the chunk hash restarts at every chunk). */
void digest_set_restart(struct digest_set *set, enum digest_kind kind);

/* One-shot forms. */
void digest_once(enum digest_kind kind, struct bytes in, uint8_t *out);
uint32_t crc32c_update(uint32_t crc, const void *data, size_t len);
uint64_t crc64nvme_update(uint64_t crc, const void *data, size_t len);
uint32_t crc32_update(uint32_t crc, const void *data, size_t len);
/* The CRC of A||B from crc(A), crc(B) and len(B); for the full-object checksums of multipart
 * uploads (kinds CRC32, CRC32C, CRC64NVME). Values are the plain integers. */
uint64_t crc_combine(enum digest_kind kind, uint64_t crc_a, uint64_t crc_b, uint64_t len_b);

/* HMAC-SHA-1, for signatures of version 2 alone; out is 20 bytes. */
void hmac_sha1(struct bytes key, struct bytes data, uint8_t out[20]);
/* HMAC-SHA-256 (RFC 2104); out is 32 bytes. */
void hmac_sha256(struct bytes key, struct bytes data, uint8_t out[32]);
/* A key prepared once, for many short messages: both half-states are kept. */
struct hmac_key;
struct hmac_key *hmac_key_new(struct bytes key); /* NULL on out of memory */
void hmac_key_free(struct hmac_key *k);
/* Thread-safe on a shared key. */
void hmac_key_sign(const struct hmac_key *k, struct bytes data, uint8_t out[32]);

#endif
