#ifndef KIST_AUTH_POLICY_INTERNAL_H
#define KIST_AUTH_POLICY_INTERNAL_H

#include "auth/policy.h"

enum condition_kind {
    CONDITION_STRING_EQUALS,
    CONDITION_STRING_EQUALS_NOCASE,
    CONDITION_STRING_LIKE,
    CONDITION_NUMERIC,
    CONDITION_DATE,
    CONDITION_BOOL,
    CONDITION_BINARY,
    CONDITION_IP,
    CONDITION_ARN,
    CONDITION_NULL
};
/* Of numbers and dates. */
enum condition_order { ORDER_EQUAL, ORDER_LESS, ORDER_LESS_EQUAL, ORDER_MORE, ORDER_MORE_EQUAL };
enum condition_set { SET_NONE, SET_ALL, SET_ANY };

struct condition_operator {
    enum condition_kind kind;
    enum condition_order order;
    bool negated;
    bool if_exists;
    enum condition_set set;
};

struct text_list {
    struct bytes *list;
    size_t count;
};

struct condition {
    struct condition_operator op;
    struct bytes key;
    struct text_list values;
};

enum principal_kind {
    PRINCIPAL_ANY,
    PRINCIPAL_AWS,
    PRINCIPAL_CANONICAL,
    PRINCIPAL_FEDERATED,
    PRINCIPAL_OTHER
};
struct principal {
    enum principal_kind kind;
    struct bytes value;
};

struct statement {
    bool deny;
    bool not_principal, not_action, not_resource;
    struct principal *principals;
    size_t principal_count;
    struct text_list actions, resources;
    struct condition *conditions;
    size_t condition_count;
    struct statement *next;
};

struct policy {
    bool variables; /* Version 2012-10-17 */
    struct statement *statements;
    const struct policy *more; /* policy_add() */
};

/* policy_parse.c */
bool condition_operator_parse(struct bytes name, struct condition_operator *out);

/* policy_match.c */
enum match { MATCH_NO, MATCH_YES, MATCH_UNRESOLVED };
/* A pattern with *, ? and (when `variables`) ${key}, against a text. A variable's value is
 * literal, whatever it contains. MATCH_UNRESOLVED: a variable has no value. */
enum match pattern_match(struct bytes pattern, struct bytes text, bool nocase, bool wildcards,
                         bool variables, const struct policy_request *request);
/* So much of the Internet that it is everybody: broader than /8, or /32 of IPv6. */
bool network_is_broad(struct bytes network);
bool condition_holds(const struct condition *c, bool variables,
                     const struct policy_request *request);

#endif
