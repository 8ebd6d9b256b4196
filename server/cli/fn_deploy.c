/* `kist fn deploy`: role, function, permission, trigger; each is looked at first and changed only
 * where it differs, so that a second deployment changes code alone. */
#include <stdio.h>
#include <stdlib.h>

#include "server/cli/fn_internal.h"
#include "storage/base/cleanup.h"
#include "storage/base/codec.h"
#include "storage/base/digest.h"

#define FORM_MAX ((size_t)64 << 10)
#define CONFIG_MAX ((size_t)4 << 20)
#define ID_PREFIX "kist-fn-"

static const char trust[] =
    "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"Service\":"
    "\"lambda.amazonaws.com\"},\"Action\":\"sts:AssumeRole\"}]}";

/* s3://bucket/prefix*suffix, taken apart. */
struct trigger {
    const char *bucket, *prefix, *suffix;
};

static bool parse_trigger(struct fn_cli *f, const char *text, struct trigger *out)
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
    out->bucket = arena_strndup(&f->arena, name, len);
    out->prefix = arena_strndup(&f->arena, key, star ? (size_t)(star - key) : strlen(key));
    out->suffix = star ? star + 1 : "";
    return out->bucket && out->prefix;
}

/* ---- the role ---- */

static bool iam(struct fn_cli *f, const char *const *fields, const char *fine)
{
    struct client_request q = { .service = "iam", .method = "POST", .path = "/", .once = true };
    struct bytes code = BYTES_EMPTY;
    struct buf form;
    size_t at = 0;
    buf_init(&form, FORM_MAX);
    bool ok = buf_append_str(&form, "Version=2010-05-08") == KIST_OK;
    for (; ok && fields[0]; fields += 2)
        ok = buf_printf(&form, "&%s=", fields[0]) == KIST_OK &&
             uri_encode(&form, bytes_str(fields[1]), false) == KIST_OK;
    client_header_add(&q, "Content-Type", "application/x-www-form-urlencoded");
    q.body = buf_bytes(&form);
    ok = ok && client_do(f->client, &q);
    if (!ok && fine && client_element(buf_bytes(&q.reply), "Code", &at, q.reply.len, &code))
        ok = bytes_equal(code, bytes_str(fine));
    if (!ok)
        client_complain(&q, "role");
    client_request_release(&q);
    buf_release(&form);
    return ok;
}

static char *role_name(struct fn_cli *f, const char *name)
{
    return arena_printf(&f->arena, ID_PREFIX "%s", name);
}

/* What it may do with the buckets that trigger it: read, list, and write beside. */
static char *role_policy(struct fn_cli *f, const struct trigger *list, size_t count)
{
    json_t *resources = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(resources, json_sprintf("arn:aws:s3:::%s", list[i].bucket));
        json_array_append_new(resources, json_sprintf("arn:aws:s3:::%s/*", list[i].bucket));
    }
    json_t *policy =
        json_pack("{s:s, s:[{s:s, s:[s, s, s, s, s], s:o}]}", "Version", "2012-10-17",
                  "Statement", "Effect", "Allow", "Action", "s3:Get*", "s3:List*", "s3:PutObject",
                  "s3:PutObjectTagging", "s3:DeleteObject", "Resource", resources);
    char *text = policy ? json_dumps(policy, JSON_COMPACT) : NULL;
    char *kept = text ? arena_strdup(&f->arena, text) : NULL;
    free(text);
    json_decref(policy);
    return kept;
}

/* The account is in the function's ARN only once there is one: IAM says the role's. */
static char *role_arn(struct fn_cli *f, const char *role)
{
    struct client_request q = { .service = "iam", .method = "POST", .path = "/" };
    struct bytes arn = BYTES_EMPTY;
    size_t at = 0;
    char *out = NULL;
    char *body = arena_printf(&f->arena, "Action=GetRole&Version=2010-05-08&RoleName=%s", role);
    client_header_add(&q, "Content-Type", "application/x-www-form-urlencoded");
    q.body = bytes_str(body);
    if (body && client_do(f->client, &q) &&
        client_element(buf_bytes(&q.reply), "Arn", &at, q.reply.len, &arn))
        out = arena_strndup(&f->arena, arn.ptr, arn.len);
    else
        client_complain(&q, role);
    client_request_release(&q);
    return out;
}

