/* Server-side encryption: SSE-S3 (our master key), SSE-KMS (a named key of ours), SSE-C (the
 * customer's key, which comes with each request and is never kept).
 *
 *   request or the bucket's default --> r->seal: a data key, wrapped --> writer; record in the
 * row row's record + master, named or customer's key --> reader
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/serv-side-encryption.html */
#include <openssl/crypto.h>

#include "auth/master_keys.h"
#include "server/s3/internal.h"
#include "server/s3/kms.h"

#define SSE "x-amz-server-side-encryption"
#define CUSTOMER "server-side-encryption-customer-"

/* What encrypts a new object. */
struct choice {
    enum seal_kind kind;
    struct bytes key, context; /* SSE-KMS; key empty: aws/s3 */
    bool bucket_key;
};

static bool fail_argument(struct s3_request *r, const char *name, const char *message)
{
    s3_fail_argument(r, name, BYTES_EMPTY, message);
    return false;
}

static bool fail_request(struct s3_request *r, const char *message)
{
    s3_fail_message(r, S3_INVALID_REQUEST, message);
    return false;
}

/* ---- the customer's key ---- */

enum customer_header { CUSTOMER_ALGORITHM, CUSTOMER_KEY, CUSTOMER_KEY_MD5 };

/* prefix: "" or "copy-source-". */
static struct bytes customer_header(struct s3_request *r, const char *prefix,
                                    enum customer_header which)
{
    static const char *const names[][3] = {
        { "x-amz-" CUSTOMER "algorithm", "x-amz-" CUSTOMER "key", "x-amz-" CUSTOMER "key-md5" },
        { "x-amz-copy-source-" CUSTOMER "algorithm", "x-amz-copy-source-" CUSTOMER "key",
          "x-amz-copy-source-" CUSTOMER "key-md5" },
    };
    return s3_header(r, names[*prefix != '\0'][which]);
}

static bool names_customer_key(struct s3_request *r, const char *prefix)
{
    return customer_header(r, prefix, CUSTOMER_ALGORITHM).ptr ||
           customer_header(r, prefix, CUSTOMER_KEY).ptr ||
           customer_header(r, prefix, CUSTOMER_KEY_MD5).ptr;
}

static bool is_loopback(const char *peer)
{
    return strncmp(peer, "127.", 4) == 0 || strcmp(peer, "::1") == 0;
}

/* https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerSideEncryptionCustomerKeys.html
 * False after an error reply. */
static bool customer_key(struct s3_request *r, const char *prefix, uint8_t out[SEAL_KEY_BYTES])
{
    struct bytes algorithm = customer_header(r, prefix, CUSTOMER_ALGORITHM);
    struct bytes key = customer_header(r, prefix, CUSTOMER_KEY);
    struct bytes sum = customer_header(r, prefix, CUSTOMER_KEY_MD5);
    uint8_t raw[SEAL_KEY_BYTES + 1], md5[17], expected[16];
    size_t len = 0, md5_len = 0;
    if (!r->http->tls && !is_loopback(r->http->peer))
        return fail_request(r, "Requests specifying Server Side Encryption with Customer "
                               "provided keys must be made over a secure connection.");
    if (!algorithm.len)
        return fail_argument(r, "x-amz-" CUSTOMER "algorithm",
                             "Requests specifying Server Side Encryption with Customer provided "
                             "keys must provide a valid encryption algorithm.");
    if (!bytes_equal(algorithm, BYTES_LIT("AES256"))) {
        s3_fail(r, S3_INVALID_ENCRYPTION_ALGORITHM);
        return false;
    }
    if (!key.len)
        return fail_argument(r, "x-amz-" CUSTOMER "key",
                             "Requests specifying Server Side Encryption with Customer provided "
                             "keys must provide an appropriate secret key.");
    if (base64_decode(key, raw, sizeof(raw), &len) != KIST_OK || len != SEAL_KEY_BYTES)
        return fail_argument(r, "x-amz-" CUSTOMER "key",
                             "The secret key was invalid for the specified algorithm.");
    if (!sum.len)
        return fail_argument(r, "x-amz-" CUSTOMER "key-MD5",
                             "Requests specifying Server Side Encryption with Customer provided "
                             "keys must provide the client calculated MD5 of the secret key.");
    digest_once(DIGEST_MD5, bytes_of(raw, SEAL_KEY_BYTES), expected);
    if (base64_decode(sum, md5, sizeof(md5), &md5_len) != KIST_OK || md5_len != 16 ||
        !bytes_equal_secret(bytes_of(md5, 16), bytes_of(expected, 16)))
        return fail_argument(r, "x-amz-" CUSTOMER "key-MD5",
                             "The calculated MD5 hash of the key did not match the hash that was "
                             "provided.");
    memcpy(out, raw, SEAL_KEY_BYTES);
    OPENSSL_cleanse(raw, sizeof(raw));
    return true;
}

