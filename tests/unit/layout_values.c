/* Evaluates the list of layout_fields.h: with -DTHEIRS in terms of the interpreter's headers,
 * else in terms of ours. */
#include <stddef.h>

#ifndef MINOR
#define MINOR 13
#endif

#include "layout.h"

#ifdef THEIRS

#define Py_BUILD_CORE 1
#include <Python.h>
#if MINOR <= 8
#include "internal/pycore_pystate.h"
#else
#include "internal/pycore_runtime.h"
#endif
#if MINOR >= 14
#include "internal/pycore_debug_offsets.h"
#endif

#define OFFSET(ours, our_field, theirs, their_field)                                               \
    {#ours "." #our_field, offsetof(theirs, their_field)},
#define FIELD(ours, our_field, theirs, their_field)                                                \
    OFFSET(ours, our_field, theirs, their_field){"the size of " #ours "." #our_field,              \
                                                 sizeof(((theirs *)0)->their_field)},
#define SIZE(ours, theirs)        {"the size of " #ours, sizeof(theirs)},
#define VALUE(what, ours, theirs) {what, theirs},
#define TABLE                     layout_theirs

#else

#include "../../agent/cpython/api.h"
#include "../../injector/runtime_layout.h"

#define OFFSET(ours, our_field, theirs, their_field)                                               \
    {#ours "." #our_field, offsetof(ours, our_field)},
#define FIELD(ours, our_field, theirs, their_field)                                                \
    OFFSET(ours, our_field, theirs, their_field){"the size of " #ours "." #our_field,              \
                                                 sizeof(((ours *)0)->our_field)},
#define SIZE(ours, theirs)        {"the size of " #ours, sizeof(ours)},
#define VALUE(what, ours, theirs) {what, ours},
#define TABLE                     layout_ours

#endif

#define CONSTANT(name) {#name, name},

void TABLE(const struct layout_value **values, size_t *n)
{
    const struct layout_value table[] = {
#include "layout_fields.h"
    };
    static struct layout_value copy[sizeof(table) / sizeof(*table)];

    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
        copy[i] = table[i];
    *values = copy;
    *n = sizeof(table) / sizeof(*table);
}