/* Its ARN; NULL after a message. */
static const char *make_role(struct fn_cli *f, const char *name, const struct trigger *list,
                             size_t count)
{
    char *role = role_name(f, name), *policy = role_policy(f, list, count);
    const char *create[] = { "Action",
                             "CreateRole",
                             "RoleName",
                             role,
                             "Description",
                             "Made by kist fn deploy",
                             "AssumeRolePolicyDocument",
                             trust,
                             NULL };
    const char *put[] = { "Action",  "PutRolePolicy",  "RoleName", role, "PolicyName",
                          "trigger", "PolicyDocument", policy,     NULL };
    if (!role || !policy || !iam(f, create, "EntityAlreadyExists") || !iam(f, put, NULL))
        return NULL;
    printf("role %s: may read, list and write in", role);
    for (size_t i = 0; i < count; i++)
        printf(" s3://%s", list[i].bucket);
    printf("\n");
    return role_arn(f, role);
}

bool fn_undo_role(struct fn_cli *f, const char *name)
{
    char *role = role_name(f, name);
    const char *policy[] = { "Action",     "DeleteRolePolicy", "RoleName", role,
                             "PolicyName", "trigger",          NULL };
    const char *drop[] = { "Action", "DeleteRole", "RoleName", role, NULL };
    return role && iam(f, policy, "NoSuchEntity") && iam(f, drop, "NoSuchEntity");
}

/* ---- the function ---- */

static json_t *variables(const struct fn_deploy *how)
{
    json_t *out = json_object();
    for (size_t i = 0; i < how->variable_count; i++) {
        const char *v = how->variables[i];
        size_t len = strcspn(v, "=");
        char name[256];
        snprintf(name, sizeof(name), "%.*s", (int)len, v);
        json_object_set_new(out, name, json_string(v[len] ? v + len + 1 : ""));
    }
    return json_pack("{s:o}", "Variables", out);
}

/* What was said, and what was guessed for a new one. */
static json_t *configuration(const struct fn_deploy *how, const struct fn_package *p,
                             const char *role, bool create)
{
    const char *runtime = how->runtime ? how->runtime : create ? p->runtime : NULL;
    const char *handler = how->handler ? how->handler : create ? p->handler : NULL;
    json_t *out = json_object();
    if (runtime)
        json_object_set_new(out, "Runtime", json_string(runtime));
    if (handler)
        json_object_set_new(out, "Handler", json_string(handler));
    if (role)
        json_object_set_new(out, "Role", json_string(role));
    if (how->description)
        json_object_set_new(out, "Description", json_string(how->description));
    if (how->memory_mb)
        json_object_set_new(out, "MemorySize", json_integer(how->memory_mb));
    if (how->timeout_s)
        json_object_set_new(out, "Timeout", json_integer(how->timeout_s));
    if (how->variable_count)
        json_object_set_new(out, "Environment", variables(how));
    return out;
}

static json_t *zip_json(const struct fn_package *p)
{
    char *text = malloc(BASE64_LEN(p->zip.len) + 1);
    if (!text)
        return NULL;
    base64_encode(buf_bytes(&p->zip), text);
    json_t *out = json_string(text);
    free(text);
    return out;
}

