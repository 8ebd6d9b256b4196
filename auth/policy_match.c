/* Patterns and conditions.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
 */
#include <arpa/inet.h>
#include <stdlib.h>

#include "auth/policy_internal.h"
#include "storage/base/codec.h"

/* ---- patterns ---- */

/* A pattern is read as tokens: bytes, and two that are no bytes. The text of a variable yields
 * bytes only, so that nobody smuggles in a wildcard by choosing a name. */
enum { TOKEN_MANY = 256, TOKEN_ONE, TOKEN_END, TOKEN_UNRESOLVED };

struct reader {
    struct bytes rest;    /* of the pattern */
    struct bytes literal; /* of a variable's value, first */
    bool wildcards, variables;
    const struct policy_request *request;
};

static bool lookup(const struct policy_request *request, struct bytes key,
                   struct policy_values *out)
{
    *out = (struct policy_values){ .count = 0 };
    return request->context && request->context(request->ctx, key, out);
}

/* The inside of ${...}: *, ?, $, or a key, perhaps with ", 'default'". */
static bool variable_value(const struct reader *r, struct bytes inside, struct bytes *out)
{
    struct policy_values values;
    if (inside.len == 1 && strchr("*?$", inside.ptr[0]) && inside.ptr[0]) {
        *out = inside;
        return true;
    }
    size_t comma = bytes_find(inside, BYTES_LIT(","), 0);
    struct bytes key =
        bytes_trim(bytes_of(inside.ptr, comma == SIZE_MAX ? inside.len : comma), " ");
    if (lookup(r->request, key, &values) && values.count == 1) {
        *out = values.list[0];
        return true;
    }
    if (comma == SIZE_MAX)
        return false;
    struct bytes fallback =
        bytes_trim(bytes_of(inside.ptr + comma + 1, inside.len - comma - 1), " ");
    if (fallback.len < 2 || fallback.ptr[0] != '\'' || fallback.ptr[fallback.len - 1] != '\'')
        return false;
    *out = bytes_of(fallback.ptr + 1, fallback.len - 2);
    return true;
}

static int next_token(struct reader *r)
{
    for (;;) {
        if (r->literal.len) {
            int c = r->literal.ptr[0];
            r->literal = bytes_of(r->literal.ptr + 1, r->literal.len - 1);
            return c;
        }
        if (!r->rest.len)
            return TOKEN_END;
        int c = r->rest.ptr[0];
        size_t end = SIZE_MAX;
        if (r->variables && c == '$' && r->rest.len > 1 && r->rest.ptr[1] == '{')
            end = bytes_find(r->rest, BYTES_LIT("}"), 2);
        if (end == SIZE_MAX) {
            r->rest = bytes_of(r->rest.ptr + 1, r->rest.len - 1);
            if (r->wildcards && c == '*')
                return TOKEN_MANY;
            return r->wildcards && c == '?' ? TOKEN_ONE : c;
        }
        struct bytes inside = bytes_of(r->rest.ptr + 2, end - 2);
        if (!variable_value(r, inside, &r->literal))
            return TOKEN_UNRESOLVED;
        r->rest = bytes_of(r->rest.ptr + end + 1, r->rest.len - end - 1);
    }
}

static int lower(int c)
{
    return c >= 'A' && c <= 'Z' ? c + 32 : c;
}

static bool same_char(int a, int b, bool nocase)
{
    return nocase ? lower(a) == lower(b) : a == b;
}

enum match pattern_match(struct bytes pattern, struct bytes text, bool nocase, bool wildcards,
                         bool variables, const struct policy_request *request)
{
    struct reader r = {
        .rest = pattern, .wildcards = wildcards, .variables = variables, .request = request
    };
    struct reader after_star = r;
    size_t at = 0, star_at = SIZE_MAX;
    for (;;) {
        int token = next_token(&r);
        if (token == TOKEN_UNRESOLVED)
            return MATCH_UNRESOLVED;
        if (token == TOKEN_MANY) {
            after_star = r;
            star_at = at;
            continue;
        }
        if (token == TOKEN_END && at == text.len)
            return MATCH_YES;
        if (token != TOKEN_END && at < text.len &&
            (token == TOKEN_ONE || same_char(token, text.ptr[at], nocase))) {
            at++;
            continue;
        }
        /* The last star takes one byte more; stars before it need not move. */
        if (star_at == SIZE_MAX || star_at == text.len)
            return MATCH_NO;
        at = ++star_at;
        r = after_star;
    }
}

/* ---- values ---- */

static bool read_number(struct bytes text, double *out)
{
    char buf[64], *end;
    text = bytes_trim(text, " ");
    if (text.len == 0 || text.len >= sizeof(buf))
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (!strchr("0123456789.+-eE", text.ptr[i]) || !text.ptr[i])
            return false;
    memcpy(buf, text.ptr, text.len);
    buf[text.len] = '\0';
    *out = strtod(buf, &end);
    return *end == '\0';
}

/* ISO 8601, or seconds since 1970. */
static bool read_date(struct bytes text, double *out)
{
    int64_t ms;
    if (time_parse_iso(text, &ms) == KIST_OK) {
        *out = (double)ms / 1000;
        return true;
    }
    return read_number(text, out);
}

static bool in_order(enum condition_order order, double have, double want)
{
    switch (order) {
    case ORDER_EQUAL:
        return have == want;
    case ORDER_LESS:
        return have < want;
    case ORDER_LESS_EQUAL:
        return have <= want;
    case ORDER_MORE:
        return have > want;
    case ORDER_MORE_EQUAL:
        return have >= want;
    }
    return false;
}

