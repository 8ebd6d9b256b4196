#include "server/s3/kms.h"

#include <inttypes.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <stdlib.h>

#include "auth/master_keys.h"
#include "server/s3/iam.h"

#define KMS_BODY_MAX ((size_t)64 << 10)
#define ALIAS_PREFIX "alias/"
#define DEFAULT_ALIAS "alias/aws/s3"
/* Not random, so that it stays when the master key is rotated. */
#define DEFAULT_KEY_ID "00000000-0000-4000-8000-6177732f7333"
#define PAGE_MAX 1000

static struct store *store_of(const struct s3_request *r)
{
    return r->service->config.store;
}

static struct bytes tail_of(struct bytes s, size_t at)
{
    return bytes_of(s.ptr + at, s.len - at);
}

/* ---- names ---- */

static char *arn_of(struct s3_request *r, const char *what, const char *name)
{
    return arena_printf(r->arena, "arn:aws:kms:%s:%s:%s%s", r->service->config.region,
                        s3_str(r, r->who.identity->account), what, name);
}

bool kms_is_default(struct bytes arn)
{
    static const struct bytes id = { (const uint8_t *)"key/" DEFAULT_KEY_ID, 40 };
    return arn.len > id.len && bytes_equal(tail_of(arn, arn.len - id.len), id);
}

/* What follows the account in an ARN of ours; the name itself otherwise; ptr NULL: another's. */
static struct bytes local_name(struct s3_request *r, struct bytes name)
{
    if (!bytes_starts_with(name, BYTES_LIT("arn:")))
        return name;
    const char *ours = arn_of(r, "", "");
    if (!ours || !bytes_starts_with(name, bytes_str(ours)))
        return BYTES_EMPTY;
    name = tail_of(name, strlen(ours));
    return bytes_starts_with(name, BYTES_LIT("key/")) ? tail_of(name, 4) : name;
}

static enum kist_err entity(struct s3_request *r, enum iam_kind kind, struct bytes name,
                            Kist__IamEntity **out)
{
    return store_iam(store_of(r), r->who.identity->tenant, kind, name, r->arena, out);
}

/* A key by any of its names; *key NULL: the store's own. */
static enum kist_err find_key(struct s3_request *r, struct bytes name, Kist__IamEntity **key)
{
    Kist__IamEntity *alias = NULL;
    struct bytes local = local_name(r, name);
    *key = NULL;
    if (!r->who.identity->account.len)
        return KIST_E_DENIED;
    if (bytes_equal(local, BYTES_LIT(DEFAULT_ALIAS)) ||
        bytes_equal(local, BYTES_LIT(DEFAULT_KEY_ID)))
        return KIST_OK;
    if (bytes_starts_with(local, BYTES_LIT(ALIAS_PREFIX))) {
        TRY(entity(r, IAM_KMS_ALIAS, local, &alias));
        local = bytes_str(alias->owner);
    }
    return entity(r, IAM_KMS_KEY, local, key);
}

enum kist_err kms_resolve(struct s3_request *r, struct bytes name, char **arn)
{
    Kist__IamEntity *key = NULL;
    TRY(find_key(r, name.len ? name : BYTES_LIT(DEFAULT_ALIAS), &key));
    if (key && key->inactive)
        return KIST_E_BUCKET_STATE;
    char *text = arn_of(r, "key/", key ? key->name : DEFAULT_KEY_ID);
    if (!text)
        return KIST_E_NOMEM;
    *arn = text;
    return KIST_OK;
}

enum kist_err kms_material(struct s3_request *r, struct bytes arn, uint8_t out[SEAL_KEY_BYTES])
{
    Kist__IamEntity *key = NULL;
    uint8_t wrapped[SEAL_WRAPPED_BYTES + 1];
    size_t len = 0;
    TRY(find_key(r, arn, &key));
    if (!key)
        return KIST_E_NOT_FOUND;
    if (key->inactive)
        return KIST_E_BUCKET_STATE;
    const struct master_key *master = master_keys_find(r->service->config.masters, key->owner);
    if (!master ||
        base64_decode(bytes_str(key->secret), wrapped, sizeof(wrapped), &len) != KIST_OK)
        return KIST_E_NOT_FOUND;
    return seal_unwrap(master->key, bytes_of(wrapped, len), out);
}

