/* What the interpreter itself holds, where no traversal leads, as roots of the search (survey.h).
 */
#include <stdio.h>

#include "cpython/audit.h"
#include "cpython/callbacks.h"
#include "cpython/introspect.h"
#include "cpython/thread_state.h"
#include "cpython/version.h"
#include "survey.h"

static int add(struct survey *survey, PyObject *object, const char *title)
{
    return graph_add_root(&survey->graph, object, GRAPH_OUTSIDE, title, NULL);
}

/* The variable that the handler of a signal is in is not to be named once more as such. */
static void name_handler_field(struct graph *graph, PyObject *handler, int number)
{
    size_t most = sizeof graph->named / sizeof graph->named[0];
    PyObject **field;

    if (graph_target_of(graph, handler) && graph->n_named < most &&
        (field = signal_handler_field(number)))
        graph->named[graph->n_named++] = field;
}

static int add_signal_handlers(struct survey *survey)
{
    int result = 0;

    for (int number = 1; result == 0 && number <= SIGNALS; number++) {
        PyObject *handler = signal_handler(number);
        char title[40];

        snprintf(title, sizeof title, "handler of signal %d", number);
        if (handler) {
            name_handler_field(&survey->graph, handler, number);
            result = add(survey, handler, title);
        }
        Py_DecRef(handler);
    }
    return result;
}

/* Is it what Modules/atexitmodule.c keeps from 3.14 on: a list of (function, args, kwargs)? */
static bool is_atexit_list(PyObject *list, PyObject *functions)
{
    Py_ssize_t n = PyList_Size(functions);

    if (type_of(list) != &PyList_Type || PyList_Size(list) != n)
        return false;
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *item = PyList_GetItem(list, i);

        if (type_of(item) != &PyTuple_Type || PyTuple_Size(item) != 3 ||
            PyTuple_GetItem(item, 0) != PyList_GetItem(functions, i))
            return false;
    }
    return n > 0;
}

static int add_atexit_functions(struct survey *survey)
{
    PyObject *functions = survey->atexit;
    Py_ssize_t n = functions ? PyList_Size(functions) : 0;
    int result = 0;

    for (size_t i = 0; functions && cpython_minor() >= 14 && i < survey->graph.n_objects; i++) {
        if (is_atexit_list(survey->graph.objects[i], functions))
            return add(survey, survey->graph.objects[i], "functions registered with atexit");
    }
    for (Py_ssize_t i = 0; result == 0 && i < n; i++) {
        char title[60];

        snprintf(title, sizeof title, "functions registered with atexit[%zd][0]", i);
        result = add(survey, PyList_GetItem(functions, i), title);
    }
    return result;
}

static int add_audit_hooks(struct survey *survey)
{
    const PyObject *hooks[256];
    size_t n = audit_hooks(hooks, sizeof hooks / sizeof hooks[0]);
    int result = 0;

    for (size_t i = 0; result == 0 && i < n; i++)
        result = add(survey, (PyObject *)hooks[i], "audit hook");
    return result;
}

static int add_monitoring_callbacks(struct survey *survey)
{
    int result = 0;

    for (int tool = 0; tool < MONITORING_TOOLS; tool++) {
        char title[60];

        snprintf(title, sizeof title, "callback of sys.monitoring tool %d", tool);
        for (int event = 0; result == 0 && event < MONITORING_EVENTS; event++) {
            PyObject *callback = monitoring_callback(tool, event);

            if (callback)
                result = add(survey, callback, title);
        }
    }
    return result;
}

/* --- thread states */

struct thread_root {
    struct survey *survey;
    PyObject *thread; /* its name */
};

static int add_of_thread(const char *what, PyObject *object, void *arg)
{
    const struct thread_root *root = arg;
    PyObject *title = PyUnicode_FromFormat("%s %U", what, root->thread);
    const char *text = title ? PyUnicode_AsUTF8(title) : NULL;
    int result = text ? add(root->survey, object, text) : -1;

    Py_DecRef(title);
    return result;
}

static int add_thread_states(struct survey *survey)
{
    PyThreadState *thread = PyInterpreterState_ThreadHead(PyInterpreterState_Main());
    unsigned long identifier;
    int result = 0;

    for (; thread && result == 0; thread = PyThreadState_Next(thread)) {
        PyObject *number = NULL;
        struct thread_root root = {survey, NULL};

        if (!thread_state_identifier(thread, &identifier))
            break;
        number = PyLong_FromUnsignedLong(identifier);
        root.thread = number ? thread_name(number) : NULL;
        result = root.thread ? thread_state_visit(thread, add_of_thread, &root) : -1;
        Py_DecRef(number);
        Py_DecRef(root.thread);
    }
    return result;
}

void survey_clear_outside(struct survey *survey)
{
    Py_DecRef(survey->atexit);
}

void survey_read_outside(struct survey *survey)
{
    if (cpython_minor() >= 10) /* before, the module's traversal leads there */
        survey->atexit = atexit_functions();
    if (survey->atexit)
        PyObject_GC_UnTrack(survey->atexit); /* it is no holder of the program */
}

int survey_add_outside_roots(struct survey *survey)
{
    if (add_signal_handlers(survey) < 0 || add_atexit_functions(survey) < 0 ||
        add_audit_hooks(survey) < 0 || add_monitoring_callbacks(survey) < 0)
        return -1;
    return add_thread_states(survey);
}
