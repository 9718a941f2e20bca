/* Finding and reading a module's source (source.h). */
#include "source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache_path.h"
#include "cpython/introspect.h"
#include "file.h"
#include "main_guard.h"
#include "release.h"

static void set_none(struct source *source, const char *why)
{
    source->state = SOURCE_NONE;
    snprintf(source->why, sizeof source->why, "%s", why);
}

/* object.name, or NULL without an exception if it has none.  New reference. */
static PyObject *attribute(PyObject *object, const char *name)
{
    PyObject *value = object ? PyObject_GetAttrString(object, name) : NULL;

    if (!value || value == Py_None) {
        Py_DecRef(value);
        drop_error();
        return NULL;
    }
    return value;
}

static PyObject *str_attribute(PyObject *object, const char *name)
{
    PyObject *value = attribute(object, name);

    if (value && !is_str(value)) {
        Py_DecRef(value);
        return NULL;
    }
    return value;
}

/* The last part of a type's name: "zipimport.zipimporter" is "zipimporter". */
static bool is_named(PyTypeObject *type, const char *name)
{
    const char *dot = strrchr(type->tp_name, '.');

    return strcmp(dot ? dot + 1 : type->tp_name, name) == 0;
}

static bool ends_with(PyObject *text, const char *suffix)
{
    const char *utf8 = PyUnicode_AsUTF8(text);
    size_t n = utf8 ? strlen(utf8) : 0, m = strlen(suffix);

    drop_error();
    return n >= m && strcmp(utf8 + n - m, suffix) == 0;
}

/* --- files */

/* Takes the bytes of a file.  0, or -1 with errno and no exception. */
static int take_bytes(struct source *source, struct file_bytes *file)
{
    source->changed = file->changed;
    source->modified = file->modified;
    source->size = (long long)file->length;
    source->on_disk = true;
    source->text = PyBytes_FromStringAndSize(file->text, (Py_ssize_t)file->length);
    free(file->text);
    if (source->text)
        return 0;
    drop_error();
    errno = ENOMEM;
    return -1;
}

/* Reads the file into source->text.  0, or -1 with errno and no exception. */
static int read_file(struct source *source, PyObject *path)
{
    PyObject *bytes = PyUnicode_EncodeFSDefault(path);
    PyThreadState *thread;
    struct file_bytes file;
    int status = 0;

    if (!bytes) {
        errno = PyErr_ExceptionMatches(PyExc_MemoryError) ? ENOMEM : ENOENT;
        drop_error();
        return -1;
    }
    if ((Py_ssize_t)strlen(PyBytes_AsString(bytes)) != PyBytes_Size(bytes)) {
        Py_DecRef(bytes);
        errno = ENOENT; /* open would take what is before the null byte for the path */
        return -1;
    }
    if (!file_read_before(PyBytes_AsString(bytes), &file, &status)) {
        thread = PyEval_SaveThread();
        status = file_read(PyBytes_AsString(bytes), &file);
        PyEval_RestoreThread(thread);
    }
    if (status == 0)
        status = take_bytes(source, &file);
    Py_DecRef(bytes);
    return status;
}

/* A script of Python 3.8 knows its path as it was given: relative to a directory that the
 * process may have left.  sys.path[0] is where it was found (Python/pathconfig.c). */
static PyObject *beside_sys_path(PyObject *file)
{
    PyObject *path = PySys_GetObject("path");
    PyObject *first = path && is_list(path) && PyList_Size(path) ? PyList_GetItem(path, 0) : NULL;
    const char *name = PyUnicode_AsUTF8(file);
    const char *slash;

    if (!first || !is_str(first) || !name || *name == '/') {
        drop_error();
        return NULL;
    }
    slash = strrchr(name, '/');
    return PyUnicode_FromFormat("%U/%s", first, slash ? slash + 1 : name);
}

/* m.py that is m/__init__.py now, or the reverse? */
static bool has_become(const char *file, const char *from, const char *to)
{
    size_t n = strlen(file), end = strlen(from);
    char *other = NULL;
    bool is = n > end && strcmp(file + n - end, from) == 0 &&
              asprintf(&other, "%.*s%s", (int)(n - end), file, to) >= 0 && access(other, R_OK) == 0;

    free(other);
    return is;
}

static int read_from_disk(struct source *source)
{
    PyObject *other;
    int status = read_file(source, source->file), error = errno;

    if (status < 0 && error == ENOENT && (other = beside_sys_path(source->file))) {
        status = read_file(source, other);
        Py_DecRef(other);
    }
    drop_error();
    if (status < 0) {
        const char *name = PyUnicode_AsUTF8(source->file);

        source->state = SOURCE_UNREADABLE;
        snprintf(source->why, sizeof source->why, "was loaded from %.100s: %s",
                 name && *name ? name : "a file",
                 error == EINVAL ? "It is not a regular file" : strerror(error));
        source->became_other =
            name && error == ENOENT &&
            (has_become(name, ".py", "/__init__.py") || has_become(name, "/__init__.py", ".py"));
        drop_error();
    }
    return 0;
}

