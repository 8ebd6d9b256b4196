/* Cross-origin requests of browsers.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/cors.html, https://fetch.spec.whatwg.org/
 */
#include "server/s3/internal.h"

/* One "*" at most, which stands for anything. */
static bool fits(struct bytes pattern, struct bytes text, bool nocase)
{
    size_t star = bytes_find(pattern, BYTES_LIT("*"), 0);
    bool (*equal)(struct bytes, struct bytes) = nocase ? bytes_equal_nocase : NULL;
    if (star == SIZE_MAX)
        return equal ? equal(pattern, text) : bytes_equal(pattern, text);
    struct bytes head = bytes_of(pattern.ptr, star);
    struct bytes tail = bytes_of(pattern.ptr + star + 1, pattern.len - star - 1);
    if (text.len < head.len + tail.len)
        return false;
    struct bytes first = bytes_of(text.ptr, head.len);
    struct bytes last = bytes_of(text.ptr + text.len - tail.len, tail.len);
    return nocase ? bytes_equal_nocase(head, first) && bytes_equal_nocase(tail, last)
                  : bytes_equal(head, first) && bytes_equal(tail, last);
}

static bool any_fits(const struct s3_xml_node *rule, const char *name, struct bytes text,
                     bool nocase, struct bytes *which)
{
    for (const struct s3_xml_node *n = rule->child; n; n = n->next)
        if (strcmp(n->name, name) == 0 && fits(n->text, text, nocase)) {
            *which = n->text;
            return true;
        }
    return false;
}

/* Every header of a comma-separated list is allowed. */
static bool headers_fit(const struct s3_xml_node *rule, struct bytes list)
{
    struct bytes ignored;
    for (size_t at = 0; at < list.len;) {
        size_t end = bytes_find(list, BYTES_LIT(","), at);
        end = end == SIZE_MAX ? list.len : end;
        struct bytes name = bytes_of(list.ptr + at, end - at);
        while (name.len && name.ptr[0] == ' ')
            name = bytes_of(name.ptr + 1, name.len - 1);
        while (name.len && name.ptr[name.len - 1] == ' ')
            name.len--;
        if (name.len && !any_fits(rule, "AllowedHeader", name, true, &ignored))
            return false;
        at = end + 1;
    }
    return true;
}

/* The first rule that fits origin, method and headers. */
static const struct s3_xml_node *find_rule(const struct s3_request *r, struct bytes origin,
                                           struct bytes method, struct bytes headers,
                                           struct bytes *origin_rule)
{
    struct bytes ignored;
    const struct s3_xml_node *cors = r->rules ? r->rules->cors : NULL;
    for (const struct s3_xml_node *rule = cors ? cors->child : NULL; rule; rule = rule->next)
        if (any_fits(rule, "AllowedOrigin", origin, false, origin_rule) &&
            any_fits(rule, "AllowedMethod", method, false, &ignored) &&
            headers_fit(rule, headers))
            return rule;
    return NULL;
}

static void add_list(struct s3_request *r, const struct s3_xml_node *rule, const char *element,
                     const char *header)
{
    struct buf list;
    buf_init(&list, 8 << 10);
    for (const struct s3_xml_node *n = rule->child; n; n = n->next)
        if (strcmp(n->name, element) == 0)
            if ((list.len && buf_append_str(&list, ", ") != KIST_OK) ||
                buf_append_bytes(&list, n->text) != KIST_OK)
                break;
    if (list.len)
        s3_add_header(r, header, buf_bytes(&list));
    buf_release(&list);
}

static void add_rule(struct s3_request *r, const struct s3_xml_node *rule, struct bytes origin,
                     struct bytes origin_rule)
{
    bool everybody = bytes_equal(origin_rule, BYTES_LIT("*"));
    struct bytes age = s3_xml_child_text(rule, "MaxAgeSeconds");
    s3_add_header(r, "Access-Control-Allow-Origin", everybody ? origin_rule : origin);
    add_list(r, rule, "AllowedMethod", "Access-Control-Allow-Methods");
    add_list(r, rule, "ExposeHeader", "Access-Control-Expose-Headers");
    if (age.len)
        s3_add_header(r, "Access-Control-Max-Age", age);
    if (!everybody)
        s3_add_header_str(r, "Access-Control-Allow-Credentials", "true");
}

#define VARY "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"

void s3_cors_headers(struct s3_request *r)
{
    struct bytes origin = exchange_header(r->x, "origin"), origin_rule;
    if (!r->rules || !r->rules->cors)
        return;
    s3_add_header_str(r, "Vary", VARY); /* for caches: also what is not for an origin */
    if (!origin.len || r->http->method == HTTP_OPTIONS)
        return;
    const struct s3_xml_node *rule =
        find_rule(r, origin, r->http->method_name, BYTES_EMPTY, &origin_rule);
    if (rule)
        add_rule(r, rule, origin, origin_rule);
}

/* OPTIONS: no signature, no bucket owner; the rules alone decide. */
void s3_cors_preflight(struct s3_request *r)
{
    struct bytes origin = exchange_header(r->x, "origin"), origin_rule;
    struct bytes method = exchange_header(r->x, "access-control-request-method");
    struct bytes headers = exchange_header(r->x, "access-control-request-headers");
    if (!origin.len || !method.len) {
        s3_fail_message(r, S3_INVALID_REQUEST,
                        origin.len ? "Invalid Access-Control-Request-Method: null"
                                   : "Insufficient information. Origin request header needed.");
        return;
    }
    r->op_index = s3_operation_count;
    if (r->scope == S3_SCOPE_SERVICE) {
        s3_fail_message(r, S3_ACCESS_FORBIDDEN, "CORSResponse: Bucket not found");
        return;
    }
    enum kist_err err =
        store_bucket(r->service->config.store, r->bucket, r->arena, &r->bucket_row);
    if (err == KIST_OK)
        err = s3_rules_get(r->service, r->bucket_row, &r->rules);
    if (err != KIST_OK && err != KIST_E_NO_BUCKET) {
        s3_fail_err(r, err);
        return;
    }
    if (err == KIST_E_NO_BUCKET || !r->rules || !r->rules->cors) {
        s3_fail_message(r, S3_ACCESS_FORBIDDEN,
                        err == KIST_OK ? "CORSResponse: CORS is not enabled for this bucket."
                                       : "CORSResponse: Bucket not found");
        return;
    }
    const struct s3_xml_node *rule = find_rule(r, origin, method, headers, &origin_rule);
    if (!rule) {
        s3_fail_message(r, S3_ACCESS_FORBIDDEN,
                        "CORSResponse: This CORS request is not allowed. This is usually because "
                        "the evalution of Origin, request method / Access-Control-Request-Method "
                        "or Access-Control-Request-Headers are not whitelisted by the resource's "
                        "CORS spec.");
        return;
    }
    add_rule(r, rule, origin, origin_rule);
    s3_add_header_str(r, "Vary", VARY);
    if (headers.len)
        s3_add_header(r, "Access-Control-Allow-Headers", headers);
    s3_reply_empty(r, 200);
}
