/* Static websites: a bucket under a host name of its own, for browsers.
 *
 *   bucket.web.<domain>      and      any other host name that is a bucket's name
 *
 * Nobody signs here; the bucket's policy must let everybody read. Beyond S3's endpoint: key.br
 * and key.gz beside a key are sent to those who accept them, and a missing page is 404 for who
 * may read it, whether or not he may list. A bucket that has releases (?site) serves the keys
 * below its release's prefix: a request reads the prefix once, so that it sees one release.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/WebsiteHosting.html */
#include <stdio.h>
#include <stdlib.h>

#include "server/http/mime.h"
#include "server/s3/internal.h"
#include "storage/base/trace.h"

#define WEB_LABEL ".web."
#define KEY_MAX 1024

static struct store *store_of(const struct s3_request *r)
{
    return r->service->config.store;
}

/* ---- which requests are for a website ---- */

static bool has_tail(struct bytes host, struct bytes tail)
{
    return host.len > tail.len &&
           bytes_equal_nocase(bytes_of(host.ptr + host.len - tail.len, tail.len), tail);
}

static bool is_signed(const struct s3_request *r)
{
    return exchange_header(r->x, "authorization").ptr || s3_has_param(r, "X-Amz-Signature") ||
           s3_has_param(r, "Signature");
}

/* A host name outside our domain that is a bucket with a website: one row read, and only for
 * requests that no S3 client sends. */
static bool own_domain(struct s3_request *r, struct bytes host)
{
    Kist__Bucket *bucket;
    bool reads = r->http->method == HTTP_GET || r->http->method == HTTP_HEAD;
    if (!reads || is_signed(r) || bytes_find(host, BYTES_LIT("."), 0) == SIZE_MAX ||
        !s3_bucket_name_valid(host))
        return false;
    return store_bucket(store_of(r), host, r->arena, &bucket) == KIST_OK &&
           (bucket->configs >> CONFIG_WEBSITE & 1);
}

bool s3_website_bucket(struct s3_request *r, struct bytes *bucket)
{
    struct bytes host = r->host, domain = bytes_str(r->service->config.domain);
    struct bytes before =
        has_tail(host, domain) ? bytes_of(host.ptr, host.len - domain.len) : BYTES_EMPTY;
    if (has_tail(before, BYTES_LIT(WEB_LABEL))) {
        *bucket = bytes_of(before.ptr, before.len - strlen(WEB_LABEL));
        return true;
    }
    if (!host.len || bytes_equal_nocase(host, domain) || has_tail(host, domain) ||
        !own_domain(r, host))
        return false;
    *bucket = host;
    return true;
}

/* ---- pages of our own ---- */

static void html_escape(struct buf *out, struct bytes text)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        if (c == '<' || c == '>' || c == '&' || c == '"')
            (void)!buf_printf(out, "&#%u;", c);
        else
            (void)!buf_append(out, &c, 1);
    }
}

static void error_page(struct s3_request *r, enum s3_error error)
{
    struct buf page;
    unsigned status = s3_error_status(error);
    buf_init(&page, 16 << 10);
    (void)!buf_printf(&page,
                      "<!DOCTYPE html>\n<html><head><title>%u %s</title></head>\n<body><h1>%u "
                      "%s</h1>\n<ul><li>Code: %s</li>",
                      status, s3_error_code(error), status, s3_error_code(error),
                      s3_error_code(error));
    if (r->key.len) {
        (void)!buf_append_str(&page, "<li>Key: ");
        html_escape(&page, r->key);
        (void)!buf_append_str(&page, "</li>");
    }
    (void)!buf_printf(&page, "<li>RequestId: %s</li></ul></body></html>\n", exchange_id(r->x));
    struct bytes body = arena_copy(r->arena, buf_bytes(&page));
    buf_release(&page);
    exchange_clear_headers(r->x);
    s3_cors_headers(r);
    s3_add_header_str(r, "x-amz-error-code", s3_error_code(error));
    s3_add_header_str(r, "Content-Type", "text/html; charset=utf-8");
    exchange_reply_bytes(r->x, status, body);
}

/* ---- redirects ---- */

static bool unreserved(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           strchr("-._~/!$'()*,;:@", c);
}

