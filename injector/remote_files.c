/* Files for the target (remote_files.h). */
#include "remote_files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "procfs.h"

static const char *const names[REMOTE_N_FILES] = {"script.py", "agent.so", "request", "channel"};

int remote_files_write(int fd, const void *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = write(fd, (const char *)bytes + done, size - done);

        if (n < 0)
            return -1;
        done += (size_t)n;
    }
    return 0;
}

static int fill(const struct remote_files *files, const struct pyhot_request *request)
{
    if (remote_files_write(files->fds[REMOTE_AGENT], agent_blob,
                           (size_t)(agent_blob_end - agent_blob)))
        return -1;
    return remote_files_write(files->fds[REMOTE_REQUEST], request, request->size);
}

/* ---- In the target's file system ---- */

/* A folder of the target, whatever links lead to it there.  A link of the target's that was
 * followed from here would lead into our own root. */
static int open_in_root(int root, const char *path)
{
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT};
    return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

static bool may_enter(int folder, const struct proc_status *status)
{
    struct stat stat;
    return !fstat(folder, &stat) && (stat.st_mode & S_IXOTH || stat.st_uid == status->uid[3]);
}

static int make_file(struct remote_files *files, enum remote_file which,
                     const struct proc_status *owner)
{
    int flags = O_RDWR | O_CREAT | O_EXCL;

    if (which == REMOTE_CHANNEL) {
        if (mkfifoat(files->folder, names[which], 0600))
            return -1;
        flags = O_RDONLY | O_NONBLOCK;
    }
    files->fds[which] = openat(files->folder, names[which], flags | O_CLOEXEC | O_NOFOLLOW, 0600);
    snprintf(files->paths[which], sizeof files->paths[which], "%s/%s", files->folder_path,
             names[which]);
    return files->fds[which] < 0 ? -1 : fchown(files->fds[which], owner->uid[3], owner->gid[3]);
}

static int make_in_folder(struct remote_files *files, int root, const char *path, pid_t pid,
                          const struct proc_status *owner, const struct pyhot_request *request)
{
    uint32_t random = 0;

    files->parent = open_in_root(root, path);
    if (files->parent < 0 || !may_enter(files->parent, owner) ||
        getrandom(&random, sizeof random, 0) < 0)
        return -1;
    snprintf(files->name, sizeof files->name, "pyhot-%d-%08x", (int)pid, random);
    snprintf(files->folder_path, sizeof files->folder_path, "%s/%s", path, files->name);
    if (mkdirat(files->parent, files->name, 0700))
        return -1;
    files->folder =
        openat(files->parent, files->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (files->folder < 0 || fchown(files->folder, owner->uid[3], owner->gid[3]))
        return -1;
    for (enum remote_file i = 0; i < REMOTE_N_FILES; i++)
        if (make_file(files, i, owner))
            return -1;
    return fill(files, request);
}

/* ---- In memory of ours ---- */

/* May the target open our descriptors?  It has to be in our pid namespace, so that our number is
 * the same there, and the kernel must let it read us (PTRACE_MODE_READ, ptrace(2)). */
static bool may_open_ours(const struct target *target, const struct proc_status *them)
{
    struct proc_status us;
    struct stat ours, theirs;
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/ns/pid", target->pid);
    if (stat("/proc/self/ns/pid", &ours) || stat(path, &theirs) || ours.st_ino != theirs.st_ino)
        return false;
    if (proc_status(0, &us) || us.permitted & ~them->permitted)
        return false;
    snprintf(path, sizeof path, "/proc/%d/root/proc/%d/fd", target->pid, getpid());
    return them->uid[3] == us.uid[0] && them->gid[3] == us.gid[0] && !access(path, F_OK);
}

static int make_in_memory(struct remote_files *files, const struct pyhot_request *request)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK))
        return -1;
    files->fds[REMOTE_CHANNEL] = ends[0];
    files->channel_writer = ends[1];
    for (enum remote_file i = 0; i < REMOTE_N_FILES; i++) {
        int fd = i == REMOTE_CHANNEL ? files->channel_writer : memfd_create("pyhot", MFD_CLOEXEC);

        if (fd < 0)
            return -1;
        if (i != REMOTE_CHANNEL)
            files->fds[i] = fd;
        snprintf(files->paths[i], sizeof files->paths[i], "/proc/%d/fd/%d", getpid(), fd);
    }
    return fill(files, request);
}

/* ---- */

static void forget(struct remote_files *files)
{
    *files = (struct remote_files){.parent = -1, .folder = -1, .channel_writer = -1};
    for (int i = 0; i < REMOTE_N_FILES; i++)
        files->fds[i] = -1;
}

void remote_files_remove(struct remote_files *files)
{
    for (int i = 0; i < REMOTE_N_FILES; i++) {
        if (files->folder >= 0)
            unlinkat(files->folder, names[i], 0);
        if (files->fds[i] >= 0)
            close(files->fds[i]);
    }
    if (files->parent >= 0 && *files->name)
        unlinkat(files->parent, files->name, AT_REMOVEDIR);
    if (files->folder >= 0)
        close(files->folder);
    if (files->parent >= 0)
        close(files->parent);
    if (files->channel_writer >= 0)
        close(files->channel_writer);
    forget(files);
}

/* The script copies the agent into a file in memory, and the limit counts for those too; a
 * process that exceeds it is ended, unless it ignores SIGXFSZ as python does. */
static struct error *check_limit(const struct target *target)
{
    struct rlimit limit;

    if (prlimit(target->pid, RLIMIT_FSIZE, NULL, &limit) ||
        limit.rlim_cur > (size_t)(agent_blob_end - agent_blob))
        return NULL;
    return error_new(EXIT_CANNOT_ATTACH, "no-files",
                     "process %d may not make files as large as the agent (RLIMIT_FSIZE)",
                     (int)target->pid);
}

struct error *remote_files_make(struct remote_files *files, const struct target *target,
                                const struct pyhot_request *request)
{
    static const char *const folders[] = {"/tmp", "/var/tmp", "/dev/shm"};
    struct proc_status status;
    _cleanup_close_ int root = -1;
    char path[64];
    struct error *error = check_limit(target);

    forget(files);
    if (error)
        return error;
    snprintf(path, sizeof path, "/proc/%d/root", target->pid);
    root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0 || proc_status(target->pid, &status))
        return error_errno(EXIT_CANNOT_ATTACH, "no-files", errno,
                           "cannot see the root directory of process %d", (int)target->pid);
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        if (!make_in_folder(files, root, folders[i], target->pid, &status, request))
            return NULL;
        remote_files_remove(files);
    }
    if (may_open_ours(target, &status) && !make_in_memory(files, request))
        return NULL;
    remote_files_remove(files);
    return error_hint(error_new(EXIT_CANNOT_ATTACH, "no-files",
                                "there is no folder that process %d can read and pyhot can write: "
                                "/tmp, /var/tmp and /dev/shm of it are read-only, full or absent",
                                (int)target->pid),
                      "mount a tmpfs on its /tmp, or attach with --via=ptrace");
}
