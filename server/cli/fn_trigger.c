/* What calls a deployed function: rules in the notifications of buckets, with Ids of ours, and
 * the permission for the bucket in the function's policy, which is where its buckets are found
 * again. */
#include <stdio.h>
#include <stdlib.h>

#include "server/cli/fn_internal.h"
#include "storage/base/codec.h"

#define CONFIG_MAX ((size_t)4 << 20)
#define SID_PREFIX "kist-s3-"

bool fn_trigger_parse(struct arena *arena, const char *text, struct fn_trigger *out)
{
    static const char scheme[] = "s3://";
    const char *name = text + sizeof(scheme) - 1;
    if (strncmp(text, scheme, sizeof(scheme) - 1) != 0 || !*name || *name == '/')
        return false;
    size_t len = strcspn(name, "/");
    const char *key = name[len] ? name + len + 1 : "";
    const char *star = strchr(key, '*');
    if (star && strchr(star + 1, '*'))
        return false;
    out->bucket = arena_strndup(arena, name, len);
    out->prefix = arena_strndup(arena, key, star ? (size_t)(star - key) : strlen(key));
    out->suffix = star ? star + 1 : "";
    return out->bucket && out->prefix;
}

/* ---- rules ---- */
static char *statement_id(struct fn_cli *f, const char *bucket)
{
    char *id = arena_printf(&f->arena, SID_PREFIX "%s", bucket);
    for (char *c = id; c && *c; c++)
        if (*c == '.')
            *c = '_';
    return id;
}

/* The bucket may call it. */
static bool permit(struct fn_cli *f, const char *name, const char *bucket)
{
    char *id = statement_id(f, bucket);
    char *arn = arena_printf(&f->arena, "arn:aws:s3:::%s", bucket);
    json_t *reply = NULL;
    unsigned status = 0;
    if (!id || !arn)
        return false;
    json_t *in =
        json_pack("{s:s, s:s, s:s, s:s}", "StatementId", id, "Action", "lambda:InvokeFunction",
                  "Principal", "s3.amazonaws.com", "SourceArn", arn);
    bool ok =
        fn_ask(f, "POST", fn_path(f, name, "/policy"), in, &reply, &status) || status == 409;
    if (!ok)
        fprintf(stderr, "kist: %s: %s\n", name, fn_text(reply, "Message"));
    json_decref(reply);
    return ok;
}

static enum kist_err escape(struct buf *out, const char *text)
{
    for (; *text; text++) {
        const char *entity = *text == '&'   ? "&amp;"
                             : *text == '<' ? "&lt;"
                             : *text == '>' ? "&gt;"
                                            : NULL;
        TRY(entity ? buf_append_str(out, entity) : buf_append(out, text, 1));
    }
    return KIST_OK;
}

static enum kist_err filter_rule(struct buf *out, const char *name, const char *value)
{
    if (!*value)
        return KIST_OK;
    TRY(buf_printf(out, "<FilterRule><Name>%s</Name><Value>", name));
    TRY(escape(out, value));
    return buf_append_str(out, "</Value></FilterRule>");
}

static enum kist_err add_rule(struct buf *out, const char *name, size_t number, const char *arn,
                              const struct fn_trigger *t)
{
    TRY(buf_printf(out,
                   "<CloudFunctionConfiguration><Id>" FN_ID_PREFIX "%s-%zu</Id><CloudFunction>%s"
                   "</CloudFunction><Event>s3:ObjectCreated:*</Event>",
                   name, number, arn));
    if (*t->prefix || *t->suffix) {
        TRY(buf_append_str(out, "<Filter><S3Key>"));
        TRY(filter_rule(out, "prefix", t->prefix));
        TRY(filter_rule(out, "suffix", t->suffix));
        TRY(buf_append_str(out, "</S3Key></Filter>"));
    }
    return buf_append_str(out, "</CloudFunctionConfiguration>");
}

/* Whether its Id is kist-fn-NAME- and a number, and nothing else: kist-fn-thumb-2-1 belongs to
 * the function thumb-2, and not to thumb. */
