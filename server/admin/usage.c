/* /-/usage: what buckets hold, and requests and transfer of buckets and of principals, and what
 * functions ran, as JSON.
 *
 * A page has at most PAGE_MAX of each. "next_bucket", "next_user" and "next_function" are there
 * when more follow: give them as after_bucket, after_user and after_function. Names need no
 * escapes: those of buckets are S3's, those of users and roles IAM's, those of functions
 * Lambda's.
 */
#include <inttypes.h>
#include <stdio.h>

#include "server/admin/internal.h"
#include "storage/base/codec.h"

#define PAGE_MAX 5000
#define PAGE_BYTES_MAX ((size_t)4 << 20)

struct page {
    struct admin *admin;
    struct buf out;
    enum kist_err err;
    size_t count;
    bool more;
    char next[320];                   /* the last one that was shown */
    char owner[CANONICAL_ID_LEN + 1]; /* looked up last */
    char account[ACCOUNT_ID_LEN + 1];
};

/* A parameter of the query, percent-decoded; ptr NULL when absent. */
static struct bytes param(struct exchange *x, const char *name)
{
    struct bytes query = exchange_request(x)->query, wanted = bytes_str(name);
    while (query.len) {
        size_t end = bytes_find(query, BYTES_LIT("&"), 0);
        struct bytes one = bytes_of(query.ptr, end == SIZE_MAX ? query.len : end);
        size_t skip = end == SIZE_MAX ? query.len : end + 1;
        query = bytes_of(query.ptr + skip, query.len - skip);
        if (!bytes_starts_with(one, wanted) || one.len <= wanted.len ||
            one.ptr[wanted.len] != '=')
            continue;
        struct bytes value = bytes_of(one.ptr + wanted.len + 1, one.len - wanted.len - 1);
        if (uri_decode_copy(exchange_arena(x), value, false, &value) == KIST_OK)
            return value;
    }
    return BYTES_EMPTY;
}

/* The account's number. Owners that no account has are the first's. */
static enum kist_err find_account(struct page *p, const char *owner)
{
    struct arena arena;
    Kist__Account *account = NULL;
    struct store *store = p->admin->config.store;
    if (p->account[0] && strcmp(p->owner, owner) == 0)
        return KIST_OK;
    arena_init(&arena, 64 << 10);
    enum kist_err err = store_account_canonical(store, bytes_str(owner), &arena, &account);
    if (err == KIST_E_NOT_FOUND)
        err = store_account_first(store, &arena, &account);
    if (err == KIST_OK && strlen(account->id) == ACCOUNT_ID_LEN) {
        memcpy(p->account, account->id, sizeof(p->account));
        p->owner[0] = '\0';
        if (strlen(owner) < sizeof(p->owner))
            memcpy(p->owner, owner, strlen(owner) + 1);
    }
    arena_release(&arena);
    return err;
}

static enum kist_err add_usage(struct buf *out, const Kist__Usage *u)
{
    return buf_printf(
        out, "\"requests\":%" PRIu64 ",\"bytes_in\":%" PRIu64 ",\"bytes_out\":%" PRIu64 "}",
        u->requests, u->bytes_in, u->bytes_out);
}

/* False: the page is full. */
static bool begin_item(struct page *p)
{
    if (p->count == PAGE_MAX) {
        p->more = true;
        return false;
    }
    p->err = buf_append_str(&p->out, p->count++ ? ",\n" : "\n");
    return p->err == KIST_OK;
}

static enum kist_err add_bucket(struct page *p, const Kist__Bucket *bucket, struct arena *arena)
{
    struct store *store = p->admin->config.store;
    Kist__BucketStats *s = NULL;
    Kist__Usage *u = NULL;
    TRY(store_bucket_stats(store, bucket->id, arena, &s));
    TRY(store_bucket_usage(store, bucket->id, arena, &u));
    TRY(find_account(p, bucket->owner));
    TRY(buf_printf(
        &p->out,
        "{\"bucket\":\"%s\",\"account\":\"%s\",\"objects\":%" PRId64 ",\"versions\":%" PRId64
        ",\"bytes\":%" PRId64 ",\"uploads\":%" PRId64 ",\"part_bytes\":%" PRId64 ",",
        bucket->name, p->account, s->objects, s->versions, s->bytes, s->uploads, s->part_bytes));
    snprintf(p->next, sizeof(p->next), "%s", bucket->name);
    return add_usage(&p->out, u);
}

