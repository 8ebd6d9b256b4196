/* The same through a running server: one signed form, one short reply. */
#include <stdio.h>
#include <stdlib.h>

#include "server/cli/account_internal.h"
#include "server/cli/client.h"
#include "storage/base/codec.h"

/* ---- the request ---- */

static enum kist_err field(struct buf *form, const char *name, struct bytes value)
{
    if (!value.len)
        return KIST_OK;
    TRY(buf_printf(form, "&%s=", name));
    return uri_encode(form, value, false);
}

static enum kist_err make_form(const struct account_call *call, struct buf *form)
{
    static const char *const actions[][2] = {
        { "create", "CreateAccount" },
        { "ls", "ListAccounts" },
        { "rm", "DeleteAccount" },
        { "key create", "CreateAccountKey" },
        { "key rotate", "RotateAccountKey" },
        { "key rm", "DeleteAccountKey" },
    };
    for (size_t i = 0; i < ARRAY_LEN(actions); i++)
        if (strcmp(call->verb, actions[i][0]) == 0)
            TRY(buf_printf(form, "Action=%s&Version=2010-05-08", actions[i][1]));
    TRY(field(form, "AccountName", call->name ? bytes_str(call->name) : BYTES_EMPTY));
    if (call->key_id)
        return field(form, "AccessKeyId", bytes_str(call->key_id));
    TRY(field(form, "AccessKeyId", call->key.access_key));
    return field(form, "SecretAccessKey", call->key.secret);
}

/* ---- the reply ---- */

static void print_list(struct bytes xml)
{
    static const char *const names[] = { "AccountId", "CanonicalId", "AccountName" };
    struct bytes member, value;
    for (size_t at = 0; client_element(xml, "member", &at, xml.len, &member);) {
        size_t in = 0;
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
            if (client_element(member, names[i], &in, member.len, &value))
                printf("%s%.*s", i ? " " : "", (int)value.len, (const char *)value.ptr);
        while (client_element(member, "AccessKeyId", &in, member.len, &value))
            printf(" %.*s", (int)value.len, (const char *)value.ptr);
        printf("\n");
    }
}

static void print_account(struct bytes xml)
{
    static const char *const names[][2] = {
        { "AccountId", "account-id" },   { "CanonicalId", "canonical-id" },
        { "AccountName", "name" },       { "AccessKey", NULL },
        { "AccessKeyId", "access-key" }, { "SecretAccessKey", "secret-key" }
    };
    struct bytes value;
    size_t at = 0;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        size_t before = at;
        if (!client_element(xml, names[i][0], &at, xml.len, &value)) {
            if (!names[i][1])
                return; /* no new key */
        } else if (!names[i][1]) {
            at = before; /* what follows lies inside it */
            at = bytes_find(xml, BYTES_LIT("<AccessKey>"), at);
        } else {
            printf("%s %.*s\n", names[i][1], (int)value.len, (const char *)value.ptr);
        }
    }
}

static int talk(const struct account_call *call, struct client *c, struct buf *form)
{
    struct client_request q = { .service = "iam", .method = "POST", .path = "/", .once = true };
    if (make_form(call, form) != KIST_OK) {
        fprintf(stderr, "kist: the request is too large\n");
        return 1;
    }
    client_header_add(&q, "Content-Type", "application/x-www-form-urlencoded");
    q.body = buf_bytes(form);
    bool ok = client_do(c, &q);
    if (!ok)
        client_complain(&q, call->name ? call->name : call->verb);
    else if (strcmp(call->verb, "ls") == 0)
        print_list(buf_bytes(&q.reply));
    else
        print_account(buf_bytes(&q.reply));
    client_request_release(&q);
    return ok ? 0 : 1;
}

int account_remote(const struct account_call *call)
{
    struct client_options options = { .endpoint = call->endpoint, .ca_file = call->ca_file };
    struct client *c = NULL;
    struct root_key key;
    struct buf form;
    enum kist_err err = root_key_find(call->data, getenv("KIST_ROOT_ACCESS_KEY"),
                                      getenv("KIST_ROOT_SECRET_KEY"), &key);
    if (err != KIST_OK) {
        fprintf(stderr, "kist: the root key: %s\n", kist_err_text(err));
        return 1;
    }
    int rc = client_open(&options, &key, &c);
    explicit_bzero(&key, sizeof(key));
    if (rc != 0)
        return rc;
    buf_init(&form, 8192);
    rc = talk(call, c, &form);
    buf_release(&form);
    client_close(c);
    return rc;
}
