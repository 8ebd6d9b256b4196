/* What a request says: target, parameters, headers, route. */
#include <arpa/inet.h>
#include <stdlib.h>

#include "server/s3/internal.h"

#define PARAMS_MAX 64
/* Of a form for IAM: a hundred audiences and thumbprints, fifty tags. */
#define FORM_PARAMS_MAX 400

struct bytes s3_param(const struct s3_request *r, const char *name)
{
    struct bytes wanted = bytes_str(name);
    for (size_t i = 0; i < r->param_count; i++)
        if (bytes_equal(r->params[i].name, wanted))
            return r->params[i].value;
    return BYTES_EMPTY;
}

bool s3_has_param(const struct s3_request *r, const char *name)
{
    struct bytes wanted = bytes_str(name);
    for (size_t i = 0; i < r->param_count; i++)
        if (bytes_equal(r->params[i].name, wanted))
            return true;
    return false;
}

/* Forms say "acl" and "tagging" without x-amz-. */
static struct bytes form_field(const struct s3_request *r, const char *name)
{
    if (strcmp(name, "x-amz-acl") == 0 || strcmp(name, "x-amz-tagging") == 0)
        name += strlen("x-amz-");
    for (size_t i = 0; i < r->param_count; i++)
        if (bytes_equal_nocase(r->params[i].name, bytes_str(name)))
            return r->params[i].value;
    return BYTES_EMPTY;
}

struct bytes s3_header(const struct s3_request *r, const char *name)
{
    if (r->is_form)
        return form_field(r, name);
    struct bytes value = exchange_header(r->x, name);
    if (value.ptr || !r->who.presigned || strncmp(name, "x-amz-", 6) != 0)
        return value;
    for (size_t i = 0; i < r->param_count; i++)
        if (bytes_equal_nocase(r->params[i].name, bytes_str(name)))
            return r->params[i].value;
    return BYTES_EMPTY;
}

bool s3_param_number(struct s3_request *r, const char *name, uint64_t max, uint64_t fallback,
                     uint64_t *out)
{
    uint64_t number = fallback;
    struct bytes value = s3_param(r, name);
    if (s3_has_param(r, name) && value.len && bytes_to_u64(value, max, &number) != KIST_OK) {
        char *message =
            arena_printf(r->arena, "Provided %s not an integer or within integer range", name);
        s3_fail_argument(r, name, value, message ? message : name);
        return false;
    }
    *out = number;
    return true;
}

bool s3_param_encoding(struct s3_request *r, bool *url)
{
    struct bytes value = s3_param(r, "encoding-type");
    if (value.len && !bytes_equal(value, BYTES_LIT("url"))) {
        s3_fail_argument(r, "encoding-type", value,
                         "Invalid Encoding Method specified in Request");
        return false;
    }
    *url = value.len > 0;
    return true;
}

static bool looks_like_ip(struct bytes name)
{
    char text[64];
    struct in_addr address;
    if (name.len >= sizeof(text))
        return false;
    memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    return inet_pton(AF_INET, text, &address) == 1;
}

/* https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html */
bool s3_bucket_name_valid(struct bytes n)
{
    if (n.len < 3 || n.len > 63)
        return false;
    for (size_t i = 0; i < n.len; i++) {
        uint8_t c = n.ptr[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        bool edge = i == 0 || i + 1 == n.len;
        if (!alnum && (edge || (c != '-' && c != '.')))
            return false;
        if (c == '.' && (n.ptr[i - 1] == '.' || n.ptr[i - 1] == '-' || n.ptr[i + 1] == '-'))
            return false;
    }
    static const char *const prefixes[] = { "xn--", "sthree-" };
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
        if (bytes_starts_with(n, bytes_str(prefixes[i])))
            return false;
    static const char *const suffixes[] = { "-s3alias", "--ol-s3", ".mrap", "--x-s3" };
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        struct bytes s = bytes_str(suffixes[i]);
        if (n.len >= s.len && memcmp(n.ptr + n.len - s.len, s.ptr, s.len) == 0)
            return false;
    }
    return !looks_like_ip(n);
}

/* Decodes into the arena; ptr NULL on bad escapes or out of memory. */
static struct bytes decode(struct arena *arena, struct bytes in, bool plus_is_blank)
{
    struct bytes out;
    return uri_decode_copy(arena, in, plus_is_blank, &out) == KIST_OK ? out : BYTES_EMPTY;
}

static size_t count_params(struct bytes query)
{
    size_t count = query.len ? 1 : 0;
    for (size_t i = 0; i < query.len; i++)
        count += query.ptr[i] == '&';
    return count;
}

