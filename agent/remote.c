/* The agent as remote-exec starts it (injector/remote_exec.h): a script of pyhot's, run by the
 * interpreter itself in the main thread, loads this extension module and calls start().  All that
 * happens in the main thread is that a thread of ours is made; the job is that one's.
 *
 * The module is made in two phases (PEP 489), as only those are registered nowhere: neither in
 * sys.modules nor among the extensions that the interpreter keeps (Python/import.c, 3.14). */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "cpython/api.h"
#include "request.h"

#define EXPORTED __attribute__((visibility("default")))

void pyhot_agent_main(struct pyhot_request *request);

/* The script is over first: until then its objects come and go. */
static void thread(void *arg)
{
    const struct timespec moment = {0, 200000};
    struct pyhot_request *request = arg;
    size_t size = request->size;

    while (atomic_load(&request->entered) != PYHOT_SCRIPT_OVER)
        nanosleep(&moment, NULL);
    pyhot_agent_main(request);
    munmap(request, size);
}

struct guard {
    struct pyhot_request *request;
    sigset_t before;
};

/* The destructor of what start() returns.  The script keeps that until its end, so this is the
 * first moment at which a signal's handler in Python cannot run inside of the script, where an
 * exception of the handler would be lost. */
static void end_script(PyObject *capsule)
{
    struct guard *guard = PyCapsule_GetPointer(capsule, NULL);

    sigprocmask(SIG_SETMASK, &guard->before, NULL);
    atomic_store(&guard->request->entered, PYHOT_SCRIPT_OVER);
    free(guard);
}

/* `mask`: the signal mask of the main thread before the script blocked all; bit N-1 is signal N. */
static PyObject *make_guard(struct pyhot_request *request, unsigned long long mask)
{
    struct guard *guard = malloc(sizeof *guard);
    PyObject *capsule;

    if (!guard)
        return NULL;
    guard->request = request;
    sigemptyset(&guard->before);
    for (int i = 1; i <= 64; i++)
        if (mask >> (i - 1) & 1)
            sigaddset(&guard->before, i);
    capsule = PyCapsule_New(guard, NULL, end_script);
    if (!capsule)
        free(guard);
    return capsule;
}

static struct pyhot_request *map_request(int fd)
{
    struct stat stat;
    struct pyhot_request *request;

    if (fstat(fd, &stat) || stat.st_size < (off_t)sizeof *request)
        return NULL;
    request = mmap(NULL, (size_t)stat.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (request == MAP_FAILED)
        return NULL;
    if (request->size == (size_t)stat.st_size)
        return request;
    munmap(request, (size_t)stat.st_size);
    return NULL;
}

/* start(request, channel, mask): two descriptors, of which `channel` becomes the agent's, and the
 * main thread's signal mask, which is in force again when the object returned is gone. */
static PyObject *start(PyObject *self, PyObject *args)
{
    struct pyhot_request *request;
    unsigned long long mask;
    PyObject *guard;
    int fd, channel;

    (void)self;
    if (!PyArg_ParseTuple(args, "iiK:start", &fd, &channel, &mask))
        return NULL;
    request = map_request(fd);
    guard = request ? make_guard(request, mask) : NULL;
    if (request && !guard)
        munmap(request, request->size);
    if (!guard) {
        PyErr_SetString(PyExc_RuntimeError, "the request cannot be mapped");
        return NULL;
    }
    request->channel = channel;
    atomic_store(&request->entered, PYHOT_ENTERED);
    /* All signals are blocked now, and the thread inherits that. */
    if (PyThread_start_new_thread(thread, request) == (unsigned long)-1) {
        Py_DecRef(guard);
        atomic_store(&request->entered, PYHOT_NOT_ENTERED);
        munmap(request, request->size);
        PyErr_SetString(PyExc_RuntimeError, "the process may not start a thread");
        return NULL;
    }
    return guard;
}

static PyMethodDef methods[] = {{"start", start, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};

static PyModuleDef definition = {
    .m_base = {.ob_base = {1, NULL}},
    .m_name = PYHOT_REMOTE,
    .m_size = 0,
    .m_methods = methods,
};

EXPORTED PyObject *PyInit_pyhot_remote(void);

EXPORTED PyObject *PyInit_pyhot_remote(void)
{
    return PyModuleDef_Init(&definition);
}
