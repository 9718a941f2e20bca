/* The import hook (import.h).
 *
 * The function is a builtin whose `self` is the original __import__, so it works for ever,
 * whoever keeps it.  Which code imports is told by the globals that the IMPORT_NAME instruction
 * passes (Python/ceval.c: import_name). */
#include "import.h"
#include "cpython/introspect.h"

#include <stdlib.h>
#include <string.h>

static struct execution *current;

/* A function of the program's that ours stands in for; ours has it as `self`. */
struct stand_in {
    const char *module, *name;
    PyMethodDef definition;
    PyObject *installed; /* borrowed: only compared */
};

/* The arguments of __import__; all borrowed, NULL if not given. */
struct call {
    PyObject *name, *globals, *fromlist;
    long level;
};

static PyObject *argument(PyObject *args, PyObject *kwargs, Py_ssize_t index, const char *name)
{
    if (index < PyTuple_Size(args))
        return PyTuple_GetItem(args, index);
    return kwargs ? dict_get(kwargs, name) : NULL;
}

static struct call parse(PyObject *args, PyObject *kwargs)
{
    PyObject *level = argument(args, kwargs, 4, "level");
    struct call call = {
        .name = argument(args, kwargs, 0, "name"),
        .globals = argument(args, kwargs, 1, "globals"),
        .fromlist = argument(args, kwargs, 3, "fromlist"),
        .level = level && is_int(level) ? PyLong_AsLong(level) : 0,
    };

    if (call.name && !is_str(call.name))
        call.name = NULL;
    if (call.fromlist && (call.fromlist == Py_None || PyObject_Size(call.fromlist) <= 0))
        call.fromlist = NULL;
    PyErr_Clear();
    return call;
}

/* The package that a relative import starts from: what resolve_name of Python/import.c takes,
 * without its warnings.  New reference, or NULL without an exception. */
static PyObject *package_of(PyObject *globals)
{
    PyObject *package, *name;
    Py_ssize_t end, dot;

    if (!globals || !is_dict(globals))
        return NULL;
    package = dict_get(globals, "__package__");
    if (package && is_str(package)) {
        Py_IncRef(package);
        return package;
    }
    name = dict_get(globals, "__name__");
    if (!name || !is_str(name))
        return NULL;
    if (dict_get(globals, "__path__")) {
        Py_IncRef(name);
        return name;
    }
    end = PyUnicode_GetLength(name);
    dot = PyUnicode_FindChar(name, '.', 0, end, -1);
    return dot > 0 ? PyUnicode_Substring(name, 0, dot) : NULL;
}

/* The full name of what is imported.  New reference, or NULL without an exception. */
static PyObject *absolute_name(const struct call *call)
{
    PyObject *package, *base, *full;

    if (!call->name)
        return NULL;
    if (call->level <= 0) {
        Py_IncRef(call->name);
        return call->name;
    }
    base = package_of(call->globals);
    for (long up = call->level; base && up > 1; up--) {
        Py_ssize_t dot = PyUnicode_FindChar(base, '.', 0, PyUnicode_GetLength(base), -1);

        package = base;
        base = dot > 0 ? PyUnicode_Substring(package, 0, dot) : NULL;
        Py_DecRef(package);
    }
    if (!base || PyUnicode_GetLength(call->name) == 0)
        return base;
    full = PyUnicode_FromFormat("%U.%U", base, call->name);
    Py_DecRef(base);
    return full;
}

/* Calls `visit` for a, a.b, a.b.c and, after them, the submodules that the fromlist may name.
 * 0, or the first value that is not. */
static int each_name(PyObject *absolute, PyObject *fromlist,
                     int (*visit)(struct execution *, PyObject *), struct execution *e)
{
    Py_ssize_t length = PyUnicode_GetLength(absolute), dot = 0;
    int status = 0;

    while (status == 0 && dot < length) {
        PyObject *prefix;

        dot = PyUnicode_FindChar(absolute, '.', dot + 1, length, 1);
        if (dot < 0)
            dot = length;
        prefix = PyUnicode_Substring(absolute, 0, dot);
        status = prefix ? visit(e, prefix) : -1;
        Py_DecRef(prefix);
    }
    for (Py_ssize_t i = 0; status == 0 && fromlist && i < PySequence_Size(fromlist); i++) {
        PyObject *item = PySequence_GetItem(fromlist, i);
        PyObject *full = NULL;

        if (item && is_str(item))
            full = PyUnicode_FromFormat("%U.%U", absolute, item);
        if (full)
            status = visit(e, full);
        else if (PyErr_Occurred())
            status = -1;
        Py_DecRef(full);
        Py_DecRef(item);
    }
    return status;
}

static int note(struct execution *e, PyObject *name)
{
    bool ours = PyThreadState_Get() == e->thread;

    return PySet_Add(ours ? e->asked : e->asked_by_others, name);
}

static int run_if_waiting(struct execution *e, PyObject *name)
{
    struct aside *aside = execution_find(e, name);

    if (!aside || aside->state != ASIDE_WAITING)
        return 0;
    return execution_run_module(e, aside);
}

/* A submodule that was imported after the shadow was made is an attribute of the live package
 * only: copies it. */
