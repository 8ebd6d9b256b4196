/* Whose buckets and objects are. */
#include "server/s3/internal.h"

enum kist_err s3_owner_find(struct s3_request *r, const char *canonical, struct auth_owner *out)
{
    const struct auth_identity *who = r->who.identity;
    if (!r->service->config.users) { /* one account, that of whoever asks */
        *out = (struct auth_owner){ who->id, who->display_name, who->account };
        return KIST_OK;
    }
    if (who->id.len && bytes_equal(bytes_str(canonical), who->id)) {
        *out = (struct auth_owner){ who->id, who->display_name, who->account };
        return KIST_OK;
    }
    enum kist_err err =
        auth_owner_find(r->service->config.users, bytes_str(canonical), r->arena, out);
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

struct auth_owner s3_owner_shown(struct s3_request *r, const char *canonical)
{
    struct bytes id = bytes_str(canonical);
    struct auth_owner found;
    if (bytes_equal(id, r->owner.id))
        return r->owner;
    if (bytes_equal(id, r->shown.id))
        return r->shown;
    if (!r->service->config.users ||
        auth_owner_find(r->service->config.users, id, r->arena, &found) != KIST_OK)
        found = (struct auth_owner){ .id = arena_copy(r->arena, id) };
    r->shown = found;
    return found;
}

void s3_xml_object_owner(struct s3_xml *x, struct s3_request *r, const char *element,
                         const Kist__Acl *acl)
{
    bool foreign = acl && acl->owner[0] && r->bucket_row->ownership != OWNERSHIP_ENFORCED;
    struct auth_owner owner = foreign ? s3_owner_shown(r, acl->owner) : r->owner;
    s3_xml_owner(x, element, owner.id, owner.display_name);
}

bool s3_is_own(const struct s3_request *r, const struct auth_owner *owner)
{
    return r->who.identity->id.len && bytes_equal(owner->id, r->who.identity->id);
}

/* https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html */
bool s3_owner_expected(struct s3_request *r, const char *header, const struct auth_owner *owner)
{
    struct bytes expected = s3_header(r, header);
    if (!expected.len || bytes_equal(expected, owner->account) ||
        bytes_equal(expected, owner->id))
        return true;
    s3_fail(r, S3_ACCESS_DENIED);
    return false;
}
