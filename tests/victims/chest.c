/* An extension type that keeps its references as a hash map of Rust's standard library does, for
 * test_remap_traverse.py: they are before what points to them, some pointers away from the object,
 * which the same node leads to megabytes of its own. */
#include <Python.h>

enum { REFERENCE = 18, LARGE = 2 << 20 }; /* words of an entry; bytes */

struct node {
    void *code; /* what is before a pointer may look like the size of a chunk */
    char *large;
    PyObject **end;
    size_t n;
};

typedef struct {
    PyObject_HEAD
    struct node **node;
} Chest;

static PyObject **entry(const Chest *self, size_t i)
{
    const struct node *node = *self->node;

    return node->end - (i + 1) * REFERENCE;
}

static int chest_traverse(Chest *self, visitproc visit, void *arg)
{
    for (size_t i = 0; self->node && i < (*self->node)->n; i++)
        Py_VISIT(*entry(self, i));
    return 0;
}

static void chest_dealloc(Chest *self)
{
    struct node *node = *self->node;

    PyObject_GC_UnTrack(self);
    for (size_t i = 0; i < node->n; i++)
        Py_DECREF(*entry(self, i));
    free(node->end - node->n * REFERENCE);
    free(node->large);
    free(node);
    free(self->node);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *chest_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    size_t n = PyTuple_GET_SIZE(args);
    struct node *node = calloc(1, sizeof *node);
    Chest *self = (Chest *)type->tp_alloc(type, 0);

    (void)keywords;
    node->code = (void *)chest_new;
    node->large = malloc(LARGE);
    for (size_t i = 0; i < LARGE; i += sizeof(void *))
        *(void **)(node->large + i) = node->large + i / 2;
    node->end = (PyObject **)calloc(n, REFERENCE * sizeof(void *)) + n * REFERENCE;
    node->n = n;
    self->node = malloc(sizeof *self->node);
    *self->node = node;
    for (size_t i = 0; i < n; i++) {
        *entry(self, i) = PyTuple_GET_ITEM(args, i);
        Py_INCREF(PyTuple_GET_ITEM(args, i));
    }
    return (PyObject *)self;
}

static PyObject *held(Chest *self, PyObject *unused)
{
    PyObject *list = PyList_New(0);

    (void)unused;
    for (size_t i = 0; i < (*self->node)->n; i++)
        PyList_Append(list, *entry(self, i));
    return list;
}

static PyMethodDef methods[] = {{"held", (PyCFunction)held, METH_NOARGS, NULL},
                                {NULL, NULL, 0, NULL}};

static PyTypeObject type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "chest.Chest",
    .tp_basicsize = sizeof(Chest),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = chest_new,
    .tp_dealloc = (destructor)chest_dealloc,
    .tp_traverse = (traverseproc)chest_traverse,
    .tp_methods = methods,
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "chest", .m_size = -1};

PyMODINIT_FUNC PyInit_chest(void)
{
    PyObject *module = PyType_Ready(&type) < 0 ? NULL : PyModule_Create(&definition);

    if (module) {
        Py_INCREF(&type);
        PyModule_AddObject(module, "Chest", (PyObject *)&type);
    }
    return module;
}
