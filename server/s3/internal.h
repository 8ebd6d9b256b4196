/* What the S3 operations share. One request is one `struct s3_request`, from its arena:
 *
 *   route -> authenticate -> op->handle -> (s3_read_xml | object body) -> store -> reply
 *
 * A handler ends in exactly one s3_reply_* or s3_error*, at once or after a wait.
 */
#ifndef KIST_SERVER_S3_INTERNAL_H
#define KIST_SERVER_S3_INTERNAL_H

#include <stdatomic.h>

#include "auth/chunked.h"
#include "auth/policy.h"
#include "auth/sigv4.h"
#include "server/http/api.h"
#include "server/s3/s3.h"
#include "storage/base/codec.h"

enum s3_error {
#define X(name, code, status, message) S3_##name,
#include "server/s3/errors.def"
#undef X
    S3_ERROR_COUNT
};

enum s3_scope { S3_SCOPE_SERVICE, S3_SCOPE_BUCKET, S3_SCOPE_OBJECT, S3_SCOPE_WEBSITE };

struct s3_request;

struct s3_operation {
    const char *name;
    int method; /* enum http_method, or -1 for any */
    enum s3_scope scope;
    const char *query;  /* "a&b" or "a=v": all required */
    const char *header; /* required */
    void (*handle)(struct s3_request *r);
    const char *action; /* of policies; NULL: the handler asks itself */
};
extern const struct s3_operation s3_operations[];
extern const size_t s3_operation_count;

struct s3_param {
    struct bytes name, value; /* decoded */
};

struct s3_service {
    struct s3_config config;
    struct http_handler handler;
    struct s3_rules_cache *rules;
    struct access_log *access_log;   /* NULL: none is kept */
    struct usage_counter *usage;     /* NULL: nothing is counted */
    _Atomic uint64_t guest_bytes;    /* of large bodies of other services' requests */
    _Atomic uint64_t document_bytes; /* of all other bodies that are read whole */
    _Atomic uint64_t (*counters)[6]; /* by operation; the last is for unrouted requests */
};

/* Where a body goes; see body.c. */
struct s3_body {
    struct s3_request *request;
    bool chunked; /* aws-chunked */
    struct chunked_decoder decoder;
    struct buf xml; /* XML bodies */
    size_t xml_max_bytes;
    uint64_t xml_held;            /* of the service's document_bytes */
    struct object_writer *writer; /* object bodies */
    uint64_t max_bytes;           /* of those */
    uint64_t length;              /* decoded; UINT64_MAX: unknown */
    unsigned digests;             /* DIGEST_BIT()s wanted */
    uint8_t md5[16];              /* Content-MD5 */
    bool has_md5;
    bool failed;
    struct bytes waiting;               /* of a piece, until memory is there */
    void (*then)(struct s3_request *r); /* the body is whole and verified */
};

/* A checksum that the client gave, or asked for. */
struct s3_checksum {
    bool wanted;
    bool in_trailer;
    enum digest_kind kind;
    uint8_t value[DIGEST_MAX_LEN];
};

/* What a body asks for, as policies' conditions may speak of it; else headers tell. */
struct s3_asked {
    bool known;
    size_t n_tags;
    Kist__Pair **tags;
    struct bytes lock_mode, lock_until, hold;
    struct bytes location; /* of a new bucket, as its tags */
    size_t n_bucket_tags;
    Kist__Pair **bucket_tags;
};

