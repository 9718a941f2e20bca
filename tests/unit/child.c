/* A child process to look at (child.h). */
#include "child.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../injector/procfs.h"
#include "unit.h"

/* Runs `body`, or `argv`, in a child, which writes a byte to the pipe when it is ready: a
 * program, to its stdout. */
static pid_t start(void (*body)(void), char *const argv[])
{
    int ready[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (argv) {
            dup2(ready[1], STDOUT_FILENO);
            execv(argv[0], argv);
            _exit(127);
        }
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

pid_t child_start(void (*body)(void))
{
    return start(body, NULL);
}

pid_t child_exec(char *const argv[])
{
    return start(NULL, argv);
}

void child_wait_state(pid_t pid, char state)
{
    struct proc_stat stat;

    for (int i = 0; i < 20000; i++) {
        assert_int_equal(proc_stat(pid, &stat), 0);
        if (stat.state == state)
            return;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    fail_msg("process %d did not reach state %c", pid, state);
}

void child_end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
