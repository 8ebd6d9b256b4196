/* XML request bodies: the parser's limits, that its tree can be walked, and what a notification
 * configuration becomes: rules that never tell one target of one change twice. */
#include "server/s3/notification.h"
#include "server/s3/xml_shape.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t walk(const struct s3_xml_node *node)
{
    size_t count = 0;
    for (; node; node = node->next)
        count += 1 + node->text.len + strlen(node->name) + walk(node->child);
    return count;
}

/* Ids that differ, and are the same at every run. */
static void counted(struct env *env, void *out, size_t len)
{
    static uint32_t count;
    (void)env;
    memset(out, 0, len);
    count++;
    memcpy(out, &count, len < sizeof(count) ? len : sizeof(count));
}

static void check_rules(const Kist__Notification *all)
{
    for (size_t i = 0; i < all->n_rules; i++) {
        const Kist__NotificationRule *rule = all->rules[i];
        if (!rule->kinds || !rule->id[0] || strncmp(rule->target, "arn:aws:", 8) != 0 ||
            rule->retries < 0)
            __builtin_trap();
        for (size_t k = i + 1; k < all->n_rules; k++)
            if ((rule->kinds & all->rules[k]->kinds) &&
                s3_notification_rules_meet(rule, all->rules[k]))
                __builtin_trap();
    }
}

static void notification(struct s3_xml_node *root, struct arena *arena)
{
    struct env env = { .random = counted };
    struct s3_notification_fault f = { 0 };
    if (!s3_shape_fits(root, s3_notification_shape) || !s3_notification_tidy(root, arena, &env))
        return;
    if (!s3_notification_judge(root, "us-east-1", arena, &f))
        return;
    Kist__Notification *all = s3_notification_compile(root, NULL, arena);
    if (all)
        check_rules(all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct s3_xml_node *root = NULL;
    arena_init(&arena, (size_t)16 << 20);
    if (s3_xml_parse(bytes_of(data, size), &arena, &root) == KIST_OK) {
        if (walk(root) == 0)
            __builtin_trap();
        notification(root, &arena);
    }
    arena_release(&arena);
    return 0;
}