struct s3_request {
    struct s3_service *service;
    struct exchange *x;
    struct arena *arena;
    const struct http_request *http;
    size_t op_index;
    enum s3_scope scope;
    struct bytes host;        /* the request's, as names are compared */
    struct bytes bucket, key; /* decoded; borrowed from the arena */
    uint64_t version;         /* versionId: VERSION_CURRENT when absent */
    Kist__Bucket *bucket_row; /* NULL: no bucket was asked for, or CreateBucket */
    struct auth_owner owner;  /* of bucket_row */
    bool charged;             /* x-amz-request-charged says so */
    bool creating;            /* access.c: the question is about an object to be */
    struct auth_owner shown;  /* the last that s3_owner_shown() looked up */
    struct s3_rules *rules;   /* of bucket_row; NULL: it has none */
    struct s3_param *params;
    bool is_form; /* of a POST upload: the parameters are its fields, and stand for headers */
    size_t param_count;
    struct auth_result who;
    struct s3_asked asked;
    struct s3_body *body;
    struct s3_checksum checksum;
    bool checksum_of_object; /* x-amz-checksum-* speaks of the object, not of this body */
    struct s3_seal *seal;    /* what the new object or part is encrypted with; NULL: nothing */
    unsigned digests;        /* more DIGEST_BIT()s for s3_read_object() to compute */
    struct store_op op;
    bool op_used, op_always;               /* op_then() also after an error */
    void (*op_then)(struct s3_request *r); /* the change is durable */
    struct object_reader *reader;          /* closed with the request */
    const char *error_code;                /* of an error reply, for the access log */
    const Kist__Object *seen; /* the row that was looked at, for the same; NULL: none */
    bool error_headers;       /* what was added so far goes with an error, too */
    void *state;              /* the operation's own, from the arena */
    bool body_is_counted;     /* elsewhere: not among document_bytes */
    struct guest *guest;      /* another service's request; NULL: S3's, or IAM's and so on */
};

/* ---- request.c: what the request says ---- */
/* ptr NULL when absent. Presigned queries may carry x-amz-* headers as parameters. */
struct bytes s3_header(const struct s3_request *r, const char *name);
struct bytes s3_param(const struct s3_request *r, const char *name);
bool s3_has_param(const struct s3_request *r, const char *name);
/* A decimal parameter of 0..max, or fallback when absent; on failure an error was replied. */
bool s3_param_number(struct s3_request *r, const char *name, uint64_t max, uint64_t fallback,
                     uint64_t *out);
/* encoding-type: false (after an error reply) when it is neither absent nor "url". */
bool s3_param_encoding(struct s3_request *r, bool *url);
bool s3_bucket_name_valid(struct bytes name);
/* Splits "/bucket/key?versionId=..." of x-amz-copy-source. */
enum s3_copy_source { S3_COPY_SOURCE_OK, S3_COPY_SOURCE_BAD, S3_COPY_SOURCE_BAD_VERSION };
enum s3_copy_source s3_parse_copy_source(struct bytes header, struct arena *arena,
                                         struct object_id *out);
/* "bucket" of bucket.<domain>; empty for the domain itself, an address, or a foreign name. */
struct bytes s3_host_bucket(const struct s3_request *r);
/* r->host; false: out of memory. */
bool s3_set_host(struct s3_request *r);
/* A form's fields take the place of the parameters. S3_ERROR_COUNT when all is well. */
enum s3_error s3_parse_form(struct s3_request *r, struct bytes form);
/* Target and Host to scope, bucket, key and parameters; S3_ERROR_COUNT when all is well. */
enum s3_error s3_parse_target(struct s3_request *r);
/* The row of the table, or an error. */
enum s3_error s3_route(struct s3_request *r);

/* ---- s3.c ---- */
/* r->bucket_row and r->rules; false after an error reply. */
bool s3_load_bucket(struct s3_request *r);

/* ---- front.c: requests of other services (server/http/api.h) ---- */
struct guest;
/* Whose the request is, by its host name or what it is signed for; NULL: ours. */
const struct api_service *s3_guest_service(const struct s3_request *r);
/* From here on r is that service's request; false: out of memory, and the connection is cut. */
bool s3_guest_begin(struct s3_request *r, const struct api_service *service);
/* The same for a thing of the service's: an ARN, which must live as long as r. */
bool s3_guest_begin_for(struct s3_request *r, const struct api_service *service,
                        struct bytes resource);
struct bytes s3_guest_name(const struct s3_request *r);
/* It takes requests without a signature, too. */
bool s3_guest_unsigned(const struct s3_request *r);
/* Who asks is known: reads the body and hands over. */
void s3_guest_call(struct s3_request *r);
void s3_guest_end(struct s3_request *r); /* nothing, when r is no guest's */
/* An error in the service's own form. */
void s3_guest_refuse(struct s3_request *r, unsigned status, const char *code,
                     const char *message);

