/* Finding the release that a link leads to now (release.h).
 *
 * The link is a part of the path that the program was started by (__main__.__file__, which is
 * not resolved), and sys.path[0] tells where it led then.  Only a sibling directory with the same
 * file in it counts as a new release. */
#include "release.h"
#include "cpython/introspect.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool copy_text(PyObject *text, char *out, size_t size)
{
    PyObject *bytes = text && is_str(text) ? PyUnicode_EncodeFSDefault(text) : NULL;
    bool fits = bytes && (size_t)PyBytes_Size(bytes) < size;

    if (fits)
        strcpy(out, PyBytes_AsString(bytes));
    drop_error();
    Py_DecRef(bytes);
    return fits;
}

/* The path of the program, absolute, links in it not followed. */
static bool program_path(char out[PATH_MAX])
{
    PyObject *main = dict_get(PyImport_GetModuleDict(), "__main__");
    PyObject *file = main ? dict_get(PyModule_GetDict(main), "__file__") : NULL;
    char given[PATH_MAX], directory[PATH_MAX];

    if (!copy_text(file, given, sizeof given))
        return false;
    if (*given == '/') {
        strcpy(out, given);
        return true;
    }
    return getcwd(directory, sizeof directory) &&
           snprintf(out, PATH_MAX, "%s/%s", directory, given) < PATH_MAX;
}

static bool first_of_sys_path(char out[PATH_MAX])
{
    PyObject *path = PySys_GetObject("path");

    return path && is_list(path) && PyList_Size(path) > 0 &&
           copy_text(PyList_GetItem(path, 0), out, PATH_MAX);
}

/* Cuts `tail` off the end of `path`, if it ends so. */
static bool cut(char *path, const char *tail)
{
    size_t n = strlen(path), m = strlen(tail);

    if (m >= n || strcmp(path + n - m, tail) != 0)
        return false;
    path[n - m] = '\0';
    return true;
}

static bool are_siblings(const char *a, const char *b)
{
    const char *x = strrchr(a, '/'), *y = strrchr(b, '/');

    return x && y && strcmp(a, b) != 0 && x - a == y - b && strncmp(a, b, (size_t)(x - a)) == 0;
}

/* `link` is a prefix of the program's path, `tail` the directory of the program below it
 * ("" or "/bin").  Where the link led when the program began, and where it leads now. */
static bool switched(const char *link, const char *tail, char then[PATH_MAX], char now[PATH_MAX])
{
    struct stat st;

    return lstat(link, &st) == 0 && S_ISLNK(st.st_mode) && realpath(link, now) &&
           first_of_sys_path(then) && cut(then, tail) && are_siblings(then, now);
}

/* Tries every prefix of the program's directory.  True: `then` and `now` are set. */
static bool find_switch(char then[PATH_MAX], char now[PATH_MAX])
{
    char program[PATH_MAX], link[PATH_MAX];
    char *end;

    if (!program_path(program) || !(end = strrchr(program, '/')))
        return false;
    *end = '\0';
    for (char *slash = strchr(program + 1, '/'); end != program; slash = strchr(slash + 1, '/')) {
        char *tail = slash ? slash : end;

        snprintf(link, sizeof link, "%.*s", (int)(tail - program), program);
        if (switched(link, tail, then, now))
            return true;
        if (!slash)
            break;
    }
    return false;
}

PyObject *release_successor(PyObject *file)
{
    char then[PATH_MAX], now[PATH_MAX], old[PATH_MAX], new_[PATH_MAX];
    size_t n;

    if (!copy_text(file, old, sizeof old) || !find_switch(then, now))
        return NULL;
    n = strlen(then);
    if (strncmp(old, then, n) != 0 || old[n] != '/' ||
        snprintf(new_, sizeof new_, "%s%s", now, old + n) >= (int)sizeof new_ ||
        access(new_, R_OK) != 0)
        return NULL;
    return PyUnicode_DecodeFSDefault(new_);
}
