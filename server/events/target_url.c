/* Targets' URLs. curl takes them apart, as it will when it uses them. */
#include <curl/curl.h>

#include "server/events/target_internal.h"

/* "" when it is not there; NULL when it cannot be decoded: a control character, or no memory. */
static const char *part(CURLU *u, CURLUPart which, unsigned flags, struct arena *arena)
{
    char *text = NULL;
    const char *copy = NULL;
    switch (curl_url_get(u, which, &text, flags)) {
    case CURLUE_OK:
        copy = arena_strdup(arena, text);
        break;
    case CURLUE_NO_SCHEME:
    case CURLUE_NO_USER:
    case CURLUE_NO_PASSWORD:
    case CURLUE_NO_HOST:
    case CURLUE_NO_PORT:
    case CURLUE_NO_QUERY:
        copy = "";
        break;
    default:
        break;
    }
    curl_free(text);
    return copy;
}

/* "redis://user:***@host": secrets are not shown again. */
static const char *shown(CURLU *u, bool secret, struct arena *arena)
{
    if (secret && curl_url_set(u, CURLUPART_PASSWORD, "***", 0) != CURLUE_OK)
        return NULL;
    return part(u, CURLUPART_URL, 0, arena);
}

static enum kist_err read_parts(CURLU *u, const char *url, struct arena *arena,
                                struct target_url *out)
{
    struct target_url parts = { 0 };
    uint64_t port = 0;
    if (curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
        return KIST_E_INVALID;
    parts.scheme = part(u, CURLUPART_SCHEME, 0, arena);
    parts.user = part(u, CURLUPART_USER, CURLU_URLDECODE, arena);
    parts.password = part(u, CURLUPART_PASSWORD, CURLU_URLDECODE, arena);
    parts.host = part(u, CURLUPART_HOST, 0, arena);
    parts.path = part(u, CURLUPART_PATH, CURLU_URLDECODE, arena);
    parts.query = part(u, CURLUPART_QUERY, 0, arena);
    const char *number = part(u, CURLUPART_PORT, 0, arena);
    parts.shown = shown(u, parts.password && *parts.password, arena);
    if (!parts.scheme || !parts.user || !parts.password || !parts.host || !parts.path ||
        !parts.query || !number || !parts.shown)
        return KIST_E_INVALID;
    if (*number && bytes_to_u64(bytes_str(number), UINT16_MAX, &port) != KIST_OK)
        return KIST_E_INVALID;
    size_t len = strlen(parts.host);
    if (len > 2 && parts.host[0] == '[') { /* getaddrinfo() wants it without */
        parts.host = arena_strndup(arena, parts.host + 1, len - 2);
        if (!parts.host)
            return KIST_E_NOMEM;
    }
    parts.port = (unsigned)port;
    *out = parts;
    return *parts.host ? KIST_OK : KIST_E_INVALID;
}

enum kist_err target_url_parse(const char *url, struct arena *arena, struct target_url *out)
{
    size_t len = strlen(url);
    if (len == 0 || len > TARGET_URL_MAX)
        return KIST_E_INVALID;
    for (size_t i = 0; i < len; i++)
        if (url[i] <= ' ' || url[i] > '~')
            return KIST_E_INVALID;
    CURLU *u = curl_url();
    if (!u)
        return KIST_E_NOMEM;
    enum kist_err err = read_parts(u, url, arena, out);
    curl_url_cleanup(u);
    return err;
}
