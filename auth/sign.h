/* AWS Signature Version 4, the client's side: for `kist bench`, command lines and tests. */
#ifndef KIST_AUTH_SIGN_H
#define KIST_AUTH_SIGN_H

#include "auth/keyring.h"
#include "auth/request.h"

#define SIGN_EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SIGN_UNSIGNED "UNSIGNED-PAYLOAD"
#define SIGN_STREAMING "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
#define SIGN_STREAMING_TRAILER "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
#define SIGN_STREAMING_UNSIGNED_TRAILER "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

/* A signer holds the derived key of one day; make it once and use it for every request of that
 * day. Not thread-safe while it changes; sign_* on a shared one are. */
struct signer {
    char access_key[AUTH_ACCESS_KEY_MAX + 1];
    char secret[AUTH_SECRET_MAX + 1];
    char region[64];
    char service[16];
    char date[9]; /* the day that key was derived for */
    uint8_t raw_key[AUTH_KEY_LEN];
    struct hmac_key *key;
};

/* KIST_E_INVALID when a string is too long, KIST_E_NOMEM. */
enum kist_err signer_init(struct signer *s, struct bytes access_key, struct bytes secret,
                          struct bytes region, struct bytes service, int64_t now_ms) MUST_CHECK;
/* Derives again when the day has changed. */
enum kist_err signer_set_time(struct signer *s, int64_t now_ms) MUST_CHECK;
void signer_release(struct signer *s);

/* What to sign. All headers given are signed; they must include host and, when they are to be
 * sent, x-amz-date and x-amz-content-sha256. now_ms must be of the signer's day. */
struct sign_request {
    struct bytes method;
    struct bytes raw_path;
    struct bytes raw_query;
    const struct auth_header *headers;
    size_t header_count;
    struct bytes payload_hash; /* hex, or one of the SIGN_* words */
    int64_t now_ms;
};

/* The Authorization header's value, in the arena. signature_hex may be NULL; it is the seed of
 * chunk signatures. */
enum kist_err sign_header(const struct signer *s, const struct sign_request *request,
                          struct arena *arena, struct bytes *authorization,
                          char signature_hex[65]) MUST_CHECK;

/* The whole query of a presigned URL (the request's own query first), in the arena. payload_hash
 * is what the URL stands for, normally SIGN_UNSIGNED. expires_s: 1 to 604,800. */
enum kist_err sign_query(const struct signer *s, const struct sign_request *request,
                         unsigned expires_s, struct arena *arena, struct bytes *query) MUST_CHECK;

/* One chunk's signature; previous_hex is the seed or the chunk before, and becomes this one. */
void sign_chunk(const struct signer *s, int64_t now_ms, struct bytes data, char previous_hex[65]);
/* The trailer's signature. canonical: "name:value\n" for each trailer. */
void sign_trailer(const struct signer *s, int64_t now_ms, struct bytes canonical,
                  char previous_hex[65]);

#endif
