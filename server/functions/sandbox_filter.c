/* The filter of system calls.
 *
 * A list of what is allowed breaks with every new runtime and libc, so this is a list of what is
 * refused: calls that change the machine, reach into other processes, make namespaces, or have
 * been the kernel's weak spots. All of them fail with EPERM, as they do for want of privilege;
 * only clone3 "does not exist", because libc then uses clone, whose flags can be seen here.
 */
#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/functions/sandbox_internal.h"
#include "storage/base/cleanup.h"

static void release_filter(scmp_filter_ctx *ctx)
{
    if (*ctx)
        seccomp_release(*ctx);
}

/* By name: some exist on some architectures only. */
static const char *const refused[] = {
    "acct",
    "add_key",
    "adjtimex",
    "bpf",
    "chroot",
    "clock_adjtime",
    "clock_adjtime64",
    "clock_settime",
    "clock_settime64",
    "create_module",
    "delete_module",
    "fanotify_init",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "get_kernel_syms",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "mbind",
    "migrate_pages",
    "mount",
    "mount_setattr",
    "move_mount",
    "move_pages",
    "name_to_handle_at",
    "nfsservctl",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pidfd_getfd",
    "pivot_root",
    "process_madvise",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "query_module",
    "quotactl",
    "quotactl_fd",
    "reboot",
    "request_key",
    "set_mempolicy",
    "setdomainname",
    "sethostname",
    "setns",
    "settimeofday",
    "stime",
    "swapoff",
    "swapon",
    "sysfs",
    "syslog",
    "umount",
    "umount2",
    "unshare",
    "uselib",
    "userfaultfd",
    "ustat",
    "vhangup",
    "vm86",
    "vm86old",
    "vmsplice",
};

static int refuse_calls(scmp_filter_ctx ctx)
{
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        int nr = seccomp_syscall_resolve_name(refused[i]);
        if (nr == __NR_SCMP_ERROR)
            continue; /* younger than the library, or of another architecture */
        int rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), nr, 0);
        if (rc != 0 && rc != -EDOM)
            return rc;
    }
    return seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

/* Calls that are refused for some arguments. */
static int refuse_arguments(scmp_filter_ctx ctx)
{
    static const uint64_t spaces[] = { CLONE_NEWNS,  CLONE_NEWUTS, CLONE_NEWIPC,   CLONE_NEWUSER,
                                       CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWCGROUP };
    uint32_t no = SCMP_ACT_ERRNO(EPERM);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(spaces); i++)
        rc = seccomp_rule_add(ctx, no, SCMP_SYS(clone), 1,
                              SCMP_A0(SCMP_CMP_MASKED_EQ, spaces[i], spaces[i]));
    /* Sockets: AF_UNIX (1), AF_INET (2), AF_INET6 (10) remain. */
    static const int families[] = { AF_UNIX, AF_INET, AF_INET6 };
    for (int family = 0; rc == 0 && family < AF_INET6; family++) {
        bool good = false;
        for (size_t i = 0; i < ARRAY_LEN(families); i++)
            good = good || families[i] == family;
        if (!good)
            rc = seccomp_rule_add(ctx, no, SCMP_SYS(socket), 1,
                                  SCMP_A0_32(SCMP_CMP_EQ, (uint32_t)family));
    }
    if (rc == 0)
        rc = seccomp_rule_add(ctx, no, SCMP_SYS(socket), 1, SCMP_A0_32(SCMP_CMP_GT, AF_INET6));
    if (rc == 0)
        rc = seccomp_rule_add(ctx, no, SCMP_SYS(socketpair), 1, SCMP_A0_32(SCMP_CMP_NE, AF_UNIX));
    /* personality(0) is the usual one; asking, personality(-1), is refused along with the rest,
     * because libseccomp compares an argument once in a rule. */
    if (rc == 0)
        rc = seccomp_rule_add(ctx, no, SCMP_SYS(personality), 1, SCMP_A0_32(SCMP_CMP_NE, 0));
    /* TIOCSTI (0x5412) and TIOCLINUX (0x541c) type into a terminal. */
    if (rc == 0)
        rc = seccomp_rule_add(ctx, no, SCMP_SYS(ioctl), 1, SCMP_A1_32(SCMP_CMP_EQ, 0x5412));
    if (rc == 0)
        rc = seccomp_rule_add(ctx, no, SCMP_SYS(ioctl), 1, SCMP_A1_32(SCMP_CMP_EQ, 0x541c));
    return rc;
}

enum kist_err sandbox_filter(struct sandbox_hello *hello)
{
    CLEANUP(release_filter) scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    if (!ctx)
        return KIST_E_UNSUPPORTED;
    /* A program of another architecture (i386 on amd64) would pass by with other numbers: the
     * default for unknown architectures is to kill, but EPERM shows better what happened. */
    if (seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(EPERM)) != 0 ||
        refuse_calls(ctx) != 0 || refuse_arguments(ctx) != 0)
        return KIST_E_UNSUPPORTED;
    CLEANUP_CLOSE int fd = memfd_create("filter", MFD_CLOEXEC);
    if (fd < 0)
        return kist_err_from_errno(errno);
    if (seccomp_export_bpf(ctx, fd) != 0)
        return KIST_E_UNSUPPORTED;
    off_t size = lseek(fd, 0, SEEK_END);
    if (size <= 0 || (size_t)size > sizeof(hello->filter))
        return KIST_E_UNSUPPORTED;
    if (pread(fd, hello->filter, (size_t)size, 0) != (ssize_t)size)
        return KIST_E_IO;
    hello->filter_len = (uint32_t)((size_t)size / sizeof(hello->filter[0]));
    return KIST_OK;
}
