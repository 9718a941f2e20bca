/* See c_memory.h.  A callback is the code that ctypes has generated for it, which is freed with the
 * object that owns it (CThunkObject, Modules/_ctypes/callbacks.c, 3.8 to 3.15). */
#include "c_memory.h"

#include <string.h>

#include "remap/remap.h"

static struct pointer_set kept; /* strong references */

static int keep(PyObject *object)
{
    if (pointer_set_has(&kept, object))
        return 0;
    if (pointer_set_add(&kept, object) < 0)
        return -1;
    Py_IncRef(object);
    return 0;
}

/* --- callbacks */

static int keep_callback(PyObject *object, void *arg)
{
    (void)arg;
    return strcmp(type_of(object)->tp_name, "_ctypes.CThunkObject") == 0 ? keep(object) : 0;
}

int c_memory_keep_callbacks(void)
{
    if (!dict_get(PyImport_GetModuleDict(), "_ctypes"))
        return 0;
    return heap_visit(keep_callback, NULL) == 0 ? 0 : -1;
}

/* --- buffers */

/* What owns memory: of cffi's classes (c/_cffi_backend.c) callbacks and handles are such too. */
static bool is_buffer(const PyObject *object)
{
    const PyTypeObject *type = type_of(object);

    while (type && strcmp(type->tp_name, "_ctypes._CData") != 0 &&
           strcmp(type->tp_name, "_cffi_backend.__CDataOwn") != 0)
        type = type->tp_base;
    return type;
}

static int note_values(PyObject *dict, struct pointer_set *buffers)
{
    PyObject *name, *value;
    Py_ssize_t position = 0;

    while (dict && PyDict_Next(dict, &position, &name, &value))
        if (is_buffer(value) && pointer_set_add(buffers, value) < 0)
            return -1;
    return 0;
}

int c_memory_note_buffers(const struct execution *e, struct pointer_set *buffers)
{
    for (size_t i = 0; i < e->n_executed; i++)
        if (note_values(e->modules[i].dict, buffers) < 0 ||
            note_values(e->modules[i].before, buffers) < 0)
            return -1;
    return 0;
}

int c_memory_keep_buffers(const struct pointer_set *buffers)
{
    for (size_t i = 0; i < buffers->cap; i++)
        if (buffers->slots[i] && keep(buffers->slots[i]) < 0)
            return -1;
    return 0;
}

static bool is_own(const struct execution *e, const PyObject *object)
{
    PyObject *module = dict_get(type_of(object)->tp_dict, "__module__");

    for (size_t i = 0; module && is_str(module) && i < e->n_executed; i++)
        if (PyUnicode_Compare(module, e->modules[i].name) == 0)
            return true;
    return false;
}

int c_memory_keep_of_failed(const struct execution *e)
{
    struct pointer_set buffers = {0};
    int status = c_memory_note_buffers(e, &buffers);

    for (size_t i = 0; status == 0 && i < buffers.cap; i++)
        if (buffers.slots[i] && !is_own(e, buffers.slots[i]))
            status = keep(buffers.slots[i]);
    pointer_set_clear(&buffers);
    return status == 0 ? c_memory_keep_callbacks() : -1;
}
