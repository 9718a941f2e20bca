/* Putting paths together to a drawing (drawing.h). */
#include "drawing.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cpython/introspect.h"
#include "path.h"

int drawing_open(struct drawing *drawing)
{
    drawing->nodes = PyList_New(0);
    drawing->edges = PyList_New(0);
    drawing->numbers = PyDict_New();
    drawing->seen = PyDict_New();
    return drawing->nodes && drawing->edges && drawing->numbers && drawing->seen ? 0 : -1;
}

void drawing_clear(struct drawing *drawing)
{
    Py_DecRef(drawing->nodes);
    Py_DecRef(drawing->edges);
    Py_DecRef(drawing->numbers);
    Py_DecRef(drawing->seen);
    memset(drawing, 0, sizeof *drawing);
}

/* --- nodes */

/* The index of the node with this key, or -1 without an exception. */
static Py_ssize_t number_of(const struct drawing *drawing, PyObject *key)
{
    PyObject *number = dict_lookup(drawing->numbers, key);

    return number ? PyLong_AsSsize_t(number) : -1;
}

/* Takes the reference to `node`.  Its index, or -1 with an exception. */
static Py_ssize_t add_node(struct drawing *drawing, PyObject *key, PyObject *node)
{
    Py_ssize_t index = PyList_Size(drawing->nodes);
    PyObject *number = node ? PyLong_FromSsize_t(index) : NULL;

    if (!number || PyList_Append(drawing->nodes, node) < 0 ||
        PyDict_SetItem(drawing->numbers, key, number) < 0)
        index = -1;
    Py_DecRef(number);
    Py_DecRef(node);
    return index;
}

/* "total" of a function or a class, the name of the type of anything else.  New reference. */
static PyObject *label_of(PyObject *object)
{
    PyTypeObject *kind = is_type(object)                       ? &PyType_Type
                         : type_of(object) == &PyFunction_Type ? &PyFunction_Type
                                                               : NULL;
    PyObject *name = kind ? builtin_attribute(object, kind, "__qualname__") : NULL;

    PyErr_Clear();
    if (name && is_str(name))
        return name;
    Py_DecRef(name);
    return PyUnicode_FromString(type_of(object)->tp_name);
}

/* An old generation, an instance of an old class, or what is on the way to one. */
static PyObject *describe(const struct graph *graph, PyObject *object, const char *module)
{
    const struct graph_target *target = graph_target_of(graph, object);
    const struct graph_target *class = graph_target_of(graph, (PyObject *)type_of(object));
    const char *type = type_of(object)->tp_name;
    PyObject *label, *node;

    if (target)
        return Py_BuildValue("{s:O,s:s,s:s,s:O,s:n}", "label", target->name, "type", type, "kind",
                             "old", "module", target->module, "instances",
                             (Py_ssize_t)target->instances);
    if (class)
        return Py_BuildValue("{s:O,s:s,s:s,s:z}", "label", class->name, "type", type, "kind",
                             "old-instance", "module", module);
    label = label_of(object);
    node = label ? Py_BuildValue("{s:O,s:s,s:s,s:z}", "label", label, "type", type, "kind",
                                 "object", "module", module)
                 : NULL;
    Py_DecRef(label);
    return node;
}

static Py_ssize_t add_object(struct drawing *drawing, const struct graph *graph, PyObject *object,
                             const char *module)
{
    PyObject *key = PyLong_FromVoidPtr(object);
    Py_ssize_t index = key ? number_of(drawing, key) : -1;

    if (key && index < 0)
        index = add_node(drawing, key, describe(graph, object, module));
    Py_DecRef(key);
    return index;
}

/* A module, a frame, or what is not known; `name` is a new reference that is taken. */
static Py_ssize_t add_root(struct drawing *drawing, PyObject *name, enum graph_root_kind kind,
                           uintptr_t address)
{
    static const char *const kinds[] = {"module", "frame", "static", "outside"};
    Py_ssize_t index = name ? number_of(drawing, name) : -1;

    if (name && index < 0)
        index = add_node(drawing, name,
                         Py_BuildValue("{s:O,s:s,s:s,s:O,s:K}", "label", name, "type", kinds[kind],
                                       "kind", kinds[kind], "module",
                                       kind == GRAPH_MODULE ? name : Py_None, "address",
                                       (unsigned long long)address));
    Py_DecRef(name);
    return index;
}

