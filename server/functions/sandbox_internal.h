/* Between the server, the zygote and each sandbox's init: one program, three processes.
 *
 *     server  --request, fds-->  zygote  --clone-->  init (pid 1)  --fork-->  function (pid 2)
 *        ^                          | pidfd             | listeners, its end
 *        +------- control ----------+-------------------+
 *
 * Each sandbox has a control socket of its own, so that starts do not wait for each other. When
 * the server's end closes, init ends, and with it all processes of its namespace.
 *
 * Code of zygote, init and function runs in single-threaded processes. Functions there return 0
 * or an errno.
 */
#ifndef KIST_SERVER_FUNCTIONS_SANDBOX_INTERNAL_H
#define KIST_SERVER_FUNCTIONS_SANDBOX_INTERNAL_H

#include <linux/filter.h>
#include <netinet/in.h>
#include <stdatomic.h>

#include "server/functions/sandbox.h"

#define SANDBOX_ZYGOTE_FD 3
#define SANDBOX_STRINGS_MAX (96 * 1024)
#define SANDBOX_ARGS_MAX 4096
#define SANDBOX_FILTER_MAX 4096 /* the kernel's limit is BPF_MAXINSNS, as many */
#define SANDBOX_CGROUPS_MAX 3
/* Where the machine's files are while a sandbox is built; empty afterwards. */
#define SANDBOX_OLD_ROOT "/.old"

/* Server to zygote, once. */
struct sandbox_hello {
    uint32_t without, prefer_bubblewrap;
    uint32_t filter_len; /* instructions */
    struct sock_filter filter[SANDBOX_FILTER_MAX];
};

/* Zygote to server, once. */
struct sandbox_abilities {
    uint32_t features;
    uint32_t uid_first, uid_count; /* user ids for functions; count 0: none */
};

enum sandbox_fd { SANDBOX_FD_CONTROL, SANDBOX_FD_OUTPUT, SANDBOX_FD_SHARED, SANDBOX_FD_CGROUPS };

/* Server to zygote, for each sandbox; fds as enum sandbox_fd, then cgroups. */
struct sandbox_request {
    uint32_t features; /* those to use */
    uint32_t uid;      /* with SANDBOX_OWN_UID */
    uint32_t init_uid; /* the same: a user that no function is */
    uint64_t memory_bytes, tmp_bytes;
    uint32_t pids_max;
    uint16_t ports[SANDBOX_PORTS_MAX];
    uint16_t ports_count, layers_count;
    uint32_t args_count, env_count;
    uint32_t cgroups_count;
    uint32_t network;
    uint32_t strings_len;
    /* Each with its NUL: task, runtime (maybe empty), layers, arguments, environment. */
    char strings[SANDBOX_STRINGS_MAX];
};

enum sandbox_report_kind { SANDBOX_STARTED, SANDBOX_READY, SANDBOX_FAILED, SANDBOX_ENDED };

/* Zygote and init to server. */
struct sandbox_report {
    uint32_t kind;
    int32_t error; /* FAILED: errno */
    uint32_t bad;  /* FAILED: the spec is to blame, not the machine */
    uint16_t ports[SANDBOX_PORTS_MAX];
    int32_t wait_status; /* ENDED: as of waitpid() */
    uint32_t oom;
    uint64_t cpu_us, rss_max_bytes;
};

/* Server to init, one byte each. */
#define SANDBOX_STOP 'S'
#define SANDBOX_CONTINUE 'C'

/* A page that init and server share. */
struct sandbox_shared {
    _Atomic uint64_t memory_peak_bytes;
};

/* A request taken apart; borrows from it. */
struct sandbox_plan {
    struct sandbox_request *request;
    int fds[SANDBOX_FD_CGROUPS + SANDBOX_CGROUPS_MAX];
    const char *task, *runtime, *tmp;
    const char *layers[SANDBOX_LAYERS_MAX];
    char *argv[SANDBOX_ARGS_MAX], *envp[SANDBOX_ARGS_MAX];
    const struct sandbox_hello *hello;
    int proc_fd; /* the machine's /proc */
};

/* The function filter of system calls: fills hello->filter. KIST_E_UNSUPPORTED without seccomp.
 */
enum kist_err sandbox_filter(struct sandbox_hello *hello) MUST_CHECK;

/* Control messages with file descriptors. Return 0 or errno; sandbox_receive() sets *len to 0 at
 * the end, and fds beyond *fds_count are closed. */
int sandbox_send(int socket, const void *data, size_t len, const int *fds, size_t fds_count);
int sandbox_receive(int socket, void *data, size_t max, size_t *len, int *fds, size_t *fds_count);

/* sandbox.c: for sandbox_peer.c. The user is the machine's. */
bool sandbox_has_own_net(const struct sandbox *box);
uint32_t sandbox_uid(const struct sandbox *box);
/* sandbox_peer.c: who made the socket whose own end is `its` and whose peer is `ours`. The second
 * is for kernels without sock_diag. KIST_E_NOT_FOUND; KIST_E_UNSUPPORTED. */
enum kist_err sandbox_owner_by_diag(const struct sockaddr_in *its, const struct sockaddr_in *ours,
                                    uint32_t *uid) MUST_CHECK;
enum kist_err sandbox_owner_by_table(const struct sockaddr_in *its,
                                     const struct sockaddr_in *ours, uint32_t *uid) MUST_CHECK;

/* sandbox_root.c: files. The lists end with NULL: what of the machine's files is shown at its own
 * place, and what there is besides. */
struct sandbox_made {
    const char *path, *text;
};
extern const char *const sandbox_system_shown[], *const sandbox_etc_shown[];
extern const struct sandbox_made sandbox_etc_made[];
int sandbox_root_make(void);
int sandbox_root_finish(const struct sandbox_plan *plan);
int sandbox_proc_mount(void);
/* sandbox_drop.c: in the function's process, up to execve(), before which it waits for a byte
 * from `go`; *bad as in sandbox_report. */
int sandbox_become(const struct sandbox_plan *plan, int go, bool *bad);
int sandbox_drop_uid(uint32_t uid);
/* All but those; which this process must have. */
int sandbox_drop_caps(uint32_t but);
bool sandbox_has_caps(uint32_t caps);
int sandbox_map_user(int proc_fd, unsigned inside_uid, unsigned uid, unsigned inside_gid,
                     unsigned gid);
int sandbox_write_file(int dir, const char *path, const char *text);
int sandbox_seccomp(const struct sandbox_hello *hello);
/* sandbox_landlock.c. */
bool sandbox_landlock_works(void);
int sandbox_landlock(const struct sandbox_plan *plan);
/* sandbox_bwrap.c: an init in namespaces of bubblewrap's making, this program anew, which finds
 * its request in a file in descriptor 3 and the request's descriptors from 4 on. */
bool sandbox_bwrap_works(void);
int sandbox_bwrap_exec(const struct sandbox_plan *plan);
/* Whether this process is such an init; then the plan's fds are filled. */
bool sandbox_bwrap_adopt(struct sandbox_hello *hello, struct sandbox_request *request,
                         struct sandbox_plan *plan);
/* sandbox_init.c: pid 1. */
int sandbox_net_up(void);
_Noreturn void sandbox_init(struct sandbox_plan *plan);

#endif
