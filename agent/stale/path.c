/* Naming references: by which attribute, key or index one object refers to another
 * (path.h).  A namespace (the dict of a module, a class or an instance) has no name of its
 * own in a path: what is in it is an attribute of its owner. */
#include "path.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpython/deque.h"
#include "cpython/introspect.h"
#include "cpython/shared_keys.h"
#include "frames.h"
#include "suspended.h"

enum { MAX_KEY = 60, FIRST_STEPS = 8, LAST_STEPS = 24 };

struct path {
    const struct graph *graph;
    char *text;     /* malloc'ed; NULL: out of memory */
    bool namespace; /* `text` names the owner of the dict that we are at */
    char step[256]; /* what was added last */
    int (*visit)(const struct path_step *, void *arg);
    void *arg;
};

static void extend(struct path *path, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void extend(struct path *path, const char *format, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, format);
    vsnprintf(path->step, sizeof path->step, format, args);
    va_end(args);
    if (path->text && asprintf(&text, "%s%s", path->text, path->step) < 0)
        text = NULL;
    free(path->text);
    path->text = text;
}

static void wrap_in_list(struct path *path, Py_ssize_t index)
{
    char *text = NULL;

    if (path->text && asprintf(&text, "list(%s)[%zd]", path->text, index) < 0)
        text = NULL;
    free(path->text);
    path->text = text;
    snprintf(path->step, sizeof path->step, "list(...)[%zd]", index);
}

/* --- keys */

static bool is_identifier(const char *text)
{
    if (!text || (*text >= '0' && *text <= '9') || !*text)
        return false;
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (!(c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
              (c >= 'A' && c <= 'Z') || c >= 0x80))
            return false;
    }
    return true;
}

/* Has the key a repr that runs no Python code and that a person can type? */
static bool is_literal(PyObject *key)
{
    PyTypeObject *type = type_of(key);

    if (type == &PyTuple_Type) {
        for (Py_ssize_t i = 0; i < PyTuple_Size(key); i++) {
            if (!is_literal(PyTuple_GetItem(key, i)))
                return false;
        }
        return true;
    }
    return type == &PyUnicode_Type || type == &PyLong_Type || type == &PyBytes_Type ||
           type == &PyBool_Type || type == &PyFloat_Type || key == Py_None;
}

static void extend_by_attribute(struct path *path, PyObject *name)
{
    const char *text = PyUnicode_AsUTF8(name);

    drop_error();
    extend(path, ".%.200s", text ? text : "?");
}

static void extend_by_key(struct path *path, PyObject *key, bool namespace)
{
    const char *name = type_of(key) == &PyUnicode_Type ? PyUnicode_AsUTF8(key) : NULL;
    PyObject *repr;
    const char *text;

    if (namespace && is_identifier(name)) {
        extend(path, ".%.200s", name);
        return;
    }
    repr = is_literal(key) ? PyObject_Repr(key) : NULL;
    text = repr ? PyUnicode_AsUTF8(repr) : NULL;
    if (!text)
        extend(path, "[<%.100s object>]", type_of(key)->tp_name);
    else if (strlen(text) > MAX_KEY)
        extend(path, "[%.*s...]", MAX_KEY, text);
    else
        extend(path, "[%s]", text);
    Py_DecRef(repr);
    PyErr_Clear();
}

static bool step_from_dict(struct path *path, PyObject *dict, PyObject *object, bool namespace)
{
    PyObject *key, *value;
    Py_ssize_t position = 0, index = 0;

    while (PyDict_Next(dict, &position, &key, &value)) {
        if (value == object) {
            extend_by_key(path, key, namespace);
            return true;
        }
    }
    for (position = 0; PyDict_Next(dict, &position, &key, &value); index++) {
        if (key == object) {
            wrap_in_list(path, index);
            return true;
        }
    }
    return false;
}

/* --- sequences and sets */

static bool step_from_sequence(struct path *path, PyObject *holder, PyObject *object)
{
    bool tuple = is_tuple(holder);
    Py_ssize_t n = tuple ? PyTuple_Size(holder) : PyList_Size(holder);

    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *item = tuple ? PyTuple_GetItem(holder, i) : PyList_GetItem(holder, i);
        if (item == object) {
            extend(path, "[%zd]", i);
            return true;
        }
    }
    return false;
}

static bool step_from_set(struct path *path, PyObject *set, PyObject *object)
{
    Py_ssize_t position = 0, index = 0;
    Py_hash_t hash;
    PyObject *key;

    for (; _PySet_NextEntry(set, &position, &key, &hash); index++) {
        if (key == object) {
            wrap_in_list(path, index);
            return true;
        }
    }
    return false;
}

static bool step_from_deque(struct path *path, PyObject *deque, PyObject *object)
{
    Py_ssize_t n = PySequence_Size(deque);

    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *item = PySequence_GetItem(deque, i);
        bool found = item == object;
        Py_DecRef(item);
        if (found) {
            extend(path, "[%zd]", i);
            return true;
        }
    }
    PyErr_Clear();
    return false;
}

