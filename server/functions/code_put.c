/* Zips on their way into the store, as objects of its own bucket: code/ACCOUNT/ID/UUID. ID is
 * the function's, UUID the upload's: an object belongs to the records that one request wrote
 * (and to versions that were published from them), so that nobody else's request can come to
 * rely on an object while it is being removed. Equal zips share their bytes below, as all
 * chunks do. */
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "server/functions/control.h"
#include "storage/base/cleanup.h"
#include "storage/base/codec.h"
#include "storage/base/trace.h"

#define PIECE_BYTES ((size_t)128 << 10)
/* A zip is never larger than what may be in it, give or take. */
#define OBJECT_MAX (FN_CODE_MAX + (16U << 20))
#define VERSION_DIGITS 32

/* ---- what a request says ---- */

static uint64_t read_u64(const uint8_t *b)
{
    uint64_t v = 0;
    for (size_t i = 0; i < 8; i++)
        v = v << 8 | b[i];
    return v;
}

/* As S3 shows them: "null", or a check and the number under it. Whether the check is right does
 * not matter here: of a number that was never given there is no version. */
static bool parse_version(const char *text, uint64_t *out)
{
    uint8_t b[VERSION_DIGITS / 2];
    if (strcmp(text, "null") == 0) {
        *out = VERSION_NULL;
        return true;
    }
    if (strlen(text) != VERSION_DIGITS || hex_decode(bytes_str(text), b, sizeof(b)) != KIST_OK)
        return false;
    *out = read_u64(b + 8) ^ read_u64(b);
    return *out != VERSION_CURRENT && *out != VERSION_NULL;
}

/* The bucket's policy may give, or forbid. */
static bool may_read(struct fn_call *c, const struct fn_code *code)
{
    Kist__Bucket *bucket = NULL;
    struct auth_owner owner = { 0 };
    struct bytes document = BYTES_EMPTY;
    struct policy *policy = NULL;
    const char *reason = NULL;
    enum kist_err err = store_bucket(c->f->store, code->bucket, c->arena, &bucket);
    if (err == KIST_OK && code->bucket.ptr[0] == '.')
        err = KIST_E_NO_BUCKET;
    if (err == KIST_OK)
        err = auth_owner_find(c->f->users, bytes_str(bucket->owner), c->arena, &owner);
    if (err == KIST_E_NOT_FOUND)
        err = KIST_OK;
    if (err == KIST_OK)
        err = store_bucket_config(c->f->store, bucket, CONFIG_POLICY, c->arena, &document);
    if (err == KIST_OK && document.ptr)
        err = policy_parse(document, POLICY_RESOURCE, code->bucket, c->arena, &policy, &reason);
    if (err == KIST_E_NO_BUCKET)
        fn_invalid(c, "Error occurred while GetObject. S3 Error Code: NoSuchBucket. S3 Error "
                      "Message: The specified bucket does not exist");
    else if (err != KIST_OK)
        fn_fail_err(c, err);
    if (err != KIST_OK)
        return false;
    char *arn = arena_printf(c->arena, "arn:aws:s3:::%s/%s", fn_str(c, code->bucket),
                             fn_str(c, code->key));
    const char *action = code->version ? "s3:GetObjectVersion" : "s3:GetObject";
    if (arn && c->call->allowed(c->call, action, bytes_str(arn), owner.account, policy))
        return true;
    fn_fail(c, 403, "AccessDeniedException",
            "Your access has been denied by S3, please make sure your request credentials have "
            "permission to GetObject for the code's bucket. S3 Error Code: AccessDenied. S3 "
            "Error Message: Access Denied");
    return false;
}

bool fn_code_parse(struct fn_call *c, const json_t *code)
{
    const char *zip = NULL, *bucket = NULL, *key = NULL, *version = NULL;
    struct fn_code *out = &c->code;
    if (!fn_get_str(c, code, "ZipFile", &zip) || !fn_get_str(c, code, "S3Bucket", &bucket) ||
        !fn_get_str(c, code, "S3Key", &key) || !fn_get_str(c, code, "S3ObjectVersion", &version))
        return false;
    if (!zip == !bucket || !bucket != !key || (version && !bucket)) {
        fn_invalid(c, "Please provide a source for function code.");
        return false;
    }
    *out = (struct fn_code){ .zip64 = bytes_str(zip ? zip : ""),
                             .bucket = bytes_str(bucket ? bucket : ""),
                             .key = bytes_str(key ? key : "") };
    if (version && !parse_version(version, &out->version)) {
        fn_invalid(c, "Error occurred while GetObject. S3 Error Code: NoSuchVersion. S3 Error "
                      "Message: The specified version does not exist.");
        return false;
    }
    if (zip && !*zip) {
        fn_invalid(c, "Uploaded file must be a non-empty zip");
        return false;
    }
    if (zip && out->zip64.len > BASE64_LEN(FN_ZIP_MAX)) {
        fn_failf(c, 413, "RequestEntityTooLargeException",
                 "Request must be smaller than %zu bytes for the %s operation",
                 BASE64_LEN(FN_ZIP_MAX), c->route->operation);
        return false;
    }
    return zip || may_read(c, out);
}

