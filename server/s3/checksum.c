/* Additional checksums.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html */
#include <stdlib.h>

#include "server/s3/internal.h"

static const struct {
    enum digest_kind kind;
    const char *name, *header, *element;
} kinds[] = {
    { DIGEST_CRC32, "CRC32", "x-amz-checksum-crc32", "ChecksumCRC32" },
    { DIGEST_CRC32C, "CRC32C", "x-amz-checksum-crc32c", "ChecksumCRC32C" },
    { DIGEST_CRC64NVME, "CRC64NVME", "x-amz-checksum-crc64nvme", "ChecksumCRC64NVME" },
    { DIGEST_SHA1, "SHA1", "x-amz-checksum-sha1", "ChecksumSHA1" },
    { DIGEST_SHA256, "SHA256", "x-amz-checksum-sha256", "ChecksumSHA256" },
};

static size_t row_of(enum digest_kind kind)
{
    size_t i = 0;
    while (i + 1 < ARRAY_LEN(kinds) && kinds[i].kind != kind)
        i++;
    return i;
}

bool s3_checksum_kind(struct bytes name, enum digest_kind *out)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (bytes_equal_nocase(name, bytes_str(kinds[i].name))) {
            *out = kinds[i].kind;
            return true;
        }
    return false;
}

const char *s3_checksum_name(enum digest_kind kind)
{
    return kinds[row_of(kind)].name;
}

const char *s3_checksum_header(enum digest_kind kind)
{
    return kinds[row_of(kind)].header;
}

bool s3_checksum_decode(enum digest_kind kind, struct bytes text, uint8_t *out)
{
    size_t len = 0;
    return base64_decode(text, out, digest_len(kind), &len) == KIST_OK && len == digest_len(kind);
}

/* By a header, or a form's field. */
static struct bytes claim(const struct s3_request *r, const char *name)
{
    return r->is_form ? s3_header(r, name) : exchange_header(r->x, name);
}

/* At most one of the headers, or one announced as a trailer. Values that a presigned query
 * carries are not looked at: SDKs hoist the checksum of a body that they do not know yet. */
static bool find_value(struct s3_request *r, size_t *count)
{
    struct s3_checksum *c = &r->checksum;
    struct bytes trailer = claim(r, "x-amz-trailer");
    *count = 0;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct bytes value = claim(r, kinds[i].header);
        bool announced = trailer.len && bytes_equal_nocase(trailer, bytes_str(kinds[i].header));
        if (!value.ptr && !announced)
            continue;
        ++*count;
        *c = (struct s3_checksum){ .wanted = true,
                                   .in_trailer = !value.ptr,
                                   .kind = kinds[i].kind };
        size_t dash = r->checksum_of_object ? bytes_find(value, BYTES_LIT("-"), 0) : SIZE_MAX;
        if (dash != SIZE_MAX) /* "-parts" of a composite checksum */
            value.len = dash;
        if (value.ptr && !s3_checksum_decode(c->kind, value, c->value)) {
            char *message =
                arena_printf(r->arena, "Value for %s header is invalid.", kinds[i].header);
            s3_fail_message(r, S3_INVALID_REQUEST, message ? message : "");
            return false;
        }
    }
    return true;
}

bool s3_checksum_parse(struct s3_request *r)
{
    size_t count;
    enum digest_kind asked;
    if (!find_value(r, &count))
        return false;
    if (count > 1) {
        s3_fail_message(r, S3_INVALID_REQUEST,
                        "Expecting a single x-amz-checksum- header. Multiple checksum Types are "
                        "not allowed.");
        return false;
    }
    struct bytes name = claim(r, "x-amz-sdk-checksum-algorithm");
    if (!name.len || bytes_equal_nocase(name, BYTES_LIT("MD5")))
        return true;
    if (!s3_checksum_kind(name, &asked)) {
        s3_fail_message(
            r, S3_INVALID_REQUEST,
            "Checksum algorithm provided is unsupported. Please try again with any of "
            "the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]");
        return false;
    }
    if (count && asked != r->checksum.kind) {
        s3_fail_message(r, S3_INVALID_REQUEST,
                        "Value for x-amz-sdk-checksum-algorithm header is invalid.");
        return false;
    }
    return true;
}

struct bytes s3_checksum_text(struct arena *arena, const Kist__Checksum *c, uint32_t parts)
{
    char text[BASE64_LEN(DIGEST_MAX_LEN) + 1] = "";
    if (c->value.len <= DIGEST_MAX_LEN)
        base64_encode(schema_bytes(c->value), text);
    char *whole =
        c->composite ? arena_printf(arena, "%s-%u", text, parts) : arena_strdup(arena, text);
    return bytes_str(whole);
}

const char *s3_checksum_type(bool composite)
{
    return composite ? "COMPOSITE" : "FULL_OBJECT";
}

void s3_checksum_headers(struct s3_request *r, const Kist__Checksum *c, uint32_t parts)
{
    if (!c)
        return;
    s3_add_header(r, s3_checksum_header((enum digest_kind)c->algorithm),
                  s3_checksum_text(r->arena, c, parts));
    s3_add_header_str(r, "x-amz-checksum-type", s3_checksum_type(c->composite));
}

void s3_xml_checksum(struct s3_xml *x, struct arena *arena, const Kist__Checksum *c,
                     uint32_t parts, bool type)
{
    if (!c)
        return;
    s3_xml_text(x, kinds[row_of((enum digest_kind)c->algorithm)].element,
                s3_checksum_text(arena, c, parts));
    if (type)
        s3_xml_str(x, "ChecksumType", s3_checksum_type(c->composite));
}

void s3_xml_checksum_kind(struct s3_xml *x, enum digest_kind kind, bool composite)
{
    s3_xml_str(x, "ChecksumAlgorithm", s3_checksum_name(kind));
    s3_xml_str(x, "ChecksumType", s3_checksum_type(composite));
}

Kist__Checksum *s3_checksum_record(struct s3_request *r)
{
    if (!r->checksum.wanted)
        return NULL;
    Kist__Checksum *c = arena_alloc(r->arena, sizeof(*c));
    if (!c)
        return NULL;
    kist__checksum__init(c);
    c->algorithm = (uint32_t)r->checksum.kind;
    c->value.data = r->checksum.value;
    c->value.len = digest_len(r->checksum.kind);
    return c;
}
