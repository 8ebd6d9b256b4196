/* Signs requests with Signature Version 4: the mirror image of sigv4.c over the same texts. */
#include "auth/sign.h"

#include <stdio.h>

#include "auth/canonical.h"
#include "storage/base/codec.h"

#define EXPIRES_MAX_S 604800

static enum kist_err copy_in(char *to, size_t size, struct bytes s)
{
    if (s.len == 0 || s.len >= size)
        return KIST_E_INVALID;
    memcpy(to, s.ptr, s.len);
    to[s.len] = '\0';
    return KIST_OK;
}

enum kist_err signer_init(struct signer *s, struct bytes access_key, struct bytes secret,
                          struct bytes region, struct bytes service, int64_t now_ms)
{
    memset(s, 0, sizeof *s);
    TRY(copy_in(s->access_key, sizeof s->access_key, access_key));
    TRY(copy_in(s->secret, sizeof s->secret, secret));
    TRY(copy_in(s->region, sizeof s->region, region));
    TRY(copy_in(s->service, sizeof s->service, service));
    return signer_set_time(s, now_ms);
}

enum kist_err signer_set_time(struct signer *s, int64_t now_ms)
{
    char amz[TIME_AMZ_LEN];
    uint8_t raw[AUTH_KEY_LEN];
    time_amz(now_ms, amz);
    if (s->key && memcmp(s->date, amz, 8) == 0)
        return KIST_OK;
    struct signing_scope scope = { bytes_of(amz, 8), bytes_str(s->region),
                                   bytes_str(s->service) };
    sigv4_derive_key(bytes_str(s->secret), &scope, raw);
    struct hmac_key *key = hmac_key_new(bytes_of(raw, sizeof raw));
    if (!key)
        return KIST_E_NOMEM;
    hmac_key_free(s->key);
    s->key = key;
    memcpy(s->raw_key, raw, sizeof raw);
    memcpy(s->date, amz, 8);
    return KIST_OK;
}

void signer_release(struct signer *s)
{
    hmac_key_free(s->key);
    explicit_bzero(s, sizeof *s);
}

static char *scope_text(const struct signer *s, struct arena *arena)
{
    return arena_printf(arena, "%s/%s/%s/aws4_request", s->date, s->region, s->service);
}

/* The names of all headers, lower case, sorted; equal names once. */
static enum kist_err header_names(const struct sign_request *request, struct arena *arena,
                                  struct bytes **out, size_t *out_count)
{
    struct bytes *names = arena_alloc(arena, (request->header_count + 1) * sizeof *names);
    size_t count = 0;
    if (!names)
        return KIST_E_NOMEM;
    for (size_t i = 0; i < request->header_count; i++) {
        struct bytes name = request->headers[i].name;
        bool seen = false;
        for (size_t j = 0; j < count && !seen; j++)
            seen = bytes_equal_nocase(names[j], name);
        if (seen)
            continue;
        char *copy = arena_strndup(arena, name.ptr, name.len);
        if (!copy)
            return KIST_E_NOMEM;
        for (char *p = copy; *p; p++)
            if (*p >= 'A' && *p <= 'Z')
                *p = (char)(*p | 0x20);
        names[count++] = bytes_of(copy, name.len);
    }
    TRY(canonical_names_sort(names, count));
    *out = names;
    *out_count = count;
    return KIST_OK;
}

static char *join_names(const struct bytes *names, size_t count, struct arena *arena)
{
    size_t size = 1;
    for (size_t i = 0; i < count; i++)
        size += names[i].len + 1;
    char *text = arena_alloc(arena, size), *to = text;
    for (size_t i = 0; i < count && text; i++) {
        if (i > 0)
            *to++ = ';';
        memcpy(to, names[i].ptr, names[i].len);
        to += names[i].len;
    }
    if (text)
        *to = '\0';
    return text;
}

static struct canonical_input input_of(const struct sign_request *request,
                                       const struct bytes *names, size_t count)
{
    return (struct canonical_input){ .method = request->method,
                                     .raw_path = request->raw_path,
                                     .raw_query = request->raw_query,
                                     .headers = request->headers,
                                     .header_count = request->header_count,
                                     .names = names,
                                     .name_count = count,
                                     .payload = request->payload_hash };
}

static enum kist_err sign_canonical(const struct signer *s, const struct canonical_input *in,
                                    int64_t now_ms, struct arena *arena, char hex[65])
{
    struct bytes canonical, to_sign;
    char amz[TIME_AMZ_LEN];
    uint8_t mac[32];
    const char *scope = scope_text(s, arena);
    if (!scope)
        return KIST_E_NOMEM;
    time_amz(now_ms, amz);
    TRY(canonical_request(in, CANONICAL_AWS, arena, &canonical));
    TRY(canonical_string_to_sign(bytes_str(amz), bytes_str(scope), canonical, arena, &to_sign));
    hmac_key_sign(s->key, to_sign, mac);
    hex_encode(bytes_of(mac, sizeof mac), hex);
    return KIST_OK;
}

