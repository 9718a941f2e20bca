/* A child process to look at (child.h). */
#include "child.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../injector/procfs.h"
#include "unit.h"

pid_t child_start(void (*body)(void))
{
    int ready[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (body)
            body();
        if (write(ready[1], "r", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

/* Has the exec happened, and does the new program sleep? */
static bool runs(pid_t pid, const char *program)
{
    struct proc_stat stat;
    const char *name = strrchr(program, '/') + 1;

    /* comm is cut at 15 bytes */
    return !proc_stat(pid, &stat) && stat.state == 'S' && !strncmp(stat.command, name, 15);
}

static void pause_briefly(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

pid_t child_exec(const char *program, const char *argument)
{
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl(program, program, argument, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 20000 && !runs(pid, program); i++)
        pause_briefly();
    assert_true(runs(pid, program));
    return pid;
}

void child_wait_state(pid_t pid, char state)
{
    struct proc_stat stat;

    for (int i = 0; i < 20000; i++) {
        assert_int_equal(proc_stat(pid, &stat), 0);
        if (stat.state == state)
            return;
        pause_briefly();
    }
    fail_msg("process %d did not reach state %c", pid, state);
}

void child_end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
