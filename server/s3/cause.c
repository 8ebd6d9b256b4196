/* Why a change happens: what its events will say of the request behind it. */
#include "server/s3/internal.h"

#define TRACEPARENT_LEN 55

/* "00-" 32 hex digits "-" 16 hex digits "-" 2 hex digits, not all zero.
 * https://www.w3.org/TR/trace-context/#traceparent-header */
static bool is_traceparent(struct bytes t)
{
    static const char zeros[] = "00000000000000000000000000000000";
    if (t.len != TRACEPARENT_LEN || memcmp(t.ptr, "00-", 3) != 0)
        return false;
    for (size_t i = 3; i < t.len; i++) {
        uint8_t c = t.ptr[i];
        bool dash = i == 35 || i == 52;
        if (dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
    }
    return memcmp(t.ptr + 3, zeros, 32) != 0 && memcmp(t.ptr + 36, zeros, 16) != 0;
}

/* A function's writes go on with its trace; otherwise the client's, or a new one. */
static char *trace_of(struct s3_request *r, const Kist__Lineage *lineage)
{
    uint8_t ids[24];
    char hex[2 * sizeof(ids) + 1];
    struct bytes given = exchange_header(r->x, "traceparent");
    if (lineage && lineage->trace[0])
        return arena_printf(r->arena, "00-%s-%s-01", lineage->trace, lineage->span);
    if (is_traceparent(given))
        return s3_str(r, given);
    struct env *env = store_env(r->service->config.store);
    env->random(env, ids, sizeof(ids));
    ids[0] |= 1; /* never all zero */
    ids[16] |= 1;
    hex_encode(bytes_of(ids, sizeof(ids)), hex);
    return arena_printf(r->arena, "00-%.32s-%.16s-01", hex, hex + 32);
}

static const Kist__Lineage *lineage_of(struct s3_request *r)
{
    const struct s3_config *c = &r->service->config;
    const struct auth_identity *who = r->who.identity;
    if (c->lineage_of)
        return c->lineage_of(c->lineage_ctx, r->http->tag, who, r->arena);
    return who ? who->lineage : NULL;
}

static char *principal_of(struct s3_request *r)
{
    const struct auth_identity *who = r->who.identity;
    if (!who || !who->id.len)
        return arena_strdup(r->arena, "Anonymous");
    return arena_printf(r->arena, "AWS:%s", s3_str(r, who->user_id));
}

Kist__Cause *s3_cause(struct s3_request *r)
{
    struct exchange_facts facts;
    const Kist__Lineage *lineage = lineage_of(r);
    bool told = r->bucket_row && (r->bucket_row->configs >> CONFIG_NOTIFICATION & 1);
    if (!told && !lineage)
        return NULL;
    Kist__Cause *cause = arena_alloc(r->arena, sizeof(*cause));
    if (!cause)
        return NULL;
    exchange_facts(r->x, &facts);
    kist__cause__init(cause);
    cause->request_id = (char *)(uintptr_t)exchange_id(r->x);
    cause->host_id = (char *)(uintptr_t)facts.host_id;
    cause->principal = principal_of(r);
    cause->source_ip = s3_str(r, bytes_str(r->http->peer));
    cause->time_ms = s3_now(r);
    cause->trace = trace_of(r, lineage);
    cause->form = r->is_form;
    cause->lineage = (Kist__Lineage *)(uintptr_t)lineage;
    return cause->principal && cause->trace ? cause : NULL;
}
