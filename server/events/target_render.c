/* Events as targets get them. */
#include <jansson.h>

#include "server/events/target_internal.h"

#define JSON_TYPE "application/json"
#define CLOUD_TYPE "application/cloudevents+json"

static bool is_hex(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f')))
            return false;
    return true;
}

const char *target_traceparent(const Kist__Event *event)
{
    const char *trace = event->cause ? event->cause->trace : "";
    bool right = strlen(trace) == 55 && is_hex(trace, 2) && trace[2] == '-' &&
                 is_hex(trace + 3, 32) && trace[35] == '-' && is_hex(trace + 36, 16) &&
                 trace[52] == '-' && is_hex(trace + 53, 2);
    return right ? trace : NULL;
}

/* Attributes go where a header's value may stand: what cannot is percent-encoded.
 * https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
 * section 3.1.3.2 */
static const char *attribute_value(const char *text, struct arena *arena)
{
    static const char digits[] = "0123456789ABCDEF";
    char *out = arena_alloc(arena, 3 * strlen(text) + 1), *at = out;
    if (!out)
        return NULL;
    for (const char *c = text; *c; c++) {
        uint8_t byte = (uint8_t)*c;
        if (byte > 0x20 && byte < 0x7f && byte != '"' && byte != '%') {
            *at++ = *c;
            continue;
        }
        *at++ = '%';
        *at++ = digits[byte >> 4];
        *at++ = digits[byte & 15];
    }
    *at = 0;
    return out;
}

/* The structured form, taken apart: its data is the body, the rest stands beside it. */
static enum kist_err split_cloud(struct target_message *m, const json_t *root)
{
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)(uintptr_t)root, name, value)
    {
        const char *text = json_string_value(value);
        if (!text || strcmp(name, "data") == 0 || strcmp(name, "datacontenttype") == 0)
            continue;
        if (m->attribute_count == TARGET_ATTRIBUTES_MAX)
            return KIST_E_TOO_LARGE;
        struct target_attribute a = { arena_strdup(&m->arena, name),
                                      attribute_value(text, &m->arena) };
        if (!a.name || !a.value)
            return KIST_E_NOMEM;
        m->attributes[m->attribute_count++] = a;
    }
    char *data = json_dumps(json_object_get(root, "data"), JSON_COMPACT);
    if (!data)
        return KIST_E_NOMEM;
    buf_clear(&m->body);
    enum kist_err err = buf_append_str(&m->body, data);
    free(data);
    return err;
}

static enum kist_err render_binary(const struct event_form *form, struct target_message *m)
{
    TRY(event_render_cloud(form, m->delivery->event, m->delivery->id, &m->body));
    json_t *root = json_loadb((const char *)m->body.ptr, m->body.len, 0, NULL);
    enum kist_err err = root ? split_cloud(m, root) : KIST_E_CORRUPT;
    json_decref(root);
    return err;
}

enum kist_err target_render(const struct target_link *link, struct target_message *m)
{
    const struct targets_config *config = &link->targets->config;
    struct event_form form = { config->region,
                               store_env(config->store)->now_ms(store_env(config->store)) };
    const Kist__Event *event = m->delivery->event;
    m->content_type = JSON_TYPE;
    switch (link->form) {
    case TARGET_FORM_S3:
        return event_render_s3(&form, event, m->delivery->id, &m->body);
    case TARGET_FORM_BRIDGE:
        return event_render_bridge(&form, event, m->delivery->id, &m->body);
    case TARGET_FORM_CLOUD:
        m->content_type = CLOUD_TYPE;
        return event_render_cloud(&form, event, m->delivery->id, &m->body);
    case TARGET_FORM_BINARY:
        return render_binary(&form, m);
    }
    return KIST_E_INVALID;
}