/* ---- keys of ours ---- */

/* The key that a record's data keys are wrapped under. KIST_E_NOT_FOUND: it is gone,
 * KIST_E_BUCKET_STATE: disabled. */
static enum kist_err wrapping_key(struct s3_request *r, const Kist__Seal *seal,
                                  uint8_t out[SEAL_KEY_BYTES])
{
    const struct master_keys *masters = r->service->config.masters;
    uint8_t named[SEAL_KEY_BYTES];
    if (seal->kind == SEAL_KMS && !kms_is_default(bytes_str(seal->key))) {
        TRY(kms_material(r, bytes_str(seal->key), named));
        master_key_derive(named, "kist sse-kms 1", bytes_str(seal->context), out);
        OPENSSL_cleanse(named, sizeof(named));
        return KIST_OK;
    }
    const struct master_key *master = masters ? master_keys_find(masters, seal->master) : NULL;
    if (!master)
        return KIST_E_NOT_FOUND;
    master_key_derive(master->key, seal->kind == SEAL_KMS ? "kist aws/s3 1" : MASTER_USE_S3,
                      bytes_str(seal->context), out);
    return KIST_OK;
}

static void fail_key(struct s3_request *r, enum kist_err err, const char *key)
{
    if (err == KIST_E_NOT_FOUND)
        s3_fail_message(r, S3_KMS_NOT_FOUND, arena_printf(r->arena, "Invalid keyId '%s'", key));
    else if (err == KIST_E_BUCKET_STATE)
        s3_fail_message(r, S3_KMS_DISABLED, arena_printf(r->arena, "%s is disabled.", key));
    else
        s3_fail_err(r, err);
}

/* ---- what a new object is encrypted with ---- */

static bool choose_method(struct s3_request *r, struct bytes method, struct choice *c)
{
    if (bytes_equal(method, BYTES_LIT("AES256")))
        c->kind = SEAL_S3;
    else if (bytes_equal(method, BYTES_LIT("aws:kms")))
        c->kind = SEAL_KMS;
    else if (bytes_equal(method, BYTES_LIT("aws:kms:dsse"))) {
        s3_fail_message(r, S3_NOT_IMPLEMENTED, "Dual-layer encryption is not implemented.");
        return false;
    } else
        return fail_argument(r, SSE, "The encryption method specified is not supported");
    return true;
}

static bool choose_default(struct s3_request *r, struct choice *c)
{
    const struct s3_xml_node *rule = r->rules ? s3_xml_child(r->rules->encryption, "Rule") : NULL;
    const struct s3_xml_node *by = s3_xml_child(rule, "ApplyServerSideEncryptionByDefault");
    if (!by)
        return true;
    c->key = s3_xml_child_text(by, "KMSMasterKeyID");
    c->bucket_key =
        bytes_equal_nocase(s3_xml_child_text(rule, "BucketKeyEnabled"), BYTES_LIT("true"));
    return choose_method(r, s3_xml_child_text(by, "SSEAlgorithm"), c);
}

