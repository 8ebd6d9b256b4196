#include "server/cli/yml.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <yaml.h>

#include "storage/base/cleanup.h"

#define VALUE_MAX ((size_t)256 << 10)
#define NAME_MAX_LEN 128

/* The lists and maps that are open, outermost first. */
struct reading {
    struct yml_file *file;
    const char *(*variable)(const char *name);
    struct yml *open[YML_DEPTH_MAX], *last[YML_DEPTH_MAX];
    size_t depth, nodes;
    const char *key; /* was read, its value not yet */
    unsigned key_line;
};

bool yml_fail(struct yml_file *file, unsigned line, const char *format, ...)
{
    va_list args;
    if (file->line)
        return false;
    file->line = line ? line : 1;
    va_start(args, format);
    vsnprintf(file->why, sizeof(file->why), format, args);
    va_end(args);
    return false;
}

/* ---- variables ---- */

/* The name between ${ and }; *end is behind it. NULL: it is none. */
static char *variable_name(struct arena *arena, const char *from, const char **end)
{
    size_t len = 0;
    while (isalnum((unsigned char)from[len]) || from[len] == '_')
        len++;
    if (len == 0 || len > NAME_MAX_LEN || from[len] != '}')
        return NULL;
    *end = from + len + 1;
    return arena_strndup(arena, from, len);
}

static bool append(struct reading *r, struct buf *out, const void *text, size_t len,
                   unsigned line)
{
    return buf_append(out, text, len) == KIST_OK ||
           yml_fail(r->file, line, "the value is longer than %zu bytes", VALUE_MAX);
}

static bool expand_into(struct reading *r, const char *text, unsigned line, struct buf *out)
{
    while (*text) {
        const char *dollar = strchr(text, '$'), *end = NULL;
        size_t before = dollar ? (size_t)(dollar - text) : strlen(text);
        if (!append(r, out, text, before, line))
            return false;
        if (!dollar)
            break;
        if (strncmp(dollar, "$${", 3) == 0) {
            text = dollar + 3;
            if (!append(r, out, "${", 2, line))
                return false;
        } else if (strncmp(dollar, "${", 2) == 0) {
            const char *name = variable_name(r->file->arena, dollar + 2, &end);
            const char *value = name ? r->variable(name) : NULL;
            if (!name)
                return yml_fail(r->file, line, "a variable is ${NAME}; $${ stands for ${");
            if (!value)
                return yml_fail(r->file, line, "the environment has no variable %s", name);
            if (!append(r, out, value, strlen(value), line))
                return false;
            text = end;
        } else {
            text = dollar + 1;
            if (!append(r, out, "$", 1, line))
                return false;
        }
    }
    return true;
}

static bool expand(struct reading *r, struct yml *node)
{
    struct buf out;
    if (!r->variable || !strstr(node->text, "${"))
        return true;
    buf_init(&out, VALUE_MAX);
    bool ok = expand_into(r, node->text, node->line, &out);
    if (ok) {
        node->text = arena_strndup(r->file->arena, out.len ? (char *)out.ptr : "", out.len);
        node->plain = false;
        ok = node->text || yml_fail(r->file, node->line, "out of memory");
    }
    buf_release(&out);
    return ok;
}

/* ---- the tree ---- */

static unsigned line_of(const yaml_event_t *e)
{
    return (unsigned)e->start_mark.line + 1;
}

/* A new node where the reading is; NULL after a failure. */
static struct yml *add(struct reading *r, enum yml_kind kind, unsigned line)
{
    struct yml_file *file = r->file;
    struct yml *parent = r->depth ? r->open[r->depth - 1] : NULL;
    struct yml *node = arena_zalloc(file->arena, sizeof(*node));
    if (++r->nodes > YML_NODES_MAX || !node) {
        yml_fail(file, line, "there is too much in the file");
        return NULL;
    }
    *node = (struct yml){ .kind = kind, .line = line, .text = "", .key = r->key };
    if (r->key)
        node->line = r->key_line;
    r->key = NULL;
    if (!parent) {
        file->root = node;
        return node;
    }
    struct yml **last = &r->last[r->depth - 1];
    *(*last ? &(*last)->next : &parent->first) = node;
    *last = node;
    parent->count++;
    return node;
}