static bool on_bucket(void *ctx, const Kist__Bucket *bucket)
{
    struct page *p = ctx;
    struct arena arena;
    if (!begin_item(p))
        return false;
    arena_init(&arena, 64 << 10);
    p->err = add_bucket(p, bucket, &arena);
    arena_release(&arena);
    return p->err == KIST_OK;
}

static bool on_principal(void *ctx, const struct usage_row *row)
{
    struct page *p = ctx;
    if (!begin_item(p))
        return false;
    p->err =
        buf_printf(&p->out, "{\"account\":\"%.*s\",\"user\":\"%.*s\",", (int)row->account.len,
                   (const char *)row->account.ptr, (int)row->who.len, (const char *)row->who.ptr);
    if (p->err == KIST_OK)
        p->err = add_usage(&p->out, row->usage);
    snprintf(p->next, sizeof(p->next), "%.*s:%.*s", (int)row->account.len,
             (const char *)row->account.ptr, (int)row->who.len, (const char *)row->who.ptr);
    return p->err == KIST_OK;
}

static bool on_function(void *ctx, const struct usage_row *row)
{
    struct page *p = ctx;
    if (!begin_item(p))
        return false;
    p->err =
        buf_printf(&p->out,
                   "{\"account\":\"%.*s\",\"function\":\"%.*s\",\"invocations\":%" PRIu64
                   ",\"billed_mb_ms\":%" PRIu64 "}",
                   (int)row->account.len, (const char *)row->account.ptr, (int)row->who.len,
                   (const char *)row->who.ptr, row->usage->invocations, row->usage->billed_mb_ms);
    snprintf(p->next, sizeof(p->next), "%.*s:%.*s", (int)row->account.len,
             (const char *)row->account.ptr, (int)row->who.len, (const char *)row->who.ptr);
    return p->err == KIST_OK;
}

/* Ends a list; and says where the next page goes on. */
static enum kist_err end_list(struct page *p, const char *next)
{
    TRY(buf_append_str(&p->out, "]"));
    if (p->more)
        TRY(buf_printf(&p->out, ",\n\"%s\":\"%s\"", next, p->next));
    p->more = false;
    p->count = 0;
    return KIST_OK;
}

/* "ACCOUNT:NAME" of a parameter. */
static struct bytes param_pair(struct exchange *x, const char *name, struct bytes *account)
{
    struct bytes who = param(x, name);
    size_t colon = bytes_find(who, BYTES_LIT(":"), 0);
    *account = bytes_of(who.ptr, colon == SIZE_MAX ? 0 : colon);
    return colon == SIZE_MAX ? who : bytes_of(who.ptr + colon + 1, who.len - colon - 1);
}

static enum kist_err render(struct page *p, struct exchange *x)
{
    struct store *store = p->admin->config.store;
    struct bytes account, who = param_pair(x, "after_user", &account);
    TRY(buf_append_str(&p->out, "{\"buckets\":["));
    TRY(store_list_buckets(store, BYTES_EMPTY, param(x, "after_bucket"), on_bucket, p));
    TRY(p->err);
    TRY(end_list(p, "next_bucket"));
    TRY(buf_append_str(&p->out, ",\n\"users\":["));
    TRY(store_list_usage(store, account, who, on_principal, p));
    TRY(p->err);
    TRY(end_list(p, "next_user"));
    TRY(buf_append_str(&p->out, ",\n\"functions\":["));
    who = param_pair(x, "after_function", &account);
    TRY(store_list_function_usage(store, account, who, on_function, p));
    TRY(p->err);
    TRY(end_list(p, "next_function"));
    return buf_append_str(&p->out, "}\n");
}

void admin_usage(struct admin *a, struct exchange *x)
{
    struct page p = { .admin = a };
    buf_init(&p.out, PAGE_BYTES_MAX);
    enum kist_err err = render(&p, x);
    struct bytes body = arena_copy(exchange_arena(x), buf_bytes(&p.out));
    buf_release(&p.out);
    if (err == KIST_E_INVALID)
        admin_reply(x, 400, "text/plain", BYTES_LIT("bad after_user or after_function\n"));
    else if (err != KIST_OK || !body.ptr)
        admin_reply(x, 503, "text/plain", BYTES_LIT("usage cannot be read\n"));
    else
        admin_reply(x, 200, "application/json", body);
}