/* Percent-encoded: nothing in a key may end a header or a host name. */
static void add_path(struct buf *out, struct bytes path)
{
    for (size_t i = 0; i < path.len; i++) {
        uint8_t c = path.ptr[i];
        if (c && unreserved(c))
            (void)!buf_append(out, &c, 1);
        else
            (void)!buf_printf(out, "%%%02X", c);
    }
}

static void redirect(struct s3_request *r, unsigned status, struct bytes protocol,
                     struct bytes host, struct bytes path)
{
    struct buf to;
    buf_init(&to, 16 << 10);
    if (host.len || protocol.len) {
        struct bytes own = exchange_header(r->x, "host");
        struct bytes scheme = r->http->tls ? BYTES_LIT("https") : BYTES_LIT("http");
        (void)!buf_append_bytes(&to, protocol.len ? protocol : scheme);
        (void)!buf_append_str(&to, "://");
        (void)!buf_append_bytes(&to, host.len ? host : own);
    }
    (void)!buf_append_str(&to, "/");
    add_path(&to, path);
    exchange_clear_headers(r->x);
    s3_add_header(r, "Location", buf_bytes(&to));
    buf_release(&to);
    s3_reply_empty(r, status);
}

/* A rule that fits the key and, when `status` is one, the error; NULL: none. */
static const struct s3_xml_node *find_rule(const struct s3_request *r, unsigned status)
{
    const struct s3_xml_node *rules = s3_xml_child(r->rules->website, "RoutingRules");
    for (const struct s3_xml_node *n = rules ? rules->child : NULL; n; n = n->next) {
        const struct s3_xml_node *condition = s3_xml_child(n, "Condition");
        struct bytes code = s3_xml_child_text(condition, "HttpErrorCodeReturnedEquals");
        struct bytes prefix = s3_xml_child_text(condition, "KeyPrefixEquals");
        uint64_t wanted = 0;
        if (code.len && bytes_to_u64(code, 999, &wanted) != KIST_OK)
            continue;
        if (wanted == status && bytes_starts_with(r->key, prefix) && s3_xml_child(n, "Redirect"))
            return n;
    }
    return NULL;
}

static void follow_rule(struct s3_request *r, const struct s3_xml_node *rule)
{
    const struct s3_xml_node *to = s3_xml_child(rule, "Redirect");
    struct bytes prefix = s3_xml_child_text(s3_xml_child(rule, "Condition"), "KeyPrefixEquals");
    struct bytes code = s3_xml_child_text(to, "HttpRedirectCode");
    struct bytes path = r->key;
    uint64_t status = 301;
    if (code.len)
        (void)!bytes_to_u64(code, 399, &status);
    if (s3_xml_child(to, "ReplaceKeyWith")) {
        path = s3_xml_child_text(to, "ReplaceKeyWith");
    } else if (s3_xml_child(to, "ReplaceKeyPrefixWith")) {
        struct bytes with = s3_xml_child_text(to, "ReplaceKeyPrefixWith");
        struct bytes rest = bytes_of(path.ptr + prefix.len, path.len - prefix.len);
        path = bytes_str(arena_printf(r->arena, "%s%s", s3_str(r, with), s3_str(r, rest)));
    }
    redirect(r, (unsigned)status, s3_xml_child_text(to, "Protocol"),
             s3_xml_child_text(to, "HostName"), path);
}

/* ---- objects ---- */

static const char *stored_header(const Kist__Object *o, const char *name)
{
    for (size_t i = 0; i < o->n_headers; i++)
        if (strcmp(o->headers[i]->name, name) == 0)
            return o->headers[i]->value;
    return NULL;
}

/* "gzip, br;q=0.5": is the coding there, and not with q=0? RFC 9110 section 12.5.3. */
static bool accepts(const struct s3_request *r, struct bytes coding)
{
    struct bytes list = exchange_header(r->x, "accept-encoding");
    for (size_t at = 0; at < list.len;) {
        size_t end = bytes_find(list, BYTES_LIT(","), at);
        end = end == SIZE_MAX ? list.len : end;
        while (at < end && list.ptr[at] == ' ')
            at++;
        struct bytes item = bytes_of(list.ptr + at, end - at);
        size_t semicolon = bytes_find(item, BYTES_LIT(";"), 0);
        struct bytes name = bytes_of(item.ptr, semicolon == SIZE_MAX ? item.len : semicolon);
        while (name.len && name.ptr[name.len - 1] == ' ')
            name.len--;
        bool refused = false;
        if (semicolon != SIZE_MAX) {
            size_t q = bytes_find(item, BYTES_LIT("q="), semicolon);
            refused = q != SIZE_MAX;
            for (size_t i = q + 2; refused && i < item.len; i++)
                refused = item.ptr[i] == '0' || item.ptr[i] == '.' || item.ptr[i] == ' ';
        }
        if (bytes_equal_nocase(name, coding))
            return !refused;
        at = end + 1;
    }
    return false;
}