static bool open_node(struct reading *r, enum yml_kind kind, const yaml_event_t *e)
{
    if (r->depth == YML_DEPTH_MAX)
        return yml_fail(r->file, line_of(e), "it is nested deeper than %d", YML_DEPTH_MAX);
    struct yml *node = add(r, kind, line_of(e));
    if (!node)
        return false;
    r->last[r->depth] = NULL;
    r->open[r->depth++] = node;
    return true;
}

static bool take_key(struct reading *r, const char *text, const yaml_event_t *e)
{
    const struct yml *map = r->open[r->depth - 1];
    const struct yml *before = yml_get(map, text);
    if (before)
        return yml_fail(r->file, line_of(e), "%.64s stands there twice, first in line %u", text,
                        before->line);
    if (strcmp(text, "<<") == 0)
        return yml_fail(r->file, line_of(e), "merging (<<) is not taken");
    r->key = text;
    r->key_line = line_of(e);
    return true;
}

static bool take_scalar(struct reading *r, const yaml_event_t *e)
{
    size_t len = e->data.scalar.length;
    const char *value = (const char *)e->data.scalar.value;
    char *text = arena_strndup(r->file->arena, value, len);
    if (memchr(value, 0, len))
        return yml_fail(r->file, line_of(e), "there is a zero byte in it");
    if (!text)
        return yml_fail(r->file, line_of(e), "out of memory");
    if (r->depth && r->open[r->depth - 1]->kind == YML_MAP && !r->key)
        return take_key(r, text, e);
    struct yml *node = add(r, YML_TEXT, line_of(e));
    if (!node)
        return false;
    node->text = text;
    node->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    return expand(r, node);
}

static bool has_marks(const yaml_char_t *anchor, const yaml_char_t *tag)
{
    return anchor || tag;
}

/* Anchors and tags: only what is without them is taken. */
static bool is_bare(const yaml_event_t *e)
{
    if (e->type == YAML_SCALAR_EVENT)
        return !has_marks(e->data.scalar.anchor, e->data.scalar.tag);
    if (e->type == YAML_SEQUENCE_START_EVENT)
        return !has_marks(e->data.sequence_start.anchor, e->data.sequence_start.tag);
    if (e->type == YAML_MAPPING_START_EVENT)
        return !has_marks(e->data.mapping_start.anchor, e->data.mapping_start.tag);
    return e->type != YAML_ALIAS_EVENT;
}

static bool take(struct reading *r, const yaml_event_t *e)
{
    bool opens = e->type == YAML_SEQUENCE_START_EVENT || e->type == YAML_MAPPING_START_EVENT;
    if (!is_bare(e))
        return yml_fail(r->file, line_of(e), "anchors, aliases and tags are not taken");
    if (opens && r->depth && r->open[r->depth - 1]->kind == YML_MAP && !r->key)
        return yml_fail(r->file, line_of(e), "a key must be a word");
    if (e->type == YAML_SCALAR_EVENT)
        return take_scalar(r, e);
    if (opens)
        return open_node(r, e->type == YAML_MAPPING_START_EVENT ? YML_MAP : YML_LIST, e);
    if (e->type == YAML_SEQUENCE_END_EVENT || e->type == YAML_MAPPING_END_EVENT)
        r->depth--;
    if (e->type == YAML_DOCUMENT_START_EVENT && r->file->root)
        return yml_fail(r->file, line_of(e), "there is a second document");
    return true;
}

static bool read_events(struct reading *r, yaml_parser_t *parser)
{
    bool ok = true, end = false;
    while (ok && !end) {
        yaml_event_t e;
        if (!yaml_parser_parse(parser, &e)) {
            const char *why = parser->problem ? parser->problem : "out of memory";
            return yml_fail(r->file, (unsigned)parser->problem_mark.line + 1, "it is no YAML: %s",
                            why);
        }
        end = e.type == YAML_STREAM_END_EVENT;
        ok = take(r, &e);
        yaml_event_delete(&e);
    }
    return ok;
}

