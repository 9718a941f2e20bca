/* SigBlk of /proc/PID/status is the mask of the thread whose id is the process's: main
 * (proc_pid_status(5)). */
#include "signal_mask.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "agent.h"

static bool read_main_mask(unsigned long long *mask)
{
    char path[64], line[256];
    bool found = false;
    FILE *file;

    snprintf(path, sizeof path, "/proc/self/task/%d/status", (int)getpid());
    file = fopen(path, "re");
    if (!file)
        return false;
    while (!found && fgets(line, sizeof line, file))
        found = sscanf(line, "SigBlk: %llx", mask) == 1;
    fclose(file);
    return found;
}

/* The main thread may be the one that lends the GIL: then it has all signals blocked for the time,
 * and its own mask is not to be seen. */
void signal_mask_of_main(sigset_t *old)
{
    unsigned long long mask = 0;
    sigset_t set;

    pthread_sigmask(SIG_SETMASK, NULL, old);
    if (!job_runs_alone() && !read_main_mask(&mask))
        return;
    sigemptyset(&set);
    for (int number = 1; number <= 64; number++) {
        if (mask >> (number - 1) & 1)
            sigaddset(&set, number);
    }
    pthread_sigmask(SIG_SETMASK, &set, NULL);
}

void signal_mask_restore(const sigset_t *old)
{
    pthread_sigmask(SIG_SETMASK, old, NULL);
}