bool kms_may_use(struct s3_request *r, const char *action, const char *arn)
{
    if (!r->who.identity->account.len)
        return false;
    return kms_is_default(bytes_str(arn)) || iam_is_allowed(r, action, arn);
}

/* ---- replies: JSON 1.1 ---- */

static void reply_json(struct s3_request *r, unsigned status, json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT);
    struct bytes body = text ? arena_copy(r->arena, bytes_str(text)) : BYTES_EMPTY;
    free(text);
    json_decref(json);
    s3_add_header_str(r, "Content-Type", "application/x-amz-json-1.1");
    exchange_reply_bytes(r->x, status, body);
}

static void fail(struct s3_request *r, unsigned status, const char *type, const char *message)
{
    reply_json(r, status, json_pack("{s:s, s:s}", "__type", type, "message", message));
}

static void fail_err(struct s3_request *r, enum kist_err err, struct bytes name)
{
    if (err == KIST_E_NOT_FOUND)
        fail(r, 400, "NotFoundException",
             arena_printf(r->arena, "Key '%s' does not exist", s3_str(r, name)));
    else if (err == KIST_E_CONFLICT)
        fail(r, 400, "AlreadyExistsException", "An entity of that name exists, or has changed.");
    else
        fail(r, 500, "KMSInternalException", kist_err_text(err));
}

static void reply_nothing(struct s3_request *r)
{
    s3_add_header_str(r, "Content-Type", "application/x-amz-json-1.1");
    exchange_reply_bytes(r->x, 200, BYTES_EMPTY);
}

static json_t *metadata(struct s3_request *r, const Kist__IamEntity *key)
{
    static const Kist__IamEntity none = KIST__IAM_ENTITY__INIT;
    const Kist__IamEntity *k = key ? key : &none;
    const char *id = key ? key->name : DEFAULT_KEY_ID;
    return json_pack("{s:s, s:s, s:s, s:f, s:b, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:[s], s:b}",
                     "AWSAccountId", s3_str(r, r->who.identity->account), "KeyId", id, "Arn",
                     arn_of(r, "key/", id), "CreationDate", (double)k->created_ms / 1000,
                     "Enabled", !k->inactive, "Description",
                     key ? key->description : "Default key that protects my S3 objects",
                     "KeyUsage", "ENCRYPT_DECRYPT", "KeyState",
                     k->inactive ? "Disabled" : "Enabled", "Origin", "AWS_KMS", "KeyManager",
                     key ? "CUSTOMER" : "AWS", "CustomerMasterKeySpec", "SYMMETRIC_DEFAULT",
                     "KeySpec", "SYMMETRIC_DEFAULT", "EncryptionAlgorithms", "SYMMETRIC_DEFAULT",
                     "MultiRegion", 0);
}

/* ---- calls ---- */

struct kms_work {
    Kist__IamChange change, *list[1];
    Kist__IamEntity entity;
    bool tell; /* the key's metadata */
    struct bytes name;
};

static void committed(struct s3_request *r)
{
    struct kms_work *w = r->state;
    if (r->op.err != KIST_OK)
        fail_err(r, r->op.err, w->name);
    else if (w->tell)
        reply_json(r, 200, json_pack("{s:o}", "KeyMetadata", metadata(r, &w->entity)));
    else
        reply_nothing(r);
}

