/* A process before it is touched (target.h).  Everything here only looks. */
#include "target.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "cleanup.h"
#include "procfs.h"

#if defined(__x86_64__)
#define OUR_MACHINE      EM_X86_64
#define OUR_MACHINE_NAME "x86-64"
#elif defined(__aarch64__)
#define OUR_MACHINE      EM_AARCH64
#define OUR_MACHINE_NAME "aarch64"
#endif

static struct error *error_gone(const struct target *target)
{
    return error_hint(error_new(EXIT_CANNOT_ATTACH, "process-ended", "process %d (%s) has ended",
                                target->pid, target->command),
                      "nothing was left in it");
}

/* What it means that a file of /proc/PID cannot be read. */
static struct error *error_looking(const struct target *target, int errnum)
{
    switch (errnum) {
    case ENOENT:
    case ESRCH:
        return error_gone(target);
    case EACCES:
    case EPERM:
        return target_explain_eperm(target);
    default: /* EMFILE, ENOMEM: a limit of ours */
        return error_errno(EXIT_CANNOT_ATTACH, "look", errnum, "cannot look at process %d (%s)",
                           target->pid, target->command);
    }
}

static struct error *error_no_such_process(pid_t pid, int errnum)
{
    if (errnum != ENOENT && errnum != ESRCH && errnum != EACCES)
        return error_errno(EXIT_CANNOT_ATTACH, "look", errnum, "cannot look at process %d", pid);
    if (access("/proc/self/stat", R_OK))
        return error_hint(error_new(EXIT_CANNOT_ATTACH, "no-proc",
                                    "cannot look at process %d: no /proc here", pid),
                          "mount it: mount -t proc proc /proc");
    if (!kill(pid, 0) || errno == EPERM) /* proc(5): mounted with hidepid */
        return error_hint(error_new(EXIT_CANNOT_ATTACH, "permission",
                                    "process %d is hidden: it belongs to another user", pid),
                          "run pyhot as that user or as root");
    return error_hint(error_new(EXIT_CANNOT_ATTACH, "no-such-process", "no process %d", pid),
                      "find the number with: pyhot ps");
}

/* The end of the main thread alone (pthread_exit) looks the same, and takes /proc/PID/maps away. */
static struct error *explain_zombie(const struct target *target)
{
    _cleanup_free_ pid_t *tids = NULL;
    size_t n = 0;

    error_free(target_threads(target, &tids, &n));
    if (n > 1)
        return error_hint(
            error_new(EXIT_CANNOT_ATTACH, "main-thread-ended",
                      "the main thread of process %d (%s) has ended, other threads "
                      "have not: the kernel does not show the memory of such a process",
                      target->pid, target->command),
            "if those run on, only a restart of the program helps");
    return error_hint(error_new(EXIT_CANNOT_ATTACH, "zombie",
                                "process %d (%s) is a zombie: it has ended and its parent has "
                                "not yet waited for it",
                                target->pid, target->command),
                      "find living ones with: pyhot ps");
}

/* The states and kinds of process that no attach can serve. */
static struct error *check_kind(const struct target *target, const struct proc_stat *stat,
                                const struct proc_status *status)
{
    pid_t pid = target->pid;

    if (status->tgid != pid)
        return error_hint(error_new(EXIT_CANNOT_ATTACH, "not-a-process",
                                    "%d is a thread of process %d (%s), not a process", pid,
                                    status->tgid, target->command),
                          "give the process: %d", status->tgid);
    if (pid == getpid())
        return error_hint(
            error_new(EXIT_CANNOT_ATTACH, "self", "process %d is this pyhot itself", pid),
            "find the number with: pyhot ps");
    if (stat->state == 'Z' || stat->state == 'X')
        return explain_zombie(target);
    if (proc_is_kernel_thread(stat))
        return error_hint(error_new(EXIT_CANNOT_ATTACH, "kernel-thread",
                                    "process %d (%s) is a kernel thread", pid, target->command),
                          "find Python processes with: pyhot ps");
    return NULL;
}

/* Nothing of a group-stopped process runs, so the agent would not either; and it is not ours to
 * continue (signal(7), job control). */
static struct error *check_stopped(const struct target *target, const struct proc_stat *stat)
{
    if (stat->state != 'T')
        return NULL;
    return error_hint(error_new(EXIT_CANNOT_ATTACH, "stopped",
                                "process %d (%s) is stopped (SIGSTOP or Ctrl-Z) and pyhot needs it "
                                "running",
                                target->pid, target->command),
                      "continue it: kill -CONT %d", target->pid);
}

/* Between vfork(2), as subprocess uses it, and execve a child runs in the memory of its parent,
 * which waits.  What we put there would be the parent's, and our thread would be gone with that
 * execve. */
static struct error *check_memory(const struct target *target, const struct proc_stat *stat)
{
    pid_t parent = (pid_t)stat->parent;