/* ---- reply.c ---- */
const char *s3_error_code(enum s3_error error);
unsigned s3_error_status(enum s3_error error);
/* The one place where storage and auth results become S3 errors. */
enum s3_error s3_error_from(enum kist_err err);
void s3_fail(struct s3_request *r, enum s3_error error);
void s3_fail_message(struct s3_request *r, enum s3_error error, const char *message);
/* InvalidArgument with ArgumentName and ArgumentValue. */
void s3_fail_argument(struct s3_request *r, const char *name, struct bytes value,
                      const char *message);
/* The same of several things: the elements' names are numbered then. */
void s3_fail_arguments(struct s3_request *r, size_t n, const struct s3_param *arguments,
                       const char *message);
void s3_fail_err(struct s3_request *r, enum kist_err err);
void s3_fail_auth(struct s3_request *r, enum kist_err err);
struct bytes s3_error_xml(struct arena *arena, const struct exchange *x, const char *code,
                          const char *message, struct bytes resource, struct bytes extra);
void s3_reply_empty(struct s3_request *r, unsigned status);
/* Sends the buffer's bytes as application/xml and releases it. */
void s3_reply_xml(struct s3_request *r, struct buf *xml);
/* Errors of adding a header are out of memory: they fail the request. */
void s3_add_header(struct s3_request *r, const char *name, struct bytes value);
void s3_add_header_str(struct s3_request *r, const char *name, const char *value);

/* ---- xml_out.c: rendering; a buffer that overflows renders an InternalError ---- */
struct s3_xml {
    struct buf out;
    bool failed;
    bool url; /* encoding-type=url for keys */
};
void s3_xml_begin(struct s3_xml *x, const char *root);
void s3_xml_open(struct s3_xml *x, const char *name);
void s3_xml_close(struct s3_xml *x, const char *name);
void s3_xml_text(struct s3_xml *x, const char *name, struct bytes value);
void s3_xml_str(struct s3_xml *x, const char *name, const char *value);
void s3_xml_number(struct s3_xml *x, const char *name, uint64_t value);
void s3_xml_bool(struct s3_xml *x, const char *name, bool value);
void s3_xml_time(struct s3_xml *x, const char *name, int64_t ms);
/* A key or prefix: percent-encoded when the request asked for it. */
void s3_xml_key(struct s3_xml *x, const char *name, struct bytes value);
void s3_xml_etag(struct s3_xml *x, struct bytes md5, uint32_t parts);
void s3_xml_owner(struct s3_xml *x, const char *element, struct bytes id, struct bytes name);
void s3_xml_bucket_owner(struct s3_xml *x, const char *element, const struct s3_request *r);
void s3_xml_reply(struct s3_request *r, struct s3_xml *x, const char *root);

/* ---- xml_in.c: parsing with bounded depth, no entities, no network ---- */
struct s3_xml_node {
    const char *name;
    struct bytes text;
    struct s3_xml_node *child, *next;
};
/* The tree in the arena; KIST_E_INVALID for anything but small, plain, well-formed XML. */
enum kist_err s3_xml_parse(struct bytes in, struct arena *arena,
                           struct s3_xml_node **root) MUST_CHECK;
/* First child of that name, or NULL; NULL in, NULL out. */
const struct s3_xml_node *s3_xml_child(const struct s3_xml_node *node, const char *name);
/* Its text, ptr NULL when absent. */
struct bytes s3_xml_child_text(const struct s3_xml_node *node, const char *name);

/* ---- rules.c: a bucket's configurations, parsed, shared by requests ---- */
struct s3_rules {
    uint64_t bucket_id, stamp; /* Kist__Bucket.configs_changed */
    atomic_uint references;
    struct arena arena;
    struct policy *policy;                /* NULL: none */
    const struct s3_xml_node *cors;       /* NULL: none */
    const struct s3_xml_node *website;    /* NULL: none */
    const struct s3_xml_node *encryption; /* NULL: none */
    const struct s3_xml_node *logging;    /* NULL: none */
    struct bytes log_acl;       /* of log objects: a packed Kist__Acl; empty: the owner alone */
    const char *site;           /* the website's pages are below this prefix; NULL */
    Kist__Lifecycle *lifecycle; /* NULL: none */
    bool requester_pays;
    bool block_public_policy, restrict_public_buckets;
    bool block_public_acls, ignore_public_acls;
};
struct s3_rules_cache;
struct s3_rules_cache *s3_rules_cache_new(void);
void s3_rules_cache_free(struct s3_rules_cache *cache); /* NULL is allowed */
/* *out NULL: the bucket has no such configurations. Give back with s3_rules_drop(). */
enum kist_err s3_rules_get(struct s3_service *s, const Kist__Bucket *bucket,
                           struct s3_rules **out) MUST_CHECK;