static bool create(struct fn_cli *f, const struct fn_deploy *how, const struct fn_package *p,
                   const char *role, json_t **made)
{
    json_t *in = configuration(how, p, role ? role : "", true);
    json_object_set_new(in, "FunctionName", json_string(how->name));
    json_object_set_new(in, "Code", json_pack("{s:o?}", "ZipFile", zip_json(p)));
    if (!fn_ask(f, "POST", FN_PATH, in, made, NULL))
        return false;
    printf("function %s: made, %s, %s, %lld bytes\n", how->name, fn_text(*made, "Runtime"),
           fn_text(*made, "Handler"),
           (long long)json_integer_value(json_object_get(*made, "CodeSize")));
    return true;
}

static bool same_code(const json_t *function, const struct fn_package *p)
{
    uint8_t hash[DIGEST_MAX_LEN];
    char text[BASE64_LEN(32) + 1];
    digest_once(DIGEST_SHA256, buf_bytes(&p->zip), hash);
    base64_encode(bytes_of(hash, 32), text);
    return strcmp(text, fn_text(function, "CodeSha256")) == 0;
}

static bool update(struct fn_cli *f, const struct fn_deploy *how, const struct fn_package *p,
                   const char *role, const json_t *there, json_t **made)
{
    json_t *in = configuration(how, p, role, false);
    bool settings = json_object_size(in) > 0, code = !same_code(there, p);
    const char *said = code && settings ? "code and settings" : code ? "code" : "settings";
    *made = json_incref((json_t *)there);
    if (!settings) {
        json_decref(in);
    } else {
        json_decref(*made);
        if (!fn_ask(f, "PUT", fn_path(f, how->name, "/configuration"), in, made, NULL))
            return false;
    }
    if (code) {
        json_decref(*made);
        if (!fn_ask(f, "PUT", fn_path(f, how->name, "/code"),
                    json_pack("{s:o?}", "ZipFile", zip_json(p)), made, NULL))
            return false;
    }
    if (code || settings)
        printf("function %s: new %s\n", how->name, said);
    else
        printf("function %s: as it was\n", how->name);
    return true;
}

/* ---- triggers ---- */