    if (syscall(SYS_kcmp, target->pid, parent, KCMP_VM, 0, 0))
        return NULL; /* its own, or this kernel does not tell */
    return error_hint(error_new(EXIT_CANNOT_ATTACH, "shares-memory",
                                "process %d (%s) still runs in the memory of process %d, which "
                                "started it (vfork)",
                                target->pid, target->command, parent),
                      "attach to that one: %d", parent);
}

static struct error *check_machine(const struct target *target)
{
    char path[64];
    unsigned char ident[EI_NIDENT + 4];
    _cleanup_close_ int fd = -1;
    unsigned machine;

    snprintf(path, sizeof(path), "/proc/%d/exe", target->pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_looking(target, errno);
    if (pread(fd, ident, sizeof(ident), 0) != sizeof(ident) || memcmp(ident, ELFMAG, SELFMAG))
        return error_new(EXIT_CANNOT_ATTACH, "not-elf",
                         "cannot read the program of process %d (%s) as an ELF file", target->pid,
                         target->command);
    machine = ident[EI_NIDENT + 2] | ident[EI_NIDENT + 3] << 8; /* e_machine, little endian */
    if (ident[EI_CLASS] != ELFCLASS64 || machine != OUR_MACHINE)
        return error_hint(
            error_new(
                EXIT_CANNOT_ATTACH, "wrong-machine",
                "process %d (%s) runs a %s program; this pyhot serves 64-bit " OUR_MACHINE_NAME,
                target->pid, target->command, ident[EI_CLASS] == ELFCLASS32 ? "32-bit" : "foreign"),
            "use a pyhot built for that machine");
    return NULL;
}

/* Opening mem asks the kernel the question that PTRACE_SEIZE will ask (PTRACE_MODE_ATTACH,
 * ptrace(2)), without stopping anything. */
static struct error *check_permission(const struct target *target)
{
    char path[64];
    _cleanup_close_ int fd = -1;

    snprintf(path, sizeof(path), "/proc/%d/mem", target->pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 ? NULL : error_looking(target, errno);
}

static int open_pidfd(pid_t pid)
{
    return syscall(SYS_pidfd_open, pid, 0);
}

static struct error *look(struct target *target, bool may_be_traced)
{
    struct proc_stat stat;
    struct proc_status status;
    struct error *error;

    if (proc_stat(target->pid, &stat) || proc_status(target->pid, &status))
        return error_no_such_process(target->pid, errno);
    target->start_time = stat.start_time;
    target->uid = status.uid[0];
    target->command = strdup(stat.command);
    if (!target->command)
        return error_new(EXIT_CANNOT_ATTACH, "out-of-memory", "out of memory");
    if ((error = check_kind(target, &stat, &status)) || (error = check_memory(target, &stat)))
        return error;
    if (status.tracer && !may_be_traced && (error = target_explain_tracer(target)))
        return error;
    if ((error = check_stopped(target, &stat)) || (error = check_machine(target)) ||
        (error = check_permission(target)))
        return error;
    return target_read_maps(target);
}

static struct error *open_target(struct target *target, pid_t pid, struct debugger *debugger,
                                 bool may_be_traced)
{
    struct error *error;

    *target = (struct target){.pid = pid, .debugger = debugger, .pidfd = open_pidfd(pid)};
    error = look(target, may_be_traced);
    if (!error)
        error = target_check(target); /* what was read is of the process behind the pidfd */
    if (error)
        target_close(target);
    return error;
}

struct error *target_open(struct target *target, pid_t pid)
{
    return open_target(target, pid, NULL, false);
}

struct error *target_open_held(struct target *target, pid_t pid, struct debugger *debugger)
{
    return open_target(target, pid, debugger, debugger != NULL);
}

struct error *target_open_traced(struct target *target, pid_t pid)
{
    return open_target(target, pid, NULL, true);
}

void target_free_maps(struct target *target)
{
    for (size_t i = 0; i < target->n_maps; i++)
        free(target->maps[i].path);
    free(target->maps);
    target->maps = NULL;
    target->n_maps = 0;
}

void target_close(struct target *target)
{
    target_free_maps(target);
    free(target->command);
    target->command = NULL;
    if (target->pidfd >= 0)
        close(target->pidfd);
    target->pidfd = -1;
}

struct error *target_check(const struct target *target)
{
    struct proc_stat stat;
    struct pollfd ended = {.fd = target->pidfd, .events = POLLIN};

    if (target->pidfd >= 0 && poll(&ended, 1, 0) == 1)
        return error_gone(target);
    if (proc_stat(target->pid, &stat))
        return error_looking(target, errno);
    if (stat.start_time != target->start_time || stat.state == 'Z' || stat.state == 'X')
        return error_gone(target);
    return NULL;
}

struct error *target_read_maps(struct target *target)
{
    _cleanup_free_ char *text = proc_read(target->pid, "maps", NULL);
    size_t capacity = 0;

