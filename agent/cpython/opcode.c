/* Up to 3.12 Lib/opcode.py has it all and can do without _opcode: it is executed aside, where no
 * import works.  From 3.13 on the numbers are in Lib/_opcode_metadata.py, which is plain Python,
 * and the kinds of arguments in the extension module alone (_opcode.has_name, ...): here by name,
 * as 3.13.0, 3.14.10 and 3.15.2 answer. */
#include "opcode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "introspect.h"
#include "version.h"

static const struct {
    const char *list;
    const char *names[16];
} kinds[] = {
    {"hasname",
     {"DELETE_ATTR", "DELETE_GLOBAL", "DELETE_NAME", "IMPORT_FROM", "IMPORT_NAME", "LOAD_ATTR",
      "LOAD_FROM_DICT_OR_GLOBALS", "LOAD_GLOBAL", "LOAD_NAME", "LOAD_SUPER_ATTR", "STORE_ATTR",
      "STORE_GLOBAL", "STORE_NAME"}},
    {"hasconst", {"LOAD_CONST", "RETURN_CONST"}},
    {"haslocal",
     {"DELETE_FAST", "LOAD_FAST", "LOAD_FAST_AND_CLEAR", "LOAD_FAST_BORROW",
      "LOAD_FAST_BORROW_LOAD_FAST_BORROW", "LOAD_FAST_CHECK", "LOAD_FAST_LOAD_FAST", "STORE_FAST",
      "STORE_FAST_LOAD_FAST", "STORE_FAST_STORE_FAST"}},
    {"hasjrel",
     {"FOR_ITER", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT", "JUMP_FORWARD",
      "POP_JUMP_IF_FALSE", "POP_JUMP_IF_NONE", "POP_JUMP_IF_NOT_NONE", "POP_JUMP_IF_TRUE", "SEND"}},
};

/* --- from 3.13 on */

/* tables[list] = the numbers of the names that this version has. */
static int add_list(PyObject *tables, PyObject *opmap, size_t kind)
{
    PyObject *list = PyList_New(0);
    int result = list ? 0 : -1;

    for (size_t i = 0; result == 0 && i < 16 && kinds[kind].names[i]; i++) {
        PyObject *number = PyObject_CallMethod(opmap, "get", "s", kinds[kind].names[i]);
        result = !number ? -1 : number == Py_None ? 0 : PyList_Append(list, number);
        Py_DecRef(number);
    }
    if (result == 0)
        result = PyDict_SetItemString(tables, kinds[kind].list, list);
    Py_DecRef(list);
    return result;
}

static PyObject *tables_of_metadata(void)
{
    static const char name[] = "_opcode_metadata";
    PyObject *known = dict_get(PyImport_GetModuleDict(), name);
    PyObject *module = PyImport_ImportModule(name);
    PyObject *opmap = module ? PyObject_GetAttrString(module, "opmap") : NULL;
    PyObject *tables = opmap ? PyDict_New() : NULL;
    int result = tables ? PyDict_SetItemString(tables, "opmap", opmap) : -1;

    if (module && !known && dict_get(PyImport_GetModuleDict(), name))
        PyDict_DelItemString(PyImport_GetModuleDict(), name);
    for (size_t i = 0; result == 0 && i < sizeof kinds / sizeof *kinds; i++)
        result = add_list(tables, opmap, i);
    Py_DecRef(opmap);
    Py_DecRef(module);
    if (result == 0)
        return tables;
    Py_DecRef(tables);
    return NULL;
}

/* --- to 3.12 */

/* The path of opcode.py: it stands beside os.py.  New reference to bytes, or NULL. */
static PyObject *source_path(void)
{
    PyObject *file = loaded_attribute("os", "__file__");
    const char *text = file && is_str(file) ? PyUnicode_AsUTF8(file) : NULL;
    const char *slash = text ? strrchr(text, '/') : NULL;
    PyObject *directory = slash ? PyUnicode_FromStringAndSize(text, slash - text) : NULL;
    PyObject *path = directory ? PyUnicode_FromFormat("%U/opcode.py", directory) : NULL;
    PyObject *bytes = NULL;

    if (path)
        bytes = PyUnicode_EncodeFSDefault(path);
    Py_DecRef(directory);
    Py_DecRef(path);
    PyErr_Clear();
    return bytes;
}

/* malloc'ed, NUL-terminated; NULL if it cannot be read. */
static char *read_text(const char *path)
{
    FILE *file = fopen(path, "re");
    struct stat st;
    char *text = NULL;

    if (!file)
        return NULL;
    if (fstat(fileno(file), &st) == 0 && S_ISREG(st.st_mode))
        text = calloc(1, (size_t)st.st_size + 1);
    if (text && fread(text, 1, (size_t)st.st_size, file) != (size_t)st.st_size)
        *text = '\0';
    fclose(file);
    return text;
}

/* Executes the text where `import` raises ImportError.  New reference to its namespace. */
static PyObject *execute_aside(const char *text)
{
    PyObject *builtins = PyDict_Copy(PyEval_GetBuiltins()), *namespace = PyDict_New();
    PyObject *file = PyUnicode_FromString("opcode.py"), *code = NULL, *done = NULL;

    if (builtins && namespace && file && PyDict_DelItemString(builtins, "__import__") == 0 &&
        PyDict_SetItemString(namespace, "__builtins__", builtins) == 0)
        code = Py_CompileStringObject(text, file, Py_file_input, NULL, -1);
    if (code)
        done = PyEval_EvalCode(code, namespace, namespace);
    Py_DecRef(builtins);
    Py_DecRef(file);
    Py_DecRef(code);
    if (!done) {
        Py_DecRef(namespace);
        namespace = NULL;
    }
    Py_DecRef(done);
    return namespace;
}

static PyObject *tables_of_source(void)
{
    PyObject *path = source_path(), *namespace = NULL;
    char *text = path ? read_text(PyBytes_AsString(path)) : NULL;

    if (text && *text)
    namespace = execute_aside(text);
    free(text);
    Py_DecRef(path);
    return namespace;
}

/* A standard library that is in a zip file: imported after all. */
static PyObject *tables_of_module(void)
{
    PyObject *module = PyImport_ImportModule("opcode");
    PyObject *tables = module ? PyModule_GetDict(module) : NULL;

    Py_IncRef(tables);
    Py_DecRef(module);
    return tables;
}

PyObject *opcode_tables(void)
{
    PyObject *tables = NULL;

    if (cpython_minor() >= 13)
        return tables_of_metadata();
    if (!dict_get(PyImport_GetModuleDict(), "opcode"))
        tables = tables_of_source();
    if (!tables) {
        PyErr_Clear();
        tables = tables_of_module();
    }
    return tables;
}
