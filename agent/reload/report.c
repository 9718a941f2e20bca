/* What a reload did, as a dict (DESIGN.md section 5). */
#include <string.h>

#include "cpython/introspect.h"
#include "request.h"
#include "transaction.h"

/* Takes the reference to `value`; NULL (an exception, or no memory) is passed on as -1. */
static int put(PyObject *dict, const char *key, PyObject *value)
{
    int status = value ? PyDict_SetItemString(dict, key, value) : -1;

    Py_DecRef(value);
    return status;
}

static PyObject *list_or_empty(PyObject *list)
{
    if (!list)
        return PyList_New(0);
    Py_IncRef(list);
    return list;
}

static PyObject *object_or_none(PyObject *object)
{
    if (!object)
        object = Py_None;
    Py_IncRef(object);
    return object;
}

static PyObject *replaced(const struct module_pair *pair)
{
    return Py_BuildValue("{snsnsnsn}", "functions", (Py_ssize_t)pair->functions, "classes",
                         (Py_ssize_t)pair->classes, "methods", (Py_ssize_t)pair->methods, "code",
                         (Py_ssize_t)pair->code);
}

static PyObject *report_member(const struct member *member)
{
    static const char *const words[] = {"unchanged", "unchanged", "reloaded", "failed"};
    static const struct module_pair nothing;
    const struct module_pair *pair = member->pair ? member->pair : &nothing;
    PyObject *report = PyDict_New();

    if (!report)
        return NULL;
    Py_IncRef(member->name);
    if (put(report, "name", member->name) < 0 ||
        put(report, "file", object_or_none(member->source.file)) < 0 ||
        put(report, "result", PyUnicode_FromString(words[member->result])) < 0 ||
        put(report, "replaced", replaced(pair)) < 0 ||
        put(report, "added", list_or_empty(pair->added)) < 0 ||
        put(report, "removed", list_or_empty(pair->removed)) < 0 ||
        put(report, "kept", list_or_empty(pair->kept)) < 0 ||
        put(report, "taken", list_or_empty(pair->taken)) < 0 ||
        put(report, "error", object_or_none(member->error)) < 0 ||
        (member->unregistered && PyDict_Size(member->unregistered) > 0 &&
         PyDict_SetItemString(report, "unregistered", member->unregistered) < 0) ||
        (pair->details && put(report, "details", list_or_empty(pair->details)) < 0)) {
        Py_DecRef(report);
        return NULL;
    }
    return report;
}

static PyObject *report_members(const struct reload *reload)
{
    PyObject *list = PyList_New(0);

    for (size_t i = 0; list && i < reload->n; i++) {
        PyObject *member = report_member(&reload->members[i]);

        if (!member || PyList_Append(list, member) < 0) {
            Py_DecRef(list);
            list = NULL;
        }
        Py_DecRef(member);
    }
    return list;
}

/* Moves scan_ms and commit_ms out of remap_report's dict; without it they are as foreseen. */
static PyObject *report_time(const struct reload *reload)
{
    PyObject *time = reload->remap ? dict_get(reload->remap, "time") : NULL;

    if (!time && reload->foreseen)
        time = dict_get(reload->foreseen, "time");
    Py_IncRef(time);
    if (!time)
        time = Py_BuildValue("{sdsd}", "scan_ms", 0.0, "commit_ms", 0.0);
    else if (reload->remap && dict_get(reload->remap, "time") &&
             PyDict_DelItemString(reload->remap, "time") < 0) {
        Py_DecRef(time);
        return NULL;
    }
    if (time && put(time, "gil_ms", PyFloat_FromDouble(reload->gil_ms)) < 0) {
        Py_DecRef(time);
        return NULL;
    }
    return time;
}

/* remap_report's dict; where nothing was to be remapped, one of the same shape. */
static PyObject *report_remap(const struct reload *reload)
{
    PyObject *remap;

    if (!reload->remap && reload->foreseen) {
        remap = dict_get(reload->foreseen, "remap");
        Py_IncRef(remap);
        return remap;
    }
    if (!reload->remap)
        return Py_BuildValue("{sisisis{}s{}sisisis[]s[]}", "objects_scanned", 0, "referrers", 0,
                             "references_rewritten", 0, "by_kind", "rehashed", "migrated", 0,
                             "unresolved", 0, "unaccounted", 0, "held", "frames_on_old_code");
    Py_IncRef(reload->remap);
    return reload->remap;
}

static PyObject *version(void)
{
    const char *text = Py_GetVersion();

    return PyUnicode_FromStringAndSize(text, (Py_ssize_t)strcspn(text, " "));
}

PyObject *reload_report(const struct reload *reload)
{
    PyObject *dict = PyDict_New();

    if (!dict)
        return NULL;
    if (put(dict, "python", version()) < 0 || put(dict, "modules", report_members(reload)) < 0 ||
        put(dict, "time", report_time(reload)) < 0 ||
        put(dict, "remap", report_remap(reload)) < 0 ||
        (reload->left && put(dict, "left", list_or_empty(reload->left)) < 0) ||
        (reload->options->flags & PYHOT_DRY_RUN && put(dict, "dry_run", PyBool_FromLong(1)) < 0) ||
        put(dict, "exit", PyLong_FromLong(reload->exit_status)) < 0) {
        Py_DecRef(dict);
        return NULL;
    }
    return dict;
}
