/* The discovery document and the key set behind it.
 *
 * Whoever may register a provider can make us connect to where its documents point; hence what
 * is_allowed() says about the peer once it is connected, before anything is sent. */
#include "auth/oidc_fetch.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <jansson.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include "storage/base/codec.h"
#include "storage/base/trace.h"

#define DISCOVERY_MAX ((size_t)64 << 10)
#define KEYS_URL_MAX 2048
#define CONNECT_MS 3000L
#define WHOLE_MS 5000L

struct fetch {
    const struct oidc_provider *provider;
    const char *avoid;
    bool loopback; /* the issuer is on this machine */
    struct buf body;
};

/* ---- whom to talk to ---- */

struct address {
    uint8_t bytes[16]; /* IPv4 as ::ffff:a.b.c.d */
};

static bool read_address(const char *text, struct address *out)
{
    static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
    memcpy(out->bytes, mapped, sizeof(mapped));
    return inet_pton(AF_INET, text, out->bytes + 12) == 1 ||
           inet_pton(AF_INET6, text, out->bytes) == 1;
}

static bool is_v4(const struct address *a)
{
    return bytes_equal(bytes_of(a->bytes, 12), bytes_of("\0\0\0\0\0\0\0\0\0\0\xff\xff", 12));
}

/* This machine: the unspecified address means it, too. */
static bool is_loopback(const struct address *a)
{
    static const uint8_t zero[15];
    if (is_v4(a))
        return a->bytes[12] == 127 || a->bytes[12] == 0;
    return memcmp(a->bytes, zero, sizeof(zero)) == 0 && a->bytes[15] <= 1;
}

/* Clouds have their metadata services there. */
static bool is_link_local(const struct address *a)
{
    return is_v4(a) ? a->bytes[12] == 169 && a->bytes[13] == 254
                    : a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80;
}

/* "address:port" of ours; one that listens everywhere is at every address of this machine. */
static bool is_avoided(const char *avoid, const char *peer, const char *local, int port)
{
    const char *colon = strrchr(avoid, ':');
    uint64_t number = 0;
    if (!colon || bytes_to_u64(bytes_str(colon + 1), 65535, &number) != KIST_OK ||
        number != (uint64_t)port)
        return false;
    return strcmp(peer, local) == 0 ||
           bytes_equal(bytes_str(peer), bytes_of(avoid, (size_t)(colon - avoid)));
}

/* curl asks when the connection stands; nothing was sent yet. An issuer on this machine has its
 * keys here, and no other has. */
static int is_allowed(void *ctx, char *peer, char *local, int port, int local_port)
{
    const struct fetch *f = ctx;
    struct address a;
    (void)local_port;
    bool right = read_address(peer, &a) && !is_link_local(&a) && is_loopback(&a) == f->loopback &&
                 !is_avoided(f->avoid, peer, local, port);
    return right ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

/* ---- certificates ---- */

static bool is_listed(const struct oidc_provider *p, X509 *certificate)
{
    uint8_t sha1[EVP_MAX_MD_SIZE], listed[20];
    unsigned len = 0;
    if (X509_digest(certificate, EVP_sha1(), sha1, &len) != 1 || len != sizeof(listed))
        return false;
    for (size_t i = 0; i < p->thumbprint_count; i++)
        if (hex_decode(bytes_str(p->thumbprints[i]), listed, sizeof(listed)) == KIST_OK &&
            memcmp(listed, sha1, sizeof(listed)) == 0)
            return true;
    return false;
}

/* The system's authorities, or one that the provider lists, as what signed the certificate. Whose
 * name it bears is curl's to check, after this. */
static int verify(X509_STORE_CTX *c, void *ctx)
{
    const struct fetch *f = ctx;
    if (X509_verify_cert(c) == 1)
        return 1;
    STACK_OF(X509) *sent = X509_STORE_CTX_get0_untrusted(c), *listed = sk_X509_new_null();
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *again = X509_STORE_CTX_new();
    X509_VERIFY_PARAM *params = X509_VERIFY_PARAM_new();
    for (int i = 0; listed && i < sk_X509_num(sent); i++)
        if (is_listed(f->provider, sk_X509_value(sent, i)))
            (void)!sk_X509_push(listed, sk_X509_value(sent, i));
    int ok = 0;
    if (listed && store && again && params && sk_X509_num(listed) > 0 &&
        X509_STORE_CTX_init(again, store, X509_STORE_CTX_get0_cert(c), sent) == 1 &&
        X509_VERIFY_PARAM_set1(params, X509_STORE_CTX_get0_param(c)) == 1) {
        X509_VERIFY_PARAM_set_flags(params, X509_V_FLAG_PARTIAL_CHAIN);
        X509_STORE_CTX_set0_param(again, params);
        params = NULL; /* the context's now */
        X509_STORE_CTX_set0_trusted_stack(again, listed);
        ok = X509_verify_cert(again) == 1;
    }
    if (ok)
        X509_STORE_CTX_set_error(c, X509_V_OK);
    X509_VERIFY_PARAM_free(params);
    X509_STORE_CTX_free(again);
    X509_STORE_free(store);
    sk_X509_free(listed);
    return ok;
}

static CURLcode use_thumbprints(CURL *curl, void *tls, void *ctx)
{
    (void)curl;
    SSL_CTX_set_cert_verify_callback(tls, verify, ctx);
    return CURLE_OK;
}

/* ---- one document ---- */

static size_t take(char *data, size_t size, size_t count, void *ctx)
{
    struct fetch *f = ctx;
    return buf_append(&f->body, data, size * count) == KIST_OK ? size * count : 0;
}

static bool set_up(CURL *c, struct fetch *f, const char *url)
{
    const char *schemes = f->loopback ? "http,https" : "https";
    return curl_easy_setopt(c, CURLOPT_URL, url) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, schemes) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, WHOLE_MS) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_USERAGENT, "kist") == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_PREREQFUNCTION, is_allowed) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_PREREQDATA, f) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_SSL_CTX_FUNCTION, use_thumbprints) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_SSL_CTX_DATA, f) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_WRITEDATA, f) == CURLE_OK;
}

