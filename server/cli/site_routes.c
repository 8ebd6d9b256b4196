/* Paths of a website that functions answer: routing rules with <Function>, kist's own; the
 * others are somebody else's and stay. */
#include "server/cli/site_internal.h"

#define RULES_MAX ((size_t)512 << 10)
#define OPEN "<RoutingRules>"
#define CLOSE "</RoutingRules>"

static enum kist_err add_escaped(struct buf *out, const char *text)
{
    for (; *text; text++)
        TRY(strchr("<>&\"", *text) ? buf_printf(out, "&#%d;", *text) : buf_append(out, text, 1));
    return KIST_OK;
}

static enum kist_err add_route(struct buf *out, const struct site_route *route)
{
    TRY(buf_append_str(out, "<RoutingRule><Condition><KeyPrefixEquals>"));
    TRY(add_escaped(out, route->prefix));
    TRY(buf_append_str(out, "</KeyPrefixEquals></Condition><Function>"));
    TRY(add_escaped(out, route->function));
    return buf_append_str(out, "</Function></RoutingRule>");
}

/* Whether the rule is this route. */
static bool is_route(struct bytes rule, const struct site_route *route, struct arena *arena)
{
    struct bytes prefix, function;
    size_t a = 0, b = 0;
    if (!client_element(rule, "KeyPrefixEquals", &a, rule.len, &prefix) ||
        !client_element(rule, "Function", &b, rule.len, &function))
        return false;
    const char *p = client_text(arena, prefix), *f = client_text(arena, function);
    return p && f && strcmp(p, route->prefix) == 0 && strcmp(f, route->function) == 0;
}

/* Other rules into *others; *same: the functions' are exactly the wanted ones. False: too many.
 */
static bool compare(struct bytes rules, const struct site_deploy *how, struct buf *others,
                    bool *same)
{
    struct arena arena;
    struct bytes rule;
    size_t count = 0;
    bool fits = true;
    *same = true;
    arena_init(&arena, RULES_MAX);
    for (size_t at = 0; client_element(rules, "RoutingRule", &at, rules.len, &rule);) {
        size_t in = 0;
        struct bytes function;
        if (!client_element(rule, "Function", &in, rule.len, &function)) {
            fits = fits && buf_printf(others, "<RoutingRule>%.*s</RoutingRule>", (int)rule.len,
                                      (const char *)rule.ptr) == KIST_OK;
            continue;
        }
        *same = *same && count < how->route_count && is_route(rule, &how->routes[count], &arena);
        count++;
    }
    arena_release(&arena);
    *same = *same && count == how->route_count;
    return fits;
}

/* rules: what the document has between OPEN and CLOSE, or nothing. */
static enum kist_err rewrite(struct bytes document, struct bytes rules, struct bytes others,
                             const struct site_deploy *how, struct buf *out)
{
    static const char end[] = "</WebsiteConfiguration>";
    size_t from = rules.ptr ? (size_t)(rules.ptr - document.ptr) - strlen(OPEN)
                            : bytes_find(document, bytes_str(end), 0);
    size_t to = rules.ptr ? from + strlen(OPEN) + rules.len + strlen(CLOSE) : from;
    if (from == SIZE_MAX)
        return KIST_E_INVALID;
    TRY(buf_append(out, document.ptr, from));
    if (others.len || how->route_count) {
        TRY(buf_append_str(out, OPEN));
        for (size_t i = 0; i < how->route_count; i++)
            TRY(add_route(out, &how->routes[i]));
        TRY(buf_append_bytes(out, others));
        TRY(buf_append_str(out, CLOSE));
    }
    return buf_append(out, document.ptr + to, document.len - to);
}

bool site_route(struct buf *document, const struct site_deploy *how)
{
    struct bytes old = buf_bytes(document), rules = BYTES_EMPTY;
    struct buf others, out;
    size_t at = 0;
    bool same = true;
    if (!how->routed)
        return true;
    buf_init(&others, RULES_MAX);
    buf_init(&out, document->max);
    (void)client_element(old, "RoutingRules", &at, old.len, &rules);
    bool ok = compare(rules, how, &others, &same);
    if (ok && !same)
        ok = rewrite(old, rules, buf_bytes(&others), how, &out) == KIST_OK;
    if (ok && !same) {
        struct buf before = *document;
        *document = out;
        out = before;
    }
    buf_release(&others);
    buf_release(&out);
    return ok;
}