int drawing_add_frame(struct drawing *drawing, PyObject *title)
{
    Py_ssize_t index;

    if (!drawing->nodes)
        return 0;
    Py_IncRef(title);
    index = add_root(drawing, title, GRAPH_FRAME, 0);
    return index < 0 ? -1
                     : PyDict_SetItemString(PyList_GetItem(drawing->nodes, index), "old", Py_True);
}

/* --- edges */

static int add_edge(struct drawing *drawing, Py_ssize_t from, Py_ssize_t to, const char *step)
{
    PyObject *key = Py_BuildValue("(nns)", from, to, step), *edge = NULL;
    int result = key ? 0 : -1;

    if (key && !dict_lookup(drawing->seen, key)) {
        edge = Py_BuildValue("{s:n,s:n,s:s}", "from", from, "to", to, "step", step);
        result = edge && PyDict_SetItem(drawing->seen, key, Py_None) == 0
                     ? PyList_Append(drawing->edges, edge)
                     : -1;
    }
    Py_DecRef(key);
    Py_DecRef(edge);
    return result;
}

/* --- ways */

struct way {
    struct drawing *drawing;
    const struct graph *graph;
    const struct graph_root *root;
    Py_ssize_t at;  /* the node that we have come to; -1: none */
    char text[256]; /* and how we went on from there, over objects that are no nodes */
};

/* What a function or a class is made of is no node of its own: ".__closure__[0].cell_contents". */
static bool is_passed_over(const struct path_step *step)
{
    PyTypeObject *type = type_of(step->object);

    return step->namespace || type == &PyCell_Type ||
           (strncmp(step->text, ".__", 3) == 0 && (type == &PyTuple_Type || type == &PyDict_Type));
}

/* The first object is the module, or what a variable of a frame refers to. */
static int begin(struct way *way, PyObject *object)
{
    const struct graph_root *root = way->root;
    const char *variable = root->name + root->owner;
    Py_ssize_t to;

    way->at =
        add_root(way->drawing, PyUnicode_DecodeUTF8(root->name, (Py_ssize_t)root->owner, "replace"),
                 root->kind, root->address);
    if (way->at < 0 || root->kind == GRAPH_MODULE || type_of(object) == &PyFrame_Type)
        return way->at < 0 ? -1 : 0;
    to = add_object(way->drawing, way->graph, object, NULL);
    if (to < 0 || add_edge(way->drawing, way->at, to, *variable ? variable + 2 : "") < 0)
        return -1;
    way->at = to;
    return 0;
}

static int draw_step(const struct path_step *step, void *arg)
{
    struct way *way = arg;
    Py_ssize_t to;
    int result;
    size_t length = strlen(way->text);

    if (way->at < 0)
        return begin(way, step->object);
    snprintf(way->text + length, sizeof way->text - length, "%s", step->text);
    if (is_passed_over(step))
        return 0;
    to = add_object(way->drawing, way->graph, step->object,
                    way->root->kind == GRAPH_MODULE ? way->root->name : NULL);
    result = to < 0 ? -1 : add_edge(way->drawing, way->at, to, way->text);
    way->at = to;
    *way->text = '\0';
    return result;
}

int drawing_add_way(struct drawing *drawing, const struct graph *graph, uint32_t node,
                    PyObject *object)
{
    struct way way = {
        .drawing = drawing, .graph = graph, .root = graph_root_of(graph, node), .at = -1};

    return drawing->nodes ? path_steps(graph, node, object, draw_step, &way) : 0;
}

int drawing_add_edge(struct drawing *drawing, const struct graph *graph, uint32_t from,
                     PyObject *to, const char *step)
{
    Py_ssize_t a, b;

    if (!drawing->nodes)
        return 0;
    a = add_object(drawing, graph, graph->nodes[from].object, NULL);
    b = a < 0 ? -1 : add_object(drawing, graph, to, NULL);
    return b < 0 ? -1 : add_edge(drawing, a, b, step);
}

int drawing_add_static(struct drawing *drawing, const struct graph *graph,
                       const struct graph_root *root, PyObject *to)
{
    Py_ssize_t a, b;

    if (!drawing->nodes)
        return 0;
    a = add_root(drawing, PyUnicode_DecodeUTF8(root->name, (Py_ssize_t)root->owner, "replace"),
                 root->kind, root->address);
    b = a < 0 ? -1 : add_object(drawing, graph, to, NULL);
    return b < 0 ? -1 : add_edge(drawing, a, b, "");
}

PyObject *drawing_take(struct drawing *drawing)
{
    return Py_BuildValue("{s:O,s:O}", "nodes", drawing->nodes, "edges", drawing->edges);
}