bool yml_parse(struct yml_file *file, struct bytes text,
               const char *(*variable)(const char *name))
{
    struct reading r = { .file = file, .variable = variable };
    yaml_parser_t parser;
    file->root = NULL;
    file->line = 0;
    if (text.len > YML_BYTES_MAX)
        return yml_fail(file, 1, "it is larger than %zu bytes", YML_BYTES_MAX);
    if (!bytes_is_utf8(text))
        return yml_fail(file, 1, "it is not UTF-8");
    if (!yaml_parser_initialize(&parser))
        return yml_fail(file, 1, "out of memory");
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, text.len ? text.ptr : (const uint8_t *)"", text.len);
    bool ok = read_events(&r, &parser);
    yaml_parser_delete(&parser);
    return ok && (file->root || yml_fail(file, 1, "it is empty"));
}

/* ---- reading it ---- */

const struct yml *yml_get(const struct yml *map, const char *key)
{
    if (!map || map->kind != YML_MAP)
        return NULL;
    for (const struct yml *m = map->first; m; m = m->next)
        if (strcmp(m->key, key) == 0)
            return m;
    return NULL;
}

static bool lists(const char *names, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = names; len && (at = strstr(at, name)); at += len)
        if (at > names && at[-1] == '|' && at[len] == '|')
            return !strchr(name, '|');
    return false;
}

/* "name:" with nothing behind it. */
static bool is_nothing(const struct yml *node)
{
    return node->kind == YML_TEXT && node->plain && !*node->text;
}

bool yml_only(struct yml_file *file, const struct yml *map, const char *names)
{
    if (is_nothing(map))
        return true;
    if (map->kind != YML_MAP)
        return yml_fail(file, map->line, "%s: members in the form \"name: value\" are wanted",
                        map->key ? map->key : "the file");
    for (const struct yml *m = map->first; m; m = m->next)
        if (!lists(names, m->key))
            return yml_fail(file, m->line, "%.64s is not known in %.64s: it takes %.*s", m->key,
                            map->key ? map->key : "the file", (int)strlen(names) - 2, names + 1);
    return true;
}

bool yml_text(struct yml_file *file, const struct yml *map, const char *key, const char **out)
{
    const struct yml *m = yml_get(map, key);
    if (!m)
        return true;
    if (m->kind != YML_TEXT)
        return yml_fail(file, m->line, "%s must be a text", key);
    *out = m->text;
    return true;
}

bool yml_number(struct yml_file *file, const struct yml *map, const char *key, uint64_t min,
                uint64_t max, uint64_t *out)
{
    const struct yml *m = yml_get(map, key);
    uint64_t n = 0;
    if (!m)
        return true;
    if (m->kind != YML_TEXT || bytes_to_u64(bytes_str(m->text), max, &n) != KIST_OK || n < min)
        return yml_fail(file, m->line, "%s must be a number from %llu to %llu", key,
                        (unsigned long long)min, (unsigned long long)max);
    *out = n;
    return true;
}

bool yml_flag(struct yml_file *file, const struct yml *map, const char *key, bool *out)
{
    const struct yml *m = yml_get(map, key);
    if (!m)
        return true;
    bool yes = m->kind == YML_TEXT && strcmp(m->text, "true") == 0;
    if (!yes && (m->kind != YML_TEXT || strcmp(m->text, "false") != 0))
        return yml_fail(file, m->line, "%s must be true or false", key);
    *out = yes;
    return true;
}

static json_t *text_json(const struct yml *node)
{
    const char *t = node->text;
    if (node->plain && (!*t || strcmp(t, "null") == 0 || strcmp(t, "~") == 0))
        return json_null();
    if (node->plain && (*t == '-' || isdigit((unsigned char)*t) || strcmp(t, "true") == 0 ||
                        strcmp(t, "false") == 0)) {
        json_t *value = json_loads(t, JSON_DECODE_ANY, NULL); /* a word of JSON, or none */
        if (value)
            return value;
    }
    return json_string(t);
}

json_t *yml_json(const struct yml *node)
{
    if (node->kind == YML_TEXT)
        return text_json(node);
    json_t *out = node->kind == YML_LIST ? json_array() : json_object();
    for (const struct yml *m = node->first; m; m = m->next) {
        json_t *value = yml_json(m);
        int rc = node->kind == YML_LIST ? json_array_append_new(out, value)
                                        : json_object_set_new(out, m->key, value);
        if (rc != 0) {
            json_decref(out);
            return NULL;
        }
    }
    return out;
}