/* What is stored for a page and its coding's tail; empty: nothing can be. */
static struct bytes stored_key(struct s3_request *r, struct bytes page, const char *tail)
{
    const char *site = r->rules->site ? r->rules->site : "";
    if (page.len == 0 || memchr(page.ptr, '\0', page.len))
        return BYTES_EMPTY;
    char *key = arena_printf(r->arena, "%s%s%s", site, s3_str(r, page), tail);
    return key && strlen(key) <= KEY_MAX ? bytes_str(key) : BYTES_EMPTY;
}

static enum kist_err open_key(struct s3_request *r, struct bytes page)
{
    struct object_id id = { r->bucket, stored_key(r, page, ""), VERSION_CURRENT };
    object_reader_close(r->reader);
    r->reader = NULL;
    if (id.key.len == 0)
        return KIST_E_NO_KEY;
    if (!s3_allowed(r, "s3:GetObject", id.key, VERSION_CURRENT))
        return KIST_E_DENIED;
    enum kist_err err = object_reader_open(store_of(r), &id, r->arena, &r->reader, NULL);
    if (err == KIST_OK)
        err = s3_unseal_own(r, r->reader);
    return err == KIST_E_DELETE_MARKER ? KIST_E_NO_KEY : err;
}

/* A compressed variant takes the place of the reader that is open; its own headers win, but for
 * the type. */
static struct s3_serving variant(struct s3_request *r, struct bytes key)
{
    static const char *const codings[][2] = { { "br", ".br" }, { "gzip", ".gz" } };
    const Kist__Object *o = object_reader_object(r->reader);
    const char *type = stored_header(o, "Content-Type");
    struct s3_serving how = { .type = type ? type : mime_type(key) };
    if (stored_header(o, "Content-Encoding"))
        return how;
    for (size_t i = 0; i < ARRAY_LEN(codings); i++) {
        struct object_id id = { r->bucket, stored_key(r, key, codings[i][1]), VERSION_CURRENT };
        struct object_reader *found = NULL;
        if (id.key.len == 0 || !accepts(r, bytes_str(codings[i][0])) ||
            !s3_allowed(r, "s3:GetObject", id.key, VERSION_CURRENT) ||
            object_reader_open(store_of(r), &id, r->arena, &found, NULL) != KIST_OK)
            continue;
        if (s3_unseal_own(r, found) != KIST_OK) {
            object_reader_close(found);
            continue;
        }
        object_reader_close(r->reader);
        r->reader = found;
        how.encoding = codings[i][0];
        break;
    }
    return how;
}

/* ---- answers ---- */

static void serve(struct s3_request *r, struct bytes key, unsigned status)
{
    const char *to =
        stored_header(object_reader_object(r->reader), "x-amz-website-redirect-location");
    if (to && status == 200) {
        exchange_clear_headers(r->x);
        s3_add_header_str(r, "Location", to);
        s3_reply_empty(r, 301);
        return;
    }
    struct s3_serving how = variant(r, key);
    how.status = status;
    how.vary = true;
    s3_serve(r, &how);
}

static void answer_error(struct s3_request *r, enum s3_error error)
{
    unsigned status = s3_error_status(error);
    const struct s3_xml_node *rule = find_rule(r, status);
    struct bytes page =
        s3_xml_child_text(s3_xml_child(r->rules->website, "ErrorDocument"), "Key");
    if (rule)
        follow_rule(r, rule);
    else if (status >= 500 || !page.len || open_key(r, page) != KIST_OK)
        error_page(r, error);
    else
        serve(r, page, status);
}

/* A directory without its slash: RFC 3986 makes relative links depend on it. */
static bool is_directory(struct s3_request *r, struct bytes index)
{
    char *key = arena_printf(r->arena, "%s/%s", s3_str(r, r->key), s3_str(r, index));
    return key && index.len && open_key(r, bytes_str(key)) == KIST_OK;
}