/* ---- the bytes: on a worker ---- */

static void wrong(struct fn_code *code, const char *type, const char *message)
{
    code->code = type;
    code->message = message;
}

static void wrong_err(struct fn_code *code, enum kist_err err)
{
    if (err == KIST_E_NOSPC || err == KIST_E_QUOTA)
        wrong(code, "CodeStorageExceededException", "Code storage limit exceeded.");
    else
        wrong(code, "ServiceException", kist_err_text(err));
}

static void wrong_object(struct fn_code *code, enum kist_err err)
{
#define S3_SAYS(what) "Error occurred while GetObject. S3 Error Code: " what
    if (err == KIST_E_NO_BUCKET)
        wrong(code, "InvalidParameterValueException",
              S3_SAYS("NoSuchBucket. S3 Error Message: The specified bucket does not exist"));
    else if (err == KIST_E_NO_VERSION)
        wrong(code, "InvalidParameterValueException",
              S3_SAYS("NoSuchVersion. S3 Error Message: The specified version does not exist."));
    else if (err == KIST_E_NO_KEY || err == KIST_E_DELETE_MARKER)
        wrong(code, "InvalidParameterValueException",
              S3_SAYS("NoSuchKey. S3 Error Message: The specified key does not exist."));
    else if (err == KIST_E_TOO_LARGE)
        wrong(code, "InvalidParameterValueException",
              "Unzipped size must be smaller than 262144000 bytes");
    else if (err == KIST_E_UNSUPPORTED)
        wrong(code, "InvalidParameterValueException",
              "The object is encrypted with a key that is not the store's own.");
    else
        wrong_err(code, err);
#undef S3_SAYS
}

static enum kist_err copy_out(struct object_reader *r, uint64_t size, int fd)
{
    CLEANUP_FREE uint8_t *piece = malloc(PIECE_BYTES);
    if (!piece)
        return KIST_E_NOMEM;
    for (uint64_t at = 0; at < size;) {
        size_t got = 0;
        TRY(object_reader_read(r, at, piece, PIECE_BYTES, true, &got));
        if (got == 0)
            return KIST_E_CORRUPT;
        TRY(file_pwrite(fd, piece, got, at));
        at += got;
    }
    return KIST_OK;
}

/* The store's own encryption is opened; whose key is somebody's is not. */
static enum kist_err unseal(const struct functions *f, struct object_reader *r)
{
    const Kist__Seal *seal = object_reader_object(r)->seal;
    uint8_t above[SEAL_KEY_BYTES];
    if (!seal)
        return KIST_OK;
    const struct master_key *master =
        f->config.masters ? master_keys_find(f->config.masters, seal->master) : NULL;
    if (seal->kind != SEAL_S3 || !master)
        return KIST_E_UNSUPPORTED;
    master_key_derive(master->key, MASTER_USE_S3, bytes_str(seal->context), above);
    enum kist_err err = object_reader_unseal(r, above);
    OPENSSL_cleanse(above, sizeof(above));
    return err;
}