static bool is_context(struct bytes text)
{
    uint8_t json[2048];
    size_t len = 0;
    return text.len <= 2048 && base64_decode(text, json, sizeof(json), &len) == KIST_OK &&
           len >= 2 && json[0] == '{' && json[len - 1] == '}';
}

/* False after an error reply. */
static bool choose(struct s3_request *r, struct choice *c)
{
    struct bytes method = s3_header(r, SSE), key = s3_header(r, SSE "-aws-kms-key-id");
    struct bytes context = s3_header(r, SSE "-context");
    *c = (struct choice){ .kind = SEAL_NONE };
    if (names_customer_key(r, "")) {
        c->kind = SEAL_CUSTOMER;
        if (method.ptr || key.ptr)
            return fail_argument(r, SSE,
                                 "Server Side Encryption with Customer provided key is "
                                 "incompatible with the encryption method specified");
        return true;
    }
    if (!method.ptr && !key.ptr && !context.ptr)
        return choose_default(r, c);
    bool kms = method.ptr && bytes_equal(method, BYTES_LIT("aws:kms"));
    if (!kms && (key.ptr || context.ptr))
        return fail_argument(r, SSE,
                             "Server Side Encryption with AWS KMS managed key requires HTTP "
                             "header x-amz-server-side-encryption : aws:kms");
    if (!choose_method(r, method, c))
        return false;
    if (context.ptr && !is_context(context))
        return fail_argument(r, SSE "-context",
                             "The header 'x-amz-server-side-encryption-context' shall be Base64-"
                             "encoded UTF-8 string holding JSON which represents a string-string "
                             "map");
    c->key = key;
    c->context = context;
    c->bucket_key =
        bytes_equal_nocase(s3_header(r, SSE "-bucket-key-enabled"), BYTES_LIT("true"));
    return true;
}

static bool fill_record(struct s3_request *r, const struct choice *c, Kist__Seal *record)
{
    kist__seal__init(record);
    record->kind = c->kind;
    record->context = s3_str(r, c->context);
    record->bucket_key = c->kind == SEAL_KMS && c->bucket_key;
    if (r->service->config.masters)
        record->master =
            s3_str(r, bytes_str(master_keys_current(r->service->config.masters)->id));
    if (c->kind != SEAL_KMS)
        return true;
    enum kist_err err = kms_resolve(r, c->key, &record->key);
    if (err != KIST_OK)
        fail_key(r, err, s3_str(r, c->key));
    return err == KIST_OK;
}

/* A data key under what the record says. False after an error reply. */
static bool new_data_key(struct s3_request *r, struct s3_seal *s)
{
    uint8_t above[SEAL_KEY_BYTES];
    enum kist_err err = KIST_OK;
    if (s->record.kind == SEAL_KMS && !kms_may_use(r, "kms:GenerateDataKey", s->record.key))
        err = KIST_E_DENIED;
    else if (s->record.kind != SEAL_CUSTOMER)
        err = wrapping_key(r, &s->record, above);
    else if (!customer_key(r, "", above))
        return false;
    if (err == KIST_OK)
        err = seal_new_key(store_env(r->service->config.store), above, s->key, s->wrapped);
    OPENSSL_cleanse(above, sizeof(above));
    if (err != KIST_OK)
        fail_key(r, err, s->record.key);
    s->record.wrapped_key = schema_data(bytes_of(s->wrapped, SEAL_WRAPPED_BYTES));
    return err == KIST_OK;
}

static struct s3_seal *seal_new(struct s3_request *r)
{
    struct s3_seal *s = arena_zalloc(r->arena, sizeof(*s));
    if (!s)
        s3_fail(r, S3_SLOW_DOWN);
    return s;
}