static void answer(struct s3_request *r)
{
    struct bytes index =
        s3_xml_child_text(s3_xml_child(r->rules->website, "IndexDocument"), "Suffix");
    struct bytes key = r->key;
    bool directory = key.len == 0 || key.ptr[key.len - 1] == '/';
    const struct s3_xml_node *rule = find_rule(r, 0);
    if (rule) {
        follow_rule(r, rule);
        return;
    }
    if (directory)
        key = bytes_str(arena_printf(r->arena, "%s%s", s3_str(r, key), s3_str(r, index)));
    enum kist_err err = open_key(r, key);
    if (err == KIST_OK)
        serve(r, key, 200);
    else if (err != KIST_E_NO_KEY)
        answer_error(r, s3_error_from(err));
    else if (!directory && is_directory(r, index))
        redirect(r, 302, BYTES_EMPTY, BYTES_EMPTY,
                 bytes_str(arena_printf(r->arena, "%s/", s3_str(r, r->key))));
    else
        answer_error(r, S3_NO_SUCH_KEY);
}

/* ---- functions ---- */

/* The function that a rule gives this path to; empty: none. */
static struct bytes function_of(const struct s3_request *r)
{
    const struct s3_xml_node *rules = s3_xml_child(r->rules->website, "RoutingRules");
    for (const struct s3_xml_node *n = rules ? rules->child : NULL; n; n = n->next) {
        struct bytes function = s3_xml_child_text(n, "Function");
        struct bytes prefix = s3_xml_child_text(s3_xml_child(n, "Condition"), "KeyPrefixEquals");
        if (function.len && bytes_starts_with(r->key, prefix))
            return function;
    }
    return BYTES_EMPTY;
}

/* Of the bucket's own account, by name or by ARN. What it allows is asked there. */
static void run_function(struct s3_request *r, struct bytes function)
{
    struct auth_owner owner;
    const struct api_service *service = r->service->config.site_functions;
    enum kist_err err = s3_owner_find(r, r->bucket_row->owner, &owner);
    if (err != KIST_OK || !service) {
        error_page(r, err != KIST_OK ? s3_error_from(err) : S3_NOT_IMPLEMENTED);
        return;
    }
    char *own =
        arena_printf(r->arena, "arn:aws:lambda:%s:%s:function:", r->service->config.region,
                     s3_str(r, owner.account));
    char *arn = arena_printf(r->arena, "%s%s", own ? own : "", s3_str(r, function));
    bool named = bytes_starts_with(function, BYTES_LIT("arn:"));
    struct bytes full = named ? function : bytes_str(arn);
    if (!own || !arn || !bytes_starts_with(full, bytes_str(own))) {
        error_page(r, own && arn ? S3_ACCESS_DENIED : S3_SLOW_DOWN);
        return;
    }
    if (s3_guest_begin_for(r, service, full))
        s3_guest_call(r);
}

void s3_website(struct s3_request *r)
{
    r->param_count = 0; /* a page's query is the page's affair */
    bool reads = r->http->method == HTTP_GET || r->http->method == HTTP_HEAD;
    enum kist_err err = store_bucket(store_of(r), r->bucket, r->arena, &r->bucket_row);
    if (err == KIST_OK)
        err = s3_rules_get(r->service, r->bucket_row, &r->rules);
    bool is_site = err == KIST_OK && r->rules && r->rules->website;
    /* "Any request to such a bucket receives a 403": visitors cannot say that they pay.
     * https://docs.aws.amazon.com/AmazonS3/latest/userguide/WebsiteEndpoints.html */
    if (is_site && r->rules->requester_pays) {
        error_page(r, S3_ACCESS_DENIED);
        return;
    }
    struct bytes function = is_site ? function_of(r) : BYTES_EMPTY;
    if (function.len) {
        run_function(r, function);
        return;
    }
    if (!reads || !is_site) {
        error_page(r, !reads           ? S3_METHOD_NOT_ALLOWED
                      : err != KIST_OK ? s3_error_from(err)
                                       : S3_NO_SUCH_WEBSITE);
        return;
    }
    s3_cors_headers(r);
    const struct s3_xml_node *all = s3_xml_child(r->rules->website, "RedirectAllRequestsTo");
    if (all)
        redirect(r, 301, s3_xml_child_text(all, "Protocol"), s3_xml_child_text(all, "HostName"),
                 r->key);
    else
        answer(r);
}
