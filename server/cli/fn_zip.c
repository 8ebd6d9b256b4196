/* What a function is deployed from, as a zip in memory; and what it seems to be written in. */
#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "server/cli/fn_internal.h"
#include "storage/base/cleanup.h"

#define ZIP_MAX ((size_t)50 << 20) /* Lambda's limit for a zip in a request */
#define FILES_MAX 100000
#define DEPTH_MAX 32
#define PIECE_BYTES ((size_t)64 << 10)
#define PYTHON "python3.11"
#define NODE "nodejs20.x"

struct packing {
    struct archive *archive;
    const char *root; /* real; NULL: a single file, which may lie anywhere */
    struct buf *zip;
    size_t files;
};

static bool complain(const char *path, const char *why)
{
    fprintf(stderr, "kist: %s: %s\n", path, why);
    return false;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* ---- writing ---- */

static la_ssize_t take(struct archive *a, void *user, const void *data, size_t len)
{
    struct packing *p = user;
    if (buf_append(p->zip, data, len) == KIST_OK)
        return (la_ssize_t)len;
    archive_set_error(a, ENOMEM, "the zip is larger than 50 MiB");
    return -1;
}

static bool copy_file(struct packing *p, const char *path, int fd)
{
    CLEANUP_FREE char *piece = malloc(PIECE_BYTES);
    ssize_t n = -1;
    while (piece && (n = read(fd, piece, PIECE_BYTES)) > 0)
        if (archive_write_data(p->archive, piece, (size_t)n) < 0)
            return complain(path, archive_error_string(p->archive));
    return n == 0 || complain(path, strerror(piece ? errno : ENOMEM));
}

static bool add_file(struct packing *p, const char *path, const char *name, mode_t mode)
{
    struct stat st;
    /* Opening a pipe must not wait for somebody who writes into it. */
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0)
        return complain(path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return complain(path, "is no file");
    if (++p->files > FILES_MAX)
        return complain(path, "there are too many files");
    struct archive_entry *entry = archive_entry_new();
    if (!entry)
        return complain(path, "out of memory");
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, mode ? mode : (st.st_mode & 0111 ? 0755 : 0644));
    archive_entry_set_size(entry, st.st_size);
    archive_entry_set_mtime(entry, 315532800, 0); /* 1980: equal files make equal zips */
    bool ok = archive_write_header(p->archive, entry) == ARCHIVE_OK ||
              complain(path, archive_error_string(p->archive));
    archive_entry_free(entry);
    return ok && copy_file(p, path, fd);
}

/* What a link leads to goes into the zip in its place: but nothing from outside the directory,
 * which nobody meant to send. */
