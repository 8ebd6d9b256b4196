/* Shared by the files of the admin pages. */
#ifndef KIST_SERVER_ADMIN_INTERNAL_H
#define KIST_SERVER_ADMIN_INTERNAL_H

#include "server/admin/admin.h"

struct admin {
    struct admin_config config;
    struct http_handler handler;
};

void admin_reply(struct exchange *x, unsigned status, const char *type, struct bytes body);

/* usage.c: /-/usage */
void admin_usage(struct admin *a, struct exchange *x);

#endif