/* The bucket may call it. */
static bool permit(struct fn_cli *f, const char *name, const char *bucket)
{
    char *id = arena_printf(&f->arena, "kist-s3-%s", bucket);
    char *arn = arena_printf(&f->arena, "arn:aws:s3:::%s", bucket);
    json_t *reply = NULL;
    unsigned status = 0;
    for (char *c = id; c && *c; c++)
        if (*c == '.')
            *c = '_';
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
                              const struct trigger *t)
{
    TRY(buf_printf(out,
                   "<CloudFunctionConfiguration><Id>" ID_PREFIX "%s-%zu</Id><CloudFunction>%s"
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

/* What a bucket's configuration holds, without the rules that this command made for the function:
 * those have Ids of ours. */
static enum kist_err keep_others(struct bytes xml, const char *name, struct buf *out, bool *had)
{
    static const struct bytes open = { (const uint8_t *)"<CloudFunctionConfiguration>", 28 };
    static const struct bytes close = { (const uint8_t *)"</CloudFunctionConfiguration>", 29 };
    char mark[160];
    snprintf(mark, sizeof(mark), "<Id>" ID_PREFIX "%s-", name);
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
        struct bytes block = bytes_of(xml.ptr + from, to - from);
        size_t id = bytes_find(block, bytes_str(mark), 0);
        size_t digits = id == SIZE_MAX ? 0 : id + strlen(mark);
        bool ours = id != SIZE_MAX && digits < block.len && block.ptr[digits] >= '0' &&
                    block.ptr[digits] <= '9';
        *had = *had || ours;
        TRY(buf_append(out, xml.ptr + at, (ours ? from : to) - at));
        at = to;
    }
    return at < end ? buf_append(out, xml.ptr + at, end - at) : KIST_OK;
}

/* The bucket's rules for the function become these; *had: there were some. */
static bool set_rules(struct fn_cli *f, const char *name, const char *arn, const char *bucket,
                      const struct trigger *list, size_t count, bool *had)
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
    if (!ok)
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
    return ok;
}

static bool set_triggers(struct fn_cli *f, const char *name, const char *arn,
                         const struct trigger *list, size_t count)
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

/* The function's policy names the buckets. */
bool fn_undo_triggers(struct fn_cli *f, const char *name)
{
    static const char source[] = "arn:aws:s3:::";
    json_t *reply = NULL;
    unsigned status = 0;
    json_error_t error;
    size_t i;
    json_t *statement;
    if (!fn_ask(f, "GET", fn_path(f, name, "/policy"), NULL, &reply, &status)) {
        json_decref(reply);
        return true; /* nobody may call it: there is no trigger */
    }
    json_t *policy = json_loads(fn_text(reply, "Policy"), 0, &error);
    json_array_foreach(json_object_get(policy, "Statement"), i, statement)
    {
        const json_t *condition = json_object_get(statement, "Condition");
        const char *arn = fn_text(json_object_get(condition, "ArnLike"), "AWS:SourceArn");
        bool had = false;
        if (strncmp(fn_text(statement, "Sid"), "kist-s3-", 8) == 0 &&
            strncmp(arn, source, sizeof(source) - 1) == 0 &&
            set_rules(f, name, "", arn + sizeof(source) - 1, NULL, 0, &had) && had)
            printf("trigger: no more in s3://%s\n", arn + sizeof(source) - 1);
    }
    json_decref(policy);
    json_decref(reply);
    return true;
}

/* ---- the whole ---- */

static bool enough_known(const struct fn_deploy *how, const struct fn_package *p)
{
    if ((how->runtime || p->runtime[0]) && (how->handler || p->handler[0]))
        return true;
    fprintf(stderr, "kist: %s: say --runtime and --handler: they cannot be guessed\n", how->path);
    return false;
}

static bool deploy(struct fn_cli *f, const struct fn_deploy *how, const struct fn_package *p,
                   const struct trigger *triggers)
{
    json_t *there = NULL, *made = NULL;
    const char *role = how->role;
    unsigned status = 0;
    bool exists =
        fn_ask(f, "GET", fn_path(f, how->name, "/configuration"), NULL, &there, &status);
    if (!exists && status != 404) {
        if (status)
            fprintf(stderr, "kist: %s: %s\n", how->name, fn_text(there, "Message"));
        json_decref(there);
        return false;
    }
    bool ok = exists || enough_known(how, p);
    /* A role that somebody chose stays. */
    char *own = arena_printf(&f->arena, ":role/" ID_PREFIX "%s", how->name);
    const char *has = exists ? fn_text(there, "Role") : "";
    if (ok && !role && how->trigger_count && own && (!*has || strstr(has, own))) {
        role = make_role(f, how->name, triggers, how->trigger_count);
        ok = role != NULL;
        if (ok && strcmp(role, has) == 0)
            role = NULL;
    }
    ok = ok && (exists ? update(f, how, p, role, there, &made) : create(f, how, p, role, &made));
    ok = ok &&
         set_triggers(f, how->name, fn_text(made, "FunctionArn"), triggers, how->trigger_count);
    if (ok && !*fn_text(made, "Role"))
        printf("it has no role: it may do nothing in the store (--role ARN)\n");
    json_decref(there);
    json_decref(made);
    return ok;
}

int fn_deploy(struct fn_cli *f, const struct fn_deploy *how)
{
    struct trigger triggers[FN_TRIGGERS_MAX];
    struct fn_package p;
    for (size_t i = 0; i < how->trigger_count; i++)
        if (!parse_trigger(f, how->triggers[i], &triggers[i])) {
            fprintf(stderr, "kist: %s: a trigger is s3://BUCKET/PREFIX*SUFFIX\n",
                    how->triggers[i]);
            return 2;
        }
    bool ok = fn_zip(how->path, &p) && deploy(f, how, &p, triggers);
    fn_package_release(&p);
    return ok ? 0 : 1;
}
