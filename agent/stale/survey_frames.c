/* Which frames run old code, in threads and in suspended generators (survey.h). */
#include "cpython/introspect.h"
#include "old_code.h"
#include "survey.h"

/* --- threads */

static PyObject *module_of(PyObject *globals)
{
    PyObject *name = dict_get(globals, "__name__");

    return name ? name : Py_None;
}

static int report_frame(struct survey *survey, const struct running_frame *frame, PyObject *name)
{
    PyObject *title = frame_title(frame);
    PyObject *entry =
        title ? Py_BuildValue("{s:O,s:O,s:s,s:i,s:[{s:O,s:s}],s:O,s:O,s:O,s:l}", "object", name,
                              "module", module_of(frame->globals), "kind", "frame", "count", 1,
                              "held_by", "path", title, "kind", "frame", "thread", frame->thread,
                              "function", frame->function, "file", frame->file, "line", frame->line)
              : NULL;
    int result = entry ? PyList_Append(survey->report, entry) : -1;

    if (result == 0)
        result = drawing_add_frame(&survey->drawing, title);
    Py_DecRef(entry);
    Py_DecRef(title);
    return result;
}

/* The name of the old function that runs this code: new reference, or NULL. */
static PyObject *old_function_of(const struct survey *survey, PyObject *code)
{
    for (size_t i = 0; i < survey->generations.n; i++) {
        PyObject *old = survey->generations.items[i].old;
        if (type_of(old) == &PyFunction_Type && PyFunction_GetCode(old) == code) {
            Py_IncRef(survey->generations.items[i].name);
            return survey->generations.items[i].name;
        }
    }
    return NULL;
}

int survey_report_frames(struct survey *survey)
{
    PyObject *sources = PyDict_New();
    int result = sources ? 0 : -1;

    for (size_t i = 0; result == 0 && i < survey->frames.n; i++) {
        const struct running_frame *frame = &survey->frames.items[i];
        PyObject *name = old_function_of(survey, frame->code);
        if (!name && old_code_name(frame->code, frame->globals, sources, &name) < 0)
            result = -1;
        else if (name)
            result = report_frame(survey, frame, name);
        Py_DecRef(name);
    }
    Py_DecRef(sources);
    return result;
}

/* --- generators */

/* Sets "line" of the last of `held_by`, and what the entry says of the function itself. */
static int describe_frame(PyObject *entry, PyObject *held_by, PyObject *frame)
{
    PyObject *code = builtin_attribute(frame, &PyFrame_Type, "f_code");
    PyObject *line = builtin_attribute(frame, &PyFrame_Type, "f_lineno");
    PyObject *function = code ? PyObject_GetAttrString(code, "co_name") : NULL;
    PyObject *file = code ? PyObject_GetAttrString(code, "co_filename") : NULL;
    PyObject *last = PyList_GetItem(held_by, PyList_Size(held_by) - 1);
    int result = line && function && file ? PyDict_SetItemString(last, "line", line) : -1;

    if (result == 0 && PyList_Size(held_by) == 1 &&
        (PyDict_SetItemString(entry, "function", function) < 0 ||
         PyDict_SetItemString(entry, "file", file) < 0 ||
         PyDict_SetItemString(entry, "line", line) < 0))
        result = -1;
    if (result < 0 && !PyErr_Occurred())
        PyErr_SetString(PyExc_RuntimeError, "pyhot: a frame without code");
    Py_DecRef(code);
    Py_DecRef(line);
    Py_DecRef(function);
    Py_DecRef(file);
    return result;
}

static int add_generator(struct survey *survey, PyObject *entry, PyObject *held_by,
                         const struct graph_target *target)
{
    PyObject *frame = PyList_Size(held_by) < MAX_HELD_BY ? suspended_frame(target->object) : NULL;
    int result = 0;

    if (frame)
        result = survey_add_held_by(survey, held_by, target->node, NULL);
    if (frame && result == 0)
        result = describe_frame(entry, held_by, frame);
    Py_DecRef(frame);
    return result;
}

/* Those of one function, which may all be garbage. */
static int report_generators(struct survey *survey, const struct suspended *items, size_t n)
{
    PyObject *held_by = PyList_New(0), *count = NULL;
    PyObject *entry = held_by ? Py_BuildValue("{s:O,s:O,s:s,s:i,s:O,s:O}", "object", items->name,
                                              "module", items->module, "kind", "frame", "count", 0,
                                              "held_by", held_by, "suspended", Py_True)
                              : NULL;
    int result = entry ? 0 : -1;
    Py_ssize_t found = 0;

    for (size_t i = 0; result == 0 && i < n; i++) {
        const struct graph_target *target = graph_target_of(&survey->graph, items[i].generator);
        if (target->node == GRAPH_NONE)
            continue;
        found++;
        result = add_generator(survey, entry, held_by, target);
    }
    if (result == 0 && found) {
        count = PyLong_FromSsize_t(found);
        result = count && PyDict_SetItemString(entry, "count", count) == 0
                     ? PyList_Append(survey->report, entry)
                     : -1;
    }
    Py_DecRef(count);
    Py_DecRef(entry);
    Py_DecRef(held_by);
    return result;
}

int survey_report_suspended(struct survey *survey)
{
    const struct suspended_list *list = &survey->suspended;
    int result = 0;

    for (size_t i = 0, end; result == 0 && i < list->n; i = end) {
        for (end = i + 1; end < list->n && list->items[end].name == list->items[i].name; end++)
            ;
        result = report_generators(survey, &list->items[i], end - i);
    }
    return result;
}
