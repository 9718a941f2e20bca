/* What the target reads when it is attached to by remote-exec: a script, the agent, the request,
 * and the pipe for the answer, under paths that hold in its own root directory. */
#ifndef PYHOT_REMOTE_FILES_H
#define PYHOT_REMOTE_FILES_H

#include "inject.h"

enum remote_file { REMOTE_SCRIPT, REMOTE_AGENT, REMOTE_REQUEST, REMOTE_CHANNEL, REMOTE_N_FILES };

struct remote_files {
    int parent, folder;      /* in the target's file system; -1: they are memory of ours */
    char name[32];           /* of the folder: pyhot-PID-... */
    int fds[REMOTE_N_FILES]; /* of the channel: the read end */
    int channel_writer;      /* kept until the target has opened it; -1: not needed */
    char folder_path[64];    /* as the target has it; "" */
    char paths[REMOTE_N_FILES][96];
};

/* A folder that only the target's user can enter, in its /tmp, /var/tmp or /dev/shm; if it can
 * write nowhere, memory of ours that it opens through /proc.  The agent and the request are
 * filled in, the script is empty. */
struct error *remote_files_make(struct remote_files *, const struct target *,
                                const struct pyhot_request *) __attribute__((warn_unused_result));

/* Removes what the script has not. */
void remote_files_remove(struct remote_files *);

/* 0, or -1 with errno. */
int remote_files_write(int fd, const void *bytes, size_t size);

#endif
