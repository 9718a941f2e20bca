/* Reading /proc/PID: the parts of it that pyhot relies on, as values.  proc(5). */
#ifndef PYHOT_PROCFS_H
#define PYHOT_PROCFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "target.h"

/* What we use of /proc/PID/stat. */
struct proc_stat {
    char state;
    pid_t parent;
    unsigned flags;      /* field 9: PF_* of the kernel */
    uint64_t start_time; /* field 22, clock ticks since boot */
    char command[64];    /* comm; may hold anything, parentheses and newlines too */
};

/* What we use of /proc/PID/status. */
struct proc_status {
    pid_t tgid, tracer;
    uid_t uid[4]; /* real, effective, saved, file system */
    gid_t gid[4];
    uint64_t permitted, effective; /* capabilities */
    int seccomp;                   /* SECCOMP_MODE_* of linux/seccomp.h */
    int seccomp_filters;           /* 0 before Linux 5.9 */
};

/* The parsers; 0, or -1 when the text is not what proc(5) says. */
int proc_parse_stat(const char *text, struct proc_stat *);
int proc_parse_status(const char *text, struct proc_status *);
/* Changes `line`; mapping->path is malloc'ed. */
int proc_parse_mapping(char *line, struct mapping *);

/* The whole of /proc/PID/NAME, NUL-terminated and malloc'ed, or NULL with errno.
 * `size` may be NULL.  pid 0: ourselves. */
char *proc_read(pid_t, const char *name, size_t *size);

/* 0, or -1 with errno. */
int proc_stat(pid_t, struct proc_stat *);
int proc_status(pid_t, struct proc_status *);

/* All process ids there are, rising; malloc'ed.  0, or -1 with errno. */
int proc_list(pid_t **pids, size_t *n);

/* Whether the kernel flag PF_KTHREAD is set: a kernel thread has no memory of its own. */
bool proc_is_kernel_thread(const struct proc_stat *);

#endif
