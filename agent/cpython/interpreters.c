/* From 3.12 on an interpreter may have a GIL of its own, so nothing of it may be touched; and a
 * thread state of ours in it would make Py_EndInterpreter end the process.  So its memory is read,
 * safely: what is freed meanwhile is then seen as not there.
 *
 * Where an interpreter keeps its modules is no exported fact and differs in each version, but what
 * the main interpreter has there is known: the first word of it that is its own dict of modules. */
#include "interpreters.h"

#include "dict.h"
#include "statics.h"

enum {
    MOST_IDS = 1000, /* ids are given in order and never again; those of later ones are not tried */
    WORDS = 512,
    FRONT = 64 << 10, /* sizeof(PyInterpreterState) is more; imports come early in it */
};

/* In bytes, 0: not found. */
static size_t modules_offset(void)
{
    const char *main = (const char *)PyInterpreterState_Main();
    const PyObject *modules = PyImport_GetModuleDict();
    uintptr_t chunk[WORDS];

    for (size_t at = 0; at < FRONT && read_safely(main + at, chunk, sizeof chunk);
         at += sizeof chunk)
        for (size_t i = 0; i < WORDS; i++)
            if (chunk[i] == (uintptr_t)modules)
                return at + i * sizeof(uintptr_t);
    return 0;
}

int64_t interpreter_with_module(PyObject *name)
{
    size_t offset = modules_offset();

    for (int64_t id = 1; offset && _PyInterpreterState_LookUpID && id < MOST_IDS; id++) {
        const char *interpreter = (const char *)_PyInterpreterState_LookUpID(id);
        const void *modules;

        PyErr_Clear(); /* there is none with that id */
        if (interpreter && read_safely(interpreter + offset, &modules, sizeof modules) &&
            dict_has_str_safely(modules, name))
            return id;
    }
    return -1;
}