enum kist_err sign_header(const struct signer *s, const struct sign_request *request,
                          struct arena *arena, struct bytes *authorization,
                          char signature_hex[65])
{
    struct bytes *names;
    size_t count;
    char hex[65];
    TRY(header_names(request, arena, &names, &count));
    struct canonical_input in = input_of(request, names, count);
    in.twice = strcmp(s->service, "s3") != 0;
    TRY(sign_canonical(s, &in, request->now_ms, arena, hex));
    const char *joined = join_names(names, count, arena), *scope = scope_text(s, arena);
    if (!joined || !scope)
        return KIST_E_NOMEM;
    const char *text = arena_printf(arena,
                                    SIGV4_ALGORITHM " Credential=%s/%s, SignedHeaders=%s, "
                                                    "Signature=%s",
                                    s->access_key, scope, joined, hex);
    if (!text)
        return KIST_E_NOMEM;
    *authorization = bytes_str(text);
    if (signature_hex)
        memcpy(signature_hex, hex, sizeof hex);
    return KIST_OK;
}

static char *encoded(const char *text, struct arena *arena)
{
    struct bytes in = bytes_str(text);
    char *out = arena_alloc(arena, 3 * in.len + 1);
    if (out)
        *canonical_recode(out, in, false, CANONICAL_AWS) = '\0';
    return out;
}

static char *presigned_query(const struct signer *s, const struct sign_request *request,
                             unsigned expires_s, const char *names, struct arena *arena)
{
    char amz[TIME_AMZ_LEN];
    const char *scope = scope_text(s, arena);
    if (!scope)
        return NULL;
    const char *credential = arena_printf(arena, "%s/%s", s->access_key, scope);
    const char *credential_enc = credential ? encoded(credential, arena) : NULL;
    const char *names_enc = encoded(names, arena);
    if (!credential_enc || !names_enc)
        return NULL;
    time_amz(request->now_ms, amz);
    return arena_printf(arena,
                        "%.*s%sX-Amz-Algorithm=" SIGV4_ALGORITHM "&X-Amz-Credential=%s"
                        "&X-Amz-Date=%s&X-Amz-Expires=%u&X-Amz-SignedHeaders=%s",
                        (int)request->raw_query.len,
                        request->raw_query.ptr ? (const char *)request->raw_query.ptr : "",
                        request->raw_query.len ? "&" : "", credential_enc, amz, expires_s,
                        names_enc);
}

enum kist_err sign_query(const struct signer *s, const struct sign_request *request,
                         unsigned expires_s, struct arena *arena, struct bytes *query)
{
    struct bytes *names;
    size_t count;
    char hex[65];
    if (expires_s < 1 || expires_s > EXPIRES_MAX_S)
        return KIST_E_INVALID;
    TRY(header_names(request, arena, &names, &count));
    const char *joined = join_names(names, count, arena);
    if (!joined)
        return KIST_E_NOMEM;
    const char *text = presigned_query(s, request, expires_s, joined, arena);
    if (!text)
        return KIST_E_NOMEM;
    struct canonical_input in = input_of(request, names, count);
    in.raw_query = bytes_str(text);
    in.presigned = true;
    TRY(sign_canonical(s, &in, request->now_ms, arena, hex));
    const char *whole = arena_printf(arena, "%s&X-Amz-Signature=%s", text, hex);
    if (!whole)
        return KIST_E_NOMEM;
    *query = bytes_str(whole);
    return KIST_OK;
}

struct scope_buffer {
    char scope[160];
    char amz[TIME_AMZ_LEN];
};

static struct stream_scope stream_scope_of(const struct signer *s, int64_t now_ms,
                                           struct scope_buffer *buffer)
{
    int len = snprintf(buffer->scope, sizeof buffer->scope, "%s/%s/%s/aws4_request", s->date,
                       s->region, s->service);
    time_amz(now_ms, buffer->amz);
    return (struct stream_scope){ s->key, bytes_of(buffer->amz, TIME_AMZ_LEN - 1),
                                  bytes_of(buffer->scope, (size_t)len) };
}

void sign_chunk(const struct signer *s, int64_t now_ms, struct bytes data, char previous_hex[65])
{
    struct scope_buffer buffer;
    uint8_t hash[32];
    struct stream_scope scope = stream_scope_of(s, now_ms, &buffer);
    digest_once(DIGEST_SHA256, data, hash);
    stream_chunk_signature(&scope, previous_hex, hash, previous_hex);
}

void sign_trailer(const struct signer *s, int64_t now_ms, struct bytes canonical,
                  char previous_hex[65])
{
    struct scope_buffer buffer;
    struct stream_scope scope = stream_scope_of(s, now_ms, &buffer);
    stream_trailer_signature(&scope, previous_hex, canonical, previous_hex);
}
