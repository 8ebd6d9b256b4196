/* The root key, the one credential of a store without users. */
#include "auth/credentials.h"

#include <stdio.h>
#include <stdlib.h>

#include "storage/base/codec.h"
#include "storage/base/digest.h"

static enum kist_err root_find(struct credential_store *base, struct bytes access_key_id,
                               struct bytes token, struct arena *arena, struct credential *out)
{
    struct auth_root_store *store = (struct auth_root_store *)base;
    (void)arena; /* everything lives in the store */
    if (token.len)
        return KIST_E_TOKEN;
    if (!bytes_equal(access_key_id, bytes_of(store->access_key, store->access_key_len)))
        return KIST_E_NO_SUCH_ACCESS_KEY;
    out->secret = bytes_of(store->secret, store->secret_len);
    out->identity = &store->identity;
    out->hold = NULL;
    return KIST_OK;
}

static bool is_key_id(struct bytes s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] <= ' ' || s.ptr[i] > '~' || s.ptr[i] == '/' || s.ptr[i] == ',')
            return false;
    return true;
}

/* S3 shows owners as 64 hex digits that do not change; they must not betray the secret, so they
 * come from the key's public half. */
static void owner_id(struct bytes access_key, char out[65])
{
    uint8_t hash[32];
    hmac_sha256(BYTES_LIT("kist owner id"), access_key, hash);
    hex_encode(bytes_of(hash, sizeof hash), out);
}

bool auth_key_is_valid(struct bytes access_key, struct bytes secret)
{
    return access_key.len > 0 && access_key.len <= AUTH_ACCESS_KEY_MAX && is_key_id(access_key) &&
           secret.len > 0 && secret.len <= AUTH_SECRET_MAX;
}

void auth_root_store_adopt(struct auth_root_store *store, struct bytes canonical,
                           struct bytes account)
{
    snprintf(store->owner_id, sizeof(store->owner_id), "%.*s", (int)canonical.len,
             (const char *)canonical.ptr);
    snprintf(store->account, sizeof(store->account), "%.*s", (int)account.len,
             (const char *)account.ptr);
    snprintf(store->arn, sizeof(store->arn), "arn:aws:iam::%s:root", store->account);
}

enum kist_err auth_root_store_init(struct auth_root_store *store, struct bytes access_key,
                                   struct bytes secret)
{
    char canonical[65], account[13];
    if (!auth_key_is_valid(access_key, secret))
        return KIST_E_INVALID;
    memset(store, 0, sizeof *store);
    store->base.find = root_find;
    memcpy(store->access_key, access_key.ptr, access_key.len);
    store->access_key_len = access_key.len;
    memcpy(store->secret, secret.ptr, secret.len);
    store->secret_len = secret.len;
    owner_id(access_key, canonical);
    /* Twelve digits that stay with the owner id. */
    unsigned long long number = strtoull(canonical + 52, NULL, 16) % 1000000000000ULL;
    snprintf(account, sizeof(account), "%012llu", number);
    auth_root_store_adopt(store, bytes_of(canonical, 64), bytes_of(account, 12));
    store->identity = (struct auth_identity){ .is_root = true,
                                              .id = bytes_of(store->owner_id, 64),
                                              .display_name = BYTES_LIT("root"),
                                              .account = bytes_of(store->account, 12),
                                              .arn = bytes_str(store->arn),
                                              .type = BYTES_LIT("Account"),
                                              .user_id = bytes_of(store->account, 12) };
    return KIST_OK;
}

bool auth_web_key(const struct auth_identity *who, struct bytes key, struct bytes *out)
{
    static const struct bytes mark = { (const uint8_t *)":oidc-provider/", 15 };
    size_t at = bytes_find(who->federated, mark, 0);
    if (at == SIZE_MAX)
        return false;
    if (bytes_equal_nocase(key, BYTES_LIT("aws:FederatedProvider"))) {
        *out = who->federated;
        return true;
    }
    at += mark.len;
    size_t len = who->federated.len - at;
    if (key.len != len + 4 ||
        !bytes_equal_nocase(bytes_of(key.ptr, len), bytes_of(who->federated.ptr + at, len)))
        return false;
    struct bytes claim = bytes_of(key.ptr + len, 4);
    bool subject = bytes_equal_nocase(claim, BYTES_LIT(":sub"));
    if (!subject && !bytes_equal_nocase(claim, BYTES_LIT(":aud")))
        return false;
    *out = subject ? who->web_subject : who->web_audience;
    return true;
}