static enum s3_error parse_params(struct s3_request *r, struct bytes q, size_t max)
{
    size_t most = count_params(q);
    if (most > max)
        return S3_INVALID_URI;
    r->params = arena_alloc(r->arena, most * sizeof(*r->params) + 1);
    if (!r->params)
        return S3_SLOW_DOWN;
    for (size_t at = 0; at < q.len;) {
        size_t end = bytes_find(q, BYTES_LIT("&"), at);
        end = end == SIZE_MAX ? q.len : end;
        struct bytes part = bytes_of(q.ptr + at, end - at);
        size_t eq = bytes_find(part, BYTES_LIT("="), 0);
        struct bytes name = eq == SIZE_MAX ? part : bytes_of(part.ptr, eq);
        struct bytes value = eq == SIZE_MAX ? bytes_of(part.ptr + part.len, 0)
                                            : bytes_of(part.ptr + eq + 1, part.len - eq - 1);
        at = end + 1;
        if (part.len == 0)
            continue;
        struct s3_param *p = &r->params[r->param_count];
        p->name = decode(r->arena, name, true);
        p->value = decode(r->arena, value, true);
        if (!p->name.ptr || !p->value.ptr)
            return S3_INVALID_URI;
        r->param_count++;
    }
    return S3_ERROR_COUNT;
}

enum s3_error s3_parse_form(struct s3_request *r, struct bytes form)
{
    r->param_count = 0;
    return parse_params(r, form, FORM_PARAMS_MAX);
}

struct bytes s3_host_bucket(const struct s3_request *r)
{
    struct bytes host = r->host;
    struct bytes domain = bytes_str(r->service->config.domain);
    if (!domain.len || host.len < domain.len + 2)
        return BYTES_EMPTY;
    size_t cut = host.len - domain.len;
    struct bytes tail = bytes_of(host.ptr + cut, domain.len);
    if (host.ptr[cut - 1] != '.' || !bytes_equal_nocase(tail, domain))
        return BYTES_EMPTY;
    return bytes_of(host.ptr, cut - 1);
}

static enum s3_error set_key(struct s3_request *r, struct bytes raw)
{
    r->key = decode(r->arena, raw, false);
    if (!r->key.ptr || !bytes_is_utf8(r->key) || memchr(r->key.ptr, 0, r->key.len))
        return S3_INVALID_URI;
    if (r->key.len > 1024)
        return S3_KEY_TOO_LONG;
    r->scope = r->key.len ? S3_SCOPE_OBJECT : S3_SCOPE_BUCKET;
    return S3_ERROR_COUNT;
}

/* RFC 9110 section 4.2.3: in lower case; RFC 1034 section 3.1: a dot at the end says no more. */
bool s3_set_host(struct s3_request *r)
{
    struct bytes raw = r->http->host;
    char *host = arena_strndup(r->arena, raw.ptr, raw.len);
    for (char *c = host; c && *c; c++)
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c + 32 : *c);
    r->host = bytes_of(host, raw.len);
    if (raw.len > 1 && raw.ptr[raw.len - 1] == '.')
        r->host.len--;
    return host != NULL;
}

static enum s3_error parse_target(struct s3_request *r)
{
    struct bytes path = r->http->path;
    enum s3_error error = parse_params(r, r->http->query, PARAMS_MAX);
    if (error != S3_ERROR_COUNT)
        return error;
    if (!r->host.ptr && !s3_set_host(r))
        return S3_SLOW_DOWN;
    if (path.len == 0 || path.ptr[0] != '/')
        return S3_INVALID_URI;
    path = bytes_of(path.ptr + 1, path.len - 1);
    if (s3_website_bucket(r, &r->bucket)) {
        error = set_key(r, path);
        r->scope = S3_SCOPE_WEBSITE;
        return error;
    }
    r->bucket = s3_host_bucket(r);
    if (r->bucket.len)
        return set_key(r, path);
    if (path.len == 0) {
        r->scope = S3_SCOPE_SERVICE;
        return S3_ERROR_COUNT;
    }
    size_t slash = bytes_find(path, BYTES_LIT("/"), 0);
    size_t end = slash == SIZE_MAX ? path.len : slash;
    r->bucket = decode(r->arena, bytes_of(path.ptr, end), false);
    if (!r->bucket.ptr)
        return S3_INVALID_URI;
    if (r->bucket.len == 0)
        return S3_INVALID_BUCKET_NAME;
    size_t rest = slash == SIZE_MAX ? path.len : slash + 1;
    return set_key(r, bytes_of(path.ptr + rest, path.len - rest));
}

/* The server's own: nobody's bucket has such a name. */
static bool is_hidden(struct bytes bucket)
{
    return bucket.len > 0 && bucket.ptr[0] == '.';
}