void s3_rules_drop(struct s3_rules *rules); /* NULL is allowed */

/* ---- owner.c ---- */
/* The account that a row's owner stands for. */
enum kist_err s3_owner_find(struct s3_request *r, const char *canonical,
                            struct auth_owner *out) MUST_CHECK;
/* As it is shown, by an id that may be nobody's any more. */
struct auth_owner s3_owner_shown(struct s3_request *r, const char *canonical);
/* The owner of an object in a listing of the request's bucket. */
void s3_xml_object_owner(struct s3_xml *x, struct s3_request *r, const char *element,
                         const Kist__Acl *acl);
/* It is the account that the request acts for. */
bool s3_is_own(const struct s3_request *r, const struct auth_owner *owner);
/* A header that says whose the bucket should be; false after an error reply. */
bool s3_owner_expected(struct s3_request *r, const char *header, const struct auth_owner *owner);

/* ---- access.c: may they? ---- */
/* The operation's action on its target; false after an error reply. */
bool s3_authorize(struct s3_request *r);
/* s3:PutObject and what the headers add, once the key is known; false after an error reply. */
bool s3_authorize_put(struct s3_request *r);
/* Another action that the same request takes, on a key of its bucket (empty: on the bucket). */
bool s3_allowed(struct s3_request *r, const char *action, struct bytes key, uint64_t version);
/* An action on another bucket's object (key empty: on the bucket): what a copy reads. Of a named
 * version, the action that has the other name. */
bool s3_allowed_source(struct s3_request *r, const Kist__Bucket *bucket, const char *action,
                       const struct object_id *id);
/* For operations whose conditions speak of the body: once r->asked is there; false after an error
 * reply. Who is nobody has been refused before the body. */
bool s3_authorize_body(struct s3_request *r);
/* A condition key that is any service's: aws:SourceIp, aws:CurrentTime, the claims of web
 * identities. */
bool s3_aws_key(struct s3_request *r, struct bytes key, struct bytes *value);
/* Who must not list must not learn either what is missing. */
bool s3_may_know_absence(struct s3_request *r);

/* ---- cors.c ---- */
/* Adds what an answer to a browser on another origin needs; nothing without Origin or a rule. */
void s3_cors_headers(struct s3_request *r);
void s3_cors_preflight(struct s3_request *r);

/* ---- config.c ---- */
/* A stored document, parsed into the request's arena; *root NULL when the bucket has none. */
enum kist_err s3_config_xml(struct s3_request *r, enum bucket_config kind,
                            struct s3_xml_node **root) MUST_CHECK;
/* Stores a document; an empty one removes it. */
void s3_config_commit(struct s3_request *r, enum bucket_config kind, struct bytes document,
                      void (*then)(struct s3_request *r));

/* ---- body.c ---- */
/* Reads an XML body of at most max bytes, verifies it, then calls then(); r->body->xml has it. */
void s3_read_xml(struct s3_request *r, size_t max_bytes, void (*then)(struct s3_request *r));
/* Reads an object's body into r->body->writer, verified against all that the headers claim. */
void s3_read_object(struct s3_request *r, uint64_t max_bytes, void (*then)(struct s3_request *r));
void s3_body_release(struct s3_body *b);
/* For a body that is read otherwise: what headers claim of it, into r->body (false after an error
 * reply); and after its last byte, when the writer has it, the checks and then r->body->then().
 */
bool s3_body_claims(struct s3_request *r);
void s3_body_finish(struct s3_request *r);

