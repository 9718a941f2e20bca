/* The collector's switch: PyGC_Disable and its like from 3.10 on (Include/objimpl.h); before, the
 * functions of the module gc, which is built in.  If the target never imported gc it does not
 * stay in sys.modules. */
#include "collector.h"

#include <time.h>

#include "../agent.h"
#include "audit.h"
#include "gc_objects.h"
#include "introspect.h"

/* The functions of gc, to 3.9.  Found once: an import can run code of the target, and takes memory.
 */
static struct {
    PyObject *enable, *disable, *isenabled;
} gc;

/* gc.NAME; new reference. */
static PyObject *gc_function(const char *name)
{
    PyObject *modules = PyImport_GetModuleDict();
    bool imported = dict_get(modules, "gc") != NULL;
    PyObject *module = PyImport_ImportModule("gc");
    PyObject *function = module ? PyObject_GetAttrString(module, name) : NULL;

    if (module && !imported && PyDict_DelItemString(modules, "gc") < 0)
        PyErr_Clear();
    Py_DecRef(module);
    return function;
}

static int find_functions(void)
{
    if (PyGC_Disable || gc.enable)
        return 0;
    if (!gc.disable)
        gc.disable = gc_function("disable");
    if (gc.disable && !gc.isenabled)
        gc.isenabled = gc_function("isenabled");
    if (gc.isenabled)
        gc.enable = gc_function("enable");
    return gc.enable ? 0 : -1;
}

static int call(PyObject *function)
{
    PyObject *result = PyObject_CallFunctionObjArgs(function, NULL);
    int value = result ? PyObject_IsTrue(result) : -1;

    Py_DecRef(result);
    return value;
}

/* The collector's lists are not whole while a thread that collects lets the GIL go, in a finalizer
 * or a callback.  A program that collects all the time is at it for nearly all of the time: the
 * moments in between are waited for.  Without an injector it may be this very thread that
 * collects, so then for a second at most. */
static void wait_for_its_end(void)
{
    enum { PATIENCE_MS = 1000 };
    const struct timespec moment = {0, 1000000};

    for (int i = 0; (i < PATIENCE_MS || job_has_injector()) && gc_collecting() && !job_cancelled();
         i++) {
        PyThreadState *thread = PyEval_SaveThread();

        nanosleep(&moment, NULL);
        PyEval_RestoreThread(thread);
    }
}

static int disable(bool *was_on)
{
    int on;

    if (PyGC_Disable) {
        *was_on = PyGC_Disable();
        return 0;
    }
    on = call(gc.isenabled);
    *was_on = on == 1;
    return on < 0 || call(gc.disable) < 0 ? -1 : 0;
}

int collector_pause(bool *was_on)
{
    if (find_functions() < 0)
        return -1;
    wait_for_its_end();
    if (disable(was_on) < 0)
        return -1;
    audit_hide();
    return 0;
}

int collector_hush(bool *was_on)
{
    if (find_functions() < 0 || disable(was_on) < 0)
        return -1;
    audit_hide_known();
    return 0;
}

void collector_resume(bool was_on)
{
    PyObject *type, *value, *traceback, *done;

    audit_show();
    if (!was_on)
        return;
    if (PyGC_Enable) {
        PyGC_Enable();
        return;
    }
    PyErr_Fetch(&type, &value, &traceback);
    done = PyObject_CallFunctionObjArgs(gc.enable, NULL);
    PyErr_Clear();
    Py_DecRef(done);
    PyErr_Restore(type, value, traceback);
}

int collector_collect(void)
{
    PyObject *collect = gc_function("collect");
    int status = collect ? call(collect) : -1;

    Py_DecRef(collect);
    return status < 0 ? -1 : 0;
}
