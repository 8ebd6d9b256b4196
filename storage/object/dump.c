/* A data directory as it lies on the disk, without opening it as a store: nothing is replayed,
 * swept or written. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "storage/base/cleanup.h"
#include "storage/index/dump.h"
#include "storage/object/store_internal.h"

/* A command of some MiB, in hex where it is not text. */
#define LINE_MAX_BYTES ((size_t)256 << 20)

struct dump {
    bool (*each)(void *ctx, struct bytes line);
    void *ctx;
    struct buf line;
    bool stopped;
};

static enum kist_err tell(struct dump *d, enum kist_err err)
{
    TRY(err);
    d->stopped = !d->each(d->ctx, buf_bytes(&d->line));
    buf_clear(&d->line);
    return KIST_OK;
}

static enum kist_err on_entry(void *ctx, const struct log_entry *e)
{
    struct dump *d = ctx;
    if (d->stopped)
        return KIST_OK;
    return tell(d, dump_command(&d->line, e->index, e->command, e->body.len));
}

static enum kist_err dump_rows(struct dump *d, struct kv *kv)
{
    struct kv_read read;
    struct kv_cursor *cursor = NULL;
    struct bytes key, value;
    TRY(kv_read_begin(kv, &read));
    enum kist_err err = kv_cursor_open(&read, &cursor);
    if (err == KIST_OK)
        err = kv_cursor_seek(cursor, BYTES_EMPTY, &key, &value);
    while (err == KIST_OK && !d->stopped) {
        err = tell(d, dump_row(&d->line, key, value));
        if (err == KIST_OK)
            err = kv_cursor_next(cursor, &key, &value);
    }
    kv_cursor_close(cursor);
    kv_read_end(&read);
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

static enum kist_err dump_index(struct dump *d, const char *dir)
{
    struct kv_config config = KV_CONFIG_DEFAULT;
    struct kv *kv = NULL;
    config.dir = dir;
    config.read_only = true;
    TRY(kv_open(&config, &kv));
    enum kist_err err = dump_rows(d, kv);
    kv_close(kv);
    return err;
}

/* Many may look at once, but nobody while it is written to. */
static enum kist_err lock(const char *dir, int *fd)
{
    CLEANUP_FREE char *path = NULL;
    if (asprintf(&path, "%s/lock", dir) < 0)
        return KIST_E_NOMEM;
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return errno == ENOENT ? KIST_E_NOT_FOUND : kist_err_from_errno(errno);
    if (flock(*fd, LOCK_SH | LOCK_NB) == 0)
        return KIST_OK;
    enum kist_err err = errno == EWOULDBLOCK ? KIST_E_LOCKED : kist_err_from_errno(errno);
    close(*fd);
    return err;
}

enum kist_err store_dump(const char *dir, bool (*each)(void *ctx, struct bytes line), void *ctx)
{
    struct dump d = { .each = each, .ctx = ctx };
    CLEANUP_FREE char *index = NULL;
    CLEANUP_FREE char *log = NULL;
    int fd = -1;
    if (asprintf(&index, "%s/index", dir) < 0 || asprintf(&log, "%s/log", dir) < 0)
        return KIST_E_NOMEM;
    TRY(lock(dir, &fd));
    buf_init(&d.line, LINE_MAX_BYTES);
    enum kist_err err = dump_index(&d, index);
    if (err == KIST_OK && !d.stopped)
        err = log_scan(log, 0, on_entry, &d);
    buf_release(&d.line);
    close(fd);
    return err;
}
