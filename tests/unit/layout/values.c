/* Evaluates one list of facts (FIELDS) about CPython's layouts: with -DTHEIRS in terms of the
 * interpreter's own headers, else in terms of ours (SUBJECT).  MINOR is the minor version.
 *
 * A list is included twice: first for the headers that it needs, then as a table of
 *
 *     FIELD(ours, field, theirs, field)  offset and size of a member
 *     OFFSET(...)                        its offset only
 *     SAME(type, field)                  the same names on both sides
 *     SIZE(ours, theirs)                 of the whole struct
 *     CONSTANT(name)                     a macro that both have
 *     VALUE(what, ours, theirs)          two expressions */
#include <stddef.h>

#include "layout.h"

#ifndef FIELDS /* compiled alone, by an editor */
#define FIELDS "object.h"
#define SUBJECT "../../../agent/cpython/api.h"
#define MINOR 13
#endif

#ifdef THEIRS

#define Py_BUILD_CORE 1
#include <Python.h>

#include FIELDS

#define OFFSET(ours, our_field, theirs, their_field)                                               \
    {#ours "." #our_field, offsetof(theirs, their_field)},
#define FIELD(ours, our_field, theirs, their_field)                                                \
    OFFSET(ours, our_field, theirs, their_field)                                                   \
    {"the size of " #ours "." #our_field, sizeof(((theirs *)0)->their_field)},
#define SIZE(ours, theirs) {"the size of " #ours, sizeof(theirs)},
#define VALUE(what, ours, theirs) {what, theirs},
#define TABLE layout_theirs

#else

#include "../../../agent/cpython/api.h"
#include SUBJECT

#define OFFSET(ours, our_field, theirs, their_field)                                               \
    {#ours "." #our_field, offsetof(ours, our_field)},
#define FIELD(ours, our_field, theirs, their_field)                                                \
    OFFSET(ours, our_field, theirs, their_field)                                                   \
    {"the size of " #ours "." #our_field, sizeof(((ours *)0)->our_field)},
#define SIZE(ours, theirs) {"the size of " #ours, sizeof(ours)},
#define VALUE(what, ours, theirs) {what, ours},
#define TABLE layout_ours

#endif

#define SAME(type, field) FIELD(type, field, type, field)
#define CONSTANT(name) {#name, name},

void TABLE(const struct layout_value **values, size_t *n)
{
    const struct layout_value table[] = {
#include FIELDS
    };
    static struct layout_value copy[sizeof(table) / sizeof(*table)];

    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
        copy[i] = table[i];
    *values = copy;
    *n = sizeof(table) / sizeof(*table);
}