/* The entity as it will be; remove: it goes. */
static void commit(struct s3_request *r, struct kms_work *w, enum iam_kind kind, bool remove)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutIam put = KIST__PUT_IAM__INIT;
    kist__iam_change__init(&w->change);
    w->change.kind = kind;
    w->change.name = w->entity.name;
    w->change.account = s3_str(r, r->who.identity->tenant);
    w->change.expected = w->entity.changed;
    w->change.entity = remove ? NULL : &w->entity;
    w->list[0] = &w->change;
    r->state = w;
    command.of_case = KIST__COMMAND__OF_PUT_IAM;
    command.put_iam = &put;
    put.n_changes = 1;
    put.changes = w->list;
    s3_commit_always(r, &command, committed);
}

static struct kms_work *work_new(struct s3_request *r)
{
    struct kms_work *w = arena_zalloc(r->arena, sizeof(*w));
    if (!w) {
        fail_err(r, KIST_E_NOMEM, BYTES_EMPTY);
        return NULL;
    }
    kist__iam_entity__init(&w->entity);
    return w;
}

static struct bytes text_of(struct s3_request *r, const json_t *in, const char *name)
{
    const char *text = json_string_value(json_object_get(in, name));
    return text ? arena_copy(r->arena, bytes_str(text)) : BYTES_EMPTY;
}

static bool allowed(struct s3_request *r, const char *action, const char *arn)
{
    if (iam_is_allowed(r, action, arn))
        return true;
    fail(r, 400, "AccessDeniedException",
         arena_printf(r->arena, "User: %s is not authorized to perform: %s on resource: %s",
                      s3_str(r, r->who.identity->arn), action, arn));
    return false;
}

/* RFC 9562 section 5.4 */
static char *new_uuid(struct s3_request *r)
{
    uint8_t b[16];
    char hex[33];
    store_env(store_of(r))->random(store_env(store_of(r)), b, sizeof(b));
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    hex_encode(bytes_of(b, sizeof(b)), hex);
    return arena_printf(r->arena, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
                        hex + 20);
}

static void create_key(struct s3_request *r, const json_t *in)
{
    struct kms_work *w = work_new(r);
    struct bytes usage = text_of(r, in, "KeyUsage"), spec = text_of(r, in, "KeySpec");
    struct bytes description = text_of(r, in, "Description");
    const struct master_key *master = master_keys_current(r->service->config.masters);
    uint8_t material[SEAL_KEY_BYTES], wrapped[SEAL_WRAPPED_BYTES];
    if (!w || !allowed(r, "kms:CreateKey", "*"))
        return;
    if ((usage.len && !bytes_equal(usage, BYTES_LIT("ENCRYPT_DECRYPT"))) ||
        (spec.len && !bytes_equal(spec, BYTES_LIT("SYMMETRIC_DEFAULT")))) {
        fail(r, 400, "UnsupportedOperationException",
             "Keys are symmetric here, for encryption and decryption.");
        return;
    }
    if (description.len > 8192 || json_object_get(in, "Policy")) {
        fail(r, 400, "ValidationException",
             "A description has at most 8192 characters, and a "
             "key has no policy of its own here.");
        return;
    }
    enum kist_err err = seal_new_key(store_env(store_of(r)), master->key, material, wrapped);
    OPENSSL_cleanse(material, sizeof(material));
    char *text = arena_alloc(r->arena, SEAL_WRAPPED_BYTES * 2);
    if (err != KIST_OK || !text) {
        fail_err(r, KIST_E_NOMEM, BYTES_EMPTY);
        return;
    }
    base64_encode(bytes_of(wrapped, sizeof(wrapped)), text);
    w->entity.name = new_uuid(r);
    w->entity.description = s3_str(r, description);
    w->entity.created_ms = s3_now(r);
    w->entity.secret = text;
    w->entity.owner = s3_str(r, bytes_str(master->id));
    w->tell = true;
    commit(r, w, IAM_KMS_KEY, false);
}

/* The key that the call names, after the caller was found to be allowed the call. False after an
 * error reply; *key NULL: the store's own. */
