/* The main guard is cut out of the syntax tree that builtins.compile gives and takes back
 * (PyCF_ONLY_AST): line numbers stay, and the module `ast` is not needed. */
#include "main_guard.h"

#include <stdbool.h>
#include <string.h>

enum { PyCF_ONLY_AST = 0x0400 }; /* Include/cpython/compile.h, 3.8 to 3.15 */

PyObject *compile_exec(PyObject *source, PyObject *file, int flags)
{
    PyObject *name = PyUnicode_FromString("compile");
    PyObject *compile = name ? PyDict_GetItemWithError(PyEval_GetBuiltins(), name) : NULL;

    Py_DecRef(name);
    if (!compile) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_RuntimeError, "pyhot: builtins.compile is gone");
        return NULL;
    }
    return PyObject_CallFunction(compile, "OOsiii", source, file, "exec", flags, 1, -1);
}

static bool is_node(PyObject *node, const char *type_name)
{
    const char *name = type_of(node)->tp_name;
    const char *dot = strrchr(name, '.');

    return strcmp(dot ? dot + 1 : name, type_name) == 0;
}

/* node.field; new reference, or NULL with an exception. */
static PyObject *field(PyObject *node, const char *name)
{
    return PyObject_GetAttrString(node, name);
}

/* 1: `node` is the name __name__ or the constant "__main__", as asked; 0; -1: exception. */
static int is_operand(PyObject *node, bool name)
{
    PyObject *value;
    int equal;

    if (!is_node(node, name ? "Name" : "Constant"))
        return 0;
    value = field(node, name ? "id" : "value");
    if (!value)
        return -1;
    equal = is_str(value) &&
            PyUnicode_CompareWithASCIIString(value, name ? "__name__" : "__main__") == 0;
    Py_DecRef(value);
    return equal;
}

/* The only element of the list node.field: new reference; Py_None if there are more. */
static PyObject *only_element(PyObject *node, const char *name)
{
    PyObject *list = field(node, name);
    PyObject *element = Py_None;

    if (!list)
        return NULL;
    if (is_list(list) && PyList_Size(list) == 1)
        element = PyList_GetItem(list, 0);
    Py_IncRef(element);
    Py_DecRef(list);
    return element;
}

/* 1: the comparison is __name__ == "__main__", either way round. */
static int is_main_comparison(PyObject *test)
{
    PyObject *left = field(test, "left");
    PyObject *op = only_element(test, "ops");
    PyObject *right = only_element(test, "comparators");
    int result = -1;

    if (left && op && right) {
        result = is_node(op, "Eq");
        for (int swapped = 0; result == 1 && swapped < 2; swapped++) {
            int a = is_operand(left, !swapped), b = is_operand(right, swapped);

            if (a < 0 || b < 0)
                result = -1;
            else if (a && b)
                break;
            else if (swapped)
                result = 0;
        }
    }
    Py_DecRef(left);
    Py_DecRef(op);
    Py_DecRef(right);
    return result;
}

/* 1: true only if the module runs as __main__: the comparison, or an `and` with it. */
static int is_main_test(PyObject *test)
{
    PyObject *op, *values;
    int result = 0;

    if (is_node(test, "Compare"))
        return is_main_comparison(test);
    if (!is_node(test, "BoolOp"))
        return 0;
    op = field(test, "op");
    values = field(test, "values");
    if (!op || !values)
        result = -1;
    else if (is_node(op, "And") && is_list(values)) {
        for (Py_ssize_t i = 0; result == 0 && i < PyList_Size(values); i++)
            result = is_main_test(PyList_GetItem(values, i));
    }
    Py_DecRef(op);
    Py_DecRef(values);
    return result;
}

static int strip_list(PyObject *statements);

/* In place of a guarded `if` at `i` come the statements of its else branch; of any other
 * `if` only the else branch (an `elif`) is looked at.  Returns how many statements are at
 * `i` afterwards, or -1. */
static Py_ssize_t strip_if(PyObject *statements, Py_ssize_t i)
{
    PyObject *node = PyList_GetItem(statements, i);
    PyObject *test = field(node, "test");
    PyObject *otherwise = field(node, "orelse");
    Py_ssize_t left = 1;
    int guarded = test && otherwise ? is_main_test(test) : -1;

    if (guarded < 0 || strip_list(otherwise) < 0)
        left = -1;
    else if (guarded)
        left = PyList_SetSlice(statements, i, i + 1, otherwise) < 0 ? -1 : PyList_Size(otherwise);
    Py_DecRef(test);
    Py_DecRef(otherwise);
    return left;
}

static int strip_list(PyObject *statements)
{
    for (Py_ssize_t i = 0; i < PyList_Size(statements);) {
        Py_ssize_t left = 1;

        if (is_node(PyList_GetItem(statements, i), "If"))
            left = strip_if(statements, i);
        if (left < 0)
            return -1;
        i += left;
    }
    return 0;
}

PyObject *compile_without_main(PyObject *text, PyObject *file)
{
    PyObject *tree = compile_exec(text, file, PyCF_ONLY_AST);
    PyObject *body = tree ? field(tree, "body") : NULL;
    PyObject *code = NULL;

    if (body && strip_list(body) == 0)
        code = compile_exec(tree, file, 0);
    Py_DecRef(body);
    Py_DecRef(tree);
    return code;
}
