/* What a power cut leaves.
 *
 * First the names: which creations, removals and renames the disk has. Then each file that still
 * has a name, by itself: how far its sizes and holes go, which writes are there in which sectors,
 * and then its journal is played into a new file with what is lost left out.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "storage/base/bytes.h"
#include "storage/base/cleanup.h"
#include "tests/sim/disk_internal.h"

#define PATH_DEPTH_MAX 64

/* How the metadata that no sync covered was lost. */
enum mode {
    MODE_NOTHING,
    MODE_EVERYTHING,
    MODE_PREFIX, /* up to one moment, for the whole tree */
    MODE_SUBSET, /* each name and file by itself */
};

struct crash {
    const struct disk_journal *j;
    size_t end; /* the cut, in entries of the journal */
    uint64_t random;
    enum mode mode;
    size_t prefix;        /* of MODE_PREFIX */
    unsigned keep_of_256; /* the chance that a change is kept */
    unsigned torn_of_256; /* the chance that a write is torn */
    size_t *synced_upto;  /* of each node: the entries before are on the disk */
    bool *kept;           /* of each entry that changes names */
    uint32_t *node_of;    /* what each name stands for */
    uint32_t *name_of;    /* the name of each node, DISK_NONE without one */
    size_t *first;        /* of each node: where its entries begin in `entries` */
    uint32_t *entries;    /* the journal ordered by node */
    int target;
};

