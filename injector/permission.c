/* Why the kernel says EPERM to ptrace, and what to do about it (target_explain_eperm).
 *
 * Follows the order of __ptrace_may_access() in kernel/ptrace.c, then the security modules
 * (yama: Documentation/admin-guide/LSM/Yama.rst).  The kernel does not tell which check
 * failed, so each is done again here. */
#include <errno.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "procfs.h"
#include "target.h"

#define PERMISSION EXIT_CANNOT_ATTACH, "permission"

static bool has_cap(uint64_t set, int capability)
{
    return set >> capability & 1;
}

static struct error *explain_tracer(const struct target *target, pid_t tracer)
{
    struct proc_stat stat;
    const char *name = proc_stat(tracer, &stat) ? "unknown" : stat.command;
    bool gdb = !strncmp(name, "gdb", 3); /* gdbserver too */
    struct error *error = error_new(EXIT_CANNOT_ATTACH, gdb ? "in-gdb" : "traced",
                                    "process %d (%s) is already traced by %d (%s)", target->pid,
                                    target->command, tracer, name);

    if (gdb)
        return error_hint(error, "leave it in that gdb with: detach");
    return error_hint(error, "end the tracer first: kill %d", tracer);
}

/* Each thread has a tracer of its own. */
static pid_t find_tracer(const struct target *target)
{
    _cleanup_free_ pid_t *tids = NULL;
    struct error *error;
    size_t n = 0;

    error = target_threads(target, &tids, &n);
    error_free(error);
    for (size_t i = 0; !error && i < n; i++) {
        struct proc_status status;

        if (!proc_status(tids[i], &status) && status.tracer)
            return status.tracer;
    }
    return 0;
}

/* "alice (uid 1000)" */
static const char *user_name(uid_t uid, char *buffer, size_t size)
{
    struct passwd *user = getpwuid(uid);

    if (user)
        snprintf(buffer, size, "%s (uid %u)", user->pw_name, uid);
    else
        snprintf(buffer, size, "uid %u", uid);
    return buffer;
}

static struct error *explain_other_user(const struct target *target, uid_t theirs)
{
    char owner[96], we[96];

    return error_hint(error_new(PERMISSION,
                                "no permission: process %d (%s) belongs to %s and pyhot runs "
                                "as %s",
                                target->pid, target->command,
                                user_name(theirs, owner, sizeof(owner)),
                                user_name(getuid(), we, sizeof(we))),
                      "run pyhot as that user or as root (sudo)");
}

/* -1: this kernel has no yama. */
static int yama_scope(void)
{
    _cleanup_fclose_ FILE *file = fopen("/proc/sys/kernel/yama/ptrace_scope", "re");
    int scope;

    return file && fscanf(file, "%d", &scope) == 1 ? scope : -1;
}

static struct error *explain_yama(const struct target *target, int scope)
{
    struct error *error =
        error_new(PERMISSION, "process %d (%s) may not be traced: kernel.yama.ptrace_scope is %d%s",
                  target->pid, target->command, scope,
                  scope == 1   ? " (only a parent may trace)"
                  : scope == 2 ? " (only root may trace)"
                               : " (nobody may trace until the next boot)");

    if (scope >= 3)
        return error_hint(error, "set kernel.yama.ptrace_scope to 1 in /etc/sysctl.d and reboot");
    if (scope == 2)
        return error_hint(error, "run pyhot as root (sudo)");
    return error_hint(error,
                      "run pyhot as root (sudo), or: sudo sysctl kernel.yama.ptrace_scope=0");
}

/* The inode of /proc/PID/ns/user names the namespace (namespaces(7)); 0: may not be seen. */
static ino_t user_namespace(pid_t pid)
{
    char path[64];
    struct stat stat_;

    snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
    return stat(path, &stat_) ? 0 : stat_.st_ino;
}

static bool in_other_user_namespace(const struct target *target)
{
    ino_t theirs = user_namespace(target->pid), ours = user_namespace(getpid());

    return theirs && ours && theirs != ours;
}

/* What is left when we have CAP_SYS_PTRACE, or are of the same user and nothing else shows. */
static struct error *explain_rest(const struct target *target, const struct proc_status *us)
{
    struct error *error =
        error_new(PERMISSION, "the kernel does not let pyhot trace process %d (%s)", target->pid,
                  target->command);

