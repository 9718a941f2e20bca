/* The names of C variables that the agent found but could not name.
 *
 * In its answer such a variable is an object with "address", "file", "offset" (in the file as
 * linked) and "symbol", which is null where the file's dynamic symbols do not name it.  The
 * full symbol table is not in the target's memory, so it is looked up here. */
#ifndef PYHOT_VARIABLES_H
#define PYHOT_VARIABLES_H

#include <json-c/json.h>

#include "target.h"

/* Fills in "symbol" ("counters", "counters+8"), and says it in "where" if there is one, in all of
 * `answer` that the files' symbol tables can name.  What they cannot stays as it is. */
void variables_name(struct json_object *answer, const struct target *);

#endif
