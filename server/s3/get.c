/* GetObject, HeadObject.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html */
#include <inttypes.h>

#include "server/s3/internal.h"
#include "storage/chunk/pack.h"

/* Bodies up to this are read at once and sent from memory. */
#define IN_MEMORY_MAX ((uint64_t)64 << 10)

/* Digits only; what is too large for 64 bits is beyond every object. */
static bool position(struct bytes s, uint64_t *out)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
    if (s.len && bytes_to_u64(s, UINT64_MAX, out) != KIST_OK)
        *out = UINT64_MAX;
    return s.len > 0;
}

enum s3_range_kind s3_range_parse(struct bytes h, uint64_t size, struct s3_range *out)
{
    static const struct bytes unit = { (const uint8_t *)"bytes=", 6 };
    uint64_t first, last;
    if (!bytes_starts_with(h, unit) || bytes_find(h, BYTES_LIT(","), 0) != SIZE_MAX)
        return S3_RANGE_NONE;
    h = bytes_of(h.ptr + unit.len, h.len - unit.len);
    size_t dash = bytes_find(h, BYTES_LIT("-"), 0);
    if (dash == SIZE_MAX)
        return S3_RANGE_NONE;
    struct bytes from = bytes_of(h.ptr, dash), to = bytes_of(h.ptr + dash + 1, h.len - dash - 1);
    if (from.len == 0) {
        if (!position(to, &last))
            return S3_RANGE_NONE;
        if (last == 0 || size == 0)
            return S3_RANGE_UNSATISFIABLE;
        out->length = last < size ? last : size;
        out->first = size - out->length;
        return S3_RANGE_OK;
    }
    if (!position(from, &first))
        return S3_RANGE_NONE;
    last = UINT64_MAX;
    if (to.len && (!position(to, &last) || last < first))
        return S3_RANGE_NONE;
    if (first >= size)
        return S3_RANGE_UNSATISFIABLE;
    if (last > size - 1)
        last = size - 1;
    out->first = first;
    out->length = last - first + 1;
    return S3_RANGE_OK;
}

/* What will be sent. */
struct get_state {
    struct s3_range range;
    unsigned status;
    uint32_t part;
    const struct s3_serving *how; /* NULL: GetObject */
    bool fetched; /* the next read may block: its bytes were brought in and went again */
};

/* https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html: response-* parameters */
static void add_overrides(struct s3_request *r)
{
    static const char *const names[] = {
        "Content-Type",  "Content-Language",    "Expires",
        "Cache-Control", "Content-Disposition", "Content-Encoding"
    };
    static const char *const params[] = {
        "response-content-type",  "response-content-language",    "response-expires",
        "response-cache-control", "response-content-disposition", "response-content-encoding"
    };
    for (size_t i = 0; i < ARRAY_LEN(params); i++) {
        struct bytes value = s3_param(r, params[i]);
        if (value.len)
            s3_add_header(r, names[i], value);
    }
}

static void drop_overridden(struct s3_request *r, Kist__Object *o)
{
    size_t kept = 0;
    for (size_t i = 0; i < o->n_headers; i++) {
        char *param = arena_printf(r->arena, "response-%s", o->headers[i]->name);
        for (char *c = param; c && *c; c++)
            *c = (char)(*c >= 'A' && *c <= 'Z' ? *c + 32 : *c);
        if (!param || !s3_param(r, param).len)
            o->headers[kept++] = o->headers[i];
    }
    o->n_headers = kept;
}

/* A part of a multipart object has its own checksum. */
static const Kist__Checksum *part_checksum(struct s3_request *r, const Kist__Object *o,
                                           const struct get_state *g)
{
    struct part_info part;
    if (!g->part)
        return o->checksum;
    return object_reader_part(r->reader, g->part, &part) == KIST_OK ? part.checksum : NULL;
}

/* Type and encoding are given, not those that are stored. */
static void serve_as(struct s3_request *r, Kist__Object *o, const struct s3_serving *how)
{
    size_t kept = 0;
    for (size_t i = 0; i < o->n_headers; i++) {
        const char *name = o->headers[i]->name;
        if ((how->type && strcmp(name, "Content-Type") == 0) ||
            (how->encoding && strcmp(name, "Content-Encoding") == 0))
            continue;
        o->headers[kept++] = o->headers[i];
    }
    o->n_headers = kept;
    s3_meta_reply(r, o, !how->type);
    if (how->type)
        s3_add_header_str(r, "Content-Type", how->type);
    if (how->encoding)
        s3_add_header_str(r, "Content-Encoding", how->encoding);
    if (how->vary)
        s3_add_header_str(r, "Vary", "Accept-Encoding");
}

