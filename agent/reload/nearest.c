/* Near names: the same last part ("cart" for "shop.cart"), or a small edit distance. */
#include "nearest.h"

#include <stdio.h>
#include <string.h>

enum { SUGGESTIONS = 3, MAX_NAME = 100, FAR = 1000 };

static int min3(int a, int b, int c)
{
    int least = a < b ? a : b;

    return least < c ? least : c;
}

/* Levenshtein distance of two short names. */
static int distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    int row[MAX_NAME + 1];

    if (n > MAX_NAME || m > MAX_NAME)
        return FAR;
    for (size_t j = 0; j <= m; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int diagonal = row[0];

        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int above = row[j];

            row[j] = min3(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[m];
}

static const char *last_part(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot ? dot + 1 : name;
}

/* How far `loaded` is from what was asked for; FAR if not worth a mention. */
static int rate(const char *asked, const char *loaded)
{
    int edits;

    if (strcmp(last_part(asked), last_part(loaded)) == 0)
        return 1;
    edits = distance(asked, loaded);
    return edits <= 1 + (int)strlen(asked) / 4 ? edits : FAR;
}

void nearest_modules(PyObject *name, char *out, size_t size)
{
    struct {
        const char *name;
        int rating;
    } best[SUGGESTIONS] = {{NULL, FAR}, {NULL, FAR}, {NULL, FAR}};
    const char *asked = PyUnicode_AsUTF8(name);
    PyObject *key, *module;
    Py_ssize_t position = 0;
    size_t used = 0;

    *out = '\0';
    while (asked && PyDict_Next(PyImport_GetModuleDict(), &position, &key, &module)) {
        const char *loaded = is_str(key) ? PyUnicode_AsUTF8(key) : NULL;
        int rating = loaded ? rate(asked, loaded) : FAR;

        for (int i = 0; i < SUGGESTIONS; i++) {
            if (rating >= best[i].rating)
                continue;
            memmove(&best[i + 1], &best[i], (size_t)(SUGGESTIONS - 1 - i) * sizeof *best);
            best[i].name = loaded;
            best[i].rating = rating;
            break;
        }
    }
    PyErr_Clear();
    for (int i = 0; i < SUGGESTIONS && best[i].name && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "", best[i].name);
}