    if (!text)
        return error_looking(target, errno);
    target_free_maps(target);
    for (char *line = text, *next; *line; line = next) {
        next = line + strcspn(line, "\n");
        if (*next)
            *next++ = 0;
        if (target->n_maps == capacity) {
            size_t larger = capacity ? capacity * 2 : 64;
            struct mapping *maps = realloc(target->maps, larger * sizeof(*maps));

            if (!maps)
                return error_new(EXIT_CANNOT_ATTACH, "out-of-memory", "out of memory");
            target->maps = maps;
            capacity = larger;
        }
        if (proc_parse_mapping(line, &target->maps[target->n_maps]))
            return error_new(EXIT_CANNOT_ATTACH, "proc-format",
                             "cannot understand /proc/%d/maps of process %d (%s): \"%s\"",
                             target->pid, target->pid, target->command, line);
        target->n_maps++;
    }
    /* Of a process without memory the file is empty: it is on its way out (exit_mm). */
    return target->n_maps ? NULL : error_gone(target);
}

const struct mapping *target_mapping_at(const struct target *target, uint64_t address)
{
    for (size_t i = 0; i < target->n_maps; i++)
        if (target->maps[i].start <= address && address < target->maps[i].end)
            return &target->maps[i];
    return NULL;
}

struct error *target_threads(const struct target *target, pid_t **tids, size_t *n)
{
    char path[64];
    size_t capacity = 16;
    struct dirent *entry;
    DIR *directory;

    snprintf(path, sizeof(path), "/proc/%d/task", target->pid);
    directory = opendir(path);
    if (!directory)
        return error_looking(target, errno);
    *n = 0;
    *tids = malloc(capacity * sizeof(**tids));
    while (*tids && (entry = readdir(directory))) {
        pid_t tid = atoi(entry->d_name);

        if (tid <= 0)
            continue;
        if (*n == capacity) {
            pid_t *larger = realloc(*tids, (capacity *= 2) * sizeof(**tids));

            if (!larger)
                free(*tids);
            *tids = larger;
            if (!larger)
                break;
        }
        (*tids)[(*n)++] = tid;
    }
    closedir(directory);
    if (!*tids)
        return error_new(EXIT_CANNOT_ATTACH, "out-of-memory", "out of memory");
    for (size_t i = 1; i < *n; i++)
        if ((*tids)[i] == target->pid) {
            (*tids)[i] = (*tids)[0];
            (*tids)[0] = target->pid;
        }
    return NULL;
}

/* Opens `path` if it is the mapping's file.  The device is not compared: maps shows that of the
 * lower file system for an overlay before Linux 6.8, stat that of the overlay. */
static int open_same_file(const char *path, const struct mapping *mapping)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* it may be a FIFO by now */
    struct stat stat;

    if (fd < 0)
        return -1;
    if (fstat(fd, &stat) || stat.st_ino != mapping->inode) {
        close(fd);
        errno = ESTALE;
        return -1;
    }
    return fd;
}

int target_open_mapped(const struct target *target, const struct mapping *mapping)
{
    _cleanup_free_ char *path = NULL;
    char link[96];
    int fd;

    snprintf(link, sizeof(link), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, target->pid,
             mapping->start, mapping->end);
    fd = open(link, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        return fd;
    /* Following map_files needs CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE; exe does not. */
    snprintf(link, sizeof(link), "/proc/%d/exe", target->pid);
    fd = open_same_file(link, mapping);
    if (fd >= 0)
        return fd;
    if (mapping->path[0] != '/') {
        errno = ENOENT;
        return -1;
    }
    if (asprintf(&path, "/proc/%d/root%s", target->pid, mapping->path) < 0) {
        path = NULL;
        errno = ENOMEM;
        return -1;
    }
    return open_same_file(path, mapping);
}

struct error *target_read(const struct target *target, uint64_t address, void *buffer, size_t size)
{
    size_t done = 0;

    while (done < size) {
        struct iovec local = {(char *)buffer + done, size - done};
        struct iovec remote = {(void *)(uintptr_t)(address + done), size - done};
        ssize_t n = process_vm_readv(target->pid, &local, 1, &remote, 1, 0);

        if (n > 0) {
            done += n;
            continue;
        }
        if (n < 0 && errno == EPERM)
            return target_explain_eperm(target);
        if (n < 0 && errno == ESRCH)
            return error_gone(target);
        return error_errno(EXIT_CANNOT_ATTACH, "read-memory", n < 0 ? errno : EFAULT,
                           "cannot read %zu bytes at 0x%" PRIx64 " of process %d (%s)", size,
                           address, target->pid, target->command);
    }
    return NULL;
}
