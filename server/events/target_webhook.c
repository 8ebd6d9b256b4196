/* The kind "webhook": HTTP and HTTPS. target_http.c delivers. */
#include "server/events/target_internal.h"

static const char *check(const Kist__EventTarget *target, const struct target_url *url)
{
    (void)target;
    return strchr(url->shown, '#') ? "a webhook's URL has no fragment" : NULL;
}

const struct target_driver target_webhook = { .kind = "webhook",
                                              .schemes = "|http|https|",
                                              .options = "|timeout|authorization|",
                                              .binary = true,
                                              .concurrency = 64,
                                              .check = check };
