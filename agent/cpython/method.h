/* PyCFunctionObject's front part: Include/methodobject.h (3.8),
 * Include/cpython/methodobject.h (3.9 to 3.15). */
#ifndef PYHOT_CPYTHON_METHOD_H
#define PYHOT_CPYTHON_METHOD_H

#include "api.h"

/* What a builtin is bound to, borrowed, or NULL. */
static inline PyObject *builtin_self(const PyObject *o)
{
    return ((const struct {
               PyObject ob_base;
               PyMethodDef *m_ml;
               PyObject *m_self;
           } *)o)
        ->m_self;
}

#endif
