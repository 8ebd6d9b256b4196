/* What is in the directory: a list of files with hashes, or a list of what is wrong with it.
 *
 * Nothing is sent before everything was read once, so that a mistake costs nothing. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "server/cli/site_internal.h"
#include "server/http/mime.h"
#include "storage/base/cleanup.h"
#include "storage/base/codec.h"
#include "storage/base/digest.h"

#define ARENA_MAX ((size_t)4 << 30)
#define DEPTH_MAX 64
#define PROBLEMS_SHOWN 20
#define FILE_BYTES_MAX ((uint64_t)5 << 30)
/* Of 1,024 bytes of a key: what stands before the name in the site. */
#define NAME_MAX_BYTES (1024 - (sizeof(SITE_ROOT) + SITE_RELEASE_MAX + 1))
#define HASH_PIECE ((size_t)256 << 10)

void site_files_init(struct site_files *files)
{
    *files = (struct site_files){ 0 };
    arena_init(&files->arena, ARENA_MAX);
}

void site_files_release(struct site_files *files)
{
    free(files->list);
    arena_release(&files->arena);
}

struct site_file *site_files_add(struct site_files *files)
{
    if (files->count == files->room) {
        size_t room = files->room ? files->room * 2 : 256;
        struct site_file *list = realloc(files->list, room * sizeof(*list));
        if (!list)
            return NULL;
        files->list = list;
        files->room = room;
    }
    files->list[files->count] = (struct site_file){ 0 };
    return &files->list[files->count++];
}

/* ---- headers ---- */

const char *site_type(const char *key)
{
    static const char *const texts[][2] = {
        { "text/html", "text/html; charset=utf-8" },
        { "text/css", "text/css; charset=utf-8" },
        { "text/javascript", "text/javascript; charset=utf-8" },
        { "text/plain", "text/plain; charset=utf-8" },
        { "text/markdown", "text/markdown; charset=utf-8" },
        { "text/csv", "text/csv; charset=utf-8" },
        { "text/calendar", "text/calendar; charset=utf-8" },
        { "text/vtt", "text/vtt; charset=utf-8" },
    };
    const char *type = mime_type(bytes_str(key));
    for (size_t i = 0; type && i < ARRAY_LEN(texts); i++)
        if (strcmp(type, texts[i][0]) == 0)
            return texts[i][1];
    return type ? type : "application/octet-stream";
}

/* What bundlers put into names: hexadecimal digits, or (esbuild, Vite) eight letters and digits
 * in the names of scripts and what they load. Words and dates must not pass for one: what is
 * taken for immutable is never asked for again. */
static bool is_hash(struct bytes word, bool code)
{
    size_t digits = 0, hex = 0, upper = 0, lower = 0;
    for (size_t i = 0; i < word.len; i++) {
        uint8_t c = word.ptr[i];
        digits += c >= '0' && c <= '9';
        hex += (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        upper += c >= 'A' && c <= 'Z';
        lower += c >= 'a' && c <= 'z';
    }
    if (word.len < 8 || digits == 0 || digits == word.len)
        return false;
    if (hex == word.len)
        return true;
    return code && word.len == 8 && upper > 0 && digits + upper + lower == word.len;
}

static bool has_hash(const char *key)
{
    const char *name = strrchr(key, '/') ? strrchr(key, '/') + 1 : key;
    const char *type = mime_type(bytes_str(key));
    bool code = type && (strcmp(type, "text/javascript") == 0 || strcmp(type, "text/css") == 0 ||
                         strcmp(type, "application/json") == 0 ||
                         strcmp(type, "application/wasm") == 0 || strncmp(type, "font/", 5) == 0);
    for (const char *at = name + strcspn(name, ".-_"); *at; at += strcspn(at, ".-_")) {
        at++;
        size_t len = strcspn(at, ".-_");
        if (at[len] == '.' && is_hash(bytes_of(at, len), code))
            return true;
    }
    return false;
}

const char *site_cache(const char *key, const char *otherwise)
{
    const char *type = site_type(key);
    if (strncmp(type, "text/html", 9) == 0 || strcmp(type, "application/xhtml+xml") == 0)
        return "no-cache";
    return has_hash(key) ? "public, max-age=31536000, immutable" : otherwise;
}

/* ---- reading ---- */

struct scan {
    const char *cache_control;
    char *root; /* real */
    struct site_files *files;
    size_t problems;
};

static void problem(struct scan *s, const char *path, const char *what)
{
    if (s->problems++ >= PROBLEMS_SHOWN)
        return;
    fprintf(stderr, "kist: ");
    client_print(stderr, path);
    fprintf(stderr, ": %s\n", what);
}

static bool hash_file(const char *path, struct site_file *f)
{
    static uint8_t piece[HASH_PIECE];
    uint8_t digest[32];
    struct digest_set set = { 0 };
    ssize_t n = -1;
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || digest_set_init(&set, DIGEST_BIT(DIGEST_SHA256)) != KIST_OK)
        return false;
    while ((n = read(fd, piece, sizeof(piece))) > 0) {
        digest_set_update(&set, piece, (size_t)n);
        f->bytes += (uint64_t)n;
    }
    if (n == 0)
        digest_set_final(&set, DIGEST_SHA256, digest);
    digest_set_release(&set);
    hex_encode(bytes_of(digest, sizeof(digest)), f->hash);
    return n == 0;
}

