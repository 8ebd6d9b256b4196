/* XML request bodies: the parser's limits, and that its tree can be walked. */
#include "server/s3/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t walk(const struct s3_xml_node *node)
{
    size_t count = 0;
    for (; node; node = node->next)
        count += 1 + node->text.len + strlen(node->name) + walk(node->child);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct s3_xml_node *root = NULL;
    arena_init(&arena, (size_t)16 << 20);
    if (s3_xml_parse(bytes_of(data, size), &arena, &root) == KIST_OK && walk(root) == 0)
        __builtin_trap();
    arena_release(&arena);
    return 0;
}
