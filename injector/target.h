/* A process before it is touched: who it is, whether we may, who traces it already. */
#ifndef PYHOT_TARGET_H
#define PYHOT_TARGET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"

struct mapping {
    uint64_t start, end, offset;
    uint64_t device, inode;
    char perms[5];
    char *path; /* as /proc/PID/maps has it; "" for anonymous memory */
};

struct debugger;

struct target {
    pid_t pid;
    struct debugger *debugger; /* that traces it and works for us (debugger.h); NULL: none */
    int pidfd;                 /* -1 on kernels before 5.3 */
    uint64_t start_time;       /* field 22 of /proc/PID/stat: tells a reused pid */
    uid_t uid;
    char *command; /* comm */
    struct mapping *maps;
    size_t n_maps;
};

/* Opens `pid` and looks at it: it exists, is no zombie and no kernel thread, is not traced
 * (names the tracer), is of our machine, and we may trace it (else says why not: other user,
 * yama, capabilities, user namespace, and the remedy).  Nothing is stopped or written. */
struct error *target_open(struct target *, pid_t pid) __attribute__((warn_unused_result));
/* The same for a process that `debugger` holds, so that it being traced is no error. */
struct error *target_open_held(struct target *, pid_t pid, struct debugger *debugger)
    __attribute__((warn_unused_result));
/* The same for what needs no tracing (remote_exec.h): whoever traces the process may. */
struct error *target_open_traced(struct target *, pid_t pid) __attribute__((warn_unused_result));
void target_close(struct target *);

/* Is it still the process that was opened, and alive? */
struct error *target_check(const struct target *) __attribute__((warn_unused_result));

/* Reads /proc/PID/maps anew. */
struct error *target_read_maps(struct target *) __attribute__((warn_unused_result));
void target_free_maps(struct target *);
const struct mapping *target_mapping_at(const struct target *, uint64_t address);

/* Thread ids, main thread first.  *tids is malloc'ed. */
struct error *target_threads(const struct target *, pid_t **tids, size_t *n)
    __attribute__((warn_unused_result));

/* Opens the file behind a mapping for reading, whatever mount namespace it is in, deleted or
 * not: /proc/PID/map_files, else /proc/PID/root.  A descriptor, or -1 with errno. */
int target_open_mapped(const struct target *, const struct mapping *);

/* All of `size` bytes, or an error. */
struct error *target_read(const struct target *, uint64_t address, void *buffer, size_t size)
    __attribute__((warn_unused_result));

/* Explains an EPERM of ptrace or process_vm_readv on this process, with the remedy. */
struct error *target_explain_eperm(const struct target *) __attribute__((warn_unused_result));

/* Names the tracer of one of its threads; NULL if none has one (any more).  Another pyhot traces
 * for some milliseconds only: that is waited for, two seconds at most. */
struct error *target_explain_tracer(const struct target *) __attribute__((warn_unused_result));

#endif
