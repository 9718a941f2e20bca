/* SigBlk of /proc/PID/status is the mask of the thread whose id is the process's: main
 * (proc_pid_status(5)). */
#include "signal_mask.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

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

void signal_mask_of_main(sigset_t *old)
{
    unsigned long long mask;
    sigset_t set;

    pthread_sigmask(SIG_SETMASK, NULL, old);
    if (!read_main_mask(&mask))
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
