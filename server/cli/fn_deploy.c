/* `kist fn deploy`: role, function, permission, trigger; each is looked at first and changed only
 * where it differs, so that a second deployment changes code alone. */
#include <stdio.h>
#include <stdlib.h>

#include "server/cli/fn_internal.h"
#include "storage/base/codec.h"
#include "storage/base/digest.h"

/* ---- the function ---- */

static json_t *variables(const struct fn_deploy *how)
{
    json_t *out = json_object();
    for (size_t i = 0; i < how->variable_count; i++) {
        const char *v = how->variables[i];
        size_t len = strcspn(v, "=");
        json_object_setn_new(out, v, len, json_string(v[len] ? v + len + 1 : ""));
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
    if (how->variable_count || how->whole)
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
    if (how->app)
        json_object_set_new(in, "Tags", json_pack("{s:s}", FN_APP_TAG, how->app));
    json_object_set_new(in, "Code", json_pack("{s:o?}", "ZipFile", zip_json(p)));
    if (!fn_ask(f, "POST", FN_PATH, in, made, NULL))
        return false;
    printf("function %s: made, %s, %s, %lld bytes\n", how->name, fn_text(*made, "Runtime"),
           fn_text(*made, "Handler"),
           (long long)json_integer_value(json_object_get(*made, "CodeSize")));
    return true;
}

void fn_code_hash(const struct fn_package *p, char out[FN_HASH_LEN])
{
    uint8_t hash[DIGEST_MAX_LEN];
    digest_once(DIGEST_SHA256, buf_bytes(&p->zip), hash);
    base64_encode(bytes_of(hash, 32), out);
}

static bool same_code(const json_t *function, const struct fn_package *p)
{
    char hash[FN_HASH_LEN];
    fn_code_hash(p, hash);
    return strcmp(hash, fn_text(function, "CodeSha256")) == 0;
}

static bool update(struct fn_cli *f, const struct fn_deploy *how, const struct fn_package *p,
                   const char *role, const json_t *there, json_t **made)
{
    json_t *in = configuration(how, p, role, false);
    bool settings = json_object_size(in) > 0, code = !same_code(there, p);
    const char *said = code && settings ? "code and settings" : code ? "code" : "settings";
    if (!settings)
        json_decref(in);
    else if (!fn_ask(f, "PUT", fn_path(f, how->name, "/configuration"), in, made, NULL))
        return false;
    if (code) {
        json_decref(*made); /* a refusal leaves what stands there */
        *made = NULL;
        if (!fn_ask(f, "PUT", fn_path(f, how->name, "/code"),
                    json_pack("{s:o?}", "ZipFile", zip_json(p)), made, NULL))
            return false;
    }
    if (!*made)
        *made = json_incref((json_t *)there);
    if (code || settings)
        printf("function %s: new %s\n", how->name, said);
    else
        printf("function %s: as it was\n", how->name);
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

/* What the triggers and --allow take apart into. */
struct wishes {
    struct fn_trigger triggers[FN_TRIGGERS_MAX];
    struct fn_permission permissions[FN_PERMISSIONS_MAX];
    size_t permission_count;
};

static bool read_wishes(struct fn_cli *f, const struct fn_deploy *how, struct wishes *out)
{
    for (size_t i = 0; i < how->trigger_count; i++)
        if (!fn_trigger_parse(&f->arena, how->triggers[i], &out->triggers[i])) {
            fprintf(stderr, "kist: %s: a trigger is s3://BUCKET/PREFIX*SUFFIX\n",
                    how->triggers[i]);
            return false;
        }
    for (size_t i = 0; i < how->allow_count; i++)
        if (!fn_permission_parse(&f->arena, how->allow[i], &out->permissions[i])) {
            fprintf(stderr,
                    "kist: %s: a permission is \"read s3://BUCKET/PREFIX\" or "
                    "\"write s3://BUCKET/PREFIX\"\n",
                    how->allow[i]);
            return false;
        }
    out->permission_count = how->allow_count;
    if (!how->allow_count)
        out->permission_count =
            fn_default_permissions(out->triggers, how->trigger_count, out->permissions);
    return true;
}

size_t fn_default_permissions(const struct fn_trigger *list, size_t count,
                              struct fn_permission *out)
{
    size_t made = 0;
    for (size_t i = 0; i < count; i++) {
        bool seen = false;
        for (size_t k = 0; k < i; k++)
            seen = seen || strcmp(list[k].bucket, list[i].bucket) == 0;
        if (seen)
            continue;
        out[made++] = (struct fn_permission){ .bucket = list[i].bucket, .prefix = "" };
        out[made++] =
            (struct fn_permission){ .bucket = list[i].bucket, .prefix = "", .writes = true };
    }
    return made;
}

/* The role to set, NULL where the one there stays. False after a message. */
static bool settle_role(struct fn_cli *f, const struct fn_deploy *how, const struct wishes *w,
                        const char *has, const char **role)
{
    bool own = fn_role_is_own(has, how->name);
    *role = how->role;
    if (how->role)
        return true;
    if (!w->permission_count) {
        *role = how->whole && *has ? "" : NULL;
        return true;
    }
    if (*has && !own && !how->whole && !how->allow_count)
        return true; /* a role that somebody chose stays */
    *role = fn_role_make(f, how->name, w->permissions, w->permission_count);
    if (*role && strcmp(*role, has) == 0)
        *role = NULL;
    else if (!*role)
        return false;
    return true;
}

/* *out NULL: there is none. False after a message. */
static bool find(struct fn_cli *f, const char *name, json_t **out)
{
    unsigned status = 0;
    bool exists = fn_ask(f, "GET", fn_path(f, name, "/configuration"), NULL, out, &status);
    if (!exists && status && status != 404)
        fprintf(stderr, "kist: %s: %s\n", name, fn_text(*out, "Message"));
    if (!exists) {
        json_decref(*out);
        *out = NULL;
    }
    return exists || status == 404;
}

static bool deploy(struct fn_cli *f, const struct fn_deploy *how, const struct fn_package *p,
                   const struct wishes *w)
{
    json_t *there = NULL, *made = NULL;
    const char *role = NULL;
    if (!find(f, how->name, &there))
        return false;
    const char *has = fn_text(there, "Role");
    bool own = fn_role_is_own(has, how->name);
    bool ok = (there || enough_known(how, p)) && settle_role(f, how, w, has, &role);
    ok = ok && (there ? update(f, how, p, role, there, &made) : create(f, how, p, role, &made));
    ok = ok &&
         fn_set_triggers(f, how->name, fn_text(made, "FunctionArn"), w->triggers,
                         how->trigger_count) &&
         (!how->whole || !there ||
          fn_drop_triggers(f, how->name, w->triggers, how->trigger_count));
    if (ok && own && role && !fn_role_is_own(role, how->name))
        ok = fn_undo_role(f, how->name);
    if (ok && !*fn_text(made, "Role") && !how->whole)
        printf("it has no role: it may do nothing in the store (--allow, --role)\n");
    json_decref(there);
    json_decref(made);
    return ok;
}

int fn_deploy(struct fn_cli *f, const struct fn_deploy *how)
{
    struct wishes w = { .permission_count = 0 };
    struct fn_package p;
    if (!read_wishes(f, how, &w))
        return 2;
    bool ok = fn_zip(how->path, &p) && deploy(f, how, &p, &w);
    fn_package_release(&p);
    return ok ? 0 : 1;
}

/* ---- taking it away ---- */

bool fn_drop(struct fn_cli *f, const char *name)
{
    json_t *there = NULL;
    if (!fn_ask(f, "GET", fn_path(f, name, "/configuration"), NULL, &there, NULL))
        return false;
    bool own = fn_role_is_own(fn_text(there, "Role"), name);
    bool ok = fn_drop_triggers(f, name, NULL, 0) &&
              fn_ask(f, "DELETE", fn_path(f, name, ""), NULL, NULL, NULL);
    if (ok && own)
        ok = fn_undo_role(f, name);
    json_decref(there);
    return ok;
}