static int share_submodule(struct execution *e, PyObject *name)
{
    Py_ssize_t length = PyUnicode_GetLength(name);
    Py_ssize_t dot = PyUnicode_FindChar(name, '.', 0, length, -1);
    PyObject *parent = dot > 0 ? PyUnicode_Substring(name, 0, dot) : NULL;
    struct aside *package = parent ? execution_find(e, parent) : NULL;
    PyObject *child, *value;
    int status = 0;

    Py_DecRef(parent);
    if (!package)
        return PyErr_Occurred() ? -1 : 0;
    child = PyUnicode_Substring(name, dot + 1, length);
    if (!child)
        return -1;
    value = PyDict_GetItemWithError(PyModule_GetDict(package->module), child);
    if (value && PyType_IsSubtype(type_of(value), &PyModule_Type) &&
        PyDict_Contains(package->dict, child) == 0)
        status = PyDict_SetItem(package->dict, child, value);
    Py_DecRef(child);
    return status;
}

/* Threads that the new code starts import as everybody does: `e` may end before them. */
static bool is_aside(const struct execution *e, PyObject *globals)
{
    if (PyThreadState_Get() != e->thread)
        return false;
    for (size_t i = 0; globals && i < e->n_executed; i++) {
        if (e->modules[i].dict == globals)
            return true;
    }
    return false;
}

static PyObject *import_aside(struct execution *e, const struct call *call, PyObject *absolute,
                              PyObject *original, PyObject *args, PyObject *kwargs)
{
    PyObject *result;

    if (each_name(absolute, call->fromlist, run_if_waiting, e) < 0)
        return NULL;
    result = PyObject_Call(original, args, kwargs);
    if (!result || current != e)
        return result;
    if (each_name(absolute, call->fromlist, share_submodule, e) < 0) {
        Py_DecRef(result);
        return NULL;
    }
    return execution_shadow(e, result);
}

static PyObject *import_hook(PyObject *original, PyObject *args, PyObject *kwargs)
{
    struct execution *e = current;
    struct call call;
    PyObject *absolute, *result;

    if (!e)
        return PyObject_Call(original, args, kwargs);
    call = parse(args, kwargs);
    absolute = absolute_name(&call);
    if (absolute && each_name(absolute, call.fromlist, note, e) < 0)
        PyErr_Clear();
    if (absolute && is_aside(e, call.globals))
        result = import_aside(e, &call, absolute, original, args, kwargs);
    else
        result = PyObject_Call(original, args, kwargs);
    Py_DecRef(absolute);
    return result;
}

/* importlib._bootstrap._find_and_load(name, import_): all that is not loaded yet comes through
 * here, from import statements and from importlib.import_module (Python/import.c:
 * import_find_and_load; 3.8 to 3.15). */
static PyObject *find_and_load(PyObject *original, PyObject *args, PyObject *kwargs)
{
    PyObject *name = PyTuple_Size(args) > 0 ? PyTuple_GetItem(args, 0) : NULL;

    if (current && name && is_str(name) && note(current, name) < 0)
        PyErr_Clear();
    return PyObject_Call(original, args, kwargs);
}

static struct stand_in stand_ins[] = {
    {
        .module = "builtins",
        .name = "__import__",
        .definition = {.ml_name = "__import__",
                       .ml_meth = (PyCFunction)(void (*)(void))import_hook,
                       .ml_flags = METH_VARARGS | METH_KEYWORDS},
    },
    {
        .module = "_frozen_importlib",
        .name = "_find_and_load",
        .definition = {.ml_name = "_find_and_load",
                       .ml_meth = (PyCFunction)(void (*)(void))find_and_load,
                       .ml_flags = METH_VARARGS | METH_KEYWORDS},
    },
};
enum { N_STAND_INS = sizeof stand_ins / sizeof stand_ins[0] };

/* The dict that the function is looked up in: borrowed, or NULL. */
static PyObject *home_of(const struct stand_in *stand_in)
{
    PyObject *module;

    if (strcmp(stand_in->module, "builtins") == 0)
        return PyEval_GetBuiltins();
    module = dict_get(PyImport_GetModuleDict(), stand_in->module);
    return module && is_module(module) ? PyModule_GetDict(module) : NULL;
}

static int stand_in_install(struct stand_in *stand_in)
{
    PyObject *home = home_of(stand_in);
    PyObject *original = home ? dict_get(home, stand_in->name) : NULL;
    PyObject *hook;
    int status;

    if (!original) {
        PyErr_Format(PyExc_ImportError, "%s not found", stand_in->name);
        return -1;
    }
    hook = PyCFunction_NewEx(&stand_in->definition, original, NULL);
    status = hook ? PyDict_SetItemString(home, stand_in->name, hook) : -1;
    if (status == 0)
        stand_in->installed = hook;
    Py_DecRef(hook); /* its home holds it */
    return status;
}

static void stand_in_remove(struct stand_in *stand_in)
{
    PyObject *home = home_of(stand_in);
    PyObject *hook = home ? dict_get(home, stand_in->name) : NULL;

    /* Storing over an existing key of str needs no memory. */
    if (hook && hook == stand_in->installed)
        PyDict_SetItemString(home, stand_in->name, PyCFunction_GetSelf(hook));
    stand_in->installed = NULL;
}

int import_hook_install(struct execution *e)
{
    e->thread = PyThreadState_Get();
    current = e;
    for (size_t i = 0; i < N_STAND_INS; i++) {
        if (stand_in_install(&stand_ins[i]) < 0) {
            import_hook_remove();
            return -1;
        }
    }
    return 0;
}

void import_hook_remove(void)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    for (size_t i = 0; i < N_STAND_INS; i++)
        stand_in_remove(&stand_ins[i]);
    current = NULL;
    PyErr_Restore(type, value, traceback);
}
