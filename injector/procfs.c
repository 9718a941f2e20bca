/* Reading /proc/PID (procfs.h). */
#include "procfs.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"

#define PF_KTHREAD 0x00200000 /* include/linux/sched.h */

int proc_parse_stat(const char *text, struct proc_stat *stat)
{
    /* comm is free text, so its end is the last parenthesis. */
    const char *open = strchr(text, '('), *close = strrchr(text, ')');
    size_t length;

    if (!open || !close || close < open)
        return -1;
    length = close - open - 1;
    if (length >= sizeof(stat->command))
        return -1;
    memcpy(stat->command, open + 1, length);
    stat->command[length] = 0;
    if (sscanf(close + 1,
               " %c %d %*d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
               "%*d %" SCNu64,
               &stat->state, &stat->parent, &stat->flags, &stat->start_time) != 4)
        return -1;
    return 0;
}

/* The text behind "NAME:" at the start of a line, or NULL. */
static const char *status_field(const char *text, const char *name)
{
    size_t length = strlen(name);

    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (!strncmp(line, name, length) && line[length] == ':')
            return line + length + 1;
    }
    return NULL;
}

static int status_ids(const char *field, unsigned ids[4])
{
    if (!field || sscanf(field, "%u %u %u %u", &ids[0], &ids[1], &ids[2], &ids[3]) != 4)
        return -1;
    return 0;
}

int proc_parse_status(const char *text, struct proc_status *status)
{
    const char *tgid = status_field(text, "Tgid"), *tracer = status_field(text, "TracerPid");
    const char *permitted = status_field(text, "CapPrm"), *effective = status_field(text, "CapEff");
    const char *seccomp = status_field(text, "Seccomp"); /* absent without CONFIG_SECCOMP */
    const char *filters = status_field(text, "Seccomp_filters");

    if (!tgid || !tracer || !permitted || !effective ||
        status_ids(status_field(text, "Uid"), status->uid) ||
        status_ids(status_field(text, "Gid"), status->gid))
        return -1;
    status->tgid = atoi(tgid);
    status->tracer = atoi(tracer);
    status->permitted = strtoull(permitted, NULL, 16);
    status->effective = strtoull(effective, NULL, 16);
    status->seccomp = seccomp ? atoi(seccomp) : 0;
    status->seccomp_filters = filters ? atoi(filters) : 0;
    return 0;
}

int proc_parse_mapping(char *line, struct mapping *mapping)
{
    unsigned major, minor;
    int path_at = 0;

    line[strcspn(line, "\n")] = 0;
    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 " %n",
               &mapping->start, &mapping->end, mapping->perms, &mapping->offset, &major, &minor,
               &mapping->inode, &path_at) != 7)
        return -1;
    mapping->device = (uint64_t)major << 32 | minor;
    mapping->path = strdup(path_at ? line + path_at : "");
    return mapping->path ? 0 : -1;
}

char *proc_read(pid_t pid, const char *name, size_t *size)
{
    char path[64];
    size_t capacity = 4096, used = 0;
    _cleanup_close_ int fd = -1;
    char *text;

    if (pid)
        snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    else
        snprintf(path, sizeof(path), "/proc/self/%s", name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    text = malloc(capacity);
    while (text) {
        ssize_t n = read(fd, text + used, capacity - used - 1);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int saved = errno;

            free(text);
            errno = saved;
            return NULL;
        }
        used += n;
        if (n == 0)
            break;
        if (used + 1 == capacity) {
            char *larger = realloc(text, capacity *= 2);

            if (!larger)
                free(text);
            text = larger;
        }
    }
    if (!text) {
        errno = ENOMEM;
        return NULL;
    }
    text[used] = 0;
    if (size)
        *size = used;
    return text;
}

int proc_stat(pid_t pid, struct proc_stat *stat)
{
    _cleanup_free_ char *text = proc_read(pid, "stat", NULL);

    if (!text)
        return -1;
    if (proc_parse_stat(text, stat)) {
        errno = EBADMSG;
        return -1;
    }
    return 0;
}

int proc_status(pid_t pid, struct proc_status *status)
{
    _cleanup_free_ char *text = proc_read(pid, "status", NULL);

    if (!text)
        return -1;
    if (proc_parse_status(text, status)) {
        errno = EBADMSG;
        return -1;
    }
    return 0;
}

static int compare_pids(const void *a, const void *b)
{
    return *(const pid_t *)a - *(const pid_t *)b;
}

int proc_list(pid_t **pids, size_t *n)
{
    size_t capacity = 0;
    struct dirent *entry;
    DIR *directory = opendir("/proc");

    *pids = NULL;
    *n = 0;
    while (directory && (entry = readdir(directory))) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        if (*n == capacity) {
            pid_t *larger = realloc(*pids, (capacity = capacity * 2 + 64) * sizeof(**pids));

            if (!larger)
                break;
            *pids = larger;
        }
        (*pids)[(*n)++] = atoi(entry->d_name);
    }
    if (directory)
        closedir(directory);
    if (!*n)
        return -1;
    qsort(*pids, *n, sizeof(**pids), compare_pids);
    return 0;
}

bool proc_is_kernel_thread(const struct proc_stat *stat)
{
    return stat->flags & PF_KTHREAD;
}
