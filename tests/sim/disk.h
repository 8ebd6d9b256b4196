/* A disk that can lose its power: the power-loss simulator.
 *
 * disk.c defines open, write, pwrite, fsync, rename and the rest of libc's file calls. Linked
 * with -rdynamic into a test, they are found before libc's by our code and by liblmdb alike. They
 * do the real call and, for what lies below one directory, note each change in a journal in
 * memory. From the journal, disk_crash() makes the directory that a power cut at any moment may
 * leave:
 *
 *  - Whatever a sync covered is there. fsync and fdatasync cover the file's bytes and size that
 *    were written before the sync began, once it has returned; a write through an O_SYNC or
 *    O_DSYNC descriptor covers its own bytes. Names are covered by the sync of their directory
 *    alone (ext4 would keep the name of a new file that was synced; POSIX does not ask it to).
 *  - Each later write is there, lost, or torn at 512-byte sectors. A sector holds a state that it
 *    had at some moment: a later write to the same sector brings the earlier ones with it.
 *  - Sizes, truncations and holes of a file persist in their order, up to any point since its
 *    last sync. Blocks written after a lost truncation or hole are lost with it.
 *  - Creations, removals and renames that no directory sync covered are lost or kept: up to one
 *    point in time for the whole tree (as a journaling file system does it), or each by itself,
 *    as long as what it rests on is kept as well. A rename is atomic.
 *
 * Nothing is really synced, so that thousands of syncs take no time. Not seen, so not allowed
 * below the directory: writes through stdio or shared mappings (LMDB's lock table, which does not
 * outlive a crash, excepted), symbolic links, hard links, and descriptors copied by fcntl().
 *
 *     disk_start("/tmp/x/live");
 *     ... run the store in /tmp/x/live; take disk_mark() whenever something was acknowledged ...
 *     disk_stop();
 *     disk_crash(rand() % (disk_mark() + 1), seed, "/tmp/x/dead");
 *     ... open the store in /tmp/x/dead: what was acknowledged before the cut must be there ...
 *     disk_free();
 *
 * All functions may be called from any thread, but disk_start(), disk_stop() and disk_free() not
 * while another thread works below the directory.
 */
#ifndef KIST_TESTS_SIM_DISK_H
#define KIST_TESTS_SIM_DISK_H

#include <stddef.h>
#include <stdint.h>

#include "storage/base/err.h"

#define DISK_SECTOR_BYTES 512

/* Two seeds are not random: nothing that was not synced survives, and everything does. */
#define DISK_SEED_NOTHING UINT64_C(0)
#define DISK_SEED_EVERYTHING UINT64_C(1)

/* Begins a journal of the changes below `root`, an existing directory, whose present content
 * counts as synced. There is one journal at a time. Descriptors that are open already count too.
 * KIST_E_BUSY when there is a journal, KIST_E_IO when root cannot be read. */
enum kist_err disk_start(const char *root) MUST_CHECK;
/* Changes are no longer journaled; the journal stays. */
void disk_stop(void);
/* Forgets the journal. */
void disk_free(void);

/* How many changes are in the journal: a moment in time. Zero is the moment of disk_start(). All
 * that a thread did before its call lies before the moment. */
size_t disk_mark(void);

/* Makes in `target`, which must not exist or be an empty directory, what a power cut after the
 * first `position` changes may leave. The same journal, position and seed make the same tree.
 * Its work grows with the journal up to the position and with what the tree holds; holes are not
 * copied. KIST_E_INVALID when position lies beyond the journal, KIST_E_IO when target cannot be
 * written (it is then partly there). */
enum kist_err disk_crash(size_t position, uint64_t seed, const char *target) MUST_CHECK;

/* The journal up to `position` in words, one change a line, to find out what a failing seed did.
 * Bytes are not shown. */
void disk_print(size_t position);

#endif