static void add_headers(struct s3_request *r, const Kist__Object *stored,
                        const struct get_state *g)
{
    Kist__Object o = *stored;
    bool checksums = g->status == 200 || g->part;
    if (g->how) {
        serve_as(r, &o, g->how);
    } else {
        drop_overridden(r, &o);
        s3_meta_reply(r, &o, s3_param(r, "response-content-type").len == 0);
        add_overrides(r);
    }
    struct bytes mode = s3_header(r, "x-amz-checksum-mode");
    if (bytes_equal_nocase(mode, BYTES_LIT("ENABLED")) && checksums)
        s3_checksum_headers(r, part_checksum(r, &o, g), g->part ? 0 : o.part_count);
    if (g->part && o.part_count)
        s3_add_header_str(r, "x-amz-mp-parts-count", arena_printf(r->arena, "%u", o.part_count));
    if (g->status == 206)
        s3_add_header_str(r, "Content-Range",
                          arena_printf(r->arena, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64,
                                       g->range.first, g->range.first + g->range.length - 1,
                                       o.size));
}

/* ---- what was asked for ---- */

static bool range_still_holds(struct s3_request *r, const Kist__Object *o)
{
    struct bytes validator = exchange_header(r->x, "if-range");
    int64_t when;
    if (!validator.ptr)
        return true;
    if (time_parse_http(validator, &when) == KIST_OK)
        return o->mtime_ms / 1000 == when / 1000;
    return bytes_equal(validator, s3_etag(r->arena, schema_bytes(o->etag), o->part_count));
}

static bool choose_part(struct s3_request *r, struct get_state *g)
{
    uint64_t number;
    struct part_info part;
    if (!s3_param_number(r, "partNumber", 10000, 0, &number))
        return false;
    if (number == 0) {
        s3_fail_argument(r, "partNumber", s3_param(r, "partNumber"),
                         "Part number must be an integer between 1 and 10000, inclusive");
        return false;
    }
    enum kist_err err = object_reader_part(r->reader, (uint32_t)number, &part);
    if (err == KIST_E_INVALID_PART) {
        s3_fail(r, S3_INVALID_PART_NUMBER);
        return false;
    }
    if (err != KIST_OK) {
        s3_fail_err(r, err);
        return false;
    }
    g->part = part.number;
    g->range = (struct s3_range){ part.start, part.size };
    g->status = part.size ? 206 : 200; /* no range names nothing */
    return true;
}

static bool choose_range(struct s3_request *r, const Kist__Object *o, struct get_state *g)
{
    struct bytes header = exchange_header(r->x, "range");
    *g = (struct get_state){ .range = { 0, o->size }, .status = 200 };
    if (s3_has_param(r, "partNumber")) {
        if (header.ptr) {
            s3_fail_message(r, S3_INVALID_REQUEST,
                            "Cannot specify both Range header and partNumber query parameter");
            return false;
        }
        return choose_part(r, g);
    }
    if (!header.ptr || !range_still_holds(r, o))
        return true;
    switch (s3_range_parse(header, o->size, &g->range)) {
    case S3_RANGE_UNSATISFIABLE: /* RFC 9110 section 15.5.17: with the length that there is */
        r->error_headers = true;
        s3_add_header_str(r, "Content-Range",
                          arena_printf(r->arena, "bytes */%" PRIu64, o->size));
        s3_fail(r, S3_INVALID_RANGE);
        return false;
    case S3_RANGE_OK:
        g->status = 206;
        break;
    case S3_RANGE_NONE:
        break;
    }
    return true;
}

/* ---- sending ---- */

static void fetched(struct exchange *x)
{
    (void)x; /* the HTTP layer asks the reader again */
}

static void wake_reader(void *user)
{
    struct s3_request *r = user;
    exchange_wake(r->x, fetched);
}

static ptrdiff_t read_body(struct exchange *x, void *ctx, uint64_t pos, uint8_t *buf, size_t max)
{
    struct s3_request *r = ctx;
    struct get_state *g = r->state;
    size_t got = 0;
    uint64_t at = g->range.first + pos, left = g->range.length - pos;
    enum kist_err err =
        object_reader_read(r->reader, at, buf, max < left ? max : (size_t)left, g->fetched, &got);
    if (err == KIST_E_BUSY) {
        g->fetched = true;
        exchange_wait(x);
        object_reader_fetch(r->reader, at, wake_reader, r);
        return 0;
    }
    g->fetched = false;
    return err == KIST_OK ? (ptrdiff_t)got : -1;
}

