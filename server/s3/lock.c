/* Object lock: retention and legal hold of versions, a bucket's default.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html */
#include "server/s3/internal.h"

#define LOCK_XML_MAX ((size_t)64 << 10)
#define DAY_MS ((int64_t)86400000)
#define RETENTION_DAYS_MAX 36500

bool s3_bypass_governance(const struct s3_request *r)
{
    return bytes_equal_nocase(s3_header(r, "x-amz-bypass-governance-retention"),
                              BYTES_LIT("true"));
}

static bool mode_parse(struct bytes text, uint32_t *out)
{
    if (bytes_equal(text, BYTES_LIT("GOVERNANCE")))
        *out = LOCK_GOVERNANCE;
    else if (bytes_equal(text, BYTES_LIT("COMPLIANCE")))
        *out = LOCK_COMPLIANCE;
    else
        return false;
    return true;
}

static const char *mode_text(uint32_t mode)
{
    return mode == LOCK_COMPLIANCE ? "COMPLIANCE" : "GOVERNANCE";
}

static bool hold_parse(struct bytes text, bool *out)
{
    *out = bytes_equal(text, BYTES_LIT("ON"));
    return *out || bytes_equal(text, BYTES_LIT("OFF"));
}

static bool bucket_has_lock(struct s3_request *r)
{
    if (!r->bucket_row->object_lock)
        s3_fail_message(r, S3_INVALID_REQUEST, "Bucket is missing Object Lock Configuration");
    return r->bucket_row->object_lock;
}

/* ---- the bucket's default ---- */

struct lock_default {
    uint32_t mode; /* LOCK_NONE: there is none */
    int64_t days;
};

/* False when the document is not one. */
static bool read_default(const struct s3_xml_node *root, struct lock_default *out)
{
    const struct s3_xml_node *rule = s3_xml_child(root, "Rule");
    const struct s3_xml_node *retention = s3_xml_child(rule, "DefaultRetention");
    struct bytes days = s3_xml_child_text(retention, "Days");
    struct bytes years = s3_xml_child_text(retention, "Years");
    uint64_t count = 0;
    *out = (struct lock_default){ .mode = LOCK_NONE };
    if (strcmp(root->name, "ObjectLockConfiguration") != 0 ||
        !bytes_equal(s3_xml_child_text(root, "ObjectLockEnabled"), BYTES_LIT("Enabled")))
        return false;
    if (!rule)
        return true;
    if (!mode_parse(s3_xml_child_text(retention, "Mode"), &out->mode) ||
        (days.len != 0) == (years.len != 0))
        return false;
    uint64_t max = days.len ? RETENTION_DAYS_MAX : RETENTION_DAYS_MAX / 365;
    if (bytes_to_u64(days.len ? days : years, max, &count) != KIST_OK || count == 0)
        return false;
    out->days = (int64_t)count * (days.len ? 1 : 365);
    return true;
}

static enum kist_err load_default(struct s3_request *r, struct lock_default *out)
{
    struct bytes document;
    struct s3_xml_node *root = NULL;
    *out = (struct lock_default){ .mode = LOCK_NONE };
    TRY(store_bucket_config(r->service->config.store, r->bucket_row, CONFIG_OBJECT_LOCK, r->arena,
                            &document));
    if (!document.ptr)
        return KIST_OK;
    TRY(s3_xml_parse(document, r->arena, &root));
    return read_default(root, out) ? KIST_OK : KIST_E_CORRUPT;
}

bool s3_lock_check(struct s3_request *r, const struct s3_xml_node *root)
{
    struct lock_default ignored;
    if (!read_default(root, &ignored))
        s3_fail(r, S3_MALFORMED_XML);
    else if (r->bucket_row->versioning != VERSIONING_ENABLED)
        s3_fail_message(r, S3_INVALID_BUCKET_STATE,
                        "Versioning must be 'Enabled' on the bucket to apply a Object Lock "
                        "configuration");
    else
        return true;
    return false;
}

/* ---- new objects ---- */

bool s3_lock_parse(struct s3_request *r, struct s3_lock *out)
{
    struct bytes mode = s3_header(r, "x-amz-object-lock-mode");
    struct bytes until = s3_header(r, "x-amz-object-lock-retain-until-date");
    struct bytes hold = s3_header(r, "x-amz-object-lock-legal-hold");
    struct lock_default fallback;
    *out = (struct s3_lock){ .mode = LOCK_NONE };
    if ((mode.ptr || until.ptr || hold.ptr) && !bucket_has_lock(r))
        return false;
    if (!r->bucket_row->object_lock)
        return true;
    if ((mode.ptr != NULL) != (until.ptr != NULL)) {
        s3_fail_message(r, S3_INVALID_ARGUMENT,
                        "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must "
                        "both be supplied");
        return false;
    }
    if (mode.ptr && !mode_parse(mode, &out->mode)) {
        s3_fail_argument(r, "x-amz-object-lock-mode", mode, "Unknown wormMode directive.");
        return false;
    }
    if (until.ptr &&
        (time_parse_iso(until, &out->until_ms) != KIST_OK || out->until_ms <= s3_now(r))) {
        s3_fail_argument(r, "x-amz-object-lock-retain-until-date", until,
                         "The retain until date must be in the future!");
        return false;
    }
    if (hold.ptr && !hold_parse(hold, &out->hold)) {
        s3_fail_argument(r, "x-amz-object-lock-legal-hold", hold,
                         "Legal Hold must be either of "
                         "'ON' or 'OFF'");
        return false;
    }
    if (mode.ptr)
        return true;
    enum kist_err err = load_default(r, &fallback);
    if (err != KIST_OK) {
        s3_fail_err(r, err);
        return false;
    }
    out->mode = fallback.mode;
    out->until_ms = fallback.mode ? s3_now(r) + fallback.days * DAY_MS : 0;
    return true;
}

