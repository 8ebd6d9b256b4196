/* What a function may do at the store: its role's session, as AssumeRole would give it. */
#include "server/functions/run.h"

static char *random_text(struct env *env, struct arena *arena, const char *prefix, size_t len,
                         const char *alphabet, size_t alphabet_len)
{
    uint8_t random[64];
    size_t n = strlen(prefix);
    char *text = arena_alloc(arena, len + 1);
    if (!text)
        return NULL;
    memcpy(text, prefix, n);
    env->random(env, random, len);
    /* Both alphabets have a power of two: no letter is likelier. */
    for (size_t i = n; i < len; i++)
        text[i] = alphabet[random[i] % alphabet_len];
    text[len] = '\0';
    return text;
}

/* arn:aws:iam::ACCOUNT:role/PATH/NAME */
static bool role_parse(const char *role, struct arena *arena, char **account, char **name)
{
    static const char prefix[] = "arn:aws:iam::";
    const char *at = role + sizeof(prefix) - 1, *last = strrchr(role, '/');
    if (strncmp(role, prefix, sizeof(prefix) - 1) != 0 || strlen(at) < ACCOUNT_ID_LEN ||
        strncmp(at + ACCOUNT_ID_LEN, ":role/", 6) != 0 || !last || !last[1])
        return false;
    *account = arena_strndup(arena, at, ACCOUNT_ID_LEN);
    *name = arena_strdup(arena, last + 1);
    return *account && *name;
}

enum kist_err credentials_make(struct functions *f, const Kist__Function *function,
                               unsigned depth, struct arena *arena, struct fn_credentials *out)
{
    static const char ids[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    static const char secrets[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct env *env = store_env(f->store);
    Kist__Session session = KIST__SESSION__INIT;
    Kist__Lineage lineage = KIST__LINEAGE__INIT;
    struct function_id id = { bytes_str(function->account), bytes_str(function->name),
                              bytes_str(function->version) };
    struct bytes token;
    if (!function->role[0] || !f->users)
        return KIST_OK;
    if (!role_parse(function->role, arena, &session.account, &session.name))
        return KIST_E_INVALID;
    session.access_key = random_text(env, arena, "ASIA", ACCESS_KEY_LEN, ids, sizeof(ids) - 1);
    session.secret = random_text(env, arena, "", 40, secrets, sizeof(secrets) - 1);
    session.kind = IAM_ROLE;
    session.session_name = function->name;
    session.expires_ms = env->now_ms(env) + CREDENTIALS_LIFE_MS;
    /* Requests that come another way than through the environment's own port are the function's
     * all the same. */
    lineage.function = function_arn(f, &id, arena);
    lineage.depth = depth;
    session.lineage = &lineage;
    if (!session.access_key || !session.secret || !lineage.function)
        return KIST_E_NOMEM;
    TRY(session_seal(auth_user_store_sealer(f->users), env, &session, arena, &token));
    out->access_key = session.access_key;
    out->secret = session.secret;
    out->token = arena_strndup(arena, token.ptr, token.len);
    return out->token ? KIST_OK : KIST_E_NOMEM;
}
