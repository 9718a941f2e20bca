/* The collector's switch: PyGC_Disable and its like from 3.10 on (Include/objimpl.h); before, the
 * functions of the module gc, which is built in.  If the target never imported gc it does not
 * stay in sys.modules. */
#include "collector.h"

#include "audit.h"
#include "introspect.h"

/* gc.enable, to 3.9: known before the collector is off, as finding it takes memory. */
static PyObject *enable;

/* gc.NAME; new reference. */
static PyObject *gc_function(const char *name)
{
    PyObject *modules = PyImport_GetModuleDict();
    bool imported = dict_get(modules, "gc") != NULL;
    PyObject *gc = PyImport_ImportModule("gc");
    PyObject *function = gc ? PyObject_GetAttrString(gc, name) : NULL;

    if (gc && !imported && PyDict_DelItemString(modules, "gc") < 0)
        PyErr_Clear();
    Py_DecRef(gc);
    return function;
}

/* gc.NAME(); new reference. */
static PyObject *call_gc(const char *name)
{
    PyObject *function = gc_function(name);
    PyObject *result = function ? PyObject_CallFunctionObjArgs(function, NULL) : NULL;

    Py_DecRef(function);
    return result;
}

static int call_gc_for_int(const char *name)
{
    PyObject *result = call_gc(name);
    int value = result ? PyObject_IsTrue(result) : -1;

    Py_DecRef(result);
    return value;
}

static int pause(bool *was_on)
{
    int on;

    if (PyGC_Disable) {
        *was_on = PyGC_Disable();
        return 0;
    }
    if (!enable && !(enable = gc_function("enable")))
        return -1;
    on = call_gc_for_int("isenabled");
    *was_on = on == 1;
    return on < 0 || call_gc_for_int("disable") < 0 ? -1 : 0;
}

int collector_pause(bool *was_on)
{
    if (pause(was_on) < 0)
        return -1;
    audit_hide();
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
    done = PyObject_CallFunctionObjArgs(enable, NULL);
    PyErr_Clear();
    Py_DecRef(done);
    PyErr_Restore(type, value, traceback);
}

int collector_collect(void)
{
    PyObject *result = call_gc("collect");

    Py_DecRef(result);
    return result ? 0 : -1;
}