static void take_file(struct scan *s, const char *path, const char *key, uint64_t bytes)
{
    struct site_file *f = site_files_add(s->files);
    if (!f || !(f->key = arena_strdup(&s->files->arena, key)) ||
        !(f->path = arena_strdup(&s->files->arena, path))) {
        problem(s, path, "out of memory");
    } else if (bytes > FILE_BYTES_MAX) {
        problem(s, path, "more than 5 GiB");
    } else if (!hash_file(path, f)) {
        problem(s, path, strerror(errno));
    } else {
        f->cache = site_cache(key, s->cache_control);
        s->files->bytes += f->bytes;
    }
}

/* A link within the directory to a file is that file. */
static bool follow(struct scan *s, const char *path, struct stat *st)
{
    CLEANUP_FREE char *real = realpath(path, NULL);
    size_t len = strlen(s->root);
    if (!real || stat(real, st) != 0)
        problem(s, path, "a symbolic link that leads nowhere");
    else if (strncmp(real, s->root, len) != 0 || real[len] != '/')
        problem(s, path, "a symbolic link that leads out of the directory");
    else if (S_ISDIR(st->st_mode))
        problem(s, path, "a symbolic link to a directory: put a copy there");
    else
        return true;
    return false;
}

static bool good_name(struct scan *s, const char *path, const char *key)
{
    if (!bytes_is_utf8(bytes_str(key))) {
        problem(s, path, "its name is not UTF-8");
        return false;
    }
    for (const char *p = key; *p; p++)
        if ((unsigned char)*p < 32 || *p == 127) {
            problem(s, path, "a control character in its name");
            return false;
        }
    if (strlen(key) > NAME_MAX_BYTES)
        problem(s, path, "its name is too long");
    return strlen(key) <= NAME_MAX_BYTES;
}

/* What version control and desktops leave lying about, which nobody means to publish. */
static bool left_out(const char *name)
{
    static const char *const names[] = { ".", "..", ".git", ".hg", ".svn", ".DS_Store" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static void scan_directory(struct scan *s, const char *path, const char *key, unsigned depth);

static void scan_entry(struct scan *s, const char *path, const char *key, unsigned depth)
{
    struct stat st;
    if (!good_name(s, path, key))
        return;
    if (lstat(path, &st) != 0)
        problem(s, path, strerror(errno));
    else if (S_ISLNK(st.st_mode) && !follow(s, path, &st))
        return;
    else if (S_ISDIR(st.st_mode))
        scan_directory(s, path, key, depth + 1);
    else if (S_ISREG(st.st_mode))
        take_file(s, path, key, (uint64_t)st.st_size);
    else
        problem(s, path, "neither a file nor a directory");
}

static void scan_directory(struct scan *s, const char *path, const char *key, unsigned depth)
{
    DIR *d = depth < DEPTH_MAX ? opendir(path) : NULL;
    size_t entries = 0;
    if (!d) {
        problem(s, path, depth < DEPTH_MAX ? strerror(errno) : "directories that are too deep");
        return;
    }
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        CLEANUP_FREE char *inner_path = NULL, *inner_key = NULL;
        if (left_out(e->d_name))
            continue;
        entries++;
        if (asprintf(&inner_path, "%s/%s", path, e->d_name) < 0)
            inner_path = NULL;
        if (asprintf(&inner_key, "%s%s%s", key, *key ? "/" : "", e->d_name) < 0)
            inner_key = NULL;
        if (inner_path && inner_key)
            scan_entry(s, inner_path, inner_key, depth);
        else
            problem(s, path, "out of memory");
    }
    closedir(d);
    if (entries == 0 && *key)
        fprintf(stderr, "kist: %s: an empty directory, which a bucket cannot hold: left out\n",
                path);
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct site_file *)a)->key, ((const struct site_file *)b)->key);
}

bool site_scan(const char *dir, const char *cache_control, struct site_files *out)
{
    struct scan s = { .cache_control = cache_control, .files = out };
    CLEANUP_FREE char *root = realpath(dir, NULL);
    struct stat st;
    if (!root || stat(root, &st) != 0 || !S_ISDIR(st.st_mode)) {
        fprintf(stderr, "kist: %s: %s\n", dir, root ? "not a directory" : strerror(errno));
        return false;
    }
    s.root = strcmp(root, "/") == 0 ? root + 1 : root;
    scan_directory(&s, dir, "", 0);
    if (s.problems > PROBLEMS_SHOWN)
        fprintf(stderr, "kist: %s: %zu more like these\n", dir, s.problems - PROBLEMS_SHOWN);
    if (s.problems == 0 && out->count == 0)
        fprintf(stderr, "kist: %s: an empty directory: there is nothing to deploy\n", dir);
    if (s.problems > 0 || out->count == 0)
        return false;
    qsort(out->list, out->count, sizeof(*out->list), by_key);
    return true;
}