static bool is_own_rule(struct bytes block, const char *name)
{
    struct bytes id, prefix = BYTES_LIT(FN_ID_PREFIX);
    size_t at = 0, len = strlen(name);
    if (!client_element(block, "Id", &at, block.len, &id) || !bytes_starts_with(id, prefix))
        return false;
    id = bytes_of(id.ptr + prefix.len, id.len - prefix.len);
    if (!bytes_starts_with(id, bytes_str(name)) || id.len < len + 2 || id.ptr[len] != '-')
        return false;
    for (size_t i = len + 1; i < id.len; i++)
        if (id.ptr[i] < '0' || id.ptr[i] > '9')
            return false;
    return true;
}

/* What a bucket's configuration holds, without the rules that this command made for the function:
 * those have Ids of ours. */
static enum kist_err keep_others(struct bytes xml, const char *name, struct buf *out, bool *had)
{
    static const struct bytes open = { (const uint8_t *)"<CloudFunctionConfiguration>", 28 };
    static const struct bytes close = { (const uint8_t *)"</CloudFunctionConfiguration>", 29 };
    size_t at = bytes_find(xml, BYTES_LIT("<NotificationConfiguration"), 0);
    at = at == SIZE_MAX ? SIZE_MAX : bytes_find(xml, BYTES_LIT(">"), at);
    size_t end = bytes_find(xml, BYTES_LIT("</NotificationConfiguration>"), 0);
    if (at == SIZE_MAX || end == SIZE_MAX)
        return KIST_OK; /* it is empty */
    for (at++; at < end;) {
        size_t from = bytes_find(xml, open, at), to = bytes_find(xml, close, at);
        if (from == SIZE_MAX || to == SIZE_MAX)
            break;
        to += close.len;
        bool ours = is_own_rule(bytes_of(xml.ptr + from, to - from), name);
        *had = *had || ours;
        TRY(buf_append(out, xml.ptr + at, (ours ? from : to) - at));
        at = to;
    }
    return at < end ? buf_append(out, xml.ptr + at, end - at) : KIST_OK;
}

/* The bucket's rules for the function become these; *had: there were some. */
static bool set_rules(struct fn_cli *f, const char *name, const char *arn, const char *bucket,
                      const struct fn_trigger *list, size_t count, bool *had)
{
    char *path = arena_printf(&f->arena, "/%s", bucket);
    struct client_request get = {
        .service = "s3", .method = "GET", .path = path, .query = "notification"
    };
    struct client_request put = {
        .service = "s3", .method = "PUT", .path = path, .query = "notification"
    };
    struct buf body;
    *had = false;
    buf_init(&body, CONFIG_MAX);
    bool ok = path && client_do(f->client, &get);
    bool gone = !ok && get.status == 404 && count == 0;
    if (!ok && !gone)
        client_complain(&get, bucket);
    ok = ok && buf_append_str(&body, "<NotificationConfiguration>") == KIST_OK &&
         keep_others(buf_bytes(&get.reply), name, &body, had) == KIST_OK;
    size_t rules = 0;
    for (size_t i = 0; ok && i < count; i++)
        if (strcmp(list[i].bucket, bucket) == 0)
            ok = add_rule(&body, name, ++rules, arn, &list[i]) == KIST_OK;
    ok = ok && buf_append_str(&body, "</NotificationConfiguration>") == KIST_OK;
    if (ok && (*had || rules)) {
        put.body = buf_bytes(&body);
        ok = client_do(f->client, &put);
        if (!ok)
            client_complain(&put, bucket);
    }
    client_request_release(&get);
    client_request_release(&put);
    buf_release(&body);
    return ok || gone;
}

bool fn_set_triggers(struct fn_cli *f, const char *name, const char *arn,
                     const struct fn_trigger *list, size_t count)
{
    bool ok = true, had;
    for (size_t i = 0; ok && i < count; i++) {
        bool seen = false;
        for (size_t k = 0; k < i; k++)
            seen = seen || strcmp(list[k].bucket, list[i].bucket) == 0;
        if (!seen)
            ok = permit(f, name, list[i].bucket) &&
                 set_rules(f, name, arn, list[i].bucket, list, count, &had);
        if (ok)
            printf("trigger: objects created in s3://%s/%s*%s\n", list[i].bucket, list[i].prefix,
                   list[i].suffix);
    }
    return ok;
}

/* ---- what there is ---- */

/* The buckets that the function's policy lets call it because of us: an array of names. NULL
 * after a message; empty when there is no policy. */