/* --- attributes */

/* Reads a C member of the object: a slot of a class, `__func__` of a method, ... */
static bool is_member(PyObject *descriptor, PyObject *holder, PyObject *object)
{
    PyObject *(*get)(PyObject *, PyObject *, PyObject *) =
        (PyObject * (*)(PyObject *, PyObject *, PyObject *)) type_of(descriptor)->tp_descr_get;
    PyObject *value = get(descriptor, holder, (PyObject *)type_of(holder));

    PyErr_Clear();
    Py_DecRef(value);
    return value == object;
}

static PyObject *namespace_of(PyTypeObject *type)
{
    PyObject *dict = type->tp_dict;

    if (PyType_GetDict)
        dict = PyType_GetDict(type); /* a static type of 3.12 has its dict elsewhere */
    else
        Py_IncRef(dict);
    return dict;
}

static bool step_over_member(struct path *path, PyObject *holder, PyObject *object)
{
    PyObject *mro = type_of(holder)->tp_mro;
    bool found = false;

    for (Py_ssize_t i = 0; mro && !found && i < PyTuple_Size(mro); i++) {
        PyObject *class = PyTuple_GetItem(mro, i);
        PyObject *dict = is_type(class) ? namespace_of((PyTypeObject *)class) : NULL;
        PyObject *name, *value;
        Py_ssize_t position = 0;
        while (dict && !found && PyDict_Next(dict, &position, &name, &value)) {
            found = type_of(value) == &PyMemberDescr_Type && is_member(value, holder, object);
            if (found)
                extend_by_attribute(path, name);
        }
        Py_DecRef(dict);
    }
    return found;
}

/* Is `name` an attribute that the instance has of its own, and is `object` its value?  From
 * 3.11 on attributes may lie in the instance without a dict; PyObject_GenericGetAttr reads them
 * there, and runs no Python code for a name that the class does not know. */
static bool is_attribute(PyObject *holder, PyObject *name, PyObject *object)
{
    PyObject *value;

    if (!is_str(name) || _PyType_Lookup(type_of(holder), name))
        return false;
    value = PyObject_GenericGetAttr(holder, name);
    PyErr_Clear();
    Py_DecRef(value);
    return value == object;
}

static bool step_over_shared_name(struct path *path, PyObject *holder, PyObject *object)
{
    PyTypeObject *class = type_of(holder);

    if (!shared_keys_known() || !is_heap_class((PyObject *)class))
        return false;
    for (size_t i = 0; i < shared_keys_count(class); i++) {
        PyObject *name = shared_keys_name(class, i);
        if (name && is_attribute(holder, name, object)) {
            extend_by_attribute(path, name);
            return true;
        }
    }
    return false;
}

static bool step_from_function(struct path *path, PyObject *function, PyObject *object)
{
    PyObject **attributes = _PyObject_GetDictPtr(function);

    if (object == PyFunction_GetClosure(function))
        extend(path, ".__closure__");
    else if (object == PyFunction_GetDefaults(function))
        extend(path, ".__defaults__");
    else if (object == PyFunction_GetKwDefaults(function))
        extend(path, ".__kwdefaults__");
    else if (object == PyFunction_GetGlobals(function))
        extend(path, ".__globals__");
    else if (attributes && object == *attributes)
        path->namespace = true;
    else
        return false;
    return true;
}

static bool step_from_class(struct path *path, PyObject *class, PyObject *object)
{
    PyTypeObject *type = (PyTypeObject *)class;

    if (object == type->tp_dict)
        path->namespace = true;
    else if (object == type->tp_bases)
        extend(path, ".__bases__");
    else if (object == (PyObject *)type->tp_base)
        extend(path, ".__base__");
    else if (object == type->tp_mro)
        extend(path, ".__mro__");
    else
        return false;
    return true;
}

struct variable {
    PyObject *value;
    char name[200]; /* "": not found */
};

static int compare_variable(PyObject *name, PyObject *value, void *arg)
{
    struct variable *variable = arg;
    const char *text = value == variable->value ? PyUnicode_AsUTF8(name) : NULL;

    PyErr_Clear();
    if (text)
        snprintf(variable->name, sizeof variable->name, "%s", text);
    return text != NULL;
}

/* A frame that is in no thread: of a generator, or of a traceback. */
static bool step_from_frame(struct path *path, PyObject *frame, PyObject *object,
                            const char *before)
{
    struct running_frame running = {.frame = frame,
                                    .code = builtin_attribute(frame, &PyFrame_Type, "f_code")};
    struct variable variable = {.value = object};

    if (running.code)
        frame_locals(&running, compare_variable, &variable);
    PyErr_Clear();
    Py_DecRef(running.code);
    if (*variable.name)
        extend(path, "%s.f_locals['%s']", before, variable.name);
    return *variable.name;
}