static bool named_key(struct s3_request *r, const json_t *in, const char *field,
                      const char *action, Kist__IamEntity **key)
{
    struct bytes name = text_of(r, in, field);
    enum kist_err err = name.len ? find_key(r, name, key) : KIST_E_NOT_FOUND;
    const char *id = err == KIST_OK ? (*key ? (*key)->name : DEFAULT_KEY_ID) : "*";
    if (!allowed(r, action, arn_of(r, "key/", id)))
        return false;
    if (err != KIST_OK)
        fail_err(r, err, name);
    return err == KIST_OK;
}

static void describe_key(struct s3_request *r, const json_t *in)
{
    Kist__IamEntity *key = NULL;
    if (named_key(r, in, "KeyId", "kms:DescribeKey", &key))
        reply_json(r, 200, json_pack("{s:o}", "KeyMetadata", metadata(r, key)));
}

static void set_active(struct s3_request *r, const json_t *in, const char *action, bool active)
{
    Kist__IamEntity *key = NULL;
    struct kms_work *w = work_new(r);
    if (!w || !named_key(r, in, "KeyId", action, &key))
        return;
    if (!key) {
        fail(r, 400, "UnsupportedOperationException", "aws/s3 is the store's own key.");
        return;
    }
    w->entity = *key;
    w->entity.inactive = !active;
    commit(r, w, IAM_KMS_KEY, false);
}

static void enable_key(struct s3_request *r, const json_t *in)
{
    set_active(r, in, "kms:EnableKey", true);
}

static void disable_key(struct s3_request *r, const json_t *in)
{
    set_active(r, in, "kms:DisableKey", false);
}

/* https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateAlias.html */
static bool alias_name(struct s3_request *r, const json_t *in, struct bytes *out)
{
    struct bytes name = text_of(r, in, "AliasName");
    bool ok = bytes_starts_with(name, BYTES_LIT(ALIAS_PREFIX)) && name.len > 6 &&
              name.len <= IAM_NAME_MAX && !bytes_starts_with(name, BYTES_LIT("alias/aws/"));
    for (size_t i = 0; ok && i < name.len; i++) {
        uint8_t c = name.ptr[i];
        ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             c == '/' || c == '_' || c == '-';
    }
    if (!ok)
        fail(r, 400, "InvalidAliasNameException",
             "An alias is alias/ and letters, digits, /, _ and -; alias/aws/ is reserved.");
    *out = name;
    return ok;
}

static void create_alias(struct s3_request *r, const json_t *in)
{
    struct kms_work *w = work_new(r);
    Kist__IamEntity *key = NULL;
    struct bytes name;
    if (!w || !alias_name(r, in, &name) ||
        !named_key(r, in, "TargetKeyId", "kms:CreateAlias", &key))
        return;
    if (!key) {
        fail(r, 400, "ValidationException", "aws/s3 has its alias.");
        return;
    }
    w->entity.name = s3_str(r, name);
    w->entity.owner = key->name;
    w->entity.created_ms = s3_now(r);
    w->name = name;
    commit(r, w, IAM_KMS_ALIAS, false);
}

static void delete_alias(struct s3_request *r, const json_t *in)
{
    struct kms_work *w = work_new(r);
    Kist__IamEntity *alias = NULL;
    struct bytes name;
    if (!w || !alias_name(r, in, &name) ||
        !allowed(r, "kms:DeleteAlias", arn_of(r, s3_str(r, name), "")))
        return;
    enum kist_err err = entity(r, IAM_KMS_ALIAS, name, &alias);
    if (err != KIST_OK) {
        fail_err(r, err, name);
        return;
    }
    w->entity = *alias;
    w->name = name;
    commit(r, w, IAM_KMS_ALIAS, true);
}

/* ---- lists ---- */

struct page {
    struct s3_request *r;
    json_t *list;
    size_t max;
    struct bytes last, only; /* only: aliases of this key; ptr NULL: all */
    bool aliases, truncated;
};