static json_t *buckets_of(struct fn_cli *f, const char *name)
{
    static const char source[] = "arn:aws:s3:::";
    json_t *reply = NULL, *out = json_array(), *statement;
    unsigned status = 0;
    size_t i;
    bool ok = fn_ask(f, "GET", fn_path(f, name, "/policy"), NULL, &reply, &status);
    json_t *policy = ok ? json_loads(fn_text(reply, "Policy"), 0, NULL) : NULL;
    json_array_foreach(json_object_get(policy, "Statement"), i, statement)
    {
        const json_t *condition = json_object_get(statement, "Condition");
        const char *arn = fn_text(json_object_get(condition, "ArnLike"), "AWS:SourceArn");
        if (strncmp(fn_text(statement, "Sid"), SID_PREFIX, sizeof(SID_PREFIX) - 1) == 0 &&
            strncmp(arn, source, sizeof(source) - 1) == 0)
            json_array_append_new(out, json_string(arn + sizeof(source) - 1));
    }
    if (!ok && status != 404) { /* 404: nobody may call it */
        fprintf(stderr, "kist: %s: %s\n", name, fn_text(reply, "Message"));
        json_decref(out);
        out = NULL;
    }
    json_decref(policy);
    json_decref(reply);
    return out;
}

static bool in_use(const char *bucket, const struct fn_trigger *keep, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(keep[i].bucket, bucket) == 0)
            return true;
    return false;
}

bool fn_drop_triggers(struct fn_cli *f, const char *name, const struct fn_trigger *keep,
                      size_t count)
{
    json_t *buckets = buckets_of(f, name), *item;
    bool ok = buckets != NULL;
    size_t i;
    json_array_foreach(buckets, i, item)
    {
        const char *bucket = json_string_value(item);
        bool had = false;
        if (!ok || in_use(bucket, keep, count))
            continue;
        char *id = statement_id(f, bucket);
        char *tail = id ? arena_printf(&f->arena, "/policy/%s", id) : NULL;
        ok = tail && set_rules(f, name, "", bucket, NULL, 0, &had) &&
             fn_ask(f, "DELETE", fn_path(f, name, tail), NULL, NULL, NULL);
        if (ok && had)
            printf("trigger: no more in s3://%s\n", bucket);
    }
    json_decref(buckets);
    return ok;
}

/* One of our rules as s3://bucket/prefix*suffix. */
static json_t *rule_text(struct fn_cli *f, const char *bucket, struct bytes block)
{
    struct bytes rule, name, value;
    const char *prefix = "", *suffix = "";
    for (size_t at = 0; client_element(block, "FilterRule", &at, block.len, &rule);) {
        size_t a = 0, b = 0;
        if (!client_element(rule, "Name", &a, rule.len, &name) ||
            !client_element(rule, "Value", &b, rule.len, &value))
            continue;
        char *text = client_text(&f->arena, value);
        if (text && bytes_equal_nocase(name, BYTES_LIT("prefix")))
            prefix = text;
        else if (text)
            suffix = text;
    }
    return json_sprintf("s3://%s/%s*%s", bucket, prefix, suffix);
}

/* The bucket's rules that are ours, for this function, into out. */
static bool rules_of(struct fn_cli *f, const char *name, const char *bucket, json_t *out)
{
    struct client_request get = { .service = "s3",
                                  .method = "GET",
                                  .path = arena_printf(&f->arena, "/%s", bucket),
                                  .query = "notification" };
    bool done = get.path && client_do(f->client, &get);
    bool ok = done || get.status == 404;
    struct bytes xml = done ? buf_bytes(&get.reply) : BYTES_EMPTY, block;
    for (size_t at = 0; client_element(xml, "CloudFunctionConfiguration", &at, xml.len, &block);)
        if (is_own_rule(block, name))
            json_array_append_new(out, rule_text(f, bucket, block));
    if (!ok)
        client_complain(&get, bucket);
    client_request_release(&get);
    return ok;
}

json_t *fn_triggers(struct fn_cli *f, const char *name)
{
    json_t *buckets = buckets_of(f, name), *out = json_array(), *bucket;
    bool ok = buckets != NULL;
    size_t i;
    json_array_foreach(buckets, i, bucket)
    {
        ok = ok && rules_of(f, name, json_string_value(bucket), out);
    }
    json_decref(buckets);
    if (!ok) {
        json_decref(out);
        out = NULL;
    }
    return out;
}