/* splitmix64 */
static uint64_t next_random(struct crash *c)
{
    uint64_t z = (c->random += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static bool chance(struct crash *c, unsigned of_256)
{
    return (next_random(c) & 255) < of_256;
}

/* A number from low to high, both included. */
static size_t between(struct crash *c, size_t low, size_t high)
{
    return low + (size_t)(next_random(c) % (high - low + 1));
}

static void choose_policy(struct crash *c, uint64_t seed)
{
    static const unsigned keep[] = { 0, 16, 128, 240, 256 };
    static const unsigned torn[] = { 0, 64, 256 };
    c->random = seed;
    c->mode = next_random(c) & 1 ? MODE_PREFIX : MODE_SUBSET;
    c->keep_of_256 = keep[between(c, 0, ARRAY_LEN(keep) - 1)];
    c->torn_of_256 = torn[between(c, 0, ARRAY_LEN(torn) - 1)];
    c->prefix = between(c, c->j->base, c->end);
    if (seed == DISK_SEED_NOTHING || seed == DISK_SEED_EVERYTHING) {
        c->mode = seed == DISK_SEED_NOTHING ? MODE_NOTHING : MODE_EVERYTHING;
        c->keep_of_256 = seed == DISK_SEED_NOTHING ? 0 : 256;
        c->torn_of_256 = 0;
    }
}

/* --- names --- */

static bool is_name_op(const struct disk_op *op)
{
    return op->kind >= DISK_MAKE;
}

static bool is_covered(const struct crash *c, size_t i)
{
    const struct disk_op *op = &c->j->ops[i];
    if (i < c->j->base)
        return true;
    for (size_t k = 0; k < 2 && op->names[k] != DISK_NONE; k++)
        if (i < c->synced_upto[c->j->names[op->names[k]]->dir])
            return true;
    return false;
}

/* Marks what syncs cover, and all that it rests on. A directory that is gone takes its names with
 * it, so that these must have gone, or moved, before. */
static void keep_covered_names(struct crash *c)
{
    for (size_t i = c->end; i-- > 0;) {
        const struct disk_op *op = &c->j->ops[i];
        if (!is_name_op(op) || !(c->kept[i] || is_covered(c, i)))
            continue;
        c->kept[i] = true;
        for (size_t k = 0; k < 2; k++)
            if (op->rests_on[k] != DISK_NONE)
                c->kept[op->rests_on[k]] = true;
        if (op->kind == DISK_REMOVE && c->j->is_dir[op->node] && c->synced_upto[op->node] < i)
            c->synced_upto[op->node] = i;
    }
}

static bool choose_name_op(struct crash *c, size_t i, const uint32_t *lost_in)
{
    const struct disk_op *op = &c->j->ops[i];
    if (c->mode == MODE_PREFIX)
        return i < c->prefix;
    for (size_t k = 0; k < 2; k++)
        if (op->rests_on[k] != DISK_NONE && !c->kept[op->rests_on[k]])
            return false;
    if (op->kind == DISK_REMOVE && c->j->is_dir[op->node] && lost_in[op->node] > 0)
        return false;
    return chance(c, c->keep_of_256);
}

static void choose_names(struct crash *c)
{
    CLEANUP_FREE uint32_t *lost_in = calloc(c->j->node_count, sizeof *lost_in);
    if (!lost_in)
        abort();
    for (size_t i = c->j->base; i < c->end; i++) {
        const struct disk_op *op = &c->j->ops[i];
        if (!is_name_op(op) || c->kept[i])
            continue;
        c->kept[i] = choose_name_op(c, i, lost_in);
        for (size_t k = 0; k < 2 && op->names[k] != DISK_NONE && !c->kept[i]; k++)
            lost_in[c->j->names[op->names[k]]->dir]++;
    }
}

/* Plays the kept changes of names. */
static void place_nodes(struct crash *c)
{
    for (uint32_t i = 0; i < c->j->name_count; i++)
        c->node_of[i] = DISK_NONE;
    for (uint32_t i = 0; i < c->j->node_count; i++)
        c->name_of[i] = DISK_NONE;
    for (size_t i = 0; i < c->end; i++) {
        const struct disk_op *op = &c->j->ops[i];
        if (!is_name_op(op) || !c->kept[i])
            continue;
        c->node_of[op->names[0]] = op->kind == DISK_MAKE ? op->node : DISK_NONE;
        if (op->kind == DISK_RENAME)
            c->node_of[op->names[1]] = op->node;
    }
    for (uint32_t i = 0; i < c->j->name_count; i++)
        if (c->node_of[i] != DISK_NONE)
            c->name_of[c->node_of[i]] = i;
}

/* The node's path below the root; false when it or a directory above has no name. */
static bool path_of(const struct crash *c, uint32_t node, char out[DISK_PATH_MAX])
{
    const char *parts[PATH_DEPTH_MAX];
    size_t depth = 0;
    for (; node != 0; node = c->j->names[c->name_of[node]]->dir) {
        if (c->name_of[node] == DISK_NONE || depth == PATH_DEPTH_MAX)
            return false;
        parts[depth++] = c->j->names[c->name_of[node]]->text;
    }
    size_t at = 0;
    out[0] = '\0';
    while (depth > 0) {
        int n = snprintf(out + at, DISK_PATH_MAX - at, "%s%s", at ? "/" : "", parts[--depth]);
        if (n < 0 || (size_t)n >= DISK_PATH_MAX - at)
            return false;
        at += (size_t)n;
    }
    return true;
}

/* --- sectors --- */

/* For each sector that a write of doubtful fate touched: the last entry whose bytes it has, plus
 * one. An open-addressing table; key 0 is a free slot. */
struct sectors {
    uint64_t *keys;
    uint32_t *upto;
    size_t mask;
};

static void sectors_init(struct sectors *t, uint64_t count)
{
    size_t slots = 16;
    while (slots < count * 2)
        slots *= 2;
    t->keys = calloc(slots, sizeof *t->keys);
    t->upto = calloc(slots, sizeof *t->upto);
    t->mask = slots - 1;
    if (!t->keys || !t->upto)
        abort();
}

static void sectors_release(struct sectors *t)
{
    free(t->keys);
    free(t->upto);
}

static uint32_t *sector_slot(struct sectors *t, uint64_t sector)
{
    size_t i = (size_t)((sector + 1) * 0x9e3779b97f4a7c15 >> 20) & t->mask;
    while (t->keys[i] != 0 && t->keys[i] != sector + 1)
        i = (i + 1) & t->mask;
    t->keys[i] = sector + 1;
    return &t->upto[i];
}

static uint64_t first_sector(const struct disk_op *op)
{
    return op->offset / DISK_SECTOR_BYTES;
}

static uint64_t end_sector(const struct disk_op *op)
{
    return (op->offset + op->len + DISK_SECTOR_BYTES - 1) / DISK_SECTOR_BYTES;
}

/* --- one file --- */

struct file {
    uint32_t node;
    const uint32_t *entries; /* its journal up to the cut */
    size_t count;
    size_t covered; /* writes before this entry are on the disk */
    size_t meta;    /* sizes and holes before this entry are */
    struct sectors sectors;
};

static bool is_certain(const struct file *f, size_t i, const struct disk_op *op)
{
    return i < f->covered || op->synced;
}

/* Sizes and holes go to the disk in order; what a synced write needs is there. */
static void choose_meta(struct crash *c, struct file *f)
{
    size_t low = f->covered;
    for (size_t n = f->count; n-- > 0;) {
        size_t i = f->entries[n];
        if (i >= low && c->j->ops[i].kind == DISK_WRITE && c->j->ops[i].synced)
            low = i + 1;
    }
    f->meta = low;
    if (c->mode == MODE_EVERYTHING)
        f->meta = c->end;
    else if (c->mode == MODE_PREFIX)
        f->meta = c->prefix > low ? c->prefix : low;
    else if (c->mode == MODE_SUBSET) {
        /* One of the file's own moments, so that busy files do not make it rare elsewhere. */
        size_t n = between(c, 0, f->count);
        size_t moment = n == f->count ? c->end : f->entries[n];
        f->meta = moment > low ? moment : low;
    }
}

/* Decides in which sectors a doubtful write is there. */
static void choose_sectors(struct crash *c, struct file *f, size_t i)
{
    const struct disk_op *op = &c->j->ops[i];
    bool torn = chance(c, c->torn_of_256);
    bool keep = chance(c, c->keep_of_256);
    for (uint64_t s = first_sector(op); s < end_sector(op); s++) {
        uint32_t *upto = sector_slot(&f->sectors, s);
        if (is_certain(f, i, op) || (torn ? next_random(c) & 1 : keep))
            *upto = (uint32_t)i + 1;
    }
}

static void choose_writes(struct crash *c, struct file *f)
{
    uint64_t count = 0;
    size_t from = 0;
    while (from < f->count && f->entries[from] < f->covered)
        from++;
    for (size_t n = from; n < f->count; n++) {
        const struct disk_op *op = &c->j->ops[f->entries[n]];
        if (op->kind == DISK_WRITE)
            count += end_sector(op) - first_sector(op);
    }
    sectors_init(&f->sectors, count);
    for (size_t n = from; n < f->count; n++)
        if (c->j->ops[f->entries[n]].kind == DISK_WRITE)
            choose_sectors(c, f, f->entries[n]);
}

static bool put(int fd, const uint8_t *data, uint64_t len, uint64_t offset)
{
    while (len > 0) {
        ssize_t n = disk_libc()->pwrite(fd, data, (size_t)len, (off_t)offset);
        if (n <= 0)
            return false;
        data += n;
        len -= (uint64_t)n;
        offset += (uint64_t)n;
    }
    return true;
}

/* Ranges that a lost truncation or hole would have freed: blocks written there later belonged to
 * nobody when the power went. */
struct lost {
    struct range {
        uint64_t from;
        uint64_t to;
    } * ranges;
    size_t count;
};

static void lose_range(struct lost *lost, uint64_t from, uint64_t to)
{
    lost->ranges = disk_grow(lost->ranges, lost->count + 1, sizeof *lost->ranges);
    lost->ranges[lost->count++] = (struct range){ from, to };
}

/* Writes [from, to) of the write but what lies in the lost ranges from number n on. */
static bool put_around(int fd, const struct disk_op *op, const struct lost *lost, size_t n,
                       uint64_t from, uint64_t to)
{
    for (; n < lost->count && from < to; n++) {
        const struct range *r = &lost->ranges[n];
        if (r->to <= from || r->from >= to)
            continue;
        if (r->from > from && !put_around(fd, op, lost, n + 1, from, r->from))
            return false;
        from = r->to;
    }
    return from >= to || put(fd, op->data + (from - op->offset), to - from, from);
}

static bool play_write(struct crash *c, struct file *f, const struct lost *lost, size_t i, int fd)
{
    const struct disk_op *op = &c->j->ops[i];
    uint64_t end = op->offset + op->len;
    if (is_certain(f, i, op))
        return put(fd, op->data, op->len, op->offset);
    uint64_t from = op->offset; /* of the run of sectors that are there */
    for (uint64_t s = first_sector(op); s < end_sector(op); s++) {
        uint64_t next = (s + 1) * DISK_SECTOR_BYTES;
        if (next > end)
            next = end;
        if (*sector_slot(&f->sectors, s) > i && next < end)
            continue;
        uint64_t to = *sector_slot(&f->sectors, s) > i ? next : s * DISK_SECTOR_BYTES;
        if (to > from && !put_around(fd, op, lost, 0, from, to))
            return false;
        from = next;
    }
    return true;
}

static bool play_zeros(int fd, uint64_t offset, uint64_t len)
{
    static const uint8_t zeros[1U << 16];
    int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    if (disk_libc()->fallocate(fd, mode, (off_t)offset, (off_t)len) == 0)
        return true;
    bool ok = true;
    for (uint64_t done = 0; ok && done < len; done += sizeof zeros)
        ok = put(fd, zeros, len - done < sizeof zeros ? len - done : sizeof zeros, offset + done);
    return ok;
}

/* One entry of the file's journal; *size is the size that the disk knows. */
static bool play(struct crash *c, struct file *f, struct lost *lost, size_t i, int fd,
                 uint64_t *size)
{
    const struct disk_op *op = &c->j->ops[i];
    bool has_meta = i < f->meta;
    uint64_t end = op->offset + op->len;
    if (has_meta && op->kind == DISK_SIZE)
        *size = op->offset;
    else if (has_meta && op->kind != DISK_PUNCH && end > *size)
        *size = end;
    switch (op->kind) {
    case DISK_WRITE:
        return play_write(c, f, lost, i, fd);
    case DISK_SIZE:
        if (has_meta)
            return disk_libc()->ftruncate(fd, (off_t)op->offset) == 0;
        lose_range(lost, op->offset, UINT64_MAX);
        return true;
    case DISK_PUNCH:
        if (has_meta)
            return play_zeros(fd, op->offset, op->len);
        lose_range(lost, op->offset, end);
        return true;
    default:
        return true;
    }
}

static enum kist_err make_file(struct crash *c, uint32_t node, const char *path)
{
    struct file f = { .node = node, .entries = c->entries + c->first[node] };
    while (c->first[node] + f.count < c->first[node + 1])
        f.count++;
    f.covered = c->synced_upto[node] > c->j->base ? c->synced_upto[node] : c->j->base;
    choose_meta(c, &f);
    choose_writes(c, &f);

    CLEANUP_CLOSE int fd =
        disk_libc()->openat(c->target, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    struct lost lost = { NULL, 0 };
    uint64_t size = 0;
    bool ok = fd >= 0;
    for (size_t n = 0; ok && n < f.count; n++)
        ok = play(c, &f, &lost, f.entries[n], fd, &size);
    ok = ok && disk_libc()->ftruncate(fd, (off_t)size) == 0;
    free(lost.ranges);
    sectors_release(&f.sectors);
    return ok ? KIST_OK : KIST_E_IO;
}

/* --- the tree --- */

/* Orders the entries that change files by node, the journal's order within a node. */
static void order_by_node(struct crash *c)
{
    const struct disk_journal *j = c->j;
    for (size_t i = 0; i < c->end; i++)
        if (j->ops[i].kind < DISK_SYNC)
            c->first[j->ops[i].node + 2]++;
    for (uint32_t n = 2; n < j->node_count + 2; n++)
        c->first[n] += c->first[n - 1];
    for (size_t i = 0; i < c->end; i++)
        if (j->ops[i].kind < DISK_SYNC)
            c->entries[c->first[j->ops[i].node + 1]++] = (uint32_t)i;
}

static void find_synced(struct crash *c)
{
    for (size_t i = 0; i < c->end; i++) {
        const struct disk_op *op = &c->j->ops[i];
        if (op->kind == DISK_SYNC && op->upto > c->synced_upto[op->node])
            c->synced_upto[op->node] = op->upto;
    }
}

/* Directories from the top down: nodes above may have higher numbers after renames. */
static enum kist_err make_dirs(struct crash *c, char *path)
{
    for (char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int rc = disk_libc()->mkdirat(c->target, path, 0700);
        *slash = '/';
        if (rc != 0 && errno != EEXIST)
            return KIST_E_IO;
    }
    return KIST_OK;
}

static enum kist_err make_tree(struct crash *c)
{
    char path[DISK_PATH_MAX];
    for (uint32_t node = 1; node < c->j->node_count; node++) {
        if (c->name_of[node] == DISK_NONE || !path_of(c, node, path))
            continue;
        TRY(make_dirs(c, path));
        if (!c->j->is_dir[node])
            TRY(make_file(c, node, path));
        else if (disk_libc()->mkdirat(c->target, path, 0700) != 0 && errno != EEXIST)
            return KIST_E_IO;
    }
    return KIST_OK;
}

static void *zeroed(size_t count, size_t size)
{
    void *p = disk_grow(NULL, count + 2, size);
    return memset(p, 0, (count + 2) * size);
}

static void crash_release(struct crash *c)
{
    free(c->synced_upto);
    free(c->kept);
    free(c->node_of);
    free(c->name_of);
    free(c->first);
    free(c->entries);
}

static enum kist_err crash(size_t position, uint64_t seed, int target)
{
    const struct disk_journal *j = &disk_journal;
    if (position > j->count - j->base)
        return KIST_E_INVALID;
    CLEANUP(crash_release)
    struct crash c = { .j = j, .end = j->base + position, .target = target };
    c.synced_upto = zeroed(j->node_count, sizeof(size_t));
    c.kept = zeroed(c.end, sizeof(bool));
    c.node_of = zeroed(j->name_count, sizeof(uint32_t));
    c.name_of = zeroed(j->node_count, sizeof(uint32_t));
    c.first = zeroed(j->node_count, sizeof(size_t));
    c.entries = zeroed(c.end, sizeof(uint32_t));
    choose_policy(&c, seed);
    find_synced(&c);
    keep_covered_names(&c);
    choose_names(&c);
    place_nodes(&c);
    order_by_node(&c);
    return make_tree(&c);
}

enum kist_err disk_crash(size_t position, uint64_t seed, const char *target)
{
    if (disk_libc()->mkdirat(AT_FDCWD, target, 0700) != 0 && errno != EEXIST)
        return KIST_E_IO;
    CLEANUP_CLOSE int fd = disk_libc()->open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return KIST_E_IO;
    disk_lock();
    enum kist_err err = crash(position, seed, fd);
    disk_unlock();
    return err;
}
