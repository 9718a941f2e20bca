/* What pyhot says: text for people, or --json exactly as in DESIGN.md section 5.  Results and
 * nothing else go to stdout; errors and progress to stderr. */
#ifndef PYHOT_REPORT_H
#define PYHOT_REPORT_H

#include <json-c/json.h>
#include <stdio.h>

#include "options.h"

/* What the agent wants to be known besides, a line, or nothing. */
void report_note(FILE *out, struct json_object *result);

/* A member that is missing, or of another type than told in section 5, is left out of the
 * text: the agent's answer comes out of a process that we do not control. */
void report_attach(const struct options *, struct json_object *result);
void report_stale(const struct options *, struct json_object *result);
void report_where(const struct options *, struct json_object *result);
void report_processes(const struct options *, struct json_object *result);

/* What happened on one line of stderr and what to do about it on the next; with --json the
 * error object on stdout. */
void report_error(const struct options *, const struct error *);

/* One line of stdout. */
void report_json(struct json_object *);

/* The error object of section 5; owned by the caller. */
struct json_object *report_error_object(const struct options *, const struct error *);

/* --tree --json: `processes` (borrowed) is a list of results and error objects. */
void report_tree(struct json_object *processes, enum exit_status);

/* Is this member of "modules" of list-stale's result stale? */
bool report_is_stale(struct json_object *module);

/* Progress, on one line of stderr that is erased at the end; only on a terminal. */
struct progress {
    bool shown;
    bool wanted;
};

void report_progress_start(struct progress *, const struct options *);
/* A channel_progress; `arg`: the struct progress. */
void report_progress(const char *phase, uint64_t done, uint64_t total, void *arg);
void report_progress_end(struct progress *);

/* Flushes stdout.  False, with a line on stderr, if anything printed there was lost; `done`: the
 * line says that the work was done all the same. */
bool report_flush(bool done);

#endif