bool s3_seal_parse(struct s3_request *r)
{
    struct choice c;
    r->seal = NULL;
    if (!choose(r, &c))
        return false;
    if (c.kind == SEAL_NONE)
        return true;
    r->seal = seal_new(r);
    return r->seal && fill_record(r, &c, &r->seal->record) && new_data_key(r, r->seal);
}

enum kist_err s3_seal_service(struct s3_request *r)
{
    uint8_t above[SEAL_KEY_BYTES];
    const struct master_keys *masters = r->service->config.masters;
    struct s3_seal *s = arena_zalloc(r->arena, sizeof(*s));
    if (!masters)
        return KIST_E_NOT_FOUND;
    char *master = arena_strdup(r->arena, master_keys_current(masters)->id);
    if (!s || !master)
        return KIST_E_NOMEM;
    kist__seal__init(&s->record);
    s->record.kind = SEAL_S3;
    s->record.master = master;
    TRY(wrapping_key(r, &s->record, above));
    enum kist_err err =
        seal_new_key(store_env(r->service->config.store), above, s->key, s->wrapped);
    OPENSSL_cleanse(above, sizeof(above));
    TRY(err);
    s->record.wrapped_key = schema_data(bytes_of(s->wrapped, SEAL_WRAPPED_BYTES));
    r->seal = s;
    return KIST_OK;
}

bool s3_seal_part(struct s3_request *r, const Kist__Seal *upload)
{
    uint8_t above[SEAL_KEY_BYTES], ignored[SEAL_KEY_BYTES];
    bool customer = upload && upload->kind == SEAL_CUSTOMER;
    if (!customer && names_customer_key(r, ""))
        return fail_request(r, "The multipart upload initiate requested encryption. Subsequent "
                               "part requests must include the appropriate encryption "
                               "parameters.");
    if (!upload)
        return true;
    if (customer && !names_customer_key(r, ""))
        return fail_request(r, "The multipart upload initiate requested encryption. Subsequent "
                               "part requests must include the appropriate encryption "
                               "parameters.");
    r->seal = seal_new(r);
    if (!r->seal)
        return false;
    r->seal->record = *upload;
    if (customer) {
        if (!customer_key(r, "", above))
            return false;
        enum kist_err err = seal_unwrap(above, schema_bytes(upload->wrapped_key), ignored);
        OPENSSL_cleanse(ignored, sizeof(ignored));
        OPENSSL_cleanse(above, sizeof(above));
        if (err == KIST_E_DENIED)
            return fail_request(r, "The provided encryption parameters did not match the ones "
                                   "used originally.");
    }
    return new_data_key(r, r->seal);
}

bool s3_seal_keep(struct s3_request *r, const Kist__Seal *source)
{
    if (r->seal || !source || source->kind == SEAL_CUSTOMER)
        return true;
    r->seal = seal_new(r);
    if (!r->seal)
        return false;
    r->seal->record = *source;
    if (r->service->config.masters)
        r->seal->record.master =
            s3_str(r, bytes_str(master_keys_current(r->service->config.masters)->id));
    return new_data_key(r, r->seal);
}

bool s3_seal_matches(const struct s3_request *r, const Kist__Seal *source)
{
    if (!r->seal || !source)
        return !r->seal && !source;
    const Kist__Seal *mine = &r->seal->record;
    return mine->kind == source->kind && mine->kind != SEAL_CUSTOMER &&
           strcmp(mine->key, source->key) == 0 && strcmp(mine->context, source->context) == 0;
}

Kist__Seal *s3_seal_record(struct s3_request *r)
{
    return r->seal ? &r->seal->record : NULL;
}

enum kist_err s3_seal_writer(struct s3_request *r, struct object_writer *w)
{
    if (!r->seal)
        return KIST_OK;
    return object_writer_seal(w, r->seal->key, r->seal->record.kind != SEAL_S3);
}