/* ---- checksum.c ---- */
/* What headers say about the body's checksum; false after an error reply. */
bool s3_checksum_parse(struct s3_request *r);
bool s3_checksum_kind(struct bytes name, enum digest_kind *out); /* "CRC32C", any case */
const char *s3_checksum_name(enum digest_kind kind);             /* "CRC32C" */
const char *s3_checksum_header(enum digest_kind kind);           /* "x-amz-checksum-crc32c" */
const char *s3_checksum_type(bool composite);                    /* "FULL_OBJECT" */
/* Base64, and "-parts" when composite. */
struct bytes s3_checksum_text(struct arena *arena, const Kist__Checksum *c, uint32_t parts);
void s3_checksum_headers(struct s3_request *r, const Kist__Checksum *c, uint32_t parts);
void s3_xml_checksum(struct s3_xml *x, struct arena *arena, const Kist__Checksum *c,
                     uint32_t parts, bool type);
/* What checksum there is, without its value: as listings say it. */
void s3_xml_checksum_kind(struct s3_xml *x, enum digest_kind kind, bool composite);
/* From base64; false when the length is wrong. */
bool s3_checksum_decode(enum digest_kind kind, struct bytes text, uint8_t *out);
/* NULL when the request had none. */
Kist__Checksum *s3_checksum_record(struct s3_request *r);

/* ---- meta.c: an object's headers, metadata, tags, storage class ---- */
/* x-amz-object-lock-*, or the bucket's default. */
struct s3_lock {
    uint32_t mode; /* enum lock_mode */
    int64_t until_ms;
    bool hold;
};
struct s3_meta {
    size_t n_headers, n_metadata, n_tags;
    Kist__Pair **headers, **metadata, **tags;
    char *storage_class;
    struct s3_lock lock;
    Kist__Acl *acl; /* NULL: the bucket's owner alone */
};
/* From the request; false after an error reply. */
bool s3_meta_parse(struct s3_request *r, struct s3_meta *out);
bool s3_meta_tags(struct s3_request *r, struct s3_meta *out);
/* Into a new object; the arena's slices are shared. */
void s3_meta_fill(const struct s3_meta *meta, Kist__Object *o);
/* An offset means something to PutObject alone; false after an error reply. */
bool s3_refuse_offset(struct s3_request *r);
/* default_type: add binary/octet-stream when none is stored. */
void s3_meta_reply(struct s3_request *r, const Kist__Object *o, bool default_type);
/* Tagging documents. limit: 10 for objects, 50 for buckets. */
bool s3_tags_from_xml(struct s3_request *r, struct bytes xml, size_t limit, size_t *n,
                      Kist__Pair ***out);
/* The same of the element that holds them; NULL is no document. */
bool s3_tags_from_set(struct s3_request *r, const struct s3_xml_node *set, size_t limit,
                      size_t *n, Kist__Pair ***out);
void s3_tags_reply(struct s3_request *r, size_t n, Kist__Pair **tags);

/* ---- encryption.c ---- */
struct s3_seal {
    Kist__Seal record;
    uint8_t key[SEAL_KEY_BYTES], wrapped[SEAL_WRAPPED_BYTES]; /* of this body alone */
};
/* r->seal from the headers or the bucket's default; false after an error reply. */
bool s3_seal_parse(struct s3_request *r);
/* r->seal under the store's own key, for what no client asked to be written: no reply is made. */
enum kist_err s3_seal_service(struct s3_request *r) MUST_CHECK;
/* r->seal of a part, as its upload wants it (NULL: plain); false after an error reply. */
bool s3_seal_part(struct s3_request *r, const Kist__Seal *upload);
/* A copy for which nothing was asked stays encrypted as its source is, with keys of ours; false
 * after an error reply. */
bool s3_seal_keep(struct s3_request *r, const Kist__Seal *source);
/* r->seal asks for no more than the source's data have: they can be shared. */
bool s3_seal_matches(const struct s3_request *r, const Kist__Seal *source);
/* For the record of what is written; NULL: plain. */
Kist__Seal *s3_seal_record(struct s3_request *r);
enum kist_err s3_seal_writer(struct s3_request *r, struct object_writer *w) MUST_CHECK;
void s3_seal_wipe(struct s3_request *r);
/* Opens r->reader's data with our keys or the customer's, which the headers bring; prefix: "" or
 * "copy-source-". False after an error reply. */
