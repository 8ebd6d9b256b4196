/* A bucket's configurations, parsed once and shared by its requests.
 *
 * The cache holds a fixed number of buckets in small sets, each behind a lock of its own that is
 * held for a few comparisons. An entry is good as long as the bucket row says that nothing has
 * changed, so that a new policy holds at once. */
#include <pthread.h>
#include <stdlib.h>

#include "server/s3/acl.h"
#include "storage/base/trace.h"

#define SETS 64
#define WAYS 4
/* Where `kist site` puts its releases. */
#define SITE_PREFIX ".kist/site/"
/* A policy of 20 KB and documents of some 100 KB, parsed. */
#define RULES_ARENA_MAX ((size_t)4 << 20)

static const uint64_t kinds = 1U << CONFIG_POLICY | 1U << CONFIG_CORS | 1U << CONFIG_WEBSITE |
                              1U << CONFIG_PUBLIC_ACCESS_BLOCK | 1U << CONFIG_LIFECYCLE |
                              1U << CONFIG_ENCRYPTION | 1U << CONFIG_REQUEST_PAYMENT |
                              1U << CONFIG_LOGGING | 1U << CONFIG_SITE;

struct s3_rules_cache {
    struct rules_set {
        pthread_mutex_t lock;
        unsigned next; /* the way that goes first */
        struct s3_rules *ways[WAYS];
    } sets[SETS];
};

struct s3_rules_cache *s3_rules_cache_new(void)
{
    struct s3_rules_cache *cache = calloc(1, sizeof(*cache));
    for (size_t i = 0; cache && i < SETS; i++)
        pthread_mutex_init(&cache->sets[i].lock, NULL);
    return cache;
}

void s3_rules_drop(struct s3_rules *rules)
{
    if (!rules || atomic_fetch_sub(&rules->references, 1) != 1)
        return;
    arena_release(&rules->arena);
    free(rules);
}

void s3_rules_cache_free(struct s3_rules_cache *cache)
{
    if (!cache)
        return;
    for (size_t i = 0; i < SETS; i++) {
        for (size_t k = 0; k < WAYS; k++)
            s3_rules_drop(cache->sets[i].ways[k]);
        pthread_mutex_destroy(&cache->sets[i].lock);
    }
    free(cache);
}

/* ---- parsing ---- */

static enum kist_err load_xml(struct s3_service *s, const Kist__Bucket *bucket,
                              enum bucket_config kind, struct s3_rules *rules,
                              const struct s3_xml_node **out)
{
    struct bytes document;
    struct s3_xml_node *root = NULL;
    TRY(store_bucket_config(s->config.store, bucket, kind, &rules->arena, &document));
    if (document.ptr)
        TRY(s3_xml_parse(document, &rules->arena, &root));
    *out = root;
    return KIST_OK;
}

static bool is_true(const struct s3_xml_node *node, const char *name)
{
    return bytes_equal_nocase(s3_xml_child_text(node, name), BYTES_LIT("true"));
}