/* From 3.11 on a generator refers to its variables itself. */
static bool step_from_generator(struct path *path, PyObject *generator, PyObject *object)
{
    PyObject *frame = suspended_frame(generator);
    bool found = false;

    if (frame == object)
        extend(path, ".%s_frame", suspended_prefix(generator));
    if (frame && frame != object) {
        char before[16];
        snprintf(before, sizeof before, ".%s_frame", suspended_prefix(generator));
        found = step_from_frame(path, frame, object, before);
    }
    found |= frame && frame == object;
    Py_DecRef(frame);
    return found;
}

static bool step_from_instance(struct path *path, PyObject *holder, PyObject *object)
{
    if (step_over_member(path, holder, object))
        return true;
    if (!has_instance_dict(holder))
        return false;
    if (step_over_shared_name(path, holder, object))
        return true;
    path->namespace = type_of(object) == &PyDict_Type;
    return path->namespace;
}

/* --- steps */

static bool take_step(struct path *path, PyObject *holder, PyObject *object, bool namespace)
{
    if (is_dict(holder) && step_from_dict(path, holder, object, namespace))
        return true;
    if ((is_list(holder) || is_tuple(holder)) && step_from_sequence(path, holder, object))
        return true;
    if ((PyType_IsSubtype(type_of(holder), &PySet_Type) ||
         PyType_IsSubtype(type_of(holder), &PyFrozenSet_Type)) &&
        step_from_set(path, holder, object))
        return true;
    if (is_deque(holder) && step_from_deque(path, holder, object))
        return true;
    if (type_of(holder) == &PyFunction_Type && step_from_function(path, holder, object))
        return true;
    if (suspended_prefix(holder) && step_from_generator(path, holder, object))
        return true;
    if (type_of(holder) == &PyFrame_Type && step_from_frame(path, holder, object, ""))
        return true;
    if (is_type(holder) && step_from_class(path, holder, object))
        return true;
    if (type_of(holder) == &PyCell_Type) {
        extend(path, ".cell_contents");
        return true;
    }
    if (PyType_IsSubtype(type_of(holder), &PyModule_Type) && object == PyModule_GetDict(holder)) {
        path->namespace = true;
        return true;
    }
    if (object == (PyObject *)type_of(holder)) {
        extend(path, ".__class__");
        return true;
    }
    return step_from_instance(path, holder, object);
}

static int visit(struct path *path, PyObject *object)
{
    struct path_step step = {object, path->step, path->namespace};

    return path->visit ? path->visit(&step, path->arg) : 0;
}

static int step(struct path *path, PyObject *holder, PyObject *object)
{
    bool namespace = path->namespace;

    path->namespace = false;
    *path->step = '\0';
    if (!take_step(path, holder, object, namespace))
        extend(path, type_of(holder) == &PyFrame_Type ? ", <%.100s>" : ".<%.100s>",
               type_of(object)->tp_name);
    return visit(path, object);
}

/* The nodes from the root to `node`, malloc'ed; NULL without memory. */
static uint32_t *way_to(const struct graph *graph, uint32_t node, size_t *n)
{
    uint32_t *way, at;
    size_t length = 0;

    for (at = node; !(at & GRAPH_ROOT); at = graph->nodes[at].parent)
        length++;
    *n = length;
    way = malloc(length * sizeof *way);
    for (at = node; way && length; at = graph->nodes[at].parent)
        way[--length] = at;
    return way;
}

/* Takes all steps; path->text is the caller's in any case. */
static int walk(struct path *path, uint32_t node, PyObject *object)
{
    const struct graph *graph = path->graph;
    size_t n;
    uint32_t *way = way_to(graph, node, &n);
    int result = 0;

    if (way)
        path->text = strdup(graph_root_of(graph, node)->name);
    if (way && path->text) {
        path->namespace = graph_root_of(graph, node)->kind == GRAPH_MODULE &&
                          is_dict(graph->nodes[way[0]].object);
        result = visit(path, graph->nodes[way[0]].object);
    }
    for (size_t i = 1; way && path->text && result == 0 && i < n; i++) {
        if (i == FIRST_STEPS && n > FIRST_STEPS + LAST_STEPS) {
            extend(path, " ... ");
            i = n - LAST_STEPS; /* a long chain of like objects */
            path->namespace = false;
        }
        result = step(path, graph->nodes[way[i - 1]].object, graph->nodes[way[i]].object);
    }
    if (way && path->text && result == 0 && object)
        result = step(path, graph->nodes[node].object, object);
    free(way);
    if (path->text)
        return result;
    PyErr_NoMemory();
    return -1;
}

PyObject *path_to(const struct graph *graph, uint32_t node, PyObject *object)
{
    struct path path = {.graph = graph};
    PyObject *text = NULL;

    if (walk(&path, node, object) == 0)
        text = PyUnicode_DecodeUTF8(path.text, (Py_ssize_t)strlen(path.text), "replace");
    free(path.text);
    return text;
}

int path_steps(const struct graph *graph, uint32_t node, PyObject *object,
               int (*visit)(const struct path_step *, void *arg), void *arg)
{
    struct path path = {.graph = graph, .visit = visit, .arg = arg};
    int result = walk(&path, node, object);

    free(path.text);
    return result;
}