bool s3_unseal(struct s3_request *r, const char *prefix);
/* With our keys only: for those who bring none. KIST_E_DENIED. */
enum kist_err s3_unseal_own(struct s3_request *r, struct object_reader *reader) MUST_CHECK;
void s3_seal_headers(struct s3_request *r, const Kist__Seal *seal); /* NULL: none */
/* Judges a ServerSideEncryptionConfiguration; false after an error reply. */
bool s3_encryption_check(struct s3_request *r, const struct s3_xml_node *root);

/* ---- put.c ---- */
/* Commits r->body->writer as the request's object. */
void s3_put_commit(struct s3_request *r, const struct s3_meta *meta, Kist__Condition *condition,
                   void (*then)(struct s3_request *r));

/* ---- version.c ---- */
/* 0 is the null version. */
struct bytes s3_version_text(struct arena *arena, uint64_t version);
/* To VERSION_NULL or an id; false for what was never an id. */
bool s3_version_parse(struct bytes text, uint64_t *out);
/* versionId into r->version; false after an error reply. */
bool s3_version_param(struct s3_request *r);
/* x-amz-version-id, when the bucket keeps versions. */
void s3_version_header(struct s3_request *r, bool versioned, uint64_t version);
/* The request's bucket has, or had, versioning enabled. */
bool s3_versioned(const struct s3_request *r);
/* Replies to an error of store_head(); marker may be NULL. */
void s3_fail_object(struct s3_request *r, enum kist_err err, const Kist__Object *marker);
/* Opens the request's object into r->reader, or reads its row only; NULL after an error reply. */
const Kist__Object *s3_open_object(struct s3_request *r);
Kist__Object *s3_head_row(struct s3_request *r);

/* ---- lock.c ---- */
bool s3_bypass_governance(const struct s3_request *r);
/* What locks a new object; false after an error reply. */
bool s3_lock_parse(struct s3_request *r, struct s3_lock *out);
void s3_lock_headers(struct s3_request *r, const Kist__Object *o);
/* Judges an ObjectLockConfiguration; false after an error reply. */
bool s3_lock_check(struct s3_request *r, const struct s3_xml_node *root);

/* ---- lifecycle.c ---- */
/* Gives an ID to each rule that came without one: it is stored, and so stays. False: out of
 * memory. */
bool s3_lifecycle_name_rules(struct s3_request *r, struct s3_xml_node *root);
/* Judges and compiles a LifecycleConfiguration; false after an error reply. */
bool s3_lifecycle_check(struct s3_request *r, const struct s3_xml_node *root);
/* NULL: out of memory, or not a configuration. */
Kist__Lifecycle *s3_lifecycle_compile(const struct s3_xml_node *root, int64_t day_ms,
                                      struct arena *arena);
/* x-amz-expiration of a current object. */
void s3_lifecycle_header(struct s3_request *r, const Kist__Object *o);
/* As AWS makes rules' ids: a random UUID (RFC 9562, version 4) in base64. NULL: out of memory. */
char *s3_new_id(struct env *env, struct arena *arena);

/* ---- notification.c, notification_put.c ---- */
bool s3_notification_prepare(struct s3_request *r, struct s3_xml_node *root);
/* Judges and compiles a NotificationConfiguration, and asks its targets; false after an error
 * reply. */
bool s3_notification_check(struct s3_request *r, const struct s3_xml_node *root);
/* What was compiled; NULL: nothing was asked for. */
Kist__Notification *s3_notification_rules(const struct s3_request *r);
/* The configuration holds: its new targets are tried, then the reply is made. */
void s3_notification_done(struct s3_request *r);

/* ---- website.c ---- */
/* True: the host name is a website's, and whose. */
bool s3_website_bucket(struct s3_request *r, struct bytes *bucket);
void s3_website(struct s3_request *r);

/* ---- get.c ---- */
/* How an open object is sent, where it is not GetObject that sends it. */
struct s3_serving {
    unsigned status;      /* 200; otherwise without conditions and ranges */
    const char *type;     /* Content-Type; NULL: as stored */
    const char *encoding; /* Content-Encoding; NULL: as stored */
    bool vary;            /* by Accept-Encoding */
};
/* Sends r->reader's object with its conditions and ranges. */
void s3_serve(struct s3_request *r, const struct s3_serving *how);

