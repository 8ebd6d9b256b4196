/* Sandboxes: where functions' processes run.
 *
 *     struct sandbox_host    one for the server: what this machine can protect with, and the
 *       |                    zygote, a small single-threaded process that starts the others
 *       +- struct sandbox    one function's process with all its descendants
 *
 * A sandbox has namespaces of its own (user, mount, pid, net, ipc, uts), a root of its own
 * (read-only /usr, /lib, /bin and a minimal /etc and /dev; /proc; /var/task, /var/runtime, /opt;
 * a private /tmp), no capabilities, no way to gain any (no_new_privs), a seccomp filter,
 * Landlock, resource limits, and cgroups for memory, processes and freezing. What the machine
 * refuses is left out, and sandbox_describe() says what remains.
 *
 * The sandbox's network is empty but for its own loopback. The server's end of it are listening
 * sockets that were made inside: whoever connects to 127.0.0.1:9001 in there reaches the server.
 *
 * A sandbox ends with the server, however that ends: each one's init watches a socket.
 *
 *     struct sandbox_config config = { 0 };
 *     TRY(sandbox_host_open(&config, &host));
 *     TRY(sandbox_spawn(host, &spec, &box));
 *     ... poll sandbox_pidfd(box), accept on sandbox_port(box, 0)->fd, read sandbox_output(box)
 *     sandbox_kill(box);
 *     TRY(sandbox_reap(box, &end));
 *     sandbox_free(box);
 *     sandbox_host_close(host);
 *
 * The program must call sandbox_zygote_main() when it is started with SANDBOX_ZYGOTE_COMMAND as
 * its first argument, before it starts threads or opens files.
 */
#ifndef KIST_SERVER_FUNCTIONS_SANDBOX_H
#define KIST_SERVER_FUNCTIONS_SANDBOX_H

#include "storage/base/bytes.h"

/* What protects, as bits. */
enum sandbox_feature {
    SANDBOX_USER_NS = 1 << 0,
    SANDBOX_MOUNT_NS = 1 << 1, /* with a root of its own */
    SANDBOX_PID_NS = 1 << 2,
    SANDBOX_NET_NS = 1 << 3,
    SANDBOX_IPC_NS = 1 << 4,
    SANDBOX_UTS_NS = 1 << 5,
    SANDBOX_PROC = 1 << 6,    /* a /proc that shows the sandbox's processes alone */
    SANDBOX_OWN_UID = 1 << 7, /* a user id of the machine that nobody else has */
    SANDBOX_SECCOMP = 1 << 8,
    SANDBOX_LANDLOCK = 1 << 9,
    SANDBOX_CGROUP_MEMORY = 1 << 10,  /* otherwise the sum of resident sizes is watched */
    SANDBOX_CGROUP_PIDS = 1 << 11,    /* otherwise RLIMIT_NPROC */
    SANDBOX_CGROUP_FREEZER = 1 << 12, /* otherwise SIGSTOP */
    SANDBOX_CGROUP_V2 = 1 << 13,      /* some of the three are version 2 */
    SANDBOX_BUBBLEWRAP = 1 << 14,     /* namespaces are made by bwrap */
};
/* With both, nothing is left when the sandbox's first process dies. */
#define SANDBOX_ENDS_ITSELF (SANDBOX_PID_NS | SANDBOX_MOUNT_NS)

struct sandbox_config {
    const char *zygote_exe; /* a program that knows SANDBOX_ZYGOTE_COMMAND; NULL: this one */
    unsigned without;       /* features not to use, for tests and odd machines */
    /* Namespaces by bubblewrap even where own ones work. It is the fallback where they do not,
     * because some systems let only that program make them. */
    bool prefer_bubblewrap;
};

#define SANDBOX_ZYGOTE_COMMAND "sandbox-zygote"
#define SANDBOX_PORTS_MAX 4
#define SANDBOX_LAYERS_MAX 5 /* Lambda's limit */
#define SANDBOX_UID 993      /* the function's user and group as it sees itself */
#define SANDBOX_GID 990

struct sandbox_host;
struct sandbox;

/* Finds out what the machine allows, starts the zygote, and removes what a killed server left
 * behind. KIST_E_IO when the zygote does not start. */
enum kist_err sandbox_host_open(const struct sandbox_config *config,
                                struct sandbox_host **out) MUST_CHECK;
/* All its sandboxes must have been freed. NULL is allowed. */
void sandbox_host_close(struct sandbox_host *host);

/* SANDBOX_... bits that are active. */
unsigned sandbox_features(const struct sandbox_host *host);
/* Whether the server's files and processes are out of reach of a function: only then may code
 * that its operator did not write run here. */
