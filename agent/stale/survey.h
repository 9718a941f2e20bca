/* list-stale --objects in the making; shared by the files that make its report. */
#ifndef PYHOT_STALE_SURVEY_H
#define PYHOT_STALE_SURVEY_H

#include "drawing.h"
#include "frames.h"
#include "generations.h"
#include "graph.h"
#include "suspended.h"

enum { MAX_HELD_BY = 10 };

struct survey {
    struct generations generations;
    struct running_frames frames;
    struct suspended_list suspended;
    struct graph graph;
    struct drawing drawing;
    PyObject *atexit; /* list of the functions registered, or NULL */
    PyObject *report; /* list */
};

/* Functions return 0, or -1 with an exception. */

/* Appends the path to `node`, and on to `object` if that is not NULL, if the list is not full. */
int survey_add_held_by(struct survey *, PyObject *held_by, uint32_t node, PyObject *object);

/* Signal handlers, atexit functions, hooks, callbacks and what thread states hold as roots.  What
 * is read by calls is so before the collector is paused, as code of the program may run then
 * (callbacks.h). */
void survey_read_outside(struct survey *);
void survey_clear_outside(struct survey *);
int survey_add_outside_roots(struct survey *);

/* Frames that run old code.  Before the heap is searched: it may read sources. */
int survey_report_frames(struct survey *);

/* Generators that are suspended in old code.  After the search. */
int survey_report_suspended(struct survey *);

#endif
