/* The extension module `pyhot`: the engine and the reload for a process that imports them
 * itself.  The same file is the agent; what is imported needs no injector. */
#include "cpython/api.h"
#include "cpython/version.h"

#include "agent.h"
#include "reload/reload.h"
#include "remap/remap.h"
#include "request.h"
#include "stale/stale.h"
#include "turn.h"

#define EXPORTED __attribute__((visibility("default")))

/* A failure without an exception said so with job_fail. */
static PyObject *failed(PyObject *result)
{
    const char *why = job_take_failure();

    if (!result && !PyErr_Occurred())
        PyErr_SetString(PyExc_RuntimeError, why ? why : "pyhot: failed without a reason");
    return result;
}

/* --- remap */

static int add_pairs(struct remap *r, PyObject *mapping)
{
    PyObject *old, *new_;
    Py_ssize_t position = 0;

    while (PyDict_Next(mapping, &position, &old, &new_))
        if (remap_add(r, old, new_) < 0)
            return -1;
    return remap_exclude(r, mapping);
}

/* What is done is done: a second look or a second report that fails for want of memory leaves
 * the report as it was foreseen. */
static PyObject *commit(struct remap *r, PyObject *foreseen)
{
    PyObject *report;

    if (remap_commit(r) < 0) {
        Py_DecRef(foreseen);
        return failed(NULL);
    }
    report = remap_verify(r) == 0 ? remap_report(r) : NULL;
    if (!report) {
        PyErr_Clear();
        return foreseen;
    }
    Py_DecRef(foreseen);
    return report;
}

static PyObject *run_remap(struct remap *r, PyObject *mapping, int dry_run)
{
    PyObject *report;

    if (add_pairs(r, mapping) < 0 || remap_resolve(r) < 0)
        return failed(NULL);
    report = remap_report(r);
    return report && !dry_run ? commit(r, report) : failed(report);
}

static PyObject *py_remap(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"mapping", "dry_run", NULL};
    PyObject *mapping, *result = NULL;
    struct remap *r;
    int dry_run = 0;

    (void)self;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|p:remap", names, &mapping, &dry_run))
        return NULL;
    if (!is_dict(mapping)) {
        PyErr_SetString(PyExc_TypeError, "remap: the mapping must be a dict");
        return NULL;
    }
    r = remap_new();
    if (r)
        result = run_remap(r, mapping, dry_run);
    remap_free(r);
    return result;
}

/* --- reload */

static int set_policy(struct reload_options *options, PyObject *data)
{
    static const char *const names[] = {"auto", "new", "keep"};

    for (uint32_t i = 0; i < 3; i++) {
        if (PyUnicode_CompareWithASCIIString(data, names[i]) == 0) {
            options->data_policy = i;
            return 0;
        }
    }
    PyErr_SetString(PyExc_ValueError, "reload: data is one of \"auto\", \"new\", \"keep\"");
    return -1;
}

static PyObject *list_of(PyObject *names)
{
    return names ? PySequence_List(names) : PyList_New(0);
}

static PyObject *run_reload(PyObject *args, PyObject *data, struct reload_options *options,
                            PyObject *new_names, PyObject *keep_names)
{
    PyObject *names = PySequence_List(args), *result = NULL;

    options->new_names = list_of(new_names);
    options->keep_names = list_of(keep_names);
    if (names && options->new_names && options->keep_names &&
        (!data || set_policy(options, data) == 0))
        result = reload_modules(names, options);
    Py_DecRef(names);
    Py_DecRef(options->new_names);
    Py_DecRef(options->keep_names);
    return result;
}

static PyObject *py_reload(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"dry_run", "force", "data", "new", "keep", "verbose", NULL};
    PyObject *none = PyTuple_New(0), *data = NULL, *new_names = NULL, *keep_names = NULL;
    struct reload_options options = {0};
    PyObject *result;
    int dry_run = 0, force = 0, verbose = 0, parsed, taken;

    (void)self;
    parsed = none && PyArg_ParseTupleAndKeywords(none, keywords, "|$ppUOOp:reload", names, &dry_run,
                                                 &force, &data, &new_names, &keep_names, &verbose);
    Py_DecRef(none);
    if (!parsed)
        return NULL;
    options.flags = (dry_run ? PYHOT_DRY_RUN : 0u) | (force ? PYHOT_FORCE : 0u) |
                    (verbose ? PYHOT_VERBOSE : 0u);
    taken = turn_take(0, NULL, NULL);
    if (taken == 0)
        PyErr_SetString(PyExc_RuntimeError, "reload: another is at work in this process");
    if (taken <= 0)
        return NULL;
    result = run_reload(args, data, &options, new_names, keep_names);
    turn_end();
    return failed(result);
}

/* --- stale */

static PyObject *py_stale(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"objects", "graph", NULL};
    PyObject *none = PyTuple_New(0), *modules, *result;
    int objects = 0, graph = 0, parsed;

    (void)self;
    parsed =
        none && PyArg_ParseTupleAndKeywords(none, keywords, "|$pp:stale", names, &objects, &graph);
    Py_DecRef(none);
    modules = parsed ? PySequence_List(args) : NULL;
    if (!modules)
        return NULL;
    result =
        stale_list(modules, (objects || graph ? PYHOT_OBJECTS : 0u) | (graph ? PYHOT_GRAPH : 0u));
    Py_DecRef(modules);
    return failed(result);
}

/* --- the module */

static PyMethodDef methods[] = {
    {"remap", (PyCFunction)(void *)py_remap, METH_VARARGS | METH_KEYWORDS,
     "remap(mapping, dry_run=False) -> statistics\n\n"
     "Make every reference to a key of the mapping a reference to its value."},
    {"reload", (PyCFunction)(void *)py_reload, METH_VARARGS | METH_KEYWORDS,
     "reload(*names, dry_run=False, force=False, data='auto', new=(), keep=(), verbose=False)\n\n"
     "Reload the modules named, as one transaction; what changed."},
    {"stale", (PyCFunction)(void *)py_stale, METH_VARARGS | METH_KEYWORDS,
     "stale(*names, objects=False, graph=False)\n\n"
     "Which modules' sources on disk are not what is loaded."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef definition = {
    .m_base = {.ob_base = {1, NULL}},
    .m_name = "pyhot",
    .m_doc = "Hot reload of modules, and the engine behind it.",
    .m_size = -1,
    .m_methods = methods,
};

EXPORTED PyObject *PyInit_pyhot(void)
{
    char why[160];

    if (!cpython_supported(why, sizeof why)) {
        PyErr_SetString(PyExc_ImportError, why);
        return NULL;
    }
    return PyModule_Create2(&definition, PYTHON_API_VERSION);
}