enum s3_error s3_parse_target(struct s3_request *r)
{
    enum s3_error error = parse_target(r);
    return error == S3_ERROR_COUNT && is_hidden(r->bucket) ? S3_INVALID_BUCKET_NAME : error;
}

enum s3_copy_source s3_parse_copy_source(struct bytes header, struct arena *arena,
                                         struct object_id *out)
{
    static const struct bytes sign = { (const uint8_t *)"?versionId=", 11 };
    if (header.len && header.ptr[0] == '/')
        header = bytes_of(header.ptr + 1, header.len - 1);
    size_t question = bytes_find(header, sign, 0);
    struct bytes version = BYTES_EMPTY;
    if (question != SIZE_MAX) {
        version = bytes_of(header.ptr + question + sign.len, header.len - question - sign.len);
        header.len = question;
    }
    struct bytes whole = decode(arena, header, false);
    size_t slash = whole.ptr ? bytes_find(whole, BYTES_LIT("/"), 0) : SIZE_MAX;
    if (slash == SIZE_MAX || slash == 0 || slash + 1 == whole.len || !bytes_is_utf8(whole) ||
        is_hidden(whole) || memchr(whole.ptr, 0, whole.len))
        return S3_COPY_SOURCE_BAD;
    struct object_id id = { bytes_of(whole.ptr, slash),
                            bytes_of(whole.ptr + slash + 1, whole.len - slash - 1),
                            VERSION_CURRENT };
    if (question != SIZE_MAX && !s3_version_parse(version, &id.version))
        return S3_COPY_SOURCE_BAD_VERSION;
    *out = id;
    return S3_COPY_SOURCE_OK;
}

/* ---- routes ---- */

const struct s3_operation s3_operations[] = {
#define ANY -1
#define GET HTTP_GET
#define HEAD HTTP_HEAD
#define PUT HTTP_PUT
#define POST HTTP_POST
#define DELETE HTTP_DELETE
#define X(name, method, scope, query, header, handler, action)                                   \
    { #name, method, S3_SCOPE_##scope, query, header, handler, action },
#include "server/s3/operations.def"
#undef X
};
const size_t s3_operation_count = ARRAY_LEN(s3_operations);

/* All of "a&b=v" are parameters of the request. */
static bool query_fits(const struct s3_request *r, const char *query)
{
    while (*query) {
        size_t len = strcspn(query, "&");
        struct bytes want = bytes_of(query, len);
        size_t eq = bytes_find(want, BYTES_LIT("="), 0);
        struct bytes name = eq == SIZE_MAX ? want : bytes_of(want.ptr, eq);
        bool found = false;
        for (size_t i = 0; i < r->param_count && !found; i++)
            found =
                bytes_equal(r->params[i].name, name) &&
                (eq == SIZE_MAX ||
                 bytes_equal(r->params[i].value, bytes_of(want.ptr + eq + 1, want.len - eq - 1)));
        if (!found)
            return false;
        query += len + (query[len] == '&');
    }
    return true;
}

static bool row_fits(const struct s3_request *r, const struct s3_operation *op, bool any_method)
{
    if (op->scope != r->scope)
        return false;
    if (!any_method && op->method != -1 && op->method != (int)r->http->method)
        return false;
    if (op->query && (r->param_count == 0 || !query_fits(r, op->query)))
        return false;
    return !op->header || s3_header(r, op->header).ptr;
}

/* A sub-resource that exists for another method must not fall through to the plain operation. */
static bool names_other_subresource(const struct s3_request *r)
{
    if (r->param_count == 0)
        return false;
    for (size_t i = 0; i < s3_operation_count; i++)
        if (s3_operations[i].query && !strchr(s3_operations[i].query, '=') &&
            row_fits(r, &s3_operations[i], true))
            return true;
    return false;
}

enum s3_error s3_route(struct s3_request *r)
{
    for (size_t i = 0; i < s3_operation_count; i++) {
        const struct s3_operation *op = &s3_operations[i];
        if (!row_fits(r, op, false))
            continue;
        /* HEAD of a sub-resource is not an operation; neither is DELETE ?delete. */
        if (!op->query && names_other_subresource(r))
            return S3_METHOD_NOT_ALLOWED;
        r->op_index = i;
        return op->handle ? S3_ERROR_COUNT : S3_NOT_IMPLEMENTED;
    }
    return S3_METHOD_NOT_ALLOWED;
}

char *s3_str(struct s3_request *r, struct bytes b)
{
    static char nothing[1];
    char *s = arena_strndup(r->arena, b.ptr ? (const void *)b.ptr : "", b.len);
    return s ? s : nothing;
}

int64_t s3_now(const struct s3_request *r)
{
    struct env *env = store_env(r->service->config.store);
    return env->now_ms(env);
}
