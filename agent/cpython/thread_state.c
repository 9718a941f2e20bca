/* Where the fields are: PyThreadState, Include/cpython/pystate.h.  An exception being handled is in
 * an item of a stack that begins at exc_info, and goes on in the states of the generators that run
 * and of the thread: _PyErr_StackItem {[exc_type,] exc_value, [exc_traceback,] previous_item},
 * three objects up to 3.10. */
#include "thread_state.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "statics.h"
#include "version.h"

enum { FIRST_MINOR = 8, INTERPRETER = 2, WORDS = 32, MOST_HANDLED = 1000 };

/* Words from the start. */
static const struct fields {
    unsigned char profile_function, identifier, handled, asynchronous;
} layouts[] = {
    [8 - FIRST_MINOR] = {7, 22, 18, 28},   [9 - FIRST_MINOR] = {7, 22, 18, 28},
    [10 - FIRST_MINOR] = {7, 22, 18, 28},  [11 - FIRST_MINOR] = {8, 19, 15, 26},
    [12 - FIRST_MINOR] = {8, 17, 13, 24},  [13 - FIRST_MINOR] = {10, 19, 15, 24},
    [14 - FIRST_MINOR] = {10, 19, 15, 24}, [15 - FIRST_MINOR] = {13, 22, 18, 27},
};

/* Behind c_profilefunc; what is behind async_gen_firstiter is async_gen_finalizer. */
enum { TRACE_FUNCTION = 1, PROFILE_OBJECT = 2, TRACE_OBJECT = 3 };

static size_t value_in_item(void)
{
    return cpython_minor() <= 10 ? 1 : 0;
}

static size_t previous_in_item(void)
{
    return cpython_minor() <= 10 ? 3 : 1;
}

static const struct fields *fields_of(int minor)
{
    size_t i = (size_t)(minor - FIRST_MINOR);

    return minor >= FIRST_MINOR && i < sizeof layouts / sizeof *layouts ? &layouts[i] : NULL;
}

/* The exception in the item, and the item before it.  False: it cannot be read. */
static bool read_item(uintptr_t *item, PyObject **exception)
{
    uintptr_t words[4];

    if (!read_safely((void *)*item, words, (previous_in_item() + 1) * sizeof *words))
        return false;
    *exception = (PyObject *)words[value_in_item()];
    *item = words[previous_in_item()];
    return true;
}

/* Is this thread's exception where we look for one? */
static bool finds_exception(const struct fields *fields, PyThreadState *thread)
{
    PyObject *type, *value, *traceback, *sample, *found = NULL;
    uintptr_t words[WORDS];
    bool finds;

    sample = PyObject_CallFunctionObjArgs(PyExc_Exception, NULL);
    if (!sample) {
        PyErr_Clear();
        return false;
    }
    PyErr_GetExcInfo(&type, &value, &traceback);
    Py_IncRef(PyExc_Exception);
    Py_IncRef(sample);
    PyErr_SetExcInfo(PyExc_Exception, sample, NULL);
    finds = read_safely(thread, words, sizeof words) &&
            read_item(&words[fields->handled], &found) && found == sample;
    PyErr_SetExcInfo(type, value, traceback);
    Py_DecRef(sample);
    return finds;
}

/* NULL: not known. */
static const struct fields *fields_known(void)
{
    static const struct fields *known;
    const struct fields *fields = known ? NULL : fields_of(cpython_minor());
    PyThreadState *thread = PyThreadState_Get();
    uintptr_t words[WORDS];

    if (fields && read_safely(thread, words, sizeof words) &&
        words[INTERPRETER] == (uintptr_t)PyInterpreterState_Main() &&
        words[fields->identifier] == (uintptr_t)pthread_self() && finds_exception(fields, thread))
        known = fields;
    return known;
}

bool thread_state_identifier(PyThreadState *thread, unsigned long *identifier)
{
    const struct fields *fields = fields_known();
    uintptr_t words[WORDS];

    if (!fields || !read_safely(thread, words, sizeof words))
        return false;
    *identifier = words[fields->identifier];
    return true;
}

static int visit_exceptions(uintptr_t item, int (*visit)(const char *what, PyObject *, void *arg),
                            void *arg)
{
    PyObject *exception;
    int result = 0;

    for (int i = 0; item && result == 0 && i < MOST_HANDLED && read_item(&item, &exception); i++) {
        if (exception && exception != Py_None)
            result = visit("exception handled in", exception, arg);
    }
    return result;
}

int thread_state_visit(PyThreadState *thread, int (*visit)(const char *what, PyObject *, void *arg),
                       void *arg)
{
    const struct fields *fields = fields_known();
    uintptr_t words[WORDS];
    int result;

    if (!fields || !read_safely(thread, words, sizeof words))
        return 0;
    result = visit_exceptions(words[fields->handled], visit, arg);

    const uintptr_t *functions = words + fields->profile_function;
    const struct {
        const char *what;
        uintptr_t object;
    } others[] = {
        {"trace function of", functions[TRACE_FUNCTION] ? functions[TRACE_OBJECT] : 0},
        {"profile function of", functions[0] ? functions[PROFILE_OBJECT] : 0},
        {"asynchronous generator hook of", words[fields->asynchronous]},
        {"asynchronous generator hook of", words[fields->asynchronous + 1]},
    };
    for (size_t i = 0; result == 0 && i < sizeof others / sizeof *others; i++) {
        if (others[i].object)
            result = visit(others[i].what, (PyObject *)others[i].object, arg);
    }
    return result;
}