static void send_reader(struct s3_request *r)
{
    struct get_state *g = r->state;
    struct body_reader reader = { .read = read_body, .ctx = r, .block_bytes = PACK_BLOCK_BYTES };
    exchange_reply_reader(r->x, g->status, g->range.length, &reader);
}

/* The whole body, when it is small and cached: damage is still an error reply then. */
static void send_small(struct s3_request *r);

static void small_fetched(struct exchange *x)
{
    struct s3_request *r = exchange_user(x);
    send_small(r);
}

static void wake_small(void *user)
{
    struct s3_request *r = user;
    exchange_wake(r->x, small_fetched);
}

static void send_small(struct s3_request *r)
{
    struct get_state *g = r->state;
    uint8_t *buf = arena_alloc(r->arena, (size_t)g->range.length + 1);
    size_t at = 0, got;
    if (!buf) {
        s3_fail(r, S3_SLOW_DOWN);
        return;
    }
    while (at < g->range.length) {
        enum kist_err err = object_reader_read(r->reader, g->range.first + at, buf + at,
                                               (size_t)g->range.length - at, g->fetched, &got);
        if (err == KIST_E_BUSY) {
            g->fetched = true;
            exchange_wait(r->x);
            object_reader_fetch(r->reader, g->range.first + at, wake_small, r);
            return;
        }
        if (err != KIST_OK) {
            s3_fail_err(r, err);
            return;
        }
        at += got;
    }
    exchange_reply_bytes(r->x, g->status, bytes_of(buf, (size_t)g->range.length));
}

static bool not_modified_reply(struct s3_request *r, const Kist__Object *o)
{
    bool not_modified;
    enum s3_error error = s3_check_read(r, o, "", &not_modified);
    if (error != S3_ERROR_COUNT) {
        s3_fail(r, error);
        return true;
    }
    if (!not_modified)
        return false;
    s3_meta_reply(r, o, true);
    s3_reply_empty(r, 304);
    return true;
}

static struct get_state *state_new(struct s3_request *r)
{
    struct get_state *g = arena_zalloc(r->arena, sizeof(*g));
    if (!g)
        s3_fail(r, S3_SLOW_DOWN);
    r->state = g;
    return g;
}

static void send_object(struct s3_request *r, const Kist__Object *o)
{
    const struct get_state *g = r->state;
    add_headers(r, o, g);
    if (r->http->method == HTTP_HEAD || g->range.length > IN_MEMORY_MAX)
        send_reader(r);
    else if (g->range.length == 0)
        exchange_reply_bytes(r->x, g->status, BYTES_EMPTY);
    else
        send_small(r);
}

void s3_serve(struct s3_request *r, const struct s3_serving *how)
{
    struct get_state *g = state_new(r);
    struct s3_serving *kept = arena_alloc(r->arena, sizeof(*kept));
    const Kist__Object *o = object_reader_object(r->reader);
    if (!g || !kept)
        return;
    *kept = *how;
    if (how->status == 200 && (not_modified_reply(r, o) || !choose_range(r, o, g)))
        return;
    if (how->status != 200)
        *g = (struct get_state){ .range = { 0, o->size }, .status = how->status };
    g->how = kept;
    send_object(r, o);
}

/* response-* need a signature: they would let anybody make our pages say what they like. */
static bool overrides_allowed(struct s3_request *r)
{
    static const struct bytes prefix = { (const uint8_t *)"response-", 9 };
    for (size_t i = 0; i < r->param_count && !r->who.identity->id.len; i++)
        if (bytes_starts_with(r->params[i].name, prefix)) {
            s3_fail_message(r, S3_INVALID_REQUEST,
                            "Request specific response headers cannot be used for anonymous GET "
                            "requests.");
            return false;
        }
    return true;
}

void s3_get_object(struct s3_request *r)
{
    struct get_state *g = state_new(r);
    const Kist__Object *o = g && overrides_allowed(r) ? s3_open_object(r) : NULL;
    if (o && !not_modified_reply(r, o) && choose_range(r, o, g))
        send_object(r, o);
}

void s3_head_object(struct s3_request *r)
{
    s3_get_object(r);
}
