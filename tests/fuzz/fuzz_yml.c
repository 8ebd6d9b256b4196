/* Fuzzes the file of `kist apply`: any bytes are a tree within its bounds, or are refused with a
 * line; and a tree's JSON can be written and read again. */
#include <stdint.h>
#include <stdlib.h>

#include "server/cli/yml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static const char *variable(const char *name)
{
    return strcmp(name, "NAME") == 0 ? "value: [ ${NAME}" : NULL;
}

static size_t walk(const struct yml *node, unsigned depth)
{
    size_t count = 1, members = 0;
    check(depth <= YML_DEPTH_MAX + 1 && node->line > 0 && node->text);
    check(node->kind != YML_TEXT || !node->first);
    for (const struct yml *m = node->first; m; m = m->next, members++) {
        check((node->kind == YML_MAP) == (m->key != NULL));
        check(!m->key || yml_get(node, m->key) == m); /* none twice */
        count += walk(m, depth + 1);
    }
    check(members == node->count);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    arena_init(&arena, 64 << 20);
    struct yml_file file = { .arena = &arena };
    bool ok = yml_parse(&file, bytes_of(data, size), variable);
    check(ok ? file.root && !file.line : file.line > 0 && file.why[0]);
    if (ok) {
        check(walk(file.root, 1) <= YML_NODES_MAX);
        json_t *json = yml_json(file.root);
        char *text = json ? json_dumps(json, JSON_ENCODE_ANY) : NULL;
        json_t *again = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
        check(json_equal(json, again));
        json_decref(json);
        json_decref(again);
        free(text);
    }
    arena_release(&arena);
    return 0;
}
