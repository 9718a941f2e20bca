/* What the agent says: one JSON object a line, read with a deadline; and giving up. */
#ifndef PYHOT_CHANNEL_H
#define PYHOT_CHANNEL_H

#include <json-c/json.h>

#include "inject.h"

/* Called for each progress line. */
typedef void (*channel_progress)(const char *phase, uint64_t done, uint64_t total, void *arg);

/* Reads until the agent's result or error.  *result is the body of the "result" line (owned by the
 * caller: json_object_put), or NULL when the returned error is set.
 *
 * When `deadline_ns` passes or a SIGINT/SIGTERM came (channel_interrupted): moves the request to
 * CANCELLED if it has not begun to commit, and says so (EXIT_DEADLINE, "target unchanged"); if it
 * has, goes on waiting for the end, for five seconds at most, and not while the target is stopped:
 * errors (EXIT_REPORT_LOST) that say so.  The target's death is an error of its own. */
struct error *channel_read(struct injection *, const struct target *, uint64_t deadline_ns,
                           channel_progress, void *arg, struct json_object **result)
    __attribute__((warn_unused_result));

/* Set by main.c's signal handler. */
extern volatile int channel_interrupted;

#endif