/* 4 or 16 bytes; 0: not an address. */
static size_t read_address(struct bytes text, uint8_t out[16])
{
    char buf[64];
    if (text.len == 0 || text.len >= sizeof(buf))
        return 0;
    memcpy(buf, text.ptr, text.len);
    buf[text.len] = '\0';
    if (inet_pton(AF_INET, buf, out) == 1)
        return 4;
    if (inet_pton(AF_INET6, buf, out) != 1)
        return 0;
    static const uint8_t mapped[12] = { [10] = 0xFF, [11] = 0xFF };
    if (memcmp(out, mapped, 12) != 0)
        return 16;
    memmove(out, out + 12, 4);
    return 4;
}

/* The length of its addresses; 0: not a network. *bits: of an address that it fixes. */
static size_t read_network(struct bytes network, uint8_t out[16], uint64_t *bits)
{
    size_t slash = bytes_find(network, BYTES_LIT("/"), 0);
    size_t len =
        read_address(bytes_of(network.ptr, slash == SIZE_MAX ? network.len : slash), out);
    *bits = len * 8;
    if (len && slash != SIZE_MAX &&
        bytes_to_u64(bytes_of(network.ptr + slash + 1, network.len - slash - 1), len * 8, bits) !=
            KIST_OK)
        return 0;
    return len;
}

bool network_is_broad(struct bytes network)
{
    uint8_t n[16];
    uint64_t bits;
    size_t len = read_network(network, n, &bits);
    return len && bits < (len == 4 ? 8U : 32U);
}

static bool address_within(struct bytes address, struct bytes network)
{
    uint8_t a[16], n[16];
    uint64_t bits;
    size_t len = read_network(network, n, &bits);
    if (!len || read_address(address, a) != len)
        return false;
    size_t whole = (size_t)bits / 8;
    uint8_t mask = (uint8_t)(0xFF00U >> (bits % 8));
    return memcmp(a, n, whole) == 0 && (bits % 8 == 0 || ((a[whole] ^ n[whole]) & mask) == 0);
}

/* Six parts, each with its own wildcards; the last one holds the other colons. */
static enum match arn_match(struct bytes pattern, struct bytes arn, bool variables,
                            const struct policy_request *request)
{
    for (int part = 0; part < 5; part++) {
        size_t p = bytes_find(pattern, BYTES_LIT(":"), 0);
        size_t a = bytes_find(arn, BYTES_LIT(":"), 0);
        if (p == SIZE_MAX || a == SIZE_MAX)
            return pattern_match(pattern, arn, false, true, variables, request);
        enum match m = pattern_match(bytes_of(pattern.ptr, p), bytes_of(arn.ptr, a), false, true,
                                     variables, request);
        if (m != MATCH_YES)
            return m;
        pattern = bytes_of(pattern.ptr + p + 1, pattern.len - p - 1);
        arn = bytes_of(arn.ptr + a + 1, arn.len - a - 1);
    }
    return pattern_match(pattern, arn, false, true, variables, request);
}

/* One value of the request against one of the policy, without negation. */
static enum match value_match(const struct condition *c, bool variables, struct bytes have,
                              struct bytes want, const struct policy_request *request)
{
    double a, b;
    switch (c->op.kind) {
    case CONDITION_STRING_EQUALS:
    case CONDITION_BINARY:
        return pattern_match(want, have, false, false, variables, request);
    case CONDITION_STRING_EQUALS_NOCASE:
    case CONDITION_BOOL:
        return pattern_match(want, have, true, false, variables, request);
    case CONDITION_STRING_LIKE:
        return pattern_match(want, have, false, true, variables, request);
    case CONDITION_NUMERIC:
        return read_number(have, &a) && read_number(want, &b) && in_order(c->op.order, a, b);
    case CONDITION_DATE:
        return read_date(have, &a) && read_date(want, &b) && in_order(c->op.order, a, b);
    case CONDITION_IP:
        return address_within(have, want);
    case CONDITION_ARN:
        return arn_match(want, have, variables, request);
    case CONDITION_NULL:
        break;
    }
    return MATCH_NO;
}

/* One value of the request against all of the policy's: any of them, or none when negated. */
static enum match value_holds(const struct condition *c, bool variables, struct bytes have,
                              const struct policy_request *request)
{
    bool any = false, unresolved = false;
    for (size_t i = 0; i < c->values.count && !any; i++) {
        enum match m = value_match(c, variables, have, c->values.list[i], request);
        any = m == MATCH_YES;
        unresolved = unresolved || m == MATCH_UNRESOLVED;
    }
    if (!any && unresolved)
        return MATCH_UNRESOLVED;
    return any != c->op.negated ? MATCH_YES : MATCH_NO;
}

bool condition_holds(const struct condition *c, bool variables,
                     const struct policy_request *request)
{
    struct policy_values values;
    bool present = lookup(request, c->key, &values);
    if (c->op.kind == CONDITION_NULL) {
        bool any = false;
        for (size_t i = 0; i < c->values.count; i++)
            any = any || bytes_equal_nocase(c->values.list[i],
                                            present ? BYTES_LIT("false") : BYTES_LIT("true"));
        return any;
    }
    if (!present || values.count == 0) {
        if (c->op.set == SET_ANY)
            return false;
        return c->op.set == SET_ALL || c->op.if_exists || c->op.negated;
    }
    /* Without a qualifier: as "any" when asked for a match, as "all" when asked for none. */
    bool all = c->op.set == SET_ALL || (c->op.set == SET_NONE && c->op.negated);
    for (size_t i = 0; i < values.count; i++) {
        enum match m = value_holds(c, variables, values.list[i], request);
        if (m == MATCH_UNRESOLVED)
            return false;
        if ((m == MATCH_YES) != all)
            return !all;
    }
    return all;
}