static bool on_entity(void *ctx, const Kist__IamEntity *e)
{
    struct page *p = ctx;
    struct s3_request *r = p->r;
    if (p->only.ptr && !bytes_equal(p->only, bytes_str(e->owner)))
        return true;
    if (json_array_size(p->list) >= p->max) {
        p->truncated = true;
        return false;
    }
    p->last = arena_copy(r->arena, bytes_str(e->name));
    json_t *row = p->aliases ? json_pack("{s:s, s:s, s:s, s:f}", "AliasName", e->name, "AliasArn",
                                         arn_of(r, e->name, ""), "TargetKeyId", e->owner,
                                         "CreationDate", (double)e->created_ms / 1000)
                             : json_pack("{s:s, s:s}", "KeyId", e->name, "KeyArn",
                                         arn_of(r, "key/", e->name));
    return json_array_append_new(p->list, row) == 0;
}

static void list_entities(struct s3_request *r, const json_t *in, bool aliases)
{
    Kist__IamEntity *key = NULL;
    json_int_t limit = json_integer_value(json_object_get(in, "Limit"));
    struct page p = { .r = r, .aliases = aliases, .max = aliases ? 50 : 100 };
    struct bytes after = text_of(r, in, "Marker");
    if (!allowed(r, aliases ? "kms:ListAliases" : "kms:ListKeys", "*"))
        return;
    if (limit > 0)
        p.max = limit < PAGE_MAX ? (size_t)limit : PAGE_MAX;
    if (aliases && json_object_get(in, "KeyId")) {
        if (!named_key(r, in, "KeyId", "kms:ListAliases", &key))
            return;
        p.only = key ? bytes_str(key->name) : BYTES_LIT(DEFAULT_KEY_ID);
    }
    p.list = json_array();
    enum kist_err err =
        store_list_iam(store_of(r), r->who.identity->tenant,
                       aliases ? IAM_KMS_ALIAS : IAM_KMS_KEY, after, on_entity, &p);
    if (err != KIST_OK || !p.list) {
        json_decref(p.list);
        fail_err(r, err, BYTES_EMPTY);
        return;
    }
    json_t *out =
        json_pack("{s:o, s:b}", aliases ? "Aliases" : "Keys", p.list, "Truncated", p.truncated);
    if (out && p.truncated)
        (void)!json_object_set_new(out, "NextMarker", json_string(s3_str(r, p.last)));
    reply_json(r, 200, out);
}

static void list_keys(struct s3_request *r, const json_t *in)
{
    list_entities(r, in, false);
}

static void list_aliases(struct s3_request *r, const json_t *in)
{
    list_entities(r, in, true);
}

/* ---- dispatch ---- */

static const struct {
    const char *target;
    void (*handle)(struct s3_request *r, const json_t *in);
} calls[] = {
    { "TrentService.CreateKey", create_key },     { "TrentService.DescribeKey", describe_key },
    { "TrentService.ListKeys", list_keys },       { "TrentService.EnableKey", enable_key },
    { "TrentService.DisableKey", disable_key },   { "TrentService.CreateAlias", create_alias },
    { "TrentService.DeleteAlias", delete_alias }, { "TrentService.ListAliases", list_aliases },
};

static void body_read(struct s3_request *r)
{
    struct bytes body = buf_bytes(&r->body->xml), target = exchange_header(r->x, "x-amz-target");
    json_t *in = json_loadb((const char *)body.ptr, body.len, JSON_REJECT_DUPLICATES, NULL);
    size_t i = 0;
    while (i < ARRAY_LEN(calls) && !bytes_equal(target, bytes_str(calls[i].target)))
        i++;
    if (i == ARRAY_LEN(calls))
        fail(r, 400, "UnknownOperationException", "The operation is not supported.");
    else if (!json_is_object(in))
        fail(r, 400, "SerializationException", "The request is not a JSON object.");
    else
        calls[i].handle(r, in);
    json_decref(in);
}

void s3_kms(struct s3_request *r)
{
    if (!r->service->config.masters || !r->who.identity->id.len)
        fail(r, 400, "AccessDeniedException", "Access denied");
    else
        s3_read_xml(r, KMS_BODY_MAX, body_read);
}
