/* Text codings: hexadecimal, base64 (RFC 4648), percent-encoding as AWS does it, and dates. */
#ifndef KIST_STORAGE_BASE_CODEC_H
#define KIST_STORAGE_BASE_CODEC_H

#include <time.h>

#include "storage/base/bytes.h"

/* Lower-case; out holds 2 * len bytes plus a NUL. */
void hex_encode(struct bytes in, char *out);
/* Both cases; in.len must be 2 * out_len. */
enum kist_err hex_decode(struct bytes in, uint8_t *out, size_t out_len) MUST_CHECK;

#define BASE64_LEN(n) (((n) + 2) / 3 * 4)
/* Padded; out holds BASE64_LEN(in.len) bytes plus a NUL. */
void base64_encode(struct bytes in, char *out);
/* Strict: padded, no blanks, no stray bits. *out_len is set to the decoded length, which must
 * not exceed out_cap. */
enum kist_err base64_decode(struct bytes in, uint8_t *out, size_t out_cap,
                            size_t *out_len) MUST_CHECK;
/* Section 5's alphabet, without padding, and as strict. */
enum kist_err base64url_decode(struct bytes in, uint8_t *out, size_t out_cap,
                               size_t *out_len) MUST_CHECK;

/* AWS UriEncode: unreserved characters A-Za-z0-9-._~ stay, '/' stays when keep_slash.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html */
enum kist_err uri_encode(struct buf *out, struct bytes in, bool keep_slash) MUST_CHECK;
/* Percent-decodes into `out` (at least in.len bytes); '+' becomes a blank when plus_is_blank.
 * A '%' without two hex digits is KIST_E_INVALID. */
enum kist_err uri_decode(struct bytes in, bool plus_is_blank, uint8_t *out,
                         size_t *out_len) MUST_CHECK;
/* The same into the arena, with a NUL behind it; or KIST_E_NOMEM. */
enum kist_err uri_decode_copy(struct arena *arena, struct bytes in, bool plus_is_blank,
                              struct bytes *out) MUST_CHECK;

/* Times are milliseconds since 1970 UTC. Each buffer includes the NUL. */
#define TIME_ISO_LEN 25  /* 2026-11-23T19:51:00.000Z */
#define TIME_HTTP_LEN 30 /* Mon, 23 Nov 2026 19:51:00 GMT */
#define TIME_AMZ_LEN 17  /* 20261123T195100Z */
void time_iso(int64_t ms, char out[TIME_ISO_LEN]);
void time_http(int64_t ms, char out[TIME_HTTP_LEN]);
void time_amz(int64_t ms, char out[TIME_AMZ_LEN]);
/* The three date forms of RFC 9110 section 5.6.7. */
enum kist_err time_parse_http(struct bytes s, int64_t *ms) MUST_CHECK;
/* YYYYMMDDTHHMMSSZ, ISO 8601 basic format. */
enum kist_err time_parse_amz(struct bytes s, int64_t *ms) MUST_CHECK;
/* 2026-11-23T19:51:00Z with optional fraction. */
enum kist_err time_parse_iso(struct bytes s, int64_t *ms) MUST_CHECK;

#endif
