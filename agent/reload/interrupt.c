/* A thread that looks at the job's state while new source is executed (interrupt.h). */
#include "interrupt.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"
#include "cpython/api.h"

enum { POLL_MS = 50 };

/* Until it is stopped, at most POLL_MS. */
static void nap(struct interrupter *self)
{
    struct timespec time = {.tv_nsec = POLL_MS * 1000000L};

    syscall(SYS_futex, &self->stop, FUTEX_WAIT_PRIVATE, 0, &time, NULL, 0);
}

static bool stopped(struct interrupter *self)
{
    return __atomic_load_n(&self->stop, __ATOMIC_ACQUIRE);
}

static void *watch(void *arg)
{
    struct interrupter *self = arg;

    while (!stopped(self)) {
        if (job_cancelled()) {
            PyGILState_STATE gil = PyGILState_Ensure();

            if (!stopped(self))
                PyThreadState_SetAsyncExc(self->target, PyExc_KeyboardInterrupt);
            PyGILState_Release(gil);
        }
        nap(self);
    }
    return NULL;
}

void interrupter_start(struct interrupter *self)
{
    self->target = (unsigned long)pthread_self();
    self->stop = 0;
    self->started = !job_runs_alone() && pthread_create(&self->thread, NULL, watch, self) == 0;
}

void interrupter_stop(struct interrupter *self)
{
    PyObject *type, *value, *traceback;
    PyThreadState *thread;

    __atomic_store_n(&self->stop, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, &self->stop, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    PyThreadState_SetAsyncExc(self->target, NULL); /* one that was not delivered yet */
    if (!self->started)
        return;
    PyErr_Fetch(&type, &value, &traceback);
    thread = PyEval_SaveThread();
    pthread_join(self->thread, NULL);
    PyEval_RestoreThread(thread);
    PyErr_Restore(type, value, traceback);
}