void s3_seal_wipe(struct s3_request *r)
{
    if (r->seal)
        OPENSSL_cleanse(r->seal->key, sizeof(r->seal->key));
}

/* ---- reading ---- */

enum kist_err s3_unseal_own(struct s3_request *r, struct object_reader *reader)
{
    const Kist__Seal *seal = object_reader_object(reader)->seal;
    uint8_t above[SEAL_KEY_BYTES];
    if (!seal)
        return KIST_OK;
    if (seal->kind == SEAL_CUSTOMER ||
        (seal->kind == SEAL_KMS && !kms_may_use(r, "kms:Decrypt", seal->key)))
        return KIST_E_DENIED;
    TRY(wrapping_key(r, seal, above));
    enum kist_err err = object_reader_unseal(reader, above);
    OPENSSL_cleanse(above, sizeof(above));
    return err;
}

bool s3_unseal(struct s3_request *r, const char *prefix)
{
    const Kist__Seal *seal = object_reader_object(r->reader)->seal;
    bool named = names_customer_key(r, prefix);
    uint8_t above[SEAL_KEY_BYTES];
    if (!seal || seal->kind != SEAL_CUSTOMER) {
        if (named)
            return fail_request(r,
                                "The encryption parameters are not applicable to this object.");
        enum kist_err err = s3_unseal_own(r, r->reader);
        if (err != KIST_OK)
            fail_key(r, err, seal ? seal->key : "");
        return err == KIST_OK;
    }
    if (!named)
        return fail_request(r, "The object was stored using a form of Server Side Encryption. "
                               "The correct parameters must be provided to retrieve the object.");
    if (!customer_key(r, prefix, above))
        return false;
    enum kist_err err = object_reader_unseal(r->reader, above);
    OPENSSL_cleanse(above, sizeof(above));
    if (err != KIST_OK)
        s3_fail_err(r, err);
    return err == KIST_OK;
}

void s3_seal_headers(struct s3_request *r, const Kist__Seal *seal)
{
    if (!seal)
        return;
    if (seal->kind == SEAL_CUSTOMER) {
        s3_add_header_str(r, "x-amz-" CUSTOMER "algorithm", "AES256");
        struct bytes md5 = customer_header(r, "", CUSTOMER_KEY_MD5);
        if (md5.len)
            s3_add_header(r, "x-amz-" CUSTOMER "key-MD5", md5);
        return;
    }
    s3_add_header_str(r, SSE, seal->kind == SEAL_KMS ? "aws:kms" : "AES256");
    if (seal->kind == SEAL_KMS)
        s3_add_header_str(r, SSE "-aws-kms-key-id", seal->key);
    if (seal->bucket_key)
        s3_add_header_str(r, SSE "-bucket-key-enabled", "true");
}

/* ---- a bucket's default ---- */

/* https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketEncryption.html */
bool s3_encryption_check(struct s3_request *r, const struct s3_xml_node *root)
{
    const struct s3_xml_node *by =
        s3_xml_child(root->child, "ApplyServerSideEncryptionByDefault");
    struct bytes method = s3_xml_child_text(by, "SSEAlgorithm");
    struct bytes key = s3_xml_child_text(by, "KMSMasterKeyID");
    char *arn = NULL;
    if (bytes_equal(method, BYTES_LIT("aws:kms:dsse"))) {
        s3_fail_message(r, S3_NOT_IMPLEMENTED, "Dual-layer encryption is not implemented.");
        return false;
    }
    if (key.len && !bytes_equal(method, BYTES_LIT("aws:kms")))
        return fail_argument(r, "KMSMasterKeyID",
                             "a KMSMasterKeyID is not applicable if the default sse algorithm is "
                             "not aws:kms or aws:kms:dsse");
    if (!key.len)
        return true;
    enum kist_err err = kms_resolve(r, key, &arn);
    if (err != KIST_OK)
        fail_key(r, err, s3_str(r, key));
    return err == KIST_OK;
}