static enum kist_err load(struct s3_service *s, const Kist__Bucket *bucket,
                          struct s3_rules *rules)
{
    struct bytes policy;
    const char *reason;
    const struct s3_xml_node *block = NULL, *lifecycle = NULL, *site = NULL;
    TRY(load_xml(s, bucket, CONFIG_CORS, rules, &rules->cors));
    TRY(load_xml(s, bucket, CONFIG_WEBSITE, rules, &rules->website));
    TRY(load_xml(s, bucket, CONFIG_ENCRYPTION, rules, &rules->encryption));
    TRY(load_xml(s, bucket, CONFIG_LOGGING, rules, &rules->logging));
    const struct s3_xml_node *grants =
        s3_xml_child(s3_xml_child(rules->logging, "LoggingEnabled"), "TargetGrants");
    if (grants && grants->child)
        TRY(s3_acl_pack_grants(grants, &rules->arena, &rules->log_acl));
    TRY(load_xml(s, bucket, CONFIG_PUBLIC_ACCESS_BLOCK, rules, &block));
    TRY(load_xml(s, bucket, CONFIG_LIFECYCLE, rules, &lifecycle));
    TRY(load_xml(s, bucket, CONFIG_SITE, rules, &site));
    if (site) {
        struct bytes release = s3_xml_child_text(site, "Release");
        rules->site = arena_printf(&rules->arena, SITE_PREFIX "%.*s/", (int)release.len,
                                   (const char *)release.ptr);
        if (!rules->site)
            return KIST_E_NOMEM;
    }
    if (lifecycle)
        rules->lifecycle =
            s3_lifecycle_compile(lifecycle, s->config.lifecycle_day_ms, &rules->arena);
    const struct s3_xml_node *payment = NULL;
    TRY(load_xml(s, bucket, CONFIG_REQUEST_PAYMENT, rules, &payment));
    rules->requester_pays =
        bytes_equal(s3_xml_child_text(payment, "Payer"), BYTES_LIT("Requester"));
    rules->block_public_policy = is_true(block, "BlockPublicPolicy");
    rules->block_public_acls = is_true(block, "BlockPublicAcls");
    rules->ignore_public_acls = is_true(block, "IgnorePublicAcls");
    rules->restrict_public_buckets = is_true(block, "RestrictPublicBuckets");
    TRY(store_bucket_config(s->config.store, bucket, CONFIG_POLICY, &rules->arena, &policy));
    if (!policy.ptr)
        return KIST_OK;
    return policy_parse(policy, POLICY_RESOURCE, bytes_str(bucket->name), &rules->arena,
                        &rules->policy, &reason);
}

static struct s3_rules *find(struct rules_set *set, const Kist__Bucket *bucket)
{
    struct s3_rules *found = NULL;
    pthread_mutex_lock(&set->lock);
    for (size_t i = 0; i < WAYS && !found; i++) {
        struct s3_rules *r = set->ways[i];
        if (r && r->bucket_id == bucket->id && r->stamp == bucket->configs_changed)
            found = r;
    }
    if (found)
        atomic_fetch_add(&found->references, 1);
    pthread_mutex_unlock(&set->lock);
    return found;
}

/* In place of an older state of the same bucket, or of the one whose turn it is. */
static void keep(struct rules_set *set, struct s3_rules *rules)
{
    size_t way = WAYS;
    atomic_fetch_add(&rules->references, 1);
    pthread_mutex_lock(&set->lock);
    for (size_t i = 0; i < WAYS; i++)
        if (!set->ways[i] || set->ways[i]->bucket_id == rules->bucket_id)
            way = i;
    if (way == WAYS)
        way = set->next++ % WAYS;
    struct s3_rules *old = set->ways[way];
    set->ways[way] = rules;
    pthread_mutex_unlock(&set->lock);
    s3_rules_drop(old);
}

enum kist_err s3_rules_get(struct s3_service *s, const Kist__Bucket *bucket,
                           struct s3_rules **out)
{
    struct rules_set *set = &s->rules->sets[bucket->id % SETS];
    if (!(bucket->configs & kinds)) {
        *out = NULL;
        return KIST_OK;
    }
    struct s3_rules *rules = find(set, bucket);
    if (!rules) {
        rules = calloc(1, sizeof(*rules));
        if (!rules)
            return KIST_E_NOMEM;
        arena_init(&rules->arena, RULES_ARENA_MAX);
        rules->bucket_id = bucket->id;
        rules->stamp = bucket->configs_changed;
        rules->references = 1;
        enum kist_err err = load(s, bucket, rules);
        if (err != KIST_OK) { /* what cannot be read must not open the bucket */
            TRACE(TRACE_ERROR, "s3", "bucket %s: configuration: %s", bucket->name,
                  kist_err_text(err));
            s3_rules_drop(rules);
            return err == KIST_E_NOMEM ? err : KIST_E_CORRUPT;
        }
        keep(set, rules);
    }
    *out = rules;
    return KIST_OK;
}