/* The body of a 200 into f->body. */
static enum kist_err get(struct fetch *f, const char *url, size_t max_bytes)
{
    long status = 0;
    CURL *c = curl_easy_init();
    if (!c)
        return KIST_E_NOMEM;
    buf_release(&f->body);
    buf_init(&f->body, max_bytes);
    CURLcode rc = set_up(c, f, url) ? curl_easy_perform(c) : CURLE_FAILED_INIT;
    if (rc == CURLE_OK)
        (void)!curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(c);
    if (rc != CURLE_OK || status != 200)
        TRACE(TRACE_WARN, "oidc", "%s: %s, status %ld", url, curl_easy_strerror(rc), status);
    return rc == CURLE_OK && status == 200 ? KIST_OK : KIST_E_IO;
}

/* ---- the two ---- */

/* It is traced, too. */
static bool is_plain(const char *url)
{
    size_t len = strlen(url);
    for (size_t i = 0; i < len; i++)
        if (url[i] <= ' ' || url[i] > '~')
            return false;
    return len > 0 && len <= KEYS_URL_MAX;
}

/* Where the keys are; the document must be the issuer's own (section 4.3). */
static char *keys_url(struct fetch *f, struct arena *arena)
{
    json_error_t error;
    char *url = NULL;
    json_t *root =
        json_loadb((const char *)f->body.ptr, f->body.len, JSON_REJECT_DUPLICATES, &error);
    const char *issuer = json_string_value(json_object_get(root, "issuer"));
    const char *keys = json_string_value(json_object_get(root, "jwks_uri"));
    if (issuer && keys && is_plain(keys) && bytes_equal(bytes_str(issuer), f->provider->issuer))
        url = arena_strdup(arena, keys);
    json_decref(root);
    return url;
}

static enum kist_err fetch_both(struct fetch *f, struct arena *arena, struct jwks **out)
{
    struct bytes issuer = f->provider->issuer;
    if (issuer.ptr[issuer.len - 1] == '/')
        issuer.len--; /* section 4.1 */
    char *url = arena_printf(arena, "%.*s/.well-known/openid-configuration", (int)issuer.len,
                             (const char *)issuer.ptr);
    if (!url)
        return KIST_E_NOMEM;
    TRY(get(f, url, DISCOVERY_MAX));
    url = keys_url(f, arena);
    if (!url)
        return KIST_E_IO;
    TRY(get(f, url, JWKS_LEN_MAX));
    return jwks_parse(buf_bytes(&f->body), out) == KIST_OK ? KIST_OK : KIST_E_IO;
}

enum kist_err oidc_fetch_keys(const struct oidc_provider *provider, const char *avoid,
                              struct jwks **out)
{
    struct arena arena;
    struct fetch f = { .provider = provider,
                       .avoid = avoid,
                       .loopback = oidc_url_is_loopback(provider->issuer) };
    arena_init(&arena, DISCOVERY_MAX * 2);
    buf_init(&f.body, DISCOVERY_MAX);
    enum kist_err err = fetch_both(&f, &arena, out);
    buf_release(&f.body);
    arena_release(&arena);
    return err;
}

enum kist_err oidc_fetch_init(void)
{
    return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? KIST_OK : KIST_E_NOMEM;
}