void s3_lock_headers(struct s3_request *r, const Kist__Object *o)
{
    char date[TIME_ISO_LEN];
    if (o->lock_mode) {
        time_iso(o->retain_until_ms, date);
        s3_add_header_str(r, "x-amz-object-lock-mode", mode_text(o->lock_mode));
        s3_add_header_str(r, "x-amz-object-lock-retain-until-date", date);
    }
    if (o->legal_hold)
        s3_add_header_str(r, "x-amz-object-lock-legal-hold", "ON");
}

/* ---- GetObjectRetention, PutObjectRetention ---- */

static void done(struct s3_request *r)
{
    s3_reply_empty(r, 200);
}

static void commit(struct s3_request *r, Kist__PutObjectLock *c)
{
    Kist__Command command = KIST__COMMAND__INIT;
    command.of_case = KIST__COMMAND__OF_PUT_OBJECT_LOCK;
    command.put_object_lock = c;
    c->bucket = s3_str(r, r->bucket);
    c->key = schema_data(r->key);
    c->version = r->version;
    c->now_ms = s3_now(r);
    c->bypass_governance = s3_bypass_governance(r);
    s3_commit(r, &command, done);
}

static void put_retention(struct s3_request *r)
{
    struct s3_xml_node *root = NULL;
    Kist__PutObjectLock c = KIST__PUT_OBJECT_LOCK__INIT;
    enum kist_err err = s3_xml_parse(buf_bytes(&r->body->xml), r->arena, &root);
    if (err != KIST_OK || strcmp(root->name, "Retention") != 0) {
        s3_fail(r, S3_MALFORMED_XML);
        return;
    }
    struct bytes mode = s3_xml_child_text(root, "Mode");
    struct bytes until = s3_xml_child_text(root, "RetainUntilDate");
    r->asked = (struct s3_asked){ .known = true, .lock_mode = mode, .lock_until = until };
    if (!s3_authorize_body(r) || !bucket_has_lock(r))
        return;
    c.set_retention = true;
    if (mode.len || until.len) { /* an empty document removes the retention */
        if (!mode_parse(mode, &c.lock_mode) ||
            time_parse_iso(until, &c.retain_until_ms) != KIST_OK) {
            s3_fail(r, S3_MALFORMED_XML);
            return;
        }
        if (c.retain_until_ms <= s3_now(r)) {
            s3_fail_argument(r, "RetainUntilDate", until,
                             "The retain until date must be in the future!");
            return;
        }
    }
    commit(r, &c);
}

void s3_put_object_retention(struct s3_request *r)
{
    s3_read_xml(r, LOCK_XML_MAX, put_retention);
}

void s3_get_object_retention(struct s3_request *r)
{
    struct s3_xml x = { .failed = false };
    Kist__Object *o = bucket_has_lock(r) ? s3_head_row(r) : NULL;
    if (!o)
        return;
    if (!o->lock_mode) {
        s3_fail(r, S3_NO_SUCH_LOCK);
        return;
    }
    s3_xml_begin(&x, "Retention");
    s3_xml_str(&x, "Mode", mode_text(o->lock_mode));
    s3_xml_time(&x, "RetainUntilDate", o->retain_until_ms);
    s3_xml_reply(r, &x, "Retention");
}

/* ---- GetObjectLegalHold, PutObjectLegalHold ---- */

static void put_hold(struct s3_request *r)
{
    struct s3_xml_node *root = NULL;
    Kist__PutObjectLock c = KIST__PUT_OBJECT_LOCK__INIT;
    bool on = false;
    enum kist_err err = s3_xml_parse(buf_bytes(&r->body->xml), r->arena, &root);
    if (err != KIST_OK || strcmp(root->name, "LegalHold") != 0 ||
        !hold_parse(s3_xml_child_text(root, "Status"), &on)) {
        s3_fail(r, S3_MALFORMED_XML);
        return;
    }
    r->asked = (struct s3_asked){ .known = true, .hold = s3_xml_child_text(root, "Status") };
    if (!s3_authorize_body(r) || !bucket_has_lock(r))
        return;
    c.set_legal_hold = true;
    c.legal_hold = on;
    commit(r, &c);
}

void s3_put_object_legal_hold(struct s3_request *r)
{
    s3_read_xml(r, LOCK_XML_MAX, put_hold);
}

void s3_get_object_legal_hold(struct s3_request *r)
{
    struct s3_xml x = { .failed = false };
    Kist__Object *o = bucket_has_lock(r) ? s3_head_row(r) : NULL;
    if (!o)
        return;
    s3_xml_begin(&x, "LegalHold");
    s3_xml_str(&x, "Status", o->legal_hold ? "ON" : "OFF");
    s3_xml_reply(r, &x, "LegalHold");
}