/* --- loaders */

/* The class in the loader's ancestry that CPython loads .py files with, or NULL. */
static PyObject *source_file_loader(PyTypeObject *type)
{
    for (Py_ssize_t i = 0; type->tp_mro && i < PyTuple_Size(type->tp_mro); i++) {
        PyObject *base = PyTuple_GetItem(type->tp_mro, i);

        if (is_type(base) && is_named((PyTypeObject *)base, "SourceFileLoader"))
            return base;
    }
    return NULL;
}

static PyObject *type_lookup(PyTypeObject *type, const char *name)
{
    PyObject *key = PyUnicode_InternFromString(name);
    PyObject *found = key ? _PyType_Lookup(type, key) : NULL;

    Py_DecRef(key);
    drop_error();
    return found;
}

/* Does the loader have the method, and not just the one of SourceFileLoader? */
static bool has_own(PyObject *loader, const char *method)
{
    PyObject *base = loader ? source_file_loader(type_of(loader)) : NULL;
    PyObject *found = loader ? type_lookup(type_of(loader), method) : NULL;

    return found && (!base || type_lookup((PyTypeObject *)base, method) != found);
}

/* The zip file's directory is read afresh, not taken from zipimport's cache: the archive may
 * have been replaced.  New reference to bytes, or NULL with an exception. */
static PyObject *read_zip(PyObject *loader, PyObject *file)
{
    PyObject *zipimport = PyDict_GetItemString(PyImport_GetModuleDict(), "zipimport");
    PyObject *archive = str_attribute(loader, "archive");
    PyObject *directory = NULL, *key = NULL, *entry = NULL, *text = NULL;

    if (zipimport && archive)
        directory = PyObject_CallMethod(zipimport, "_read_directory", "O", archive);
    if (directory)
        key =
            PyUnicode_Substring(file, PyUnicode_GetLength(archive) + 1, PyUnicode_GetLength(file));
    if (key)
        entry = PyObject_GetItem(directory, key);
    if (entry)
        text = PyObject_CallMethod(zipimport, "_get_data", "OO", archive, entry);
    if (!text && !PyErr_Occurred())
        PyErr_SetString(PyExc_ImportError, "zipimport is gone");
    Py_DecRef(entry);
    Py_DecRef(key);
    Py_DecRef(directory);
    Py_DecRef(archive);
    return text;
}

static void unreadable_by_exception(struct source *source)
{
    PyObject *type, *value, *traceback;
    PyObject *text;
    const char *utf8;

    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    text = value ? PyObject_Str(value) : NULL;
    utf8 = text ? PyUnicode_AsUTF8(text) : NULL;
    source->state = SOURCE_UNREADABLE;
    snprintf(source->why, sizeof source->why, "cannot be read by its loader: %.110s",
             utf8 ? utf8 : "no reason given");
    drop_error();
    Py_DecRef(text);
    Py_DecRef(type);
    Py_DecRef(value);
    Py_DecRef(traceback);
}

/* A loader that does not know the module after all, as six's of what it moved: its file is read. */
static void read_without_loader(struct source *source)
{
    bool unknown = PyErr_ExceptionMatches(PyExc_ImportError);

    unreadable_by_exception(source);
    if (unknown && source->file && read_file(source, source->file) == 0) {
        source->state = SOURCE_READ;
        *source->why = '\0';
    }
}

static int read_by_loader(struct source *source)
{
    if (is_named(type_of(source->loader), "zipimporter"))
        source->text = read_zip(source->loader, source->file);
    else if (source->file && has_own(source->loader, "get_data"))
        source->text = PyObject_CallMethod(source->loader, "get_data", "O", source->file);
    else
        source->text = PyObject_CallMethod(source->loader, "get_source", "O", source->name);
    if (source->text && type_of(source->text) != &PyBytes_Type && !is_str(source->text)) {
        Py_DecRef(source->text);
        source->text = NULL;
        set_none(source, "has a loader that gives no source");
    } else if (!source->text) {
        read_without_loader(source);
    }
    return 0;
}

/* Why a module with this loader has no source, or NULL. */
static const char *why_no_source(PyObject *name, PyObject *loader)
{
    static const struct {
        const char *type, *why;
    } loaders[] = {
        {"BuiltinImporter", "is built into the interpreter"},
        {"FrozenImporter", "is frozen into the interpreter"},
        {"ExtensionFileLoader", "is an extension module"},
        {"SourcelessFileLoader", "was loaded from byte code without source"},
        {"_NamespaceLoader", "is a namespace package"},
        {"NamespaceLoader", "is a namespace package"},
    };
    PyTypeObject *type;

    if (!loader)
        return NULL;
    type = is_type(loader) ? (PyTypeObject *)loader : type_of(loader);
    if (is_named(type, "BuiltinImporter") &&
        PyUnicode_CompareWithASCIIString(name, "__main__") == 0)
        return "was not run from a file";
    for (size_t i = 0; i < sizeof loaders / sizeof *loaders; i++) {
        if (is_named(type, loaders[i].type))
            return loaders[i].why;
    }
    return NULL;
}

