/* agent/cpython/contextvar.h */
#ifndef FIELD

#include "internal/pycore_context.h"

#else

SIZE(struct context_var, struct _pycontextvarobject)
FIELD(struct context_var, name, struct _pycontextvarobject, var_name)
FIELD(struct context_var, default_, struct _pycontextvarobject, var_default)
FIELD(struct context_var, cached, struct _pycontextvarobject, var_cached)

#endif