/* The object's bytes in a file without a name, mapped. */
static enum kist_err map_object(struct fn_call *c, struct bytes *out)
{
    struct object_id id = { c->code.bucket, c->code.key, c->code.version };
    struct object_reader *r = NULL;
    Kist__Object *marker = NULL;
    struct arena arena;
    arena_init(&arena, 1U << 20);
    enum kist_err err = object_reader_open(c->f->store, &id, &arena, &r, &marker);
    CLEANUP_CLOSE int fd = -1;
    if (err == KIST_OK) {
        const Kist__Object *o = object_reader_object(r);
        fd = open(c->f->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        err = o->size > OBJECT_MAX ? KIST_E_TOO_LARGE : fd < 0 ? KIST_E_IO : unseal(c->f, r);
        if (err == KIST_OK)
            err = copy_out(r, o->size, fd);
        if (err == KIST_OK && o->size) {
            void *map = mmap(NULL, o->size, PROT_READ, MAP_PRIVATE, fd, 0);
            if (map == MAP_FAILED)
                err = KIST_E_NOMEM;
            else
                *out = bytes_of(map, o->size);
        }
        object_reader_close(r);
    }
    arena_release(&arena);
    return err;
}

static void check_and_put(struct fn_call *c, struct bytes zip)
{
    struct fn_code *code = &c->code;
    uint64_t unpacked = 0;
    const char *why = NULL;
    enum kist_err err = code_check(zip, &unpacked, &why);
    if (err == KIST_E_TOO_LARGE) {
        wrong(code, "InvalidParameterValueException",
              "Unzipped size must be smaller than 262144000 bytes");
        return;
    }
    if (err == KIST_E_INVALID) {
        wrong(code, "InvalidParameterValueException",
              arena_printf(c->arena,
                           "Could not unzip uploaded file. Please check your file, then try to "
                           "upload again. (%s)",
                           why ? why : "it is no zip"));
        return;
    }
    digest_once(DIGEST_SHA256, zip, code->sha256);
    code->size = zip.len;
    char *key = code->stored;
    code->stored = NULL;
    if (err == KIST_OK)
        err = store_put_whole(
            c->f->store,
            &(struct whole_object){ .bucket = FUNCTIONS_BUCKET, .key = key, .body = zip });
    if (err == KIST_OK)
        code->stored = key;
    else
        wrong_err(code, err);
}

static void from_base64(struct fn_call *c)
{
    struct fn_code *code = &c->code;
    CLEANUP_FREE uint8_t *zip = malloc(code->zip64.len);
    size_t len = 0;
    if (!zip) {
        wrong_err(code, KIST_E_NOMEM);
        return;
    }
    if (base64_decode(code->zip64, zip, code->zip64.len, &len) != KIST_OK)
        wrong(code, "InvalidRequestContentException",
              "Could not parse request body into json: ZipFile is not base64.");
    else
        check_and_put(c, bytes_of(zip, len));
}

/* c->code.stored is the key that it is to have; afterwards NULL when it has not come there. */
void fn_code_store(struct fn_call *c)
{
    struct fn_code *code = &c->code;
    struct bytes zip = BYTES_EMPTY;
    char *key = TAKE_PTR(code->stored);
    if (code->zip64.len) {
        code->stored = key;
        from_base64(c);
    } else {
        enum kist_err err = map_object(c, &zip);
        if (err != KIST_OK) {
            wrong_object(code, err);
        } else {
            code->stored = key;
            check_and_put(c, zip);
        }
        if (zip.ptr)
            munmap((void *)zip.ptr, zip.len);
    }
    if (code->code)
        code->stored = NULL;
}

bool fn_code_stored(struct fn_call *c)
{
    const struct fn_code *code = &c->code;
    if (!code->code)
        return true;
    fn_fail(c, strcmp(code->code, "ServiceException") == 0 ? 500 : 400, code->code,
            code->message);
    return false;
}

/* ---- and out of it ---- */

struct drop {
    struct job job;
    struct store *store;
    size_t count;
    char *keys[];
};

static void drop_run(struct job *job)
{
    static char bucket[] = FUNCTIONS_BUCKET;
    struct drop *d = CONTAINER_OF(job, struct drop, job);
    struct env *env = store_env(d->store);
    for (size_t i = 0; i < d->count; i++) {
        Kist__Command command = KIST__COMMAND__INIT;
        Kist__DeleteObjects objects = KIST__DELETE_OBJECTS__INIT;
        Kist__DeleteKey key = KIST__DELETE_KEY__INIT, *keys[] = { &key };
        key.key = schema_data(bytes_str(d->keys[i]));
        objects.bucket = bucket;
        objects.n_keys = 1;
        objects.keys = keys;
        objects.now_ms = env->now_ms(env);
        command.of_case = KIST__COMMAND__OF_DELETE_OBJECTS;
        command.delete_objects = &objects;
        enum kist_err err = store_commit(d->store, &command);
        if (err != KIST_OK && err != KIST_E_NO_KEY)
            TRACE(TRACE_ERROR, "functions", "code %s stays: %s", d->keys[i], kist_err_text(err));
        free(d->keys[i]);
    }
    free(d);
}

void fn_code_drop(struct functions *f, char *const *keys, size_t count)
{
    if (count == 0)
        return;
    struct drop *d = calloc(1, sizeof(*d) + count * sizeof(d->keys[0]));
    if (!d) {
        TRACE(TRACE_ERROR, "functions", "code stays: %s", kist_err_text(KIST_E_NOMEM));
        return;
    }
    d->store = f->store;
    d->job.run = drop_run;
    for (size_t i = 0; i < count; i++) {
        d->keys[d->count] = strdup(keys[i]);
        d->count += d->keys[d->count] != NULL;
    }
    registry_run(f->registry, &d->job);
}
