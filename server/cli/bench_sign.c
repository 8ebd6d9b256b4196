/* SigV4 with as little work as it takes: the key once, the date once a second, three headers,
 * unsigned payloads. */
#include <inttypes.h>
#include <stdio.h>

#include "auth/keyring.h"
#include "server/cli/bench_internal.h"
#include "storage/base/codec.h"
#include "storage/base/env.h"

void sign_init(struct signer_cache *s, const struct bench_options *o)
{
    *s = (struct signer_cache){ .options = o };
}

void sign_release(struct signer_cache *s)
{
    hmac_key_free(s->key);
}

static void refresh(struct signer_cache *s)
{
    int64_t now = env_real()->now_ms(env_real());
    uint8_t raw[32];
    if (s->key && now / 1000 == s->second)
        return;
    bool same_day = s->key && now / 86400000 == s->second / 86400;
    s->second = now / 1000;
    time_amz(now, s->date);
    if (same_day)
        return;
    struct signing_scope scope = { bytes_of(s->date, 8), bytes_str(s->options->region),
                                   BYTES_LIT("s3") };
    sigv4_derive_key(bytes_str(s->options->secret_key), &scope, raw);
    hmac_key_free(s->key);
    s->key = hmac_key_new(bytes_of(raw, sizeof(raw)));
}

static void signature(struct signer_cache *s, const char *method, const char *path,
                      const char *query, const char *host, char out[65])
{
    char text[3072], hash[65];
    uint8_t digest[32];
    int n =
        snprintf(text, sizeof(text),
                 "%s\n%s\n%s\nhost:%s\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:%s\n\n"
                 "host;x-amz-content-sha256;x-amz-date\nUNSIGNED-PAYLOAD",
                 method, path, query, host, s->date);
    digest_once(DIGEST_SHA256, bytes_of(text, (size_t)n), digest);
    hex_encode(bytes_of(digest, 32), hash);
    n = snprintf(text, sizeof(text), "AWS4-HMAC-SHA256\n%s\n%.8s/%s/s3/aws4_request\n%s", s->date,
                 s->date, s->options->region, hash);
    hmac_key_sign(s->key, bytes_of(text, (size_t)n), digest);
    hex_encode(bytes_of(digest, 32), out);
}

size_t sign_head(struct signer_cache *s, const char *method, const char *path, const char *query,
                 uint64_t body_bytes, char *out, size_t size)
{
    const struct bench_options *o = s->options;
    char host[300], sig[65], length[48] = "";
    bool v6 = strchr(o->host, ':') != NULL;
    if (o->named_host)
        snprintf(host, sizeof(host), "%s", o->named_host);
    else
        snprintf(host, sizeof(host), v6 ? "[%s]:%u" : "%s:%u", o->host, o->port);
    if (body_bytes || strcmp(method, "PUT") == 0 || strcmp(method, "POST") == 0)
        snprintf(length, sizeof(length), "Content-Length: %" PRIu64 "\r\n", body_bytes);
    const char *mark = *query ? "?" : "";
    if (o->no_auth)
        return (size_t)snprintf(out, size, "%s %s%s%s HTTP/1.1\r\nHost: %s\r\n%s\r\n", method,
                                path, mark, query, host, length);
    refresh(s);
    signature(s, method, path, query, host, sig);
    return (size_t)snprintf(
        out, size,
        "%s %s%s%s HTTP/1.1\r\nHost: %s\r\n%s"
        "x-amz-content-sha256: UNSIGNED-PAYLOAD\r\nx-amz-date: %s\r\n"
        "Authorization: AWS4-HMAC-SHA256 Credential=%s/%.8s/%s/s3/aws4_request, "
        "SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=%s\r\n"
        "\r\n",
        method, path, mark, query, host, length, s->date, o->access_key, s->date, o->region, sig);
}