/* ---- conditions.c ---- */
struct bytes s3_etag(struct arena *arena, struct bytes md5, uint32_t parts); /* with quotes */
/* If-Match and so on of a read; S3_ERROR_COUNT: go on. *not_modified: answer 304. */
enum s3_error s3_check_read(const struct s3_request *r, const Kist__Object *o,
                            const char *header_prefix, bool *not_modified);
/* Conditional writes; false after an error reply. *out NULL when there is none. */
bool s3_write_condition(struct s3_request *r, Kist__Condition **out);
/* The same with dates; of the destination (prefix "") or the source of a rename. */
bool s3_rename_condition(struct s3_request *r, const char *prefix, Kist__Condition **out);

/* ---- cause.c ---- */
/* Of the command that the request makes; NULL: nobody will ask, or out of memory. */
Kist__Cause *s3_cause(struct s3_request *r);

/* ---- op.c: waiting for the store ---- */
void s3_commit(struct s3_request *r, const Kist__Command *command,
               void (*then)(struct s3_request *r));
/* then() also when the change was refused: r->op.err says why. */
void s3_commit_always(struct s3_request *r, const Kist__Command *command,
                      void (*then)(struct s3_request *r));
void s3_commit_put(struct s3_request *r, Kist__Command *command,
                   void (*then)(struct s3_request *r));
/* A NUL-terminated copy in the arena; never NULL: fails the request by an empty string. */
char *s3_str(struct s3_request *r, struct bytes b);
int64_t s3_now(const struct s3_request *r);

void s3_list_buckets(struct s3_request *r);
void s3_create_bucket(struct s3_request *r);
void s3_head_bucket(struct s3_request *r);
void s3_delete_bucket(struct s3_request *r);
void s3_get_bucket_location(struct s3_request *r);
void s3_get_bucket_tagging(struct s3_request *r);
void s3_put_bucket_tagging(struct s3_request *r);
void s3_delete_bucket_tagging(struct s3_request *r);
void s3_put_object(struct s3_request *r);
void s3_post_object(struct s3_request *r);
void s3_append_object(struct s3_request *r); /* PutObject at an offset */
void s3_rename_object(struct s3_request *r);
void s3_get_object(struct s3_request *r);
void s3_head_object(struct s3_request *r);
void s3_delete_object(struct s3_request *r);
void s3_delete_objects(struct s3_request *r);
void s3_copy_object(struct s3_request *r);
void s3_list_objects(struct s3_request *r);
void s3_list_objects_v2(struct s3_request *r);
void s3_get_object_tagging(struct s3_request *r);
void s3_put_object_tagging(struct s3_request *r);
void s3_delete_object_tagging(struct s3_request *r);
void s3_get_object_attributes(struct s3_request *r);
void s3_create_multipart_upload(struct s3_request *r);
void s3_upload_part(struct s3_request *r);
void s3_upload_part_copy(struct s3_request *r);
void s3_complete_multipart_upload(struct s3_request *r);
void s3_abort_multipart_upload(struct s3_request *r);
void s3_list_parts(struct s3_request *r);
void s3_list_multipart_uploads(struct s3_request *r);
void s3_get_bucket_config(struct s3_request *r);
void s3_put_bucket_config(struct s3_request *r);
void s3_delete_bucket_config(struct s3_request *r);
void s3_get_bucket_policy(struct s3_request *r);
void s3_put_bucket_policy(struct s3_request *r);
void s3_delete_bucket_policy(struct s3_request *r);
void s3_get_bucket_policy_status(struct s3_request *r);
void s3_get_acl(struct s3_request *r);
void s3_put_acl(struct s3_request *r);
void s3_get_ownership(struct s3_request *r);
void s3_put_ownership(struct s3_request *r);
void s3_delete_ownership(struct s3_request *r);
void s3_get_object_retention(struct s3_request *r);
void s3_put_object_retention(struct s3_request *r);
void s3_get_object_legal_hold(struct s3_request *r);
void s3_put_object_legal_hold(struct s3_request *r);
void s3_get_bucket_versioning(struct s3_request *r);
void s3_put_bucket_versioning(struct s3_request *r);
void s3_list_object_versions(struct s3_request *r);

#endif