    if (us->seccomp == 2)
        return error_hint(error, "a seccomp filter is on pyhot: in a container, start it with "
                                 "--cap-add=SYS_PTRACE");
    return error_hint(error, "a security module (SELinux, AppArmor) may forbid it: see the "
                             "kernel's log");
}

static bool same_ids(const struct proc_status *them, const struct proc_status *us)
{
    for (int i = 0; i < 3; i++) /* the file system ids do not count */
        if (them->uid[i] != us->uid[0] || them->gid[i] != us->gid[0])
            return false;
    return true;
}

/* The kernel gives the files of a process that is not dumpable to root (proc(5)). */
static bool is_dumpable(const struct target *target, uid_t uid)
{
    char path[64];
    struct stat stat_;

    snprintf(path, sizeof(path), "/proc/%d/mem", target->pid);
    return stat(path, &stat_) || stat_.st_uid == uid;
}

static struct error *explain_unprivileged(const struct target *target,
                                          const struct proc_status *them,
                                          const struct proc_status *us)
{
    int scope = yama_scope();

    if (us->uid[1] == 0)
        return error_hint(
            error_new(PERMISSION,
                      "pyhot runs as root without CAP_SYS_PTRACE (a container?) and "
                      "may not trace process %d (%s)",
                      target->pid, target->command),
            "start the container with --cap-add=SYS_PTRACE, or run pyhot on the host");
    for (int i = 0; i < 3; i++)
        if (them->uid[i] != us->uid[0])
            return explain_other_user(target, them->uid[i]);
    if (!same_ids(them, us))
        return error_hint(error_new(PERMISSION,
                                    "process %d (%s) runs with another group (set-group-id)",
                                    target->pid, target->command),
                          "run pyhot as root (sudo)");
    if (!is_dumpable(target, them->uid[1]))
        return error_hint(
            error_new(PERMISSION,
                      "process %d (%s) is not dumpable: it changed its user, its file "
                      "is not readable, or it called prctl(PR_SET_DUMPABLE, 0)",
                      target->pid, target->command),
            "run pyhot as root (sudo)");
    if (them->permitted & ~us->permitted)
        return error_hint(error_new(PERMISSION,
                                    "process %d (%s) has capabilities that pyhot has not",
                                    target->pid, target->command),
                          "run pyhot as root (sudo)");
    if (scope > 0)
        return explain_yama(target, scope);
    return explain_rest(target, us);
}

static bool is_pyhot(pid_t pid)
{
    struct proc_stat stat;

    return !proc_stat(pid, &stat) && !strcmp(stat.command, "pyhot");
}

struct error *target_explain_tracer(const struct target *target)
{
    enum { PATIENCE_MS = 2000 };
    const struct timespec moment = {0, 1000000};
    pid_t tracer = find_tracer(target);

    for (int i = 0; i < PATIENCE_MS && tracer && is_pyhot(tracer); i++) {
        nanosleep(&moment, NULL);
        tracer = find_tracer(target);
    }
    return tracer ? explain_tracer(target, tracer) : NULL;
}

struct error *target_explain_eperm(const struct target *target)
{
    struct proc_status them, us;
    struct error *error = target_explain_tracer(target);

    if (error)
        return error;
    if (proc_status(0, &us) || proc_status(target->pid, &them))
        return error_new(EXIT_CANNOT_ATTACH, "process-ended", "process %d (%s) has ended",
                         target->pid, target->command);
    if (yama_scope() >= 3) /* no capability helps, so no other remedy is to be tried first */
        return explain_yama(target, 3);
    if (in_other_user_namespace(target) && !has_cap(us.effective, CAP_SYS_PTRACE))
        return error_hint(error_new(PERMISSION,
                                    "process %d (%s) is in another user namespace than pyhot",
                                    target->pid, target->command),
                          "run pyhot as root outside of both, or in that namespace: "
                          "nsenter -U -t %d",
                          target->pid);
    if (!has_cap(us.effective, CAP_SYS_PTRACE))
        return explain_unprivileged(target, &them, &us);
    if (user_namespace(target->pid) != user_namespace(getpid()))
        return error_hint(error_new(PERMISSION,
                                    "process %d (%s) is in another user namespace, where pyhot's "
                                    "CAP_SYS_PTRACE does not hold",
                                    target->pid, target->command),
                          "run pyhot as root outside of all containers");
    return explain_rest(target, &us);
}