bool sandbox_protects(const struct sandbox_host *host);
/* Appends one line without its end, e.g. "user, mount, pid, net, ipc, uts namespaces; own
 * user id, seccomp, landlock; cgroup v2 (memory, pids, freezer); no_new_privs, rlimits". */
enum kist_err sandbox_describe(const struct sandbox_host *host, struct buf *out) MUST_CHECK;

/* All is borrowed for the call. Directories need not be absolute; under them, what a function
 * reads must be readable by any user (0755, 0644), because it has a user id of its own.
 *
 * Without SANDBOX_MOUNT_NS there is no /var/task: the directories are at their own places, TMPDIR
 * names the private directory for files, and the caller must word argv and envp accordingly. */
struct sandbox_spec {
    const char *task_dir;          /* /var/task, and the working directory */
    const char *const *layer_dirs; /* merged as /opt, later ones above; NULL, or ends with NULL */
    const char *runtime_dir;       /* /var/runtime; NULL: none */
    const char *const *argv;       /* argv[0] is the program's path inside; ends with NULL */
    const char *const *envp;       /* ends with NULL; nothing is inherited */
    uint64_t memory_bytes;         /* of all processes and of what is in /tmp; 0: no limit */
    uint64_t tmp_bytes;            /* size of /tmp; 0: 512 MiB, as Lambda */
    unsigned pids_max;             /* processes and threads; 0: 1024, as Lambda */
    const uint16_t *ports;         /* to listen on inside */
    size_t ports_count;            /* at most SANDBOX_PORTS_MAX */
    bool network;                  /* the machine's network instead of an empty one */
};

/* Starts a process. A host may be used by many threads, a sandbox by one at a time, but for
 * sandbox_kill(). Takes milliseconds.
 *
 * KIST_E_UNSUPPORTED for more than one layer with SANDBOX_BUBBLEWRAP; KIST_E_TOO_LARGE when argv
 * and envp exceed 96 KiB; KIST_E_INVALID for a bad spec, a directory that is not there, and a
 * program that cannot be executed; KIST_E_IO, KIST_E_NOSPC or KIST_E_NOMEM when the machine
 * refuses. */
enum kist_err sandbox_spawn(struct sandbox_host *host, const struct sandbox_spec *spec,
                            struct sandbox **out) MUST_CHECK;

/* Becomes readable when all the sandbox's processes are gone. Borrowed. */
int sandbox_pidfd(const struct sandbox *box);
/* The read end of the pipe that is its stdout and stderr; non-blocking, borrowed. At end of file
 * no process of the sandbox holds it any more. */
int sandbox_output(const struct sandbox *box);
struct sandbox_port {
    int fd;        /* listening, non-blocking, borrowed */
    uint16_t port; /* on 127.0.0.1 as seen inside; differs from the wished one without NET_NS */
};
/* In the order of spec.ports. Without SANDBOX_NET_NS, or with spec.network, anybody on the
 * machine can connect: ask sandbox_owns_peer(). */
const struct sandbox_port *sandbox_port(const struct sandbox *box, size_t i);
/* Whether a connection that was accepted on 127.0.0.1 for the sandbox comes from it. Where it has
 * no network of its own, the user whose process made the other end decides: the sandbox's, or the
 * server's own without SANDBOX_OWN_UID. False also when that cannot be known. */
bool sandbox_owns_peer(const struct sandbox *box, int fd);
/* The same fd for a caller who keeps it longer: the sandbox no longer closes it. */
int sandbox_take_port(struct sandbox *box, size_t i);

/* Ends all its processes at once; frozen ones too. Does not wait. Safe to repeat. */
void sandbox_kill(struct sandbox *box);
/* Stops all its processes until thawed; returns when they have been told to. */
enum kist_err sandbox_freeze(struct sandbox *box) MUST_CHECK;
enum kist_err sandbox_thaw(struct sandbox *box) MUST_CHECK;
/* The most memory that the sandbox has used until now, in bytes; 0 when unknown. */
uint64_t sandbox_memory_peak(const struct sandbox *box);

struct sandbox_exit {
    int status;                /* exit status, or -1 after a signal */
    int signal;                /* the signal, or 0; SIGKILL also for sandbox_kill() */
    bool oom_killed;           /* the memory limit was hit and something was killed for it */
    uint64_t memory_max_bytes; /* as sandbox_memory_peak() */
    uint64_t cpu_us;           /* user and system time of the program and what it waited for */
};
/* Waits until all processes are gone, which is at once when sandbox_pidfd() is readable. */
enum kist_err sandbox_reap(struct sandbox *box, struct sandbox_exit *out) MUST_CHECK;
/* Kills, waits, and gives everything back. NULL is allowed. */
void sandbox_free(struct sandbox *box);

/* The zygote's main function: serves sandbox_host_open()'s process, and exits when that ends.
 * Returns an exit status when it cannot begin. */
int sandbox_zygote_main(void);

#endif
