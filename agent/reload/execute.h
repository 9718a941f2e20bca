/* Executing new source aside: in a copy of the module's dict that nobody else sees.
 *
 * While it runs, `import` statements of that code (and of no other) find the modules of the same
 * transaction in their new form, executing them first where the program's own imports would:
 * builtins.__import__ is replaced by a function that gives everybody else what it always gave, and
 * sys.modules by a mapping that does (sys_modules.h).  The interpreter's own dict of modules keeps
 * the live ones throughout. */
#ifndef PYHOT_EXECUTE_H
#define PYHOT_EXECUTE_H

#include <stdbool.h>
#include <stddef.h>

#include "cpython/api.h"

enum aside_state { ASIDE_WAITING, ASIDE_RUNNING, ASIDE_DONE };

/* A module beside the live one.  All references are borrowed from `holder`, so that no
 * reference that the engine would count is held from C alone. */
struct aside {
    PyObject *holder; /* list; strong */
    PyObject *name;   /* str */
    PyObject *module; /* the live module; its dict is D */
    PyObject *code;   /* to be executed; NULL for a package that only leads to such modules */
    PyObject *shadow; /* the module object in its place; its dict is D' */
    PyObject *dict;   /* D' */
    PyObject *before; /* copy of D as it was before the execution */
    enum aside_state state;
};

struct execution {
    struct aside *modules; /* those executed, then the packages above them */
    size_t n_executed, n;
    ptrdiff_t failed;                  /* index of the module whose code raised, or -1 */
    PyObject *error[3];                /* its exception: type, value, traceback */
    PyObject *known;                   /* set of str: the names in sys.modules before */
    PyObject *asked, *asked_by_others; /* sets of str: names imported meanwhile */
    PyThreadState *thread;
};

/* Prepares the `n` live modules `modules` named `names` with their `codes`; references are
 * taken.  Python code does not run.  0, or -1 with an exception. */
int execution_begin(struct execution *, size_t n, PyObject *const *names, PyObject *const *modules,
                    PyObject *const *codes);

/* Executes them all, in the order of the program's own imports.  The GIL is
 * released and taken as in any Python code.  0; or -1 with the exception that the new source
 * raised (`failed` says where) or our own (`failed` is -1). */
int execution_run(struct execution *);

/* After a failure: removes from sys.modules what was imported by this execution alone, and puts
 * the live modules back where it replaced them. */
void execution_forget_imports(struct execution *);

/* The modules that this execution alone imported first.  New list of (name, module). */
PyObject *execution_imports(const struct execution *);

void execution_end(struct execution *);

/* For the import hook: the module of this name, or NULL; executes one (0, or -1). */
struct aside *execution_find(const struct execution *, PyObject *name);
/* What the new code gets instead of a live module: its shadow, or what it is not one of.  Takes and
 * gives a reference. */
PyObject *execution_shadow(const struct execution *, PyObject *module);
int execution_run_module(struct execution *, struct aside *);

#endif