static bool leads_out(const struct packing *p, const char *path)
{
    CLEANUP_FREE char *real = realpath(path, NULL);
    size_t len = strlen(p->root);
    return !real || strncmp(real, p->root, len) != 0 || (real[len] != '/' && real[len] != '\0');
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_wanted(const struct dirent *d)
{
    return strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0 &&
           strcmp(d->d_name, ".git") != 0 && strcmp(d->d_name, "__pycache__") != 0;
}

static bool add_dir(struct packing *p, const char *path, const char *below, unsigned depth)
{
    struct dirent **list = NULL;
    int count = depth < DEPTH_MAX ? scandir(path, &list, is_wanted, by_name) : -1;
    bool ok = count >= 0 || complain(path, depth < DEPTH_MAX ? strerror(errno) : "is too deep");
    for (int i = 0; i < count; i++) {
        CLEANUP_FREE char *full = NULL, *name = NULL;
        struct stat st;
        ok = ok && asprintf(&full, "%s/%s", path, list[i]->d_name) > 0 &&
             asprintf(&name, "%s%s", below, list[i]->d_name) > 0;
        if (ok && stat(full, &st) != 0)
            ok = complain(full, strerror(errno));
        if (ok && leads_out(p, full))
            ok = complain(full, "a symbolic link that leads out of the directory");
        if (ok && S_ISDIR(st.st_mode)) {
            CLEANUP_FREE char *inner = NULL;
            ok = asprintf(&inner, "%s/", name) > 0 && add_dir(p, full, inner, depth + 1);
        } else if (ok) {
            ok = add_file(p, full, name, 0);
        }
        free(list[i]);
    }
    free(list);
    return ok;
}

/* ---- guessing ---- */

static void set(struct fn_package *out, const char *runtime, const char *module,
                const char *function)
{
    snprintf(out->runtime, sizeof(out->runtime), "%s", runtime);
    snprintf(out->handler, sizeof(out->handler), "%.80s.%s", module, function);
}

static bool has_text(const char *path, const char *text)
{
    char head[65536];
    CLEANUP_FCLOSE FILE *f = fopen(path, "re");
    size_t n = f ? fread(head, 1, sizeof(head), f) : 0;
    return bytes_find(bytes_of(head, n), bytes_str(text), 0) != SIZE_MAX;
}

/* From a source file's name, and the usual names of its function. */
static bool guess_source(const char *path, const char *name, struct fn_package *out)
{
    char module[81];
    size_t stem = strcspn(name, ".");
    snprintf(module, sizeof(module), "%.*s", (int)stem, name);
    if (ends_with(name, ".py")) {
        bool lambda = !has_text(path, "def handler(") && has_text(path, "def lambda_handler(");
        set(out, PYTHON, module, lambda ? "lambda_handler" : "handler");
        return true;
    }
    if (ends_with(name, ".mjs") || ends_with(name, ".js") || ends_with(name, ".cjs")) {
        set(out, NODE, module, "handler");
        return true;
    }
    return false;
}

static bool is_program(const char *path)
{
    char head[4] = "";
    CLEANUP_FCLOSE FILE *f = fopen(path, "re");
    size_t n = f ? fread(head, 1, sizeof(head), f) : 0;
    return n == 4 && (memcmp(head, "\177ELF", 4) == 0 || memcmp(head, "#!", 2) == 0);
}

static void guess_dir(const char *path, struct fn_package *out)
{
    static const char *const names[] = {
        "lambda_function.py", "handler.py",  "main.py",    "app.py",  "index.mjs",
        "index.js",           "handler.mjs", "handler.js", "app.mjs", "app.js"
    };
    CLEANUP_FREE char *bootstrap = NULL;
    if (asprintf(&bootstrap, "%s/bootstrap", path) > 0 && access(bootstrap, X_OK) == 0) {
        set(out, "provided.al2023", "bootstrap", "handler");
        return;
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        CLEANUP_FREE char *full = NULL;
        if (asprintf(&full, "%s/%s", path, names[i]) > 0 && access(full, R_OK) == 0 &&
            guess_source(full, names[i], out))
            return;
    }
}

/* ---- the whole ---- */

static bool read_zip(const char *path, struct fn_package *out)
{
    CLEANUP_FREE char *piece = malloc(PIECE_BYTES);
    CLEANUP_FCLOSE FILE *f = fopen(path, "re");
    size_t n;
    if (!f || !piece)
        return complain(path, strerror(errno));
    while ((n = fread(piece, 1, PIECE_BYTES, f)) > 0)
        if (buf_append(&out->zip, piece, n) != KIST_OK)
            return complain(path, "the zip is larger than 50 MiB");
    return !ferror(f) || complain(path, strerror(errno));
}

static bool pack(const char *path, const struct stat *st, struct packing *p,
                 struct fn_package *out)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    if (S_ISDIR(st->st_mode)) {
        CLEANUP_FREE char *root = realpath(path, NULL);
        if (!root)
            return complain(path, strerror(errno));
        p->root = strcmp(root, "/") == 0 ? "" : root;
        guess_dir(path, out);
        return add_dir(p, path, "", 0);
    }
    if (!S_ISREG(st->st_mode))
        return complain(path, "neither a file nor a directory");
    if (guess_source(path, name, out))
        return add_file(p, path, name, 0644);
    if (!is_program(path))
        return complain(path, "is no source of Python or Node, no program and no zip");
    set(out, "provided.al2023", "bootstrap", "handler");
    return add_file(p, path, "bootstrap", 0755);
}

bool fn_zip(const char *path, struct fn_package *out)
{
    struct packing p = { .zip = &out->zip };
    struct stat st;
    *out = (struct fn_package){ .runtime = "" };
    buf_init(&out->zip, ZIP_MAX);
    if (stat(path, &st) != 0)
        return complain(path, strerror(errno));
    if (S_ISREG(st.st_mode) && ends_with(path, ".zip"))
        return read_zip(path, out);
    p.archive = archive_write_new();
    if (!p.archive)
        return complain(path, "out of memory");
    bool ok = archive_write_set_format_zip(p.archive) == ARCHIVE_OK &&
              archive_write_set_bytes_in_last_block(p.archive, 1) == ARCHIVE_OK &&
              archive_write_open(p.archive, &p, NULL, take, NULL) == ARCHIVE_OK;
    ok = ok && pack(path, &st, &p, out);
    if (ok && archive_write_close(p.archive) != ARCHIVE_OK)
        ok = complain(path, archive_error_string(p.archive));
    archive_write_free(p.archive);
    return ok && (p.files > 0 || complain(path, "holds no files"));
}

void fn_package_release(struct fn_package *p)
{
    buf_release(&p->zip);
}
