/* A YAML file as a tree, each part with its line: what `kist apply` reads. libyaml takes the text
 * apart; here are the bounds. One document; keys are plain words, none twice; no anchors, aliases
 * and tags, with which a few lines can stand for gigabytes. */
#ifndef KIST_SERVER_CLI_YML_H
#define KIST_SERVER_CLI_YML_H

#include <jansson.h>

#include "storage/base/bytes.h"

#define YML_BYTES_MAX ((size_t)1 << 20)
#define YML_DEPTH_MAX 16
#define YML_NODES_MAX 10000

enum yml_kind { YML_TEXT, YML_LIST, YML_MAP };

struct yml {
    enum yml_kind kind;
    unsigned line;            /* from 1; of a member: its key's */
    const char *key;          /* in a map; NULL otherwise */
    const char *text;         /* "" for a list or a map */
    bool plain;               /* the text stood without quotes, and holds no variable */
    struct yml *first, *next; /* of the members or items; the next beside this one */
    size_t count;
};

/* What was read, or what is wrong and where. */
struct yml_file {
    struct arena *arena;
    struct yml *root;
    unsigned line; /* 0: nothing is wrong */
    char why[256];
};

/* ${NAME} in a value becomes variable(NAME), and where that is NULL the file is refused; $${ is
 * ${ itself. The tree lives in file->arena, which the caller has set. False: see line and why. */
bool yml_parse(struct yml_file *file, struct bytes text,
               const char *(*variable)(const char *name));
/* Sets line and why unless something was wrong before; false. */
bool yml_fail(struct yml_file *file, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The member of a map; NULL: it has none, or is no map. */
const struct yml *yml_get(const struct yml *map, const char *key);
/* Whether the node is a map (nothing is an empty one), and has no other members than
 * "|name|name|". */
bool yml_only(struct yml_file *file, const struct yml *map, const char *names);
/* Members of a map, the right kind of value for each; *out stays where there is none. */
bool yml_text(struct yml_file *file, const struct yml *map, const char *key, const char **out);
bool yml_number(struct yml_file *file, const struct yml *map, const char *key, uint64_t min,
                uint64_t max, uint64_t *out);
bool yml_flag(struct yml_file *file, const struct yml *map, const char *key, bool *out);
/* What JSON has for it: plain null, true, false and numbers are such. NULL on out of memory. */
json_t *yml_json(const struct yml *node);

#endif