/* The name that the module's code has as co_filename.  New reference or NULL. */
static PyObject *file_of(PyObject *dict, PyObject *spec, PyObject *loader)
{
    PyObject *file = NULL, *value;

    if (loader && source_file_loader(type_of(loader)))
        file = str_attribute(loader, "path");
    value = PyDict_GetItemString(dict, "__file__");
    if (!file && value && is_str(value)) {
        Py_IncRef(value);
        file = value;
    }
    if (!file)
        file = str_attribute(spec, "origin");
    return file;
}

static void follow_release(struct source *source)
{
    PyObject *successor = release_successor(source->file);

    if (successor) {
        Py_DecRef(source->file);
        source->file = successor;
    }
}

static bool is_read_by_loader(const struct source *source)
{
    return source->loader &&
           (has_own(source->loader, "get_data") || has_own(source->loader, "get_source"));
}

static bool is_in_brackets(PyObject *file)
{
    const char *text = PyUnicode_AsUTF8(file);

    drop_error();
    return text && *text == '<' && ends_with(file, ">");
}

/* Where the source is.  If there is none, the state says so.  -1: the module has no dict. */
static int locate(struct source *source, PyObject *name, PyObject *module)
{
    PyObject *dict = PyModule_GetDict(module);
    PyObject *spec = dict ? PyDict_GetItemString(dict, "__spec__") : NULL;
    const char *why;

    memset(source, 0, sizeof *source);
    source->name = name;
    Py_IncRef(name);
    if (!dict)
        return -1;
    source->loader = attribute(spec, "loader");
    if (!source->loader) {
        source->loader = PyDict_GetItemString(dict, "__loader__");
        if (source->loader == Py_None)
            source->loader = NULL;
        Py_IncRef(source->loader);
    }
    source->file = file_of(dict, spec, source->loader);
    why = why_no_source(name, source->loader);
    if (!why && source->file && is_in_brackets(source->file))
        why = "has no file"; /* "<gi.repository.GLib>" */
    if (!why && source->file && ends_with(source->file, ".pyc"))
        why = "was loaded from byte code without source";
    if (!why && !source->file && !has_own(source->loader, "get_source"))
        why = "has no file";
    if (why) {
        set_none(source, why);
        return 0;
    }
    source->loaded_file = source->file;
    Py_IncRef(source->file);
    if (!is_read_by_loader(source))
        follow_release(source);
    return 0;
}

int source_read(struct source *source, PyObject *name, PyObject *module)
{
    if (locate(source, name, module) < 0)
        return -1;
    if (source->state == SOURCE_NONE)
        return 0;
    return is_read_by_loader(source) ? read_by_loader(source) : read_from_disk(source);
}

/* Takes the reference to `bytes`, which may be NULL. */
static void add_path(char **paths, size_t *n, PyObject *bytes)
{
    char *path = bytes ? strdup(PyBytes_AsString(bytes)) : NULL;

    if (path)
        paths[(*n)++] = path;
    drop_error();
    Py_DecRef(bytes);
}

/* The module's source and its cached byte code. */
static void add_paths(char **paths, size_t *n, PyObject *name, PyObject *module)
{
    struct source source;

    if (locate(&source, name, module) == 0 && source.state != SOURCE_NONE && source.file &&
        !is_read_by_loader(&source)) {
        add_path(paths, n, PyUnicode_EncodeFSDefault(source.file));
        add_path(paths, n, cache_path(module));
    }
    source_clear(&source);
}

void source_read_ahead(PyObject *modules, Py_ssize_t from, Py_ssize_t to)
{
    char **paths = calloc(to > from ? 2 * (size_t)(to - from) : 1, sizeof *paths);
    PyThreadState *thread;
    size_t n = 0;

    for (Py_ssize_t i = from; paths && i < to; i++) {
        PyObject *pair = PyList_GetItem(modules, i);

        add_paths(paths, &n, PyTuple_GetItem(pair, 0), PyTuple_GetItem(pair, 1));
    }
    thread = PyEval_SaveThread();
    files_read_ahead(paths, n);
    PyEval_RestoreThread(thread);
}

void source_clear(struct source *source)
{
    Py_DecRef(source->name);
    Py_DecRef(source->loaded_file);
    Py_DecRef(source->file);
    Py_DecRef(source->text);
    Py_DecRef(source->loader);
    memset(source, 0, sizeof *source);
}

bool source_has_compiler(const struct source *source)
{
    return has_own(source->loader, "source_to_code");
}

PyObject *source_compile(const struct source *source)
{
    PyObject *file = source->file ? source->file : source->name;

    if (PyUnicode_CompareWithASCIIString(source->name, "__main__") == 0)
        return compile_without_main(source->text, file);
    /* Loaders that rewrite what they load (type checkers' import hooks) do it here. */
    if (source_has_compiler(source))
        return PyObject_CallMethod(source->loader, "source_to_code", "OO", source->text, file);
    return compile_exec(source->text, file, 0);
}
